//! Finished files into a persist store: space reserved first, then copied and verified by the
//! transfer stage; the manager is told in a step of its own.

use crate::{
    event::Event,
    mounts::Mounts,
    plans::{Step, Stop, stop::database_failed},
    stores::{AttachedStore, AttachedStores, SectorPaths},
};
use damocles_api::store::StoreBasicInfo;
use damocles_processor::task::{Transfer, TransferEnd, TransferRoute, TransferStore};
use damocles_types::{Failure, SectorId, SectorSize};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Bytes to reserve for a sector: upstream's rule. Small sectors' caches are as large as
/// the sectors, large ones' about a fiftieth.
pub fn space(size: SectorSize) -> u64 {
    match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => 2 * size.bytes(),
        SectorSize::GiB32 | SectorSize::GiB64 => size.bytes() + size.bytes() / 50,
    }
}

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let size = allocated.proof_type.size;
    let info = reserve(step, allocated.id, space(size))?;
    let store = chosen(&step.world.attached, &info.name).map_err(Stop::Failed)?;
    let (attached, meta) = (Arc::clone(&step.world.attached), step.meta);
    let task = transfer(&store, &info, allocated.id, size, &paths);
    step.compute_with(|| {
        // looked at again when the copy begins: the wait for a place may have been long
        let found = Mounts::look(&attached, meta).map_err(database_failed)?;
        if found.writable.contains(&store.name) {
            Ok(task)
        } else {
            Err(Stop::NotNow(
                Failure::temporary(format!("a store is away: {}", found.why_away()))
                    .hint("mount it; it is tried again by itself"),
            ))
        }
    })?;
    Ok(Event::Persist(store.name))
}

/// The store that the manager chose; one that was not offered is never written to.
fn chosen(attached: &AttachedStores, name: &str) -> Result<AttachedStore, Failure> {
    let wrong =
        |what: &str| Failure::permanent(format!("the manager chose the store {name:?}, {what}"));
    let Some(store) = attached.get(name) else {
        return Err(wrong("which is not attached here")
            .hint("attach it in the worker's config, restart the worker and resume the thread"));
    };
    if store.readonly {
        return Err(wrong("which is readonly here and was not offered").hint(
            "take readonly from the [[attached]] store if it is to be written to, and restart the worker; then resume the thread",
        ));
    }
    Ok(store.clone())
}

/// Asks until a store has room.
fn reserve(step: &mut Step<'_>, sector: SectorId, bytes: u64) -> Result<StoreBasicInfo, Stop> {
    if step.world.attached.writable().is_empty() {
        return Err(Stop::Failed(
            Failure::permanent("no attached store may be written to")
                .hint("add an [[attached]] store that is not readonly, restart the worker and resume the thread"),
        ));
    }
    loop {
        // a store whose disk is not mounted is no candidate
        let found = Mounts::look(&step.world.attached, step.meta).map_err(database_failed)?;
        let names = found.writable.clone();
        let waits_for = if names.is_empty() {
            format!("a store that is there: {}", found.why_away())
        } else {
            let answer = step.poll(|manager| manager.store_reserve_space(sector, bytes, names))?;
            if let Some(info) = answer {
                // what fails from here on is not the question
                step.heard.polled_well = false;
                return Ok(info);
            }
            format!("space in one of the stores {}", found.writable.join(", "))
        };
        step.wait(step.settings.rpc_polling_interval, waits_for)?;
    }
}

/// The replica first: it is the file that may not fit.
fn transfer(
    store: &AttachedStore,
    info: &StoreBasicInfo,
    sector: SectorId,
    size: SectorSize,
    paths: &SectorPaths,
) -> Transfer {
    let route = |from: PathBuf, to: PathBuf| TransferRoute {
        src: TransferEnd {
            store_name: None,
            uri: from,
        },
        dest: TransferEnd {
            store_name: Some(store.name.clone()),
            uri: to,
        },
        opt: None,
    };
    let cache = store.cache(sector, false);
    let mut routes = vec![route(paths.sealed.clone(), store.sealed(sector, false))];
    for file in size.proving_cache_files() {
        routes.push(route(paths.cache.join(&file), cache.join(&file)));
    }
    let about = TransferStore {
        name: store.name.clone(),
        meta: info.meta.clone(),
    };
    Transfer {
        stores: BTreeMap::from([(store.name.clone(), about)]),
        routes,
    }
}

/// Tells the manager in which store the files are.
pub fn submit(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    let instance = step
        .document()?
        .phases
        .persist_instance
        .clone()
        .ok_or_else(|| Stop::lacking("the name of the persist store"))?;
    let name = instance.clone();
    if step.ask(|manager| manager.submit_persisted(sector, instance, false))? {
        Ok(Event::SubmitPersistance)
    } else {
        Err(Stop::Failed(
            Failure::permanent(format!(
                "the manager does not find the sector's files in the store {name:?}"
            ))
            .hint(format!(
                "check that manager and worker mean the same directory by {name:?}; resume --state PCLanded moves the files again"
            )),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::SealingStore;

    #[test]
    fn space_by_size() {
        assert_eq!(space(SectorSize::KiB2), 4096);
        assert_eq!(space(SectorSize::GiB32), (32 << 30) + (32 << 30) / 50);
    }

    #[test]
    fn only_a_store_that_may_be_written_to_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let attached = |readonly| {
            let mut stores = AttachedStores::default();
            let store = AttachedStore::open(Some("hdd"), dir.path(), readonly);
            stores.add(store).unwrap();
            stores
        };
        assert_eq!(chosen(&attached(false), "hdd").unwrap().name, "hdd");
        for (name, words) in [("hdd", "readonly"), ("hdx", "not attached")] {
            let failure = chosen(&attached(true), name).unwrap_err();
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.hint.is_some());
        }
    }

    #[test]
    fn routes_keep_upstreams_layout() {
        let dir = tempfile::tempdir().unwrap();
        let store = AttachedStore::open(Some("hdd"), dir.path(), false);
        let sealing = SealingStore::init(&dir.path().join("t0")).unwrap();
        let id = SectorId::new(1000, 7);
        let info = StoreBasicInfo::default();
        let task = transfer(&store, &info, id, SectorSize::KiB2, &sealing.paths(id));
        let dests: Vec<_> = task
            .routes
            .iter()
            .map(|r| {
                r.dest
                    .uri
                    .strip_prefix(&store.root)
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(
            dests,
            [
                "sealed/s-t01000-7",
                "cache/s-t01000-7/p_aux",
                "cache/s-t01000-7/t_aux",
                "cache/s-t01000-7/sc-02-data-tree-r-last.dat"
            ]
        );
        assert!(task.routes.iter().all(|r| r.opt.is_none()), "never a link");
    }
}
