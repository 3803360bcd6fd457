//! Layers of labels against filecoin-proofs, byte for byte: every proof type of the small
//! sizes, several replicas, every way that this CPU has, and an interrupted layer.

use damocles_kernels::{
    cpu::Cpu,
    pc1::{self, Graph, Job, LANES, NODE_BYTES, Options, Start, Watch, Way, layer_name},
};
use filecoin_hashers::{Domain, poseidon::PoseidonDomain};
use filecoin_proofs::{
    MerkleTreeTrait, PoRepConfig, constants::LAYERS, parameters::public_params, with_shape,
};
use filecoin_proofs_api::{RegisteredSealProof, seal};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

type Id = [u8; NODE_BYTES];

fn graph(proof: RegisteredSealProof) -> Graph {
    fn parents<Tree: 'static + MerkleTreeTrait>(config: &PoRepConfig) -> PathBuf {
        let public = public_params::<Tree>(config).unwrap();
        public.graph.parent_cache().unwrap().path
    }
    let config = proof.as_v1_config();
    let bytes = u64::from(config.sector_size);
    Graph {
        parents: with_shape!(bytes, parents, &config),
        nodes: bytes as usize / NODE_BYTES,
        layers: LAYERS.read().unwrap()[&bytes],
    }
}

fn replica_ids(seed: u64, count: usize) -> Vec<Id> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let id = |_| {
        let mut id = Id::default();
        random.fill_bytes(&mut id);
        id[31] &= 0x3f;
        id
    };
    (0..count).map(id).collect()
}

/// Layers that filecoin-proofs has made.
fn library(proof: RegisteredSealProof, ids: &[Id]) -> Vec<TempDir> {
    let layers = |id: &Id| {
        let dir = tempfile::tempdir().unwrap();
        let id = PoseidonDomain::try_from_bytes(id).unwrap();
        seal::sdr(proof, dir.path(), id).unwrap();
        dir
    };
    ids.iter().map(layers).collect()
}

/// Keeps the last safe point; cannot write one of this layer or above.
#[derive(Debug, Default)]
struct Notes {
    last: Mutex<Option<Start>>,
    full: Option<usize>,
}

impl Watch for Notes {
    fn safe_point(&self, layer: usize, node: usize) -> io::Result<()> {
        let mut last = self.last.lock().unwrap();
        if self.full == Some(layer) && last.is_some_and(|last| last.layer == layer) {
            return Err(io::Error::other("full"));
        }
        *last = Some(Start { layer, node });
        Ok(())
    }

    fn layer_done(&self, _layer: usize) -> io::Result<()> {
        Ok(())
    }
}

fn job(dir: &Path, id: &Id, notes: &Arc<Notes>) -> Job {
    Job {
        replica_id: *id,
        dir: dir.to_owned(),
        watch: Arc::clone(notes) as Arc<dyn Watch>,
        cancel: Arc::default(),
    }
}

fn ways() -> Vec<Way> {
    let cpu = Cpu::detect();
    let mut ways = vec![Way::Portable];
    if cpu.sha_ni {
        ways.extend([1, 2, 3].map(Way::ShaNi));
    }
    if cpu.avx512 {
        ways.push(Way::Lanes);
    }
    ways
}

fn assert_same(graph: &Graph, ours: &Path, library: &Path, what: &str) {
    for layer in 1..=graph.layers {
        let name = layer_name(layer);
        let (ours, theirs) = (ours.join(&name), library.join(&name));
        let same = fs::read(ours).unwrap() == fs::read(theirs).unwrap();
        assert!(same, "{what}: {name} differs");
    }
    let names = |dir: &Path| fs::read_dir(dir).unwrap().count();
    assert_eq!(names(ours), names(library), "{what}: files left over");
}

/// Layers that our code has made in this way.
fn make(proof: RegisteredSealProof, ids: &[Id], way: Way) -> Vec<TempDir> {
    let graph = graph(proof);
    let dirs: Vec<TempDir> = ids.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let notes = Arc::new(Notes::default());
    let jobs: Vec<Job> = ids
        .iter()
        .zip(&dirs)
        .map(|(id, dir)| job(dir.path(), id, &notes))
        .collect();
    let options = Options {
        way: Some(way),
        ..Options::default()
    };
    for done in pc1::run(&graph, Start::ANEW, &jobs, Cpu::detect(), &options) {
        assert_eq!(done.unwrap(), way);
    }
    dirs
}

