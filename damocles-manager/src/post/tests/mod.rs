//! The poster of one miner on a scripted chain with a fake prover, head by head. The database,
//! the stores and the messages' records are real; the test plays the message engine.

mod asked;
mod away;
mod branches;
mod prover;
mod reading;
mod recover;
mod workers;

use super::{miner::MinerLoop, view::window_posts, *};
use crate::{
    chain::{
        DomainTag,
        script::{ScriptChain, Windows},
    },
    db::{posts::PostKey, record::MessageRecord},
    policy::{
        AggregatePolicy, BatchPolicy, FeePolicy, MinerPolicy, PostPolicy, SectorPolicy, SendPolicy,
        tests::store,
    },
    storage::Replica,
};
use damocles_flow::message::MessageEvent;
use damocles_types::{Commitment, Epoch, SectorId, SectorNumber, SectorSize};
use fil_actor_miner_state::v18::SubmitWindowedPoStParams;
use prover::{FakeProver, Order};
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;

const MINER: ActorId = 1000;

/// Deadline 1 of the scripted miner: challenge 40, opening 60, close 120; proving begins at 50
/// and sending at 64.
const START: Epoch = 50;
const SEND: Epoch = 64;
const CLOSE: Epoch = 120;

fn put_sector(root: &Path, number: SectorNumber) {
    let sector = SectorId::new(MINER, number).to_string();
    let cache = root.join("cache").join(&sector);
    fs::create_dir_all(&cache).unwrap();
    fs::create_dir_all(root.join("sealed")).unwrap();
    fs::write(root.join("sealed").join(&sector), vec![1; 2048]).unwrap();
    for file in SectorSize::KiB2.proving_cache_files() {
        fs::write(cache.join(file), b"x").unwrap();
    }
}

fn policy() -> MinerPolicy {
    let fee = FeePolicy::default();
    let send = SendPolicy {
        senders: vec![],
        send_fund: true,
        fee: fee.clone(),
        batch: BatchPolicy {
            threshold: 1,
            max_wait: Duration::ZERO,
            check_interval: Duration::from_secs(60),
            max_base_fee: fvm_shared::econ::TokenAmount::default(),
            slack: Duration::from_secs(3 * 3600),
            aggregate: AggregatePolicy::never(),
            fee: fee.clone(),
        },
    };
    MinerPolicy {
        actor: MINER,
        sector: SectorPolicy {
            enabled: true,
            enable_deals: false,
            min_number: 0,
            max_number: None,
            lifetime_days: 0,
            use_synthetic: false,
            sealing_epochs: 0,
            require_activation_success: false,
            require_notification_success: false,
        },
        pre: send.clone(),
        prove: send,
        confidence: 1,
        post: PostPolicy {
            enabled: true,
            senders: vec![],
            fee,
            confidence: 5,
            submit_confidence: None,
            challenge_confidence: None,
            max_partitions_per_message: 0,
            strict_check: true,
            max_recovered_sectors: 0,
            max_partitions_per_recovery: 0,
        },
        makes_blocks: false,
    }
}

struct House {
    dir: TempDir,
    db: Db,
    chain: Arc<ScriptChain>,
    prover: Arc<FakeProver>,
    stores: Stores,
    head: watch::Sender<Option<Head>>,
    policy: MinerPolicy,
}

