//! Layers of whole sectors, every way, whole and interrupted, against the definition.

use super::{label::tests::*, *};
use crate::cpu::Cpu;
use std::{
    fs,
    path::Path,
    sync::atomic::Ordering,
    sync::{Mutex, PoisonError},
};
use tempfile::TempDir;

const LAYERS: usize = 3;

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Notes {
    safe: Mutex<Vec<Start>>,
    done: Mutex<Vec<usize>>,
    /// From this safe point on it cannot write any more.
    full: Option<Start>,
    /// Set at the first safe point.
    cancel: Option<Arc<AtomicBool>>,
}

impl Watch for Notes {
    fn safe_point(&self, layer: usize, node: usize) -> io::Result<()> {
        if let Some(cancel) = &self.cancel {
            cancel.store(true, Ordering::Relaxed);
        }
        if self
            .full
            .is_some_and(|at| (layer, node) >= (at.layer, at.node))
        {
            return Err(io::Error::other("no space for a note"));
        }
        let mut safe = self.safe.lock().unwrap_or_else(PoisonError::into_inner);
        safe.push(Start { layer, node });
        Ok(())
    }

    fn layer_done(&self, layer: usize) -> io::Result<()> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(layer);
        Ok(())
    }
}

/// A graph of this many nodes, and its file.
fn files(nodes: usize) -> (TempDir, Graph, Vec<[u8; PARENT_BYTES]>) {
    let dir = tempfile::tempdir().unwrap();
    let parents = dir.path().join("parents");
    let all = graph(nodes);
    fs::write(&parents, all.as_flattened()).unwrap();
    let graph = Graph {
        parents,
        nodes,
        layers: LAYERS,
    };
    (dir, graph, all)
}

fn job(dir: &Path, sector: usize, notes: Notes) -> (Job, Arc<Notes>) {
    let dir = dir.join(sector.to_string());
    fs::create_dir_all(&dir).unwrap();
    let notes = Arc::new(notes);
    let cancel = notes.cancel.clone().unwrap_or_default();
    let job = Job {
        replica_id: replica_id(sector),
        dir,
        watch: notes.clone(),
        cancel,
    };
    (job, notes)
}

/// The layers of these sectors by the definition.
fn expected(sectors: usize, parents: &[[u8; PARENT_BYTES]]) -> Vec<Vec<Vec<Label>>> {
    let layers = |sector| reference(&replica_id(sector), LAYERS, parents);
    (0..sectors).map(layers).collect()
}

fn assert_layers(job: &Job, expected: &[Vec<Label>]) {
    for (layer, expected) in (1..).zip(expected) {
        let found = fs::read(job.dir.join(layer_name(layer))).unwrap();
        assert!(found == expected.as_flattened(), "layer {layer}");
        assert!(!job.dir.join(part_name(layer)).exists());
    }
}

fn options(way: Way) -> Options {
    Options {
        way: Some(way),
        safe_every: 1,
        ..Options::default()
    }
}

/// What this CPU can do, with the numbers of sectors to try.
fn ways() -> Vec<(Way, &'static [usize])> {
    let cpu = Cpu::detect();
    let mut ways: Vec<(Way, &[usize])> = vec![(Way::Portable, &[1, 2])];
    if cpu.sha_ni {
        ways.extend([
            (Way::ShaNi(1), &[1, 2][..]),
            (Way::ShaNi(2), &[2, 3]),
            (Way::ShaNi(3), &[3, 5]),
        ]);
    }
    if cpu.avx512 {
        ways.push((Way::Lanes, &[1, 16, 17, 35]));
    }
    ways
}

#[test]
fn every_way_makes_the_layers_of_the_definition() {
    let (dir, graph, parents) = files(512);
    let expected = expected(35, &parents);
    for (way, counts) in ways() {
        for count in counts {
            let (jobs, notes): (Vec<_>, Vec<_>) = (0..*count)
                .map(|sector| job(dir.path(), sector, Notes::default()))
                .unzip();
            let done = run(&graph, Start::ANEW, &jobs, Cpu::detect(), &options(way));
            assert!(
                done.iter().all(|done| matches!(done, Ok(w) if *w == way)),
                "{done:?}"
            );
            for ((job, notes), expected) in jobs.iter().zip(notes).zip(&expected) {
                assert_layers(job, expected);
                assert_eq!(*notes.done.lock().unwrap(), [1, 2, 3], "{way}, {count}");
                fs::remove_dir_all(&job.dir).unwrap();
            }
        }
    }
}

