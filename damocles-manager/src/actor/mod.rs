//! What a person asks and orders of a miner's actor beside sealing and proving: who may act for it,
//! what it has, and what is to change of that. Orders are messages like all others.
//!
//! ```text
//! order ─ addresses looked up ─► order.rs (pure): message, sender, what has to follow
//!       ─ tried on the state of now ─► told, or stored as a message
//! ```

mod order;

pub use order::Senseless;

use crate::{
    chain::{Chain, ChainError, unless_refused},
    db::{Db, DbError, record::MessageRecord},
    messages::{DryRun, Engine, EngineError, Holder, Intent},
    model::{MessageId, MessageKind, names},
    overview::balance,
    policy::MinerPolicy,
    served::Served,
};
use damocles_api::actor::{ActorOrder, ActorOrderView, AddressView, AddressesView};
use damocles_node::{MinerInfo, TipSetKey, wire::parse_address};
use damocles_types::{ActorId, SectorId};
use fvm_shared::{address::Address, bigint::BigInt, econ::TokenAmount};
use order::{Order, Planned, State, changes, plan};
use std::sync::Arc;

/// Why there is no answer, or an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Senseless(#[from] Senseless),
    #[error("this manager does not serve miner t0{0}")]
    NoMiner(ActorId),
    #[error("{0:?} is not a Filecoin address; it looks like f01000, f1…, f3… or f4…")]
    NoAddress(String),
    #[error("the chain has no actor {0}; an address gets one when it is sent money")]
    NoActor(String),
    #[error("{0:?} is no amount; give attoFIL")]
    NoAmount(String),
    #[error(
        "{0} is to send it, and is no account: several people have to agree on it, in the program that keeps it"
    )]
    NoAccount(Address),
    #[error("{0} is to send it, and nobody who signs for this manager has its key")]
    NoKey(Address),
    #[error("the miner's actor would refuse it: {0}")]
    Refused(String),
    #[error(
        "message {message} is on its way ({what}), and this order was made without it; wait for it: `damocles-manager util message wait {message}`"
    )]
    Busy { message: MessageId, what: String },
    #[error(
        "sectors that are being sealed have such numbers, and the chain would never take them ({}); finish them first",
        names(.0).unwrap_or_default()
    )]
    Sealed(Vec<SectorId>),
    #[error("{0:?} is no id of a message")]
    NoId(String),
}

/// Who answers; clones share it.
#[derive(Clone, Debug)]
pub struct Actors {
    db: Db,
    chain: Arc<dyn Chain>,
    served: Served,
    messages: Engine,
}

impl Actors {
    pub fn new(db: Db, chain: Arc<dyn Chain>, served: Served, messages: Engine) -> Self {
        Self {
            db,
            chain,
            served,
            messages,
        }
    }

    /// Who may act for a miner, with which keys and what money.
    ///
    /// # Errors
    /// A miner that is not served, a node that does not answer.
    pub async fn addresses(&self, miner: ActorId) -> Result<AddressesView, OrderError> {
        let policy = self.served.miner(miner).ok_or(OrderError::NoMiner(miner))?;
        let head = self.chain.head().await?;
        let key = &head.cids;
        let info = self.chain.miner_info(miner, key).await?;
        let sends = self.sends(&policy, &info, key).await?;
        let mut addresses = Vec::new();
        for (role, address) in roles(&info) {
            let sends = sends.iter().filter(|(from, _)| *from == address);
            let sends = sends.map(|(_, what)| (*what).to_owned()).collect();
            addresses.push(self.address(role, address, sends, key).await?);
        }
        let actor = self.chain.actor(Address::new_id(miner), key).await?;
        let available = self.chain.miner_available_balance(miner, key).await?;
        Ok(AddressesView {
            miner,
            epoch: head.height,
            balance: actor.balance.to_string(),
            available: available.to_string(),
            addresses,
            pending: pending(&info),
        })
    }

    /// What each configured sender is to send.
    async fn sends(
        &self,
        policy: &MinerPolicy,
        info: &MinerInfo,
        key: &TipSetKey,
    ) -> Result<Vec<(Address, &'static str)>, ChainError> {
        let kinds = [
            ("precommit", &policy.pre.senders),
            ("prove", &policy.prove.senders),
            ("post", &policy.post.senders),
        ];
        let mut all = Vec::new();
        for (what, senders) in kinds {
            if senders.is_empty() {
                all.push((info.worker, what));
            }
            for sender in senders {
                let id = unless_refused(self.chain.lookup_id(*sender, key).await)?;
                all.extend(id.map(|id| (id, what)));
            }
        }
        Ok(all)
    }

