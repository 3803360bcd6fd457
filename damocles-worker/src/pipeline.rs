//! What a machine seals in a given time: sectors go through their stages, each stage takes so many at
//! once, and every sealing thread begins the next sector when it is done with one. Pure; minutes
//! are whole.

use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub name: &'static str,
    /// How long a sector is in it, once it runs.
    pub minutes: u64,
    /// Sectors that run at once; none: as many as there are.
    pub concurrent: Option<u64>,
}

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    pub threads: u64,
    /// In the order in which a sector goes through them.
    pub stages: Vec<Stage>,
}

/// A stage at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Crowd {
    pub running: u64,
    pub waiting: u64,
}

impl Crowd {
    pub const fn total(self) -> u64 {
        self.running + self.waiting
    }
}

/// The whole at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Moment {
    /// Minutes since the start.
    pub minute: u64,
    /// By stage, in the pipeline's order.
    pub stages: Vec<Crowd>,
    /// Sectors that have come to their end.
    pub finished: u64,
}

/// What limits a pipeline in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Bottleneck {
    /// More sealing threads would seal more.
    Threads,
    /// More of this stage at once would.
    Stage(&'static str),
}

impl Pipeline {
    /// The way of one sector, if it waits for nothing.
    pub fn minutes(&self) -> u64 {
        self.stages.iter().map(|stage| stage.minutes).sum()
    }

    /// Sectors in a day when all stages have filled, and what keeps it from being more. No stage may
    /// take no time at all together with all others.
    pub fn per_day(&self) -> (f64, Bottleneck) {
        const DAY: f64 = 24.0 * 60.0;
        let rate = |count: u64, minutes: u64| count as f64 * DAY / minutes as f64;
        let mut least = (
            rate(self.threads, self.minutes().max(1)),
            Bottleneck::Threads,
        );
        for stage in &self.stages {
            let Some(concurrent) = stage.concurrent.filter(|_| stage.minutes > 0) else {
                continue;
            };
            let most = rate(concurrent, stage.minutes);
            if most < least.0 {
                least = (most, Bottleneck::Stage(stage.name));
            }
        }
        least
    }

    /// The pipeline every `step` minutes from its start to `end`, both included. All threads begin
    /// at once.
    pub fn run(&self, end: u64, step: u64) -> Vec<Moment> {
        let mut state = Run::new(self);
        let mut moments = Vec::new();
        let mut next = 0;
        loop {
            let at = state.next_end().unwrap_or(u64::MAX);
            while next < at.min(end.saturating_add(1)) {
                moments.push(state.moment(next));
                next = next.saturating_add(step.max(1));
            }
            if at > end {
                return moments;
            }
            state.advance(at);
        }
    }
}

/// A pipeline that runs.
struct Run<'a> {
    pipeline: &'a Pipeline,
    /// Sectors in line before each stage.
    queues: Vec<VecDeque<u64>>,
    running: Vec<u64>,
    /// When a sector is done with its stage: minute, the order in which it began, stage.
    ends: BinaryHeap<Reverse<(u64, u64, usize)>>,
    begun: u64,
    finished: u64,
}

impl<'a> Run<'a> {
    fn new(pipeline: &'a Pipeline) -> Self {
        let mut run = Self {
            pipeline,
            queues: vec![VecDeque::new(); pipeline.stages.len()],
            running: vec![0; pipeline.stages.len()],
            ends: BinaryHeap::new(),
            begun: 0,
            finished: 0,
        };
        if let Some(first) = run.queues.first_mut() {
            first.extend(0..pipeline.threads);
            run.begin(0, 0);
        }
        run
    }

