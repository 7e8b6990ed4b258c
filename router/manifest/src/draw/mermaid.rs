//! As Mermaid: a flowchart from left to right, with a box around what each of the operator's workers runs.
//!
//! Nodes get names of ours (`n0`), since some ids are words of Mermaid's (`end`); what people wrote stands in labels, escaped.

use super::{Picture, gathers, remarks, result};
use crate::catalogue::Media;
use crate::graph::{Graph, Node, Reader, Stream};
use remotemedia_shm_schema::NodeId;
use std::collections::BTreeMap;
use std::fmt::Write;

impl Graph {
    /// The graph as Mermaid's source; the same graph always gives the same.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let picture = Picture::of(self);
        let names: BTreeMap<&NodeId, String> =
            self.nodes.iter().enumerate().map(|(i, node)| (&node.id, format!("n{i}"))).collect();
        let mut results: BTreeMap<String, String> = BTreeMap::new();
        for label in picture.links.iter().filter_map(result) {
            let name = format!("o{}", results.len());
            results.entry(label).or_insert(name);
        }
        let mut text = String::from("flowchart LR\n");
        let drawn = self.draw(&picture, &names, &results, &mut text);
        // Writing to a `String` does not fail.
        debug_assert!(drawn.is_ok());
        text
    }

    fn draw(
        &self,
        picture: &Picture<'_>,
        names: &BTreeMap<&NodeId, String>,
        results: &BTreeMap<String, String>,
        text: &mut String,
    ) -> std::fmt::Result {
        for media in Media::ALL {
            if picture.links.iter().any(|link| link.feed.stream == Stream::Input(media)) {
                writeln!(text, "    i_{media}([\"input.{media}\"])")?;
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            if let Some(worker) = &group.worker {
                writeln!(text, "    subgraph g{index}[\"worker {}\"]", escape(worker))?;
            }
            for node in group.nodes.iter().filter_map(|id| self.node(id)) {
                let name = names.get(&node.id).map_or("n", String::as_str);
                let indent = if group.worker.is_some() { "        " } else { "    " };
                writeln!(text, "{indent}{name}[\"{}\"]", label(node))?;
            }
            if group.worker.is_some() {
                writeln!(text, "    end")?;
            }
        }
        for (label, name) in results {
            writeln!(text, "    {name}([\"{}\"])", escape(label))?;
        }
        for link in &picture.links {
            let from = match &link.feed.stream {
                Stream::Input(media) => format!("i_{media}"),
                Stream::Node { node, .. } => names.get(node).cloned().unwrap_or_default(),
            };
            let to = match (link.to, result(link)) {
                (Reader::Node(node, _), _) => names.get(&node.id).cloned(),
                (Reader::Output(_), label) => label.and_then(|label| results.get(&label).cloned()),
            };
            let arrow = if gathers(link) { "==>" } else { "-->" };
            let ports: Vec<&str> =
                picture.begin(link).into_iter().chain(picture.end(link)).collect();
            let said = match ports.join(" → ") {
                ports if ports.is_empty() => String::new(),
                ports => format!("|\"{}\"|", escape(&ports)),
            };
            writeln!(text, "    {from} {arrow}{said} {}", to.unwrap_or_default())?;
        }
        Ok(())
    }
}

fn label(node: &Node) -> String {
    let remarks = remarks(node).into_iter().filter(|remark| !remark.starts_with("worker "));
    let lines = [node.id.to_string(), node.kind.clone()].into_iter().chain(remarks);
    let lines: Vec<String> = lines.map(|line| escape(&line)).collect();
    lines.join("<br/>")
}

/// What means something to Mermaid, or to the HTML that it makes, as an entity; control characters as gaps.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("#quot;"),
            '#' => escaped.push_str("#35;"),
            '&' => escaped.push_str("#amp;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            // A label that begins with it would be Markdown.
            '`' => escaped.push_str("#96;"),
            '\\' => escaped.push_str("#92;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_mermaid_is_escaped() {
        assert_eq!(escape("a\"]; b"), "a#quot;]; b");
        assert_eq!(escape("<script>&#"), "#lt;script#gt;#amp;#35;");
        assert_eq!(escape("`a\n\\"), "#96;a #92;");
    }
}
