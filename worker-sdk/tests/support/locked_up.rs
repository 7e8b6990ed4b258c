#![allow(unsafe_code, reason = "what it tries under the lock is unsafe by its nature")]
//! The worker of the stories about the sandbox. Its nodes work hard, panic, or do what they should not.
//!
//! A program of its own, for a test harness has a thread before the lock is put on.

#[allow(dead_code, reason = "made for the stories' own programs")]
mod worker;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use remotemedia_worker::Frame;
use remotemedia_worker::schema::Content;
use remotemedia_worker::worker::{
    Catalogue, Command, Factory, Limits, Output, Processor, Role, Task, TaskError, TaskKind, run,
};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

/// What the stories find again in the limits of the process.
const MEMORY: u64 = 1 << 30;

fn main() -> ExitCode {
    run(Role::Pipeline, "locked-up", LockedUp(worker::Stories))
}

struct LockedUp(worker::Stories);

impl Factory for LockedUp {
    fn catalogue(&self) -> Catalogue {
        self.0.catalogue()
    }

    fn limits(&self) -> Limits {
        Limits { memory: Some(MEMORY), descriptors: 1000 }
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        if let TaskKind::Graph { nodes } = &task.kind
            && let [node] = nodes.as_slice()
        {
            match node.kind.as_str() {
                "busy" => return Ok(Box::new(Busy)),
                "deed" => return Ok(Box::new(Deed(node.params.clone()))),
                _ => {}
            }
        }
        self.0.make(task)
    }
}

/// Passes pictures on as an encoder would work on them: by memory that grows and by threads of its own.
struct Busy;

impl Processor for Busy {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let picture = frame.picture().ok_or_else(|| TaskError::failed("no picture"))?;
        assert_ne!(picture.y[0], 13, "a picture that it cannot stand");
        let mut much = vec![0_u8; 24 << 20];
        std::thread::scope(|scope| {
            for part in much.chunks_mut(12 << 20) {
                std::thread::Builder::new()
                    .name("helper".into())
                    .spawn_scoped(scope, || part.fill(picture.y[0]))
                    .expect("a thread");
            }
        });
        let mut loan = out.loan(picture.geometry.payload_len())?;
        let mut made = loan.picture_mut(picture.geometry).expect("it fits");
        made.copy_from(&picture);
        made.y[0] = much[much.len() - 1];
        loan.publish(frame.meta().derive(Content::Picture(picture.geometry)))?;
        Ok(())
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

/// For each picture it does one deed, and writes into the picture's first bytes how it came out: 0, or the error's number.
struct Deed(String);

impl Processor for Deed {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let picture = frame.picture().ok_or_else(|| TaskError::failed("no picture"))?;
        let outcome = match attempt(&self.0) {
            Ok(()) => 0,
            Err(e) => e.raw_os_error().unwrap_or(-1),
        };
        let mut loan = out.loan(picture.geometry.payload_len())?;
        let made = loan.picture_mut(picture.geometry).expect("it fits");
        made.y[..4].copy_from_slice(&outcome.to_le_bytes());
        loan.publish(frame.meta().derive(Content::Picture(picture.geometry)))?;
        Ok(())
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A word for the deed, and what it is done to.
fn attempt(what: &str) -> io::Result<()> {
    let (deed, to) = what.split_once(' ').expect("a deed and its object");
    let pid = || Pid::from_raw(to.parse().expect("a number"));
    let size = NonZeroUsize::new(4096).expect("not zero");
    let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let private = MapFlags::MAP_PRIVATE;
    match deed {
        "connect-tcp" => TcpStream::connect(to).map(drop),
        "listen-tcp" => TcpListener::bind(to).map(drop),
        "open-udp" => UdpSocket::bind(to).map(drop),
        "connect-unix" => UnixStream::connect(to).map(drop),
        "send-abstract" => {
            let address = SocketAddr::from_abstract_name(to)?;
            UnixDatagram::unbound()?.send_to_addr(b"out", &address).map(drop)
        }
        "read" => std::fs::read(to).map(drop),
        "write" => std::fs::write(to, "was here"),
        "remove" => std::fs::remove_file(to),
        "open-up" => std::fs::set_permissions(to, PermissionsExt::from_mode(0o777)),
        "list" => std::fs::read_dir(to).map(drop),
        "follow" => std::fs::read_link(to).map(drop),
        "spawn" => std::process::Command::new(to).spawn()?.wait().map(drop),
        // It only comes back when it failed.
        "become" => Err(std::process::Command::new(to).exec()),
        // SAFETY: the child calls nothing but `_exit`.
        "fork" => match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(waitpid(child, None).map(drop)?),
            // SAFETY: it does not return.
            ForkResult::Child => unsafe { libc::_exit(0) },
        },
        "trace" => Ok(ptrace::seize(pid(), ptrace::Options::empty())?),
        "signal" => Ok(kill(pid(), Signal::SIGURG)?),
        "limit" => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
            Ok(setrlimit(Resource::RLIMIT_NPROC, soft, hard)?)
        }
        // SAFETY: fresh memory that nothing refers to.
        "map-code" => unsafe {
            mmap_anonymous(None, size, writable | ProtFlags::PROT_EXEC, private)?;
            Ok(())
        },
        // SAFETY: as above.
        "make-code" => unsafe {
            let memory = mmap_anonymous(None, size, writable, private)?;
            Ok(mprotect(memory, 4096, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)?)
        },
        other => panic!("{other}: {}", Errno::EINVAL),
    }
}
