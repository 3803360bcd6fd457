//! `ext-prover.cfg` as upstream has it: the programs that prove for `daemon run --ext-prover`, each
//! with its own variables, so that a host with several GPUs gives each to one of them.

use damocles_daemon::{
    config::{Report, Rules, parse, parse_file},
    exit::{Exit, Fatal},
    section,
};
use damocles_processor::config::ChildConfig;
use damocles_types::Hidden;
use std::{collections::BTreeMap, num::NonZeroU32, path::Path, path::PathBuf, time::Duration};

/// Its name, beside `sector-manager.cfg`.
pub const EXT_PROVER_FILE: &str = "ext-prover.cfg";

const RULES: Rules = Rules {
    fold_case: true,
    legacy: &[],
};

section! {
    struct ExtProver {
        "WdPost" window: Vec<Program> = vec![];
        "WinPost" winning: Vec<Program> = vec![];
    }
}

section! {
    struct Program {
        "Bin" bin: Option<PathBuf> = None;
        "Args" args: Option<Vec<String>> = None;
        "Envs" envs: BTreeMap<String, Hidden> = BTreeMap::new();
        "Concurrent" concurrent: u32 = 1;
        "Weight" weight: u32 = 1;
        "ReadyTimeoutSecs" ready_timeout_secs: u64 = 5;
    }
}

/// Programs that prove; none for a kind: a child of this program does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtProvers {
    /// WindowPoSts.
    pub window: Vec<ChildConfig>,
    /// WinningPoSts, where blocks are made.
    pub winning: Vec<ChildConfig>,
    /// What a person should know of the file.
    pub notices: Vec<String>,
}

/// Reads and checks the file.
///
/// # Errors
/// One [`Fatal`] that lists all faults.
pub fn ext_provers(path: &Path) -> Result<ExtProvers, Fatal> {
    if !path.exists() {
        return Err(Fatal::new(
            Exit::Config,
            format!(
                "there is no {}, and --ext-prover proves with the programs that it names",
                path.display()
            ),
        )
        .hint("write one with a [[WdPost]] for each GPU, or start without --ext-prover"));
    }
    let (raw, report) = parse_file(path, &RULES)?;
    checked(raw, report)
}

/// Checks the file's text; `path` names it in messages.
///
/// # Errors
/// One [`Fatal`] that lists all faults.
pub fn ext_provers_text(path: &Path, text: &str) -> Result<ExtProvers, Fatal> {
    let (raw, report) = parse(path, text, &RULES);
    checked(raw, report)
}

fn checked(raw: Option<ExtProver>, mut report: Report) -> Result<ExtProvers, Fatal> {
    let ExtProver { window, winning } = raw.unwrap_or_default();
    if window.is_empty() && winning.is_empty() {
        report.fault(
            "WdPost",
            "names no program; add a [[WdPost]], or start without --ext-prover",
        );
    }
    for (kind, programs) in [("WdPost", &window), ("WinPost", &winning)] {
        for (i, program) in programs.iter().enumerate() {
            if program.args.is_some() && program.bin.is_none() {
                report.notice(
                    &format!("{kind}[{i}].Args"),
                    "is passed over without a Bin, as upstream does",
                );
            }
            if program.weight > 1 {
                report.notice(
                    &format!("{kind}[{i}].Weight"),
                    "is not used: the first program in the file that is free proves",
                );
            }
        }
    }
    let notices = report.finish()?;
    Ok(ExtProvers {
        window: window.into_iter().map(child).collect(),
        winning: winning.into_iter().map(child).collect(),
        notices: notices.iter().map(ToString::to_string).collect(),
    })
}

fn child(program: Program) -> ChildConfig {
    let Program {
        bin,
        args,
        envs,
        concurrent,
        weight: _,
        ready_timeout_secs,
    } = program;
    let usual = Program::default();
    let wait = match ready_timeout_secs {
        0 => usual.ready_timeout_secs,
        seconds => seconds,
    };
    ChildConfig {
        args: args.filter(|_| bin.is_some()),
        bin,
        envs,
        // 0 counts as 1
        concurrent: NonZeroU32::new(concurrent.max(1)),
        stable_wait: Duration::from_secs(wait),
        ..ChildConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ExtProvers, String> {
        let read = ext_provers_text(Path::new("ext-prover.cfg"), text);
        read.map_err(|fatal| fatal.to_string())
    }

    #[test]
    fn upstreams_file_gives_each_program_its_gpu() {
        let read = read(include_str!("../../../config-examples/ext-prover.cfg")).unwrap();
        let gpus: Vec<_> = read
            .window
            .iter()
            .map(|child| child.envs["CUDA_VISIBLE_DEVICES"].0.as_str())
            .collect();
        assert_eq!(gpus, ["0", "1"]);
        let one =
            |child: &ChildConfig| child.bin.is_none() && child.concurrent == NonZeroU32::new(1);
        assert!(read.window.iter().all(one));
        assert_eq!(read.notices, [] as [&str; 0]);
    }

    #[test]
    fn what_is_wrong_or_not_used_is_told() {
        let own = "[[wdpost]]\nbin = \"/opt/prover\"\nargs = [\"-x\"]\nconcurrent = 0\nreadytimeoutsecs = 0\nweight = 3\n[[WinPost]]\n";
        let found = read(own).unwrap();
        let child = &found.window[0];
        assert_eq!(child.args.as_deref(), Some(&["-x".to_owned()][..]));
        assert_eq!(
            (child.concurrent, child.stable_wait),
            (NonZeroU32::new(1), Duration::from_secs(5))
        );
        assert_eq!(found.winning.len(), 1, "it has a child of its own");
        assert_eq!(found.notices.len(), 1, "{:?}", found.notices);
        let none = read("").unwrap_err();
        assert!(none.contains("names no program"), "{none}");
        let wrong = read("[[WdPost]]\nConcurent = 2\n").unwrap_err();
        assert!(wrong.contains("did you mean \"Concurrent\"?"), "{wrong}");
        let bare = read("[[WdPost]]\nArgs = [\"-x\"]\n").unwrap();
        assert_eq!(bare.window[0].args, None);
        assert!(bare.notices[0].contains("without a Bin"));
    }
}
