//! What people and programs do with the queue.

use crate::{
    db::{Db, deal::DealRecord, pages},
    deal::DealId,
    deals::{DealError, Deals, onchain::Standing},
};
use cid::Cid;
use damocles_api::lists::{Page, Want};
use damocles_flow::deal::{DealEvent, DealState};
use damocles_types::{ActorId, PaddedSize};
use fvm_shared::address::Address;

/// The longest URL of a piece.
const LONGEST_URL: usize = 2000;

/// A deal that is to be put into the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDeal {
    pub id: DealId,
    pub provider: ActorId,
    /// Whose allocation it is.
    pub client: Option<Address>,
    pub piece: Cid,
    /// Padded bytes.
    pub size: u64,
    /// Bytes of the client's data; None: as many as fit.
    pub payload: Option<u64>,
    /// Where they are: a URL, or a file on the manager's host; None: in the piece stores.
    pub place: Option<String>,
}

/// Which deals are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub provider: Option<ActorId>,
    pub state: Option<DealState>,
}

fn checked_place(place: &str) -> Result<(), String> {
    if place.len() > LONGEST_URL {
        return Err(format!(
            "the place of a piece has {LONGEST_URL} bytes at most"
        ));
    }
    let known = ["http://", "https://", "/"];
    match known.iter().any(|start| place.starts_with(start)) {
        true => Ok(()),
        false => Err(format!(
            "{place:?} is no place of a piece; give a URL (http, https) or the whole path of a file on the manager's host"
        )),
    }
}

impl Deals {
    /// Puts a deal into the queue, if the chain has it as it is described. One that is there comes
    /// back as it is.
    ///
    /// # Errors
    /// [`DealError::Refused`] and [`DealError::Wrong`]; a node that does not answer.
    pub async fn add(&self, new: NewDeal) -> Result<DealRecord, DealError> {
        let id = new.id;
        let refused = |why: String| DealError::Refused { id, why };
        if !PaddedSize(new.size).is_valid_piece() {
            let why = "the padded size of a piece is a power of two, 128 at least";
            return Err(refused(why.to_owned()));
        }
        let room = PaddedSize(new.size).unpadded().0;
        let payload = new.payload.unwrap_or(room);
        if payload == 0 || payload > room {
            let why = format!("its data has {payload} bytes, and its piece room for {room}");
            return Err(refused(why));
        }
        if let Some(place) = &new.place {
            checked_place(place).map_err(DealError::Wrong)?;
        }
        let head = self.chain.head().await?;
        let terms = match self.standing(id, new.client, &head.cids).await? {
            Standing::Open(terms) => terms,
            Standing::Closed(why) => return Err(refused(why)),
        };
        if let Some(why) = terms.differs(new.provider, new.piece, new.size) {
            return Err(refused(why));
        }
        if terms.start_by <= head.height {
            let why = format!("it had to be on chain before epoch {}", terms.start_by);
            return Err(refused(why));
        }
        let record = DealRecord::new(id, terms, payload, new.place);
        let stored = self.db.call(move |db| db.add_deal(&record)).await?;
        tracing::info!(deal = %id, provider = stored.terms.provider, piece = %stored.terms.piece, "a deal is in the queue");
        Ok(stored)
    }

    /// # Errors
    /// [`DbError::NoDeal`](crate::db::DbError::NoDeal); a failing database.
    pub async fn get(&self, id: DealId) -> Result<DealRecord, DealError> {
        let found = self.db.call(move |db| db.deal(id)).await?;
        Ok(found.ok_or(crate::db::DbError::NoDeal(id))?)
    }

    /// A page of the queue, by kind and number.
    ///
    /// # Errors
    /// [`DealError::Cursor`]; a failing database.
    pub async fn page(&self, wanted: Wanted, want: Want) -> Result<Page<DealRecord>, DealError> {
        let page = pages::Wanted::try_from(&want)?;
        let keep = move |deal: &DealRecord| {
            wanted
                .provider
                .is_none_or(|provider| deal.terms.provider == provider)
                && wanted.state.is_none_or(|state| deal.state == state)
        };
        let load = move |db: &Db| db.deals_page(&page, keep);
        Ok(self.db.call(load).await?)
    }

    /// Takes a deal out of the queue that waits.
    ///
    /// # Errors
    /// [`DealError::Wrong`] when a sector has it.
    pub async fn cancel(&self, id: DealId) -> Result<DealRecord, DealError> {
        let known = self.get(id).await?;
        if let (DealState::InSector, Some(sector)) = (known.state, known.sector) {
            return Err(DealError::Wrong(format!(
                "{id} is in sector {sector}, which is being sealed; give that up first (`util sealer sectors abort`), or let it end"
            )));
        }
        let note = Some("taken back by a person");
        let step = move |db: &Db| db.step_deal(id, DealEvent::Cancel, note);
        Ok(self.db.call(step).await?)
    }
}