#[test]
fn an_interrupted_layer_goes_on_from_its_safe_point() {
    // every piece ends in a safe point
    let nodes = 4 * parents::PIECE;
    let (dir, graph, parents) = files(nodes);
    let expected = expected(1, &parents);
    for (way, _) in ways() {
        for layer in [1, 2] {
            let full = Start {
                layer,
                node: 3 * parents::PIECE,
            };
            let full = Notes {
                full: Some(full),
                ..Notes::default()
            };
            let (first, notes) = job(dir.path(), 0, full);
            let jobs = [first];
            let done = run(&graph, Start::ANEW, &jobs, Cpu::detect(), &options(way));
            assert!(matches!(done[..], [Err(Error::Io(_))]), "{done:?}");
            let last = *notes.safe.lock().unwrap().last().unwrap();
            assert_eq!((last.layer, last.node), (layer, 2 * parents::PIECE));

            // what lies behind the safe point may be anything
            let part = jobs[0].dir.join(part_name(layer));
            let mut bytes = fs::read(&part).unwrap();
            bytes.truncate(last.node * NODE_BYTES + 5);
            fs::write(&part, bytes).unwrap();
            let id = &jobs[0].replica_id;
            let start = resume_point(&graph, id, &jobs[0].dir, last).unwrap();
            assert_eq!(start, last);
            let (again, notes) = job(dir.path(), 0, Notes::default());
            let done = run(&graph, start, &[again], Cpu::detect(), &options(way));
            assert!(done[0].is_ok(), "{done:?}");
            // before anything is cut off the note says so, then the work goes on
            let safe: Vec<_> = notes.safe.lock().unwrap()[..2].to_vec();
            let next = Start {
                layer,
                node: 3 * parents::PIECE,
            };
            assert_eq!(safe, [last, next]);
            assert_layers(&jobs[0], &expected[0]);
            fs::remove_dir_all(&jobs[0].dir).unwrap();
        }
    }
}

#[test]
fn a_beginning_of_another_replica_or_a_damaged_one_is_not_gone_on_from() {
    let (dir, graph, _) = files(512);
    let (job, _) = job(dir.path(), 0, Notes::default());
    let done = run(
        &graph,
        Start::ANEW,
        std::slice::from_ref(&job),
        Cpu::PORTABLE,
        &Options::default(),
    );
    assert!(done[0].is_ok());
    for layer in [1, 2] {
        let part = job.dir.join(part_name(layer));
        fs::rename(job.dir.join(layer_name(layer)), &part).unwrap();
        let claimed = Start { layer, node: 300 };
        let anew = Start { layer, node: 0 };
        let point = |id: &Label| resume_point(&graph, id, &job.dir, claimed).unwrap();
        assert_eq!(point(&job.replica_id), claimed);
        assert_eq!(point(&replica_id(1)), anew);
        let whole = fs::read(&part).unwrap();
        let mut damaged = whole.clone();
        damaged[299 * NODE_BYTES + 3] ^= 1;
        fs::write(&part, damaged).unwrap();
        assert_eq!(point(&job.replica_id), anew, "a changed label");
        fs::write(&part, &whole[..299 * NODE_BYTES]).unwrap();
        assert_eq!(point(&job.replica_id), anew, "a short file");
        fs::remove_file(&part).unwrap();
        assert_eq!(point(&job.replica_id), anew, "no file");
        fs::write(job.dir.join(layer_name(layer)), &whole).unwrap();
    }
}