fn compare(proof: RegisteredSealProof, ids: &[Id], way: Way, library: &[TempDir]) {
    let graph = graph(proof);
    for (ours, theirs) in make(proof, ids, way).iter().zip(library) {
        let what = format!("{proof:?} by {way}");
        assert_same(&graph, ours.path(), theirs.path(), &what);
    }
}

/// Stops in the middle of a layer and goes on.
fn compare_interrupted(proof: RegisteredSealProof, id: &Id, way: Way, library: &Path) {
    let graph = graph(proof);
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        way: Some(way),
        safe_every: (graph.nodes * NODE_BYTES / 4) as u64,
        ..Options::default()
    };
    let run = |start, notes: &Arc<Notes>| {
        let jobs = [job(dir.path(), id, notes)];
        let mut done = pc1::run(&graph, start, &jobs, Cpu::detect(), &options);
        done.remove(0)
    };
    let notes = Arc::new(Notes {
        full: Some(2),
        ..Notes::default()
    });
    run(Start::ANEW, &notes).unwrap_err();
    let claimed = notes.last.lock().unwrap().unwrap();
    assert!(claimed.layer == 2 && claimed.node > 0 && claimed.node < graph.nodes);
    let start = pc1::resume_point(&graph, id, dir.path(), claimed).unwrap();
    assert_eq!(start, claimed);
    run(start, &Arc::default()).unwrap();
    let what = format!("{proof:?} by {way}, interrupted");
    assert_same(&graph, dir.path(), library, &what);
}

#[test]
fn layers_of_2kib_are_those_of_filecoin_proofs_for_every_proof_type() {
    use RegisteredSealProof::*;
    let proofs = [
        StackedDrg2KiBV1,
        StackedDrg2KiBV1_1,
        StackedDrg2KiBV1_1_Feat_SyntheticPoRep,
        StackedDrg2KiBV1_2_Feat_NonInteractivePoRep,
    ];
    for (seed, proof) in (1..).zip(proofs) {
        let ids = replica_ids(seed, 17);
        let library = library(proof, &ids);
        for way in ways() {
            for count in [1, 3, 17] {
                compare(proof, &ids[..count], way, &library[..count]);
            }
        }
    }
}

/// `cargo test --workspace --test pc1 -- --ignored layers_of_8mib`
#[test]
#[ignore = "slow ring: half a minute"]
fn layers_of_8mib_are_those_of_filecoin_proofs() {
    use RegisteredSealProof::*;
    for (seed, proof) in (1..).zip([StackedDrg8MiBV1, StackedDrg8MiBV1_1]) {
        let ids = replica_ids(seed, 3);
        let library = library(proof, &ids);
        for way in ways() {
            compare(proof, &ids, way, &library);
            compare_interrupted(proof, &ids[0], way, library[0].path());
        }
    }
}

/// `cargo test --workspace --test pc1 -- --ignored layers_of_512mib`
#[test]
#[ignore = "slow ring: ten minutes, 3 GiB of memory and 4 GiB of disk"]
fn layers_of_512mib_are_those_of_filecoin_proofs() {
    let proof = RegisteredSealProof::StackedDrg512MiBV1_1;
    let ids = replica_ids(1, 2);
    let library = library(proof, &ids);
    for way in ways() {
        match way {
            Way::Portable | Way::ShaNi(1) => {
                compare_interrupted(proof, &ids[0], way, library[0].path());
            }
            Way::ShaNi(2) => compare(proof, &ids, way, &library),
            // the same code again; lanes have a test of their own
            Way::ShaNi(_) | Way::Lanes => {}
        }
    }
}

/// `cargo test --workspace --test pc1 -- --ignored lanes_of_512mib`
#[test]
#[ignore = "slow ring: ten minutes, 17 GiB of memory and 18 GiB of disk"]
fn lanes_of_512mib_are_those_of_filecoin_proofs() {
    if !Cpu::detect().avx512 {
        return;
    }
    let proof = RegisteredSealProof::StackedDrg512MiBV1_1;
    let ids = replica_ids(2, LANES);
    let library = library(proof, &[ids[0], ids[LANES - 1]]);
    let made = make(proof, &ids, Way::Lanes);
    for (ours, theirs) in [&made[0], &made[LANES - 1]].into_iter().zip(&library) {
        assert_same(&graph(proof), ours.path(), theirs.path(), "512MiB in lanes");
    }
}
