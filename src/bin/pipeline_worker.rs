//! The pipeline worker's program: see `remotemedia_pipeline_worker`.

fn main() -> std::process::ExitCode {
    remotemedia_pipeline_worker::main()
}
