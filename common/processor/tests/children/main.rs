//! Children that are slow, wrong, silent or dead, seen from the parent.

mod rig;
mod starts;

use damocles_processor::{
    Cancel, Note, Opaque, ProcessorError, Stage,
    parent::Phase,
    task::{C2, Pc2},
};
use damocles_types::Level;
use rig::{Fake, LONG, alive, c2, pid_of, run, until};
use std::{fs, sync::mpsc};

#[test]
fn a_task_runs_and_its_times_child_and_progress_are_told() {
    let fake = Fake::new();
    fake.tell("c2", "note layer 3 of 11");
    let pool = fake.pool(|_| ()).unwrap();
    let mut notes = Vec::new();
    let done = pool
        .run(&c2(), &Cancel::new(), &mut |note| notes.push(note))
        .unwrap();
    assert_eq!(done.output.proof.len(), 192);
    assert_eq!(
        (done.child.as_str(), Some(done.pid)),
        ("c2-0", pid_of(&pool))
    );
    assert!(done.queued_at <= done.started_at && done.started_at <= done.ended_at);
    let running = Note::Running {
        child: "c2-0".into(),
        pid: done.pid,
    };
    assert_eq!(notes, [running, Note::Progress("layer 3 of 11".into())]);
    drop(pool);
    assert!(
        !alive(done.pid),
        "dropping the pool leaves no process behind"
    );
}

