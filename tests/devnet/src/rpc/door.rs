//! What one endpoint of the network serves, and what it does wrong on request: calls that are
//! stalled, refused, or carried out without an answer, and an outage. Every endpoint has its
//! own, so that of two nodes one may be ill. `Devnet.*` is served in any case.

use std::time::{Duration, Instant};

use damocles_node::method;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::call::RpcError;

/// The longest that a call may be stalled, or a push held.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);
/// Stands for every `Filecoin.*` method.
const ALL: &str = "*";

/// What kind of node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every method.
    Full,
    /// What Lotus' gateway passes on; the rest it does not know.
    Gateway,
}

/// Those of the methods that Lotus' gateway has.
const GATEWAY: &[&str] = &[
    method::VERSION,
    method::CHAIN_HEAD,
    method::CHAIN_GET_GENESIS,
    method::CHAIN_GET_TIP_SET,
    method::CHAIN_GET_TIP_SET_BY_HEIGHT,
    method::CHAIN_GET_TIP_SET_AFTER_HEIGHT,
    method::CHAIN_GET_BLOCK,
    method::CHAIN_GET_BLOCK_MESSAGES,
    method::CHAIN_GET_MESSAGE,
    method::CHAIN_READ_OBJ,
    method::CHAIN_HAS_OBJ,
    method::CHAIN_NOTIFY,
    method::STATE_NETWORK_NAME,
    method::STATE_NETWORK_VERSION,
    method::STATE_GET_NETWORK_PARAMS,
    method::STATE_GET_ACTOR,
    method::STATE_READ_STATE,
    method::STATE_LOOKUP_ID,
    method::STATE_ACCOUNT_KEY,
    method::STATE_LIST_MINERS,
    method::STATE_CALL,
    method::STATE_SEARCH_MSG,
    method::STATE_WAIT_MSG,
    method::STATE_MINER_INFO,
    method::STATE_MINER_POWER,
    method::STATE_MINER_AVAILABLE_BALANCE,
    method::STATE_MINER_DEADLINES,
    method::STATE_MINER_PROVING_DEADLINE,
    method::STATE_MINER_SECTOR_COUNT,
    method::STATE_MINER_FAULTS,
    method::STATE_MINER_RECOVERIES,
    method::STATE_SECTOR_GET_INFO,
    method::STATE_GET_ALLOCATION,
    method::STATE_GET_CLAIM,
    method::STATE_MARKET_STORAGE_DEAL,
    method::MPOOL_PUSH,
    method::MPOOL_GET_NONCE,
    method::MPOOL_PENDING,
    method::GAS_ESTIMATE_MESSAGE_GAS,
    method::GAS_ESTIMATE_GAS_PREMIUM,
    method::WALLET_BALANCE,
    method::WALLET_VERIFY,
];

/// How one method misbehaves.
#[derive(Clone, Debug, Default)]
struct Trouble {
    stall: Duration,
    refusal: Option<RpcError>,
    /// How often it is still refused.
    refusals: u64,
    /// How often it is still carried out without an answer.
    silent: u64,
}

#[derive(Clone, Debug, Default)]
struct State {
    troubles: Vec<(String, Trouble)>,
    /// Until when nobody is answered.
    outage: Option<Instant>,
}

impl State {
    /// The trouble of a method or of all of them.
    fn of(&mut self, method: &str) -> Option<&mut Trouble> {
        let at = |name: &str| self.troubles.iter().position(|(known, _)| known == name);
        let at = at(method).or_else(|| at(ALL))?;
        Some(&mut self.troubles[at].1)
    }

    fn entry(&mut self, method: String) -> &mut Trouble {
        let known = self.troubles.iter().position(|(name, _)| *name == method);
        let at = known.unwrap_or_else(|| {
            self.troubles.push((method, Trouble::default()));
            self.troubles.len() - 1
        });
        &mut self.troubles[at].1
    }
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Door {
    kind: Kind,
    state: watch::Sender<State>,
    pushes: Mutex<Pushes>,
    released: Condvar,
}

/// Pushes that passed the look-up of their id and wait to be signed.
#[derive(Debug, Default)]
struct Pushes {
    held: bool,
    waiting: u64,
    /// How many of the next ones forget their id.
    forgetful: u64,
}

/// Whether a call goes on.
pub(super) enum Pass {
    Go,
    Refuse(RpcError),
    /// The connection ends without an answer.
    Silence,
}

impl Door {
    pub(super) fn new(kind: Kind) -> Self {
        Door {
            kind,
            state: watch::channel(State::default()).0,
            pushes: Mutex::default(),
            released: Condvar::new(),
        }
    }

    fn concerns(name: &str) -> bool {
        !name.starts_with("Devnet.")
    }

