//! Landlock: the files and sockets that a locked worker may open.
//!
//! Everything is denied but what lies below the session's root and in `/dev/shm`. There iceoryx2 opens ports when they
//! first meet ("lazily"): one that is made elsewhere after the lock makes our next `send` open shared memory, and where it may
//! not, `send` waits for a second, says that all is well, and loses frames. `/dev/shm` cannot be listed, and the names in it
//! begin with the session's secret prefix: what is another's is not found.

use super::{Open, Part};
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, RestrictSelf, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use std::path::Path;

/// The newest of which we know what it forbids; a kernel with less forbids less. Tried is 7.
const NEWEST: ABI = ABI::V9;

/// The ABI that this kernel has, as far as we know it; 0 for none.
pub(super) fn available() -> u8 {
    // Asks without restricting anything.
    let asked = RestrictSelf::default().no_new_privs(false).apply();
    asked.map_or(0, |status| number(&status.landlock))
}

/// Puts it on this thread and all that it will start; gives the ABI in force.
pub(super) fn restrict(part: Part, root: &Path) -> Result<u8, Open> {
    // Service files, one folder a node (its owner lists and removes it at the end), sockets of listeners, whose files are
    // unlinked when a listener is dropped: where that is refused iceoryx2 panics.
    let mut of_session = make_bitflags!(AccessFs::{
        ReadFile | WriteFile | ReadDir | MakeReg | MakeSock | RemoveFile | RemoveDir | Truncate | ResolveUnix
    });
    if part == Part::Keeps {
        // A node's folder of its own, and the one that service files lie in.
        of_session |= AccessFs::MakeDir;
    }
    // Segments, connections between ports, management of events.
    let of_memory =
        make_bitflags!(AccessFs::{ReadFile | WriteFile | MakeReg | RemoveFile | Truncate});
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(root)?, of_session))?
        .add_rule(PathBeneath::new(PathFd::new("/dev/shm")?, of_memory))?
        .restrict_self()?;
    match (status.ruleset, number(&status.landlock)) {
        (RulesetStatus::NotEnforced, _) | (_, 0) => Err(Open::NoLandlock),
        (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, abi) => Ok(abi),
    }
}

fn number(status: &LandlockStatus) -> u8 {
    match status {
        LandlockStatus::Available { effective_abi, .. } => *effective_abi as u8,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    }
}
