//! Namespaces come, stay apart, and go without a trace; folders and numbers that would do harm are refused with figures.

mod support;

use nix::unistd::{Uid, chown};
use remotemedia_worker::Attachment;
use remotemedia_worker::namespace::{
    Ground, Host, MAX_CAPACITY, MAX_INDEX, MAX_PAYLOAD, MAX_READERS, Runtime, RuntimeFault,
    bytes_of, leftovers, objects, sweep_dead,
};
use remotemedia_worker::schema::control::{ChannelSpec, Namespace};
use remotemedia_worker::schema::{ChannelIndex, Contract};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::{Rig, geometry, send_picture, send_unit};

/// A path in `/dev/shm` that nobody has.
fn fresh() -> PathBuf {
    PathBuf::from(format!("/dev/shm/rmt-{:08x}", rand::random::<u32>()))
}

#[test]
fn the_default_folder_is_one_that_can_be_used() {
    let dir = Runtime::default_dir();
    assert!(dir.is_absolute() && dir.as_os_str().len() <= 30, "{dir:?}");
}

#[test]
fn a_runtime_folder_is_made_for_its_owner_alone_and_opened_again() {
    let dir = fresh();
    for _ in 0..2 {
        let runtime = Runtime::open(&dir).expect("a folder");
        assert_eq!(runtime.dir(), dir);
        let mode = std::fs::metadata(&dir).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
    std::fs::remove_dir(&dir).expect("removed");
}

#[test]
fn a_runtime_folder_on_a_disk_is_refused() {
    // By the standard of file systems, /var/tmp outlives a restart.
    let dir = tempfile::Builder::new().prefix("rm").tempdir_in("/var/tmp").expect("a folder");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("changed");
    let fault = Runtime::open(dir.path()).expect_err("on a disk");
    assert!(matches!(fault, RuntimeFault::NotTmpfs { .. }), "{fault}");
    assert!(fault.to_string().contains("tmpfs 0x1021994"), "{fault}");
}

#[test]
fn a_runtime_folder_that_others_may_enter_is_refused() {
    let dir = fresh();
    std::fs::create_dir(&dir).expect("made");
    for mode in [0o755, 0o710, 0o1700, 0o500] {
        std::fs::set_permissions(&dir, Permissions::from_mode(mode)).expect("changed");
        let fault = Runtime::open(&dir).expect_err("open to others");
        assert!(fault.to_string().contains(&format!("mode {mode:04o}, 0700 is needed")), "{fault}");
    }
    std::fs::remove_dir(&dir).expect("removed");
}

#[test]
fn a_runtime_folder_of_somebody_else_is_refused() {
    // Root makes one that is not its own; anybody else finds that /dev/shm is root's.
    let (dir, made) = if Uid::effective().is_root() {
        let dir = fresh();
        std::fs::create_dir(&dir).expect("made");
        chown(&dir, Some(Uid::from_raw(65534)), None).expect("given away");
        (dir, true)
    } else {
        (PathBuf::from("/dev/shm"), false)
    };
    let fault = Runtime::open(&dir).expect_err("somebody else's");
    assert!(matches!(fault, RuntimeFault::Owner { .. }), "{fault}");
    if made {
        std::fs::remove_dir(&dir).expect("removed");
    }
}

#[test]
fn a_runtime_folder_that_is_too_long_relative_a_file_or_a_link_is_refused() {
    let long = format!("/dev/shm/{}", "x".repeat(22));
    let fault = Runtime::open(Path::new(&long)).expect_err("too long");
    let said = fault.to_string();
    assert!(said.contains("has 31 bytes, 30 are allowed") && said.contains("takes 62"), "{said}");
    assert!(!Path::new(&long).exists(), "it is not made first");
    for dir in ["", "remotemedia", "./x"] {
        let fault = Runtime::open(Path::new(dir)).expect_err("relative");
        assert!(matches!(fault, RuntimeFault::NotAbsolute(_)), "{fault}");
    }
    let (file, link) = (fresh(), fresh());
    std::fs::write(&file, "").expect("written");
    std::os::unix::fs::symlink("/dev/shm", &link).expect("linked");
    for dir in [&file, &link] {
        let fault = Runtime::open(dir).expect_err("not a folder");
        assert!(matches!(fault, RuntimeFault::NotAFolder(_)), "{fault}");
        std::fs::remove_file(dir).expect("removed");
    }
    let fault = Runtime::open(Path::new("/dev/shm/no/such")).expect_err("no parent");
    assert!(matches!(fault, RuntimeFault::Io { what: "create", .. }), "{fault}");
}

#[test]
fn the_longest_folder_that_is_allowed_works() {
    let dir = format!("/dev/shm/{:021x}", rand::random::<u64>());
    let runtime = Runtime::open(Path::new(&dir)).expect("30 bytes");
    let mut host = Host::create(&runtime).expect("a namespace");
    host.create_wake("w").expect("a wake-up");
    drop(host.attachment().wake("w").expect("its socket can be reached"));
    assert_eq!(host.sweep().left, Vec::<String>::new());
    std::fs::remove_dir(&dir).expect("empty");
}

/// Whether files of this process come out with all that their owner may do.
fn owner_keeps_all() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("its umask");
    u32::from_str_radix(line.trim(), 8).expect("octal") & 0o700 == 0
}

