//! Queues: what is to be done from a time on, claimed by one of many that do it.
//!
//! A claim is for a time: when it is over and the item is not done, the item is ready again, and
//! whoever claims it then has it. The one before is refused.

use crate::{
    Record, Span, StoreError, Table, Transaction,
    named::{named, numbered, under},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Queues, kept in this table. A queue is there when something is in it.
#[derive(Clone, Copy, Debug)]
pub struct Queues(pub Table);

/// An item of which somebody said that it does it. Times are in ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<T> {
    pub queue: String,
    pub item: String,
    pub holder: String,
    /// Until then nobody else gets it.
    pub until_ms: u64,
    /// How often it was claimed since it was put there, this time included.
    pub tries: u64,
    pub what: T,
}

/// An item, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<T> {
    /// When it is ready, or when the claim on it ends.
    pub ready_ms: u64,
    pub tries: u64,
    /// Who has claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    pub what: T,
}

impl Queues {
    /// Puts an item into a queue. False: it is in there already, and stays as it is.
    ///
    /// # Errors
    /// Of the database.
    pub fn push<T: Serialize>(
        self,
        t: &mut Transaction<'_>,
        queue: &str,
        item: &str,
        what: &T,
        ready_ms: u64,
    ) -> Result<bool, StoreError> {
        let record = t.get(self.0, &item_key(queue, item))?;
        if record.exists() {
            return Ok(false);
        }
        let new = Item {
            ready_ms,
            tries: 0,
            holder: None,
            what,
        };
        t.put_json(&record, &new)?;
        t.overwrite(self.0, ready_key(queue, ready_ms, item), [])?;
        Ok(true)
    }

    /// Claims up to `most` items that are ready, the longest ready first, until a time.
    ///
    /// # Errors
    /// Of the database; [`KvError::Decode`](crate::KvError::Decode).
    pub fn claim<T: Serialize + DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        queue: &str,
        holder: &str,
        most: usize,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<Claim<T>>, StoreError> {
        let prefix = named(&[queue], b'r');
        let later = under(prefix.clone(), &now_ms.saturating_add(1).to_be_bytes());
        let ready = t.scan(self.0, &Span::prefix(prefix.clone()).below(later), most)?;
        let mut claims = Vec::with_capacity(ready.len());
        for place in ready {
            t.delete(&place)?;
            let Some((_, id)) = numbered(&prefix, place.key()) else {
                continue;
            };
            let item = String::from_utf8_lossy(id).into_owned();
            let record = t.get(self.0, &item_key(queue, &item))?;
            let Some(mut entry) = record.json::<Item<T>>()? else {
                continue;
            };
            entry.tries += 1;
            entry.ready_ms = until_ms;
            entry.holder = Some(holder.to_owned());
            t.put_json(&record, &entry)?;
            t.overwrite(self.0, ready_key(queue, until_ms, &item), [])?;
            claims.push(Claim {
                queue: queue.to_owned(),
                item,
                holder: holder.to_owned(),
                until_ms,
                tries: entry.tries,
                what: entry.what,
            });
        }
        Ok(claims)
    }

    /// It is done: the item leaves its queue.
    ///
    /// # Errors
    /// [`StoreError::ClaimLost`] when another one has it, or it is done.
    pub fn done<T: DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        claim: &Claim<T>,
    ) -> Result<(), StoreError> {
        let (record, entry) = self.claimed(t, claim)?;
        t.delete(&record)?;
        t.erase(self.0, ready_key(&claim.queue, entry.ready_ms, &claim.item))
    }

    /// It could not be done: the item is ready again at that time, for anybody. What is to be
    /// done, as it is in the claim now, goes down with it.
    ///
    /// # Errors
    /// [`StoreError::ClaimLost`] when another one has it, or it is done.
    pub fn retry<T: Serialize + DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        claim: &Claim<T>,
        ready_ms: u64,
    ) -> Result<(), StoreError> {
        self.place(t, claim, ready_ms, None)
    }

    /// It takes longer: the claim lasts until that time.
    ///
    /// # Errors
    /// [`StoreError::ClaimLost`] when another one has it, or it is done.
    pub fn extend<T: Serialize + DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        claim: &Claim<T>,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        self.place(t, claim, until_ms, Some(claim.holder.clone()))
    }

    /// What is in a queue, by names of items, from the one after `after` on.
    ///
    /// # Errors
    /// Of the database; [`KvError::Decode`](crate::KvError::Decode).
    pub fn list<T: DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        queue: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Item<T>)>, StoreError> {
        let prefix = named(&[queue], b'i');
        let mut span = Span::prefix(prefix.clone());
        if let Some(after) = after {
            span = span.after(item_key(queue, after));
        }
        let mut items = Vec::new();
        for record in t.scan(self.0, &span, limit)? {
            let name = record.key().get(prefix.len()..).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            items.extend(record.json()?.map(|item| (name, item)));
        }
        Ok(items)
    }

    fn place<T: Serialize + DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        claim: &Claim<T>,
        ready_ms: u64,
        holder: Option<String>,
    ) -> Result<(), StoreError> {
        let (record, entry) = self.claimed(t, claim)?;
        let old = ready_key(&claim.queue, entry.ready_ms, &claim.item);
        let new = Item {
            ready_ms,
            tries: entry.tries,
            holder,
            what: &claim.what,
        };
        t.put_json(&record, &new)?;
        t.erase(self.0, old)?;
        let place = ready_key(&claim.queue, ready_ms, &claim.item);
        t.overwrite(self.0, place, [])
    }

    /// The item, if the claim is the last one on it.
    fn claimed<T: DeserializeOwned>(
        self,
        t: &mut Transaction<'_>,
        claim: &Claim<T>,
    ) -> Result<(Record, Item<T>), StoreError> {
        let record = t.get(self.0, &item_key(&claim.queue, &claim.item))?;
        match record.json::<Item<T>>()? {
            Some(entry)
                if entry.tries == claim.tries && entry.holder.as_ref() == Some(&claim.holder) =>
            {
                Ok((record, entry))
            }
            _ => Err(StoreError::ClaimLost {
                queue: claim.queue.clone(),
                item: claim.item.clone(),
                holder: claim.holder.clone(),
            }),
        }
    }
}

fn item_key(queue: &str, item: &str) -> Vec<u8> {
    under(named(&[queue], b'i'), item.as_bytes())
}

fn ready_key(queue: &str, ready_ms: u64, item: &str) -> Vec<u8> {
    let at = under(named(&[queue], b'r'), &ready_ms.to_be_bytes());
    under(at, item.as_bytes())
}
