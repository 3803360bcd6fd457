//! Tables of who may start when, and what holds for every order of events.

use super::*;
use proptest::prelude::*;

fn child(capacity: Option<u32>, locks: &[usize]) -> ChildSlots {
    ChildSlots {
        name: "child".into(),
        capacity,
        locks: locks.to_vec(),
    }
}

fn stage(children: Vec<ChildSlots>) -> StageSlots {
    StageSlots {
        children,
        ..StageSlots::default()
    }
}

fn lock(name: &str, holders: u32) -> Lock {
    Lock {
        name: name.into(),
        holders,
    }
}

fn tickets(starts: &[Start]) -> Vec<(Ticket, usize)> {
    starts.iter().map(|s| (s.ticket, s.child)).collect()
}

#[test]
fn first_come_first_served_on_the_first_free_child() {
    let mut s = Scheduler::new(
        BTreeMap::from([(
            Stage::Pc1,
            stage(vec![child(Some(1), &[]), child(Some(1), &[])]),
        )]),
        vec![],
    );
    let now = Instant::now();
    for _ in 0..4 {
        s.enqueue(Stage::Pc1).unwrap();
    }
    assert_eq!(tickets(&s.start(now)), [(1, 0), (2, 1)]);
    assert_eq!(s.waits_for(3, now), Some(Wait::Child));
    assert_eq!(s.waits_for(4, now), Some(Wait::Turn { ahead: 1 }));
    assert_eq!(s.waits_for(1, now), None);
    // child 1 is free first: whoever waits does not wait for child 0 (fault 8)
    s.finish(2);
    assert_eq!(tickets(&s.start(now)), [(3, 1)]);
    assert!(s.cancel(4) && !s.cancel(4) && !s.cancel(3));
    s.finish(1);
    assert_eq!(tickets(&s.start(now)), []);
    assert_eq!(s.counts(Stage::Pc1), (0, 1));
    assert_eq!(s.enqueue(Stage::C2), None, "a stage without children");
}

#[test]
fn children_with_a_bound_are_filled_in_turn_and_those_without_share() {
    let on = |capacity: Option<u32>| {
        let children = vec![child(capacity, &[]), child(capacity, &[])];
        let mut s = Scheduler::new(BTreeMap::from([(Stage::Pc1, stage(children))]), vec![]);
        for _ in 0..4 {
            s.enqueue(Stage::Pc1).unwrap();
        }
        tickets(&s.start(Instant::now()))
    };
    // PC1 labels what one child has in step
    assert_eq!(on(Some(2)), [(1, 0), (2, 0), (3, 1), (4, 1)]);
    assert_eq!(on(None), [(1, 0), (2, 1), (3, 0), (4, 1)]);
}

#[test]
fn stage_limit_and_spacing_from_real_starts() {
    let mut slots = stage(vec![child(None, &[])]);
    slots.concurrent = Some(2);
    slots.staggered = Some(Duration::from_secs(60));
    let mut s = Scheduler::new(BTreeMap::from([(Stage::Pc1, slots)]), vec![]);
    let t0 = Instant::now();
    let at = |secs| t0 + Duration::from_secs(secs);
    for _ in 0..4 {
        s.enqueue(Stage::Pc1).unwrap();
    }
    assert_eq!(tickets(&s.start(at(10))), [(1, 0)]);
    assert_eq!(s.wake_at(at(11)), Some(at(70)));
    // finishing early does not shorten the pause (fault 9)
    s.finish(1);
    assert_eq!(tickets(&s.start(at(69))), []);
    assert_eq!(
        s.waits_for(2, at(69)),
        Some(Wait::Stagger { until: at(70) })
    );
    assert_eq!(tickets(&s.start(at(75))), [(2, 0)]);
    assert_eq!(tickets(&s.start(at(134))), []);
    assert_eq!(tickets(&s.start(at(135))), [(3, 0)]);
    assert_eq!(tickets(&s.start(at(1000))), []);
    assert_eq!(s.waits_for(4, at(1000)), Some(Wait::Limit { limit: 2 }));
    s.finish(2);
    assert_eq!(tickets(&s.start(at(1000))), [(4, 0)]);
}

