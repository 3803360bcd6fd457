//! The child program of this crate's tests: `fake-processor processor <stage>` computes
//! nothing and misbehaves on request (see `damocles_processor::fake`).

use damocles_processor::{Stage, fake};
use std::process::ExitCode;

fn main() -> ExitCode {
    let stage = std::env::args()
        .nth(2)
        .and_then(|name| name.parse::<Stage>().ok());
    match stage.map(fake::run) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
