//! Those who must not notice the siege: well-behaved callers at both doors, on kept and on new
//! connections, and workers to whom sector numbers are handed out. And who looks at what the
//! daemons use meanwhile.

use crate::wire::{self, Line};
use anyhow::Result;
use damocles_e2e::{house::Role, usage};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between two questions of one caller.
const EVERY: Duration = Duration::from_millis(250);
/// Between two numbers of one worker.
const NUMBER_EVERY: Duration = Duration::from_millis(300);
/// Workers who ask for numbers.
const WORKERS: usize = 3;

/// One question, how long it took, and why it failed.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) door: Role,
    pub(crate) took: Duration,
    pub(crate) failed: Option<String>,
}

/// The most of each that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Most {
    pub(crate) rss: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

#[derive(Debug, Default)]
struct Seen {
    asked: Vec<Asked>,
    /// When each number was handed out; twice is a fault.
    numbers: BTreeMap<u64, Instant>,
    twice: Vec<u64>,
    refused: Vec<(Instant, String)>,
    most: [Most; 3],
}

/// What the witnesses look at.
#[derive(Debug)]
struct Scene {
    manager: SocketAddr,
    worker: SocketAddr,
    pids: [AtomicU32; 3],
    /// While a daemon is down on purpose nobody asks it.
    pause: AtomicBool,
    /// How often that was: what was connected before is connected no more.
    pauses: AtomicU32,
    idle: AtomicU32,
    end: AtomicBool,
    seen: Mutex<Seen>,
}

/// All witnesses; they go when this does.
#[derive(Debug)]
pub(crate) struct Witnesses {
    scene: Arc<Scene>,
    threads: Vec<JoinHandle<()>>,
}

