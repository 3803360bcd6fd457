//! PC2 on our own kernel, and the two small files that only the library knows how to write.

use super::{aux_files, context::Context, tree_d, trouble::disk};
use crate::{
    serve::TaskError,
    task::{Pc2, Pc2Output},
};
use damocles_kernels::{
    cpu::Cpu,
    pc2::{self, Data, Error, Job, Options, Roots},
    poseidon,
    tree::FileError,
};
use damocles_types::{ByteSize, Commitment, SealProof, SectorSize};
use filecoin_proofs::{
    DefaultPieceHasher, DefaultTreeDomain, Labels as RawLabels, PersistentAux, SectorShapeBase,
    StoreConfig, TemporaryAux,
};
use filecoin_proofs_api::seal::{Labels, SealPreCommitPhase1Output};
use std::{env, io, path::Path};
use storage_proofs_core::{cache_key::CacheKey, settings::SETTINGS, util::NODE_SIZE};

/// Memory for PC2's buffers, as `8GiB`; the environment of the child, so
/// `[[processors.pc2]] envs = { DAMOCLES_PC2_MEMORY = "4GiB" }`.
pub(super) const MEMORY_ENV: &str = "DAMOCLES_PC2_MEMORY";

/// What to do when the data is gone, which does not come back by itself.
pub(super) const NO_STAGED_FILE: &str =
    "without the staged file an interrupted PC2 cannot be repeated; go back to add_pieces";

/// Runs the kernel. The caller has marked the sealed file as being written, and syncs.
pub(super) fn run(
    task: &Pc2,
    pc1out: &SealPreCommitPhase1Output,
    proof: SealProof,
    cpu: Cpu,
    context: &Context<'_>,
) -> Result<Pc2Output, TaskError> {
    let (dir, size) = (&task.cache_dir, proof.size);
    let comm_d = Commitment(pc1out.comm_d);
    if tree_d::root(dir, size).map_err(disk)? != Some(comm_d) {
        return Err(TaskError::permanent(format!(
            "the tree-d in {} is not that of CommD {comm_d}",
            dir.display()
        ))
        .hint("run PC1 again; it makes the tree when it is missing or another's"));
    }
    let labels = at_home(layers(&pc1out.labels), dir);
    let job = Job {
        sector_size: size.bytes(),
        layers: labels
            .iter()
            .map(|store| StoreConfig::data_path(&store.path, &store.id))
            .collect(),
        data: match &task.staged_file {
            Some(staged) => Data::Staged(staged.clone()),
            None => Data::InPlace,
        },
        sealed: task.sealed_file.clone(),
        cache_dir: dir.clone(),
    };
    let options = Options {
        memory: memory(env::var(MEMORY_ENV).ok().as_deref())?,
        rows_to_discard: SETTINGS.rows_to_discard,
        ..Options::default()
    };
    context.computes(poseidon::code(cpu));
    let mut told = None;
    let roots = pc2::run(&job, cpu, &options, |progress| {
        let percent = progress.done * 100 / progress.total;
        if told.replace(percent) != Some(percent) {
            context.note(format!("columns, trees and encoding: {percent} %"));
        }
    })
    .map_err(|error| failure(error, task.staged_file.as_deref()))?;
    write_aux(dir, size, labels, &roots)?;
    Ok(Pc2Output {
        registered_proof: proof,
        comm_r: Commitment(roots.comm_r),
        comm_d,
    })
}

/// A disk may have a better day, and memory may be free later; a file that an earlier stage
/// has made wrongly stays wrong, and data that is gone stays away.
fn failure(error: Error, staged: Option<&Path>) -> TaskError {
    match error {
        Error::File(FileError::Io {
            ref path,
            ref source,
        }) if source.kind() == io::ErrorKind::NotFound && staged == Some(path.as_path()) => {
            TaskError::permanent(error).hint(NO_STAGED_FILE)
        }
        Error::File(FileError::Io { .. })
        | Error::Thread(_)
        | Error::Allocation(_)
        | Error::Cancelled => TaskError::temporary(error),
        Error::File(FileError::Length { .. }) => {
            TaskError::permanent(error).hint("the stage that makes it must run again")
        }
        Error::Memory { .. } => {
            TaskError::permanent(error).hint(format!("set {MEMORY_ENV} higher or leave it out"))
        }
        _ => TaskError::permanent(error),
    }
}

fn memory(set: Option<&str>) -> Result<u64, TaskError> {
    let Some(text) = set else {
        return Ok(pc2::DEFAULT_MEMORY);
    };
    text.parse()
        .map(|ByteSize(bytes)| bytes)
        .map_err(|error| TaskError::permanent(format!("{MEMORY_ENV}: {error}")))
}

fn layers(labels: &Labels) -> &[StoreConfig] {
    match labels {
        Labels::StackedDrg2KiBV1(raw) => &raw.labels,
        Labels::StackedDrg8MiBV1(raw) => &raw.labels,
        Labels::StackedDrg512MiBV1(raw) => &raw.labels,
        Labels::StackedDrg32GiBV1(raw) => &raw.labels,
        Labels::StackedDrg64GiBV1(raw) => &raw.labels,
    }
}

/// The same stores in this directory: PC1 may have run where it had another name.
fn at_home(stores: &[StoreConfig], dir: &Path) -> Vec<StoreConfig> {
    let mut stores = stores.to_vec();
    for store in &mut stores {
        dir.clone_into(&mut store.path);
    }
    stores
}

