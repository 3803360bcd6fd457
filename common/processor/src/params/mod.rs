//! Groth parameters: which files a circuit needs, whether they are there, and (in the rooms
//! below) making, fetching, checking and converting them. The proofs library looks for them by file name
//! in one directory per process (`FIL_PROOFS_PARAMETER_CACHE`).

mod check;
mod converted;
mod fetch;
mod generate;
mod manifest;
pub mod show;
pub mod srs;

pub use check::{FileCheck, FileState, check, check_in};
pub use converted::{Converted, convert_all, convert_all_in};
pub(crate) use converted::{LARGEST, parameters};
pub use fetch::{DEFAULT_GATEWAY, fetch, fetch_files};
pub use generate::{generate, generate_in, generate_srs, generate_srs_in};
pub use srs::{check_srs, check_srs_in};

use crate::{disk::at, kind::Stage, serve::TaskError, task::Circuit};
use damocles_types::SectorSize;
use filecoin_proofs::{
    DefaultPieceHasher, MerkleTreeTrait, PoRepConfig, PoStConfig, PoStType,
    constants::{
        WINDOW_POST_CHALLENGE_COUNT, WINDOW_POST_SECTOR_COUNT, WINNING_POST_CHALLENGE_COUNT,
        WINNING_POST_SECTOR_COUNT,
    },
    parameters::{public_params, window_post_public_params, winning_post_public_params},
    with_shape,
};
use std::path::{Path, PathBuf};
use storage_proofs_core::{
    api_version::ApiVersion,
    parameter_cache::{
        CacheableParameters, metadata_id, parameter_cache_dir, parameter_id, verifying_key_id,
    },
};
use storage_proofs_porep::stacked::{self, StackedCircuit, StackedCompound};
use storage_proofs_post::fallback::{self, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{
    PublicParams as UpdateParams, circuit::EmptySectorUpdateCircuit,
    compound::EmptySectorUpdateCompound, constants::TreeRHasher,
};

/// Names the directory in which the proofs library looks.
pub const DIR_ENV: &str = "FIL_PROOFS_PARAMETER_CACHE";

/// What goes wrong with parameters. `Display` is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    #[error(transparent)]
    Missing(#[from] MissingParameters),
    #[error("parameters of {0} sectors are the network's own; ones made here would prove nothing")]
    NotMadeHere(SectorSize),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    #[error("the proofs library has no parameters of this kind: {0}")]
    Library(String),
    #[error("making the {what} failed: {reason}")]
    Make { what: String, reason: String },
    /// No proofs of that size are aggregated with such a file.
    #[error("the reference string {} that aggregates proofs of {size} sectors is {state}", path.display())]
    ReferenceString {
        path: PathBuf,
        state: String,
        size: SectorSize,
    },
    #[error("parameters of {0} sectors are used by the library as they are")]
    NotConverted(SectorSize),
    #[error("{name} cannot be converted: {reason}")]
    Convert { name: String, reason: String },
    #[error("{name} cannot be fetched: {reason}")]
    Fetch { name: String, reason: String },
    #[error("{name} as fetched has digest {found} instead of {wanted}; it was thrown away")]
    Digest {
        name: String,
        wanted: String,
        found: String,
    },
}

impl ParamsError {
    /// The next step for a person.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(missing) => Some(missing.hint()),
            Self::NotMadeHere(size) => {
                Some(format!("damocles-worker params fetch --sector-size {size}"))
            }
            Self::Fetch { .. } => {
                Some("run the command again: it goes on where it stopped".to_owned())
            }
            Self::Digest { .. } => Some("try another gateway".to_owned()),
            Self::Disk(_) => Some(format!("{DIR_ENV} names the directory of the parameters")),
            Self::NotConverted(_) => Some(format!("our prover takes sectors up to {LARGEST}")),
            Self::ReferenceString { size, .. } if is_made_here(*size) => Some(format!(
                "damocles-worker params generate --sector-size {size} --aggregate"
            )),
            Self::ReferenceString { size, .. } => {
                Some(format!("damocles-worker params fetch --sector-size {size}"))
            }
            Self::Library(_) | Self::Make { .. } | Self::Convert { .. } => None,
        }
    }
}

