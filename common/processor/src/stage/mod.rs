//! placeholder
pub fn run_processor(stage: crate::Stage) -> anyhow::Result<()> { anyhow::bail!("{stage}") }
