//! What is ended as a leaving, and what is not.

use super::*;
use crate::parent::{
    child::{Life, Process, launch},
    spec::ChildSpec,
};

/// Another daemon or test of this machine may end it at any time, as it should.
fn launched(mark: Mark) -> Option<Process> {
    let mut spec = ChildSpec::shell("echo pc2 processor ready; exec sleep 600");
    let set = &mut spec.environment.set;
    set.insert(CHILD_OF_ENV.to_owned(), mark.to_string());
    launch(&spec, &|| false).ok()
}

#[test]
fn what_a_daemon_left_that_is_gone_is_ended_and_nothing_else() {
    let own = Mark::own().unwrap();
    let before = Mark {
        started: own.started - 1,
        ..own
    };
    let elsewhere = Mark {
        namespace: own.namespace + 1,
        ..before
    };
    let (alive, foreign) = (launched(own).unwrap(), launched(elsewhere).unwrap());
    let left = std::iter::repeat_with(|| launched(before)).find_map(|left| left);
    let left = left.unwrap();
    // who is just becoming another program has no environment for a moment
    while left.life() != Life::Over {
        end_all();
        std::thread::yield_now();
    }
    assert_eq!((alive.life(), foreign.life()), (Life::Runs, Life::Runs));
}

#[test]
fn every_child_and_what_it_starts_carries_the_mark() {
    let script = "sleep 600 & echo $! >&2; echo pc2 processor ready; read x";
    let process = launch(&ChildSpec::shell(script), &|| false).ok().unwrap();
    while process.live.last_words().is_empty() {
        std::thread::yield_now();
    }
    let started = process.live.last_words().trim().parse().unwrap();
    for pid in [started, process.live.pid] {
        // who is just becoming another program has no environment for a moment
        let mark = std::iter::repeat_with(|| {
            std::thread::yield_now();
            mark_of(pid)
        });
        assert_eq!(mark.take(100_000).find_map(|mark| mark), Mark::own());
    }
}

#[test]
fn marks_come_back_and_other_words_are_none() {
    let mark = Mark {
        namespace: 4_026_531_836,
        pid: 7,
        started: 12_345,
    };
    assert_eq!(mark.to_string().parse(), Ok(mark));
    for bad in ["", "7", "1.2", "1.x.3", "1.99999999999.3"] {
        assert_eq!(bad.parse::<Mark>(), Err(()), "{bad}");
    }
}