/// Of a process, as `nice` shows it.
fn niceness(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // after the name, which may contain anything: the 19th field is the 17th from here
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn sealing_stands_back_and_proofs_that_are_due_do_not() {
    let fake = Fake::new();
    let own = niceness(std::process::id());
    for (stage, lower) in [(Stage::C2, 5), (Stage::Pc1, 5), (Stage::WindowPost, 0)] {
        let pool = fake.pool_of(stage, |_| ()).unwrap();
        let pid = pid_of(&pool).unwrap();
        assert_eq!(niceness(pid), (own + lower).min(19), "{stage}");
    }
}

#[test]
fn what_computed_a_task_is_told() {
    let fake = Fake::new();
    fake.tell("c2", "kernel avx512-ifma");
    let pool = fake.pool(|_| ()).unwrap();
    let mut notes = Vec::new();
    pool.run(&c2(), &Cancel::new(), &mut |note| notes.push(note))
        .unwrap();
    assert_eq!(notes.last(), Some(&Note::Kernel("avx512-ifma".into())));
}

#[test]
fn errors_of_the_stage_keep_their_level() {
    let fake = Fake::new();
    let pool = fake.pool(|_| ()).unwrap();
    for (order, level) in [
        ("error broken disk", Level::Permanent),
        ("temporary broken disk", Level::Temporary),
    ] {
        fake.tell("c2", order);
        let error = run(&pool).unwrap_err();
        assert_eq!(error.failure().unwrap().level, level);
        assert_eq!(error.to_string(), "c2 failed: broken disk");
    }
    fake.tell("c2", r#"answer {"prove":[]}"#);
    assert!(matches!(
        run(&pool).unwrap_err(),
        ProcessorError::BadOutput { .. }
    ));
    fake.tell("c2", "answer null");
    assert!(matches!(
        run(&pool).unwrap_err(),
        ProcessorError::BadOutput { .. }
    ));
}

#[test]
fn a_child_that_dies_or_talks_nonsense_fails_its_tasks_for_now_and_is_replaced() {
    for (order, words) in [("die", "signal 6"), ("garbage", "no answer")] {
        let fake = Fake::new();
        let pool = fake.pool(|_| ()).unwrap();
        let first = run(&pool).unwrap().pid;
        fake.tell("c2.once", order);
        let error = run(&pool).unwrap_err();
        assert!(
            matches!(&error, ProcessorError::ChildDied { pid, .. } if *pid == first),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.failure().unwrap().level, Level::Temporary);
        if order == "die" {
            assert!(
                error.to_string().contains("told to die"),
                "its last words: {error}"
            );
        }
        assert!(!alive(first));
        // the next task waits until the child is up again
        let mut notes = Vec::new();
        let next = pool
            .run(&c2(), &Cancel::new(), &mut |note| notes.push(note))
            .unwrap();
        assert_ne!(next.pid, first);
        assert!(
            matches!(&notes[0], Note::Waiting(text) if text.contains("come up again")),
            "{notes:?}"
        );
        assert_eq!(pool.view()[0].children[0].restarts, 1);
    }
}

#[test]
fn what_is_no_answer_is_kept_whole_while_somebody_wants_it() {
    let fake = Fake::new();
    let kept = tempfile::tempdir().unwrap();
    let pool = fake.pool(|_| ()).unwrap();
    let files = || {
        let mut said: Vec<String> = kept
            .path()
            .read_dir()
            .unwrap()
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        said.sort();
        said
    };
    fake.tell("c2.once", "answer 7");
    run(&pool).unwrap_err();
    assert!(files().is_empty(), "nobody has asked for it");
    assert!(!pool.dump("c2-9", Some(kept.path().to_owned())));
    assert!(pool.dump("c2-0", Some(kept.path().to_owned())));
    let told = &pool.view()[0].children[0].dump;
    assert_eq!(told.as_deref(), Some(kept.path()));
    fake.tell("c2.once", "answer 7");
    run(&pool).unwrap_err();
    assert_eq!(files(), ["7"]);
    fake.tell("c2.once", "garbage");
    let error = run(&pool).unwrap_err().to_string();
    let place = kept.path().display().to_string();
    assert!(error.contains(&place), "where it is whole: {error}");
    assert_eq!(files(), ["7", "{Segmentation fault\n"]);
    // its successor as well, by the id of its process
    run(&pool).unwrap();
    let pid = pid_of(&pool).unwrap();
    fake.tell("c2.once", "stray");
    run(&pool).unwrap();
    assert_eq!(files().len(), 3);
    assert!(pool.dump(&pid.to_string(), None));
    fake.tell("c2.once", "answer 7");
    run(&pool).unwrap_err();
    assert_eq!(files().len(), 3);
}

#[test]
fn a_child_is_killed_by_the_id_of_its_process_and_its_task_fails_for_now() {
    let fake = Fake::new();
    let pool = fake.pool(|_| ()).unwrap();
    fake.tell("c2.once", "silent");
    let running = pool.clone();
    let task = std::thread::spawn(move || run(&running));
    until("a task at work", || fake.log().contains("start"));
    let pid = pid_of(&pool).unwrap();
    assert!(!pool.kill(pid + 1_000_000, "somebody said so"));
    assert!(pool.kill(pid, "somebody said so"));
    let error = task.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("somebody said so"), "{error}");
    assert_eq!(error.failure().unwrap().level, Level::Temporary);
    assert!(!alive(pid));
    run(&pool).unwrap();
}

#[test]
fn a_stage_has_a_limit_of_its_own() {
    let fake = Fake::new();
    let pool = fake
        .pool(|c| c["limitation"] = serde_json::json!({"longest": {"c2": "1ms"}}))
        .unwrap();
    fake.tell("c2.once", "silent");
    let error = run(&pool).unwrap_err();
    assert!(error.to_string().contains("longer than 1 ms"), "{error}");
    let hint = error.failure().unwrap().hint.unwrap();
    assert!(hint.contains("limitation.longest.c2"), "{hint}");
}

#[test]
fn a_child_that_talks_nonsense_and_reads_nothing_fails_its_task() {
    let fake = Fake::new();
    let script = "echo c2 processor ready; head -c 1 >/dev/null; echo '{nonsense'; exec sleep 600";
    let pool = fake
        .pool(|c| {
            c["c2"][0]["bin"] = "/bin/sh".into();
            c["c2"][0]["args"] = serde_json::json!(["-c", script]);
        })
        .unwrap();
    // far more than a pipe holds: the request is never written whole
    let long = serde_json::json!({"proof": "x".repeat(4 << 20)}).to_string();
    let task = C2 {
        c1out: Opaque::from_text(&long).unwrap(),
        ..c2()
    };
    let (tx, rx) = mpsc::channel();
    let running = pool.clone();
    std::thread::spawn(move || {
        tx.send(running.run(&task, &Cancel::new(), &mut |_| {}))
            .is_ok()
    });
    let error = rx.recv_timeout(LONG).unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[test]
fn a_child_that_never_ends_its_line_is_ended() {
    let fake = Fake::new();
    let error = fake
        .pool(|c| {
            c["c2"][0]["bin"] = "/bin/sh".into();
            c["c2"][0]["args"] = serde_json::json!(["-c", "exec cat /dev/zero"]);
        })
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("has more than 4096 bytes"), "{text}");
}

#[test]
fn a_task_may_be_made_when_its_turn_has_come() {
    let fake = Fake::new();
    let go = fake.path("go");
    fake.tell("c2.once", &format!("wait {}", go.display()));
    let pool = fake.pool(|c| c["c2"][0]["concurrent"] = 1.into()).unwrap();
    let (tx, rx) = mpsc::channel();
    std::thread::scope(|s| {
        let (pool, told) = (&pool, tx.clone());
        s.spawn(move || pool.run(&c2(), &Cancel::new(), &mut |note| told.send(note).unwrap()));
        assert!(matches!(
            rx.recv_timeout(LONG).unwrap(),
            Note::Running { .. }
        ));
        let (told, free) = (tx.clone(), go.clone());
        let second = s.spawn(move || {
            let make = || {
                assert!(free.exists(), "made while it waited");
                Ok::<_, ProcessorError>(c2())
            };
            pool.run_with(make, &Cancel::new(), &mut |note| told.send(note).unwrap())
        });
        assert!(matches!(rx.recv_timeout(LONG).unwrap(), Note::Waiting(_)));
        fs::write(&go, "").unwrap();
        second.join().unwrap().unwrap();
    });
    let refused = ProcessorError::NoStage { stage: Stage::Pc1 };
    let error = pool.run_with(
        || Err::<C2, _>(refused.clone()),
        &Cancel::new(),
        &mut |_| {},
    );
    assert_eq!(error.unwrap_err(), refused);
    assert_eq!(pool.view()[0].running, 0, "the slot was given back");
    run(&pool).unwrap();
}

#[test]
fn killing_the_child_under_a_task_fails_all_that_run_in_it() {
    let fake = Fake::new();
    fake.tell("c2", "silent");
    let pool = fake.pool(|_| ()).unwrap();
    let (tx, rx) = mpsc::channel();
    std::thread::scope(|s| {
        for _ in 0..2 {
            let (pool, tx) = (pool.clone(), tx.clone());
            s.spawn(move || {
                let told = tx.clone();
                let result = pool.run(&c2(), &Cancel::new(), &mut |note| {
                    if let Note::Running { pid, .. } = note {
                        told.send(Ok(pid)).unwrap();
                    }
                });
                tx.send(Err(result.unwrap_err())).unwrap();
            });
        }
        let pid = rx.recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap().unwrap(), pid);
        let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
        for _ in 0..2 {
            let error = rx.recv_timeout(LONG).unwrap().unwrap_err();
            assert!(error.to_string().contains("killed by signal 9"), "{error}");
        }
    });
}