#[test]
fn wake_ups_that_are_opened_at_once_leave_the_umask_as_it_was() {
    let mut rig = Rig::new();
    for thread in 0..4 {
        for n in 0..20 {
            rig.host().create_wake(&format!("w{thread}.{n}")).expect("a wake-up");
        }
    }
    let attachment = rig.host().attachment();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..20 {
                    drop(attachment.wake(&format!("w{thread}.{n}")).expect("a wake-up"));
                }
            });
        }
    });
    // Another test of this process may just be binding one.
    let begin = std::time::Instant::now();
    while !owner_keeps_all() {
        assert!(begin.elapsed() < support::PATIENCE, "the umask stays narrow");
        std::thread::yield_now();
    }
    rig.end();
}

#[test]
fn two_sessions_with_the_same_names_stay_apart() {
    let (mut one, mut other) = (Rig::new(), Rig::new());
    let wirings =
        [one.wire(1, Contract::ENCODED_AUDIO, 100), other.wire(1, Contract::ENCODED_AUDIO, 100)];
    let mut ours = (one.outlet(&wirings[0].input), one.inlet(&wirings[0].input));
    let mut theirs = (other.outlet(&wirings[1].input), other.inlet(&wirings[1].input));
    send_unit(&mut ours.0, 1, false);
    send_unit(&mut theirs.0, 2, false);
    assert_eq!(ours.1.receive().expect("ours").payload(), [1; 4]);
    assert_eq!(theirs.1.receive().expect("theirs").payload(), [2; 4]);
    assert!(ours.1.receive().is_none() && theirs.1.receive().is_none());
    drop(ours);
    one.end();
    send_unit(&mut theirs.0, 3, false);
    assert_eq!(
        theirs.1.receive().expect("theirs").payload(),
        [3; 4],
        "one's end is not the other's"
    );
    drop(theirs);
    other.end();
}

#[test]
fn a_channel_takes_no_more_memory_than_was_added_up_before() {
    for (contract, max_payload, max_readers) in [
        (Contract::RAW_VIDEO, geometry().payload_len() as u32, 1),
        (Contract::RAW_VIDEO, 1280 * 720 * 3 / 2, 3),
        (Contract::RAW_AUDIO, 46_080, 2),
        (Contract::ENCODED_VIDEO, 512 * 1024, 1),
        (Contract::ENCODED_AUDIO, 1, 1),
        (Contract { capacity: 900, ..Contract::ENCODED_AUDIO }, 8192, 4),
    ] {
        let mut rig = Rig::new();
        let before = shm_bytes(&rig);
        let mut spec = rig.wire(1, contract, max_payload).input;
        spec.service = "measured".into();
        spec.max_readers = max_readers;
        spec.wakes = Vec::new();
        let with_others = shm_bytes(&rig);
        assert!(with_others > before);
        rig.host().create_channel(&spec).expect("a channel");
        let mut outlet = rig.outlet(&spec);
        let inlets: Vec<_> = (0..max_readers).map(|_| rig.inlet(&spec)).collect();
        outlet
            .loan(1)
            .expect("a loan")
            .publish_len(
                remotemedia_worker::schema::Meta::new(remotemedia_worker::schema::Content::Data),
                1,
            )
            .expect("published");
        let took = shm_bytes(&rig) - with_others;
        let said = bytes_of(&spec);
        assert!(took <= said, "{contract:?} x {max_readers}: took {took}, {said} were said");
        assert!(said <= took + took / 4 + 64 * 1024, "{contract:?}: took {took}, {said} were said");
        drop((outlet, inlets));
        rig.end();
    }
}

