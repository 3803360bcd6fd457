//! C2: by both provers, as fast as they are, and in the memory that it may take.

use crate::sector::{MINER, Sector, start};
use damocles_processor::{
    Cancel, Note, Opaque, Pool, ProcessorError, Processors, RawProcessors, prover_id,
    task::{C2, C2Output},
};
use damocles_types::ByteSize;
use std::{
    fs,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What our prover calls itself on this CPU.
fn our_prover() -> &'static str {
    match damocles_kernels::cpu::Cpu::detect().ifma {
        true => "groth-ifma",
        false => "groth-portable",
    }
}

fn task(sector: &Sector, c1: &Opaque) -> C2 {
    C2 {
        c1out: c1.clone(),
        prover_id: prover_id(MINER),
        sector_id: sector.number,
        miner_id: MINER,
    }
}

/// A sector's proof by that kernel, with what it took, in seconds; the child has checked it.
fn c2(sector: &Sector, pool: &Pool, kernel: &str, c1: &Opaque) -> f64 {
    let mut computed = None;
    let done = pool.run(&task(sector, c1), &Cancel::new(), &mut |note| {
        if let Note::Kernel(kernel) = note {
            computed = Some(kernel);
        }
    });
    let done = done.unwrap();
    let took = done.ran.as_secs_f64();
    assert_eq!(computed.as_deref(), Some(kernel));
    assert_eq!(done.output.proof.len(), 192);
    println!("{kernel}: {took:.1} s");
    took
}

/// C1's output of a sector with data (none: of committed capacity).
fn c1_of(number: u64, data: &[u8]) -> (Sector, Opaque) {
    let s = Sector::new(number);
    let piece = (!data.is_empty()).then(|| s.piece(data));
    let infos = s.add_pieces(piece.into_iter().collect());
    let pc2 = s.run(&s.pc2(s.run(&s.pc1(1, &infos))));
    let c1 = s.run(&s.c1(1, pc2, &infos));
    (s, c1)
}

/// A child with these keys in the config, which stays: one that nobody asked for ends when it has had
/// nothing to do for a while.
fn child(keys: serde_json::Value) -> Pool {
    let raw: RawProcessors = serde_json::from_value(serde_json::json!({ "c2": [keys] })).unwrap();
    start(&raw.check().unwrap())
}

/// Memory of a process that lies in no file, or none when it has ended.
fn anonymous(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What the child of a task had more than before at most, and what it had told that this would be.
#[derive(Default)]
struct Memory {
    taken: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    told: Option<u64>,
}

impl Memory {
    fn hear(&mut self, note: Note) {
        match note {
            Note::Running { pid, .. } => {
                let (taken, ended) = (Arc::clone(&self.taken), Arc::clone(&self.ended));
                let before = anonymous(pid).unwrap();
                thread::spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let more = anonymous(pid).unwrap_or_default().saturating_sub(before);
                        taken.fetch_max(more, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            Note::Progress(text) => {
                let words: Vec<&str> = text.split(' ').collect();
                let at_most = words.windows(3).find(|words| words[1..] == ["at", "most,"]);
                if let Some([bytes, ..]) = at_most {
                    self.told = Some(bytes.parse::<ByteSize>().unwrap().0);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_proof_holds_no_more_than_was_told_and_is_not_begun_where_that_may_not_be() {
    let (s, c1) = c1_of(11, &[]);
    let mut taken = Vec::new();
    let mut run = |pool: &Pool| -> Result<C2Output, ProcessorError> {
        let mut memory = Memory::default();
        let done = pool.run(&task(&s, &c1), &Cancel::new(), &mut |note| {
            memory.hear(note)
        });
        memory.ended.store(true, Ordering::Relaxed);
        taken.push((memory.taken.load(Ordering::Relaxed), memory.told));
        done.map(|done| done.output)
    };
    let ceiling = |text: &str| child(serde_json::json!({"envs": {"DAMOCLES_PROOF_MEMORY": text}}));
    let pool = ceiling("1GiB");
    // the first one may decode the parameters, in memory
    run(&pool).unwrap();
    run(&pool).unwrap();
    let error = run(&ceiling("300MiB")).unwrap_err().to_string();
    assert!(
        error.contains("DAMOCLES_PROOF_MEMORY allows 300MiB"),
        "{error}"
    );

    let (taken, told) = taken[1];
    let told = told.unwrap();
    println!("{} MB of {} MB", taken / 1_000_000, told / 1_000_000);
    assert!(taken <= told, "{taken} of {told}");
    assert!(taken > told / 4, "the memory was not looked at");
}

#[test]
fn the_prover_of_this_cpu_makes_proofs_that_the_library_accepts() {
    let (s, c1) = c1_of(9, &[]);
    c2(&s, &s.pool, our_prover(), &c1);
}

#[test]
#[ignore = "ten minutes"]
fn proofs_of_fifty_sectors_of_random_data_are_accepted_by_the_library() {
    let pool = start(&Processors::default());
    let mut random = fs::File::open("/dev/urandom").unwrap();
    for number in 0..50 {
        let mut data = [0; 2032];
        random.read_exact(&mut data).unwrap();
        let (s, c1) = c1_of(number, &data);
        c2(&s, &pool, our_prover(), &c1);
    }
}

#[test]
#[ignore = "prints how fast it is, beside the library"]
fn the_provers_side_by_side() {
    let (s, c1) = c1_of(10, &[]);
    let [ours, library] =
        ["auto", "filecoin-proofs"].map(|kernel| child(serde_json::json!({ "kernel": kernel })));
    let both = || {
        [
            c2(&s, &ours, our_prover(), &c1),
            c2(&s, &library, "filecoin-proofs", &c1),
        ]
    };
    // the first of each child reads the parameters
    both();
    let mut runs = [both(), both(), both()];
    let [ours, theirs] = [0, 1].map(|side| {
        runs.sort_by(|a, b| a[side].total_cmp(&b[side]));
        runs[1][side]
    });
    println!("medians of three in turns: {ours:.1} s, {theirs:.1} s");
    println!("ours {:.2} times as fast", theirs / ours);
}
