//! `Venus.*` about miners, and randomness as upstream's programs ask for it.

use super::{error::ToRpc, rooms::Rooms};
use crate::{
    chain::{DomainTag, entropy},
    config::duration_text,
    policy::{BatchPolicy, FeePolicy, MinerPolicy, SendPolicy},
    post::AskError,
};
use damocles_api::{
    miner::{DrawnRandomness, MinerFacts, MinersServer},
    sector::CidJson,
};
use damocles_node::TipSetKey;
use damocles_types::{ActorId, Epoch, Randomness, Seed, Ticket};
use fvm_shared::{address::Address, econ::TokenAmount};
use jsonrpsee::core::{RpcResult, async_trait};
use serde_json::{Map, Number, Value, json};
use std::sync::Arc;

/// As upstream writes amounts here: a number of attoFIL.
fn amount(amount: &TokenAmount) -> Value {
    let number = amount.atto().to_string().parse::<Number>();
    number.map_or(Value::Null, Value::Number)
}

fn amount_if_set(value: &TokenAmount) -> Value {
    if value.is_zero() {
        Value::Null
    } else {
        amount(value)
    }
}

fn senders(senders: &[Address]) -> Value {
    let all: Vec<String> = senders.iter().map(ToString::to_string).collect();
    if all.is_empty() {
        Value::Null
    } else {
        json!(all)
    }
}

