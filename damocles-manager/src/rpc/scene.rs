//! The rooms that tests of this room ask, around a scripted chain.

use super::{Counts, Rooms};
use crate::{
    actor::Actors,
    chain::{Chain, Facts, HeadFollower, script::ScriptChain},
    commit::{Commit, ProofsVerifier},
    db::Db,
    deals::Deals,
    jobs::Jobs,
    messages::Engine,
    policy::{
        Retention, StorePolicy, WorkerProverPolicy,
        tests::{miner, store},
    },
    post::Asked,
    reload::{self, Reload},
    sealing::Sealing,
    storage::Stores,
};
use damocles_daemon::{
    auth::{Guard, Secret},
    metrics::Metrics,
    tls::Tls,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Rooms around a scripted chain at height 1000 with miner t01000, and one persist store.
pub(crate) async fn rooms() -> (Rooms, Metrics, TempDir, Arc<ScriptChain>) {
    let disk = tempfile::tempdir().unwrap();
    let chain = Arc::new(ScriptChain::at(1000));
    chain.add_miner(1000);
    let script = chain.clone();
    let chain: Arc<dyn Chain> = chain;
    let db = Db::in_memory();
    let facts = Facts::new(chain.clone());
    let (_, head) = HeadFollower::new(chain.clone(), facts.clone());
    let served = crate::served::Served::new(vec![miner(1000)]);
    let asked = served.clone();
    let store = StorePolicy {
        weight: 0,
        ..store("persist", disk.path())
    };
    let messages = Engine::new(db.clone(), chain.clone(), head.clone());
    let actors = Actors::new(db.clone(), chain.clone(), served.clone(), messages.clone());
    let stop = CancellationToken::new();
    let jobs = Jobs::new(db.clone(), head, WorkerProverPolicy::default(), true, stop);
    let metrics = Metrics::new("damocles_manager");
    let stores = Stores::new(db.clone(), vec![store]).unwrap();
    let text = "[Common.API]\nChain = \"http://127.0.0.1:9\"\n[[Miners]]\nActor = 1000\n";
    let checked = crate::config::check_text(Path::new("file"), text).unwrap();
    let rooms = Rooms {
        db: db.clone(),
        sealing: Sealing::new(db.clone(), chain.clone(), facts.clone(), served.clone()),
        deals: Deals::new(db.clone(), chain.clone(), facts.clone()),
        chain: chain.clone(),
        commit: Commit::new(
            db.clone(),
            chain.clone(),
            facts,
            messages.clone(),
            Arc::new(ProofsVerifier),
            served.clone(),
        ),
        stores: stores.clone(),
        reload: Reload::new(
            "sector-manager.cfg".into(),
            &checked,
            reload::Parts {
                served,
                stores,
                guard: Guard::new(Secret::new(&[1; 32]), Vec::new()),
                tls: Tls::default(),
                retention: watch::Sender::new(Retention {
                    message_bodies: None,
                    timelines: None,
                }),
                db: db.clone(),
            },
        ),
        messages,
        actors,
        asked: Asked {
            db: db.clone(),
            chain,
            served: asked,
            parts: None,
        },
        jobs,
        counts: Counts::register(&metrics),
    };
    (rooms, metrics, disk, script)
}

/// The files of a certificate for `localhost` and of its key.
pub(crate) fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join(name), dir.join(format!("{name}.key")));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}
