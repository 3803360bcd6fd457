//! How long transforms take beside those of the proofs library. Nothing is asserted: run it
//! with `--ignored --nocapture` on a machine that has nothing else to do.

use super::tests::{CODES, bellperson_quotient, domain, random, run, satisfied};
use super::{tables::root, transform::Transform};
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use std::time::Instant;

/// Nanoseconds.
fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn name(cpu: Cpu) -> &'static str {
    if cpu == Cpu::PORTABLE {
        "portable"
    } else {
        "best"
    }
}

/// Five times in turns: nanoseconds of each.
fn in_turns<const N: usize>(mut work: [Box<dyn FnMut() + '_>; N]) -> [f64; N] {
    let mut times = [(); N].map(|()| Vec::new());
    for _ in 0..5 {
        for (times, work) in times.iter_mut().zip(&mut work) {
            times.push(time(work));
        }
    }
    times.map(median)
}

#[test]
#[ignore = "a measurement"]
fn butterflies() {
    for power in [12, 16, 20, 22] {
        let values = random(1 << power, 1);
        let domains = CODES.map(|cpu| domain(power, cpu));
        let run = |i: usize| {
            let (domain, values): (&super::Domain, _) = (&domains[i], &values);
            let work = move || {
                let values: Vec<Scalar> = values.clone();
                let _ = std::hint::black_box(domain.transform(Transform::Forward, values, run(1)));
            };
            Box::new(work) as Box<dyn FnMut()>
        };
        let serial = || {
            let mut values = values.clone();
            ec_gpu_gen::fft_cpu::serial_fft(&mut values, &root(power), power);
            std::hint::black_box(values);
        };
        let butterflies = f64::from(power) * f64::from(1u32 << (power - 1));
        let times = in_turns([Box::new(serial), run(0), run(1)]);
        let [theirs, portable, best] = times.map(|time| time / butterflies);
        println!(
            "2^{power}, ns per butterfly: serial_fft {theirs:.2}, {} {portable:.2} ({:.2} x), {} {best:.2} ({:.2} x)",
            name(CODES[0]),
            theirs / portable,
            name(CODES[1]),
            theirs / best,
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn quotients() {
    let power = 20;
    let values = satisfied(1 << power, 1);
    let domains = CODES.map(|cpu| domain(power, cpu));
    let run = |i: usize, threads: usize| {
        let (domain, values) = (&domains[i], &values);
        let work = move || {
            let _ = std::hint::black_box(domain.quotient(values.clone(), run(threads)));
        };
        Box::new(work) as Box<dyn FnMut()>
    };
    let bellperson = || {
        std::hint::black_box(bellperson_quotient(values.clone()));
    };
    let cores = damocles_kernels::crew::cores().get();
    let times = in_turns([
        Box::new(bellperson),
        run(0, cores),
        run(1, cores),
        run(1, 1),
    ]);
    let [theirs, portable, best, alone] = times.map(|time| time / 1e9);
    println!(
        "quotient of 2^{power}: bellperson {theirs:.3} s on all threads, portable {portable:.3} s on {cores} \
         ({:.2} x), best {best:.3} s on {cores} ({:.2} x), {alone:.3} s on one",
        theirs / portable,
        theirs / best,
    );
}