/// `with`, and the fee keys beside them.
fn with_fee(with: Value, fee: &FeePolicy) -> Value {
    let mut all = match with {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    all.insert("GasOverEstimation".into(), json!(fee.gas_over_estimation));
    all.insert("GasOverPremium".into(), json!(fee.gas_over_premium));
    all.insert("GasFeeCap".into(), amount_if_set(&fee.gas_fee_cap));
    all.insert("MaxFeeCap".into(), Value::Null);
    Value::Object(all)
}

fn batch(policy: &BatchPolicy) -> Value {
    let batch = json!({
        "Threshold": policy.threshold,
        "MaxWait": duration_text(policy.max_wait),
        "CheckInterval": duration_text(policy.check_interval),
    });
    with_fee(batch, &policy.fee)
}

fn sending(policy: &SendPolicy) -> Value {
    let sending = json!({
        "Sender": null,
        "Senders": senders(&policy.senders),
        "SendFund": policy.send_fund,
        "Batch": batch(&policy.batch),
    });
    with_fee(sending, &policy.fee)
}

/// The miner's part of the configuration under the names of the file. Pure.
fn config(miner: &MinerPolicy) -> Value {
    let MinerPolicy {
        actor,
        sector,
        pre,
        prove,
        confidence,
        post,
        makes_blocks,
    } = miner;
    let of_post = json!({
        "Sender": null,
        "Senders": senders(&post.senders),
        "Enabled": post.enabled,
        "StrictCheck": post.strict_check,
        "Confidence": post.confidence,
        "SubmitConfidence": post.submit_confidence.unwrap_or(0),
        "ChallengeConfidence": post.challenge_confidence.unwrap_or(0),
        "MaxRecoverSectorLimit": post.max_recovered_sectors,
        "MaxPartitionsPerPoStMessage": post.max_partitions_per_message,
        "MaxPartitionsPerRecoveryMessage": post.max_partitions_per_recovery,
    });
    json!({
        "Actor": actor,
        "Sector": {
            "MinNumber": sector.min_number,
            "MaxNumber": sector.max_number,
            "Enabled": sector.enabled,
            "EnableDeals": sector.enable_deals,
            "LifetimeDays": sector.lifetime_days,
        },
        "Commitment": {
            "Confidence": confidence,
            "Pre": sending(pre),
            "Prove": sending(prove),
        },
        "PoSt": with_fee(of_post, &post.fee),
        "Proof": {"Enabled": makes_blocks},
        "Sealing": {
            "SealingEpochDuration": sector.sealing_epochs,
            "RequireActivationSuccess": sector.require_activation_success,
            "RequireNotificationSuccess": sector.require_notification_success,
            "UseSyntheticPoRep": sector.use_synthetic,
        },
    })
}

impl Rooms {
    fn served(&self, miner: ActorId) -> RpcResult<Arc<MinerPolicy>> {
        let served = self.asked.served.miner(miner);
        served.ok_or_else(|| AskError::NoMiner(miner).to_operator())
    }

    /// The tipset that is meant; without one the head, which a node that draws randomness wants named.
    async fn tipset(&self, asked: Option<Vec<CidJson>>) -> RpcResult<TipSetKey> {
        let cids = asked.into_iter().flatten();
        let key = TipSetKey(cids.map(|cid| cid.cid).collect());
        if key != TipSetKey::HEAD {
            return Ok(key);
        }
        let head = self.chain.head().await;
        Ok(head.map_err(ToRpc::to_operator)?.cids)
    }

    async fn ticket_randomness(
        &self,
        tag: DomainTag,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        entropy: &[u8],
    ) -> RpcResult<Randomness> {
        let key = self.tipset(tipset).await?;
        let drawn = self.chain.ticket_randomness(tag, epoch, entropy, &key);
        drawn.await.map_err(ToRpc::to_operator)
    }

    async fn beacon_randomness(
        &self,
        tag: DomainTag,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<Randomness> {
        let (key, entropy) = (self.tipset(tipset).await?, entropy(miner));
        let drawn = self.chain.beacon_randomness(tag, epoch, &entropy, &key);
        drawn.await.map_err(ToRpc::to_operator)
    }
}

#[async_trait]
impl MinersServer for Rooms {
    async fn get_info(&self, miner: ActorId) -> RpcResult<MinerFacts> {
        let policy = self.served(miner)?;
        let told = self.sealing.proof_of_new(&policy).await;
        let (info, proof) = told.map_err(ToRpc::to_operator)?;
        Ok(MinerFacts {
            id: miner,
            address: Address::new_id(miner).to_string(),
            sector_size: info.sector_size,
            window_post_proof_type: info.window_po_st_proof_type,
            seal_proof_type: proof.number(),
        })
    }

    async fn get_miner_config(&self, miner: ActorId) -> RpcResult<Value> {
        Ok(config(&*self.served(miner)?))
    }

    async fn get_ticket(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<Ticket> {
        let tag = DomainTag::SealRandomness;
        let of_miner = entropy(miner);
        let ticket = self
            .ticket_randomness(tag, tipset, epoch, &of_miner)
            .await?;
        Ok(Ticket { ticket, epoch })
    }

    async fn get_seed(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<Seed> {
        let tag = DomainTag::InteractiveSealChallengeSeed;
        let seed = self.beacon_randomness(tag, tipset, epoch, miner).await?;
        Ok(Seed { seed, epoch })
    }

    async fn get_window_post_challenge(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<DrawnRandomness> {
        let tag = DomainTag::WindowedPoStChallengeSeed;
        let rand = self.beacon_randomness(tag, tipset, epoch, miner).await?;
        Ok(DrawnRandomness { epoch, rand })
    }

    async fn get_window_post_commit(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
    ) -> RpcResult<DrawnRandomness> {
        let tag = DomainTag::PoStChainCommit;
        let rand = self.ticket_randomness(tag, tipset, epoch, &[]).await?;
        Ok(DrawnRandomness { epoch, rand })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scene::rooms, *};
    use crate::policy::tests::miner;

    #[test]
    fn the_configuration_is_told_under_the_names_of_the_file() {
        let mut policy = miner(1000);
        policy.pre.senders = vec![Address::new_id(7)];
        policy.pre.batch.max_wait = std::time::Duration::from_secs(3600);
        policy.pre.fee.gas_fee_cap = TokenAmount::from_nano(5);
        let told = config(&policy);
        assert_eq!(told["Actor"], 1000);
        assert_eq!(told["Commitment"]["Pre"]["Senders"][0], "t07");
        assert_eq!(told["Commitment"]["Pre"]["GasFeeCap"], 5_000_000_000_u64);
        assert_eq!(told["Commitment"]["Pre"]["Batch"]["MaxWait"], "1h0m0s");
        assert!(told["PoSt"]["Senders"].is_null(), "the worker sends it");
    }

    #[tokio::test]
    async fn upstreams_questions_about_a_miner_are_answered_in_its_shapes() {
        let (rooms, ..) = rooms().await;
        let methods = rooms.methods().unwrap();
        let ask = async |method: &str, params: Value| {
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let (answer, _) = methods
                .raw_json_request(&request.to_string(), 1)
                .await
                .unwrap();
            serde_json::from_str::<Value>(answer.get()).unwrap()
        };
        let info = ask("Venus.GetInfo", json!([1000])).await;
        let expected = json!({
            "ID": 1000, "Addr": "t01000", "SectorSize": 2048,
            "WindowPoStProofType": 10, "SealProofType": 5,
        });
        assert_eq!(info["result"], expected);
        let config = ask("Venus.GetMinerConfig", json!([1000])).await;
        assert_eq!(config["result"]["Actor"], 1000);
        let stranger = ask("Venus.GetMinerConfig", json!([7])).await;
        assert!(
            stranger["error"]["message"]
                .as_str()
                .unwrap()
                .contains("t07")
        );
        let ticket = ask("Venus.GetTicket", json!([[], 50, 1000])).await;
        assert_eq!(ticket["result"]["Epoch"], 50, "{ticket}");
        assert!(ticket["result"]["Ticket"].is_string());
        let seed = ask("Venus.GetSeed", json!([null, 50, 1000])).await;
        assert!(seed["result"]["Seed"].is_string(), "{seed}");
        for (method, params) in [
            ("Venus.GetWindowPoStChanlleengeRand", json!([[], 50, 1000])),
            ("Venus.GetWindowPoStCommitRand", json!([[], 50])),
        ] {
            let drawn = ask(method, params).await;
            assert_eq!(drawn["result"]["Epoch"], 50, "{drawn}");
            assert!(drawn["result"]["Rand"].is_string());
        }
    }
}
