//! The worker's config of a cast: the one of the demo, and, where the processors are not the
//! worker's own, a section for each stage that names the other program.

use super::scene::{Cast, Who};
use crate::{
    house::{Role, checkout},
    process,
};
use anyhow::{Context, Result};
use std::{fmt::Write as _, fs, path::Path};

/// Stages of a sector without deals that a child of either worker computes.
const STAGES: [&str; 6] = ["add_pieces", "tree_d", "pc1", "pc2", "c2", "transfer"];

/// Writes the template that a worker of the cast is started from; `theirs` is upstream's worker,
/// where the cast has one.
pub(super) fn template(cast: Cast, theirs: &Path, to: &Path) -> Result<()> {
    let demo = checkout().join("config-examples/worker.demo.toml");
    let text =
        fs::read_to_string(&demo).with_context(|| format!("{} cannot be read", demo.display()))?;
    let child = match cast.children {
        Who::Ours => process::program(Role::Worker.program())?,
        Who::Upstream => theirs.to_owned(),
    };
    let foreign = (cast.children != cast.worker).then_some(&*child);
    let text = with_children(&text, foreign);
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(to, text).with_context(|| format!("{} cannot be written", to.display()))
}

/// The demo's own `[[processors]]` stand at its end and give way.
fn with_children(demo: &str, child: Option<&Path>) -> String {
    let Some(child) = child else {
        return demo.to_owned();
    };
    let parts = demo.split("[[processors.").next();
    let mut text = parts.unwrap_or_default().to_owned();
    for stage in STAGES {
        let bin = child.display();
        let args = format!("args = [\"processor\", \"{stage}\"]");
        // writing into a String cannot fail
        let _ = writeln!(
            text,
            "[[processors.{stage}]]\nbin = \"{bin}\"\n{args}\nconcurrent = 1\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_names_the_other_program() {
        let demo = "[worker]\nname = \"w\"\n\n[[processors.pc1]]\nconcurrent = 2\n";
        assert_eq!(with_children(demo, None), demo);
        let text = with_children(demo, Some(Path::new("/x/worker")));
        assert!(text.starts_with("[worker]"), "{text}");
        assert_eq!(text.matches("bin = \"/x/worker\"").count(), STAGES.len());
        assert!(!text.contains("concurrent = 2"), "{text}");
    }
}
