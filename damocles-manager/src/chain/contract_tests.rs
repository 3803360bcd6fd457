//! The scripted chain under the contract of `tests/devnet/src/contract/`: the answers that a real
//! node gave and the histories that end there as they must. What a manager cannot ask through
//! [`Chain`] is left out. The adapter that speaks to nodes is put under it as well, on a devnet,
//! so that it loses nothing that the manager judges by.

use crate::{
    chain::{Chain, ChainError, DomainTag, NodeChain, script::ScriptChain, script_mail::sign},
    policy::NodeEndpoint,
};
use cid::Cid;
use damocles_devnet::{
    cli::Genesis,
    contract::{Asked, Driven, Live, Reply, Said, Scene, Token, histories, questions, recorded},
    start,
};
use damocles_node::{Message, SectorPreCommitInfo, SendSpec, SignedMessage, TipSetKey, W};
use damocles_types::{ActorId, Base64, Commitment, SectorSize};
use fvm_ipld_bitfield::BitField;
use fvm_shared::address::Address;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn said<T: Serialize>(answer: Result<T, ChainError>) -> Said {
    match answer {
        Ok(value) => Said::Result(serde_json::to_value(value).unwrap()),
        Err(ChainError::Refused { code, message, .. }) => Said::Error { code, message },
        Err(error) => panic!("no answer: {error}"),
    }
}

/// A refusal; of a result the manager keeps less than a node says.
fn no<T>(answer: Result<T, ChainError>) -> Option<Said> {
    answer.err().map(|error| said::<()>(Err(error)))
}

/// Parameters by position.
struct Params(Vec<Value>);

impl Params {
    fn get<T: DeserializeOwned>(&self, at: usize) -> Option<T> {
        serde_json::from_value(self.0.get(at)?.clone()).ok()
    }

    fn address(&self, at: usize) -> Option<Address> {
        self.get::<W<Address>>(at).map(|address| address.0)
    }

    fn miner(&self) -> Option<ActorId> {
        self.address(0)?.id().ok()
    }

    fn key(&self, at: usize) -> Option<TipSetKey> {
        self.get(at)
    }

    fn tag(&self) -> Option<DomainTag> {
        let number: i64 = self.get(0)?;
        let known = [
            DomainTag::WindowedPoStChallengeSeed,
            DomainTag::SealRandomness,
            DomainTag::InteractiveSealChallengeSeed,
            DomainTag::PoStChainCommit,
        ];
        // what a manager never draws for is as good as anything else
        let tag = known.into_iter().find(|tag| tag.number() == number);
        Some(tag.unwrap_or(DomainTag::SealRandomness))
    }

    /// Null where nothing is given.
    fn entropy(&self) -> Option<Vec<u8>> {
        let bytes: Option<Base64> = self.get(2)?;
        Some(bytes.map(|bytes| bytes.0).unwrap_or_default())
    }
}

