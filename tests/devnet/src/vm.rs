//! Runs messages on a state tree: the sender's nonce and funds, the gas, the receiver's
//! method, and the receipt. A failed message costs its gas and changes nothing else.
use anyhow::Context;
use fil_actor_miner_state::v18::State as MinerState;
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::Policy;
use fvm_ipld_encoding::{RawBytes, from_slice};
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Protocol};
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use fvm_shared::message::Message;
use fvm_shared::receipt::Receipt;

use crate::economy::Economy;
use crate::gas::{self, GasOutputs};
use crate::market;
use crate::miner::{self, Effects, GasMeter, ProvenPartition, Rand, Runtime};
use crate::power::{
    CREATE_MINER, CREATE_MINER_EXPORTED, CreateMinerParams, CreateMinerReturn, CronEvent,
    PowerState,
};
use crate::proofs::Verifier;
use crate::registry;
use crate::store::Store;
use crate::tree::{BURNT_FUNDS, MARKET, POWER, REWARD, Tree, VERIFIED_REGISTRY, code_name};

/// Smallest method number that FRC-42 leaves to user methods; accounts accept all of them.
const FIRST_EXPORTED_METHOD: u64 = 1 << 24;

/// The surroundings of a run.
pub struct Machine<'a> {
    pub store: &'a Store,
    pub policy: &'a Policy,
    pub economy: &'a Economy,
    pub verifier: &'a dyn Verifier,
    pub rand: &'a dyn Rand,
    pub epoch: ChainEpoch,
    /// Bytes that a seal proof may be padded to; 0 for none.
    pub proof_bytes: u64,
    pub base_fee: TokenAmount,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// What a message did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub receipt: Receipt,
    /// The actor's words when the exit code is not 0.
    pub error: String,
    /// None when the message never started (wrong nonce, no funds for gas).
    pub fees: Option<GasOutputs>,
    pub posts: Vec<(ActorID, ProvenPartition)>,
}

fn refused(code: ExitCode, why: String) -> Applied {
    Applied {
        receipt: Receipt {
            exit_code: code,
            return_data: RawBytes::default(),
            gas_used: 0,
            events_root: None,
        },
        error: why,
        fees: None,
        posts: Vec::new(),
    }
}

fn broken(error: anyhow::Error) -> ActorError {
    ActorError::illegal_state(format!("{error:#}"))
}

