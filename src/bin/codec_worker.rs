//! The codec worker's program: see `remotemedia_codec_worker`.

fn main() -> std::process::ExitCode {
    remotemedia_codec_worker::main()
}
