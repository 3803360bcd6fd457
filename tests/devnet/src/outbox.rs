//! How messages get into the pool: gas estimated, nonce assigned, signature and funds
//! checked, as Lotus' MpoolPush and MpoolPushMessage do it.
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Protocol};
use fvm_shared::econ::TokenAmount;
use fvm_shared::message::Message;
use fvm_shared::receipt::Receipt;

use crate::block::TipsetKey;
use crate::chain::Node;
use crate::gas;
use crate::mempool::{MAX_MESSAGE_SIZE, Mempool, Pending, Refused, required_funds};
use crate::message::{Sign, SignedMessage, cbor_cid};
use crate::network::Network;
use crate::tree::{Tree, code_name};
use crate::verdict;
use crate::view::StateError;

/// attoFIL per gas that a message offers when nobody says more (Lotus `MinGasPremium`).
const DEFAULT_PREMIUM: u64 = 100_000;
/// Tipsets whose messages show what premium is usual.
const PREMIUM_LOOKBACK: i64 = 20;
/// Tipsets over which a fee cap must cover a rising base fee.
const FEE_CAP_HORIZON: u32 = 20;
/// attoFIL that a message may cost unless its sender says otherwise (0.07 FIL).
const DEFAULT_MAX_FEE: u64 = 70_000_000_000_000_000;
/// FIL that will ever exist.
const TOTAL_FIL: u64 = 2_000_000_000;

/// Why a message was not taken into the pool; the texts are those of Lotus.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("minimum expected nonce is {expected}, got {got}: message nonce too low")]
    NonceTooLow { expected: u64, got: u64 },
    #[error(
        "not enough funds (required: {required} FIL, balance: {balance} FIL): not enough funds to execute transaction"
    )]
    NotEnoughFunds {
        balance: TokenAmount,
        required: TokenAmount,
    },
    #[error(
        "not enough funds including pending messages (required: {required} FIL, balance: {balance} FIL): validation failure"
    )]
    NotEnoughWithPending {
        balance: TokenAmount,
        required: TokenAmount,
    },
    /// Of the node's own wallet, which counts the value too.
    #[error("mpool push: not enough funds: {} < {}", balance.atto(), required.atto())]
    WalletTooPoor {
        balance: TokenAmount,
        required: TokenAmount,
    },
    #[error("signature verification failed: {0}")]
    BadSignature(String),
    #[error("mpool message too large ({0}B): message too big")]
    TooBig(usize),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Sign(String),
    #[error("{}", verdict::would_fail(*exit_code, backtrace))]
    EstimateFailed { exit_code: u32, backtrace: String },
    #[error("getting key address: {0}")]
    NoKeyAddress(StateError),
    #[error("GasEstimateMessageGas error: {0}")]
    NoEstimate(Box<PushError>),
    #[error("mpool push: failed to push message: {0}")]
    NotPooled(Box<PushError>),
    #[error(transparent)]
    State(#[from] StateError),
}

/// MessageSendSpec.
#[derive(Clone, Debug, Default)]
pub struct SendSpec {
    /// Zero takes the default of 0.07 FIL.
    pub max_fee: TokenAmount,
    pub maximize_fee_cap: bool,
}

fn broken(error: anyhow::Error) -> PushError {
    PushError::State(StateError::Broken(error))
}

/// The key address of an account, which was named `address`.
fn key_of(tree: &Tree, id: ActorID, address: &Address) -> Result<Address, StateError> {
    let actor = tree.actor(id)?.ok_or(StateError::ActorNotFound(*address))?;
    tree.account_key(id)?
        .ok_or_else(|| StateError::NotAnAccount {
            address: *address,
            code: code_name(&actor.code).unwrap_or("unknown").to_owned(),
        })
}

impl Network {
    /// MpoolPush: checks form, signature, nonce and funds, in the order of Lotus.
    pub fn push(&self, message: SignedMessage) -> Result<Cid, PushError> {
        let length = fvm_ipld_encoding::to_vec(&message)
            .map_err(|e| broken(e.into()))?
            .len();
        if length > MAX_MESSAGE_SIZE {
            return Err(PushError::TooBig(length));
        }
        self.check_form(&message.message)?;
        let from = message.message.from;
        if !matches!(from.protocol(), Protocol::Secp256k1 | Protocol::BLS) {
            return Err(PushError::BadSignature(format!(
                "the sender must be a key address, got {from}"
            )));
        }
        message.verify(&from).map_err(PushError::BadSignature)?;
        let mut pool = self.inner.pool.lock();
        let head = self.head_node();
        self.take(&mut pool, &head, message)
    }