/// Asks as the manager would; None if it never does.
async fn ask(chain: &dyn Chain, method: &str, params: Value) -> Option<Said> {
    let Value::Array(params) = params else {
        return None;
    };
    let p = Params(params);
    Some(match method.strip_prefix("Filecoin.")? {
        "ChainHead" => said(chain.head().await),
        "ChainGetTipSetByHeight" => no(chain.tipset_at(p.get(0)?, &p.key(1)?).await)?,
        "ChainGetMessage" => said(chain.message(p.get::<W<Cid>>(0)?.0).await),
        "StateGetNetworkParams" => said(chain.network_params().await),
        "StateNetworkVersion" => said(chain.network_version(&p.key(0)?).await),
        "StateLookupID" => said(chain.lookup_id(p.address(0)?, &p.key(1)?).await.map(W)),
        "StateAccountKey" => said(chain.account_key(p.address(0)?, &p.key(1)?).await.map(W)),
        "StateGetActor" => said(chain.actor(p.address(0)?, &p.key(1)?).await),
        "StateMinerInfo" => said(chain.miner_info(p.miner()?, &p.key(1)?).await),
        "StateMinerAllocated" => said(chain.miner_allocated(p.miner()?, &p.key(1)?).await.map(W)),
        "StateMinerProvingDeadline" => {
            said(chain.miner_proving_deadline(p.miner()?, &p.key(1)?).await)
        }
        "StateMinerDeadlines" => said(chain.miner_deadlines(p.miner()?, &p.key(1)?).await),
        "StateMinerPartitions" => {
            let all = chain
                .miner_partitions(p.miner()?, p.get(1)?, &p.key(2)?)
                .await;
            // Go writes an empty slice as null
            said(all.map(|all| (!all.is_empty()).then_some(all)))
        }
        "StateMinerSectors" => {
            let filter: Option<W<BitField>> = p.get(1)?;
            let filter = filter.map(|filter| filter.0);
            let key = p.key(2)?;
            said(chain.miner_sectors(p.miner()?, filter.as_ref(), &key).await)
        }
        "StateMinerAvailableBalance" => {
            let balance = chain.miner_available_balance(p.miner()?, &p.key(1)?).await;
            said(balance.map(W))
        }
        "StateSectorPreCommitInfo" => said(
            chain
                .precommit_info(p.miner()?, p.get(1)?, &p.key(2)?)
                .await,
        ),
        "StateSectorGetInfo" => said(chain.sector_info(p.miner()?, p.get(1)?, &p.key(2)?).await),
        "StateSectorPartition" => {
            let key = p.key(2)?;
            said(chain.sector_partition(p.miner()?, p.get(1)?, &key).await)
        }
        "StateMinerPreCommitDepositForPower" => {
            let info: SectorPreCommitInfo = p.get(1)?;
            let key = p.key(2)?;
            said(
                chain
                    .precommit_deposit(p.miner()?, &info, &key)
                    .await
                    .map(W),
            )
        }
        "StateMinerInitialPledgeForSector" => {
            let (duration, size, verified) = (p.get(0)?, p.get(1)?, p.get(2)?);
            let key = p.key(3)?;
            said(
                chain
                    .initial_pledge(duration, size, verified, &key)
                    .await
                    .map(W),
            )
        }
        "StateGetRandomnessFromTickets" => {
            let (tag, entropy, key) = (p.tag()?, p.entropy()?, p.key(3)?);
            said(
                chain
                    .ticket_randomness(tag, p.get(1)?, &entropy, &key)
                    .await,
            )
        }
        "StateGetRandomnessFromBeacon" => {
            let (tag, entropy, key) = (p.tag()?, p.entropy()?, p.key(3)?);
            said(
                chain
                    .beacon_randomness(tag, p.get(1)?, &entropy, &key)
                    .await,
            )
        }
        "GasEstimateGasLimit" => said(chain.estimate_gas_limit(&p.get(0)?).await),
        "GasEstimateGasPremium" => {
            let sender = p.address(1)?;
            let premium = chain.estimate_gas_premium(p.get(0)?, sender, p.get(2)?);
            said(premium.await.map(W))
        }
        "GasEstimateFeeCap" => {
            let message: Message = p.get(0)?;
            said(chain.estimate_fee_cap(&message, p.get(1)?).await.map(W))
        }
        "MpoolPushMessage" => {
            let (message, spec): (Message, SendSpec) = (p.get(0)?, p.get(1)?);
            said(chain.push_message(&message, &spec).await)
        }
        "MpoolPush" => {
            let signed: SignedMessage = p.get(0)?;
            said(chain.push_signed(&signed).await.map(W))
        }
        // replacements always count
        "StateSearchMsg" if p.get(3) == Some(true) => {
            let (key, cid) = (p.key(0)?, p.get::<W<Cid>>(1)?.0);
            said(chain.search_message(cid, p.get(2)?, &key).await)
        }
        "MpoolGetNonce" => said(chain.next_nonce(p.address(0)?).await),
        "WalletHas" => said(chain.wallet_has(p.address(0)?).await),
        _ => return None,
    })
}

fn reply(said: Option<Said>) -> Option<Reply> {
    said.map(|said| Reply { http: None, said })
}

const MINER: ActorId = 1000;
const UNKNOWN: &str = "bafy2bzacedtajipvj3frgzl5xq5lv43dn2skxidldw7hzxrswg6c65acgp5f4";

/// The scripted chain under contract.
struct Scripted {
    chain: ScriptChain,
    sender: Address,
    receiver: Address,
}

impl Scripted {
    fn new() -> Self {
        let chain = ScriptChain::at(200);
        chain.add_miner(MINER);
        let key = |seed: u8| Address::new_bls(&[seed; 48]).unwrap();
        let (sender, receiver) = (key(1), key(2));
        chain.edit().keys = [(100, sender), (101, receiver)]
            .map(|(id, key)| (Address::new_id(id), key))
            .into();
        Self {
            chain,
            sender,
            receiver,
        }
    }

