//! `shm_schema.h` is what cbindgen makes of `src/header.rs`, and a C compiler lays it out as Rust does.

mod kept;

use remotemedia_shm_schema::header::{self, FrameHeader, WirePlane, WireStamp};
use remotemedia_shm_schema::{Codec, Flags};
use std::fmt::Write;
use std::mem::{align_of, offset_of, size_of};
use std::{env, fs, path::Path, process::Command};

#[test]
fn the_c_header_is_generated_from_the_code() {
    kept::in_step("shm_schema.h", &generated());
}

#[test]
fn a_c_compiler_gives_every_field_its_place() {
    let folder = tempfile();
    let program = folder.join("layout.c");
    fs::write(&program, format!("#include \"shm_schema.h\"\n#include <stddef.h>\n{}", layout()))
        .expect("program is written");
    fs::write(folder.join("shm_schema.h"), generated()).expect("header is written");
    for (language, standard) in [("c", "c11"), ("c++", "c++17")] {
        let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
        let told = Command::new(&compiler)
            .args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"])
            .args(["-Wall", "-Wextra", "-Werror", "-pedantic"])
            .arg(&program)
            .output()
            .unwrap_or_else(|e| panic!("a C compiler is needed, `{compiler}` says: {e}"));
        assert!(told.status.success(), "{language}:\n{}", String::from_utf8_lossy(&told.stderr));
    }
    fs::remove_dir_all(folder).expect("folder is removed");
}

fn generated() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(
            "/* What stands before every payload in shared memory. Generated from src/header.rs: do not edit.\n   \
             All integers are in the machine's byte order; a reader copies the header once and checks the copy. */"
                .into(),
        ),
        include_guard: Some("REMOTEMEDIA_SHM_SCHEMA_H".into()),
        no_includes: true,
        sys_includes: vec!["stdint.h".into()],
        cpp_compat: true,
        style: cbindgen::Style::Tag,
        after_includes: Some(listed()),
        documentation_style: cbindgen::DocumentationStyle::C99,
        tab_width: 4,
        usize_is_size_t: true,
        ..cbindgen::Config::default()
    };
    config.export.prefix = Some("RM_".into());
    config.export.renaming_overrides_prefixing = true;
    config.export.include = ["FrameHeader", "WirePlane", "WireStamp"].map(String::from).to_vec();
    for (rust, c) in
        [("FrameHeader", "rm_frame_header"), ("WirePlane", "rm_plane"), ("WireStamp", "rm_stamp")]
    {
        config.export.rename.insert(rust.into(), c.into());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/header.rs");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(source)
        .generate()
        .expect("cbindgen reads src/header.rs");
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    // Rustdoc's links mean nothing in C.
    String::from_utf8(bytes).expect("cbindgen writes text").replace("[`", "`").replace("`]", "`")
}

/// Values that the code keeps in types which C does not have.
fn listed() -> String {
    let mut text = String::from("\n/* Bits of `flags`. */\n");
    for (name, flag) in [
        ("KEYFRAME", Flags::KEYFRAME),
        ("DISCONTINUITY", Flags::DISCONTINUITY),
        ("END", Flags::END),
        ("LOST", Flags::LOST),
        ("SILENCE", Flags::SILENCE),
        ("MUTED", Flags::MUTED),
    ] {
        let _ = writeln!(text, "#define RM_FLAG_{name} {}", flag.bits());
    }
    text.push_str("\n/* Values of `codec`. */\n");
    for codec in [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264] {
        let _ = writeln!(text, "#define RM_CODEC_{} {}", codec.name().to_uppercase(), codec as u8);
    }
    text.pop();
    text
}

fn layout() -> String {
    let mut text = String::from(
        "#ifdef __cplusplus\n#define CHECK(what) static_assert(what, #what)\n#else\n\
         #define CHECK(what) _Static_assert(what, #what)\n#define alignof _Alignof\n#endif\n",
    );
    macro_rules! same {
        ($rust:ident as $c:literal: $($field:ident),+) => {
            let _ = writeln!(text, "CHECK(sizeof(struct {}) == {});", $c, size_of::<$rust>());
            let _ = writeln!(text, "CHECK(alignof(struct {}) == {});", $c, align_of::<$rust>());
            $(let _ = writeln!(
                text, "CHECK(offsetof(struct {}, {}) == {});",
                $c, stringify!($field), offset_of!($rust, $field)
            );)+
            // Names every field, so that a new one must be listed here.
            let _ = |whole: $rust| { let $rust { $($field: _),+ } = whole; };
        };
    }
    same!(WirePlane as "rm_plane": offset, stride);
    same!(WireStamp as "rm_stamp": ns, stage, reserved);
    same!(FrameHeader as "rm_frame_header": abi, kind, format, codec, stamp_count, flags, epoch,
        generation, rtp_time, sequence, source, media_time_ns, duration_ns, width, height,
        rotation, stride_alignment, matrix, range, channels, reserved, rate, samples,
        payload_len, planes, stamps);
    for (name, value) in [
        ("ABI_VERSION", u64::from(header::ABI_VERSION)),
        ("MAX_STAMPS", header::MAX_STAMPS as u64),
        ("MAX_SIDE", u64::from(header::MAX_SIDE)),
        ("MAX_STRIDE_ALIGNMENT", u64::from(header::MAX_STRIDE_ALIGNMENT)),
        ("MAX_CHANNELS", u64::from(header::MAX_CHANNELS)),
        ("KIND_PICTURE", u64::from(header::KIND_PICTURE)),
        ("KIND_SOUND", u64::from(header::KIND_SOUND)),
        ("KIND_CODED", u64::from(header::KIND_CODED)),
        ("KIND_DATA", u64::from(header::KIND_DATA)),
        ("FORMAT_I420", u64::from(header::FORMAT_I420)),
        ("FORMAT_F32", u64::from(header::FORMAT_F32)),
    ] {
        let _ = writeln!(text, "CHECK(RM_{name} == {value});");
    }
    text
}

fn tempfile() -> std::path::PathBuf {
    let folder = env::temp_dir().join(format!("remotemedia-c-header-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("folder is made");
    folder
}