impl Witnesses {
    pub(crate) fn call(manager: SocketAddr, worker: SocketAddr) -> Self {
        let scene = Arc::new(Scene {
            manager,
            worker,
            pids: Default::default(),
            pause: AtomicBool::new(false),
            pauses: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            end: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let mut threads = Vec::new();
        let mut begin = |witness: Box<dyn FnOnce(&Scene) + Send>| {
            let scene = Arc::clone(&scene);
            threads.push(thread::spawn(move || witness(&scene)));
        };
        for door in [Role::Manager, Role::Worker] {
            for kept in [true, false] {
                begin(Box::new(move |scene| caller(scene, door, kept)));
            }
        }
        for n in 0..WORKERS {
            begin(Box::new(move |scene| numbers(scene, n)));
        }
        begin(Box::new(|scene| scene.look()));
        Self { scene, threads }
    }

    /// A daemon was started.
    pub(crate) fn watch(&self, role: Role, pid: u32) {
        self.scene.pids[role as usize].store(pid, Ordering::Relaxed);
    }

    /// Nobody asks any more until [`Self::go_on`]; returns when all have their last answer.
    pub(crate) fn pause(&self) {
        self.scene.pauses.fetch_add(1, Ordering::SeqCst);
        self.scene.pause.store(true, Ordering::SeqCst);
        let all = 4 + WORKERS as u32;
        while self.scene.idle.load(Ordering::SeqCst) < all {
            thread::sleep(EVERY / 10);
        }
    }

    pub(crate) fn go_on(&self) {
        self.scene.pause.store(false, Ordering::SeqCst);
    }

    /// Begins to measure what a daemon uses anew.
    pub(crate) fn forget_most(&self, role: Role) {
        let pid = self.scene.pids[role as usize].load(Ordering::Relaxed);
        // resets VmHWM, see proc(5)
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        self.scene.seen().most[role as usize] = Most::default();
    }

    pub(crate) fn most(&self, role: Role) -> Most {
        let pid = self.scene.pids[role as usize].load(Ordering::Relaxed);
        let mut most = self.scene.seen().most[role as usize];
        most.rss = most.rss.max(usage::peak(pid).unwrap_or(0));
        most
    }

    /// What was asked at a door since then.
    pub(crate) fn asked(&self, door: Role, since: Instant) -> Vec<Asked> {
        let seen = self.scene.seen();
        let those = seen
            .asked
            .iter()
            .filter(|a| a.door == door && a.at >= since);
        those.cloned().collect()
    }

    /// How many numbers were handed out since then, and how often none was.
    pub(crate) fn numbers_since(&self, since: Instant) -> (usize, usize) {
        let seen = self.scene.seen();
        let given = seen.numbers.values().filter(|at| **at >= since).count();
        let refused = seen.refused.iter().filter(|(at, _)| *at >= since).count();
        (given, refused)
    }

    /// Why the last question for a number failed.
    pub(crate) fn last_refusal(&self) -> Option<String> {
        self.scene.seen().refused.last().map(|(_, why)| why.clone())
    }

    /// Every number that was handed out, and those that were twice.
    pub(crate) fn numbers(&self) -> (Vec<u64>, Vec<u64>) {
        let seen = self.scene.seen();
        (seen.numbers.keys().copied().collect(), seen.twice.clone())
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.scene.end.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Scene {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next turn; false: it is over.
    fn turn(&self, every: Duration) -> bool {
        thread::sleep(every);
        if self.pause.load(Ordering::SeqCst) {
            self.idle.fetch_add(1, Ordering::SeqCst);
            while self.pause.load(Ordering::SeqCst) && !self.end.load(Ordering::SeqCst) {
                thread::sleep(EVERY / 10);
            }
            self.idle.fetch_sub(1, Ordering::SeqCst);
        }
        !self.end.load(Ordering::SeqCst)
    }

    fn look(&self) {
        while !self.end.load(Ordering::SeqCst) {
            for role in Role::ALL {
                let pid = self.pids[role as usize].load(Ordering::Relaxed);
                let Ok(now) = usage::of(pid) else { continue };
                let count =
                    |what| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
                let (descriptors, threads) = (count("fd"), count("task"));
                let most = &mut self.seen().most[role as usize];
                most.rss = most.rss.max(now.rss);
                most.descriptors = most.descriptors.max(descriptors);
                most.threads = most.threads.max(threads);
            }
            thread::sleep(EVERY);
        }
    }
}

/// A caller at one door. A kept connection that was closed is opened again, which counts as
/// failed if it was under a question.
fn caller(scene: &Scene, door: Role, kept: bool) {
    let (address, path, method, params) = match door {
        Role::Worker => (
            scene.worker,
            wire::WORKER,
            "VenusWorker.WorkerList",
            json!([]),
        ),
        _ => (
            scene.manager,
            wire::MANAGER,
            "Venus.WorkerPing",
            json!([ping()]),
        ),
    };
    let mut line = None;
    let mut pauses = 0;
    while scene.turn(EVERY) {
        let now = scene.pauses.load(Ordering::SeqCst);
        if std::mem::replace(&mut pauses, now) != now {
            line = None;
        }
        let at = Instant::now();
        let asked = ask(&mut line, address, path, method, params.clone());
        let failed = asked.err().map(|error| format!("{error:#}"));
        if failed.is_some() || !kept {
            line = None;
        }
        let took = at.elapsed();
        scene.seen().asked.push(Asked {
            at,
            door,
            took,
            failed,
        });
    }
}

fn ask(
    line: &mut Option<Line>,
    address: SocketAddr,
    path: &str,
    method: &str,
    params: Value,
) -> Result<Value> {
    let line = match line {
        Some(line) => line,
        None => line.insert(Line::open(address)?),
    };
    line.ask(path, method, params)
}

fn ping() -> Value {
    json!({
        "Name": "good", "Dest": "127.0.0.1:1", "Version": "1",
        "Summary": {"Threads": 1, "Empty": 0, "Paused": 0, "Running": 1, "Waiting": 0, "Errors": 0},
    })
}

/// A worker to whom numbers are handed out, and who reports of each with as many words as it may.
fn numbers(scene: &Scene, n: usize) {
    let spec = json!([{"AllowedMiners": [1000], "AllowedProofTypes": null}]);
    let mut line = None;
    while scene.turn(NUMBER_EVERY) {
        let method = "Venus.AllocateSector";
        let asked = ask(
            &mut line,
            scene.manager,
            wire::MANAGER,
            method,
            spec.clone(),
        );
        let at = Instant::now();
        let given = match &asked {
            Ok(sector) => sector["ID"]["Number"].as_u64(),
            Err(_) => {
                line = None;
                None
            }
        };
        let Some(number) = given else {
            let why =
                asked.map_or_else(|error| format!("{error:#}"), |nothing| nothing.to_string());
            scene.seen().refused.push((at, why));
            continue;
        };
        {
            let mut seen = scene.seen();
            if seen.numbers.insert(number, at).is_some() {
                seen.twice.push(number);
            }
        }
        let report = json!([
            {"Miner": 1000, "Number": number},
            {
                "Worker": {"Instance": format!("good-{n}"), "Location": "/nowhere"},
                "StateChange": {"Prev": "Empty", "Next": "Allocated", "Event": "Allocate"},
                "Failure": {"Level": "Temporary", "Desc": "x".repeat(4000)},
            },
        ]);
        let method = "Venus.ReportState";
        if ask(&mut line, scene.manager, wire::MANAGER, method, report).is_err() {
            line = None;
        }
    }
}
