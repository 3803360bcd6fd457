//! Sectors as operators see them: upstream's `SectorState`, made of our records.

use crate::{
    db::{
        Db,
        pages::Wanted,
        record::{Carriage, MessageRecord, SectorRecord},
    },
    model::{Commitment, MessageId},
    sealing::{Sealing, SealingError},
};
use damocles_api::{
    lists::{self, Page, SectorFilter, Want},
    sector::{CidJson, MessageInfo, PreCommitInfo, ProofInfo, SectorState, TerminateInfo},
    timeline::TimelineEntry,
    workers::WorkerPingInfo,
};
use damocles_flow::message::MessageState;
use damocles_types::SectorId;

/// Which sectors are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Online,
    Offline,
}

impl std::str::FromStr for Standing {
    type Err = SealingError;

    fn from_str(s: &str) -> Result<Self, SealingError> {
        match s {
            "online" => Ok(Self::Online),
            "offline" => Ok(Self::Offline),
            other => Err(SealingError::NotAState(other.to_owned())),
        }
    }
}

/// So many sectors go into one answer of upstream's method: some hundred MiB.
const MOST_LISTED: usize = 100_000;

/// Upstream's numbers of jobs: 0 all, 1 sealing; the others have no sectors yet.
fn of_job(job: i64) -> bool {
    matches!(job, 0 | 1)
}

fn state(
    record: SectorRecord,
    message: impl Fn(MessageId) -> Option<MessageRecord>,
    proof: Option<Vec<u8>>,
) -> SectorState {
    let cid = |kind| match record.carriage(kind) {
        Some(Carriage::In { message: id }) => message(*id).and_then(|m| m.cid).map(CidJson::from),
        _ => None,
    };
    let waits = |kind| {
        matches!(record.carriage(kind), Some(Carriage::Ready { .. }))
            || (matches!(record.carriage(kind), Some(Carriage::In { .. })) && cid(kind).is_none())
    };
    let waits_for = Commitment::ALL.into_iter().find_map(|kind| {
        let why = match record.carriage(kind)? {
            Carriage::Ready { error, .. } => error.clone(),
            Carriage::In { message: id } => message(*id)
                .filter(|m| matches!(m.state, MessageState::Wanted | MessageState::Pushed))
                .and_then(|m| m.error),
            Carriage::Found | Carriage::Dropped { .. } => None,
        };
        why.filter(|_| record.online)
            .map(|why| format!("the {} waits: {why}", in_words(kind)))
    });
    let left_chain = record.left_chain.as_ref().map(|left| left.why.clone());
    let waits_for = left_chain.or(waits_for);
    let message_info = MessageInfo {
        pre_commit_cid: cid(Commitment::PreCommit),
        commit_cid: cid(Commitment::Proof),
        need_send: Commitment::ALL.into_iter().any(waits),
    };
    let in_work = record.in_work();
    SectorState {
        id: record.id,
        sector_type: record.proof_type,
        ticket: record.ticket,
        seed: record.seed,
        deals: None,
        pieces: record.pieces,
        pre: record.pre.map(|p| PreCommitInfo {
            comm_r: p.comm_r.sealed_cid().into(),
            comm_d: p.comm_d.unsealed_cid().into(),
            ticket: p.ticket,
        }),
        proof: record.proof.map(|_| ProofInfo {
            proof: proof.unwrap_or_default().into(),
        }),
        message_info,
        terminate_info: TerminateInfo::default(),
        latest_state: record.report,
        // upstream's word for "done with it", whichever way
        finalized: !in_work,
        removed: record.removed,
        abort_reason: record.abort_reason,
        upgraded: false,
        upgrade_public: None,
        upgraded_info: None,
        upgrade_message_id: None,
        upgrade_landed_epoch: None,
        imported: false,
        need_rebuild: false,
        unsealing: false,
        waits_for,
        left_chain: record.left_chain.is_some(),
    }
}

fn has_deal(sector: &SectorState, deal: u64) -> bool {
    let pieces = sector.pieces.as_deref().unwrap_or_default();
    let mut deals = pieces.iter().filter_map(|piece| piece.deal_info.as_ref());
    deals.any(|info| info.is_builtin_market && info.deal_id == deal && deal != 0)
}

fn has_piece(sector: &SectorState, cid: CidJson) -> bool {
    let pieces = sector.pieces.as_deref().unwrap_or_default();
    pieces.iter().any(|piece| piece.piece.cid == cid)
}

fn in_words(kind: Commitment) -> &'static str {
    match kind {
        Commitment::PreCommit => "precommit",
        Commitment::Proof => "proof",
    }
}

