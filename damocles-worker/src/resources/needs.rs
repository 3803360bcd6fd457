//! What each plan takes, as a table: the files of a sector that lie in its directory at once,
//! and the stages that it goes through.

use crate::config::ThreadPlan;
use damocles_processor::{
    Stage,
    footprint::Part::{self, Aux, Layers, Sealed, Staged, Synthetic, TreeC, TreeD, TreeRLast},
};
use damocles_types::SectorSize;

/// Files that lie there at the plan's worst moment.
///
/// * sealer, niporep: after PC2, before the finished sector is moved away.
/// * snapup: after the encoding. The sector that it begins with counts whole, since a store that
///   cannot be linked is copied from.
/// * rebuild: a sector that was upgraded is sealed first and encoded then, beside the first replica.
/// * unseal: the layers of labels that the library writes, the replica, and the pieces.
/// * wdpost: reads from stores and writes nothing.
pub(super) fn parts(plan: ThreadPlan, synthetic: bool) -> Vec<Part> {
    let sealing = [Staged, TreeD, Layers, TreeC, TreeRLast, Sealed, Aux];
    let update = [TreeD, TreeC, TreeRLast, Sealed, Aux];
    match plan {
        ThreadPlan::Sealer if synthetic => [sealing.as_slice(), &[Synthetic]].concat(),
        ThreadPlan::Sealer | ThreadPlan::NiPoRep => sealing.to_vec(),
        ThreadPlan::SnapUp => [&[Staged, Sealed, TreeRLast], update.as_slice()].concat(),
        ThreadPlan::Rebuild => [sealing.as_slice(), &update].concat(),
        ThreadPlan::Unseal => vec![Layers, Sealed, Staged, Aux],
        ThreadPlan::WdPost => Vec::new(),
    }
}

/// Bytes of one sector. `static_tree`: the tree of a sector without data lies elsewhere.
pub(super) fn bytes(plan: ThreadPlan, size: SectorSize, synthetic: bool, static_tree: bool) -> u64 {
    let mut parts = parts(plan, synthetic);
    let linked = matches!(
        plan,
        ThreadPlan::Sealer | ThreadPlan::NiPoRep | ThreadPlan::Rebuild
    );
    if static_tree
        && linked
        && let Some(at) = parts.iter().position(|part| *part == TreeD)
    {
        parts.remove(at);
    }
    parts.iter().map(|part| part.bytes(size)).sum()
}

/// Stages that compute for it.
pub(super) fn stages(plan: ThreadPlan, synthetic: bool) -> Vec<Stage> {
    use Stage::{
        AddPieces, C1, C2, Pc1, Pc2, SnapEncode, SnapProve, SynthProof, Transfer, TreeD, Unseal,
        WindowPost,
    };
    let sealing = [AddPieces, TreeD, Pc1, Pc2, C1, C2, Transfer];
    match plan {
        ThreadPlan::Sealer if synthetic => [sealing.as_slice(), &[SynthProof]].concat(),
        ThreadPlan::Sealer | ThreadPlan::NiPoRep => sealing.to_vec(),
        ThreadPlan::SnapUp => vec![AddPieces, TreeD, SnapEncode, SnapProve, Transfer],
        ThreadPlan::Rebuild => vec![AddPieces, TreeD, Pc1, Pc2, SnapEncode, Transfer],
        ThreadPlan::Unseal => vec![Unseal, Transfer],
        ThreadPlan::WdPost => vec![WindowPost],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_of_each_plan_in_gib() {
        for (plan, synthetic, static_tree, gib) in [
            (ThreadPlan::Sealer, false, false, 516),
            (ThreadPlan::Sealer, false, true, 452),
            (ThreadPlan::Sealer, true, false, 541),
            (ThreadPlan::NiPoRep, false, false, 516),
            (ThreadPlan::SnapUp, false, false, 196),
            (ThreadPlan::SnapUp, false, true, 196),
            (ThreadPlan::Rebuild, false, false, 649),
            (ThreadPlan::Unseal, false, false, 416),
            (ThreadPlan::WdPost, false, false, 0),
        ] {
            let bytes = bytes(plan, SectorSize::GiB32, synthetic, static_tree);
            assert_eq!(bytes >> 30, gib, "{plan} {synthetic} {static_tree}");
        }
    }

    #[test]
    fn every_plan_of_ours_runs_stages_that_are_counted() {
        assert!(stages(ThreadPlan::Sealer, true).contains(&Stage::SynthProof));
        assert!(!stages(ThreadPlan::SnapUp, true).contains(&Stage::Pc1));
    }
}