#[test]
fn a_task_that_must_not_outlive_its_use_is_killed_and_the_child_replaced() {
    let fake = Fake::new();
    fake.tell("c2.once", "silent");
    let pool = fake.pool(|_| ()).unwrap();
    let cancel = Cancel::killing();
    let mut first = 0;
    let error = pool
        .run(&c2(), &cancel, &mut |note| {
            if let Note::Running { pid, .. } = note {
                first = pid;
                cancel.cancel();
            }
        })
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ProcessorError::ChildDied { pid, .. } if pid == first));
    assert!(
        text.contains("not done in time; killed by signal 9"),
        "{text}"
    );
    assert!(!alive(first));
    // it may have been killed before it took its order
    let _ = fs::remove_file(fake.path("c2.once"));
    assert_ne!(run(&pool).unwrap().pid, first);
    assert_eq!(pool.view()[0].running, 0);
}

#[test]
fn a_panic_is_an_error_and_the_child_is_replaced_at_once() {
    let fake = Fake::new();
    let pool = fake.pool(|_| ()).unwrap();
    let first = run(&pool).unwrap().pid;
    fake.tell("c2.once", "panic");
    let error = run(&pool).unwrap_err();
    assert_eq!(
        error.to_string(),
        "c2 failed: the stage panicked: told to panic"
    );
    assert_ne!(run(&pool).unwrap().pid, first);
    assert_eq!(pool.view()[0].children[0].restarts, 0, "this is no crash");
}

