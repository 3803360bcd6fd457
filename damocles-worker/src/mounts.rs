//! Which attached stores are there now, and are the ones that were there before. What a worker
//! has seen is kept in the databases of its sealing threads, so that it is known after a restart
//! whose disk a mount point stands for.

use crate::{
    metadb::{MetaDb, MetaError},
    stores::{AttachedStores, Seen, StoreError},
};
use std::collections::BTreeMap;

/// Attached stores as they are found.
#[derive(Debug, Default)]
pub struct Mounts {
    /// Names of those that may be written to.
    pub writable: Vec<String>,
    /// Those that are away, by name.
    pub away: Vec<(String, StoreError)>,
}

impl Mounts {
    /// Looks at each store that may be written to; what is seen for the first time is remembered
    /// in `meta`.
    pub fn look(attached: &AttachedStores, meta: &MetaDb) -> Result<Self, MetaError> {
        let mut found = Self::default();
        for store in attached.iter().filter(|store| !store.readonly) {
            let seen = meta.seen(&store.name)?.map(|seen| seen.id);
            match store.look(seen.as_deref()) {
                Ok(mark) => {
                    if let Some(mark) = mark {
                        meta.remember(&store.seen(&mark))?;
                    }
                    found.writable.push(store.name.clone());
                }
                Err(error) => found.away.push((store.name.clone(), error)),
            }
        }
        Ok(found)
    }

    /// Why nothing can be written now, in one sentence.
    pub fn why_away(&self) -> String {
        let one = |(name, error): &(String, StoreError)| format!("{name:?}: {error}");
        let all: Vec<_> = self.away.iter().map(one).collect();
        all.join("; ")
    }
}

/// What to tell the operator when the worker starts, of stores that are away or were never
/// marked. What any thread has seen is known to all of them afterwards.
pub fn at_start(
    attached: &AttachedStores,
    threads: &[MetaDb],
    patterns: &[String],
) -> Result<Vec<String>, MetaError> {
    let mut memory: BTreeMap<String, Seen> = BTreeMap::new();
    for meta in threads {
        for seen in meta.all_seen()? {
            memory.entry(seen.name.clone()).or_insert(seen);
        }
    }
    let mut said = Vec::new();
    for store in attached.iter() {
        let seen = memory.get(&store.name).map(|seen| seen.id.as_str());
        match store.look(seen) {
            Ok(Some(mark)) => {
                memory.insert(store.name.clone(), store.seen(&mark));
            }
            Ok(None) if store.on_root_device() => said.push(format!(
                "the store {:?} ({}) lies on the root file system and has no mark, so a disk that is not mounted there is not noticed; mount it, then mark it: damocles-worker store file-init -l {1}",
                store.name,
                store.root.display()
            )),
            Ok(None) => {}
            Err(error) => said.push(format!(
                "the store {:?} is left out until it is there: {error}; {}",
                store.name,
                error.hint()
            )),
        }
    }
    let scanned = |seen: &Seen| {
        let patterns = patterns.iter().filter_map(|p| glob::Pattern::new(p).ok());
        patterns.into_iter().any(|p| p.matches_path(&seen.root))
    };
    for seen in memory.values() {
        if attached.get(&seen.name).is_none() && scanned(seen) {
            said.push(format!(
                "the store {:?}, which worker.scan_persist_stores found at {} before, is not there now; is its disk not mounted?",
                seen.name,
                seen.root.display()
            ));
        }
        for meta in threads {
            meta.remember(seen)?;
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::{AttachedStore, Mark};
    use std::fs;

    #[test]
    fn a_disk_that_is_not_mounted_is_known_after_a_restart_and_by_every_thread() {
        let dir = tempfile::tempdir().unwrap();
        let meta = |name: &str| MetaDb::open(&dir.path().join(name)).unwrap();
        let (one, two) = (meta("one"), meta("two"));
        let (disk, scanned) = (dir.path().join("hdd"), dir.path().join("scan/nas"));
        fs::create_dir(&disk).unwrap();
        fs::create_dir_all(&scanned).unwrap();
        fs::write(
            scanned.join("sectorstore.json"),
            r#"{"ID":"n","Name":"nas"}"#,
        )
        .unwrap();
        let pattern = dir.path().canonicalize().unwrap().join("scan/*");
        let patterns = [pattern.display().to_string()];
        let attached = || {
            let mut stores = AttachedStores::default();
            stores
                .add(AttachedStore::open(Some("hdd"), &disk, false))
                .unwrap();
            stores.scan(&patterns[0]).unwrap();
            stores
        };
        let mark = Mark::put(&disk, Some("hdd"), false).unwrap();
        let found = Mounts::look(&attached(), &one).unwrap();
        assert_eq!(found.writable, ["hdd", "nas"]);
        // the second thread learns it at the start
        let said = at_start(&attached(), &[one, two.clone()], &patterns).unwrap();
        assert_eq!(said, [] as [&str; 0]);
        assert_eq!(two.seen("hdd").unwrap().unwrap().id, mark.id);

        // both disks are away; where one was, there is an empty directory
        fs::remove_file(disk.join(".damocles-store")).unwrap();
        fs::remove_dir_all(&scanned).unwrap();
        let found = Mounts::look(&attached(), &two).unwrap();
        assert!(found.writable.is_empty());
        assert!(found.why_away().contains("not mounted"), "{found:?}");
        let said = at_start(&attached(), std::slice::from_ref(&two), &patterns).unwrap();
        assert!(said[0].contains("\"hdd\" is left out"), "{said:?}");
        assert!(said[1].contains("\"nas\", which worker.scan"), "{said:?}");
        assert_eq!(said.len(), 2);

        // mounted again
        let text = serde_json::json!(mark).to_string();
        fs::write(disk.join(".damocles-store"), text).unwrap();
        assert_eq!(Mounts::look(&attached(), &two).unwrap().writable, ["hdd"]);
    }
}
