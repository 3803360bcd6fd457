//! The reconciler: takes every unfinished message a step further, as often as it is woken.

use crate::{
    chain::{ChainError, Head},
    db::{
        Db, DbError,
        record::{MessageRecord, Order},
    },
    messages::{
        Engine, EngineError, LARGEST_PARAMS,
        push::{Way, unsigned},
        verdict::{LONGEST_PAUSE, MOST_REFUSALS, Refusal, of_refusal, pause},
    },
    model::{MessageId, MessageKind, names, unix_ms},
};
use damocles_flow::message::{MessageEvent, MessageState};
use damocles_node::SignedMessage;
use damocles_types::Epoch;
use futures::{StreamExt, stream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Messages that are worked on at the same time.
const AT_ONCE: usize = 8;
/// Between two looks for what other managers want.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long to leave a database alone that could not be read.
pub(super) const AFTER_DB_ERROR: Duration = Duration::from_secs(5);
/// Between two passes at least, if not woken: what is due already may be due because its record
/// could not be written.
const SHORTEST_PAUSE_MS: u64 = 250;

/// When there will be something to do, unless the engine is woken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When a message is wanted.
    Idle,
    /// When the chain has moved.
    AtHead,
    /// Then, or when the chain has moved.
    In(Duration),
}

/// A deadline does not wait, and a slow node may take minutes over many messages: WindowPoSts
/// go before everything else, the others in the order in which they were wanted. Pure.
pub(super) fn urgent_first(mut open: Vec<MessageRecord>) -> Vec<MessageRecord> {
    open.sort_by_key(|m| m.kind != MessageKind::WindowPost);
    open
}

