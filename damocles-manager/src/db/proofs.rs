//! The bytes of proofs. They lie apart from the small records that lists show, and go with the
//! message that brought them to the chain when nobody can want them any more.

use crate::db::{
    Db, DbError,
    damaged::readable,
    keys,
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
            let found = ids.iter().zip(t.get_all(PROOFS, &keys)?);
            let found = found.filter_map(|(id, seen)| Some((*id, seen.bytes()?.to_vec())));
            Ok(found.collect())
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
        self.change_in(id, Durability::Synced, |t, record| {
            if !record.online {
                return Err(DbError::NoSector(id));
            }
            if record.proof.as_ref() != before {
                return Err(DbError::Changed(id));
            }
            record.proof = Some(Proof::of(bytes, carriage.clone()));
            Ok(t.overwrite(PROOFS, keys::sector(id), bytes)?)
        })
    }

    /// Keeps the bytes of the sector's proof if they were lost. Others are passed over.
    ///
    /// # Errors
    /// [`DbError::Unknown`]; [`DbError::NotOwner`].
    pub fn keep_proof(&self, id: SectorId, bytes: &[u8]) -> Result<(), DbError> {
        self.change_in(id, Durability::Synced, |t, record| {
            let same = record
                .proof
                .as_ref()
                .is_some_and(|proof| proof.is_of(bytes));
            if same && !t.get(PROOFS, &keys::sector(id))?.exists() {
                t.overwrite(PROOFS, keys::sector(id), bytes)?;
            }
            Ok(())
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
    let keys: Vec<_> = message.sectors.iter().map(|id| keys::sector(*id)).collect();
    for seen in t.get_all(SECTORS, &keys)? {
        let record: Option<SectorRecord> = readable(seen.json())?;
        let over = record.filter(|record| !record.in_work());
        if over.is_some_and(|r| r.carriage(Commitment::Proof) == Some(&brought)) {
            t.erase(PROOFS, seen.key())?;
        }
    }
    Ok(())
}
