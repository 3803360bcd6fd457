//! Law 1 in the middle of a step: at every edge at which a child computes, the child is killed, and
//! the whole daemon is. The sector comes to the same end, what was finished before is not done again,
//! and the one stage is.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test is started as an operator starts it"
)]

use crate::{
    fake_manager::FakeManager,
    rig::{Rig, STAGES, children, done, runs, runtime},
    until,
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::{Ev, State, seal::Seal, table::Table};
use damocles_processor::Stage;
use damocles_types::{Level, SealProof, SectorId, SectorSize, proof::SealVersion};
use damocles_worker::stores::SealingStore;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
};

const SECTOR: SectorId = SectorId::new(1000, 1);

/// What computes in the step that leads over an edge. None: no child does, or nothing is computed
/// for it but for another edge of the state.
fn computes(state: State, event: Ev) -> Option<Stage> {
    Some(match (state, event) {
        (State::DealsAcquired, Ev::AddPiece) => Stage::AddPieces,
        (State::PieceAdded, Ev::BuildTreeD) => Stage::TreeD,
        (State::TicketAssigned, Ev::PC1) => Stage::Pc1,
        (State::PC1Done, Ev::PC2 | Ev::PC2NeedSyntheticProof) => Stage::Pc2,
        (State::SyntheticPoRepNeeded, Ev::SyntheticPoRep) => Stage::SynthProof,
        (State::PCLanded, Ev::Persist) => Stage::Transfer,
        (State::SeedAssigned, Ev::C1) => Stage::C1,
        (State::C1Done, Ev::C2) => Stage::C2,
        _ => return None,
    })
}

/// Every edge of the table at which a child computes.
fn edges() -> Vec<(State, Ev, Stage)> {
    let all = Seal::reachable().into_iter().flat_map(|state| {
        let edges = Seal::edges(state).iter();
        edges.filter_map(move |(event, _)| Some((state, *event, computes(state, *event)?)))
    });
    all.collect()
}

/// Whether a sector comes over an edge only when it has synthetic proofs.
fn synthetic(event: Ev) -> bool {
    matches!(event, Ev::PC2NeedSyntheticProof | Ev::SyntheticPoRep)
}

fn kind(event: Ev) -> Option<SealProof> {
    synthetic(event).then_some(SealProof {
        version: SealVersion::V1_1Synthetic,
        size: SectorSize::KiB2,
    })
}

/// The states that such a sector leaves with an outcome, each once.
fn road(event: Ev) -> Vec<State> {
    let mut road = vec![State::Empty];
    loop {
        let state = road[road.len() - 1];
        let edges = Seal::edges(state);
        let other = edges
            .iter()
            .find(|(e, _)| synthetic(event) && synthetic(*e));
        match other.or(edges.first()) {
            Some((_, next)) => road.push(*next),
            None => return road,
        }
    }
}

fn each_step_once(timeline: &[TimelineEntry], event: Ev, about: &str) {
    for state in road(event) {
        assert_eq!(done(timeline, state), 1, "{about}: {state}: {timeline:#?}");
    }
}

/// Some at a time, each on a thread of its own.
fn side_by_side(work: impl Fn((State, Ev, Stage)) + Sync) {
    let edges = edges();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(edge) = edges.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(*edge);
                }
            });
        }
    });
}

#[test]
fn every_stage_that_a_worker_starts_is_killed_at_one_edge_at_least() {
    let killed: BTreeSet<Stage> = edges().into_iter().map(|(.., stage)| stage).collect();
    assert_eq!(killed, BTreeSet::from(STAGES));
}

#[test]
fn the_child_is_killed_midway_at_every_edge() {
    side_by_side(|(state, event, stage)| {
        let about = format!("{state} {event}");
        let mut rig = Rig::new(1);
        rig.programs.synthetic = synthetic(event);
        rig.manager.script().kind = kind(event);
        rig.order_once(stage, "die");
        rig.run(1);
        assert_eq!(rig.runs(stage), 2, "{about}");
        let timeline = rig.timeline();
        each_step_once(&timeline, event, &about);
        let failed: Vec<_> = timeline
            .iter()
            .filter_map(|e| match &e.ending {
                Some(Ending::Failed { level, .. }) => Some((e.state.clone(), *level)),
                _ => None,
            })
            .collect();
        assert_eq!(failed, [(state.to_string(), Level::Temporary)], "{about}");
        assert_eq!(rig.persisted(SECTOR).len(), 4, "{about}");
        assert_eq!(rig.sealing_files(), 0, "{about}");
        assert_eq!(rig.manager.script().given, 1, "{about}: one number");
    });
}

/// The real program; killed when it is dropped.
struct Worker(Child);

impl Worker {
    fn start(dir: &tempfile::TempDir, manager: &FakeManager) -> Self {
        let place = dir.path().display();
        let file = dir.path().join("worker.toml");
        let text = format!(
            "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n\
             [sector_manager]\nrpc_client.addr = \"{}\"\n\
             [[attached]]\nname = \"hdd\"\nlocation = \"{place}/hdd\"\n\
             [[sealing_thread]]\nlocation = \"{place}/t0\"\n\
             [sealing]\nallowed_sizes = [\"2KiB\"]\nrecover_interval = \"20ms\"\nseal_interval = \"20ms\"\n\
             rpc_polling_interval = \"20ms\"\n{}",
            manager.url(),
            children(&dir.path().join("orders"), "processors."),
        );
        fs::write(&file, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-worker"));
        command.env_remove("DAMOCLES_LOG").env_remove("RUST_LOG");
        let command = command.args(["daemon", "-c"]).arg(&file).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// As the kernel kills.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_daemon_is_killed_while_the_child_of_every_edge_computes() {
    side_by_side(|(state, event, stage)| {
        let about = format!("{state} {event}");
        let dir = tempfile::tempdir().unwrap();
        let orders = dir.path().join("orders");
        for name in ["hdd", "orders"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        SealingStore::init(&dir.path().join("t0")).unwrap();
        let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 1));
        manager.script().kind = kind(event);
        // it stands still with its task in hand
        let never = dir.path().join("never");
        let order = format!("wait {}", never.display());
        fs::write(orders.join(format!("{stage}.once")), order).unwrap();

        let worker = Worker::start(&dir, &manager);
        until(&format!("{about}: a child at work"), || {
            runs(&orders, stage) == 1
        });
        worker.kill();
        let worker = Worker::start(&dir, &manager);
        until(&format!("{about}: the sector's end"), || {
            let script = manager.script();
            let end = script.timeline.values().find(|e| e.state == "Finished");
            end.is_some_and(|e| matches!(e.ending, Some(Ending::Done { .. })))
        });
        drop(worker);

        let script = manager.script();
        assert_eq!(
            (script.given, script.done.as_slice()),
            (1, &[SECTOR][..]),
            "{about}"
        );
        let timeline: Vec<_> = script.timeline.values().cloned().collect();
        each_step_once(&timeline, event, &about);
        let interrupted: Vec<_> = timeline
            .iter()
            .filter(|e| e.ending == Some(Ending::Interrupted))
            .map(|e| e.state.clone())
            .collect();
        assert_eq!(interrupted, [state.to_string()], "{about}: {timeline:#?}");
        assert!(
            timeline
                .iter()
                .all(|e| !matches!(e.ending, Some(Ending::Failed { .. }))),
            "{about}: {timeline:#?}"
        );
        assert_eq!(runs(&orders, stage), 2, "{about}");
    });
}