    fn text(address: Address) -> String {
        let text = serde_json::to_value(W(address)).unwrap();
        text.as_str().unwrap().to_owned()
    }
}

impl Asked for Scripted {
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        if token != Token::Good {
            return None;
        }
        let p = Params(params.as_array()?.clone());
        let special = match method {
            "Filecoin.StateSearchMsg" if p.get(3) == Some(false) => {
                let (key, cid) = (p.key(0)?, p.get::<W<Cid>>(1)?.0);
                Some(said(self.chain.edit().search(cid, p.get(2)?, &key, false)))
            }
            "Filecoin.WalletSignMessage" => Some(said(Ok(sign(p.get(1)?)))),
            _ => None,
        };
        match special {
            Some(said) => reply(Some(said)),
            None => reply(ask(&self.chain, method, params).await),
        }
    }
}

impl Driven for Scripted {
    fn sender(&self) -> String {
        Self::text(self.sender)
    }

    fn receiver(&self) -> String {
        Self::text(self.receiver)
    }

    async fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.chain.mine();
        }
    }

    async fn take_nonce(&self) -> bool {
        let first = self.chain.first_waiting(self.sender);
        self.chain.take_nonce(self.sender, first.unwrap());
        true
    }

    async fn lose(&self, cid: &Value) -> bool {
        let W(cid) = serde_json::from_value::<W<Cid>>(cid.clone()).unwrap();
        self.chain.lose(cid)
    }

    async fn lose_branch(&self, epochs: i64) -> bool {
        let height = self.chain.edit().height;
        self.chain.go_back(height - epochs);
        true
    }
}

async fn pushed(chain: &impl Driven) -> Value {
    let message = json!({
        "From": chain.sender(), "To": chain.receiver(), "Value": "7", "Method": 0,
        "GasLimit": 2_000_000, "GasFeeCap": "1000000000", "GasPremium": "100000",
        "Params": "AQ==",
    });
    let spec = json!({"MsgUuid": uuid::Uuid::new_v4()});
    let push = json!([message, spec]);
    let method = "Filecoin.MpoolPushMessage";
    match chain.ask(Token::Good, method, push).await.unwrap().said {
        Said::Result(signed) => signed,
        other => panic!("{other:?}"),
    }
}

/// A chain on which everything is that the questions ask for.
async fn scene(it: &Scripted) -> Scene {
    let sealed = |number| Commitment([u8::try_from(number).unwrap() + 1; 32]).sealed_cid();
    it.chain.place(MINER, 1, vec![vec![0, 1]], sealed);
    let info = json!({
        "Info": {"SealProof": 5, "SectorNumber": 5, "SealedCID": {"/": sealed(5).to_string()},
            "SealRandEpoch": 100, "DealIDs": null, "Expiration": 600_000, "UnsealedCid": null},
        "PreCommitDeposit": "1", "PreCommitEpoch": 150,
    });
    let info = serde_json::from_value(info).unwrap();
    it.chain.edit().precommits.insert((MINER, 5), info);
    // Go writes those that are none as null, and the recorded miner has none
    it.chain
        .edit()
        .miners
        .get_mut(&MINER)
        .unwrap()
        .control_addresses
        .clear();
    let used = BitField::try_from_bits([0, 1, 5]).unwrap();
    it.chain.edit().allocated.insert(MINER, used);
    let landed = pushed(it).await;
    it.mine(2).await;
    let taken = pushed(it).await;
    assert!(it.take_nonce().await);
    it.mine(8).await;
    let nonce: u64 = serde_json::from_value(taken["Message"]["Nonce"].clone()).unwrap();
    let taker = it.chain.executed(it.sender, nonce).unwrap().to_string();
    let height = it.chain.edit().height;
    let head = it.chain.tipset(height);
    let id = |id| json!(Scripted::text(Address::new_id(id)));
    Scene::from([
        ("miner", id(MINER)),
        ("miner_id", json!(MINER)),
        ("worker", json!(it.sender())),
        ("worker_id", id(100)),
        ("other", json!(it.receiver())),
        ("nobody", id(99_999)),
        ("sector", json!(0)),
        ("precommitted", json!(5)),
        ("unknown_sector", json!(999)),
        ("deadline", json!(1)),
        ("empty_deadline", json!(2)),
        ("height", json!(height - 2)),
        ("future", json!(height + 500)),
        ("head_height", json!(height)),
        ("head", json!(head)),
        ("unknown_cid", json!(UNKNOWN)),
        ("landed", landed["CID"]["/"].clone()),
        ("short", json!(4)),
        ("taken", taken["CID"]["/"].clone()),
        ("taker", json!(taker)),
        ("taken_nonce", json!(nonce)),
    ])
}

