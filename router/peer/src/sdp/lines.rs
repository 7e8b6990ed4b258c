//! The text into lines, with their numbers.

use crate::PeerError;

/// Bytes of a line; Chrome's longest (`a=fmtp` of AV1, `a=ssrc … msid`) have some hundred.
const MAX_LINE: usize = 4096;

/// `<kind>=<value>`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) kind: char,
    pub(super) value: &'a str,
}

impl<'a> Line<'a> {
    /// An attribute's name, and the line with what follows the colon as its value.
    pub(super) fn attribute(self) -> (&'a str, Self) {
        let (name, value) = self.value.split_once(':').unwrap_or((self.value, ""));
        (name, Self { value, ..self })
    }
}

/// All lines; refuses what is not SDP at all.
pub(super) fn lines(text: &str) -> Result<Vec<Line<'_>>, PeerError> {
    let mut lines = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let number = index + 1;
        if line.len() > MAX_LINE {
            return Err(PeerError::sdp(format!("a line of more than {MAX_LINE} bytes"), number));
        }
        let mut parts = line.splitn(2, '=');
        let (Some(kind), Some(value)) = (parts.next(), parts.next()) else {
            return Err(PeerError::sdp("not of the form <letter>=<value>", number));
        };
        let mut letters = kind.chars();
        let (Some(kind @ 'a'..='z'), None) = (letters.next(), letters.next()) else {
            return Err(PeerError::sdp("not of the form <letter>=<value>", number));
        };
        if value.chars().any(char::is_control) {
            return Err(PeerError::sdp("a control character", number));
        }
        lines.push(Line { number, kind, value });
    }
    match lines.first() {
        Some(Line { kind: 'v', value: "0", .. }) => Ok(lines),
        _ => Err(PeerError::sdp("the description does not begin with v=0", 1)),
    }
}
