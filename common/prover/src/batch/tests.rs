//! What is planned, and that it is kept to.

use super::*;
use crate::prove::tests::Powers;
use bellperson::groth16::{create_proof, generate_random_parameters};
use damocles_kernels::crew::NEVER;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{sync::atomic::AtomicBool, time::Duration};

const GIB: u64 = 1 << 30;

pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// C2 of a sector of 32GiB, as far as that can be worked out: as many variables as constraints, and
/// as many of them on either side as with 2KiB.
fn of_32gib() -> Size {
    let constraints = 130_000_000;
    Size {
        constraints,
        domain: 1 << 27,
        variables: constraints,
        left: constraints / 1000 * 996,
        right: constraints / 1000 * 255,
        in_parts: false,
    }
}

#[test]
fn what_a_proof_takes_is_worked_out() {
    let small = Size {
        constraints: 2_687_961,
        domain: 1 << 22,
        variables: 2_685_673,
        left: 2_674_948,
        right: 685_522,
        in_parts: false,
    };
    let mb = |bytes: u64| bytes / 1_000_000;
    let need = Need::of(small, threads(1));
    assert_eq!((mb(need.held), mb(need.alone())), (349, 610));
    let need = Need::of(of_32gib(), threads(64));
    assert_eq!((mb(need.held), mb(need.alone())), (16_900, 24_415));
    let parts = Size {
        in_parts: true,
        ..small
    };
    assert_eq!(mb(Need::of(parts, threads(1)).held), 698);
}

#[test]
fn as_many_partitions_overlap_as_fit_and_as_can_be_worked_on() {
    let need = Need {
        held: 100,
        proven: 50,
    };
    let plan = |partitions, count, ceiling| {
        let plan = need.plan(partitions, threads(count), ceiling)?;
        assert!(plan.bytes <= ceiling, "{plan:?} of {ceiling}");
        Some((plan.held, plan.proven))
    };
    for (partitions, count, ceiling, wanted) in [
        (10, 8, 149, None),
        (10, 8, 150, Some((1, 1))),
        (10, 8, 249, Some((1, 1))),
        (10, 8, 250, Some((2, 1))),
        (10, 8, 300, Some((2, 2))),
        (10, 8, 849, Some((7, 2))),
        (10, 8, 10_000, Some((8, 2))),
        (10, 64, 1_100, Some((10, 2))),
        (10, 64, 1_099, Some((10, 1))),
        // nothing could overlap
        (10, 1, 10_000, Some((1, 1))),
        (1, 8, 10_000, Some((1, 1))),
        (0, 8, 10_000, Some((1, 1))),
    ] {
        assert_eq!(plan(partitions, count, ceiling), wanted, "{ceiling}");
    }
}

#[test]
fn the_ceilings_that_the_document_names_for_large_hosts_hold_so_many_partitions() {
    let size = of_32gib();
    let planned = Size {
        constraints: size.domain,
        ..size
    };
    let need = Need::of(planned, threads(64));
    let plan = |ceiling: u64| {
        let plan = need.plan(10, threads(64), ceiling * GIB).unwrap();
        (plan.held, plan.proven, plan.bytes / GIB)
    };
    assert_eq!(plan(160), (9, 2, 159));
    assert_eq!(plan(180), (10, 2, 175));
}

/// What was told, and a way to wait for it.
#[derive(Default)]
struct Log {
    steps: Mutex<Vec<Step>>,
    more: Condvar,
}

impl Log {
    fn push(&self, step: Step) {
        locked(&self.steps).push(step);
        self.more.notify_all();
    }

    /// Until so many steps of a kind were told.
    fn wait(&self, count: usize, kind: impl Fn(&Step) -> bool) {
        let few = |steps: &mut Vec<Step>| steps.iter().filter(|step| kind(step)).count() < count;
        // only a test that fails waits so long
        let patience = Duration::from_secs(60);
        let steps = locked(&self.steps);
        let waited = self.more.wait_timeout_while(steps, patience, few);
        assert!(!waited.unwrap().1.timed_out(), "they do not overlap");
    }

