//! What a user of the built-in nodes sees and hears.

#![allow(clippy::unwrap_used, reason = "a test ends where it finds nothing")]

mod any_input;
mod chains;
mod colours;
mod levels;
mod parameters;
mod pictures;
mod rates;
mod sizes;
mod sound;
mod support;
