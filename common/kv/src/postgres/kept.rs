//! Records that transactions of this process have seen or written lately. What is kept may be old:
//! a transaction that has read it here is applied only if the database finds it true, and one that
//! was not drops it.

use crate::{Table, transaction::Stored};
use lru::LruCache;
use parking_lot::Mutex;

/// For keys and values together.
const MOST_BYTES: usize = 64 << 20;
/// Larger values are not kept: they are rarely asked for again.
const LARGEST: usize = 16 << 10;
/// What an entry costs beside its bytes.
const ENTRY: usize = 128;

#[derive(Debug)]
pub(super) struct Kept(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    records: LruCache<(Table, Vec<u8>), Stored>,
    bytes: usize,
}

fn size(key: &[u8], stored: &Stored) -> usize {
    ENTRY + key.len() + stored.value.len()
}

impl Default for Kept {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            records: LruCache::unbounded(),
            bytes: 0,
        }))
    }
}

impl Kept {
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Stored> {
        let mut inner = self.0.lock();
        inner.records.get(&(table, key.to_vec())).cloned()
    }

    pub(super) fn keep(&self, table: Table, key: &[u8], stored: &Stored) {
        if stored.value.len() > LARGEST {
            return self.forget(table, key);
        }
        let mut inner = self.0.lock();
        inner.bytes += size(key, stored);
        let before = inner.records.push((table, key.to_vec()), stored.clone());
        if let Some(((_, key), stored)) = before {
            inner.bytes -= size(&key, &stored);
        }
        while inner.bytes > MOST_BYTES
            && let Some(((_, key), stored)) = inner.records.pop_lru()
        {
            inner.bytes -= size(&key, &stored);
        }
    }

    pub(super) fn forget(&self, table: Table, key: &[u8]) {
        let mut inner = self.0.lock();
        if let Some(stored) = inner.records.pop(&(table, key.to_vec())) {
            inner.bytes -= size(key, &stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::Version;

    const T: Table = Table("t");

    fn stored(version: u64, bytes: usize) -> Stored {
        Stored {
            version: Version(version),
            value: vec![0; bytes],
        }
    }

    #[test]
    fn what_was_used_last_stays_within_the_bytes() {
        let kept = Kept::default();
        let key = |n: usize| format!("{n:08}").into_bytes();
        let fit = MOST_BYTES / size(&key(0), &stored(1, LARGEST));
        for n in 0..fit {
            kept.keep(T, &key(n), &stored(1, LARGEST));
        }
        assert!(kept.get(T, &key(0)).is_some(), "used now");
        kept.keep(T, &key(fit), &stored(1, LARGEST));
        assert!(kept.get(T, &key(0)).is_some());
        assert_eq!(kept.get(T, &key(1)), None, "the oldest one went");
        assert!(kept.0.lock().bytes <= MOST_BYTES);

        // written again, too large, and forgotten
        kept.keep(T, &key(0), &stored(2, 1));
        assert_eq!(kept.get(T, &key(0)), Some(stored(2, 1)));
        kept.keep(T, &key(0), &stored(3, LARGEST + 1));
        assert_eq!(kept.get(T, &key(0)), None);
        for n in 0..=fit {
            kept.forget(T, &key(n));
        }
        assert_eq!(kept.0.lock().bytes, 0);
    }
}