/// What the session's objects would have if all their pages were touched.
fn shm_bytes(rig: &Rig) -> u64 {
    let len =
        |name: String| std::fs::metadata(Path::new("/dev/shm").join(name)).map_or(0, |m| m.len());
    rig.objects().into_iter().map(len).sum()
}

#[test]
fn a_session_counts_what_it_has_and_a_touched_page_counts() {
    let mut rig = Rig::new();
    let empty = rig.host().objects().expect("a listing");
    let wiring = rig.wire(1, Contract::RAW_VIDEO, 1 << 20);
    let mut ends = rig.ends(&wiring);
    let before = rig.host().objects().expect("a listing");
    assert!(before.count > empty.count);
    send_picture(&mut ends.to, 1);
    let after = rig.host().objects().expect("a listing");
    let payload = geometry().payload_len() as u64;
    assert!(after.bytes + 2 * 4096 >= before.bytes + payload, "{before:?} {after:?}");
    drop(ends);
    let swept = rig.host.take().expect("not ended").sweep();
    assert!(swept.removed > 0 && swept.bytes > 0 && swept.left.is_empty(), "{swept:?}");
}

#[test]
fn what_a_dead_router_left_is_found_and_swept() {
    let dir = fresh();
    let runtime = Runtime::open(&dir).expect("a folder");
    let living = Ground::make(&runtime).expect("another router's");
    // As a router that is killed: nothing is dropped, and nobody holds the lock.
    let root = dir.join("0123456789ab");
    let namespace = Namespace {
        prefix: format!("m{:016x}_", std::process::id()),
        root: root.to_string_lossy().into_owned(),
    };
    std::fs::create_dir(&root).expect("made");
    std::fs::write(root.join("prefix"), &namespace.prefix).expect("written");
    let mut host = Host::keep(&namespace).expect("its services");
    host.create_wake("w").expect("a wake-up");
    let wake = host.attachment().wake("w").expect("listening");
    std::mem::forget((host, wake));
    std::fs::create_dir(dir.join("not-one-of-ours")).expect("made");
    assert_eq!(leftovers(&runtime), std::slice::from_ref(&namespace));
    assert!(objects(&namespace).expect("a listing").count > 0);
    let swept = sweep_dead(&namespace.prefix, Path::new(&namespace.root));
    assert!(swept.removed > 0 && swept.left.is_empty(), "{swept:?}");
    assert_eq!(objects(&namespace).expect("a listing").count, 0);
    assert_eq!(leftovers(&runtime), []);
    let again = sweep_dead(&namespace.prefix, Path::new(&namespace.root));
    assert_eq!((again.removed, again.left), (0, vec![]), "sweeping twice does no harm");
    assert!(dir.join("not-one-of-ours").exists());
    assert!(Path::new(&living.namespace().root).exists());
    assert_eq!(living.sweep().left, Vec::<String>::new());
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn a_sweep_refuses_what_is_not_a_namespace() {
    let dir = fresh();
    std::fs::create_dir(&dir).expect("made");
    // Names that nothing has and a folder of the test's own: a sweep that took them would do no harm.
    let nobody = "m0123456789ABCDEF_";
    for (prefix, root) in [(nobody, dir.join("0123456789ab")), ("m0123456789abcdef_", dir.clone())]
    {
        let swept = sweep_dead(prefix, &root);
        assert_eq!(swept.removed, 0);
        assert!(swept.left[0].starts_with("refused"), "{prefix} {root:?} {swept:?}");
    }
    assert!(dir.exists());
    std::fs::remove_dir(&dir).expect("removed");
}

#[test]
fn a_process_opens_only_namespaces_of_the_one_shape() {
    let good =
        Namespace { prefix: "m0123456789abcdef_".into(), root: "/dev/shm/x/0123456789ab".into() };
    for (namespace, says) in [
        (Namespace { prefix: "iox2_".into(), ..good.clone() }, "16 hex digits"),
        (Namespace { prefix: "m0123456789abcde/_".into(), ..good.clone() }, "16 hex digits"),
        (Namespace { root: "/dev/shm/x".into(), ..good.clone() }, "12 hex digits"),
        (Namespace { root: "dev/0123456789ab".into(), ..good.clone() }, "absolute"),
        (Namespace { root: "/dev/../etc/0123456789ab".into(), ..good.clone() }, "absolute"),
        (
            Namespace { root: format!("/{}/0123456789ab", "x".repeat(30)), ..good.clone() },
            "root and prefix have 62 bytes, 61 are allowed",
        ),
    ] {
        let fault = Attachment::open(&namespace).expect_err("refused");
        assert!(fault.to_string().contains(says), "{fault}");
        assert!(!Path::new(&namespace.root).exists());
    }
}

#[test]
fn a_channel_outside_its_bounds_is_refused_with_the_figures() {
    let mut rig = Rig::new();
    let good = rig.wire(1, Contract::RAW_VIDEO, 100).input;
    let contract = |capacity| Contract { capacity, ..Contract::RAW_VIDEO };
    let with = |change: &dyn Fn(&mut ChannelSpec)| {
        let mut spec = ChannelSpec { service: "another".into(), ..good.clone() };
        change(&mut spec);
        spec
    };
    for (spec, says) in [
        (with(&|s| s.index = ChannelIndex(MAX_INDEX + 1)), "channel index \"256\""),
        (with(&|s| s.contract = contract(0)), "channel capacity \"0\""),
        (with(&|s| s.contract = contract(MAX_CAPACITY + 1)), "takes 1 to 1024"),
        (with(&|s| s.max_payload = 0), "channel payload \"0\""),
        (with(&|s| s.max_payload = MAX_PAYLOAD + 1), "channel payload"),
        (with(&|s| s.max_readers = 0), "number of readers \"0\""),
        (with(&|s| s.max_readers = MAX_READERS + 1), "takes 1 to 64"),
        (with(&|s| s.wakes = vec!["w".into(); 17]), "number of wakes \"17\""),
        (with(&|s| s.wakes = vec![String::new()]), "1 to 200 visible"),
        (with(&|s| s.service = "x".repeat(201)), "1 to 200 visible"),
        (with(&|s| s.service = "a b".into()), "1 to 200 visible"),
        (with(&|s| s.service = good.service.clone()), "it is in use"),
    ] {
        let fault = rig.host().create_channel(&spec).expect_err(says);
        assert!(fault.to_string().contains(says), "{fault}");
    }
    let missing = with(&|s| s.service = "nobody-made-it".into());
    for fault in [
        rig.host().attachment().outlet(&missing).map(|_| ()).expect_err("not there"),
        rig.host().attachment().inlet(&missing).map(|_| ()).expect_err("not there"),
        rig.host().attachment().wake("nobody-made-it").map(|_| ()).expect_err("not there"),
    ] {
        assert!(fault.to_string().contains("`nobody-made-it`: DoesNotExist"), "{fault}");
    }
    rig.end();
}

#[test]
fn a_host_that_is_forgotten_by_its_owner_sweeps_itself() {
    let rig = Rig::new();
    let namespace = rig.host.as_ref().expect("there").namespace().clone();
    drop(rig);
    assert_eq!(objects(&namespace).expect("a listing").count, 0);
}
