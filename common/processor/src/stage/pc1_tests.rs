//! Which layers are kept: a table over what the mark and the directory say.

use super::*;
use damocles_types::{SealProof, SectorSize};

const ONE: &str = "sc-02-data-layer-1.dat";
const TWO: &str = "sc-02-data-layer-2.dat";

fn task(dir: &Path) -> Pc1 {
    Pc1 {
        registered_proof: SealProof::interactive(SectorSize::KiB2),
        cache_path: dir.to_owned(),
        in_path: dir.join("in"),
        out_path: dir.join("out"),
        prover_id: [1; 32],
        sector_id: 1,
        ticket: [2; 32],
        piece_infos: vec![],
    }
}

#[test]
fn only_finished_layers_of_the_same_replica_are_kept() {
    type Change = fn(&mut Pc1, &mut Mark, &Path);
    let table: [(&str, Change, &[&str]); 6] = [
        ("the same boot", |_, _, _| (), &[ONE, TWO]),
        (
            "another boot: what was synced",
            |_, mark, _| mark.boot = "other".into(),
            &[ONE],
        ),
        ("another ticket", |task, _, _| task.ticket = [9; 32], &[]),
        ("another sector", |task, _, _| task.sector_id = 9, &[]),
        (
            "a short layer",
            |_, _, dir| fs::write(dir.join(ONE), b"short").unwrap(),
            &[TWO],
        ),
        (
            "an unfinished name",
            |_, _, dir| fs::rename(dir.join(TWO), dir.join("sc-02-data-layer-2..tmp")).unwrap(),
            &[ONE],
        ),
    ];
    for (what, change, kept) in table {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("boot");
        fs::write(&boot, "this boot\n").unwrap();
        let mut task = task(dir.path());
        let comm_d = Commitment([3; 32]);
        let mut mark = prepare_layers(&task, comm_d, &boot).unwrap();
        assert!(mark.synced.is_empty());
        for layer in [ONE, TWO] {
            fs::write(dir.path().join(layer), vec![0; 2048]).unwrap();
        }
        mark.synced.insert(ONE.into());
        change(&mut task, &mut mark, dir.path());
        store(&dir.path().join(PC1_MARK), &mark).unwrap();
        prepare_layers(&task, comm_d, &boot).unwrap();
        assert_eq!(cache_dir::layers(dir.path()).unwrap(), kept, "{what}");
    }
}

#[test]
fn layers_of_unknown_origin_or_after_an_unreadable_boot_id_are_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path());
    let nowhere = dir.path().join("no boot id");
    fs::write(dir.path().join(ONE), vec![0; 2048]).unwrap();
    prepare_layers(&task, Commitment([3; 32]), &nowhere).unwrap();
    assert!(cache_dir::layers(dir.path()).unwrap().is_empty());
    fs::write(dir.path().join(ONE), vec![0; 2048]).unwrap();
    prepare_layers(&task, Commitment([3; 32]), &nowhere).unwrap();
    assert!(cache_dir::layers(dir.path()).unwrap().is_empty());
}
