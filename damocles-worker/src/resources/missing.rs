//! What a configuration names on this host and what is not there: programs, proof parameters,
//! directories of memory files. Directories of threads and stores are the configuration's own
//! affair, since a disk may come later.

use super::{
    needs,
    sums::{Finding, Thread, Weight},
};
use crate::config::Config;
use damocles_processor::{Stage, params};
use damocles_types::SectorSize;
use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A fault for each.
pub fn missing(config: &Config, threads: &[Thread], synthetic: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, stage, child) in config.processors.children() {
        if let Some(bin) = &child.bin
            && let Some(why) = no_program(bin)
        {
            findings.push(Finding::fault(format!("{key}.bin: {why}")));
        }
        // what variables mean to a program that is no stage is its own affair
        let dir = stage.and_then(|_| child.envs.get("HUGEPAGE_FILES_PATH"));
        if let Some(dir) = dir.filter(|dir| !Path::new(&dir.0).is_dir()) {
            findings.push(Finding::fault(format!(
                "{key}.envs: HUGEPAGE_FILES_PATH names {}, which is no directory; make files there with `damocles-worker store hugepage-file-init`",
                dir.0
            )));
        }
    }
    findings.extend(no_parameters(config, threads, synthetic));
    findings
}

/// Why a program cannot be started. Found as the system finds it: a path, or a name on PATH.
fn no_program(bin: &Path) -> Option<String> {
    let shown = bin.display();
    let places: Vec<PathBuf> = if bin.components().count() > 1 {
        vec![bin.to_owned()]
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|dir| dir.join(bin)).collect()
    };
    let found = places
        .iter()
        .find_map(|place| fs::metadata(place).ok().filter(fs::Metadata::is_file));
    match found {
        None => Some(format!("there is no program {shown}")),
        Some(about) if about.permissions().mode() & 0o111 == 0 => {
            Some(format!("{shown} is no program: nobody may execute it"))
        }
        Some(_) => None,
    }
}

/// Our own program proves with parameters; what another one has is not known.
fn no_parameters(config: &Config, threads: &[Thread], synthetic: bool) -> Vec<Finding> {
    let mut wanted: BTreeSet<(Stage, SectorSize)> = BTreeSet::new();
    for thread in threads.iter().filter(|t| t.plan.runs().is_some()) {
        for stage in needs::stages(thread.plan, synthetic) {
            let of_stage = config.processors.stages.get(&stage);
            let children = of_stage.map_or(&[][..], |of_stage| &of_stage.children);
            let ours = children.is_empty() || children.iter().any(|child| child.bin.is_none());
            if ours {
                wanted.extend(thread.sizes.iter().map(|size| (stage, *size)));
            }
        }
    }
    let mut findings = Vec::new();
    for (stage, size) in wanted {
        if let Err(error) = params::require(stage, size) {
            let hint = error
                .hint()
                .map_or(String::new(), |hint| format!("; {hint}"));
            findings.push(Finding {
                weight: Weight::Parameters,
                message: format!(
                    "sectors of {size} would stop before {}: {error}{hint}",
                    stage.name().to_uppercase()
                ),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_the_system_does() {
        assert_eq!(no_program(Path::new("/bin/sh")), None);
        assert_eq!(no_program(Path::new("sh")), None);
        let none = no_program(Path::new("/opt/none")).unwrap();
        assert_eq!(none, "there is no program /opt/none");
        assert!(no_program(Path::new("no-such-program-anywhere")).is_some());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        fs::write(&file, "").unwrap();
        assert!(no_program(&file).unwrap().contains("nobody may execute it"));
        assert!(no_program(dir.path()).is_some(), "a directory");
    }
}