/// A stage cannot work because files are missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{circuit} parameters of {size} sectors are missing in {}: {}", dir.display(), files.join(", "))]
pub struct MissingParameters {
    pub circuit: Circuit,
    pub size: SectorSize,
    pub dir: PathBuf,
    pub files: Vec<String>,
}

impl MissingParameters {
    pub fn hint(&self) -> String {
        let command = if is_made_here(self.size) {
            "generate"
        } else {
            "fetch"
        };
        let snap = if self.circuit == Circuit::SnapUpdate {
            " --snap"
        } else {
            ""
        };
        format!(
            "damocles-worker params {command} --sector-size {}{snap}",
            self.size
        )
    }
}

impl From<ParamsError> for TaskError {
    fn from(error: ParamsError) -> Self {
        let hint = error.hint();
        let plain = Self::permanent(error);
        match hint {
            Some(hint) => plain.hint(hint),
            None => plain,
        }
    }
}

/// Whether parameters of this size may be made on the spot: those of test networks.
pub fn is_made_here(size: SectorSize) -> bool {
    size < SectorSize::GiB32
}

/// The files of one circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSet {
    pub circuit: Circuit,
    pub size: SectorSize,
    /// The circuit's name and the hash of its shape, as the file names have it.
    pub id: String,
}

impl ParamSet {
    pub fn of(circuit: Circuit, size: SectorSize) -> Result<Self, ParamsError> {
        let id =
            identify(circuit, size).map_err(|error| ParamsError::Library(format!("{error:#}")))?;
        Ok(Self { circuit, size, id })
    }

    pub fn params(&self) -> String {
        parameter_id(&self.id)
    }

    pub fn verifying_key(&self) -> String {
        verifying_key_id(&self.id)
    }

    pub fn metadata(&self) -> String {
        metadata_id(&self.id)
    }

    pub fn files(&self) -> [String; 3] {
        [self.metadata(), self.verifying_key(), self.params()]
    }
}

/// The circuits that a size needs.
pub fn circuits(snap: bool) -> Vec<Circuit> {
    let mut circuits = vec![Circuit::WinningPost, Circuit::WindowPost, Circuit::PoRep];
    if snap {
        circuits.push(Circuit::SnapUpdate);
    }
    circuits
}

/// The directory in which this process's proofs library looks.
pub fn directory() -> PathBuf {
    parameter_cache_dir()
}

/// Says at once, before hours of work, that a stage has what it needs. Stages without
/// SNARKs need nothing.
pub fn require(stage: Stage, size: SectorSize) -> Result<(), ParamsError> {
    let circuit = match stage {
        Stage::C2 => Circuit::PoRep,
        Stage::WindowPost => Circuit::WindowPost,
        Stage::WinningPost => Circuit::WinningPost,
        Stage::SnapProve => Circuit::SnapUpdate,
        Stage::AddPieces
        | Stage::TreeD
        | Stage::Pc1
        | Stage::Pc2
        | Stage::SynthProof
        | Stage::C1
        | Stage::SnapEncode
        | Stage::Unseal
        | Stage::Transfer
        | Stage::MakeParams
        | Stage::ReadSectors
        // it needs no circuit's parameters: see `srs`
        | Stage::Aggregate => return Ok(()),
    };
    let set = ParamSet::of(circuit, size)?;
    require_files(&directory(), &set, [set.params(), set.verifying_key()])
}

/// The same for who only verifies.
pub fn require_verifying_key(circuit: Circuit, size: SectorSize) -> Result<(), ParamsError> {
    let set = ParamSet::of(circuit, size)?;
    require_files(&directory(), &set, [set.verifying_key()])
}

fn require_files(
    dir: &Path,
    set: &ParamSet,
    files: impl IntoIterator<Item = String>,
) -> Result<(), ParamsError> {
    let mut missing = Vec::new();
    for name in files {
        let path = dir.join(&name);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() > 0 => {}
            // what cannot be looked at is not to be made again
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at(&path)(error).into());
            }
            Ok(_) | Err(_) => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(ParamsError::Missing(MissingParameters {
        circuit: set.circuit,
        size: set.size,
        dir: dir.to_owned(),
        files: missing,
    }))
}

pub(crate) fn porep_config(size: SectorSize) -> PoRepConfig {
    // neither the id of the PoRep nor its API version goes into the circuit's shape
    PoRepConfig::new_groth16(size.bytes(), [0; 32], ApiVersion::V1_1_0)
}