    /// Whether nobody is answered now.
    pub(super) fn is_out(&self) -> bool {
        let until = self.state.borrow().outage;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Returns when an outage begins.
    pub(super) async fn goes_out(&self) {
        let mut state = self.state.subscribe();
        while !self.is_out() {
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether this endpoint has the method at all.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.kind == Kind::Full || !Self::concerns(name) || GATEWAY.contains(&name)
    }

    /// Before a call is carried out: waits as long as the method is stalled.
    pub(super) async fn before(&self, name: &str) -> Pass {
        if !Self::concerns(name) {
            return Pass::Go;
        }
        let start = Instant::now();
        let mut state = self.state.subscribe();
        loop {
            state.mark_unchanged();
            if self.is_out() {
                return Pass::Silence;
            }
            let stall = state.borrow().clone().of(name).map(|t| t.stall);
            let left = stall.unwrap_or_default().checked_sub(start.elapsed());
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                break;
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = state.changed() => {}
            }
        }
        let mut refusal = None;
        self.state.send_if_modified(|state| {
            if let Some(trouble) = state.of(name).filter(|t| t.refusals > 0) {
                trouble.refusals -= 1;
                refusal = trouble.refusal.clone();
            }
            false
        });
        refusal.map_or(Pass::Go, Pass::Refuse)
    }

    /// After a call was carried out: whether its answer is lost.
    pub(super) fn swallows(&self, name: &str) -> bool {
        if !Self::concerns(name) {
            return false;
        }
        let mut lost = self.is_out();
        self.state.send_if_modified(|state| {
            if let Some(trouble) = state.of(name).filter(|t| t.silent > 0) {
                trouble.silent -= 1;
                lost = true;
            }
            false
        });
        lost
    }

    /// From now on calls of the method wait so long; those that wait look anew.
    pub(super) fn stall(&self, method: String, time: Duration) {
        self.state
            .send_modify(|state| state.entry(method).stall = time);
    }

    /// The next `count` calls of the method are refused.
    pub(super) fn refuse(&self, method: String, error: RpcError, count: u64) {
        self.state.send_modify(|state| {
            let trouble = state.entry(method);
            trouble.refusal = Some(error);
            trouble.refusals = count;
        });
    }

    /// The next `count` calls of the method are carried out, and nobody hears of it.
    pub(super) fn lose_answers(&self, method: String, count: u64) {
        self.state
            .send_modify(|state| state.entry(method).silent = count);
    }

    /// Nobody is answered for so long; zero ends an outage.
    pub(super) fn outage(&self, time: Duration) {
        self.state.send_modify(|state| {
            state.outage = (!time.is_zero()).then(|| Instant::now() + time);
        });
    }

    /// Holds pushes between the look-up of their id and their signing, or lets them go on; how
    /// many wait there.
    pub(super) fn hold_pushes(&self, on: bool) -> u64 {
        let mut pushes = self.pushes.lock();
        pushes.held = on;
        self.released.notify_all();
        pushes.waiting
    }

    /// The next `count` pushes reach the pool, but the node forgets their ids.
    pub(super) fn forget_ids(&self, count: u64) {
        self.pushes.lock().forgetful = count;
    }

    /// The place where pushes are held. Blocking.
    pub(super) fn wait_for_pushes(&self) {
        let mut pushes = self.pushes.lock();
        pushes.waiting += 1;
        let until = Instant::now() + LONGEST;
        while pushes.held {
            if self.released.wait_until(&mut pushes, until).timed_out() {
                break;
            }
        }
        pushes.waiting -= 1;
    }

    /// Whether this push forgets its id.
    pub(super) fn forgets_id(&self) -> bool {
        let mut pushes = self.pushes.lock();
        let forgets = pushes.forgetful > 0;
        pushes.forgetful -= u64::from(forgets);
        forgets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_a_part_of_the_methods_and_none_of_the_wallet() {
        let door = Door::new(Kind::Gateway);
        for name in GATEWAY {
            assert!(method::find(name).is_some(), "{name}");
            assert!(door.serves(name));
        }
        for name in [
            method::MPOOL_PUSH_MESSAGE,
            method::STATE_MINER_PARTITIONS,
            method::STATE_GET_RANDOMNESS_FROM_BEACON,
        ] {
            assert!(!door.serves(name) && Door::new(Kind::Full).serves(name));
        }
        assert!(door.serves(method::DEVNET_MINE));
    }

    #[tokio::test]
    async fn refusals_and_lost_answers_are_counted_and_end() {
        let door = Door::new(Kind::Full);
        door.refuse("M".into(), RpcError::new(1, "no"), 1);
        door.lose_answers("M".into(), 1);
        assert!(matches!(door.before("M").await, Pass::Refuse(e) if e.message == "no"));
        assert!(matches!(door.before("M").await, Pass::Go));
        assert!(door.swallows("M") && !door.swallows("M"));
        assert!(!door.swallows("N"));
        door.refuse(ALL.into(), RpcError::new(1, "all"), 1);
        assert!(matches!(door.before("N").await, Pass::Refuse(_)));
    }

    #[tokio::test]
    async fn an_outage_silences_all_but_the_switches_until_it_is_ended() {
        let door = Door::new(Kind::Full);
        door.outage(LONGEST);
        door.goes_out().await;
        assert!(matches!(door.before("Filecoin.X").await, Pass::Silence));
        assert!(matches!(door.before("Devnet.X").await, Pass::Go));
        assert!(door.swallows("Filecoin.X") && !door.swallows("Devnet.X"));
        door.outage(Duration::ZERO);
        assert!(matches!(door.before("Filecoin.X").await, Pass::Go));
    }
}