/// With the messages that carry them, and with the bytes of their proofs if those are wanted.
fn views(
    db: &Db,
    records: Vec<SectorRecord>,
    proofs: bool,
) -> Result<Vec<SectorState>, SealingError> {
    let mut carriers = Vec::new();
    for record in &records {
        for kind in Commitment::ALL {
            if let Some(Carriage::In { message }) = record.carriage(kind) {
                carriers.push(*message);
            }
        }
    }
    let messages = db.messages_briefly(&carriers)?;
    let proven = records.iter().filter(|r| proofs && r.proof.is_some());
    let mut proofs = db.proofs(&proven.map(|r| r.id).collect::<Vec<_>>())?;
    let state = |record: SectorRecord| {
        let proof = proofs.remove(&record.id);
        state(record, |id| messages.get(&id).cloned(), proof)
    };
    Ok(records.into_iter().map(state).collect())
}

impl Sealing {
    /// Sectors that are `"online"` or `"offline"`, of that job (0 all, 1 sealing), all of them
    /// as upstream's method has it.
    ///
    /// # Errors
    /// [`SealingError::NotAState`] for another word; [`SealingError::TooLongList`].
    pub async fn sectors(&self, state: &str, job: i64) -> Result<Vec<SectorState>, SealingError> {
        let online = state.parse::<Standing>()? == Standing::Online;
        if !of_job(job) {
            return Ok(Vec::new());
        }
        let load = move |db: &Db| {
            let (mut all, mut want) = (Vec::new(), Want::default());
            want.limit = lists::MOST;
            loop {
                let page = db.sectors_page(online, None, &Wanted::try_from(&want)?, |_| true)?;
                want.cursor = page.next;
                all.extend(views(db, page.items, true)?);
                if all.len() > MOST_LISTED {
                    return Err(SealingError::TooLongList(MOST_LISTED));
                }
                if want.cursor.is_none() {
                    return Ok(all);
                }
            }
        };
        self.db.call(load).await
    }

    /// A page of the sectors that the filter asks for, without the bytes of their proofs.
    ///
    /// # Errors
    /// [`SealingError::Cursor`]; a failing database.
    pub async fn sectors_page(
        &self,
        filter: SectorFilter,
        want: Want,
    ) -> Result<Page<SectorState>, SealingError> {
        let wanted = Wanted::try_from(&want)?;
        let load = move |db: &Db| {
            let keep = |record: &SectorRecord| {
                let report = record.report.as_ref();
                let same = |word: &Option<String>, is: Option<&str>| {
                    word.as_ref().is_none_or(|word| is == Some(word.as_str()))
                };
                same(&filter.state, report.map(|r| r.state_change.next.as_str()))
                    && same(&filter.worker, report.map(|r| r.worker.instance.as_str()))
            };
            let page = db.sectors_page(filter.in_work, filter.miner, &wanted, keep)?;
            let items = views(db, page.items, false)?;
            Ok::<_, SealingError>(Page {
                items,
                next: page.next,
            })
        };
        self.db.call(load).await
    }

    /// A page of the timeline of a sector.
    ///
    /// # Errors
    /// [`SealingError::Cursor`]; one without a record.
    pub async fn timeline_page(
        &self,
        sector: SectorId,
        want: Want,
    ) -> Result<Page<TimelineEntry>, SealingError> {
        let wanted = Wanted::try_from(&want)?;
        let load = move |db: &Db| {
            db.known(sector)?;
            Ok::<_, SealingError>(db.timeline_page(sector, &wanted)?)
        };
        self.db.call(load).await
    }

    /// A page of the workers.
    ///
    /// # Errors
    /// [`SealingError::Cursor`]; a failing database.
    pub async fn workers_page(&self, want: Want) -> Result<Page<WorkerPingInfo>, SealingError> {
        let wanted = Wanted::try_from(&want)?;
        let page = self.db.call(move |db| db.workers_page(&wanted)).await?;
        let next = page.next;
        let items = page.items.into_iter().map(Into::into).collect();
        Ok(Page { items, next })
    }

    /// Sectors in that state that hold a deal of the builtin market. Deal 0 is none: fillers
    /// have it.
    ///
    /// # Errors
    /// [`SealingError::NotAState`] for another word.
    pub async fn with_deal(
        &self,
        state: &str,
        deal: u64,
    ) -> Result<Vec<SectorState>, SealingError> {
        let mut all = self.sectors(state, 0).await?;
        all.retain(|sector| has_deal(sector, deal));
        Ok(all)
    }

    /// The last sector in that state that holds the piece.
    ///
    /// # Errors
    /// [`SealingError::NotAState`] for another word.
    pub async fn with_piece(
        &self,
        state: &str,
        piece: CidJson,
    ) -> Result<Option<SectorState>, SealingError> {
        let all = self.sectors(state, 0).await?;
        let mut holders = all.into_iter().filter(|sector| has_piece(sector, piece));
        Ok(holders.next_back())
    }