    /// How many were held, and how many proven, at most.
    fn most(&self) -> (usize, usize) {
        let (mut held, mut proven, mut most) = (0, 0, (0, 0));
        for step in locked(&self.steps).iter() {
            match step {
                Step::Synthesis(_) => held += 1,
                Step::Proof(_) => proven += 1,
                Step::Done(_) => (held, proven) = (held - 1, proven - 1),
            }
            most = (most.0.max(held), most.1.max(proven));
        }
        most
    }
}

fn partitions(count: u64) -> Vec<Powers> {
    let partition = |x| Powers {
        x: Some(Scalar::from(x)),
        squarings: 20,
        bits: 300,
    };
    (0..count).map(|i| partition(i + 2)).collect()
}

fn parameters() -> bellperson::groth16::Parameters<Bls12> {
    let blank = Powers {
        x: None,
        squarings: 20,
        bits: 300,
    };
    generate_random_parameters(blank, &mut ChaCha8Rng::seed_from_u64(3)).unwrap()
}

fn bytes(proofs: &[Proof<Bls12>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for proof in proofs {
        proof.write(&mut bytes).unwrap();
    }
    bytes
}

const BLINDING: fn() -> Blinding = || Blinding {
    r: Scalar::from(7),
    s: Scalar::from(11),
};

fn plan(held: usize, proven: usize) -> Plan {
    Plan {
        held,
        proven,
        bytes: 0,
    }
}

fn run(cancel: &AtomicBool) -> Run<'_> {
    Run {
        threads: threads(2),
        cancel,
    }
}

#[test]
fn partitions_overlap_as_planned_and_no_more_are_ever_held() {
    let known = parameters();
    let partitions = partitions(7);
    let Blinding { r, s } = BLINDING();
    let theirs: Vec<_> = (partitions.iter())
        .map(|circuit| create_proof(circuit.clone(), &known, r, s).unwrap())
        .collect();
    let cpu = Cpu::detect();
    let known = Parameters::of(cpu, &known).unwrap();
    for (held, proven) in [(1, 1), (2, 1), (3, 1), (3, 2), (7, 2)] {
        let log = Log::default();
        let told = |step| {
            log.push(step);
            // the first proofs do not go on before as much is done as may be
            if matches!(step, Step::Proof(_)) {
                log.wait(held, |step| matches!(step, Step::Synthesis(_)));
                log.wait(proven, |step| matches!(step, Step::Proof(_)));
            }
        };
        let circuits = partitions.iter().cloned().map(Ok::<_, Failed>);
        let plan = plan(held, proven);
        let ours = prove_all(cpu, circuits, &known, plan, run(&NEVER), BLINDING, told);
        assert_eq!(bytes(&ours.unwrap()), bytes(&theirs), "{held} {proven}");
        assert_eq!(log.most(), (held, proven));
    }
}

#[test]
fn the_first_failure_is_told_and_no_more_is_begun() {
    let known = parameters();
    let cpu = Cpu::detect();
    let known = Parameters::of(cpu, &known).unwrap();
    let all = partitions(9);
    // the third has no values, of the last one there is not even a circuit
    let prove = |blank: usize, none: usize, cancel: &AtomicBool| {
        let log = Log::default();
        let circuits = all.iter().cloned().enumerate().map(|(i, mut circuit)| {
            circuit.x = circuit.x.filter(|_| i != blank);
            match i == none {
                true => Err(Failed::from("there is none")),
                false => Ok(circuit),
            }
        });
        let told = |step| log.push(step);
        let ours = prove_all(
            cpu,
            circuits,
            &known,
            plan(2, 1),
            run(cancel),
            BLINDING,
            told,
        );
        (ours.unwrap_err().to_string(), log.most())
    };
    let (error, (held, _)) = prove(2, 9, &NEVER);
    assert!(error.contains("assignment"), "{error}");
    assert!(held <= 3, "two are held, and one has failed");
    let (error, _) = prove(9, 0, &NEVER);
    assert_eq!(error, "there is none");
    let (error, most) = prove(9, 9, &AtomicBool::new(true));
    assert_eq!(error, NoProof::Cancelled.to_string());
    assert_eq!(most, (0, 0), "nothing is begun");
}
