//! The bytes of proofs. They lie apart from the small records that lists show, and go with the
//! message that brought them to the chain when nobody can want them any more.

use crate::db::{
    Db, DbError,
    damaged::readable,
    keys,
    listed::{put, seen_sector},
    record::{Carriage, MessageRecord, Proof, SectorRecord},
    schema::{PROOFS, SECTORS},
};
use crate::model::Commitment;
use damocles_kv::{Durability, StoreError, Transaction};
use damocles_types::SectorId;
use std::collections::BTreeMap;

impl Db {
    /// The bytes of the sector's proof; None: they are not kept, or there never were any.
    pub fn proof(&self, id: SectorId) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|t| {
            let seen = t.get(PROOFS, &keys::sector(id))?;
            Ok(seen.bytes().map(<[u8]>::to_vec))
        })
    }

    /// Those of several sectors, as far as they are kept.
    pub fn proofs(&self, ids: &[SectorId]) -> Result<BTreeMap<SectorId, Vec<u8>>, DbError> {
        self.read(|t| {
            let keys: Vec<_> = ids.iter().map(|id| keys::sector(*id)).collect();
            t.ahead(PROOFS, &keys)?;
            let mut found = BTreeMap::new();
            for (id, key) in ids.iter().zip(&keys) {
                let seen = t.get(PROOFS, key)?;
                found.extend(seen.bytes().map(|bytes| (*id, bytes.to_vec())));
            }
            Ok(found)
        })
    }

    /// Stores the proof of a sector that is online, in the place of the one that was seen.
    ///
    /// # Errors
    /// [`DbError::Changed`] when it is another one now; [`DbError::Unknown`]; [`DbError::NotOwner`];
    /// [`DbError::NoSector`] for a sector that is offline.
    pub fn put_proof(
        &self,
        id: SectorId,
        before: Option<&Proof>,
        bytes: &[u8],
        carriage: &Carriage,
    ) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            self.guard(t, id)?;
            let (seen, known) = seen_sector(t, id)?;
            let known = known.ok_or(DbError::Unknown(id))?;
            if !known.online {
                return Err(DbError::NoSector(id));
            }
            if known.proof.as_ref() != before {
                return Err(DbError::Changed(id));
            }
            let mut record = known.clone();
            record.proof = Some(Proof::of(bytes, carriage.clone()));
            t.overwrite(PROOFS, keys::sector(id), bytes)?;
            Ok(put(t, &seen, Some(&known), &record)?)
        })
    }
}

impl Db {
    /// Keeps the bytes of a proof that the record has and that were lost. False: it has another
    /// one, or none.
    ///
    /// # Errors
    /// [`DbError::Unknown`]; [`DbError::NotOwner`].
    pub fn keep_proof(&self, id: SectorId, bytes: &[u8]) -> Result<bool, DbError> {
        self.write(Durability::Synced, |t| {
            self.guard(t, id)?;
            let (_, record) = seen_sector(t, id)?;
            let proof = record.and_then(|record| record.proof);
            let same = proof.is_some_and(|proof| proof.is_of(bytes));
            if same && !t.get(PROOFS, &keys::sector(id))?.exists() {
                t.overwrite(PROOFS, keys::sector(id), bytes)?;
            }
            Ok(same)
        })
    }
}

/// Forgets the proofs that a message brought to the chain, of those of its sectors that are not in
/// work.
pub(in crate::db) fn forget(
    t: &mut Transaction<'_>,
    message: &MessageRecord,
) -> Result<(), StoreError> {
    if message.kind.commitment() != Some(Commitment::Proof) {
        return Ok(());
    }
    let brought = Carriage::In {
        message: message.id,
    };
    let names: Vec<_> = message.sectors.iter().map(|id| keys::sector(*id)).collect();
    t.ahead(SECTORS, &names)?;
    for id in &message.sectors {
        let key = keys::sector(*id);
        let record: Option<SectorRecord> = readable(t.get_json(SECTORS, &key))?;
        let over = record.filter(|record| !record.in_work());
        if over.is_some_and(|r| r.carriage(Commitment::Proof) == Some(&brought)) {
            t.erase(PROOFS, key)?;
        }
    }
    Ok(())
}
