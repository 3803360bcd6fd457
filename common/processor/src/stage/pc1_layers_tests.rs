//! Which layers are kept: a table over what the mark and the directory say.

use super::*;
use damocles_types::{SealProof, SectorSize};

const ONE: &str = "sc-02-data-layer-1.dat";
const TWO: &str = "sc-02-data-layer-2.dat";

const PART: &str = "sc-02-data-layer-3.part";

/// Forty nodes of layer 3, of which so many are noted.
fn begin(mark: &mut Mark, dir: &Path, nodes: usize) {
    fs::write(dir.join(PART), [0; 40 * NODE_BYTES]).unwrap();
    mark.part = Some(Part { layer: 3, nodes });
}

fn prepare(task: &Pc1, boot: &Path) -> Layers {
    Layers::prepare(
        task,
        Commitment([3; 32]),
        boot,
        Some(11),
        &Progress::silent(),
    )
    .unwrap()
}

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
    let table: [(&str, Change, &[&str]); 9] = [
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
            "a beginning",
            |_, mark, dir| begin(mark, dir, 40),
            &[ONE, TWO, PART],
        ),
        (
            "a beginning in another boot",
            |_, mark, dir| {
                begin(mark, dir, 40);
                mark.boot = "other".into();
            },
            &[ONE, PART],
        ),
        (
            "a beginning shorter than it was",
            |_, mark, dir| begin(mark, dir, 41),
            &[ONE, TWO],
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
        let mut layers = prepare(&task, &boot);
        assert!(layers.mark.synced.is_empty());
        for layer in [ONE, TWO] {
            fs::write(dir.path().join(layer), vec![0; 2048]).unwrap();
        }
        layers.mark.synced.insert(ONE.into());
        change(&mut task, &mut layers.mark, dir.path());
        layers.store().unwrap();
        prepare(&task, &boot);
        assert_eq!(cache_dir::layers(dir.path()).unwrap(), kept, "{what}");
    }
}

#[test]
fn layers_of_unknown_origin_or_after_an_unreadable_boot_id_are_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path());
    let nowhere = dir.path().join("no boot id");
    fs::write(dir.path().join(ONE), vec![0; 2048]).unwrap();
    prepare(&task, &nowhere);
    assert!(cache_dir::layers(dir.path()).unwrap().is_empty());
    fs::write(dir.path().join(ONE), vec![0; 2048]).unwrap();
    prepare(&task, &nowhere);
    assert!(cache_dir::layers(dir.path()).unwrap().is_empty());
}

#[test]
fn labelling_goes_on_after_what_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let boot = dir.path().join("boot");
    fs::write(&boot, "this boot\n").unwrap();
    let task = task(dir.path());
    let mut layers = prepare(&task, &boot);
    let at = |layer, node| Start { layer, node };
    assert_eq!(layers.start(), Start::ANEW);
    layers.safe_point(1, 32).unwrap();
    fs::write(dir.path().join(part_name(1)), vec![0; 1024]).unwrap();
    assert_eq!(prepare(&task, &boot).start(), at(1, 32));

    fs::rename(dir.path().join(part_name(1)), dir.path().join(ONE)).unwrap();
    fs::write(dir.path().join(ONE), vec![0; 2048]).unwrap();
    layers.layer_done(1).unwrap();
    assert_eq!(prepare(&task, &boot).start(), at(2, 0));

    // whole, but not yet noted: it is synced first
    fs::write(dir.path().join(TWO), vec![0; 2048]).unwrap();
    let mut layers = prepare(&task, &boot);
    layers.look().unwrap();
    assert_eq!(layers.start(), at(3, 0));

    begin(&mut layers.mark, dir.path(), 40);
    layers.store().unwrap();
    let mut layers = prepare(&task, &boot);
    assert_eq!(layers.start(), at(3, 40));
    layers.drop_part().unwrap();
    assert_eq!(cache_dir::layers(dir.path()).unwrap(), [ONE, TWO]);
    assert_eq!(prepare(&task, &boot).start(), at(3, 0));
}