#[test]
fn what_a_deadline_waits_for_has_the_next_turn_at_a_shared_gpu() {
    let stages = [Stage::Pc2, Stage::C2, Stage::WindowPost];
    let on_gpu = |of| (of, stage(vec![child(None, &[0])]));
    let mut s = Scheduler::new(stages.map(on_gpu).into(), vec![lock("gpu", 1)]);
    let now = Instant::now();
    let running = s.enqueue(Stage::Pc2).unwrap();
    assert_eq!(tickets(&s.start(now)), [(running, 0)]);
    let sealing = [Stage::C2, Stage::Pc2].map(|stage| s.enqueue(stage).unwrap());
    let posts = [0; 2].map(|_| s.enqueue(Stage::WindowPost).unwrap());
    assert_eq!(tickets(&s.start(now)), [], "what runs is not ended");
    for next in [posts[0], posts[1], sealing[0], sealing[1]] {
        let runs = *s.running.keys().next().unwrap();
        s.finish(runs);
        assert_eq!(tickets(&s.start(now)), [(next, 0)]);
    }
}

#[test]
fn a_shared_lock_goes_to_whoever_came_first_of_any_stage() {
    let gpu = lock("gpu", 1);
    let mut s = Scheduler::new(
        BTreeMap::from([
            (Stage::Pc2, stage(vec![child(None, &[0])])),
            (Stage::C2, stage(vec![child(None, &[0])])),
        ]),
        vec![gpu],
    );
    let now = Instant::now();
    let first = s.enqueue(Stage::Pc2).unwrap();
    let c2 = s.enqueue(Stage::C2).unwrap();
    let second = s.enqueue(Stage::Pc2).unwrap();
    assert_eq!(tickets(&s.start(now)), [(first, 0)]);
    assert_eq!(
        s.waits_for(c2, now),
        Some(Wait::Lock {
            names: vec!["gpu".into()]
        })
    );
    s.finish(first);
    assert_eq!(tickets(&s.start(now)), [(c2, 0)], "pc2 must not starve c2");
    s.finish(c2);
    assert_eq!(tickets(&s.start(now)), [(second, 0)]);
}

#[test]
fn a_lock_that_the_head_of_another_queue_waits_for_is_kept() {
    // c2 needs both GPUs; pc2 tasks, each with one, must not keep it waiting for ever
    let mut s = Scheduler::new(
        BTreeMap::from([
            (
                Stage::Pc2,
                stage(vec![child(Some(1), &[0]), child(Some(1), &[1])]),
            ),
            (Stage::C2, stage(vec![child(None, &[0, 1])])),
        ]),
        vec![lock("gpu0", 1), lock("gpu1", 1)],
    );
    let now = Instant::now();
    let a = s.enqueue(Stage::Pc2).unwrap();
    let b = s.enqueue(Stage::Pc2).unwrap();
    let c2 = s.enqueue(Stage::C2).unwrap();
    let late = s.enqueue(Stage::Pc2).unwrap();
    assert_eq!(tickets(&s.start(now)), [(a, 0), (b, 1)]);
    s.finish(a);
    assert_eq!(tickets(&s.start(now)), []);
    assert!(matches!(s.waits_for(late, now), Some(Wait::Lock { .. })));
    s.finish(b);
    assert_eq!(tickets(&s.start(now)), [(c2, 0)]);
}

#[test]
fn children_that_are_down_are_passed_over() {
    let mut s = Scheduler::new(
        BTreeMap::from([(Stage::Pc1, stage(vec![child(None, &[]), child(None, &[])]))]),
        vec![],
    );
    let now = Instant::now();
    s.set_up(Stage::Pc1, 0, false);
    let a = s.enqueue(Stage::Pc1).unwrap();
    assert_eq!(tickets(&s.start(now)), [(a, 1)]);
    s.set_up(Stage::Pc1, 1, false);
    let b = s.enqueue(Stage::Pc1).unwrap();
    assert_eq!(tickets(&s.start(now)), []);
    assert_eq!(s.waits_for(b, now), Some(Wait::NoChild));
    s.set_up(Stage::Pc1, 0, true);
    assert_eq!(tickets(&s.start(now)), [(b, 0)]);
}

#[derive(Clone, Debug)]
enum Act {
    Enqueue(usize),
    Finish(usize),
    Cancel(usize),
    Up(usize, usize, bool),
    Pass(u64),
}

const STAGES: [Stage; 3] = [Stage::Pc1, Stage::Pc2, Stage::C2];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..3usize).prop_map(Act::Enqueue),
        3 => (0..64usize).prop_map(Act::Finish),
        1 => (0..64usize).prop_map(Act::Cancel),
        1 => (0..3usize, 0..3usize, any::<bool>()).prop_map(|(s, c, up)| Act::Up(s, c, up)),
        2 => (0..90u64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 1..120)
}

