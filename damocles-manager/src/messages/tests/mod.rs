//! The engine on a scripted chain: stopped anywhere, it makes one message of one intent.

mod branches;
mod messager;
mod own_keys;
mod refusals;
mod replace;
mod share;
mod unnamed;

use super::*;
use crate::chain::script::ScriptChain;
use damocles_flow::message::MessageState as S;
use fvm_ipld_encoding::RawBytes;

/// An engine, its chain, and the hand that moves the head.
pub(crate) struct Rig {
    pub(crate) db: Db,
    pub(crate) chain: Arc<ScriptChain>,
    pub(crate) engine: Engine,
    tell: watch::Sender<Option<Head>>,
}

impl Rig {
    pub(crate) fn new(height: Epoch) -> Self {
        Self::on(Db::in_memory(), height)
    }

    /// On a database that several managers have open.
    pub(crate) fn shared(height: Epoch) -> Self {
        Self::on(Db::in_memory_shared(), height)
    }

    fn on(db: Db, height: Epoch) -> Self {
        let chain = Arc::new(ScriptChain::at(height));
        chain.add_miner(1000);
        let (tell, head) = watch::channel(None);
        let engine = Engine::new(db.clone(), chain.clone(), head);
        let rig = Self {
            db,
            chain,
            engine,
            tell,
        };
        rig.advance(0);
        rig
    }

    /// Moves chain and head.
    pub(crate) fn advance(&self, epochs: Epoch) {
        self.chain.advance(epochs);
        self.tell_head();
    }

    /// The chain goes back to that height, and on for some epochs on another branch.
    pub(crate) fn reorganise(&self, back_to: Epoch, on: Epoch) {
        self.chain.go_back(back_to);
        self.chain.advance(on);
        self.tell_head();
    }

    fn tell_head(&self) {
        let height = self.chain.edit().height;
        let key = self.chain.tipset(height);
        self.tell.send_replace(Some(Head {
            height,
            key,
            timestamp: 0,
        }));
    }

    /// Another process on the same database.
    pub(crate) fn restart(&mut self) {
        self.engine = self.another();
    }

    /// The engine of another process on the same database.
    pub(crate) fn another(&self) -> Engine {
        let head = self.tell.subscribe();
        Engine::new(self.db.clone(), self.chain.clone(), head)
    }

    /// From now on, and in no other process, the key store signs for some senders.
    fn give_keys(&mut self, keys: Keys) {
        self.engine = self.engine.clone().with_keys(keys);
    }

    /// One round, with the pauses after failures left out.
    pub(crate) async fn round(&self) {
        for message in self.db.open_messages().unwrap() {
            self.db
                .note_message(message.id, |m| m.retry_at = None)
                .unwrap();
        }
        self.engine.reconcile().await.unwrap();
    }

    fn get(&self, id: MessageId) -> MessageRecord {
        self.db.message(id).unwrap().unwrap()
    }

    fn state(&self, id: MessageId) -> S {
        self.get(id).state
    }

    async fn wanted(&self) -> MessageId {
        let id = MessageId::new();
        self.engine.want(id, intent()).await.unwrap();
        id
    }

    /// Executes what was pushed, at the present height.
    pub(crate) fn land(&self, id: MessageId, exit_code: i64) {
        let cid = self.get(id).cid.unwrap();
        self.chain.land(cid, exit_code, RawBytes::default());
    }
}

pub(crate) fn intent() -> Intent {
    Intent {
        kind: MessageKind::WindowPost,
        miner: 1000,
        from: Address::new_id(100),
        value: TokenAmount::from_whole(1),
        method: 5,
        params: RawBytes::new(vec![1, 2, 3]),
        fee: FeePolicy::default(),
        confidence: 5,
        sectors: vec![SectorId::new(1000, 1)],
        deadline: None,
        note: None,
    }
}

