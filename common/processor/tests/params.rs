//! Making parameters: once, under a lock, whole or not at all. The maker is a fake child.

use damocles_processor::{
    KernelChoice,
    params::{
        FileCheck, FileState, ParamSet, check_in, check_srs_in, circuits, convert_all_in,
        generate_in, generate_srs_in,
        show::{Event, Silent, Watcher},
        srs,
    },
    task::Circuit,
};
use damocles_types::SectorSize;
use std::{
    fs,
    path::Path,
    sync::{Mutex, mpsc},
    time::Duration,
};

const CHILD: &str = env!("CARGO_BIN_EXE_processor-child");
const SIZE: SectorSize = SectorSize::KiB2;

/// A wrapper script gives the child its own fake directory, since a test process cannot
/// change its environment.
fn maker(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let fake = dir.join("fake");
    fs::create_dir_all(&fake).unwrap();
    let script = dir.join("maker.sh");
    let text = format!(
        "#!/bin/sh\nFAKE_PROCESSOR_DIR='{}' exec '{CHILD}' \"$@\"\n",
        fake.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn tasks(dir: &Path) -> usize {
    fs::read_to_string(dir.join("fake/log"))
        .unwrap_or_default()
        .lines()
        .filter(|l| l.ends_with("start"))
        .count()
}

#[test]
fn missing_sets_are_made_once_and_damaged_ones_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (maker, cache) = (maker(dir.path()), dir.path().join("cache"));
    let made = generate_in(&cache, &[SIZE], false, KernelChoice::Auto, &maker, &Silent).unwrap();
    assert_eq!(
        made.iter().map(|(c, _)| *c).collect::<Vec<_>>(),
        circuits(false)
    );
    assert_eq!(tasks(dir.path()), 3);
    assert!(
        generate_in(&cache, &[SIZE], false, KernelChoice::Auto, &maker, &Silent)
            .unwrap()
            .is_empty()
    );
    assert_eq!(tasks(dir.path()), 3, "a second call makes nothing");
    let states = check_in(&cache, &[SIZE], false, &Silent).unwrap();
    assert!(
        states.iter().all(|f| f.state == FileState::MadeHere),
        "{states:?}"
    );

    // one file of a set lost, another set shortened: both sets are made anew, whole
    let lost = ParamSet::of(Circuit::WindowPost, SIZE).unwrap();
    fs::remove_file(cache.join(lost.verifying_key())).unwrap();
    let short = ParamSet::of(Circuit::PoRep, SIZE).unwrap();
    fs::write(cache.join(short.params()), "key and").unwrap();
    let made = generate_in(&cache, &[SIZE], false, KernelChoice::Auto, &maker, &Silent).unwrap();
    assert_eq!(made, [(Circuit::WindowPost, SIZE), (Circuit::PoRep, SIZE)]);
    // snap on request only
    let made = generate_in(&cache, &[SIZE], true, KernelChoice::Auto, &maker, &Silent).unwrap();
    assert_eq!(made, [(Circuit::SnapUpdate, SIZE)]);
    let left: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".making-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_reference_string_is_made_once_and_a_cut_one_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (maker, cache) = (maker(dir.path()), dir.path().join("cache"));
    let make = || generate_srs_in(&cache, &maker, &Silent).unwrap();
    let state = || check_srs_in(&cache, &Silent).unwrap().state;
    assert!(make());
    assert!(!make(), "a second call makes nothing");
    assert_eq!((tasks(dir.path()), state()), (1, FileState::MadeHere));
    let file = cache.join(srs::file_name());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[1..]).unwrap();
    assert!(matches!(state(), FileState::Differs { .. }));
    assert!(make());
    assert_eq!((tasks(dir.path()), state()), (2, FileState::MadeHere));
    // what another program made is noted, and stays
    fs::remove_file(cache.join("made-here.json")).unwrap();
    assert!(!make());
    assert_eq!(state(), FileState::MadeHere);
}

#[test]
fn a_maker_that_fails_leaves_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (maker, cache) = (maker(dir.path()), dir.path().join("cache"));
    fs::write(dir.path().join("fake/make_params"), "die").unwrap();
    // as a killed run leaves it
    fs::create_dir_all(cache.join(".making-1")).unwrap();
    let error = generate_in(&cache, &[SIZE], false, KernelChoice::Auto, &maker, &Silent)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("WinningPoSt") && error.contains("signal 6"),
        "{error}"
    );
    let left: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, [".making.lock"]);
}

#[test]
#[ignore = "a minute"]
fn sets_of_our_own_have_nothing_but_points_of_the_groups() {
    let dir = tempfile::tempdir().unwrap();
    let child = Path::new(CHILD);
    let made = generate_in(
        dir.path(),
        &[SIZE],
        true,
        KernelChoice::Auto,
        child,
        &Silent,
    )
    .unwrap();
    assert_eq!(made.len(), 4);
    let states = check_in(dir.path(), &[SIZE], true, &Silent).unwrap();
    let made_here = |check: &FileCheck| check.state == FileState::MadeHere;
    assert!(states.iter().all(made_here), "{states:?}");
    // the library reads them, and each point is looked at
    assert_eq!(
        convert_all_in(dir.path(), &[SIZE], true, &Silent)
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn parameters_of_the_main_network_are_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = generate_in(
        dir.path(),
        &[SectorSize::GiB32],
        false,
        KernelChoice::Auto,
        Path::new(CHILD),
        &Silent,
    )
    .unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("params fetch --sector-size 32GiB")
    );
}

struct Tell(Mutex<mpsc::Sender<Event>>);
impl Watcher for Tell {
    fn event(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

#[test]
fn a_second_process_waits_for_the_first_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (maker, cache) = (maker(dir.path()), dir.path().join("cache"));
    let go = dir.path().join("go");
    fs::write(
        dir.path().join("fake/make_params"),
        format!("wait {}", go.display()),
    )
    .unwrap();
    let (tx, first) = mpsc::channel();
    let (tx2, second) = mpsc::channel();
    std::thread::scope(|s| {
        let a = s.spawn(|| {
            generate_in(
                &cache,
                &[SIZE],
                false,
                KernelChoice::Auto,
                &maker,
                &Tell(Mutex::new(tx)),
            )
            .unwrap()
        });
        let making = first.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(making, Event::Making { .. }), "{making:?}");
        let b = s.spawn(|| {
            generate_in(
                &cache,
                &[SIZE],
                false,
                KernelChoice::Auto,
                &maker,
                &Tell(Mutex::new(tx2)),
            )
            .unwrap()
        });
        let waiting = second.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(
            matches!(waiting, Event::WaitingForOther { .. }),
            "{waiting:?}"
        );
        fs::write(&go, "").unwrap();
        assert_eq!(a.join().unwrap().len(), 3);
        assert!(b.join().unwrap().is_empty());
    });
    assert_eq!(tasks(dir.path()), 3);
}