fn plan() -> impl Strategy<Value = (Vec<StageSlots>, Vec<Lock>)> {
    let child = (
        proptest::option::of(1..3u32),
        proptest::collection::btree_set(0..3usize, 0..3),
    )
        .prop_map(|(capacity, locks)| {
            self::child(capacity, &locks.into_iter().collect::<Vec<_>>())
        });
    let stage = (
        proptest::option::of(1..4u32),
        proptest::option::of(1..60u64),
        proptest::collection::vec(child, 1..4),
    )
        .prop_map(|(concurrent, staggered, children)| StageSlots {
            concurrent,
            staggered: staggered.map(Duration::from_secs),
            children,
        });
    let locks = proptest::collection::vec((1..3u32).prop_map(|n| lock("l", n)), 3);
    (proptest::collection::vec(stage, 3), locks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_limit_is_ever_exceeded_and_nobody_is_forgotten((stages, locks) in plan(), acts in acts()) {
        let table: BTreeMap<_, _> = STAGES.into_iter().zip(stages.clone()).collect();
        let mut s = Scheduler::new(table.clone(), locks.clone());
        let mut now = Instant::now();
        let mut running: Vec<Start> = Vec::new();
        let mut waiting: BTreeMap<Stage, Vec<Ticket>> = BTreeMap::new();
        let mut last: BTreeMap<Stage, Instant> = BTreeMap::new();
        let mut check = |s: &mut Scheduler, now, running: &mut Vec<Start>, waiting: &mut BTreeMap<Stage, Vec<Ticket>>| {
            for start in s.start(now) {
                // in order within the stage
                let queue = waiting.get_mut(&start.stage).unwrap();
                assert_eq!(queue.remove(0), start.ticket);
                // spacing between real starts
                let before = last.insert(start.stage, now);
                if let (Some(before), Some(pause)) = (before, table[&start.stage].staggered) {
                    assert!(now >= before + pause);
                }
                running.push(start);
            }
            for (stage, slots) in &table {
                let mine: Vec<_> = running.iter().filter(|r| r.stage == *stage).collect();
                assert!(slots.concurrent.is_none_or(|limit| mine.len() as u32 <= limit));
                for (i, child) in slots.children.iter().enumerate() {
                    let busy = mine.iter().filter(|r| r.child == i).count() as u32;
                    assert!(child.capacity.is_none_or(|capacity| busy <= capacity));
                }
            }
            for (i, lock) in locks.iter().enumerate() {
                let held = running.iter().filter(|r| table[&r.stage].children[r.child].locks.contains(&i)).count();
                assert!(held as u32 <= lock.holders);
            }
        };
        for act in acts {
            match act {
                Act::Enqueue(stage) => {
                    let ticket = s.enqueue(STAGES[stage]).unwrap();
                    waiting.entry(STAGES[stage]).or_default().push(ticket);
                }
                Act::Finish(i) if !running.is_empty() => {
                    let done = running.remove(i % running.len());
                    s.finish(done.ticket);
                }
                Act::Cancel(i) => {
                    let all: Vec<Ticket> = waiting.values().flatten().copied().collect();
                    if !all.is_empty() {
                        let ticket = all[i % all.len()];
                        prop_assert!(s.cancel(ticket));
                        waiting.values_mut().for_each(|queue| queue.retain(|t| *t != ticket));
                    }
                }
                Act::Up(stage, child, up) => s.set_up(STAGES[stage], child, up),
                Act::Finish(_) => {}
                Act::Pass(secs) => now += Duration::from_secs(secs),
            }
            check(&mut s, now, &mut running, &mut waiting);
        }
        // From any state: when the running ones finish and the children are up, everybody's
        // turn comes, the one who came first of all not last.
        for stage in STAGES {
            for child in 0..3 {
                s.set_up(stage, child, true);
            }
        }
        let left: usize = waiting.values().map(Vec::len).sum();
        for _ in 0..=left + running.len() {
            for done in running.drain(..) {
                s.finish(done.ticket);
            }
            let oldest = waiting.values().flatten().min().copied();
            now += Duration::from_secs(60);
            check(&mut s, now, &mut running, &mut waiting);
            if let Some(oldest) = oldest {
                prop_assert!(running.iter().any(|r| r.ticket == oldest), "the oldest of all was overtaken");
            }
        }
        prop_assert_eq!(waiting.values().map(Vec::len).sum::<usize>(), 0);
    }
}
