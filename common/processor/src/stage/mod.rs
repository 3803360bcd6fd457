//! The stages: what a child does with a task. Every stage can run twice with the same end,
//! and its files are synced before it answers.

mod add_pieces;
mod aggregate;
mod aux_files;
mod c2_own;
mod cache_dir;
mod context;
mod free_memory;
mod groth;
mod kernels;
mod make_params;
mod parents;
mod pc1;
mod pc1_batch;
mod pc1_layers;
mod pc1_memory;
mod pc1_own;
mod pc2;
mod pc2_kernel;
mod post;
mod post_own;
mod proof_memory;
mod read_sectors;
mod seal;
mod snap_encode;
mod snap_own;
mod snap_prove;
mod source;
mod synth;
#[cfg(test)]
mod test_sectors;
mod tree_d;
mod trouble;

pub use cache_dir::{PC2_RUNNING, clear_cache, clear_layers, clear_trees, has_layers};
pub use context::{Context, Settings};
pub(crate) use groth::name as prover_name;
pub use kernels::{Missing, StageKernel, kernels};
pub(crate) use make_params::{WithCircuit, secrets, with_circuit};
pub use pc1_batch::Batch;

use crate::{
    kind::Stage,
    serve::{self, Handler, TaskError},
    task::Task,
    transfer,
};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The whole life of a child: `processor <stage>` of the daemons. Returns when stdin ends;
/// the caller must then let the process end, whatever still runs. Logs go to stderr.
pub fn run_processor(stage: Stage, mut settings: Settings) -> anyhow::Result<()> {
    let output = serve::prepare(stage)?;
    settings.batch = Batch::from_env();
    Ok(serve::live(stage.name(), output, handler(stage, settings))?)
}

/// What a child of this stage does with a task.
pub fn handler(stage: Stage, settings: Settings) -> Arc<Handler> {
    Arc::new(move |task, progress| {
        let context = Context {
            settings: &settings,
            progress,
        };
        dispatch(stage, task, &context)
    })
}

fn dispatch(
    stage: Stage,
    task: &RawValue,
    context: &Context<'_>,
) -> Result<Box<RawValue>, TaskError> {
    // the stage that has no other
    if stage == Stage::C1 {
        context.filecoin_proofs_computes();
    }
    match stage {
        Stage::AddPieces => run(task, |t| add_pieces::run(&t, context)),
        Stage::TreeD => run(task, |t| tree_d::run(&t, context)),
        Stage::Pc1 => run(task, |t| pc1::run(&t, context)),
        Stage::Pc2 => run(task, |t| pc2::run(&t, context)),
        Stage::C1 => run(task, seal::c1),
        Stage::C2 => run(task, |t| seal::c2(&t, context)),
        Stage::SnapEncode => run(task, |t| snap_encode::run(&t, context)),
        Stage::Transfer => run(task, |t| {
            transfer::run(&t, !context.settings.no_links, context.progress)
        }),
        Stage::WindowPost => run(task, |t| post::window(&t, context)),
        Stage::WinningPost => run(task, |t| post::winning(&t, context)),
        Stage::MakeParams => run(task, |t| make_params::run(&t, context)),
        Stage::ReadSectors => run(task, read_sectors::run),
        Stage::Aggregate => run(task, |t| aggregate::run(&t, context)),
        Stage::SnapProve => run(task, |t| snap_prove::run(t, context)),
        Stage::SynthProof => run(task, |t| synth::run(&t, context)),
        // Its task is defined; the work comes with the plan that needs it.
        Stage::Unseal => Err(TaskError::permanent(format!(
            "this version has no program for {stage}"
        ))
        .hint(format!("name one in [[processors.{stage}]]"))),
    }
}

fn run<T: Task>(
    task: &RawValue,
    work: impl FnOnce(T) -> Result<T::Output, TaskError>,
) -> Result<Box<RawValue>, TaskError> {
    let task = serde_json::from_str(task.get())
        .map_err(|error| TaskError::permanent(format!("this is no {} task: {error}", T::STAGE)))?;
    let output = work(task)?;
    serde_json::value::to_raw_value(&output)
        .map_err(|error| TaskError::permanent(format!("the output has no JSON form: {error}")))
}