pub(crate) fn post_config(size: SectorSize, typ: PoStType) -> anyhow::Result<PoStConfig> {
    let (challenge_count, sector_count) = match typ {
        PoStType::Winning => (WINNING_POST_CHALLENGE_COUNT, WINNING_POST_SECTOR_COUNT),
        PoStType::Window => {
            let counts = WINDOW_POST_SECTOR_COUNT
                .read()
                .map_err(|_| anyhow::anyhow!("the library's table of sector counts is poisoned"))?;
            let count = counts.get(&size.bytes()).ok_or_else(|| {
                anyhow::anyhow!("the library has no WindowPoSt for {size} sectors")
            })?;
            (WINDOW_POST_CHALLENGE_COUNT, *count)
        }
    };
    Ok(PoStConfig {
        sector_size: crate::proofs::sector_size(size),
        challenge_count,
        sector_count,
        typ,
        priority: true,
        api_version: ApiVersion::V1_2_0,
    })
}

/// The name of a circuit's parameters, as the library gives it.
pub(crate) fn identify(circuit: Circuit, size: SectorSize) -> anyhow::Result<String> {
    match circuit {
        Circuit::PoRep => with_shape!(size.bytes(), porep_id, size),
        Circuit::WinningPost => with_shape!(size.bytes(), post_id, size, PoStType::Winning),
        Circuit::WindowPost => with_shape!(size.bytes(), post_id, size, PoStType::Window),
        Circuit::SnapUpdate => with_shape!(size.bytes(), update_id, size),
    }
}

fn porep_id<Tree: 'static + MerkleTreeTrait>(size: SectorSize) -> anyhow::Result<String> {
    let params = public_params::<Tree>(&porep_config(size))?;
    Ok(
        <StackedCompound<Tree, DefaultPieceHasher> as CacheableParameters<
            StackedCircuit<Tree, DefaultPieceHasher>,
            stacked::PublicParams<Tree>,
        >>::cache_identifier(&params),
    )
}

fn post_id<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    typ: PoStType,
) -> anyhow::Result<String> {
    let config = post_config(size, typ)?;
    let params = match config.typ {
        PoStType::Winning => winning_post_public_params::<Tree>(&config)?,
        PoStType::Window => window_post_public_params::<Tree>(&config)?,
    };
    Ok(<FallbackPoStCompound<Tree> as CacheableParameters<
        FallbackPoStCircuit<Tree>,
        fallback::PublicParams,
    >>::cache_identifier(&params))
}

fn update_id<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    size: SectorSize,
) -> anyhow::Result<String> {
    let params = UpdateParams::from_sector_size(size.bytes());
    Ok(<EmptySectorUpdateCompound<Tree> as CacheableParameters<
        EmptySectorUpdateCircuit<Tree>,
        UpdateParams,
    >>::cache_identifier(&params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage_proofs_core::parameter_cache::PARAMETERS;

    #[test]
    fn our_file_names_are_those_of_the_official_list() {
        for size in SectorSize::ALL {
            for circuit in circuits(true) {
                let set = ParamSet::of(circuit, size).unwrap();
                for name in [set.params(), set.verifying_key()] {
                    let official = PARAMETERS
                        .get(&name)
                        .unwrap_or_else(|| panic!("{circuit} {size}: {name}"));
                    assert_eq!(official.sector_size, size.bytes());
                }
            }
        }
    }

    #[test]
    fn what_is_missing_is_said_in_one_sentence_with_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let set = ParamSet::of(Circuit::WindowPost, SectorSize::KiB2).unwrap();
        std::fs::write(dir.path().join(set.verifying_key()), b"x").unwrap();
        std::fs::write(dir.path().join(set.params()), b"").unwrap();
        let error =
            require_files(dir.path(), &set, [set.params(), set.verifying_key()]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("WindowPoSt parameters of 2KiB") && text.contains(&set.params()),
            "{text}"
        );
        assert!(!text.contains(&set.verifying_key()));
        assert_eq!(
            error.hint().unwrap(),
            "damocles-worker params generate --sector-size 2KiB"
        );
        std::fs::write(dir.path().join(set.params()), b"x").unwrap();
        require_files(dir.path(), &set, [set.params(), set.verifying_key()]).unwrap();
    }
}
