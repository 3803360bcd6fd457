//! `Damocles.*` about the queue of deals.

use super::{error::ToRpc, rooms::Rooms};
use crate::{
    db::deal::DealRecord,
    deal::{DealId, Length},
    deals::{DealError, NewDeal, WantedDeals},
    model::seconds,
};
use damocles_api::{
    deals::{AddDeal, DamoclesDealsServer, DealFilter, DealView},
    lists::{Page, Want},
};
use damocles_node::wire::parse_address;
use jsonrpsee::core::{RpcResult, async_trait};

fn view(deal: DealRecord) -> DealView {
    let (term, until) = match deal.terms.length {
        Length::Term { min, max } => (Some([min, max]), None),
        Length::Until(end) => (None, Some(end)),
    };
    DealView {
        id: deal.id.to_string(),
        provider: deal.terms.provider,
        client: deal.terms.client,
        piece_cid: deal.terms.piece.into(),
        size: deal.terms.size,
        payload_size: deal.payload,
        place: deal.url,
        start_by: deal.terms.start_by,
        term,
        until,
        state: deal.state.to_string(),
        sector: deal.sector,
        passed_over: deal.passed_over,
        note: deal.note,
        added_at: seconds(deal.added_at),
    }
}

fn wrong(error: impl std::fmt::Display) -> DealError {
    DealError::Wrong(error.to_string())
}

fn id(text: &str) -> Result<DealId, DealError> {
    text.parse().map_err(wrong)
}

fn new(deal: AddDeal) -> Result<NewDeal, DealError> {
    let client = deal.client.as_deref().map(parse_address);
    Ok(NewDeal {
        id: id(&deal.id)?,
        provider: deal.provider,
        client: client.transpose().map_err(wrong)?,
        piece: deal.piece_cid.cid,
        size: deal.size,
        payload: deal.payload_size,
        place: deal.place,
    })
}

#[async_trait]
impl DamoclesDealsServer for Rooms {
    async fn add_deal(&self, deal: AddDeal) -> RpcResult<DealView> {
        let done = async {
            let new = new(deal)?;
            if !self.sealing.knows(new.provider) {
                return Err(DealError::NoMiner(new.provider));
            }
            self.deals.add(new).await
        };
        done.await.map(view).map_err(ToRpc::to_operator)
    }

    async fn deals(&self, filter: DealFilter, want: Want) -> RpcResult<Page<DealView>> {
        let done = async {
            let state = filter.state.map(|state| state.parse());
            let wanted = WantedDeals {
                provider: filter.provider,
                state: state.transpose().map_err(|_| {
                    wrong("a deal is Waiting, InSector, Sealed, Cancelled or Expired")
                })?,
            };
            self.deals.page(wanted, want).await
        };
        let page = done.await.map_err(ToRpc::to_operator)?;
        Ok(Page {
            items: page.items.into_iter().map(view).collect(),
            next: page.next,
        })
    }

    async fn deal(&self, name: String) -> RpcResult<DealView> {
        let done = async { self.deals.get(id(&name)?).await };
        done.await.map(view).map_err(ToRpc::to_operator)
    }

    async fn cancel_deal(&self, name: String) -> RpcResult<DealView> {
        let done = async { self.deals.cancel(id(&name)?).await };
        done.await.map(view).map_err(ToRpc::to_operator)
    }
}