#[test]
fn a_child_that_is_not_ready_in_time_is_an_error_at_start_and_is_gone() {
    for (order, wait, words) in [
        ("mute", "500ms", "within 0.5 s"),
        ("wrong", "60s", "its first line is \"hello\""),
        ("exit", "60s", "exit code 0; last lines: told to exit"),
    ] {
        let fake = Fake::new();
        fake.tell("c2.start", order);
        let error = fake
            .pool(|c| c["c2"][0]["stable_wait"] = wait.into())
            .unwrap_err();
        assert!(matches!(error, ProcessorError::NotStartable { .. }));
        assert!(error.to_string().contains(words), "{order}: {error}");
    }
    let fake = Fake::new();
    let error = fake
        .pool(|c| c["c2"][0]["bin"] = "/does/not/exist".into())
        .unwrap_err();
    assert!(
        error.to_string().contains("/does/not/exist cannot be run"),
        "{error}"
    );
    assert!(
        error
            .failure()
            .unwrap()
            .hint
            .unwrap()
            .contains("[[processors.c2]]")
    );
}

#[test]
fn a_slow_child_is_waited_for() {
    let fake = Fake::new();
    let go = fake.path("go");
    fake.tell("c2.start", &format!("late {}", go.display()));
    std::thread::scope(|s| {
        let pool = s.spawn(|| fake.pool(|_| ()).unwrap());
        fs::write(&go, "").unwrap();
        assert_eq!(run(&pool.join().unwrap()).unwrap().output.proof.len(), 192);
    });
}

#[test]
fn a_child_that_must_not_be_restarted_leaves_an_error_and_not_a_queue() {
    let fake = Fake::new();
    let pool = fake
        .pool(|c| c["c2"][0]["auto_restart"] = false.into())
        .unwrap();
    fake.tell("c2.once", "die");
    run(&pool).unwrap_err();
    let error = run(&pool).unwrap_err();
    assert!(
        matches!(error, ProcessorError::NotStartable { .. }),
        "{error}"
    );
}

#[test]
fn waiting_can_be_called_off_running_cannot() {
    let fake = Fake::new();
    let go = fake.path("go");
    fake.tell("c2", &format!("wait {}", go.display()));
    let pool = fake.pool(|c| c["c2"][0]["concurrent"] = 1.into()).unwrap();
    let (tx, rx) = mpsc::channel();
    let (first, second) = (Cancel::new(), Cancel::new());
    std::thread::scope(|s| {
        let told = tx.clone();
        let (pool, first, second) = (&pool, &first, &second);
        let a = s.spawn(move || pool.run(&c2(), first, &mut |note| told.send(note).unwrap()));
        assert!(matches!(
            rx.recv_timeout(LONG).unwrap(),
            Note::Running { .. }
        ));
        let told = tx.clone();
        let b = s.spawn(move || pool.run(&c2(), second, &mut |note| told.send(note).unwrap()));
        assert_eq!(
            rx.recv_timeout(LONG).unwrap(),
            Note::Waiting("a free c2 process".into())
        );
        assert_eq!((pool.view()[0].waiting, pool.view()[0].running), (1, 1));
        first.cancel();
        second.cancel();
        assert_eq!(b.join().unwrap().unwrap_err(), ProcessorError::Cancelled);
        fs::write(&go, "").unwrap();
        a.join().unwrap().unwrap();
    });
    assert_eq!((pool.view()[0].waiting, pool.view()[0].running), (0, 0));
    assert_eq!(
        fake.log().lines().filter(|l| l.ends_with("start")).count(),
        1
    );
}

