//! A processor that computes nothing: it speaks the protocol, makes files of the right names
//! and sizes, and misbehaves on request. For tests of daemons; never for sectors.
//!
//! Told by the environment variable `FAKE_PROCESSOR_DIR`, a directory:
//! * `<stage>.start`: `mute` (no ready line), `wrong` (another line), `exit` (ends at once),
//!   `late <file>` (ready only when that file exists);
//! * `<stage>.once` is obeyed by one task and taken away, `<stage>` by every task:
//!   `error <text>`, `temporary <text>`, `half` (of PC1: ends when a layer is made), `garbage`, `stray` (prints a line that is no protocol
//!   and goes on), `die`, `silent`, `panic`,
//!   `answer <json>`, `wait <file>` (works on when that file exists), `note <text>`,
//!   `kernel <name>` (says that this computed the task);
//! * to `log` a line `<stage> <pid> start` and `… end` is added per task.

use crate::{
    kind::Stage,
    serve::{self, Progress, TaskError},
    task::{
        AddPieces, AggregateOutput, C2Output, Opaque, Pc1, Pc2, Pc2Output, ReadSectorsOutput,
        Transfer, TreeD, WindowPostOutput, WinningPostOutput,
    },
    transfer,
};
use damocles_types::{Base64, Commitment, PaddedSize, PieceInfo, SealProof, UnpaddedSize};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Names the directory described above.
pub const DIR_ENV: &str = "FAKE_PROCESSOR_DIR";

/// The length of a PoRep proof of one partition; what the fake C2 answers has it.
const PROOF_LENGTH: usize = 192;

/// Whether this process has been asked to be a fake.
pub fn is_wanted() -> bool {
    std::env::var_os(DIR_ENV).is_some()
}

/// Serves `stage` on this process's stdin and stdout until stdin ends. Errors are those of
/// the two pipes.
pub fn run(stage: Stage) -> io::Result<()> {
    let dir = std::env::var_os(DIR_ENV).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut output = serve::prepare(stage)?;
    let start = fs::read_to_string(dir.join(format!("{stage}.start"))).unwrap_or_default();
    match start.trim().split_once(' ').unwrap_or((start.trim(), "")) {
        ("mute", _) => return io::copy(&mut io::stdin(), &mut io::sink()).map(|_| ()),
        ("wrong", _) => writeln!(output, "hello")?,
        ("exit", _) => {
            eprintln!("told to exit");
            return Ok(());
        }
        ("late", file) => wait_for(Path::new(file)),
        _ => {}
    }
    let raw = output.try_clone()?;
    let work = Arc::new(move |task: &RawValue, progress: &Progress| {
        // before anybody hears that it is at work, who may kill it then and wants it to do so once
        let order = take_order(&dir, stage);
        log(&dir, stage, "start")?;
        let done = obey(&order, stage, task, progress, &raw);
        log(&dir, stage, "end")?;
        done
    });
    serve::live(stage.name(), output, work)
}

fn wait_for(file: &Path) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn log(dir: &Path, stage: Stage, what: &str) -> Result<(), TaskError> {
    let line = format!("{stage} {} {what}\n", std::process::id());
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("log"))
        .map_err(TaskError::temporary)?;
    file.write_all(line.as_bytes())
        .map_err(TaskError::temporary)
}

/// What this task is to do.
fn take_order(dir: &Path, stage: Stage) -> String {
    let once = dir.join(format!("{stage}.once"));
    match fs::read_to_string(&once) {
        // whoever removes it obeys it
        Ok(text) if fs::remove_file(&once).is_ok() => text,
        _ => fs::read_to_string(dir.join(stage.name())).unwrap_or_default(),
    }
}

fn obey(
    order: &str,
    stage: Stage,
    task: &RawValue,
    progress: &Progress,
    mut stdout: &File,
) -> Result<Box<RawValue>, TaskError> {
    let order = order.trim();
    let (word, rest) = order.split_once(' ').unwrap_or((order, ""));
    match word {
        "error" => return Err(TaskError::permanent(rest)),
        "temporary" => return Err(TaskError::temporary(rest)),
        "panic" => panic!("told to panic"),
        "half" => {
            let task: Pc1 = take(task)?;
            make(&task.cache_path.join("sc-02-data-layer-1.dat"), 32)?;
            std::process::abort();
        }
        "stray" => stdout
            .write_all(b"a library prints\n")
            .map_err(TaskError::temporary)?,
        "garbage" => stdout
            .write_all(b"{Segmentation fault\n")
            .map_err(TaskError::temporary)?,
        "die" => {
            eprintln!("told to die");
            std::process::abort();
        }
        "answer" => return RawValue::from_string(rest.to_owned()).map_err(TaskError::permanent),
        "wait" => wait_for(Path::new(rest)),
        "note" => progress.note(rest),
        "kernel" => progress.kernel(rest),
        _ => {}
    }
    if matches!(word, "silent" | "garbage") {
        loop {
            std::thread::park();
        }
    }
    plausible(stage, task, progress)
}

fn give<T: Serialize>(value: &T) -> Result<Box<RawValue>, TaskError> {
    serde_json::value::to_raw_value(value).map_err(TaskError::permanent)
}

