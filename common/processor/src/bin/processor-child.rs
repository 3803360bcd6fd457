//! The child program of this crate's own tests: `processor-child processor <stage>
//! [--kernel <choice>]`. The daemons have the same command; this one also obeys `fake`.

use damocles_processor::{KernelChoice, Stage, fake};
use std::process::ExitCode;

fn main() -> ExitCode {
    let stage = std::env::args()
        .nth(2)
        .and_then(|name| name.parse::<Stage>().ok());
    let kernel = match std::env::args().nth(4).map(|word| word.parse()) {
        None => Ok(KernelChoice::default()),
        Some(kernel) => kernel,
    };
    let (Some(stage), Ok(kernel)) = (stage, kernel) else {
        eprintln!("usage: processor-child processor <stage> [--kernel auto|filecoin-proofs]");
        return ExitCode::from(2);
    };
    let done = if fake::is_wanted() {
        fake::run(stage).map_err(Into::into)
    } else {
        real(stage, kernel)
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
fn real(stage: Stage, kernel: KernelChoice) -> anyhow::Result<()> {
    damocles_processor::stage::run_processor(stage, kernel.into())
}

#[cfg(not(feature = "proofs"))]
fn real(stage: Stage, _: KernelChoice) -> anyhow::Result<()> {
    anyhow::bail!("{stage}: built without the proofs")
}
