//! Real proofs made one by a real child, which finds those that are wrong.

use crate::sector::{MINER, PROOF, Sector};
use damocles_processor::{
    Cancel, Pool, Processors, Stage, StartOptions,
    footprint::aggregate_length,
    prover_id,
    task::{Aggregate, AggregateOutput, C2, ProvenSector},
    verify::{Seal, verify_aggregate},
};
use damocles_types::{Base64, Randomness, SectorId};

/// A sector of committed capacity and its proof; ticket and seed are those of the stages' tests.
fn proven(number: u64) -> ProvenSector {
    let s = Sector::new(number);
    let infos = s.add_pieces(vec![]);
    let pc1 = s.pc1(1, &infos);
    let ticket = pc1.ticket;
    let pc2 = s.run(&s.pc2(s.run(&pc1)));
    let c1 = s.c1(1, pc2, &infos);
    let seed = c1.seed;
    let c2 = C2 {
        c1out: s.run(&c1),
        prover_id: prover_id(MINER),
        sector_id: number,
        miner_id: MINER,
    };
    ProvenSector {
        sector_id: number,
        comm_r: pc2.comm_r,
        comm_d: pc2.comm_d,
        ticket,
        seed,
        proof: Base64(s.run(&c2).proof),
    }
}

fn seals(sectors: &[ProvenSector]) -> Vec<Seal> {
    let seal = |s: &ProvenSector| Seal {
        proof_type: PROOF,
        sector: SectorId::new(MINER, s.sector_id),
        comm_r: s.comm_r,
        comm_d: s.comm_d,
        ticket: Randomness(s.ticket),
        seed: Randomness(s.seed),
    };
    sectors.iter().map(seal).collect()
}

#[test]
fn four_proofs_become_one_and_a_wrong_one_is_named() {
    let options = StartOptions::of(env!("CARGO_BIN_EXE_processor-child"));
    let pool = Pool::start(&[Stage::Aggregate], &Processors::default(), &options).unwrap();
    let run = |sectors: &[ProvenSector]| -> AggregateOutput {
        let task = Aggregate {
            miner_id: MINER,
            registered_proof: PROOF,
            sectors: sectors.to_vec(),
        };
        let done = pool.run(&task, &Cancel::new(), &mut |_| {});
        done.unwrap_or_else(|error| panic!("{error}; run `make params`?"))
            .output
    };
    let sectors: Vec<_> = (21..25).map(proven).collect();
    let made = run(&sectors);
    assert_eq!(made.wrong, [0; 0]);
    assert_eq!(made.proof.0.len() as u64, aggregate_length(4));
    assert!(verify_aggregate(&seals(&sectors), &made.proof.0).unwrap());
    let mut other_order = sectors.clone();
    other_order.swap(0, 1);
    assert!(!verify_aggregate(&seals(&other_order), &made.proof.0).unwrap());

    // padded to a power of two
    let made = run(&sectors[..3]);
    assert_eq!(made.proof.0.len() as u64, aggregate_length(3));
    assert!(verify_aggregate(&seals(&sectors[..3]), &made.proof.0).unwrap());

    // the proof of another sector, and bytes that are none
    let mut spoilt = sectors;
    spoilt[1].proof = spoilt[2].proof.clone();
    spoilt[3].proof = Base64(vec![0xff; 192]);
    let told = run(&spoilt);
    assert_eq!(told.wrong, [22, 24]);
    assert!(told.proof.0.is_empty());
}
