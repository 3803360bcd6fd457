//! PC1, PC2 and tree-d, as the stages run them for the operator: syncing their files, leaving
//! their notes. Both sides run in a directory of the same name, because t_aux holds it.

use super::{
    Place, Request, What,
    compare::difference,
    hashes::random_elements,
    stages::{all, task},
    turns::{Sample, Side, Subject},
};
use crate::{
    disk::at,
    kernel::KernelChoice,
    serve::Progress,
    stage,
    task::{Opaque, Pc1, Pc2, Task, TreeD},
};
use anyhow::Context as _;
use damocles_types::{Commitment, PaddedSize, PieceInfo, SealProof, SectorSize};
use serde_json::{json, value::RawValue};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};
use storage_proofs_core::util::{NODE_SIZE, default_rows_to_discard};

const DATA: &str = "data";
const TREE_D: &str = "sc-02-data-tree-d.dat";
const BINARY: usize = 2;

/// How many layers a sector has.
pub(super) fn layers(size: SectorSize) -> Option<usize> {
    let all = filecoin_proofs::constants::LAYERS.read().ok()?;
    all.get(&size.bytes()).copied()
}

fn layer(number: usize) -> String {
    format!("sc-02-data-layer-{number}.dat")
}

/// A stage and its inputs.
pub(super) struct Sealing {
    what: What,
    proof: SealProof,
    cores: usize,
    sectors: usize,
    /// What both sides begin with.
    inputs: PathBuf,
    /// Where a side works; its result is moved away.
    work: PathBuf,
    ours: PathBuf,
    reference: PathBuf,
    layers: usize,
    comm_d: Commitment,
}

impl Sealing {
    /// Makes the inputs: random data, and for PC2 random labels, which cost it the same as
    /// real ones.
    pub(super) fn new(
        request: &Request,
        place: &Place,
        tell: &dyn Fn(String),
    ) -> anyhow::Result<Self> {
        let size = SectorSize::from_bytes(request.size.0)
            .with_context(|| format!("{} is no sector size", request.size))?;
        let dir = |name: &str| place.path().join(name);
        let mut sealing = Self {
            what: request.what,
            proof: SealProof::interactive(size),
            cores: request.cores,
            sectors: request.sectors,
            inputs: dir("inputs"),
            work: dir("work"),
            ours: dir("ours"),
            reference: dir("reference"),
            layers: layers(size).context("the library knows no layers of that size")?,
            comm_d: Commitment::default(),
        };
        fs::create_dir(&sealing.inputs)?;
        tell(format!("making random data in {}", place.path().display()));
        random_file(&sealing.input(DATA), size.bytes())?;
        match request.what {
            What::Pc1 => {
                tell("building its tree-d".to_owned());
                sealing.comm_d = sealing.build_tree_d()?;
            }
            What::Pc2 => {
                tell(format!("making {} layers of random labels", sealing.layers));
                for number in 1..=sealing.layers {
                    random_file(&sealing.input(&layer(number)), size.bytes())?;
                }
                sealing.comm_d = sealing.pretend_tree_d()?;
            }
            _ => {}
        }
        Ok(sealing)
    }

    fn input(&self, name: &str) -> PathBuf {
        self.inputs.join(name)
    }

    fn build_tree_d(&self) -> anyhow::Result<Commitment> {
        let task = task(&TreeD {
            registered_proof: self.proof,
            staged_file: self.input(DATA),
            cache_dir: self.inputs.clone(),
        })?;
        let handler = stage::handler(TreeD::STAGE, KernelChoice::FilecoinProofs.into());
        handler(&task, &Progress::silent())?;
        let file = File::open(self.input(TREE_D))?;
        let mut root = Commitment::default();
        let last = file.metadata()?.len() - NODE_SIZE as u64;
        file.read_exact_at(&mut root.0, last)?;
        Ok(root)
    }

    /// PC2 reads the root only, and takes its word for it.
    fn pretend_tree_d(&self) -> io::Result<Commitment> {
        let mut root = Commitment::default();
        random_elements(&mut root.0);
        let path = self.input(TREE_D);
        let file = File::create(&path).map_err(at(&path))?;
        let length = 2 * self.proof.size.bytes() - NODE_SIZE as u64;
        file.set_len(length)?;
        file.write_all_at(&root.0, length - NODE_SIZE as u64)?;
        Ok(root)
    }

