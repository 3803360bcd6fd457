//! A sector after PC1, and what the library makes of it. Labels are random field elements:
//! PC2 takes any.

use damocles_kernels::{
    cpu::Cpu,
    pc2::{self, Data, Error, Job, Options, Roots},
};
use filecoin_hashers::Hasher;
use filecoin_proofs::{
    LAYERS, MerkleTreeTrait, PoRepConfig, SealPreCommitPhase1Output, StoreConfig,
    seal_pre_commit_phase2, with_shape,
};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};
use storage_proofs_core::api_version::ApiVersion;
use storage_proofs_porep::stacked::Labels;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// The order of the scalar field less one, little-endian.
pub(crate) const LARGEST: [u8; 32] = {
    let mut bytes = [0; 32];
    let words: [u64; 4] = [
        0xffff_ffff_0000_0000,
        0x53bd_a402_fffe_5bfe,
        0x3339_d808_09a1_d805,
        0x73ed_a753_299d_7d48,
    ];
    let mut i = 0;
    while i < 32 {
        bytes[i] = (words[i / 8] >> (i % 8 * 8)) as u8;
        i += 1;
    }
    bytes
};

/// What is in the staged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Random,
    /// Committed capacity.
    Zeros,
}

#[derive(Debug)]
pub(crate) struct Sector {
    dir: tempfile::TempDir,
    pub(crate) size: u64,
    pub(crate) layers: usize,
}

impl Sector {
    pub(crate) fn new(size: u64, layers: usize, content: Content, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("library")).unwrap();
        let sector = Self { dir, size, layers };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for path in sector.label_files() {
            elements(&path, size, &mut random);
        }
        match content {
            Content::Random => elements(&sector.staged(), size, &mut random),
            Content::Zeros => {
                let staged = File::create(sector.staged()).unwrap();
                staged.set_len(size).unwrap();
            }
        }
        sector
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn staged(&self) -> PathBuf {
        self.path("staged")
    }

    pub(crate) fn label_files(&self) -> Vec<PathBuf> {
        (1..=self.layers)
            .map(|layer| self.path(&format!("library/sc-02-data-layer-{layer}.dat")))
            .collect()
    }

    /// A job whose files lie in the directory `name`; the sealed file, too.
    pub(crate) fn job(&self, name: &str) -> Job {
        fs::create_dir_all(self.path(name)).unwrap();
        Job {
            sector_size: self.size,
            layers: self.label_files(),
            data: Data::Staged(self.staged()),
            sealed: self.path(name).join("sealed"),
            cache_dir: self.path(name),
        }
    }

    /// Our PC2 into the directory `name`.
    pub(crate) fn ours(&self, name: &str, cpu: Cpu, options: &Options<'_>) -> Result<Roots, Error> {
        pc2::run(&self.job(name), cpu, options, |_| {})
    }

    /// The library's PC2; CommR. Its files are in `library`.
    pub(crate) fn library(&self) -> [u8; 32] {
        // the number of layers is the library's global table
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().unwrap();
        let before = LAYERS
            .write()
            .unwrap()
            .insert(self.size, self.layers)
            .unwrap();
        let comm_r = with_shape!(self.size, library, self,);
        LAYERS.write().unwrap().insert(self.size, before);
        comm_r
    }

    /// What PC2 makes, by name: the sealed file and all trees of the library.
    pub(crate) fn made(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("library"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                name == "sealed"
                    || name.starts_with("sc-02-data-tree-c")
                    || name.starts_with("sc-02-data-tree-r-last")
            })
            .collect();
        names.sort();
        assert!(names.len() >= 3, "{names:?}");
        names
    }

    /// Asserts that what is in the directory `name` is what the library made.
    pub(crate) fn assert_same(&self, name: &str, roots: &Roots, comm_r: [u8; 32]) {
        for file in self.made() {
            let (ours, theirs) = (self.path(name), self.path("library"));
            assert_same_file(&ours.join(&file), &theirs.join(&file));
        }
        assert_eq!(
            [roots.comm_c, roots.comm_r_last].concat(),
            fs::read(self.path("library/p_aux")).unwrap()
        );
        assert_eq!(roots.comm_r, comm_r);
    }
}

fn library<Tree: 'static + MerkleTreeTrait>(sector: &Sector) -> [u8; 32] {
    let dir = sector.path("library");
    let nodes = sector.size as usize / 32;
    let store = |id: String, size| StoreConfig {
        path: dir.clone(),
        id,
        size: Some(size),
        rows_to_discard: 0,
    };
    // of tree-d the library reads nothing but length and root
    let tree_d = File::create(dir.join("sc-02-data-tree-d.dat")).unwrap();
    tree_d.set_len((2 * nodes as u64 - 1) * 32).unwrap();
    let phase1 = SealPreCommitPhase1Output::<Tree> {
        labels: Labels::new(
            (1..=sector.layers)
                .map(|layer| store(format!("layer-{layer}"), nodes))
                .collect(),
        ),
        config: store("tree-d".to_owned(), 2 * nodes - 1),
        comm_d: [0; 32],
    };
    for name in fs::read_dir(&dir).unwrap() {
        let path = name.unwrap().path();
        // the library takes a tree that is there for its own
        if path.to_string_lossy().contains("tree-c") || path.to_string_lossy().contains("tree-r") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::copy(sector.staged(), dir.join("sealed")).unwrap();
    let config = PoRepConfig::new_groth16(sector.size, [1; 32], ApiVersion::V1_1_0);
    seal_pre_commit_phase2::<_, _, Tree>(&config, phase1, &dir, dir.join("sealed"))
        .unwrap()
        .comm_r
}

/// The element type of the trees.
pub(crate) type Element = <filecoin_hashers::poseidon::PoseidonHasher as Hasher>::Domain;

/// A file of random field elements, with the edges of the field among them.
fn elements(path: &Path, bytes: u64, random: &mut ChaCha8Rng) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for node in 0..bytes / 32 {
        let mut element = [0; 32];
        match random.next_u32() % 64 {
            0 => {}
            1 => element = LARGEST,
            2 => element[0] = 1,
            _ => {
                random.fill_bytes(&mut element);
                // every value below 2^254, and some above
                element[31] &= if node % 3 == 0 { 0x6f } else { 0x3f };
            }
        }
        file.write_all(&element).unwrap();
    }
    file.into_inner().unwrap();
}

pub(crate) fn assert_same_file(one: &Path, other: &Path) {
    let open = |path: &Path| BufReader::new(File::open(path).unwrap());
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!(length(one), length(other), "{}", one.display());
    let (mut a, mut b) = (open(one), open(other));
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut rest = length(one);
    while rest > 0 {
        let step = rest.min(1 << 16) as usize;
        a.read_exact(&mut left[..step]).unwrap();
        b.read_exact(&mut right[..step]).unwrap();
        assert!(left[..step] == right[..step], "{} differs", one.display());
        rest -= step as u64;
    }
}