#[tokio::test]
async fn a_message_goes_from_wanted_to_landed() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    assert_eq!(rig.state(id), S::Wanted);
    rig.round().await;
    let pushed = rig.get(id);
    assert_eq!((pushed.state, pushed.nonce), (S::Pushed, Some(0)));
    let sent = pushed.signed.unwrap().message;
    assert_eq!(sent.gas_limit, 1_200_000);
    assert_eq!(sent.gas_fee_cap, TokenAmount::from_nano(5));
    assert_eq!(sent.params.to_vec(), [1, 2, 3]);

    rig.land(id, 0);
    rig.round().await;
    assert_eq!(rig.state(id), S::Packed);
    rig.advance(4);
    rig.round().await;
    assert_eq!(rig.state(id), S::Packed, "not deep enough");
    rig.advance(1);
    rig.round().await;
    let landed = rig.get(id);
    assert_eq!(landed.state, S::Landed);
    assert_eq!((landed.epoch, landed.exit_code), (Some(100), Some(0)));
    assert!(rig.db.open_messages().unwrap().is_empty());
    let views = rig
        .engine
        .sector_messages(SectorId::new(1000, 1))
        .await
        .unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].state, "Landed");
}

#[tokio::test]
async fn the_operators_cap_stands_however_large_the_message() {
    let rig = Rig::new(100);
    // a batch of proofs: at 5 nanoFIL it may cost far more than a node's own limit
    rig.chain.edit().gas_limit = 3_000_000_000;
    let id = rig.wanted().await;
    rig.round().await;
    let sent = rig.get(id).signed.unwrap().message;
    assert_eq!(sent.gas_limit, 3_600_000_000);
    assert_eq!(sent.gas_fee_cap, TokenAmount::from_nano(5));
}

#[test]
fn windowposts_are_taken_up_before_everything_else() {
    use MessageKind::{PreCommit, ProveCommit, WindowPost};
    let open = [PreCommit, WindowPost, ProveCommit, WindowPost, PreCommit]
        .map(|kind| Intent { kind, ..intent() }.record(MessageId::new()));
    let id = |i: usize| open[i].id;
    let wanted = [1, 3, 0, 2, 4].map(id);
    let order = super::engine::urgent_first(open.to_vec());
    assert_eq!(order.iter().map(|m| m.id).collect::<Vec<_>>(), wanted);
}

/// Stops the daemon before, within and after every step; the end is the same, and the node
/// got one message.
#[tokio::test]
async fn a_stop_at_any_step_repeats_the_same_message() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Stop {
        BeforePush,
        AnswerLost,
        NodeAway,
        AfterPush,
        AfterPack,
        AfterLanding,
    }
    for stop in [
        Stop::BeforePush,
        Stop::AnswerLost,
        Stop::NodeAway,
        Stop::AfterPush,
        Stop::AfterPack,
        Stop::AfterLanding,
    ] {
        let mut rig = Rig::new(100);
        let id = rig.wanted().await;
        match stop {
            Stop::BeforePush => rig.restart(),
            Stop::AnswerLost => {
                // Between the node's taking it and our storing that.
                rig.chain.edit().lose_answer = true;
                rig.round().await;
                assert_eq!(rig.state(id), S::Wanted);
                assert_eq!(rig.chain.edit().pushed.len(), 1);
                rig.restart();
            }
            Stop::NodeAway => {
                rig.chain.set_down(true);
                for tries in 1..=20 {
                    rig.round().await;
                    let waits = rig.get(id);
                    assert_eq!((waits.state, waits.tries), (S::Wanted, tries));
                    assert!(waits.failing_since.is_some());
                }
                rig.restart();
                rig.chain.set_down(false);
            }
            Stop::AfterPush | Stop::AfterPack | Stop::AfterLanding => {}
        }
        rig.round().await;
        let pushed = rig.get(id);
        assert_eq!(pushed.state, S::Pushed, "{stop:?}");
        assert_eq!((pushed.tries, pushed.error), (0, None), "{stop:?}");
        if stop == Stop::AfterPush {
            rig.restart();
        }
        rig.land(id, 0);
        rig.round().await;
        if stop == Stop::AfterPack {
            rig.restart();
        }
        rig.advance(5);
        rig.round().await;
        if stop == Stop::AfterLanding {
            rig.restart();
            rig.round().await;
        }
        assert_eq!(rig.state(id), S::Landed, "{stop:?}");
        let script = rig.chain.edit();
        assert_eq!(script.pushed.len(), 1, "{stop:?}");
        assert!(script.pushes.iter().all(|uuid| *uuid == id.0), "{stop:?}");
    }
}

