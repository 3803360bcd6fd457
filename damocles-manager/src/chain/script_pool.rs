//! What the scripted chain's node does with messages: how they are pushed, executed, lost and looked
//! for.

use crate::chain::{
    ChainError,
    script::{Script, ScriptChain, refused},
    script_mail::{fits, name, same_call, sign},
};
use cid::Cid;
use damocles_node::{Message, MessageReceipt, MsgLookup, SendSpec, SignedMessage, TipSetKey};
use damocles_types::{Epoch, SectorNumber};
use fil_actor_miner_state::v18::{PreCommitSectorBatchParams2, ProveCommitSectors3Params};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{address::Address, econ::TokenAmount};

/// Lotus' limit of what a message may cost where its caller names none (attoFIL).
const DEFAULT_MAX_FEE: u64 = 70_000_000_000_000_000;

impl ScriptChain {
    /// Executes a message that was pushed or replaced one, at the present height.
    pub fn land(&self, cid: Cid, exit_code: i64, value: RawBytes) {
        self.edit().land(cid, exit_code, value);
    }

    /// Another message of the sender is executed with that nonce, at the present height.
    pub fn take_nonce(&self, from: Address, nonce: u64) {
        let mut script = self.edit();
        let mut other = Message::new(from, from, TokenAmount::default(), 0, RawBytes::default());
        other.nonce = nonce;
        let cid = script.mail.took(other);
        script.land(cid, 0, RawBytes::default());
    }

    /// A block of another node's has the message, at the present height.
    pub fn land_from_elsewhere(&self, message: Message) {
        let mut script = self.edit();
        let cid = script.mail.took(message);
        script.land(cid, 0, RawBytes::default());
    }

    /// The pool loses a message, whose name stays known; whether it waited.
    pub fn lose(&self, cid: Cid) -> bool {
        let waiting = &mut self.edit().mail.waiting;
        let before = waiting.len();
        waiting.retain(|_, waits| *waits != cid);
        waiting.len() < before
    }

    /// The node has lost its pool, and every message that is not on chain: another node, or one
    /// that was restored.
    pub fn forget(&self) {
        let mail = &mut self.edit().mail;
        mail.waiting.clear();
        let executed = &mail.executed;
        mail.known.retain(|cid, message| {
            executed
                .get(&name(message))
                .is_some_and(|found| found.message == *cid)
        });
    }

    /// A block of one more epoch has everything that waits in the order of nonces.
    pub fn mine(&self) {
        let mut script = self.edit();
        script.height += 1;
        while let Some(cid) = script.first() {
            script.land(cid, 0, RawBytes::default());
        }
    }

    /// What was executed with that nonce.
    pub fn executed(&self, from: Address, nonce: u64) -> Option<Cid> {
        let script = self.edit();
        let found = script.mail.executed.get(&(from, nonce));
        found.map(|found| found.message)
    }

    /// The nonce of the sender's waiting message that comes first.
    pub fn first_waiting(&self, from: Address) -> Option<u64> {
        let script = self.edit();
        let mut all = script.mail.waiting.keys().filter(|(of, _)| *of == from);
        all.next().map(|(_, nonce)| *nonce)
    }
}

/// What a message with proofs says.
fn proofs(message: &Message) -> Option<ProveCommitSectors3Params> {
    let params = message.params.deserialize::<ProveCommitSectors3Params>();
    params.ok().filter(|_| message.method == 34)
}

/// The sectors that a precommit or proof message carries.
fn carried(message: &Message) -> impl Iterator<Item = SectorNumber> {
    let pre = message.params.deserialize::<PreCommitSectorBatchParams2>();
    let pre = pre.ok().filter(|_| message.method == 28);
    let prove = proofs(message);
    let pre = pre
        .into_iter()
        .flat_map(|p| p.sectors)
        .map(|s| s.sector_number);
    let prove = prove
        .into_iter()
        .flat_map(|p| p.sector_activations)
        .map(|s| s.sector_number);
    pre.chain(prove)
}