    async fn address(
        &self,
        role: String,
        address: Address,
        sends: Vec<String>,
        key: &TipSetKey,
    ) -> Result<AddressView, ChainError> {
        let (account, holder) = unless_refused(self.messages.holder(address, key).await)?.unzip();
        let signer = match holder.unwrap_or(Holder::Nobody) {
            Holder::Store => "key store",
            Holder::Node => "node",
            Holder::Messager => "messager",
            Holder::Perhaps => "unknown",
            Holder::Nobody => "nobody",
        };
        Ok(AddressView {
            role,
            address: address.to_string(),
            key: account.map(|account| account.to_string()),
            signer: signer.to_owned(),
            balance: balance(&*self.chain, address, key).await?,
            sends,
        })
    }

    /// Orders something of a miner's actor; or only tells what would follow. `id`: of its message, so
    /// that an order whose answer was lost can be given again.
    ///
    /// # Errors
    /// A miner that is not served, a node that does not answer, an order that makes no sense, one
    /// whose sender has no key here, one that the actor would refuse now, one that would undo what
    /// another one does that is on its way; a failing database.
    pub async fn order(
        &self,
        miner: ActorId,
        order: ActorOrder,
        really: bool,
        id: Option<String>,
    ) -> Result<ActorOrderView, OrderError> {
        let id = match id {
            Some(text) => text.parse().map_err(|_| OrderError::NoId(text))?,
            None => MessageId::new(),
        };
        let policy = self.served.miner(miner).ok_or(OrderError::NoMiner(miner))?;
        let head = self.chain.head().await?;
        let key = &head.cids;
        let state = State {
            info: self.chain.miner_info(miner, key).await?,
            available: self.chain.miner_available_balance(miner, key).await?,
            height: head.height,
        };
        let order = self.read(miner, order, key).await?;
        if let Order::CompactNumbers { below } = order {
            self.none_is_sealed(miner, below, key).await?;
        }
        let planned = plan(order, &state)?;
        let from = self.account(planned.from, key).await?;
        let Planned { what, then, .. } = &planned;
        let (what, then) = (what.clone(), then.clone());
        if really {
            self.nothing_is_undone(miner, &planned).await?;
        }
        let intent = intent(miner, from, planned, &policy);
        let value = intent.value.to_string();
        let tried = match self.messages.dry_run(&intent).await? {
            DryRun::Takes { gas } => format!("the actor takes it now, for {gas} gas"),
            DryRun::Refuses(why) if really => return Err(OrderError::Refused(why)),
            DryRun::Refuses(why) => format!("the actor refuses it now: {why}"),
            DryRun::Unknown(why) => format!("the node cannot try it now: {why}"),
        };
        let mut message = None;
        if really {
            let record = intent.record(id);
            let id = self.messages.want_once(record).await?;
            tracing::info!(miner, message = %id, what, "a person ordered something of the miner's actor");
            message = Some(id.to_string());
        }
        Ok(ActorOrderView {
            miner,
            what,
            then,
            from: from.to_string(),
            value,
            tried,
            message,
        })
    }

