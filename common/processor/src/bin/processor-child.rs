//! The child program of this crate's own tests: `processor-child processor <stage>`. The
//! daemons have the same command; this one also obeys `fake`.

use damocles_processor::{Stage, fake};
use std::process::ExitCode;

fn main() -> ExitCode {
    let stage = std::env::args()
        .nth(2)
        .and_then(|name| name.parse::<Stage>().ok());
    let Some(stage) = stage else {
        eprintln!("usage: processor-child processor <stage>");
        return ExitCode::from(2);
    };
    let done = if fake::is_wanted() {
        fake::run(stage).map_err(Into::into)
    } else {
        real(stage)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "proofs")]
fn real(stage: Stage) -> anyhow::Result<()> {
    damocles_processor::stage::run_processor(stage)
}

#[cfg(not(feature = "proofs"))]
fn real(stage: Stage) -> anyhow::Result<()> {
    anyhow::bail!("{stage}: built without the proofs")
}
