//! What is wrong with a setting, where, and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
    /// Nobody said otherwise.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "the environment's {name}"),
            Self::Flag(name) => f.write_str(name),
            Self::BuiltIn => f.write_str("the built-in defaults"),
        }
    }
}

/// A setting that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and what is allowed.
    pub what: String,
}
