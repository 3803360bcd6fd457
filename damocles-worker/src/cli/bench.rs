//! `bench …`: our kernels against the proofs library, in turns on the same cores.

use super::say;
use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::{
    bench::{self, Arity, Build, Place, Report, Request, What},
    task::Circuit,
};
use damocles_types::ByteSize;
use std::{io, path::PathBuf, sync::Arc, thread};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  damocles-worker bench pc2 --size 8MiB
  damocles-worker bench pc1 --size 8MiB --sectors 16 --cores 1
  damocles-worker bench poseidon --size 8MiB --arity 11 --json
  damocles-worker bench c2 --size 2KiB --against bellperson --cores 2

Both sides run in turns in this process, on the same CPUs, until about a minute and a half is
measured; medians count, and every byte of both results is compared. The proofs library is
slower when it is not compiled for the CPU that it runs on: `make bench` measures such a build too.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The hash function of columns and trees
    Poseidon {
        #[command(flatten)]
        common: Common,
        /// Field elements per hash: 2, 4, 8 or 11
        #[arg(long, default_value = "8", value_parser = arity, value_name = "N")]
        arity: Arity,
    },
    /// Columns, trees and the sealed sector
    Pc2(Common),
    /// The labels of a sector's layers
    Pc1(Common),
    /// The tree of the unsealed data
    TreeD(Common),
    /// The largest multiexponentiation of C2
    Msm(Common),
    /// A transform of C2
    Fft(Common),
    /// A sector's proof
    C2(Common),
    /// A proof that sectors are still there
    WindowPost(Common),
    /// A proof that data was encoded into a sector (needs `params generate --snap`)
    Snap(Common),
    /// Making the parameters of a test network (the library takes minutes)
    Params {
        #[command(flatten)]
        common: Common,
        /// Only of this circuit [default: of all but snap upgrades]
        #[arg(long, value_name = "NAME")]
        circuit: Option<Named>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Named {
    Porep,
    WinningPost,
    WindowPost,
    SnapUpdate,
}

impl From<Named> for Circuit {
    fn from(name: Named) -> Self {
        match name {
            Named::Porep => Self::PoRep,
            Named::WinningPost => Self::WinningPost,
            Named::WindowPost => Self::WindowPost,
            Named::SnapUpdate => Self::SnapUpdate,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Common {
    /// 2KiB, 8MiB, 512MiB, 32GiB or 64GiB; poseidon takes any up to 4GiB
    #[arg(short, long, value_name = "SIZE")]
    size: ByteSize,
    /// What to compare with: bellperson does the library's proofs [default: what there is]
    #[arg(long)]
    against: Option<Against>,
    /// CPUs for both sides
    #[arg(long, default_value_t = 1, value_parser = count, value_name = "N")]
    cores: usize,
    /// So many equal sectors; only pc1 and window-post take several
    #[arg(long, default_value_t = 1, value_parser = count, value_name = "K")]
    sectors: usize,
    /// Runs of each side
    #[arg(long, value_parser = count, value_name = "N")]
    runs: Option<usize>,
    /// Where files go meanwhile [default: /dev/shm, or the temporary directory where that has no room]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Against {
    FilecoinProofs,
    Bellperson,
}

fn arity(text: &str) -> Result<Arity, String> {
    let known = Arity::ALL
        .into_iter()
        .find(|arity| arity.inputs().to_string() == text);
    known.ok_or_else(|| "sealing hashes 2, 4, 8 or 11 elements".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| "write a number from 1 on".to_owned())
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (what, common) = match &args.command {
        Command::Poseidon { common, arity } => (What::Poseidon(*arity), common),
        Command::Pc2(common) => (What::Pc2, common),
        Command::Pc1(common) => (What::Pc1, common),
        Command::TreeD(common) => (What::TreeD, common),
        Command::Msm(common) => (What::Msm, common),
        Command::Fft(common) => (What::Fft, common),
        Command::C2(common) => (What::C2, common),
        Command::WindowPost(common) => (What::WindowPost, common),
        Command::Snap(common) => (What::Snap, common),
        Command::Params { common, circuit } => (What::Params(circuit.map(Into::into)), common),
    };
    let request = Request {
        what,
        size: common.size,
        cores: common.cores,
        sectors: common.sectors,
        runs: common.runs,
    };
    let usage = |message: String| Fatal::new(Exit::Usage, message);
    request.check().map_err(usage)?;
    if matches!(common.against, Some(Against::Bellperson)) && !what.is_of_proofs() {
        return Err(usage(format!("{} has nothing to do with bellperson", what.name())).into());
    }
    if Build::of_this_program() == Build::Dev {
        eprintln!(
            "warning: this program is not optimised, so these figures mean little; cargo build --release"
        );
    }
    // before any thread, so that all of them inherit it
    let cpus = bench::keep_to(request.cores).map_err(|e| usage(format!("{e:#}")))?;
    let place = Place::new(common.dir.as_deref(), bench::room(&request)).map_err(|e| {
        Fatal::new(Exit::Refused, format!("no place for the files: {e}"))
            .hint("name a directory with more room: --dir DIR")
    })?;
    let place = Arc::new(place);
    let work = {
        let (request, place) = (request.clone(), Arc::clone(&place));
        move || bench::run(&request, &cpus, &place, &|text| eprintln!("{text}"))
    };
    let report = unless_interrupted(work, &place)?;
    say(if common.json {
        serde_json::to_string(&report)?
    } else {
        line(&report)
    })?;
    match &report.difference {
        None => Ok(()),
        Some(difference) => Err(Fatal::new(
            Exit::Unexpected,
            format!("the kernel {} makes something else: {difference}", report.kernel),
        )
        .hint("set kernel = \"filecoin-proofs\" for this stage in the worker's config, and report it with the output of `damocles-worker kernels`")
        .into()),
    }
}

/// Works on a thread of its own; Ctrl-C and SIGTERM leave no files behind.
fn unless_interrupted(
    work: impl FnOnce() -> anyhow::Result<Report> + Send + 'static,
    place: &Place,
) -> anyhow::Result<Report> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (done, mut ended) = tokio::sync::mpsc::channel(1);
    thread::Builder::new()
        .name("bench".to_owned())
        .spawn(move || {
            // nobody listens any more when it was interrupted
            let _ = done.blocking_send(work());
        })?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            report = ended.recv() => report.context("the measurement panicked")?,
            _ = interrupt.recv() => Err(stopped(place)),
            _ = terminate.recv() => Err(stopped(place)),
        }
    })
}

/// The library cannot be called off; its files go, and with this process it goes as well.
fn stopped(place: &Place) -> anyhow::Error {
    place.clear();
    io::Error::new(
        io::ErrorKind::Interrupted,
        "interrupted; nothing is left behind",
    )
    .into()
}

/// A line of a table, wide enough for most.
fn line(report: &Report) -> String {
    let what = match report.arity {
        Some(arity) => format!("{} {arity}", report.what),
        None => report.what.to_owned(),
    };
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let seconds = |median: f64, iqr: f64| format!("{median:.3} s (iqr {iqr:.3})");
    format!(
        "{what:<12} {:<7} {:<8} {:<10} {:<22} ours {:<22} {:>6.2}x  {}  {} build, {}; {}",
        report.size.to_string(),
        plural(report.cores, "core"),
        plural(report.sectors, "sector"),
        seconds(report.reference_s, report.reference_iqr_s),
        seconds(report.ours_s, report.ours_iqr_s),
        report.ratio,
        if report.identical {
            "identical"
        } else {
            "DIFFERENT"
        },
        report.build,
        plural(report.runs, "run"),
        report.kernel,
    )
}
