//! The program damocles-worker: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    damocles_worker::cli::main()
}