    /// One sector; with a state given, only if it is in that one.
    ///
    /// # Errors
    /// [`SealingError::NotAState`]; [`SealingError::NoSector`].
    pub async fn find(
        &self,
        state: Option<&str>,
        sector: SectorId,
    ) -> Result<SectorState, SealingError> {
        let wanted = state.map(str::parse::<Standing>).transpose()?;
        let load = move |db: &Db| {
            let record = db.sector(sector)?;
            let record =
                record.filter(|r| wanted.is_none_or(|w| r.in_work() == (w == Standing::Online)));
            let found = views(db, record.into_iter().collect(), true)?.pop();
            found.ok_or(SealingError::NoSector(sector))
        };
        self.db.call(load).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::record::LeftChain,
        sealing::tests::{given, in_store, room},
    };
    use damocles_api::sector::{DealInfo, Piece, SectorPiece};
    use damocles_kv::Durability;

    #[tokio::test]
    async fn sectors_are_listed_by_state_and_job() {
        let (room, chain) = room(1000);
        let (a, b) = (given(&room).await, given(&room).await);
        chain.prove(b, None);
        room.db.put_locations(&[in_store(b, "a")]).unwrap();
        room.report_finalized(b).await.unwrap();
        let ids = async |state: &str, job| {
            let all = room.sectors(state, job).await.unwrap();
            all.into_iter().map(|s| s.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("online", 0).await, [a]);
        assert_eq!(ids("offline", 1).await, [b]);
        assert!(ids("online", 2).await.is_empty());
        let wrong = room.sectors("asleep", 0).await;
        assert!(matches!(wrong, Err(SealingError::NotAState(_))));

        assert!(room.find(None, a).await.is_ok());
        assert!(room.find(Some("online"), a).await.is_ok());
        let not_there = room.find(Some("offline"), a).await;
        assert!(matches!(not_there, Err(SealingError::NoSector(_))));
    }

    #[tokio::test]
    async fn sectors_are_found_by_what_they_hold() {
        let (room, _) = room(1000);
        let (with, without) = (given(&room).await, given(&room).await);
        let piece = |number: u64, deal_id, is_builtin_market| SectorPiece {
            piece: Piece {
                size: 1024,
                cid: damocles_types::Commitment([number as u8; 32])
                    .unsealed_cid()
                    .into(),
            },
            deal_info: Some(DealInfo {
                deal_id,
                allocation_id: 0,
                payload_size: 1000,
                is_builtin_market,
                rest: serde_json::Map::new(),
            }),
        };
        let pieces = vec![piece(1, 7, true), piece(2, 8, false), piece(3, 0, true)];
        let cids: Vec<CidJson> = pieces.iter().map(|piece| piece.piece.cid).collect();
        let hold = |record: &mut SectorRecord| {
            record.pieces = Some(pieces.clone());
            Ok::<_, SealingError>(())
        };
        room.db.change(with, Durability::Synced, hold).unwrap();
        let found = async |deal| {
            let found = room.with_deal("online", deal).await.unwrap();
            found.into_iter().map(|s| s.id).collect::<Vec<_>>()
        };
        assert_eq!(found(7).await, [with]);
        assert!(found(8).await.is_empty(), "of another market");
        assert!(found(0).await.is_empty(), "a filler");
        assert!(room.with_deal("offline", 7).await.unwrap().is_empty());
        let holder = room.with_piece("online", cids[1]).await.unwrap();
        assert_eq!(holder.unwrap().id, with);
        assert!(room.with_piece("offline", cids[1]).await.unwrap().is_none());
        assert_ne!(with, without);
    }

    #[tokio::test]
    async fn a_finished_sector_that_left_the_chain_is_in_work_and_may_be_given_up() {
        let (room, chain) = room(1000);
        let id = given(&room).await;
        chain.prove(id, None);
        room.db.put_locations(&[in_store(id, "a")]).unwrap();
        room.report_finalized(id).await.unwrap();
        let left = |record: &mut SectorRecord| {
            record.left_chain = Some(LeftChain {
                since: 1,
                why: "its proof is sent again".into(),
                stays: false,
            });
            Ok::<_, SealingError>(())
        };
        room.db.change(id, Durability::Synced, left).unwrap();
        let listed = room.sectors("online", 1).await.unwrap().remove(0);
        assert!(listed.id == id && listed.left_chain && !listed.finalized);
        assert_eq!(listed.waits_for.unwrap(), "its proof is sent again");
        assert!(room.sectors("offline", 0).await.unwrap().is_empty());
        // a worker that still has it keeps it
        let fate = room.fate(id).await.unwrap();
        assert!(fate.online && !fate.finalized && fate.aborted_by.is_none());
        let fate = room.abort_by_person(id, "gone".into()).await.unwrap();
        assert_eq!(fate.abort_reason, "gone");
        assert!(room.db.left_chain(None).unwrap().is_empty());
    }
}
