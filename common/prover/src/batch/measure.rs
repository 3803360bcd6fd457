//! What overlapping partitions brings, and what they hold meanwhile beside what was planned. Run it with
//! `--ignored --nocapture` on a machine that has nothing else to do; of the times nothing is asserted.

use super::{tests::Failed, *};
use crate::{
    prove::tests::Powers,
    setup::{self, Generators, Waste},
};
use bellperson::groth16;
use blstrs::{G1Projective, G2Projective};
use ff::Field;
use group::Group;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Most variables are bits, as in the circuits of the proofs library.
const CIRCUIT: Powers = Powers {
    x: None,
    squarings: 6_000,
    bits: 320_000,
};
const PARTITIONS: usize = 6;

fn parameters(cpu: Cpu) -> Parameters {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let [tau, alpha, beta, gamma, delta] = [(); 5].map(|()| Scalar::random(&mut random));
    let waste = Waste {
        tau,
        alpha,
        beta,
        gamma,
        delta,
    };
    let generators = Generators {
        g1: G1Projective::random(&mut random),
        g2: G2Projective::random(&mut random),
    };
    let file = Mutex::new(Vec::new());
    let put = |place: u64, bytes: &[u8]| {
        let mut file = locked(&file);
        let (begin, end) = (place as usize, place as usize + bytes.len());
        let length = file.len().max(end);
        file.resize(length, 0);
        file[begin..end].copy_from_slice(bytes);
        Ok(())
    };
    let told = |_, _| ();
    setup::generate(cpu, || CIRCUIT, generators, &waste, put, told, Run::whole()).unwrap();
    let known = groth16::Parameters::<Bls12>::read(&**locked(&file), false).unwrap();
    Parameters::of(cpu, &known).unwrap()
}

/// Memory of this process that lies in no file.
fn anonymous() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// What work takes in memory at most, and how long.
fn watched(work: impl FnOnce()) -> (u64, f64) {
    let (before, most) = (anonymous(), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(anonymous(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let began = Instant::now();
        work();
        let seconds = began.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (most.load(Ordering::Relaxed).saturating_sub(before), seconds)
    })
}

#[test]
#[ignore = "prints how fast it is, and what it takes"]
fn what_overlapping_brings_and_takes() {
    let cpu = Cpu::detect();
    let known = parameters(cpu);
    let run = Run::whole();
    let need = Need::of(Size::of(&known, false), run.threads);
    let plan = |held, proven| Plan {
        held,
        proven,
        bytes: held as u64 * need.held + proven as u64 * need.proven,
    };
    let plans = [plan(1, 1), plan(2, 1), plan(2, 2), plan(3, 1)];
    let mut times = plans.map(|_| Vec::new());
    let mut most = plans.map(|_| 0);
    for round in 0..6 {
        for ((plan, times), most) in plans.iter().zip(&mut times).zip(&mut most) {
            let circuits = (0..PARTITIONS).map(|i| {
                let x = Some(Scalar::from(i as u64 + 2));
                Ok::<_, Failed>(Powers { x, ..CIRCUIT })
            });
            let blinding = || Blinding {
                r: Scalar::from(7),
                s: Scalar::from(11),
            };
            let (held, seconds) = watched(|| {
                prove_all(cpu, circuits, &known, *plan, run, blinding, |_| ()).unwrap();
            });
            // the first one warms up
            if round > 0 {
                times.push(seconds);
            }
            *most = held.max(*most);
        }
    }
    for ((plan, times), most) in plans.iter().zip(&mut times).zip(most) {
        times.sort_by(f64::total_cmp);
        println!(
            "{} held, {} proven at a time: {:.2} s, {} MB of {} MB",
            plan.held,
            plan.proven,
            times[times.len() / 2],
            most / 1_000_000,
            plan.bytes / 1_000_000
        );
        assert!(most <= plan.bytes, "more than planned");
    }
}
