//! The examples for real hardware, and what `config init` makes for it, fit it.

use super::*;
use crate::draft::draft;
use std::fs;

/// Profile and machine.
const EXAMPLES: [(&str, &str, usize); 5] = [
    ("epyc-64c-2gpu", "epyc-64c-2gpu-8nvme", 16),
    ("avx512-2x32c", "avx512-2x32c-4nvme", 8),
    ("small-16c", "small-16c-1nvme", 3),
    ("poster", "poster-32c-1gpu", 0),
    ("unseal", "unseal-32c-2nvme", 4),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config-examples")
}

fn machine(name: &str) -> Hardware {
    Hardware::described(&examples().join(format!("machines/{name}.toml"))).unwrap()
}

/// What a host's file of this text comes to.
fn load(text: &str) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.toml");
    fs::write(&path, text).unwrap();
    crate::config::load_for_elsewhere(&path, &|wanted: &crate::config::WantedProfile| {
        let file = examples().join(format!("worker-profiles/{}.toml", wanted.name));
        Ok(crate::config::Profile {
            name: wanted.name.clone(),
            text: fs::read_to_string(file).unwrap(),
            kept: None,
        })
    })
    .unwrap()
}

fn plan(loaded: &Loaded, machine: &Hardware) -> Plan {
    let threads = threads(loaded, machine, Path::to_owned);
    Plan::of(&loaded.config, &threads, machine, synthetic(&loaded.config))
}

#[test]
fn three_lines_over_each_profile_fit_its_machine_without_a_word() {
    for (profile, name, count) in EXAMPLES {
        let loaded = load(&format!(
            "[sector_manager]\nrpc_client.addr = \"/ip4/10.0.0.1/tcp/1789\"\nprofile = \"{profile}\"\n"
        ));
        let machine = machine(name);
        let plan = plan(&loaded, &machine);
        let text = text(&plan, &loaded.config.oversubscription);
        assert_eq!(plan.findings, [], "{profile}\n{text}");
        assert_eq!(loaded.config.threads.len(), count, "{profile}");
    }
}

#[test]
fn every_profile_and_every_machine_is_tried() {
    for (dir, count) in [("worker-profiles", 5), ("machines", 5)] {
        let found = fs::read_dir(examples().join(dir)).unwrap().count();
        assert_eq!(found, count, "{dir}");
    }
}

#[test]
fn a_host_adds_a_thread_to_its_profile_and_is_held_against_the_sum() {
    let loaded = load(
        "[sector_manager]\nrpc_client.addr = \"/ip4/10.0.0.1/tcp/1789\"\nprofile = \"small-16c\"\n\
         [[sealing_thread]]\nextend = true\nlocation = \"/mnt/nvme0/s3\"\n",
    );
    let plan = plan(&loaded, &machine("small-16c-1nvme"));
    let faults: Vec<_> = plan.faults(&loaded.config.oversubscription).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0]
            .message
            .contains("3 fit; sealing thread 3 (/mnt/nvme0/s3) does not"),
        "{faults:?}"
    );
}

#[test]
fn what_init_makes_fits_the_machine_that_it_is_made_for() {
    for (_, name, _) in EXAMPLES {
        let machine = machine(name);
        for size in SectorSize::ALL {
            let file = draft(&machine, size, "/ip4/10.0.0.1/tcp/1789");
            let loaded = load(&file);
            let plan = plan(&loaded, &machine);
            let allowed = &loaded.config.oversubscription;
            let faults: Vec<_> = plan
                .faults(allowed)
                // a machine without a disk for such a sector gets a file to fill in
                .filter(|_| !file.contains("No disk of this machine"))
                .collect();
            assert!(faults.is_empty(), "{name} {size}: {faults:?}\n{file}");
            assert!(!loaded.config.threads.is_empty());
            assert!(file.lines().all(|line| !line.ends_with(' ')));
        }
    }
    let file = draft(
        &machine("small-16c-1nvme"),
        SectorSize::GiB32,
        "/ip4/10.0.0.1/tcp/1789",
    );
    assert!(
        file.contains("# /mnt/nvme0 carries 3 sectors of 555 GB at a time"),
        "{file}"
    );
    assert!(!file.contains("sealing-3"), "{file}");
}