    /// MpoolPushMessage: gas estimated where zero, nonce assigned, signed and pooled in one
    /// step. `sign` gets the sender's key address and the bytes to sign (the CID of the message).
    pub fn push_with(
        &self,
        mut message: Message,
        spec: &SendSpec,
        sign: &mut Sign<'_>,
    ) -> Result<SignedMessage, PushError> {
        message.from = self
            .sender_key(&message.from)
            .map_err(PushError::NoKeyAddress)?;
        if message.sequence != 0 {
            return Err(PushError::Invalid(format!(
                "MpoolPushMessage expects message nonce to be 0, was {}",
                message.sequence
            )));
        }
        let mut message = self
            .estimate_gas(message, spec)
            .map_err(|e| PushError::NoEstimate(e.into()))?;
        if message.gas_premium > message.gas_fee_cap {
            return Err(PushError::Invalid(
                "After estimation, GasPremium is greater than GasFeeCap".into(),
            ));
        }
        // The nonce is the pool's to give, so the pool stays locked until it holds the message.
        let mut pool = self.inner.pool.lock();
        let head = self.head_node();
        let (nonce, balance) = self.account(&head, &message.from)?;
        let required = &message.value + &message.gas_fee_cap * message.gas_limit;
        if balance < required {
            return Err(PushError::WalletTooPoor { balance, required });
        }
        message.sequence = pool.next_nonce(&message.from, nonce);
        let cid = cbor_cid(&message).map_err(broken)?;
        let signature = sign(&message.from, &cid.to_bytes()).map_err(PushError::Sign)?;
        let signed = SignedMessage { message, signature };
        let mut pooled = || {
            let length = fvm_ipld_encoding::to_vec(&signed)
                .map_err(|e| broken(e.into()))?
                .len();
            if length > MAX_MESSAGE_SIZE {
                return Err(PushError::TooBig(length));
            }
            self.check_form(&signed.message)?;
            signed
                .verify(&signed.message.from)
                .map_err(PushError::BadSignature)?;
            self.take(&mut pool, &head, signed.clone())
        };
        pooled().map_err(|e| PushError::NotPooled(e.into()))?;
        Ok(signed)
    }

    fn take(
        &self,
        pool: &mut Mempool,
        head: &Node,
        message: SignedMessage,
    ) -> Result<Cid, PushError> {
        let inner = &message.message;
        let (nonce, balance) = self.account(head, &inner.from)?;
        if inner.sequence < nonce {
            return Err(PushError::NonceTooLow {
                expected: nonce,
                got: inner.sequence,
            });
        }
        let minimum_gas = gas::message_on_chain(message.chain_length().map_err(broken)?);
        if inner.gas_limit < minimum_gas {
            return Err(PushError::Invalid(format!(
                "message will not be included in a block: 'GasLimit' field cannot be less than the cost of storing a message on chain {} < {minimum_gas}",
                inner.gas_limit
            )));
        }
        let required = required_funds(&message);
        if balance < required {
            return Err(PushError::NotEnoughFunds { balance, required });
        }
        let required = required + pool.committed_funds(&inner.from, inner.sequence);
        if balance < required {
            return Err(PushError::NotEnoughWithPending { balance, required });
        }
        let cid = message.cid().map_err(broken)?;
        pool.add(Pending { cid, message })?;
        Ok(cid)
    }

    /// What may enter a block at all.
    fn check_form(&self, message: &Message) -> Result<(), PushError> {
        let policy = self.policy();
        let invalid = |why: String| {
            Err(PushError::Invalid(format!(
                "message not valid for block inclusion: {why}"
            )))
        };
        if message.version != 0 {
            return invalid("'Version' unsupported".into());
        }
        if message.value.is_negative() {
            return invalid("'Value' field cannot be negative".into());
        }
        if message.value >= TokenAmount::from_whole(TOTAL_FIL) {
            return Err(PushError::Invalid(
                "cannot send more filecoin than will ever exist".into(),
            ));
        }
        if message.gas_fee_cap.is_negative() {
            return invalid("'GasFeeCap' field cannot be negative".into());
        }
        if message.gas_premium.is_negative() {
            return invalid("'GasPremium' field cannot be negative".into());
        }
        if message.gas_premium > message.gas_fee_cap {
            return invalid("'GasFeeCap' less than 'GasPremium'".into());
        }
        if message.gas_limit > policy.block_gas_limit {
            return invalid(format!(
                "'GasLimit' field cannot be greater than a block's gas limit ({} > {})",
                message.gas_limit, policy.block_gas_limit
            ));
        }
        if message.gas_fee_cap < TokenAmount::from_atto(policy.minimum_base_fee) {
            return Err(PushError::Invalid("gas fee cap too low".into()));
        }
        Ok(())
    }

    /// Nonce and balance of a sender after the head's own messages.
    fn account(&self, head: &Node, from: &Address) -> Result<(u64, TokenAmount), StateError> {
        let tree = Tree::at(&self.inner.engine.store, head.post_state);
        let id = tree
            .resolve(from)?
            .ok_or(StateError::ActorNotFound(*from))?;
        key_of(&tree, id, from)?;
        let actor = tree.must(id)?;
        Ok((actor.sequence, actor.balance))
    }

    /// The key address of a sender, also of one that was given by its ID.
    fn sender_key(&self, from: &Address) -> Result<Address, StateError> {
        if matches!(from.protocol(), Protocol::Secp256k1 | Protocol::BLS) {
            return Ok(*from);
        }
        let tree = Tree::at(&self.inner.engine.store, self.head_node().post_state);
        let id = tree
            .resolve(from)?
            .ok_or(StateError::ActorNotFound(*from))?;
        key_of(&tree, id, from)
    }

