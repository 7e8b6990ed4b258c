//! A session: a running media graph with its peers, its workers and its namespace.
//!
//! | file | role |
//! |---|---|
//! | [`life`] | pure: when it begins, is suspended, ends |
//! | [`wiring`] | pure: its channels and tasks, step by step |
//! | [`routes`] | pure: who receives what |
//! | [`sdp`] | pure: what an answer agreed to |
//! | [`actor`] | its one task: takes commands, reports, wake-ups; owns everything below |
//! | [`recovery`] | pure: what follows from the deaths of its processes |
//! | [`mending`] | pure: how long each recovery took |
//! | [`budget`] | shared memory that it may take |
//! | [`dance`] | prepare → ready → switch with the workers |
//! | [`output`] | what encoders made, as packets, to the members that view it |
//! | [`member`] | a peer's media task: [`ingress`] and [`egress`] |
//! | [`negotiate`] | a peer's offers and answers, one after the other |
//! | [`relay`] | access units to and from the session's steward |
//! | [`stages`] | how long frames take from stage to stage |
//! | [`describe`] | what tables, pages and receipts show of it |

pub mod actor;
pub mod budget;
mod dance;
pub mod describe;
mod egress;
mod ingress;
pub mod life;
mod member;
pub mod mending;
mod negotiate;
mod output;
pub mod recovery;
mod relay;
mod routes;
pub mod sdp;
pub mod stages;
pub mod wiring;

pub use actor::{Command, Handle, Joiner, Settings, spawn};
pub use describe::Receipt;
