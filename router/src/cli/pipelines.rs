//! `remotemedia pipelines`: those of the config, manifests checked and drawn, and the node types that there are.
//!
//! What needs the workers' word starts one of each, asks it and ends it; no router needs to run, and none is touched.

mod nodes;

use super::Failure;
use super::table::{cell, json, list, print, table};
use crate::config::{self, Fault, Given, Settings};
use crate::staff::{self, Offered};
use anyhow::anyhow;
use remotemedia_manifest::{Document, Faults, Origin, schema};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show the config's pipelines, check and draw manifests, list node types.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// A TOML file with settings, the one that `remotemedia serve` gets
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where the workers' programs are [env: REMOTEMEDIA_WORKER_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    worker_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Without any of these the pipelines are listed.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check a manifest's file (JSON, YAML or TOML): tell all that is wrong with it, or draw it
    Check {
        /// The file
        file: PathBuf,
        /// Draw it as Mermaid, for a page
        #[arg(long)]
        mermaid: bool,
    },
    /// Draw a pipeline of the config, or a built-in one
    Show {
        /// Its name
        name: String,
        /// Draw it as Mermaid, for a page
        #[arg(long)]
        mermaid: bool,
    },
    /// List the node types that there are, with their ports and parameters
    Nodes,
    /// Print the JSON Schema of manifests, for editors
    Schema,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy)]
enum Style {
    Text,
    Mermaid,
    Json,
}

impl Style {
    fn of(mermaid: bool, json: bool) -> Self {
        match (json, mermaid) {
            (true, _) => Self::Json,
            (false, true) => Self::Mermaid,
            (false, false) => Self::Text,
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { what, config, worker_dir, json: as_json } = args;
    let given = Given { config, worker_dir, ..Given::default() };
    match what {
        None => overview(&settings(given)?, as_json),
        Some(What::Check { file, mermaid }) => {
            let settings = settings(given)?;
            let what = file.display().to_string();
            let (text, format) = config::read_manifest(&file).map_err(wrong)?;
            let style = Style::of(mermaid, as_json);
            match Document::parse(&text, format) {
                Ok(document) => draw(&what, &document, &staff::ask(&settings).await?, style),
                Err(faults) => refuse(&what, &faults, style),
            }
        }
        Some(What::Show { name, mermaid }) => {
            let settings = settings(given)?;
            let Some(pipeline) = settings.pipelines.get(&name) else {
                let known: Vec<&str> = settings.pipelines.keys().map(String::as_str).collect();
                let known = known.join(", ");
                return Err(Failure::Wrong(format!(
                    "there is no pipeline {name:?}; there are {known}"
                )));
            };
            let what = format!("{}: the pipeline `{name}`", pipeline.place);
            let offered = staff::ask(&settings).await?;
            draw(&what, &pipeline.manifest, &offered, Style::of(mermaid, as_json))
        }
        Some(What::Nodes) => {
            let settings = settings(given)?;
            nodes::show(&staff::ask(&settings).await?, as_json)
        }
        Some(What::Schema) => json(&schema()),
    }
}

fn settings(given: Given) -> Result<Settings, Failure> {
    config::load(&given.with_environment()).map_err(wrong)
}

fn wrong(fault: Fault) -> Failure {
    Failure::Wrong(fault.to_string())
}

/// Lists them as they are written: whether they can be run is not asked.
fn overview(settings: &Settings, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let all = settings.pipelines.iter().map(|(name, pipeline)| {
            json!({
                "name": name,
                "description": pipeline.description,
                "default": *name == settings.default_pipeline,
                "manifest": pipeline.manifest.value(),
            })
        });
        return json(&json!({"pipelines": all.collect::<Vec<Value>>()}));
    }
    let mut table = table(&["PIPELINE", "NODES", "DESCRIPTION"]);
    for (name, pipeline) in &settings.pipelines {
        let default = if *name == settings.default_pipeline { " (default)" } else { "" };
        let described = pipeline.manifest.value().get("pipeline").unwrap_or(&Value::Null);
        let nodes: Vec<String> = list(described, "nodes").iter().map(node).collect();
        let nodes = if nodes.is_empty() { "-".to_owned() } else { nodes.join(", ") };
        table.add_row([format!("{name}{default}"), nodes, plain(&pipeline.description)]);
    }
    print(&table.to_string())
}

fn node(entry: &Value) -> String {
    let (id, kind) = (cell(entry, "id"), cell(entry, "type"));
    match cell(entry, "worker").as_str() {
        "-" => format!("{id} ({kind})"),
        worker => format!("{id} ({kind}, worker {worker})"),
    }
}

/// Draws a manifest, or tells all that is wrong with it. One that must wait for a later version is drawn, and told.
fn draw(what: &str, document: &Document, offered: &Offered, style: Style) -> Result<(), Failure> {
    let graph = match offered.check(document, Origin::Operator) {
        Ok(graph) => graph,
        Err(faults) => return refuse(what, &faults, style),
    };
    let not_yet = offered.pipeline(&graph).err();
    match style {
        Style::Text => print(graph.text().trim_end())?,
        Style::Mermaid => print(graph.mermaid().trim_end())?,
        Style::Json => json(&json!({
            "faults": [],
            "not_yet": not_yet.as_ref().map(ToString::to_string),
            "graph": graph,
            "text": graph.text(),
            "mermaid": graph.mermaid(),
        }))?,
    }
    match not_yet {
        Some(not_yet) => Err(Failure::Failed(anyhow!("{what}: {not_yet}"))),
        None => Ok(()),
    }
}

fn refuse(what: &str, faults: &Faults, style: Style) -> Result<(), Failure> {
    if matches!(style, Style::Json) {
        json(&json!({"faults": faults}))?;
    }
    Err(Failure::Failed(anyhow!("{what}: {}", faults.list())))
}

/// A text of somebody else's on one line of a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_shows_its_type_and_whose_it_is() {
        assert_eq!(node(&json!({"id": "b", "type": "Blur"})), "b (Blur)");
        let faces = json!({"id": "f", "type": "Faces", "worker": "faces"});
        assert_eq!(node(&faces), "f (Faces, worker faces)");
        assert_eq!(plain("a\nb\u{1b}[2J"), "a b [2J");
    }
}
