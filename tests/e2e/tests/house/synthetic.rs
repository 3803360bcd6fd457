//! A sector with synthetic proofs from nothing to proven: its layers are gone before its precommit is
//! made, also when the worker is killed at that moment, and the chain takes its proof all the same.

use crate::road::{A_C2, SOON, Sectors, all_finished, nothing_is_told_that_is_not_so};
use anyhow::{Result, ensure};
use damocles_api::timeline::Ending;
use damocles_e2e::{
    house::{Files, House, MINER, Role},
    scenario::{Gate, scenario},
};
use damocles_types::SectorId;
use std::{collections::BTreeSet, fs, time::Duration};

const SECTOR: SectorId = SectorId::new(MINER, 1);

#[test]
fn a_sector_with_synthetic_proofs_is_sealed_without_its_layers_and_outlasts_a_kill() {
    let limit = Duration::from_secs(900);
    scenario("synthetic", Files::synthetic(), 1, limit, async |house| {
        let gate = Gate::of(house, "synth_proof");
        gate.shut("after")?;
        house.start_devnet().await?;
        house.start_manager().await?;
        house.start_worker().await?;

        // the proofs are there and the layers gone, and nobody has been told
        house
            .until("the synthetic proofs", A_C2, async || {
                Ok(gate.holds().then_some(()))
            })
            .await?;
        without_layers(house)?;
        house.kill9(Role::Worker)?;
        gate.open()?;
        house.start_worker().await?;

        let one = Sectors(1);
        all_finished(house, one, A_C2 + SOON).await?;
        nothing_is_told_that_is_not_so(house, one).await?;
        ensure!(
            gate.calls() == (2, 1),
            "{:?} tasks and answers",
            gate.calls()
        );
        let kinds: BTreeSet<String> = house
            .sectors()
            .await?
            .iter()
            .map(|sector| sector.sector_type.name())
            .collect();
        ensure!(
            kinds == BTreeSet::from(["StackedDrg2KiBV1_1_Feat_SyntheticPoRep".to_owned()]),
            "{kinds:?}"
        );
        let timeline = house.timeline(SECTOR).await?;
        for stage in ["PC1", "PC2", "SyntheticPoRep", "C1", "C2"] {
            let of_it = timeline.iter().filter(|entry| entry.stage == stage);
            let done = of_it.filter(|entry| matches!(entry.ending, Some(Ending::Done { .. })));
            ensure!(done.count() == 1, "{stage}: {timeline:#?}");
        }
        Ok(())
    });
}

/// What is left in the sector's cache directory answers challenges, and is little.
fn without_layers(house: &House) -> Result<()> {
    let cache = house.path("threads/0/data/cache").join(SECTOR.to_string());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&cache)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.insert(name);
        }
    }
    let expected = [
        "p_aux",
        "sc-02-data-tree-r-last.dat",
        "syn-porep-vanilla-proofs.dat",
        "t_aux",
    ];
    ensure!(
        names == BTreeSet::from(expected.map(str::to_owned)),
        "{names:?}"
    );
    Ok(())
}
