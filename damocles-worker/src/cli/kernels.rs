//! `kernels`: what computes on this machine.

use super::say;
use damocles_kernels::cpu::Cpu;
use damocles_processor::stage::{self, StageKernel};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where a stage shall be computed by the proofs library all the same:
  [[processors.pc2]] kernel = \"filecoin-proofs\"
What computed a sector's stages stands in its timeline:
  damocles-manager util sealer sectors state s-t01000-7")]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let cpu = Cpu::detect();
    let stages = stage::kernels(cpu);
    if args.json {
        let value = serde_json::json!({"cpu_features": cpu.features(), "stages": stages});
        return say(serde_json::to_string_pretty(&value)?);
    }
    say(text(&cpu.features(), &stages))
}

fn text(features: &[&str], stages: &[StageKernel]) -> String {
    let found = match features {
        [] => "none that a kernel of ours uses".to_owned(),
        features => features.join(", "),
    };
    let mut lines = vec![format!("instruction sets: {found}"), String::new()];
    for stage in stages {
        lines.push(format!(
            "{:<13}{:<18}{}",
            stage.stage, stage.kernel, stage.why
        ));
        for missing in &stage.missing {
            lines.push(format!(
                "{:<31}without {}; it would bring: {}",
                "", missing.feature, missing.brings
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernels.md");

    #[test]
    fn the_document_shows_what_the_program_says() {
        let sha_only = Cpu {
            sha_ni: true,
            avx2: true,
            ..Cpu::PORTABLE
        };
        let found = std::fs::read_to_string(DOCUMENT).unwrap();
        let mut page = found.clone();
        for (name, cpu) in [
            ("all", Cpu::COMPLETE),
            ("sha", sha_only),
            ("portable", Cpu::PORTABLE),
        ] {
            let (open, close) = (format!("<!-- kernels {name} -->\n"), "<!-- end -->");
            let start = page.find(&open).unwrap() + open.len();
            let end = start + page[start..].find(close).unwrap();
            let shown = text(&cpu.features(), &stage::kernels(cpu));
            page.replace_range(start..end, &format!("```text\n{shown}\n```\n"));
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(DOCUMENT, &page).unwrap();
        } else {
            assert!(
                found == page,
                "docs/kernels.md is old: UPDATE_DOCS=1 cargo test -p damocles-worker"
            );
        }
    }

    #[test]
    fn each_stage_has_its_line_and_what_is_missing_stands_below() {
        let shown = text(&[], &stage::kernels(Cpu::PORTABLE));
        for words in [
            "instruction sets: none",
            "\npc2 ",
            "without avx512ifma; it would bring: ",
            "\nwindow_post  groth-portable ",
            "\nc1           filecoin-proofs ",
        ] {
            assert!(shown.contains(words), "{words:?} is not in\n{shown}");
        }
    }
}
