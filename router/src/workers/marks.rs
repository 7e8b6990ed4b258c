//! A worker's marks: a sealed file in memory that it writes and the router reads when it is dead.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use remotemedia_shm_schema::mark::{CLEAR, MARKS_LEN, Mark, SLOTS};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// The router's end.
#[derive(Debug)]
pub struct Marks {
    file: File,
}

impl Marks {
    /// A file without a mark, and the worker's descriptor of it.
    ///
    /// # Errors
    /// When no memory or descriptor is to be had.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"marks", flags)?);
        file.write_all_at(&CLEAR.repeat(SLOTS), 0)?;
        // The worker cannot make it larger, nor shorter than what the router reads.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let theirs = OwnedFd::from(file.try_clone()?);
        Ok((Self { file }, theirs))
    }

    /// The calls that were under way.
    #[must_use]
    pub fn read(&self) -> Vec<Mark> {
        let mut bytes = vec![0; MARKS_LEN];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Mark::all(&bytes).collect(),
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remotemedia_shm_schema::control::TaskId;

    #[test]
    fn what_a_worker_marked_is_read_after_it_and_the_file_keeps_its_size() {
        let (marks, theirs) = Marks::new().expect("a file in memory");
        assert_eq!(marks.read(), []);
        let theirs = File::from(theirs);
        let mark = Mark { task: TaskId(3), node: Some(1), sequence: 77 };
        theirs.write_all_at(&mark.to_bytes(), 16).expect("written");
        assert!(theirs.set_len(0).is_err() && theirs.set_len(1 << 40).is_err(), "sealed");
        drop(theirs);
        assert_eq!(marks.read(), [mark]);
    }
}