impl Script {
    fn land(&mut self, cid: Cid, exit_code: i64, value: RawBytes) {
        let pushed = self.pushed.values().find(|m| m.cid() == cid);
        let pushed = pushed.map(|m| m.message.clone());
        let message = self.mail.known.get(&cid).cloned().or(pushed);
        let message = message.expect("somebody has made the message");
        let (height, name) = (self.height, name(&message));
        let found = MsgLookup {
            message: cid,
            receipt: MessageReceipt {
                exit_code,
                r#return: value,
                gas_used: 1000,
                events_root: None,
            },
            return_dec: serde_json::Value::Null,
            tip_set: self.tipset(height),
            height,
        };
        self.mail.waiting.remove(&name);
        self.mail.known.insert(cid, message);
        self.mail.executed.insert(name, found);
    }

    /// What may be executed next.
    fn first(&self) -> Option<Cid> {
        let mail = &self.mail;
        let mut ready = mail
            .waiting
            .iter()
            .filter(|((from, nonce), _)| *nonce == mail.nonce(*from, self.height))
            .filter(|(_, cid)| mail.known[*cid].gas_fee_cap >= self.base_fee);
        ready.next().map(|(_, cid)| *cid)
    }

    fn balance(&self, of: Address) -> TokenAmount {
        let balance = self.balances.get(&self.id_of(of));
        balance.cloned().unwrap_or_default()
    }

    /// GasEstimateGasLimit.
    pub(super) fn estimate(&self, method: &str, message: &Message) -> Result<i64, ChainError> {
        let balance = self.balance(message.from);
        let why = if let Some(why) = &self.estimate_refusal {
            why.clone()
        } else if let Some(number) = carried(message).find(|n| self.poison.contains(n)) {
            format!(
                "message execution failed (exit=[ErrIllegalArgument(16)], vm error=[message failed with backtrace:\n00: {} (method {}) -- sector {number} is refused (16)\n (RetCode=16)])",
                message.to, message.method
            )
        } else if balance < message.value {
            format!(
                "message execution failed (exit=[SysErrInsufficientFunds(6)], vm error=[message failed with backtrace:\n--> caused by: send::send -- sender does not have funds to transfer (balance {balance}, transfer {}) (5: insufficient funds)\n (RetCode=6)])",
                message.value
            )
        } else if let Some(gas) = &self.proof_gas
            && let Some(proofs) = proofs(message)
        {
            let sectors = i64::try_from(proofs.sector_proofs.len()).unwrap_or(i64::MAX);
            match proofs.aggregate_proof.is_empty() {
                true => return Ok(gas.single * sectors),
                false if !gas.refuses_aggregates => return Ok(gas.aggregate),
                false => format!(
                    "message execution failed (exit=[ErrIllegalArgument(16)], vm error=[message failed with backtrace:\n00: {} (method 34) -- aggregate seal verify failed (16)\n (RetCode=16)])",
                    message.to
                ),
            }
        } else {
            return Ok(self.gas_limit);
        };
        Err(ChainError::Refused {
            method: method.into(),
            code: 3,
            message: why,
        })
    }

    /// MpoolPushMessage.
    pub(super) fn send(
        &mut self,
        message: &Message,
        spec: &SendSpec,
    ) -> Result<SignedMessage, ChainError> {
        let method = "MpoolPushMessage";
        let no = |why: String| Err(refused(method, why));
        self.pushes.push(spec.msg_uuid);
        if let Some(known) = self.pushed.get(&spec.msg_uuid) {
            return Ok(known.clone());
        }
        if !self.refusals.is_empty() {
            let why = self.refusals.remove(0);
            return no(why);
        }
        let mut message = message.clone();
        message.from = match self.key_of(message.from) {
            Ok(key) => key,
            Err(why) => return no(format!("getting key address: {why}")),
        };
        if message.gas_limit == 0 {
            message.gas_limit = match self.estimate(method, &message) {
                Ok(limit) => limit,
                Err(ChainError::Refused { message, .. }) => {
                    return no(format!("GasEstimateMessageGas error: {message}"));
                }
                Err(error) => return Err(error),
            };
        }
        if message.gas_fee_cap.is_zero() {
            message.gas_fee_cap = TokenAmount::from_nano(1);
        }
        // Lotus' CapGasFee, with its default where the caller names no limit
        let max_fee = if spec.max_fee.is_zero() {
            TokenAmount::from_atto(DEFAULT_MAX_FEE)
        } else {
            spec.max_fee.clone()
        };
        if &message.gas_fee_cap * message.gas_limit > max_fee {
            message.gas_fee_cap = max_fee.div_floor(message.gas_limit);
        }
        message.gas_premium = message.gas_premium.min(message.gas_fee_cap.clone());
        let required = &message.value + &message.gas_fee_cap * message.gas_limit;
        let balance = self.balance(message.from);
        if balance < required {
            let (balance, required) = (balance.atto(), required.atto());
            return no(format!(
                "mpool push: not enough funds: {balance} < {required}"
            ));
        }
        let from = message.from;
        message.nonce = self.next_nonce(from);
        if let Err(why) = fits(&message) {
            return no(format!("mpool push: failed to push message: {why}"));
        }
        let signed = sign(message);
        self.mail.took(signed.message.clone());
        self.pushed.insert(spec.msg_uuid, signed.clone());
        if std::mem::take(&mut self.lose_answer) {
            return Err(ChainError::Unreachable {
                method: method.into(),
                reason: "connection reset".into(),
            });
        }
        Ok(signed)
    }