    /// Pending messages by sender and nonce.
    pub fn pending(&self) -> Vec<SignedMessage> {
        let all = self.inner.pool.lock().all();
        all.into_iter().map(|p| p.message).collect()
    }

    /// Next nonce, pending messages counted (MpoolGetNonce).
    pub fn nonce(&self, addr: &Address) -> Result<u64, StateError> {
        let key = self.sender_key(addr)?;
        let pool = self.inner.pool.lock();
        let (nonce, _) = self.account(&self.head_node(), &key)?;
        Ok(pool.next_nonce(&key, nonce))
    }

    /// Gas that the message would use after the sender's pending ones.
    pub fn estimate_gas_limit(&self, message: &Message) -> Result<u64, PushError> {
        let from = self.sender_key(&message.from)?;
        let (head, before) = {
            let pool = self.inner.pool.lock();
            let before: Vec<_> = pool.of(&from).into_iter().map(|p| p.message).collect();
            (self.head_node(), before)
        };
        let applied = {
            let chain = self.inner.chain.read();
            let engine = &self.inner.engine;
            engine.dry_run(&chain, &head, &before, message)
        };
        // The refusal reads the chain again: who still held it would wait for a block that is
        // about to be added, and the block for him.
        let applied = applied.map_err(broken)?;
        if !applied.receipt.exit_code.is_success() {
            return Err(self.would_fail(message, &applied.receipt, &applied.error));
        }
        Ok(applied.receipt.gas_used)
    }

    /// Where a message that was only tried failed, in the words of a node.
    pub fn backtrace(&self, message: &Message, receipt: &Receipt, reason: &str) -> String {
        let tree = Tree::at(&self.inner.engine.store, self.head_node().post_state);
        let to = tree.resolve(&message.to).ok().flatten();
        let exit_code = receipt.exit_code.value();
        verdict::backtrace(to, message.method_num, exit_code, reason)
    }

    /// The refusal to estimate a message that would fail.
    pub fn would_fail(&self, message: &Message, receipt: &Receipt, reason: &str) -> PushError {
        PushError::EstimateFailed {
            exit_code: receipt.exit_code.value(),
            backtrace: self.backtrace(message, receipt, reason),
        }
    }

    /// Premium that recent messages paid, or the default.
    pub fn estimate_premium(&self) -> TokenAmount {
        let chain = self.inner.chain.read();
        let mut premiums: Vec<_> = chain
            .nodes()
            .iter()
            .rev()
            .take(PREMIUM_LOOKBACK as usize)
            .flat_map(|node| node.messages.iter())
            .map(|(_, m)| m.message.gas_premium.clone())
            .collect();
        premiums.sort();
        let median = premiums.get(premiums.len() / 2).cloned();
        median
            .unwrap_or_default()
            .max(TokenAmount::from_atto(DEFAULT_PREMIUM))
    }

    /// Fee cap that holds while the base fee rises for twenty tipsets.
    pub fn estimate_fee_cap(&self, premium: &TokenAmount) -> TokenAmount {
        let mut base_fee = self.head_node().next_base_fee.clone();
        for _ in 0..FEE_CAP_HORIZON {
            base_fee = (base_fee * 9u64).div_ceil(8u64);
        }
        base_fee + premium
    }

    /// Fills in gas limit (×1.25), premium and fee cap where they are zero, and caps the fee
    /// (GasEstimateMessageGas).
    pub fn estimate_gas(
        &self,
        mut message: Message,
        spec: &SendSpec,
    ) -> Result<Message, PushError> {
        if message.gas_limit == 0 {
            let used = self.estimate_gas_limit(&message)?;
            message.gas_limit = (used + used / 4).min(self.policy().block_gas_limit);
        }
        if message.gas_premium.is_zero() {
            message.gas_premium = self.estimate_premium();
        }
        if message.gas_fee_cap.is_zero() {
            message.gas_fee_cap = self.estimate_fee_cap(&message.gas_premium);
        }
        let max_fee = if spec.max_fee.is_zero() {
            TokenAmount::from_atto(DEFAULT_MAX_FEE)
        } else {
            spec.max_fee.clone()
        };
        if spec.maximize_fee_cap || &message.gas_fee_cap * message.gas_limit > max_fee {
            message.gas_fee_cap = max_fee.div_floor(message.gas_limit);
        }
        message.gas_premium = message.gas_premium.min(message.gas_fee_cap.clone());
        Ok(message)
    }

    /// Runs the message on the tipset's state and throws the result away (StateCall). The
    /// receipt, and the actor's words when its exit code is not 0.
    pub fn call(
        &self,
        message: &Message,
        key: &TipsetKey,
    ) -> Result<(Receipt, String), StateError> {
        let node = self.node(key).ok_or_else(|| StateError::no_tipset(key))?;
        let chain = self.inner.chain.read();
        let applied = self.inner.engine.dry_run(&chain, &node, &[], message)?;
        Ok((applied.receipt, applied.error))
    }
}