/// Writes p_aux and t_aux. Neither holds anything of the tree's type, so that one type
/// serves all sector sizes.
fn write_aux(
    dir: &Path,
    size: SectorSize,
    labels: Vec<StoreConfig>,
    roots: &Roots,
) -> Result<(), TaskError> {
    let nodes = size.bytes() as usize / NODE_SIZE;
    let store = |key: CacheKey, nodes: usize, rows_to_discard| StoreConfig {
        path: dir.to_owned(),
        id: key.to_string(),
        size: Some(nodes),
        rows_to_discard,
    };
    let base = pc2::shape::Shape::of_sector(size.bytes())
        .ok_or_else(|| TaskError::permanent(format!("no tree shape for {size}")))?
        .base
        .len() as usize;
    let p_aux = PersistentAux {
        comm_c: DefaultTreeDomain::from(roots.comm_c),
        comm_r_last: DefaultTreeDomain::from(roots.comm_r_last),
    };
    let t_aux = TemporaryAux::<SectorShapeBase, DefaultPieceHasher> {
        labels: RawLabels::new(labels),
        tree_d_config: store(CacheKey::CommDTree, 2 * nodes - 1, 0),
        tree_r_last_config: store(CacheKey::CommRLastTree, base, roots.rows_discarded as usize),
        tree_c_config: store(CacheKey::CommCTree, base, 0),
        _g: std::marker::PhantomData,
    };
    aux_files::write(dir, CacheKey::PAux, &p_aux)?;
    aux_files::write(dir, CacheKey::TAux, &t_aux)
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_kernels::pc2::shape::Shape;
    use damocles_types::Level;
    use filecoin_proofs::{MerkleTreeTrait, with_shape};
    use std::fs;
    use storage_proofs_porep::stacked::TemporaryAuxCache;

    #[test]
    fn data_that_is_gone_is_not_waited_for() {
        let failed = |path: &str, kind: io::ErrorKind| {
            let (path, source) = (path.into(), kind.into());
            let error = Error::File(FileError::Io { path, source });
            failure(error, Some(Path::new("/staged")))
        };
        let gone = failed("/staged", io::ErrorKind::NotFound);
        assert_eq!(gone.level, Level::Permanent);
        assert!(gone.message.starts_with("/staged: "), "{gone}");
        assert_eq!(gone.hint.as_deref(), Some(NO_STAGED_FILE));
        // the disk may only be away, and a layer is not the staged file
        for (path, kind) in [
            ("/staged", io::ErrorKind::PermissionDenied),
            ("/layer", io::ErrorKind::NotFound),
        ] {
            assert_eq!(failed(path, kind).level, Level::Temporary, "{path}");
        }
    }

    /// The library opens all trees and layers by our t_aux, in every size; the files are holes.
    #[test]
    fn the_library_opens_a_sector_by_what_is_written() {
        for size in SectorSize::ALL {
            with_shape!(size.bytes(), opens, size);
        }
    }

    fn opens<Tree: 'static + MerkleTreeTrait>(size: SectorSize) {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape::of_sector(size.bytes()).unwrap();
        let hole = |name: &str, bytes: u64| {
            let file = fs::File::create_new(dir.path().join(name)).unwrap();
            file.set_len(bytes).unwrap();
        };
        hole("sealed", size.bytes());
        hole("sc-02-data-tree-d.dat", 2 * size.bytes() - 32);
        let layers = crate::stage::pc1_layers::layer_count(size).unwrap();
        let labels: Vec<StoreConfig> = (1..=layers)
            .map(|layer| {
                let id = CacheKey::label_layer(layer);
                hole(&format!("sc-02-data-{id}.dat"), size.bytes());
                let mut store = StoreConfig::new(dir.path(), id, 0);
                store.size = Some(shape.nodes() as usize);
                store
            })
            .collect();
        let rows_discarded = shape.base.discarded(SETTINGS.rows_to_discard);
        for number in 0..shape.base_trees() {
            let number = match shape.base_trees() {
                1 => String::new(),
                _ => format!("-{number}"),
            };
            let left = shape.base.len() - shape.base.row_start(rows_discarded + 1);
            hole(
                &format!("sc-02-data-tree-c{number}.dat"),
                shape.base.len() * 32,
            );
            hole(&format!("sc-02-data-tree-r-last{number}.dat"), left * 32);
        }
        let roots = Roots {
            comm_c: [1; 32],
            comm_r_last: [2; 32],
            comm_r: [3; 32],
            rows_discarded,
        };
        write_aux(dir.path(), size, labels, &roots).unwrap();

        let t_aux = aux_files::read::<TemporaryAux<Tree, DefaultPieceHasher>>;
        let t_aux = t_aux(dir.path(), CacheKey::TAux).unwrap();
        let opened = TemporaryAuxCache::new(&t_aux, dir.path().join("sealed"), false);
        let opened = opened.unwrap_or_else(|error| panic!("{size}: {error:#}"));
        let leaves = shape.nodes() as usize;
        assert_eq!(opened.tree_c.unwrap().leafs(), leaves, "{size}");
        assert_eq!(opened.tree_r_last.leafs(), leaves, "{size}");
        assert_eq!(opened.tree_d.unwrap().leafs(), leaves, "{size}");
        let p_aux = aux_files::read::<PersistentAux<DefaultTreeDomain>>;
        let p_aux = p_aux(dir.path(), CacheKey::PAux).unwrap();
        assert_eq!(p_aux.comm_c, DefaultTreeDomain::from([1; 32]));
        assert_eq!(p_aux.comm_r_last, DefaultTreeDomain::from([2; 32]));
    }

    #[test]
    fn memory_is_a_size() {
        assert_eq!(memory(None).unwrap(), 8 << 30);
        assert_eq!(memory(Some("300MiB")).unwrap(), 300 << 20);
        let error = memory(Some("much")).unwrap_err();
        assert!(error.message.contains(MEMORY_ENV), "{error}");
    }
}
