//! For a terminal: one line for each way between forks and joins, so that every stream is drawn once.
//!
//! ```text
//! input.video → blur (GaussianBlur) → clock (Overlay) → output.video
//! input.audio ⇒ mix (Mixer, one for the session) → output.audio
//!
//! main goes to its sender when alone, else the others
//! ```
//!
//! `⇒` is the stream of every peer. Where a node has several ports, the port is said; at its first mention its type is.

use super::{Picture, gathers, remarks, result};
use crate::graph::{Graph, Link, Node, Reader, Route, Stream};
use remotemedia_shm_schema::NodeId;
use std::collections::BTreeSet;

impl Graph {
    /// The graph as lines of text; the same graph always gives the same.
    #[must_use]
    pub fn text(&self) -> String {
        let mut pen = Pen { picture: Picture::of(self), named: BTreeSet::new(), lines: Vec::new() };
        pen.inputs();
        for node in &self.nodes {
            pen.out_of(node);
        }
        let mut text = pen.lines.join("\n");
        text.push('\n');
        for (index, output) in self.outputs.iter().enumerate() {
            let gap = if index == 0 && !pen.lines.is_empty() { "\n" } else { "" };
            let to: Vec<String> = output.routes.iter().map(Route::to_string).collect();
            let to = if to.is_empty() { "who subscribes to it".to_owned() } else { to.join(", ") };
            text.push_str(&format!("{gap}{} goes to {to}\n", output.id));
        }
        if let [_, _, ..] = self.ladder.as_slice() {
            let all: Vec<String> = self.ladder.iter().map(ToString::to_string).collect();
            text.push_str(&format!("by bandwidth: {}\n", all.join(", ")));
        }
        text
    }
}

struct Pen<'g> {
    picture: Picture<'g>,
    /// Nodes whose type was said.
    named: BTreeSet<&'g NodeId>,
    lines: Vec<String>,
}

impl<'g> Pen<'g> {
    /// Every way that begins at a peer.
    fn inputs(&mut self) {
        let links = self.picture.links.clone();
        for link in &links {
            if matches!(link.feed.stream, Stream::Input(_)) {
                self.way(link);
            }
        }
    }

    /// Every way that begins at this node: it does if it is a fork, a join or a source.
    fn out_of(&mut self, node: &'g Node) {
        if self.straight(&node.id) {
            return;
        }
        let links = self.picture.links.clone();
        for link in links.iter().filter(|link| comes_from(link, &node.id)) {
            self.way(link);
        }
        // A node that nobody reads and that reads nobody would else not be seen.
        if !self.named.contains(&node.id) {
            let alone = self.node(node, None);
            self.lines.push(alone);
        }
    }

    /// One line, from a link on as far as it goes without a fork or a join.
    fn way(&mut self, first: &Link<'g>) {
        let mut line = match &first.feed.stream {
            Stream::Input(media) => format!("input.{media}"),
            Stream::Node { node, .. } => {
                let port = self.picture.begin(first);
                match self.picture.graph.node(node) {
                    Some(node) => self.node(node, port),
                    None => first.feed.stream.to_string(),
                }
            }
        };
        let mut link = *first;
        loop {
            line.push_str(if gathers(&link) { " ⇒ " } else { " → " });
            let node = match (link.to, result(&link)) {
                (_, Some(result)) => {
                    line.push_str(&result);
                    break;
                }
                (Reader::Node(node, _), None) => node,
                (Reader::Output(_), None) => break,
            };
            let port = self.picture.end(&link);
            let name = self.node(node, port);
            line.push_str(&name);
            if !self.straight(&node.id) {
                break;
            }
            match self.picture.links.iter().find(|next| comes_from(next, &node.id)) {
                Some(next) => link = *next,
                None => break,
            }
        }
        self.lines.push(line);
    }

    /// Whether one stream leads in and one out.
    fn straight(&self, id: &NodeId) -> bool {
        let links = &self.picture.links;
        let into = |link: &&Link<'_>| matches!(link.to, Reader::Node(node, _) if node.id == *id);
        links.iter().filter(into).count() == 1
            && links.iter().filter(|link| comes_from(link, id)).count() == 1
    }

    /// A node's id, with its port where that must be said, and with its type at the first mention.
    fn node(&mut self, node: &'g Node, port: Option<&str>) -> String {
        let port = port.map_or(String::new(), |port| format!(".{port}"));
        if !self.named.insert(&node.id) {
            return format!("{}{port}", node.id);
        }
        let said = std::iter::once(node.kind.clone()).chain(remarks(node));
        let said: Vec<String> = said.collect();
        format!("{}{port} ({})", node.id, said.join(", "))
    }
}

fn comes_from(link: &Link<'_>, id: &NodeId) -> bool {
    matches!(&link.feed.stream, Stream::Node { node, .. } if node == id)
}