fn take<T: DeserializeOwned>(task: &RawValue) -> Result<T, TaskError> {
    serde_json::from_str(task.get()).map_err(TaskError::permanent)
}

fn make(path: &Path, length: u64) -> Result<(), TaskError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)
        .and_then(|()| File::create(path))
        .and_then(|file| file.set_len(length))
        .map_err(TaskError::temporary)
}

/// Makes the stage's files, empty or sparse, and an output of the right shape.
fn plausible(
    stage: Stage,
    task: &RawValue,
    progress: &Progress,
) -> Result<Box<RawValue>, TaskError> {
    match stage {
        Stage::AddPieces => {
            let task: AddPieces = take(task)?;
            let size = task.seal_proof_type.size.bytes();
            make(&task.staged_filepath, size)?;
            let whole = PaddedSize(size).unpadded();
            let sizes: Vec<UnpaddedSize> = match task.pieces.as_slice() {
                [] => vec![whole],
                pieces => pieces.iter().map(|piece| piece.piece_size).collect(),
            };
            let commitment = Commitment([1; 32]);
            give(
                &sizes
                    .into_iter()
                    .map(|size| PieceInfo { commitment, size })
                    .collect::<Vec<_>>(),
            )
        }
        Stage::TreeD => {
            let task: TreeD = take(task)?;
            make(
                &task.cache_dir.join("sc-02-data-tree-d.dat"),
                2 * task.registered_proof.size.bytes() - 32,
            )?;
            give(&true)
        }
        Stage::Pc1 => {
            let task: Pc1 = take(task)?;
            // as the proofs library has it, and with it upstream's program
            if !task.out_path.is_file() {
                return Err(TaskError::permanent("No such file or directory (out_path)"));
            }
            fs::create_dir_all(&task.cache_path).map_err(TaskError::temporary)?;
            fs::copy(&task.in_path, &task.out_path).map_err(TaskError::temporary)?;
            give(&serde_json::json!({
                "registered_proof": task.registered_proof.name(),
                "labels": {}, "config": {}, "comm_d": vec![2; 32],
            }))
        }
        Stage::Pc2 => {
            let task: Pc2 = take(task)?;
            let pc1: serde_json::Value = task.pc1out.parse().map_err(TaskError::permanent)?;
            let registered_proof = pc1["registered_proof"]
                .as_str()
                .and_then(SealProof::from_name)
                .ok_or_else(|| TaskError::permanent("pc1out names no seal proof"))?;
            for file in registered_proof.size.proving_cache_files() {
                make(&task.cache_dir.join(file), 32)?;
            }
            give(&Pc2Output {
                registered_proof,
                comm_r: Commitment([3; 32]),
                comm_d: Commitment([2; 32]),
            })
        }
        Stage::C1 => give(&Opaque::from_text(r#"{"fake":"c1out"}"#).map_err(TaskError::permanent)?),
        Stage::C2 => give(&C2Output {
            proof: vec![7; PROOF_LENGTH],
        }),
        Stage::Transfer => give(&transfer::run(&take::<Transfer>(task)?, true, progress)?),
        Stage::WindowPost => give(&WindowPostOutput {
            proofs: vec![Base64(vec![7; PROOF_LENGTH])],
            faults: Vec::new(),
        }),
        Stage::WinningPost => give(&WinningPostOutput {
            proofs: vec![Base64(vec![7; PROOF_LENGTH])],
        }),
        Stage::MakeParams => {
            #[cfg(feature = "proofs")]
            make_params(&take(task)?)?;
            give(&true)
        }
        Stage::ReadSectors => give(&ReadSectorsOutput::default()),
        Stage::Aggregate => give(&AggregateOutput {
            proof: Base64(vec![8; PROOF_LENGTH]),
            wrong: Vec::new(),
        }),
        Stage::SynthProof => give(&true),
        Stage::SnapEncode | Stage::SnapProve | Stage::Unseal => Err(TaskError::permanent(format!(
            "the fake processor does not do {stage}"
        ))),
    }
}

/// Files that look like parameters: of a circuit the key, and the key with something behind it; a
/// reference string with its number of points and as many bytes.
#[cfg(feature = "proofs")]
fn make_params(task: &crate::task::MakeParams) -> Result<(), TaskError> {
    use crate::{
        params::{ParamSet, directory, srs},
        task::MakeParams,
    };
    let write = |name: String, bytes: &[u8]| {
        fs::write(directory().join(name), bytes).map_err(TaskError::temporary)
    };
    match *task {
        MakeParams::Circuit {
            circuit,
            sector_size,
        } => {
            let set = ParamSet::of(circuit, sector_size)?;
            write(set.metadata(), b"{}")?;
            write(set.verifying_key(), b"key")?;
            write(set.params(), b"key and params")
        }
        MakeParams::ReferenceString { proofs } => {
            let points = 2 * proofs;
            let mut bytes = points.to_be_bytes().to_vec();
            bytes.resize(usize::try_from(srs::length(points)).unwrap_or(0), 7);
            write(srs::file_name(), &bytes)
        }
    }
}