    /// MpoolGetNonce.
    pub(super) fn next_nonce(&self, from: Address) -> u64 {
        let mut next = self.mail.nonce(from, self.height);
        while self.mail.waiting.contains_key(&(from, next)) {
            next += 1;
        }
        next
    }

    /// MpoolPush. The signature is not looked at.
    pub(super) fn push_signed(&mut self, signed: &SignedMessage) -> Result<Cid, ChainError> {
        let no = |why: String| Err(refused("MpoolPush", why));
        if !self.refusals.is_empty() {
            let why = self.refusals.remove(0);
            return no(why);
        }
        let message = &signed.message;
        if let Err(why) = fits(message) {
            return no(why);
        }
        let (from, nonce) = name(message);
        let expected = self.mail.nonce(from, self.height);
        if nonce < expected {
            return no(format!(
                "minimum expected nonce is {expected}, got {nonce}: message nonce too low"
            ));
        }
        let cid = message.cid();
        let there = self.mail.waiting.get(&(from, nonce));
        let there = there.and_then(|waits| Some((*waits, self.mail.known.get(waits)?)));
        if let Some((waits, other)) = there {
            let already = format!("message from {from} with nonce {nonce} already in mpool");
            if waits == cid {
                return no(format!("{already}: message with nonce already exists"));
            }
            let least = (&other.gas_premium * 125u64).div_floor(100u64) + TokenAmount::from_atto(1);
            if message.gas_premium < least {
                return no(format!(
                    "{already}, increase GasPremium to {} to trigger replace by fee: replace by fee has too low GasPremium",
                    least.atto()
                ));
            }
        }
        self.republished.push(cid);
        let cid = self.mail.took(message.clone());
        if std::mem::take(&mut self.lose_answer) {
            return Err(ChainError::Unreachable {
                method: "MpoolPush".into(),
                reason: "connection reset".into(),
            });
        }
        Ok(cid)
    }

    /// StateSearchMsg; `replaced`: another message of the same nonce counts if it makes the same
    /// call, and is an error if it does not.
    pub(super) fn search(
        &self,
        cid: Cid,
        limit: Epoch,
        key: &TipSetKey,
        replaced: bool,
    ) -> Result<Option<MsgLookup>, ChainError> {
        let method = "StateSearchMsg";
        let at = self.at(method, key)?;
        let Some(asked) = self.mail.known.get(&cid) else {
            let why = format!(
                "%!w(*errors.errorString=&{{failed to load message}}): ipld: could not find {cid}"
            );
            return Err(refused(method, why));
        };
        let Some(found) = self.mail.executed.get(&name(asked)) else {
            return Ok(None);
        };
        if found.height > at || (limit >= 0 && found.height <= at - limit) {
            return Ok(None);
        }
        if found.message == cid {
            return Ok(Some(found.clone()));
        }
        if !replaced {
            return Ok(None);
        }
        let other = self.mail.known.get(&found.message);
        if other.is_some_and(|other| same_call(other, asked)) {
            return Ok(Some(found.clone()));
        }
        let (other, nonce) = (found.message, asked.nonce);
        Err(refused(
            method,
            format!(
                "checking for message execution during lookback: message was replaced: found message with equal nonce as the one we are looking for that is NOT a valid replacement message (F:{cid} n {nonce}, TS: {other} n{nonce}): message was replaced"
            ),
        ))
    }
}
