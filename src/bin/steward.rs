//! The steward's program: see `remotemedia_worker::steward`.

fn main() -> std::process::ExitCode {
    remotemedia_worker::steward::main()
}