impl Engine {
    /// Works until `stop`. What is under way then is taken up at the next start.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (mut head, mut woken) = (self.head.clone(), self.wake.subscribe());
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = self.reconcile() => next,
            };
            let next = next.unwrap_or_else(|error| {
                tracing::error!(%error, "messages cannot be read from the database");
                Next::In(AFTER_DB_ERROR)
            });
            let timer = async {
                match next {
                    Next::In(pause) => tokio::time::sleep(pause).await,
                    Next::Idle | Next::AtHead => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = woken.changed() => {}
                changed = head.changed(), if next != Next::Idle => {
                    if changed.is_err() {
                        // whoever follows the head is gone: the daemon is stopping
                        stop.cancelled().await;
                    }
                }
                () = timer => {}
                () = self.wanted_elsewhere() => {}
            }
        }
    }

    /// Returns when another manager wants a message, for it cannot wake this one. The node is
    /// asked nothing for that.
    async fn wanted_elsewhere(&self) {
        if !self.db.is_shared() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let open = self.db.call(|db| db.open_messages_briefly()).await;
            let wanted = |m: &MessageRecord| {
                let ours = self.only.is_none_or(|from| from == m.from);
                ours && m.state == MessageState::Wanted && !rests(m, unix_ms())
            };
            // what cannot be read now is looked for again
            if open.is_ok_and(|open| open.iter().any(wanted)) {
                return;
            }
        }
    }

    /// Takes every unfinished message as far as it goes now, and says when to do so again.
    ///
    /// # Errors
    /// The list cannot be read. What goes wrong with one message is noted in its record.
    pub(super) async fn reconcile(&self) -> Result<Next, DbError> {
        let head = self.head.borrow().clone();
        let branched = match &head {
            Some(head) => self.watch(head).await?,
            None => false,
        };
        let open = urgent_first(self.open().await?);
        let (first, then) = if branched {
            // What was on chain or in the pool before keeps its nonce: it goes to the node again
            // before anything new can take it.
            open.into_iter()
                .partition(|m| m.state != MessageState::Wanted)
        } else {
            (open, Vec::new())
        };
        for some in [first, then] {
            let head = head.as_ref();
            stream::iter(some)
                .for_each_concurrent(AT_ONCE, |record| async move {
                    let id = record.id;
                    if let Err(error) = self.advance(record, head).await {
                        tracing::error!(%id, %error, "a message could not be taken further");
                    }
                })
                .await;
        }
        let left = self.open().await?;
        if let Some(head) = &head {
            self.fill_gaps(&left, head).await;
        }
        self.seen
            .looked
            .lock()
            .retain(|id, _| left.iter().any(|m| m.id == *id));
        self.tell_looked(&left).await?;
        let retry = left.iter().filter_map(|m| m.retry_at).min();
        let idle = left.is_empty() && !self.db.call(|db| db.watches_messages()).await?;
        Ok(match retry {
            Some(at) => {
                let pause = at.saturating_sub(unix_ms()).max(SHORTEST_PAUSE_MS);
                Next::In(Duration::from_millis(pause).min(LONGEST_PAUSE))
            }
            None if idle => Next::Idle,
            None => Next::AtHead,
        })
    }

    /// The messages that are on their way, of those that this engine looks after.
    async fn open(&self) -> Result<Vec<MessageRecord>, DbError> {
        let from = self.only;
        let open = move |db: &Db| match from {
            Some(from) => db.open_messages_of(from),
            None => db.open_messages(),
        };
        self.db.call(open).await
    }

    /// Stores up to which head messages of WindowPoSts were looked for: whoever proves may be
    /// another manager.
    async fn tell_looked(&self, left: &[MessageRecord]) -> Result<(), DbError> {
        let looked: Vec<_> = {
            let looked = self.seen.looked.lock();
            left.iter()
                .filter(|m| m.kind == MessageKind::WindowPost && m.state == MessageState::Pushed)
                .filter_map(|m| Some((m.id, *looked.get(&m.id)?)))
                .collect()
        };
        if looked.is_empty() {
            return Ok(());
        }
        self.db.call(move |db| db.put_looked(&looked)).await
    }

    async fn advance(&self, record: MessageRecord, head: Option<&Head>) -> Result<(), EngineError> {
        if rests(&record, unix_ms()) {
            return Ok(());
        }
        let done = match record.state {
            MessageState::Wanted => self.push(&record).await,
            MessageState::Pushed if record.entrusted.is_some() => match (&record.entrusted, head) {
                (Some(entrusted), Some(head)) => {
                    self.follow_entrusted(&record, entrusted, head).await
                }
                _ => Ok(()),
            },
            MessageState::Pushed
            | MessageState::Packed
            | MessageState::Landed
            | MessageState::Failed => match head {
                Some(head) => self.follow(&record, head).await,
                None => Ok(()),
            },
            MessageState::FailedFinal | MessageState::Rejected | MessageState::Final => Ok(()),
        };
        match done {
            Err(EngineError::Db(error)) => Err(error.into()),
            Err(error) => self.failed(record, &error).await,
            Ok(()) => Ok(()),
        }
    }

    /// Wanted → Pushed. May have happened before without our having stored it.
    async fn push(&self, record: &MessageRecord) -> Result<(), EngineError> {
        let id = record.id;
        let chain = &*self.chain;
        // On a head that is not believed nothing is sent.
        let tip = chain.head().await?;
        // what may have left is followed, and withdrawn from the chain
        let at_home = !record.has_left();
        if let Some(deadline) = record.deadline.filter(|d| at_home && *d <= tip.height) {
            let why = format!("it was not sent before epoch {deadline}, and is pointless now");
            return self.refuse(record, why).await;
        }
        if let (Some(Order::Withdraw { why }), true) = (&record.order, at_home) {
            return self.refuse(record, why.clone()).await;
        }
        if record.params.0.len() > LARGEST_PARAMS {
            let why = format!(
                "its parameters have {} bytes, and a message may carry {LARGEST_PARAMS}",
                record.params.0.len()
            );
            return self.refuse(record, why).await;
        }
        // What may have left is followed to its end; what has not is withdrawn with its sector.
        if at_home {
            if self.withdrawn(record).await? {
                return Ok(());
            }
            // a proof that comes late costs more than any fee, and so does a sector that stays faulty
            let owed = [MessageKind::WindowPost, MessageKind::DeclareRecoveries];
            if !owed.contains(&record.kind)
                && let Some(why) = self.over_the_day(record).await?
            {
                return Err(EngineError::Spent(why));
            }
        }
        match self.backend.way(record) {
            Way::Again => return self.push_signed(record, &tip).await,
            Way::Sign => return self.sign(record, &tip).await,
            Way::Messager => return self.entrust(record, &tip).await,
            Way::Wait(why) => return Err(EngineError::Locked(why)),
            Way::Node => {}
        }
        let priced = unsigned(record, None);
        let gas = match self.backend.price(chain, priced, &record.fee).await {
            Ok(gas) => gas,
            // The node cannot run it on today's state. If it was pushed before, that may be
            // because it ran already; then the same push brings it back.
            Err(error @ ChainError::Refused { .. }) => match record.gas.clone() {
                Some(gas) => gas,
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let noted = gas.clone();
        self.db
            .call(move |db| {
                db.note_message(id, |m| {
                    m.gas = Some(noted.clone());
                    // what was sent under this id before may have run since then
                    m.pushed_at.get_or_insert(tip.height);
                })
            })
            .await?;
        let signed = match self.backend.push_by_node(chain, record, &gas).await {
            Ok(signed) => signed,
            Err(error) => {
                if matches!(error, ChainError::Refused { .. }) {
                    // The node looks for the id first, so a refused message has never left.
                    self.db
                        .call(move |db| {
                            db.note_message(id, |m| (m.gas, m.pushed_at) = (None, None))
                        })
                        .await?;
                }
                return Err(error.into());
            }
        };
        // Between the node's taking it and our knowing that: a kill here must repeat the push.
        fail::fail_point!("messages::pushed", |_| Ok(()));
        self.pushed(id, Some(signed), tip.height).await
    }

    /// Wanted → Pushed: the node has it.
    pub(super) async fn pushed(
        &self,
        id: MessageId,
        signed: Option<SignedMessage>,
        at: Epoch,
    ) -> Result<(), EngineError> {
        let pushed = self
            .db
            .call(move |db| {
                db.step_message(id, MessageEvent::Push, |m| {
                    if let Some(signed) = &signed {
                        m.cid = Some(signed.cid());
                        m.nonce = Some(signed.message.nonce);
                        m.signed = Some(signed.clone());
                    }
                    m.pushed_at.get_or_insert(at);
                    m.sent_at = Some(at);
                    m.refusals = 0;
                })
            })
            .await?;
        tracing::info!(
            %id, kind = %pushed.kind, miner = pushed.miner, sectors = names(&pushed.sectors),
            cid = pushed.cid.map(tracing::field::display), nonce = pushed.nonce,
            attempt = pushed.lost.len() + 1, "pushed a message"
        );
        Ok(())
    }

    /// Withdraws a message that has not left, if one of its sectors was given up meanwhile; the
    /// others wait for another one.
    async fn withdrawn(&self, record: &MessageRecord) -> Result<bool, EngineError> {
        let id = record.id;
        let given_up = self.db.call(move |db| db.withdraw_message(id)).await?;
        if given_up.is_empty() {
            return Ok(false);
        }
        let sectors: Vec<String> = given_up.iter().map(ToString::to_string).collect();
        tracing::warn!(
            %id, kind = %record.kind, miner = record.miner, given_up = sectors.join(", "),
            "a message was withdrawn before it was sent: its sector was given up"
        );
        Ok(true)
    }

    pub(super) async fn refuse(
        &self,
        record: &MessageRecord,
        why: String,
    ) -> Result<(), EngineError> {
        let id = record.id;
        tracing::error!(
            %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors), error = why,
            "a message is given up"
        );
        self.db
            .call(move |db| {
                db.step_message(id, MessageEvent::Refuse, |m| m.error = Some(why.clone()))
            })
            .await?;
        Ok(())
    }

    /// Notes a failed attempt. What is missing (a node, funds, room in the pool) is waited for;
    /// an actor that says no at head after head makes a message `Rejected`, and whoever wanted
    /// it decides.
    async fn failed(&self, record: MessageRecord, error: &EngineError) -> Result<(), EngineError> {
        let id = record.id;
        let text = error.to_string();
        let (refused, counts) = match error {
            EngineError::Chain(ChainError::Refused { message, .. }) => {
                (true, of_refusal(message) != Refusal::Wait)
            }
            _ => (false, false),
        };
        let counts = counts && record.state == MessageState::Wanted;
        // the same no at the same head is not another one
        let news = counts && self.first_at_this_head(record.id);
        let refusals = if counts {
            record.refusals + u32::from(news)
        } else {
            0
        };
        if refusals >= MOST_REFUSALS {
            return self.refuse(&record, text).await;
        }
        if record.error.as_deref() != Some(&text) {
            tracing::warn!(
                %id, kind = %record.kind, sectors = names(&record.sectors), state = %record.state, error = text,
                "a message waits, and is tried again"
            );
        }
        let now = unix_ms();
        self.db
            .call(move |db| {
                db.note_message(id, |m| {
                    m.tries = m.tries.saturating_add(1);
                    m.refusals = refusals;
                    m.retry_at = Some(now + pause(m.tries, refused).as_millis() as u64);
                    m.error = Some(text.clone());
                    m.failing_since.get_or_insert(now);
                })
            })
            .await?;
        Ok(())
    }

    pub(super) fn first_at_this_head(&self, id: MessageId) -> bool {
        let Some(height) = self.height() else {
            return true;
        };
        self.seen.looked.lock().insert(id, height) != Some(height)
    }

    fn height(&self) -> Option<Epoch> {
        self.head.borrow().as_ref().map(|h| h.height)
    }
}

/// Whether the pause after the last attempt is not over. A time further off than any pause was
/// written before the clock was set back, and holds nobody up. Pure.
pub(super) fn rests(record: &MessageRecord, now: u64) -> bool {
    record
        .retry_at
        .and_then(|at| at.checked_sub(now))
        .is_some_and(|left| left > 0 && u128::from(left) <= LONGEST_PAUSE.as_millis())
}