#[test]
fn a_default_child_starts_on_demand_and_ends_when_idle() {
    let fake = Fake::new();
    // the default child inherits this process's environment, so it is a real one: what it
    // answers to nonsense shows that it lives
    let pool = fake.pool(|c| *c = serde_json::json!({})).unwrap();
    assert_eq!(pool.view()[0].children[0].phase, Phase::OnDemand);
    let ask = || {
        let mut ran_in = 0;
        let error = pool.run(&c2(), &Cancel::new(), &mut |note| {
            if let Note::Running { pid, .. } = note {
                ran_in = pid;
            }
        });
        (ran_in, error.unwrap_err())
    };
    let (first, error) = ask();
    assert!(error.to_string().contains("no output of C1"), "{error}");
    until("its end", || !alive(first));
    let (second, again) = ask();
    assert!(matches!(again, ProcessorError::Task { .. }), "{again}");
    assert_ne!(first, second);
}

#[test]
fn whoever_was_called_off_begins_nothing_even_when_his_turn_has_come() {
    for _ in 0..8 {
        let fake = Fake::new();
        let go = fake.path("go");
        fake.tell("c2", &format!("wait {}", go.display()));
        let pool = fake.pool(|c| c["c2"][0]["concurrent"] = 1.into()).unwrap();
        let (running, runs) = mpsc::channel();
        let (done, first_is_done) = mpsc::channel();
        std::thread::scope(|s| {
            let pool = &pool;
            s.spawn(move || {
                let told = &mut |note| running.send(note).unwrap();
                pool.run(&c2(), &Cancel::new(), told).unwrap();
                done.send(()).unwrap();
            });
            assert!(matches!(
                runs.recv_timeout(LONG).unwrap(),
                Note::Running { .. }
            ));
            let cancel = Cancel::new();
            let mut told = false;
            let error = pool.run(&c2(), &cancel, &mut |note| {
                assert!(matches!(note, Note::Waiting(_)), "{note:?}");
                if !std::mem::replace(&mut told, true) {
                    cancel.cancel();
                    fs::write(&go, "").unwrap();
                    first_is_done.recv_timeout(LONG).unwrap();
                }
            });
            assert_eq!(error.unwrap_err(), ProcessorError::Cancelled);
        });
        // and before it stands in the queue at all
        let cancel = Cancel::new();
        cancel.cancel();
        let error = pool.run(&c2(), &cancel, &mut |note| panic!("{note:?}"));
        assert_eq!(error.unwrap_err(), ProcessorError::Cancelled);
        assert_eq!((pool.view()[0].waiting, pool.view()[0].running), (0, 0));
    }
}

#[test]
fn a_line_that_is_no_protocol_is_no_end() {
    let fake = Fake::new();
    fake.tell("c2", "stray");
    let pool = fake.pool(|_| ()).unwrap();
    let first = run(&pool).unwrap().pid;
    assert_eq!(run(&pool).unwrap().pid, first);
}

#[test]
fn a_stage_without_a_pool_is_refused() {
    let fake = Fake::new();
    let pool = fake.pool(|_| ()).unwrap();
    let task = Pc2 {
        pc1out: Opaque::from_text("{}").unwrap(),
        cache_dir: "/c".into(),
        sealed_file: "/s".into(),
        staged_file: None,
    };
    let error = pool.run(&task, &Cancel::new(), &mut |_| {}).unwrap_err();
    assert_eq!(error, ProcessorError::NoStage { stage: Stage::Pc2 });
}