impl Machine<'_> {
    /// Runs one message; `length` is its size on the chain. Errors only if the state itself
    /// cannot be read or written.
    pub fn apply(
        &self,
        tree: &mut Tree,
        message: &Message,
        length: usize,
    ) -> anyhow::Result<Applied> {
        let inclusion = gas::message_on_chain(length);
        if message.gas_limit < inclusion {
            return Ok(refused(
                ExitCode::SYS_OUT_OF_GAS,
                format!(
                    "Out of gas ({inclusion} > {}) when charging message inclusion",
                    message.gas_limit
                ),
            ));
        }
        let Some(sender) = tree.resolve(&message.from)? else {
            return Ok(refused(
                ExitCode::SYS_SENDER_INVALID,
                "Sender invalid".into(),
            ));
        };
        let mut actor = tree.must(sender)?;
        if code_name(&actor.code) != Some("account") {
            return Ok(refused(
                ExitCode::SYS_SENDER_INVALID,
                "Send not from valid sender".into(),
            ));
        }
        if actor.sequence != message.sequence {
            return Ok(refused(
                ExitCode::SYS_SENDER_STATE_INVALID,
                format!(
                    "Actor sequence invalid: {} != {}",
                    message.sequence, actor.sequence
                ),
            ));
        }
        let deposit = &message.gas_fee_cap * message.gas_limit;
        if actor.balance < deposit {
            return Ok(refused(
                ExitCode::SYS_SENDER_STATE_INVALID,
                format!(
                    "Actor balance less than needed: {} < {deposit}",
                    actor.balance
                ),
            ));
        }
        actor.balance -= &deposit;
        actor.sequence += 1;
        tree.set(sender, actor);

        let before = tree.clone();
        let mut meter = GasMeter {
            limit: message.gas_limit,
            used: inclusion,
        };
        let (code, value, error, posts) = match self.execute(tree, sender, message, &mut meter) {
            Ok((value, posts)) => (ExitCode::OK, value, String::new(), posts),
            Err(e) => {
                *tree = before;
                let posts = Vec::new();
                (
                    e.exit_code(),
                    RawBytes::default(),
                    e.msg().to_owned(),
                    posts,
                )
            }
        };
        let gas_used = meter.used.min(message.gas_limit);
        let fees = gas::outputs(
            gas_used,
            message.gas_limit,
            &self.base_fee,
            &message.gas_fee_cap,
            &message.gas_premium,
        );
        tree.add_funds(sender, &fees.refund)?;
        tree.add_funds(
            BURNT_FUNDS,
            &(&fees.base_fee_burn + &fees.over_estimation_burn),
        )?;
        tree.add_funds(REWARD, &fees.miner_tip)?;
        Ok(Applied {
            receipt: Receipt {
                exit_code: code,
                return_data: value,
                gas_used,
                events_root: None,
            },
            error,
            fees: Some(fees),
            posts,
        })
    }

    fn execute(
        &self,
        tree: &mut Tree,
        sender: ActorID,
        message: &Message,
        meter: &mut GasMeter,
    ) -> Result<(RawBytes, Vec<(ActorID, ProvenPartition)>), ActorError> {
        let receiver = self.receiver(tree, &message.to, meter)?;
        if message.value.is_negative() {
            return Err(ActorError::unchecked(
                ExitCode::SYS_ASSERTION_FAILED,
                "negative value".into(),
            ));
        }
        if !message.value.is_zero() {
            meter.charge(gas::SEND)?;
            let balance = tree.must(sender).map_err(broken)?.balance;
            if balance < message.value {
                return Err(ActorError::unchecked(
                    ExitCode::SYS_INSUFFICIENT_FUNDS,
                    format!(
                        "send::send -- sender does not have funds to transfer (balance {balance}, transfer {}) (5: insufficient funds)",
                        message.value
                    ),
                ));
            }
            tree.transfer(sender, receiver, &message.value)
                .map_err(broken)?;
        }
        if message.method_num == 0 {
            return Ok((RawBytes::default(), Vec::new()));
        }
        let code = tree.must(receiver).map_err(broken)?.code;
        let outcome = match code_name(&code) {
            Some("account") => self
                .account(tree, receiver, message.method_num, meter)
                .map(|value| (value, Vec::new())),
            Some("storagepower") => self
                .power(tree, sender, message, meter)
                .map(|value| (value, Vec::new())),
            Some("storageminer") => self.miner(tree, sender, receiver, message, meter),
            _ => Err(ActorError::unhandled_message(format!(
                "actor f0{receiver} has no method {} on this network",
                message.method_num
            ))),
        }?;
        meter.charge(gas::return_on_chain(outcome.0.bytes().len()))?;
        Ok(outcome)
    }

    fn receiver(
        &self,
        tree: &mut Tree,
        to: &Address,
        meter: &mut GasMeter,
    ) -> Result<ActorID, ActorError> {
        if let Some(id) = tree.resolve(to).map_err(broken)? {
            return Ok(id);
        }
        if matches!(to.protocol(), Protocol::Secp256k1 | Protocol::BLS) {
            meter.charge(gas::CREATE_ACCOUNT)?;
            return tree.create_account(to).map_err(broken);
        }
        Err(ActorError::unchecked(
            ExitCode::SYS_INVALID_RECEIVER,
            format!("actor does not exist: {to}"),
        ))
    }

    fn account(
        &self,
        tree: &Tree,
        id: ActorID,
        method: u64,
        meter: &mut GasMeter,
    ) -> Result<RawBytes, ActorError> {
        meter.charge(gas::ACTOR_CALL)?;
        match method {
            2 => {
                let key = tree.account_key(id).map_err(broken)?;
                RawBytes::serialize(key).map_err(|e| ActorError::serialization(e.to_string()))
            }
            n if n >= FIRST_EXPORTED_METHOD => Ok(RawBytes::default()),
            n => Err(ActorError::unhandled_message(format!(
                "account has no method {n}"
            ))),
        }
    }

    fn miner(
        &self,
        tree: &mut Tree,
        caller: ActorID,
        id: ActorID,
        message: &Message,
        meter: &mut GasMeter,
    ) -> Result<(RawBytes, Vec<(ActorID, ProvenPartition)>), ActorError> {
        let actor = tree.must(id).map_err(broken)?;
        let mut state: MinerState = self.store.read(&actor.state).map_err(broken)?;
        let mut rt = self
            .runtime(tree, id, caller, actor.balance, meter)
            .map_err(broken)?;
        let value = miner::invoke(&mut rt, &mut state, message.method_num, &message.params)?;
        let effects = std::mem::take(&mut rt.effects);
        let posts = self.settle(tree, id, &state, effects).map_err(broken)?;
        Ok((value, posts))
    }

    /// A runtime for a miner method.
    pub fn runtime<'s>(
        &'s self,
        tree: &'s Tree,
        id: ActorID,
        caller: ActorID,
        balance: TokenAmount,
        gas: &'s mut GasMeter,
    ) -> anyhow::Result<Runtime<'s>> {
        Ok(Runtime {
            tree,
            store: self.store,
            policy: self.policy,
            economy: self.economy,
            verifier: self.verifier,
            rand: self.rand,
            epoch: self.epoch,
            proof_bytes: self.proof_bytes,
            miner: id,
            caller,
            balance,
            registry: registry::load(tree)?,
            market: market::load(tree)?,
            gas,
            effects: Effects::default(),
        })
    }

    /// Writes a miner's new state and what its method asked of other actors.
    pub fn settle(
        &self,
        tree: &mut Tree,
        id: ActorID,
        state: &MinerState,
        effects: Effects,
    ) -> anyhow::Result<Vec<(ActorID, ProvenPartition)>> {
        tree.put_state(id, state)?;
        if let Some(state) = &effects.registry {
            tree.put_state(VERIFIED_REGISTRY, state)?;
        }
        if let Some(state) = &effects.market {
            tree.put_state(MARKET, state)?;
        }
        if let Some((to, paid)) = &effects.paid {
            tree.transfer(id, *to, paid)?;
        }
        if effects.burn.is_positive() {
            tree.transfer(id, BURNT_FUNDS, &effects.burn)?;
        }
        if !effects.power.is_zero() || !effects.pledge.is_zero() || !effects.cron.is_empty() {
            let mut power: PowerState = tree.state(POWER)?;
            power.add_power(id, &effects.power);
            power.total_pledge += &effects.pledge;
            for (epoch, event_type) in effects.cron {
                power.enroll(CronEvent {
                    epoch,
                    miner: id,
                    event_type,
                });
            }
            tree.put_state(POWER, &power)?;
        }
        Ok(effects.posts.into_iter().map(|p| (id, p)).collect())
    }

    fn power(
        &self,
        tree: &mut Tree,
        sender: ActorID,
        message: &Message,
        meter: &mut GasMeter,
    ) -> Result<RawBytes, ActorError> {
        if !matches!(message.method_num, CREATE_MINER | CREATE_MINER_EXPORTED) {
            return Err(ActorError::unhandled_message(format!(
                "power actor method {} is not served by this network",
                message.method_num
            )));
        }
        meter.charge(gas::CREATE_MINER)?;
        let params: CreateMinerParams = from_slice(message.params.bytes())
            .map_err(|e| ActorError::serialization(format!("failed to decode parameters: {e}")))?;
        let owner = tree
            .resolve(&params.owner)
            .map_err(broken)?
            .ok_or_else(|| {
                ActorError::illegal_argument(format!(
                    "unable to resolve owner address: {}",
                    params.owner
                ))
            })?;
        let worker = miner::worker_account(tree, &params.worker)?;
        let id = tree.next_id().map_err(broken)?;
        let robust = robust_address(tree, sender, message.sequence).map_err(broken)?;
        let rt = self
            .runtime(tree, id, POWER, message.value.clone(), meter)
            .map_err(broken)?;
        let state = miner::construct(
            &rt,
            owner,
            worker,
            params.window_post_proof_type,
            params.peer,
            params.multiaddrs,
        )?;
        self.place_miner(tree, &robust, &state).map_err(broken)?;
        tree.transfer(POWER, id, &message.value).map_err(broken)?;
        RawBytes::serialize(CreateMinerReturn {
            id_address: Address::new_id(id),
            robust_address: robust,
        })
        .map_err(|e| ActorError::serialization(e.to_string()))
    }

    /// Puts a constructed miner into the tree and the power table.
    pub fn place_miner(
        &self,
        tree: &mut Tree,
        robust: &Address,
        state: &MinerState,
    ) -> anyhow::Result<ActorID> {
        let head = self.store.put(state)?;
        let id = tree.create(robust, crate::tree::code("storageminer")?, head)?;
        let mut power: PowerState = tree.state(POWER)?;
        power.add_miner(id);
        tree.put_state(POWER, &power)?;
        Ok(id)
    }

    /// The end of the epoch: calls every miner that asked for it, and the storage market.
    pub fn cron(&self, tree: &mut Tree) -> anyhow::Result<()> {
        self.miners_cron(tree)?;
        let mut state = market::load(tree)?;
        if market::tick(self.store, &mut state, self.epoch)? {
            tree.put_state(MARKET, &state)?;
        }
        Ok(())
    }

    fn miners_cron(&self, tree: &mut Tree) -> anyhow::Result<()> {
        let mut power: PowerState = tree.state(POWER)?;
        let due = power.take_due(self.epoch);
        if due.is_empty() {
            return Ok(());
        }
        tree.put_state(POWER, &power)?;
        for event in due {
            let actor = tree.must(event.miner)?;
            let mut state: MinerState = self.store.read(&actor.state)?;
            let mut meter = GasMeter {
                limit: u64::MAX,
                used: 0,
            };
            let mut rt = self.runtime(tree, event.miner, POWER, actor.balance, &mut meter)?;
            match miner::on_cron(&mut rt, &mut state, event.event_type) {
                Ok(()) => {
                    let effects = std::mem::take(&mut rt.effects);
                    self.settle(tree, event.miner, &state, effects)?;
                }
                Err(e) => {
                    // As on a real network: a miner whose cron fails loses its claim.
                    tracing::error!(
                        "deadline cron of miner f0{} failed at epoch {}: {} (exit {})",
                        event.miner,
                        self.epoch,
                        e.msg(),
                        e.exit_code()
                    );
                    let mut power: PowerState = tree.state(POWER)?;
                    power.claims.retain(|c| c.miner != event.miner);
                    tree.put_state(POWER, &power)?;
                }
            }
        }
        Ok(())
    }
}

/// An address that stays the same if the chain is reorganised: hash of the sender's key
/// address, its nonce and the number of actors this message made before.
fn robust_address(tree: &Tree, sender: ActorID, nonce: u64) -> anyhow::Result<Address> {
    let key = tree.account_key(sender)?.context("sender has no key")?;
    let mut seed = fvm_ipld_encoding::to_vec(&key)?;
    seed.extend_from_slice(&nonce.to_be_bytes());
    seed.extend_from_slice(&0u64.to_be_bytes());
    Ok(Address::new_actor(&seed))
}