impl House {
    /// A miner with these partitions in deadline 1, whose sectors all lie in one store.
    async fn new(partitions: &[&[SectorNumber]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::in_memory();
        fs::create_dir(dir.path().join("a")).unwrap();
        for number in partitions.iter().copied().flatten() {
            put_sector(&dir.path().join("a"), *number);
        }
        let chain = ScriptChain::at(0);
        chain.add_miner(MINER);
        let partitions = partitions.iter().map(|p| p.to_vec()).collect();
        let sealed = |n| Commitment([u8::try_from(n).unwrap(); 32]).sealed_cid();
        chain.place(MINER, 1, partitions, sealed);
        let stores = Stores::new(db.clone(), vec![store("a", dir.path().join("a"))]).unwrap();
        stores.attach("a", Replica::Normal).await.unwrap();
        Self {
            dir,
            db,
            chain: Arc::new(chain),
            prover: Arc::default(),
            stores,
            head: watch::channel(None).0,
            policy: policy(),
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            db: self.db.clone(),
            chain: self.chain.clone(),
            head: self.head.subscribe(),
            messages: Engine::new(self.db.clone(), self.chain.clone(), self.head.subscribe()),
            stores: self.stores.clone(),
            prover: self.prover.clone(),
            proving: ProvingPolicy::default(),
            by: "this one".to_owned(),
        }
    }

    /// The poster after a start of the manager.
    fn start(&self) -> MinerLoop {
        let served = Served::new(vec![self.policy.clone()]);
        MinerLoop::new(self.parts(), served, Arc::new(self.policy.clone()))
    }

    async fn at(&self, poster: &mut MinerLoop, height: Epoch) {
        poster.settle(self.tell(height)).await;
    }

    /// The chain has reached that height.
    fn tell(&self, height: Epoch) -> Head {
        self.chain.edit().height = height;
        let head = Head {
            height,
            key: self.chain.tipset(height),
            timestamp: 0,
        };
        self.head.send_replace(Some(head.clone()));
        head
    }

    fn windows(&self, change: impl FnOnce(&mut Windows)) {
        change(self.chain.edit().windows.get_mut(&MINER).unwrap());
    }

    /// All records, the oldest first.
    fn records(&self) -> Vec<PostRecord> {
        let mut records = self.db.recent_posts(MINER, 100).unwrap();
        records.reverse();
        records
    }

    fn states(&self) -> Vec<PostState> {
        self.records().iter().map(|r| r.state).collect()
    }

    /// The only record.
    fn one(&self) -> PostRecord {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// Messages that were ever wanted.
    fn messages(&self) -> Vec<MessageRecord> {
        self.db.every_message().unwrap()
    }

    fn params(&self) -> Vec<SubmitWindowedPoStParams> {
        let read = |m: MessageRecord| fvm_ipld_encoding::from_slice(&m.params.0).unwrap();
        self.messages().into_iter().map(read).collect()
    }

    /// The chain executed all open messages.
    fn execute(&self, event: MessageEvent, at: Epoch, exit_code: i64) {
        for message in self.db.open_messages().unwrap() {
            let step = |event| {
                self.db
                    .step_message(message.id, event, |m| {
                        m.epoch = Some(at);
                        m.exit_code = Some(exit_code);
                    })
                    .unwrap();
            };
            step(MessageEvent::Push);
            step(event);
        }
    }

    fn proven(&self) -> Vec<Vec<SectorNumber>> {
        let tasks = self.prover.tasks.lock();
        let numbers = tasks
            .iter()
            .map(|t| t.replicas.iter().map(|r| r.sector_id).collect());
        numbers.collect()
    }

    fn order(&self, order: Order) {
        self.prover.orders.lock().push_back(order);
    }
}

#[tokio::test]
async fn a_window_from_challenge_to_landed_message() {
    let house = House::new(&[&[1, 2], &[3]]).await;
    let mut poster = house.start();
    house.at(&mut poster, START - 1).await;
    assert_eq!(house.states(), []);
    house.at(&mut poster, START).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!((record.deadline, record.key.open), (1, 60));
    assert_eq!(house.proven(), [vec![1, 2, 3]]);
    house.at(&mut poster, SEND - 1).await;
    assert_eq!(house.states(), [PostState::Proved]);

    house.at(&mut poster, SEND).await;
    assert_eq!(house.states(), [PostState::Submitted]);
    let params = house.params().remove(0);
    assert_eq!((params.deadline, params.chain_commit_epoch), (1, 40));
    let indexes: Vec<_> = params.partitions.iter().map(|p| p.index).collect();
    assert_eq!(indexes, [0, 1]);
    assert!(params.partitions.iter().all(|p| p.skipped.is_empty()));
    let tag = DomainTag::PoStChainCommit;
    let key = house.chain.tipset(SEND);
    let drawn = house.chain.ticket_randomness(tag, 40, &[], &key).await;
    assert_eq!(params.chain_commit_rand.0, drawn.unwrap().0);
    let message = house.messages().remove(0);
    assert_eq!((message.method, message.from.id().unwrap()), (5, 100));

    house.execute(MessageEvent::Land, 66, 0);
    house.at(&mut poster, 72).await;
    let record = house.one();
    assert_eq!(
        (record.state, record.landed_at),
        (PostState::Landed, Some(66))
    );
    for height in [73, 100, 121, 140] {
        house.at(&mut poster, height).await;
    }
    assert_eq!(house.messages().len(), 1);
    let asked = house.chain.edit().asked["StateMinerProvingDeadline"];
    assert_eq!(asked, 9, "once per head");
    let shown = window_posts(&house.db, MINER, 10).await.unwrap();
    let way = [
        shown[0].seen_at,
        shown[0].challenged_at,
        shown[0].read_at,
        shown[0].proven_at,
        shown[0].submitted_at,
        shown[0].landed_at,
    ];
    let heads = [START, START, START, START, SEND, 66];
    assert_eq!(way, heads.map(Some));
    assert_eq!(shown[0].by.as_deref(), Some("this one"));
    assert_eq!(shown[0].state, "Landed");
    assert_eq!(shown[0].partitions, [0, 1]);
}

#[tokio::test]
async fn where_nothing_is_due_nothing_is_done() {
    for (partitions, faulty) in [(&[][..], &[][..]), (&[&[][..]], &[]), (&[&[1, 2]], &[1, 2])] {
        let house = House::new(partitions).await;
        house.windows(|w| w.faulty = faulty.to_vec());
        let mut poster = house.start();
        for height in [START, SEND, CLOSE] {
            house.at(&mut poster, height).await;
        }
        assert_eq!(house.states(), []);
        assert!(house.proven().is_empty() && house.messages().is_empty());
    }
}

#[tokio::test]
async fn batches_of_three_partitions_have_messages_of_their_own() {
    let house = House::new(&[&[1], &[2], &[3], &[4]]).await;
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    assert_eq!(house.states(), [PostState::Submitted; 2]);
    let mut partitions: Vec<Vec<u64>> = house.records().into_iter().map(|r| r.partitions).collect();
    partitions.sort();
    assert_eq!(partitions, [vec![0, 1, 2], vec![3]]);
    assert_eq!(house.messages().len(), 2);
}

#[tokio::test]
async fn a_missing_sector_is_skipped_with_its_reason() {
    let house = House::new(&[&[1, 2], &[3], &[4, 5]]).await;
    house.windows(|w| (w.faulty, w.recovering) = (vec![4, 5], vec![5]));
    let sealed = house.dir.path().join("a/sealed");
    fs::remove_file(sealed.join("s-t01000-2")).unwrap();
    fs::write(sealed.join("s-t01000-3"), b"short").unwrap();
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    assert_eq!(house.proven(), [vec![1, 5]], "4 is known as faulty");
    let params = house.params().remove(0);
    let skipped: Vec<(u64, Vec<u64>)> = params
        .partitions
        .iter()
        .map(|p| (p.index, p.skipped.iter().collect()))
        .collect();
    assert_eq!(
        skipped,
        [(0, vec![2]), (2, vec![])],
        "nothing of partition 1 is left"
    );
    let record = house.one();
    let reasons: Vec<_> = record.skipped.iter().map(|(n, _)| *n).collect();
    assert_eq!(reasons, [2, 3]);
    assert!(record.skipped[0].1.contains("missing"));
    assert!(record.skipped[1].1.contains("2048"));
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_until_the_opening() {
    let house = House::new(&[&[1, 2]]).await;
    let store = house.dir.path().join("a");
    let away = house.dir.path().join("away");
    fs::rename(&store, &away).unwrap();
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Challenged);
    assert!(record.error.unwrap().contains("waiting for them"));
    assert!(house.proven().is_empty());
    fs::rename(&away, &store).unwrap();
    house.at(&mut poster, START + 1).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!(
        (record.error, record.tries, record.skipped),
        (None, 0, vec![])
    );
}

#[tokio::test]
async fn when_no_sector_can_be_read_it_is_tried_until_the_close() {
    let house = House::new(&[&[1]]).await;
    let store = house.dir.path().join("a");
    let away = house.dir.path().join("away");
    fs::rename(&store, &away).unwrap();
    let mut poster = house.start();
    for height in START..CLOSE - 1 {
        house.at(&mut poster, height).await;
    }
    let record = house.one();
    assert!(record.tries > 5, "{}", record.tries);
    assert!(record.error.unwrap().contains("none of the 1 sectors"));
    fs::rename(&away, &store).unwrap();
    house.at(&mut poster, CLOSE - 1).await;
    assert_eq!(
        house.states(),
        [PostState::Submitted],
        "even in the last epoch"
    );
}

#[tokio::test]
async fn transient_errors_are_retried_at_later_heads() {
    let house = House::new(&[&[1]]).await;
    house.order(Order::Die);
    house.order(Order::Lie);
    let mut poster = house.start();
    house.chain.set_down(true);
    house.at(&mut poster, START).await;
    assert_eq!(house.states(), [], "the node is away");
    house.chain.set_down(false);
    house.at(&mut poster, START + 1).await;
    let record = house.one();
    assert_eq!((record.state, record.tries), (PostState::Proving, 1));
    assert!(record.error.unwrap().contains("killed by a test"));
    house.at(&mut poster, START + 2).await;
    let record = house.one();
    assert!(record.error.unwrap().contains("does not verify"));
    house.at(&mut poster, START + 3).await;
    assert_eq!(house.proven().len(), 2, "the second pause is longer");
    house.at(&mut poster, START + 4).await;
    assert_eq!(house.states(), [PostState::Proved]);
    // the node goes away just before sending
    house.chain.set_down(true);
    house.at(&mut poster, SEND).await;
    assert_eq!(house.states(), [PostState::Proved]);
    house.chain.set_down(false);
    house.at(&mut poster, SEND + 1).await;
    assert_eq!(house.states(), [PostState::Submitted]);
    assert_eq!(house.messages().len(), 1);
    assert_eq!(house.proven().len(), 3);
}

#[tokio::test]
async fn sectors_that_the_prover_cannot_read_are_skipped() {
    let house = House::new(&[&[1, 2, 3]]).await;
    house.order(Order::Fault(vec![2]));
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    assert_eq!(house.proven(), [vec![1, 2, 3], vec![1, 3]]);
    let params = house.params().remove(0);
    assert_eq!(params.partitions[0].skipped.iter().collect::<Vec<_>>(), [2]);
    // a prover that names sectors that it was not given is not believed
    let house = House::new(&[&[1]]).await;
    house.order(Order::Fault(vec![77]));
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    assert!(house.one().error.unwrap().contains("not asked"));
    house.at(&mut poster, START + 1).await;
    assert_eq!(house.states(), [PostState::Proved]);
}

#[tokio::test]
async fn a_restart_in_any_state_gives_one_proof_and_one_message() {
    // Up to which head the first process lives, and in which state it leaves the record.
    for (height, state) in [
        (START, PostState::Proving),
        (START, PostState::Proved),
        (SEND, PostState::Submitted),
        (SEND + 9, PostState::Landed),
    ] {
        let house = House::new(&[&[1, 2]]).await;
        let mut poster = house.start();
        if state == PostState::Proving {
            house.order(Order::Hang);
            tokio::select! {
                () = house.at(&mut poster, START) => panic!("the prover hangs"),
                () = house.prover.hanging.notified() => {}
            }
        } else {
            for height in START..=height {
                house.at(&mut poster, height).await;
                if state == PostState::Landed && height == SEND {
                    house.execute(MessageEvent::Land, SEND + 1, 0);
                }
            }
        }
        assert_eq!(house.states(), [state]);
        drop(poster);

        let mut poster = house.start();
        for height in height..CLOSE + 20 {
            house.at(&mut poster, height).await;
            if height == SEND + 2 {
                house.execute(MessageEvent::Land, height, 0);
            }
        }
        assert_eq!(house.states(), [PostState::Landed], "killed in {state}");
        assert_eq!(house.messages().len(), 1, "killed in {state}");
        let proofs = if state == PostState::Proving { 2 } else { 1 };
        assert_eq!(house.proven().len(), proofs, "killed in {state}");
    }
}

#[tokio::test]
async fn a_restart_before_the_prover_was_asked_goes_on() {
    for state in [PostState::Waiting, PostState::Challenged] {
        let house = House::new(&[&[1]]).await;
        let key = PostKey {
            miner: MINER,
            open: 60,
            first: 0,
        };
        let record = PostRecord {
            partitions: vec![0],
            state,
            ..PostRecord::planned(key, 1, 40, CLOSE)
        };
        house.db.plan_posts(&[record]).unwrap();
        let mut poster = house.start();
        house.at(&mut poster, SEND).await;
        assert_eq!(house.states(), [PostState::Submitted], "killed in {state}");
        assert_eq!((house.proven().len(), house.messages().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_failed_message_is_followed_by_another_while_there_is_time() {
    let house = House::new(&[&[1]]).await;
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    house.execute(MessageEvent::Fail, SEND + 1, 7);
    house.at(&mut poster, SEND + 2).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Proved);
    assert!(record.error.unwrap().contains("exit code 7"));
    house.at(&mut poster, SEND + 3).await;
    assert_eq!(house.states(), [PostState::Submitted]);
    assert_eq!((house.messages().len(), house.proven().len()), (2, 1));
    house.execute(MessageEvent::Fail, CLOSE - 1, 16);
    house.at(&mut poster, CLOSE).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Failed);
    assert!(record.error.unwrap().contains("exit code 16"));
    house.at(&mut poster, CLOSE + 30).await;
    assert_eq!(house.messages().len(), 2);
}

#[tokio::test]
async fn a_message_that_no_block_takes_ends_as_a_missed_deadline() {
    let house = House::new(&[&[1]]).await;
    let mut poster = house.start();
    house.at(&mut poster, SEND).await;
    house.at(&mut poster, CLOSE + 4).await;
    assert_eq!(house.states(), [PostState::Submitted], "it may still count");
    house.at(&mut poster, CLOSE + 5).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Failed);
    assert!(record.error.unwrap().contains("closed before"));
}

#[tokio::test]
async fn two_posters_do_not_prove_the_same_partition() {
    let house = House::new(&[&[1], &[2]]).await;
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    house.windows(|w| w.submitted = [(1, vec![0])].into());
    house.at(&mut poster, SEND).await;
    house.at(&mut poster, SEND + 1).await;
    // what is left is proven anew, as the stored proof covers both
    assert_eq!(house.proven(), [vec![1, 2], vec![2]]);
    let params = house.params();
    assert_eq!(params.len(), 1);
    let indexes: Vec<_> = params[0].partitions.iter().map(|p| p.index).collect();
    assert_eq!(indexes, [1]);

    let house = House::new(&[&[1], &[2]]).await;
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    house.windows(|w| w.submitted = [(1, vec![0, 1])].into());
    house.at(&mut poster, SEND).await;
    assert_eq!(house.states(), [PostState::Covered]);
    assert!(house.messages().is_empty());
}

#[tokio::test]
async fn another_challenge_after_a_reorganisation_is_proven_anew() {
    let house = House::new(&[&[1]]).await;
    let mut poster = house.start();
    house.at(&mut poster, START).await;
    house.chain.edit().fork = 1;
    house.at(&mut poster, SEND).await;
    house.at(&mut poster, SEND + 1).await;
    assert_eq!(house.states(), [PostState::Submitted]);
    assert_eq!(house.proven().len(), 2);
    let tag = DomainTag::WindowedPoStChallengeSeed;
    let key = house.chain.tipset(SEND);
    let entropy = crate::chain::entropy(MINER);
    let drawn = house.chain.beacon_randomness(tag, 40, &entropy, &key).await;
    assert_eq!(house.one().randomness, Some(drawn.unwrap()));
    assert_eq!(house.messages().len(), 1);
}

#[tokio::test]
async fn a_prover_that_is_too_slow_ends_with_the_deadline() {
    let house = House::new(&[&[1]]).await;
    house.order(Order::Hang);
    let mut poster = house.start();
    let start = house.tell(START);
    tokio::join!(poster.settle(start), async {
        house.prover.hanging.notified().await;
        house.tell(CLOSE);
    });
    house.at(&mut poster, CLOSE).await;
    let record = house.one();
    assert_eq!(record.state, PostState::Expired);
    assert!(record.error.is_some());
    assert!(house.messages().is_empty());
}
