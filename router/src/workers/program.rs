//! The programs that the router starts as workers: our own two, and those that the operator's config describes.

use super::Role;
use super::locate;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How strictly a worker locks itself into its session (`REMOTEMEDIA_SANDBOX`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lock {
    /// Not at all.
    #[default]
    Off,
    /// As far as this kernel can.
    Try,
    /// Wholly, or it serves no session.
    Require,
}

impl Lock {
    /// Its name in the environment and in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Try => "try",
            Self::Require => "require",
        }
    }
}

/// What is started for a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name in tables, to which a number is added.
    pub name: Arc<str>,
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables beside those that every worker gets.
    pub environment: BTreeMap<String, String>,
    /// How it is locked.
    pub sandbox: Lock,
    /// Whether another one is started when one dies.
    pub restart: bool,
    /// Whether access units go to it and come from it over a socket of their own.
    pub data: bool,
}

impl Program {
    /// One of our own.
    ///
    /// # Errors
    /// When its file is nowhere; the error lists every place.
    pub fn own(role: Role, dir: Option<&Path>, sandbox: Lock) -> Result<Self, locate::NotFound> {
        Ok(Self {
            name: role.name().into(),
            path: locate::find(role, dir)?,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            sandbox,
            restart: true,
            data: role == Role::Steward,
        })
    }
}

/// Every program by its role.
pub type Programs = BTreeMap<Role, Program>;