#[test]
fn a_sector_that_fails_or_is_cancelled_disturbs_no_other() {
    let (dir, graph, parents) = files(4 * parents::PIECE);
    let expected = expected(4, &parents);
    for (way, _) in ways() {
        let notes = [
            Notes::default(),
            Notes {
                full: Some(Start { layer: 2, node: 1 }),
                ..Notes::default()
            },
            Notes {
                cancel: Some(Arc::default()),
                ..Notes::default()
            },
            Notes::default(),
        ];
        let jobs: Vec<Job> = (0..)
            .zip(notes)
            .map(|(sector, notes)| job(dir.path(), sector, notes).0)
            .collect();
        let done = run(&graph, Start::ANEW, &jobs, Cpu::detect(), &options(way));
        let [Ok(_), Err(Error::Io(error)), Err(Error::Cancelled), Ok(_)] = &done[..] else {
            panic!("{way}: {done:?}");
        };
        assert!(error.to_string().contains("no space for a note"));
        assert_layers(&jobs[0], &expected[0]);
        assert_layers(&jobs[3], &expected[3]);
        assert!(!jobs[1].dir.join(layer_name(2)).exists());
        assert!(!jobs[2].dir.join(layer_name(LAYERS)).exists());
        for job in jobs {
            fs::remove_dir_all(job.dir).unwrap();
        }
    }
}

#[test]
fn sectors_beyond_the_memory_are_done_afterwards() {
    let (dir, graph, parents) = files(512);
    let jobs: Vec<Job> = (0..3)
        .map(|sector| job(dir.path(), sector, Notes::default()).0)
        .collect();
    let memory = Arc::new(Little {
        bytes: 2 * 2 * 512 * NODE_BYTES as u64,
        ..Little::default()
    });
    let options = |memory: &Arc<Little>| Options {
        cores: 2,
        memory: Some(memory.clone()),
        ..Options::default()
    };
    let done = run(&graph, Start::ANEW, &jobs, Cpu::PORTABLE, &options(&memory));
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    for (job, expected) in jobs.iter().zip(expected(3, &parents)) {
        assert_layers(job, &expected);
    }
    // two first, then one; each time it was told when they had it
    assert_eq!(
        *memory.asked.lock().unwrap(),
        [Some(3), None, Some(1), None]
    );

    let none = Arc::new(Little::default());
    let done = run(&graph, Start::ANEW, &jobs, Cpu::PORTABLE, &options(&none));
    assert_eq!(done.len(), 3);
    for end in done {
        assert!(end.unwrap_err().to_string().contains("nothing is left"));
    }
}

/// Memory for so much, or none at all. Notes who asks, and that it was taken.
#[derive(Debug, Default)]
struct Little {
    bytes: u64,
    asked: Mutex<Vec<Option<usize>>>,
}

impl Memory for Little {
    fn ask(&self, sectors: usize) -> io::Result<Available> {
        if self.bytes == 0 {
            return Err(io::Error::other("nothing is left"));
        }
        self.asked.lock().unwrap().push(Some(sectors));
        Ok(Available {
            bytes: Some(self.bytes),
            ..Available::default()
        })
    }

    fn taken(&self) {
        self.asked.lock().unwrap().push(None);
    }
}

#[test]
fn a_broken_file_of_parents_is_named() {
    let (dir, graph, _) = files(512);
    let (job, notes) = job(dir.path(), 0, Notes::default());
    let run = || {
        let jobs = std::slice::from_ref(&job);
        let done = run(
            &graph,
            Start::ANEW,
            jobs,
            Cpu::detect(),
            &Options::default(),
        );
        done[0].clone().unwrap_err().to_string()
    };
    let mut bytes = fs::read(&graph.parents).unwrap();
    bytes[5000 * 4..][..4].copy_from_slice(&512_u32.to_le_bytes());
    fs::write(&graph.parents, &bytes).unwrap();
    assert!(run().contains("names node 512 as a parent"), "{}", run());
    fs::write(&graph.parents, &bytes[4..]).unwrap();
    assert!(run().contains("28668 bytes instead of 28672"), "{}", run());
    fs::remove_file(&graph.parents).unwrap();
    assert!(run().contains("parents: No such file"), "{}", run());
    assert_eq!(notes.done.lock().unwrap().len(), 0);
}
