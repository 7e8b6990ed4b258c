//! What an owner of connections sees, told with two real ones on loopback.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod call;
mod data;
mod hostile;
mod loss;
mod relay;
mod renegotiation;
mod support;