    /// An order is written on what the chain has now; what another one changes of that meanwhile, it
    /// would take back.
    async fn nothing_is_undone(&self, miner: ActorId, planned: &Planned) -> Result<(), OrderError> {
        let Some(thing) = changes(planned.method) else {
            return Ok(());
        };
        let open = self.db.call(move |db| db.open_orders(miner)).await?;
        let other = |m: &MessageRecord| {
            changes(m.method) == Some(thing) && m.note.as_ref() != Some(&planned.what)
        };
        match open.into_iter().find(other) {
            Some(open) => Err(OrderError::Busy {
                message: open.id,
                what: open.note.unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }

    /// Numbers that are marked as used are refused for ever: none may be of a sector that is on its
    /// way to the chain.
    async fn none_is_sealed(
        &self,
        miner: ActorId,
        below: u64,
        key: &TipSetKey,
    ) -> Result<(), OrderError> {
        let used = self.chain.miner_allocated(miner, key).await?;
        let in_work = self.db.call(|db| db.sectors(true)).await?;
        let ids = in_work.into_iter().map(|record| record.id);
        let lost = |id: &SectorId| id.miner == miner && id.number < below && !used.get(id.number);
        let lost: Vec<SectorId> = ids.filter(lost).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(OrderError::Sealed(lost))
    }

    /// The key address that sends, whose key somebody here has.
    async fn account(&self, from: Address, key: &TipSetKey) -> Result<Address, OrderError> {
        match unless_refused(self.messages.holder(from, key).await)? {
            Some((_, Holder::Nobody)) => Err(OrderError::NoKey(from)),
            Some((address, _)) => Ok(address),
            None => Err(OrderError::NoAccount(from)),
        }
    }

    async fn id(&self, text: &str, key: &TipSetKey) -> Result<Address, OrderError> {
        let shown = || text.chars().take(100).collect::<String>();
        let address = parse_address(text).map_err(|_| OrderError::NoAddress(shown()))?;
        // a node gives the ID of an ID whether there is such an actor or not
        let there = async {
            let id = self.chain.lookup_id(address, key).await?;
            self.chain.actor(id, key).await.map(|_| id)
        };
        unless_refused(there.await)?.ok_or_else(|| OrderError::NoActor(shown()))
    }

    /// The order with what the chain knows of its addresses.
    async fn read(
        &self,
        miner: ActorId,
        order: ActorOrder,
        key: &TipSetKey,
    ) -> Result<Order, OrderError> {
        Ok(match order {
            ActorOrder::AddBalance { from, amount } => Order::AddBalance {
                from: self.id(&from, key).await?,
                amount: atto(&amount)?,
            },
            ActorOrder::Withdraw {
                amount,
                by_beneficiary,
            } => Order::Withdraw {
                amount: amount.as_deref().map(atto).transpose()?,
                by_beneficiary,
            },
            ActorOrder::RepayDebt { amount, from } => Order::RepayDebt {
                amount: amount.as_deref().map(atto).transpose()?,
                from: match from {
                    Some(from) => Some(self.id(&from, key).await?),
                    None => None,
                },
            },
            ActorOrder::SetOwner { new, from } => Order::SetOwner {
                new: self.id(&new, key).await?,
                from: self.id(&from, key).await?,
            },
            ActorOrder::SetControl { addresses } => {
                let mut ids = Vec::with_capacity(addresses.len());
                for address in addresses {
                    ids.push(self.id(&address, key).await?);
                }
                Order::SetControl { addresses: ids }
            }
            ActorOrder::ProposeWorker { worker } => Order::ProposeWorker {
                worker: self.id(&worker, key).await?,
            },
            ActorOrder::ConfirmWorker { worker } => Order::ConfirmWorker {
                worker: self.id(&worker, key).await?,
            },
            ActorOrder::ProposeBeneficiary {
                beneficiary,
                quota,
                expiration,
                overwrite,
            } => Order::ProposeBeneficiary {
                beneficiary: self.id(&beneficiary, key).await?,
                quota: atto(&quota)?,
                expiration,
                overwrite,
            },
            ActorOrder::ConfirmBeneficiary { by_new } => Order::ConfirmBeneficiary { by_new },
            ActorOrder::CompactNumbers { below, but_last } => {
                let below = match (below, but_last) {
                    (Some(below), None) => below,
                    (None, Some(but)) => self.last_used(miner, key).await?.saturating_sub(but),
                    _ => 0,
                };
                Order::CompactNumbers { below }
            }
        })
    }

    /// The highest sector number that the chain has seen.
    async fn last_used(&self, miner: ActorId, key: &TipSetKey) -> Result<u64, ChainError> {
        let used = self.chain.miner_allocated(miner, key).await?;
        Ok(used.last().unwrap_or(0))
    }
}

fn atto(text: &str) -> Result<TokenAmount, OrderError> {
    let amount = text.parse::<BigInt>();
    let amount = amount.map_err(|_| OrderError::NoAmount(text.chars().take(100).collect()))?;
    Ok(TokenAmount::from_atto(amount))
}

/// It may cost what a proof may.
fn intent(miner: ActorId, from: Address, planned: Planned, policy: &MinerPolicy) -> Intent {
    Intent {
        kind: MessageKind::ActorOrder,
        miner,
        from,
        value: planned.value,
        method: planned.method,
        params: planned.params,
        fee: policy.prove.fee.clone(),
        confidence: policy.confidence,
        sectors: Vec::new(),
        deadline: None,
        note: Some(planned.what),
    }
}

fn roles(info: &MinerInfo) -> Vec<(String, Address)> {
    let mut all = vec![
        ("owner".to_owned(), info.owner),
        ("worker".to_owned(), info.worker),
    ];
    let controls = info.control_addresses.iter().enumerate();
    all.extend(controls.map(|(i, address)| (format!("control-{i}"), *address)));
    all.push(("beneficiary".to_owned(), info.beneficiary));
    all
}

/// What is named and not confirmed yet.
fn pending(info: &MinerInfo) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(owner) = info.pending_owner_address {
        all.push(format!("{owner} is named as the next owner"));
    }
    if let Some(worker) = info.new_worker {
        all.push(format!(
            "{worker} is named as the next worker, and may be confirmed from epoch {} on",
            info.worker_change_epoch
        ));
    }
    if let Some(change) = &info.pending_beneficiary_term {
        let approved = |yes: bool| if yes { "confirmed" } else { "not confirmed" };
        all.push(format!(
            "{} is named as the next beneficiary, of {} FIL until epoch {}: {} by the one of now, {} by the new one",
            change.new_beneficiary,
            change.new_quota,
            change.new_expiration,
            approved(change.approved_by_beneficiary),
            approved(change.approved_by_nominee)
        ));
    }
    all
}

#[cfg(test)]
mod tests;