    /// The work directory as the stage before leaves it, and the tasks over it.
    fn prepare(&self) -> anyhow::Result<Vec<Box<RawValue>>> {
        let link =
            |name: &str, to: &Path| fs::hard_link(self.input(name), to.join(name)).map_err(at(to));
        fs::create_dir(&self.work)?;
        match self.what {
            What::TreeD => Ok(vec![task(&TreeD {
                registered_proof: self.proof,
                staged_file: self.input(DATA),
                cache_dir: self.work.clone(),
            })?]),
            What::Pc2 => {
                let cache = self.work.join("cache");
                fs::create_dir(&cache)?;
                link(TREE_D, &cache)?;
                for number in 1..=self.layers {
                    link(&layer(number), &cache)?;
                }
                let sealed = self.work.join("sealed");
                fs::copy(self.input(DATA), &sealed).map_err(at(&sealed))?;
                Ok(vec![task(&Pc2 {
                    pc1out: self.pc1_output(&cache)?,
                    cache_dir: cache,
                    sealed_file: sealed,
                    staged_file: Some(self.input(DATA)),
                })?])
            }
            What::Pc1 => (0..self.sectors)
                .map(|number| {
                    let cache = self.work.join(format!("cache-{number}"));
                    fs::create_dir(&cache)?;
                    link(TREE_D, &cache)?;
                    let mut ticket = [0; 32];
                    ticket[..8].copy_from_slice(&(number as u64).to_le_bytes());
                    task(&Pc1 {
                        registered_proof: self.proof,
                        cache_path: cache,
                        in_path: self.input(DATA),
                        out_path: self.work.join(format!("sealed-{number}")),
                        prover_id: crate::prover_id(1000),
                        sector_id: number as u64,
                        ticket,
                        piece_infos: vec![PieceInfo {
                            commitment: self.comm_d,
                            size: PaddedSize(self.proof.size.bytes()).unpadded(),
                        }],
                    })
                })
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// What PC1 answers for the layers in `cache`.
    fn pc1_output(&self, cache: &Path) -> anyhow::Result<Opaque> {
        let nodes = usize::try_from(self.proof.size.bytes())? / NODE_SIZE;
        let labels: Vec<_> = (1..=self.layers)
            .map(|number| {
                json!({
                    "path": cache,
                    "id": format!("layer-{number}"),
                    "size": nodes,
                    "rows_to_discard": default_rows_to_discard(nodes, BINARY),
                })
            })
            .collect();
        let kind = format!("StackedDrg{}V1", self.proof.size);
        Ok(Opaque::from_value(&json!({
            "registered_proof": self.proof.name(),
            "labels": {kind: {"labels": labels, "_h": null}},
            "config": {"path": cache, "id": "tree-d", "size": 2 * nodes - 1, "rows_to_discard": 0},
            "comm_d": self.comm_d.0,
        }))?)
    }

    fn stage(&self) -> crate::Stage {
        match self.what {
            What::Pc1 => Pc1::STAGE,
            What::Pc2 => Pc2::STAGE,
            _ => TreeD::STAGE,
        }
    }
}

impl Subject for Sealing {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        // The library takes one core for a sector's PC1 and knows nothing of its neighbours;
        // ours is to have them all at once.
        let (kept, kernel, at_once) = match side {
            Side::Ours => (&self.ours, KernelChoice::Auto, self.sectors),
            Side::Reference => (&self.reference, KernelChoice::FilecoinProofs, self.cores),
        };
        clear(kept)?;
        clear(&self.work)?;
        let tasks = self.prepare()?;
        settle(&self.inputs)?;
        let settings = stage::Settings {
            // they all come at once, and none need be waited for
            batch: stage::Batch {
                most: at_once,
                ..stage::Batch::default()
            },
            ..kernel.into()
        };
        let handler = stage::handler(self.stage(), settings);
        let began = Instant::now();
        let answers = all(&handler, tasks, at_once)?;
        let seconds = began.elapsed().as_secs_f64();
        let kernel = answers
            .first()
            .map(|a| a.kernel.clone())
            .unwrap_or_default();
        let mut file = File::create(self.work.join("answers"))?;
        for answer in &answers {
            writeln!(file, "{}", answer.output)?;
        }
        fs::rename(&self.work, kept)?;
        Ok(Sample { seconds, kernel })
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        Ok(difference(&self.ours, &self.reference)?)
    }
}

fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(dir)(error)),
        _ => Ok(()),
    }
}

/// What was written before the clock starts is not to be written while it runs.
fn settle(dir: &Path) -> io::Result<()> {
    let file = File::open(dir).map_err(at(dir))?;
    rustix::fs::syncfs(&file).map_err(|error| at(dir)(error.into()))
}

/// `length` bytes of random field elements.
fn random_file(path: &Path, length: u64) -> io::Result<()> {
    let mut file = File::create(path).map_err(at(path))?;
    let mut block = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let part = left.min(block.len() as u64);
        let part = &mut block[..part as usize];
        random_elements(part);
        file.write_all(part).map_err(at(path))?;
        left -= part.len() as u64;
    }
    file.sync_all().map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::turns;
    use damocles_kernels::cpu::Cpu;
    use damocles_types::ByteSize;

    /// Both sides of the smallest sector; what is made is equal, and none of it stays.
    #[track_caller]
    fn both_sides_agree(what: What, sectors: usize) {
        let parent = tempfile::tempdir().unwrap();
        let request = Request {
            what,
            size: ByteSize(2 << 10),
            cores: 1,
            sectors,
            runs: Some(1),
        };
        let place = Place::new(Some(parent.path()), crate::bench::room(&request)).unwrap();
        let mut sealing = Sealing::new(&request, &place, &|_| ()).unwrap();
        let found = turns::take(&mut sealing, request.runs, &|_| ()).unwrap();
        assert_eq!(found.difference, None);
        assert_eq!(found.reference.kernel, "filecoin-proofs");
        // what is promised is what computes
        let promised = stage::kernels(Cpu::detect());
        let promised = promised.iter().find(|s| s.stage == sealing.stage().name());
        assert!(found.ours.kernel.starts_with(&promised.unwrap().kernel));
        assert!(fs::read_dir(&sealing.ours).unwrap().count() > 1);
        drop(place);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn tree_d() {
        both_sides_agree(What::TreeD, 1);
    }

    #[test]
    fn pc1() {
        both_sides_agree(What::Pc1, 3);
    }

    #[test]
    fn pc2() {
        both_sides_agree(What::Pc2, 1);
    }
}