/// Of the questions, those that a manager may ask; and those of them that a devnet without sectors can
/// be asked.
const ASKED: usize = 48;
const THROUGH: usize = 36;
const HISTORIES: usize = 7;

#[tokio::test]
async fn the_scripted_chain_answers_as_a_recorded_node() {
    let it = Scripted::new();
    let scene = scene(&it).await;
    let asking = questions(&it, &scene).await;
    asking.is_a_nodes(ASKED);
    assert_eq!(asking.asked.len() + asking.left.len(), recorded().len());
}

#[tokio::test]
async fn histories_end_on_the_scripted_chain_as_on_a_node() {
    histories(&Scripted::new()).await.is_a_nodes(HISTORIES);
}

/// The adapter that speaks to nodes, on a devnet that is driven beside it.
struct Adapter {
    _repo: TempDir,
    chain: NodeChain,
    devnet: Live,
}

impl Adapter {
    async fn new() -> Self {
        let repo = tempfile::tempdir().unwrap();
        let genesis = Genesis {
            sector_size: SectorSize::KiB2,
            preseal: 0,
            miners: 1,
            seed: Some([4; 32]),
            policy: None,
            proving_period_deadlines: None,
            challenge_window: None,
        };
        let net = start::local(repo.path(), genesis, CancellationToken::new()).await;
        let net = net.unwrap();
        let endpoint = NodeEndpoint {
            url: net.url(),
            token: Some(net.token.clone()),
        };
        let devnet = Live::new(net.address.to_string(), net.token);
        let result = async |method: &str| {
            let asked = devnet.ask(Token::Good, method, json!([])).await;
            match asked.unwrap().said {
                Said::Result(value) => value,
                other => panic!("{method}: {other:?}"),
            }
        };
        let sender = result("Filecoin.WalletDefaultAddress").await;
        let all = result("Filecoin.WalletList").await;
        let mut others = all.as_array().unwrap().iter().filter(|a| **a != sender);
        let text = |address: &Value| address.as_str().unwrap().to_owned();
        let people = (text(&sender), text(others.next().unwrap()));
        Self {
            _repo: repo,
            chain: NodeChain::new(&[endpoint]).unwrap(),
            devnet: devnet.with_people(people.0, people.1),
        }
    }
}

impl Asked for Adapter {
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        let (is, ours) = (token == Token::Good, method != "Filecoin.WalletSignMessage");
        match (is, ours) {
            (true, true) => reply(ask(&self.chain, method, params).await),
            (true, false) => self.devnet.ask(token, method, params).await,
            (false, _) => None,
        }
    }
}

impl Driven for Adapter {
    fn sender(&self) -> String {
        self.devnet.sender()
    }

    fn receiver(&self) -> String {
        self.devnet.receiver()
    }

    async fn mine(&self, blocks: u64) {
        self.devnet.mine(blocks).await;
    }

    async fn take_nonce(&self) -> bool {
        self.devnet.take_nonce().await
    }

    async fn lose(&self, cid: &Value) -> bool {
        self.devnet.lose(cid).await
    }

    async fn lose_branch(&self, epochs: i64) -> bool {
        self.devnet.lose_branch(epochs).await
    }
}

#[tokio::test]
async fn the_adapter_tells_what_a_node_says() {
    let it = Adapter::new().await;
    it.mine(3).await;
    histories(&it).await.is_a_nodes(HISTORIES);
    let head = it.chain.head().await.unwrap();
    let id = |id| json!(Scripted::text(Address::new_id(id)));
    let scene = Scene::from([
        ("miner", id(MINER)),
        ("worker", json!(it.sender())),
        ("other", json!(it.receiver())),
        ("nobody", id(99_999)),
        ("unknown_sector", json!(999)),
        ("empty_deadline", json!(0)),
        ("height", json!(head.height - 2)),
        ("future", json!(head.height + 500)),
        ("head_height", json!(head.height)),
        ("head", json!(head.cids)),
        ("unknown_cid", json!(UNKNOWN)),
    ]);
    questions(&it, &scene).await.is_a_nodes(THROUGH);
}