    fn next_end(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((at, ..))| *at)
    }

    /// All that ends at this minute has ended, and what follows has begun.
    fn advance(&mut self, at: u64) {
        while self.next_end() == Some(at) {
            let Some(Reverse((_, _, stage))) = self.ends.pop() else {
                return;
            };
            self.running[stage] -= 1;
            let next = match stage + 1 == self.queues.len() {
                true => {
                    self.finished += 1;
                    0
                }
                false => stage + 1,
            };
            self.queues[next].push_back(at);
            self.begin(stage, at);
            self.begin(next, at);
        }
    }

    /// Whoever is first in line begins, as long as there is room.
    fn begin(&mut self, stage: usize, at: u64) {
        let Stage {
            minutes,
            concurrent,
            ..
        } = self.pipeline.stages[stage];
        while concurrent.is_none_or(|most| self.running[stage] < most)
            && self.queues[stage].pop_front().is_some()
        {
            self.running[stage] += 1;
            self.begun += 1;
            let end = at.saturating_add(minutes);
            self.ends.push(Reverse((end, self.begun, stage)));
        }
    }

    fn moment(&self, minute: u64) -> Moment {
        let crowds = self.queues.iter().zip(&self.running);
        let crowd = |(queue, running): (&VecDeque<u64>, &u64)| Crowd {
            running: *running,
            waiting: queue.len() as u64,
        };
        Moment {
            minute,
            stages: crowds.map(crowd).collect(),
            finished: self.finished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &'static str, minutes: u64, concurrent: u64) -> Stage {
        Stage {
            name,
            minutes,
            concurrent: (concurrent > 0).then_some(concurrent),
        }
    }

    fn pipeline(threads: u64, stages: &[Stage]) -> Pipeline {
        Pipeline {
            threads,
            stages: stages.to_vec(),
        }
    }

    #[test]
    fn one_thread_seals_one_after_the_other() {
        let one = pipeline(1, &[stage("a", 10, 1), stage("b", 5, 1)]);
        let finished: Vec<_> = one.run(60, 15).iter().map(|m| m.finished).collect();
        assert_eq!(finished, [0, 1, 2, 3, 4]);
        assert_eq!(one.per_day(), (96.0, Bottleneck::Threads));
    }

    #[test]
    fn two_threads_share_a_stage_that_takes_one() {
        // a: 0-10 first, 10-20 second; b: 10-15 and 20-25; the first is in line for a from 15 on
        let two = pipeline(2, &[stage("a", 10, 1), stage("b", 5, 0)]);
        let moments = two.run(25, 5);
        let seen: Vec<_> = moments
            .iter()
            .map(|m| (m.minute, m.stages[0], m.stages[1].running, m.finished))
            .collect();
        let crowd = |running, waiting| Crowd { running, waiting };
        assert_eq!(
            seen,
            [
                (0, crowd(1, 1), 0, 0),
                (5, crowd(1, 1), 0, 0),
                (10, crowd(1, 0), 1, 0),
                (15, crowd(1, 1), 0, 1),
                (20, crowd(1, 0), 1, 1),
                (25, crowd(1, 1), 0, 2),
            ]
        );
        assert_eq!(two.per_day(), (144.0, Bottleneck::Stage("a")));
    }

    #[test]
    fn in_the_long_run_it_seals_what_the_bottleneck_lets_through_and_nothing_gets_lost() {
        for (threads, pc1, pc2, c2) in [(3, 2, 1, 1), (20, 7, 2, 1), (12, 12, 1, 2), (5, 1, 5, 5)] {
            let it = pipeline(
                threads,
                &[
                    stage("tree_d", 20, 1),
                    stage("pc1", 240, pc1),
                    stage("pc2", 25, pc2),
                    stage("seed", 80, 0),
                    stage("c2", 30, c2),
                ],
            );
            let moments = it.run(60 * 24 * 60, 1);
            for moment in &moments {
                let all: u64 = moment.stages.iter().map(|c| c.total()).sum();
                assert_eq!(all, threads, "every thread has a sector");
                for (crowd, stage) in moment.stages.iter().zip(&it.stages) {
                    assert!(stage.concurrent.is_none_or(|most| crowd.running <= most));
                }
            }
            // after ten days it has long filled; fifty more tell the rate
            let between = moments[60 * 24 * 60].finished - moments[10 * 24 * 60].finished;
            let (per_day, _) = it.per_day();
            let expected = per_day * 50.0;
            let off = (between as f64 - expected).abs();
            assert!(off <= threads as f64 + 1.0, "{between} {expected}");
        }
    }

    #[test]
    fn nothing_that_takes_no_time_runs_for_ever() {
        let quick = pipeline(1, &[stage("a", 0, 1), stage("b", 1, 1)]);
        assert_eq!(quick.run(10, 10)[1].finished, 10);
        assert_eq!(pipeline(3, &[]).run(2, 1).len(), 3);
    }
}
