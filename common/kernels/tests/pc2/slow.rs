//! The slow ring: sectors that take the library minutes. One after the other, because one of
//! them limits the whole process.

use crate::sector::{Content, MIB, Sector};
use damocles_kernels::{
    cpu::Cpu,
    pc2::{Options, plan::Plan, shape::Shape},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fs, sync::Mutex, time::Instant};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Prints how long it took, by the clock and on the CPUs (which is what counts where others
/// compute too). For reading, not for passing.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (begin, before) = (Instant::now(), cpu_seconds());
    let result = work();
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - before);
    println!("{what}: {wall:.3} s, on CPUs {cpu:.2} s");
    result
}

/// User and system time of this process, as /proc/self/stat counts it (in 1/100 s).
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|n| n.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// `cargo test --workspace --test pc2 -- --ignored --nocapture sixteen`
#[test]
#[ignore = "slow ring: the library takes half a minute for 16MiB"]
fn sixteen_mib() {
    let _held = ONE_AT_A_TIME.lock().unwrap();
    for content in [Content::Random, Content::Zeros] {
        let sector = Sector::new(16 * MIB, 2, content, 16);
        let comm_r = timed("library", || sector.library());
        let roots = timed("ours", || {
            sector.ours("ours", Cpu::detect(), &Options::default())
        });
        sector.assert_same("ours", &roots.unwrap(), comm_r);
    }
}

/// Several chunks without vectors, too: the fast tests take what the CPU has.
/// `cargo test --workspace --test pc2 -- --ignored portable`
#[test]
#[ignore = "slow ring: portable code and the library over 8MiB"]
fn eight_mib_in_portable_code() {
    let _held = ONE_AT_A_TIME.lock().unwrap();
    let sector = Sector::new(8 * MIB, 2, Content::Random, 80);
    let comm_r = sector.library();
    let roots = timed("ours, portable", || {
        sector.ours("portable", Cpu::PORTABLE, &Options::default())
    });
    sector.assert_same("portable", &roots.unwrap(), comm_r);
}

/// Five of each, alternating. Pin it to see one core:
/// `taskset -c 1 cargo test --workspace --test pc2 -- --ignored --nocapture times_of_8mib`
#[test]
#[ignore = "slow ring: for reading times"]
fn times_of_8mib() {
    let _held = ONE_AT_A_TIME.lock().unwrap();
    let sector = Sector::new(8 * MIB, 2, Content::Random, 8);
    for _ in 0..5 {
        let comm_r = timed("library", || sector.library());
        let roots = timed("ours", || {
            sector.ours("ours", Cpu::detect(), &Options::default())
        });
        sector.assert_same("ours", &roots.unwrap(), comm_r);
    }
}

/// The address space of this process is limited to 256 MiB while PC2 runs: program, stacks,
/// buffers, everything. `cargo test --workspace --test pc2 -- --ignored --nocapture 512mib`
#[test]
#[ignore = "slow ring: the library takes many minutes for 512MiB"]
fn a_sector_of_512mib_within_256_mib() {
    let _held = ONE_AT_A_TIME.lock().unwrap();
    let sector = Sector::new(512 * MIB, 2, Content::Random, 512);
    let options = Options {
        memory: 64 * MIB,
        ..Options::default()
    };
    let shape = Shape::of_sector(sector.size).unwrap();
    println!(
        "{:?}",
        Plan::new(shape, 2, options.threads, options.memory).unwrap()
    );
    let before = getrlimit(Resource::As);
    let limit = Rlimit {
        current: Some(256 * MIB),
        ..before
    };
    setrlimit(Resource::As, limit).unwrap();
    let too_much = Vec::<u8>::new().try_reserve_exact(256 * MIB as usize);
    let roots = timed("ours within 256 MiB", || {
        sector.ours("bounded", Cpu::detect(), &options)
    });
    setrlimit(Resource::As, before).unwrap();
    assert!(too_much.is_err(), "the limit holds");
    let roots = roots.unwrap();

    let unbounded = timed("ours", || {
        sector.ours("unbounded", Cpu::detect(), &Options::default())
    });
    assert_eq!(unbounded.unwrap(), roots);
    let comm_r = timed("library", || sector.library());
    for name in ["bounded", "unbounded"] {
        sector.assert_same(name, &roots, comm_r);
    }
}
