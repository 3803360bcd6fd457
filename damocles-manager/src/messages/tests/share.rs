//! Two managers that share senders: each sender's messages are one manager's, and another one's
//! when that is gone.

use super::*;
use crate::{
    roles::{Role, Roles},
    wallet::{Key, Place},
};
use damocles_kv::Lease;
use damocles_node::KeyType;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Two senders whose keys every manager has.
struct Two {
    rig: Rig,
    place: Place,
    senders: [Address; 2],
}

/// One manager's messages.
struct Manager {
    name: String,
    engine: Engine,
    /// Dropped, it is gone as after a kill: it gives nothing back.
    task: JoinHandle<anyhow::Result<()>>,
}

impl Two {
    fn new() -> Self {
        let keys = [KeyType::Bls; 2].map(Key::generate);
        let senders = keys.each_ref().map(Key::address);
        let place = Place::with(&keys);
        let rig = Rig::shared(100);
        let ids = [100, 101].map(Address::new_id);
        rig.chain.edit().keys = ids.into_iter().zip(senders).collect();
        Self {
            rig,
            place,
            senders,
        }
    }

    fn engine(&self) -> Engine {
        self.rig.another().with_keys(self.place.keys())
    }

    fn start(&self, name: &str) -> Manager {
        let engine = self.engine();
        let roles = Roles::new(self.rig.db.clone(), name, Role::ALL);
        let running = crate::messages::run(engine.clone(), roles, CancellationToken::new());
        Manager {
            name: name.to_owned(),
            engine,
            task: tokio::spawn(running),
        }
    }

    /// Wants a message, by the engine of that manager.
    async fn wanted(&self, by: &Engine, from: Address) -> MessageId {
        let id = MessageId::new();
        by.want(id, Intent { from, ..intent() }).await.unwrap();
        id
    }

    /// Waits until the message has come that far. What waits after a failure is tried at once.
    async fn reached(&self, id: MessageId, state: S) {
        while self.rig.state(id) != state {
            if self.rig.get(id).retry_at.is_some() {
                self.rig.db.note_message(id, |m| m.retry_at = None).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// By whom the messages of the sender are sent.
    fn holder(&self, sender: Address) -> String {
        let scope = crate::roles::Scope::name(&sender);
        let roles = self.rig.db.roles().unwrap();
        let held = roles.into_iter().find(|h| h.scope == scope).unwrap();
        assert_eq!(held.role, "messages");
        held.by.split(' ').next().unwrap().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn two_managers_share_senders_and_one_takes_over_when_the_other_is_gone() {
    let two = Two::new();
    let [first, second] = two.senders;
    let (a, b) = (two.start("a"), two.start("b"));
    let mut of_first = vec![two.wanted(&a.engine, first).await];
    two.reached(of_first[0], S::Pushed).await;
    let mut of_second = vec![two.wanted(&b.engine, second).await];
    two.reached(of_second[0], S::Pushed).await;
    // whoever looked first has a sender; the one that has the second will be gone
    let (a, b) = match two.holder(second).as_str() {
        "a" => (b, a),
        _ => (a, b),
    };
    // whoever wants it, it is sent by the one that has its sender
    of_second.push(two.wanted(&a.engine, second).await);
    two.reached(of_second[1], S::Pushed).await;

    // its bytes are stored, and may have left
    two.rig.chain.edit().lose_answer = true;
    of_second.push(two.wanted(&b.engine, second).await);
    while two.rig.get(of_second[2]).error.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bytes = two.rig.get(of_second[2]).signed.unwrap();
    b.task.abort();
    of_first.push(two.wanted(&a.engine, first).await);
    of_second.push(two.wanted(&a.engine, second).await);
    for id in of_first.iter().chain(&of_second) {
        two.reached(*id, S::Pushed).await;
    }
    assert_eq!(two.holder(second), a.name);
    assert_eq!(two.rig.get(of_second[2]).signed.unwrap(), bytes);

    two.rig.chain.mine();
    two.rig.advance(5);
    for (sender, ids) in two.senders.into_iter().zip([of_first, of_second]) {
        for (nonce, id) in ids.iter().enumerate() {
            two.reached(*id, S::Landed).await;
            assert_eq!(two.rig.get(*id).nonce, Some(nonce as u64));
        }
        let none = two.rig.chain.executed(sender, ids.len() as u64);
        assert_eq!(none, None, "one message of each intent");
    }
    a.task.abort();
}

#[tokio::test]
async fn an_engine_touches_the_messages_of_its_sender_only() {
    let two = Two::new();
    let [first, second] = two.senders;
    let engine = two.engine();
    let ours = two.wanted(&engine, first).await;
    let theirs = two.wanted(&engine, second).await;
    let of_first = engine.of(first, two.rig.db.clone());
    of_first.reconcile().await.unwrap();
    assert_eq!(
        (two.rig.state(ours), two.rig.state(theirs)),
        (S::Pushed, S::Wanted)
    );
    engine.reconcile().await.unwrap();
    for id in [ours, theirs] {
        two.rig.land(id, 0);
    }
    two.rig.advance(5);
    of_first.reconcile().await.unwrap();
    assert_eq!(
        (two.rig.state(ours), two.rig.state(theirs)),
        (S::Landed, S::Pushed)
    );
    engine.reconcile().await.unwrap();
    two.rig.advance(CHAIN_FINALITY);
    of_first.reconcile().await.unwrap();
    assert_eq!(
        (two.rig.state(ours), two.rig.state(theirs)),
        (S::Final, S::Landed)
    );
}

/// Asleep while it was overtaken, it wakes up and knows nothing of it.
#[tokio::test]
async fn a_manager_that_lost_a_sender_sends_nothing_for_it() {
    const TTL: Duration = Duration::from_secs(4);
    let two = Two::new();
    let db = &two.rig.db;
    let [own, _] = two.senders;
    // one that we sign for, and one that the node signs for
    for sender in [own, Address::new_id(100)] {
        let scope = crate::roles::Scope::name(&sender);
        let take = |who| db.take_role("messages", &scope, who, TTL).unwrap();
        let Lease::Granted(mine) = take("a") else {
            panic!("somebody has it")
        };
        let Lease::Held(seen) = take("b") else {
            panic!("both have it")
        };
        db.take_role_over(&seen, "b", TTL).unwrap();
        let asleep = two.engine().of(sender, db.holding(mine));
        let id = two.wanted(&two.engine(), sender).await;
        asleep.reconcile().await.unwrap_or(engine::Next::Idle);
        assert_eq!(two.rig.state(id), S::Wanted);
        let chain = two.rig.chain.edit();
        assert!(chain.pushes.is_empty() && chain.republished.is_empty());
    }
}
