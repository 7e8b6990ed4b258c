//! What a bench program prints: one JSON object keyed by target number, or a table of the same rows.
#![allow(dead_code, reason = "shared by several programs, each takes what it needs")]

pub(crate) mod interval;

use interval::Ratio;
use serde_json::{Map, Value, json};

/// One line of a target: ours beside what it is held against, all measured in this run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// What `ours`, `floor` and `rival` are told in: `us`, `ms`, `% of a core`.
    pub(crate) unit: &'static str,
    /// Names and values, in the order in which the table shows them.
    pub(crate) ours: Figures,
    /// The same of the floor; empty where none is measured.
    pub(crate) floor: Figures,
    /// What the floor is.
    pub(crate) floor_is: &'static str,
    /// The same of the rival; empty where none is measured.
    pub(crate) rival: Figures,
    /// What the rival is, or why there is none.
    pub(crate) rival_is: &'static str,
    /// Two of the above over one another.
    pub(crate) ratio: Option<Ratio>,
    /// Which over which.
    pub(crate) ratio_is: &'static str,
    /// How many values `ours` is made of.
    pub(crate) samples: u64,
    /// Anything else, for the JSON only.
    pub(crate) more: Map<String, Value>,
}

/// Values with their names, in order.
pub(crate) type Figures = Vec<(&'static str, f64)>;

impl Row {
    fn json(&self) -> Value {
        let figures = |figures: &Figures| match figures.is_empty() {
            true => Value::Null,
            false => figures
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(rounded(*value))))
                .collect(),
        };
        let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let mut row = json!({
            "name": self.name,
            "unit": self.unit,
            "ours": figures(&self.ours),
            "floor": figures(&self.floor),
            "floor_is": text(self.floor_is),
            "rival": figures(&self.rival),
            "rival_is": text(self.rival_is),
            "ratio": self.ratio.as_ref().map(Ratio::json),
            "ratio_is": text(self.ratio_is),
            "samples": self.samples,
        });
        if let Some(object) = row.as_object_mut() {
            object.extend(self.more.clone());
        }
        row
    }

    fn cells(&self) -> [String; 7] {
        let figures = |figures: &Figures| match figures.is_empty() {
            true => "-".to_owned(),
            false => figures.iter().map(|(_, v)| short(*v)).collect::<Vec<_>>().join(" / "),
        };
        let names = self.ours.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" / ");
        let ratio = self.ratio.as_ref().map_or("-".to_owned(), Ratio::text);
        [
            self.name.clone(),
            format!("{names}, {}", self.unit),
            figures(&self.ours),
            figures(&self.floor),
            figures(&self.rival),
            ratio,
            self.samples.to_string(),
        ]
    }
}

/// A target of the project with all its rows; the first one is the one that the target is judged by.
#[derive(Debug)]
pub(crate) struct Target {
    /// `P1`.
    pub(crate) number: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    /// At least one.
    pub(crate) rows: Vec<Row>,
}

/// Prints all of them on stdout.
pub(crate) fn print(targets: &[Target], json: bool) {
    if json {
        println!("{}", to_json(targets));
        return;
    }
    for target in targets {
        println!("{}  {}", target.number, target.what);
        let head =
            ["", "figures", "ours", "floor", "rival", "ratio [95 %]", "samples"].map(str::to_owned);
        let lines: Vec<[String; 7]> =
            std::iter::once(head).chain(target.rows.iter().map(Row::cells)).collect();
        let widths: [usize; 7] =
            std::array::from_fn(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0));
        for line in &lines {
            let cells: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("  {}", cells.join("  ").trim_end());
        }
        let notes = |pick: fn(&Row) -> [&'static str; 3]| {
            let mut notes: Vec<String> = Vec::new();
            for row in &target.rows {
                for (what, text) in ["floor", "rival", "ratio"].into_iter().zip(pick(row)) {
                    let note = format!("{what}: {text}");
                    if !text.is_empty() && !notes.contains(&note) {
                        notes.push(note);
                    }
                }
            }
            notes
        };
        for note in notes(|row| [row.floor_is, row.rival_is, row.ratio_is]) {
            println!("  {note}");
        }
        println!();
    }
}

fn to_json(targets: &[Target]) -> Value {
    let mut object = Map::new();
    for target in targets {
        let rows: Vec<Value> = target.rows.iter().map(Row::json).collect();
        let mut headline = rows.first().cloned().unwrap_or_else(|| json!({}));
        if let Some(map) = headline.as_object_mut() {
            map.insert("what".into(), target.what.into());
            map.insert("rows".into(), rows.into());
        }
        object.insert(target.number.into(), headline);
    }
    Value::Object(object)
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn short(value: f64) -> String {
    if !value.is_finite() {
        "?".to_owned()
    } else if value.fract() == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
