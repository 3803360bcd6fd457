//! Processes that hold on to life, or to their pipes.

use super::*;

#[test]
fn any_program_ends_with_the_thread_that_started_it() {
    let spec = ChildSpec::shell("echo pc2 processor ready; exec sleep 600");
    let started = thread::spawn(move || launch(&spec, &|| false).ok().unwrap());
    let mut process = started.join().unwrap();
    let status = process.child.take().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

#[test]
fn a_process_is_seen_to_stand_still_and_to_end_though_its_pipes_stay_open() {
    // the grandchild is a process group of its own and holds both pipes
    let script = "setsid sleep 120 & echo $! >&2; echo pc2 processor ready; read x; exit 3";
    let process = launch(&ChildSpec::shell(script), &|| false).ok().unwrap();
    assert_eq!(process.life(), Life::Runs);
    let pid = process.pid().unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    while process.life() == Life::Runs {
        thread::yield_now();
    }
    assert_eq!(process.life(), Life::Stands);
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    process.live.input.send("go on\n".to_owned());
    while process.life() != Life::Over {
        thread::yield_now();
    }
    while process.live.last_words().is_empty() {
        thread::yield_now();
    }
    let grandchild = process.live.last_words().trim().parse().unwrap();
    let why = process.last_event();
    let ended = process.end(why);
    assert!(
        ended.death.reason.contains("holds its stdout; exit code 3"),
        "{}",
        ended.death.reason
    );
    rustix::process::kill_process(Pid::from_raw(grandchild).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn one_that_cannot_be_killed_is_told_of_and_left_to_the_kernel() {
    let spec = ChildSpec {
        kill: Kill(|_| ()),
        ..ChildSpec::shell("echo pc2 processor ready; exec sleep 600")
    };
    let process = launch(&spec, &|| false).ok().unwrap();
    let pid = process.pid().unwrap();
    let ended = process.end(Event::closed("it is in the way"));
    assert!(
        ended.death.reason.contains("has not ended yet"),
        "{}",
        ended.death.reason
    );
    assert!(!ended.is_over(Duration::ZERO));
    Kill::default().0(pid);
    assert!(ended.is_over(Duration::from_secs(60)));
}

#[test]
fn what_killed_a_process_is_advised_on_unless_we_did() {
    let script = "echo pc2 processor ready; read x; kill -9 $$";
    for (word, hint) in [(Some("die\n"), true), (None, false)] {
        let process = launch(&ChildSpec::shell(script), &|| false).ok().unwrap();
        if let Some(word) = word {
            process.live.input.send(word.to_owned());
            while process.life() != Life::Over {
                thread::yield_now();
            }
        }
        let death = process.end(Event::closed("x")).death;
        assert!(death.reason.contains("killed by signal 9"), "{death:?}");
        let told = death.hint.is_some_and(|hint| hint.contains("dmesg"));
        assert_eq!(told, hint);
    }
}
