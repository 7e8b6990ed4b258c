//! How the C library's allocator shares out memory in this process.

#![allow(unsafe_code, reason = "glibc's tuning is a C function")]

/// Places where threads take memory from. With one for each thread, as is usual, what a crowd took is left in pieces when it
/// is gone, ever more of it; one place is locked for some 50 ns, a few thousand times a second.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 1;

/// Lets all threads that begin from now on share one arena, as other C libraries do anyway.
pub(crate) fn share_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` may be called at any time; with an option that it does not know it does nothing.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) } == 0 {
        tracing::debug!("the allocator does not take a number of arenas");
    }
}