#[tokio::test]
async fn a_message_that_ran_before_its_push_was_stored_is_found_again() {
    let mut rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.chain.edit().lose_answer = true;
    rig.round().await;
    // It runs; from now on the node's estimates fail, because it cannot run twice.
    let cid = rig.chain.edit().pushed[&id.0].cid();
    rig.chain.land(cid, 0, RawBytes::default());
    rig.chain.edit().estimate_refusal = Some("exit 16".into());
    rig.restart();
    rig.advance(50);
    rig.round().await;
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
    assert_eq!(rig.chain.edit().pushed.len(), 1);
}

#[tokio::test]
async fn the_same_id_again_is_the_same_message() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    let again = rig.engine.want(id, intent()).await.unwrap();
    assert_eq!(again.state, S::Pushed);
    assert_eq!(rig.db.open_messages().unwrap().len(), 1);
}

#[tokio::test]
async fn exit_codes_end_a_message() {
    for code in [7, 16, 19] {
        let rig = Rig::new(100);
        let id = rig.wanted().await;
        rig.round().await;
        rig.land(id, code);
        rig.advance(5);
        rig.round().await;
        let failed = rig.get(id);
        assert_eq!((failed.state, failed.exit_code), (S::Failed, Some(code)));
        assert!(failed.error.unwrap().contains(&code.to_string()));
    }
}

#[tokio::test]
async fn a_reorganisation_takes_a_message_out_and_another_block_takes_it_in() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    rig.land(id, 0);
    rig.round().await;
    assert_eq!((rig.state(id), rig.get(id).epoch), (S::Packed, Some(100)));
    rig.reorganise(99, 2);
    rig.round().await;
    assert_eq!((rig.state(id), rig.get(id).epoch), (S::Pushed, None));
    rig.advance(1);
    rig.land(id, 0);
    rig.round().await;
    assert_eq!((rig.state(id), rig.get(id).epoch), (S::Packed, Some(102)));
    rig.advance(5);
    rig.round().await;
    assert_eq!(rig.state(id), S::Landed);
}

#[tokio::test]
async fn a_message_that_the_node_lost_is_sent_again_as_it_was() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    assert!(rig.chain.lose(rig.get(id).cid.unwrap()));
    rig.advance(19);
    rig.round().await;
    assert!(rig.chain.edit().republished.is_empty());
    rig.advance(1);
    for _ in 0..3 {
        rig.round().await;
    }
    let cid = rig.get(id).cid.unwrap();
    assert_eq!(rig.chain.edit().republished, [cid], "once per 20 epochs");
    assert_eq!(rig.chain.edit().pushed.len(), 1);
}

#[tokio::test]
async fn a_replacement_of_the_same_content_counts_as_ours() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.round().await;
    let ours = rig.get(id);
    let mut dearer = ours.signed.unwrap();
    dearer.message.gas_premium = TokenAmount::from_nano(4);
    let other = rig.chain.push_signed(&dearer).await.unwrap();
    assert_ne!(Some(other), ours.cid);
    rig.chain.land(other, 0, RawBytes::default());
    rig.advance(5);
    rig.round().await;
    let landed = rig.get(id);
    assert_eq!((landed.state, landed.cid), (S::Landed, Some(other)));
}

#[tokio::test]
async fn a_node_in_trouble_with_one_message_does_not_hold_up_others() {
    let rig = Rig::new(100);
    let first = rig.wanted().await;
    rig.chain.edit().refusals = vec!["no".into()];
    rig.round().await;
    let second = rig.wanted().await;
    // the first one waits for its next try
    rig.engine.reconcile().await.unwrap();
    assert_eq!(
        (rig.state(first), rig.state(second)),
        (S::Wanted, S::Pushed)
    );
}

#[tokio::test]
async fn a_running_engine_works_when_woken_and_ends_when_told() {
    let rig = Rig::new(100);
    let stop = tokio_util::sync::CancellationToken::new();
    let service = tokio::spawn(rig.engine.clone().run(stop.clone()));
    let id = rig.wanted().await;
    let reached = async |state| {
        while rig.state(id) != state {
            tokio::task::yield_now().await;
        }
    };
    reached(S::Pushed).await;
    rig.land(id, 0);
    rig.advance(5);
    reached(S::Landed).await;
    stop.cancel();
    service.await.unwrap().unwrap();
}
