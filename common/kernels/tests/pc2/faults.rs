//! Stopped runs, bad files, too little memory.

use crate::sector::{Content, KIB, LARGEST, MIB, Sector};
use damocles_kernels::{
    cpu::Cpu,
    pc2::{self, Data, Error, Options},
    tree::FileError,
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

#[test]
fn a_run_that_was_stopped_anywhere_is_run_again() {
    let sector = Sector::new(8 * MIB, 2, Content::Random, 20);
    let whole = sector
        .ours("whole", Cpu::detect(), &Options::default())
        .unwrap();
    for after in [0, 1, 10] {
        // on top of what the last one left
        let cancel = AtomicBool::new(false);
        let options = Options {
            cancel: &cancel,
            memory: 4 << 20,
            ..Options::default()
        };
        let mut steps = 0;
        let error = pc2::run(&sector.job("stopped"), Cpu::detect(), &options, |_| {
            steps += 1;
            if steps > after {
                cancel.store(true, Ordering::Relaxed);
            }
        })
        .unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
    let again = sector
        .ours("stopped", Cpu::detect(), &Options::default())
        .unwrap();
    assert_eq!(again, whole);
    for file in [
        "sealed",
        "sc-02-data-tree-c.dat",
        "sc-02-data-tree-r-last.dat",
    ] {
        let read = |dir: &str| fs::read(sector.path(dir).join(file)).unwrap();
        assert!(read("stopped") == read("whole"), "{file}");
    }
}

#[test]
fn a_cancelled_job_does_not_begin() {
    let sector = Sector::new(2 * KIB, 2, Content::Zeros, 21);
    let cancel = AtomicBool::new(true);
    let options = Options {
        cancel: &cancel,
        ..Options::default()
    };
    let error = sector.ours("none", Cpu::detect(), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(fs::read_dir(sector.path("none")).unwrap().count(), 0);
}

#[test]
fn progress_ends_with_the_whole_sector() {
    let sector = Sector::new(32 * KIB, 2, Content::Random, 22);
    let mut seen = Vec::new();
    let job = sector.job("progress");
    pc2::run(&job, Cpu::detect(), &Options::default(), |p| seen.push(p)).unwrap();
    assert!(seen.is_sorted_by_key(|p| p.done));
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.total), (1024, 1024));
}

#[test]
fn a_bad_file_is_named() {
    let sector = Sector::new(16 * KIB, 2, Content::Random, 23);
    let layer = sector.label_files()[1].clone();
    let good = fs::read(&layer).unwrap();
    let failed = |needle: &Path| {
        let error = sector
            .ours("bad", Cpu::detect(), &Options::default())
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&needle.display().to_string()), "{text}");
        error
    };

    fs::write(&layer, &good[..good.len() - 32]).unwrap();
    assert!(matches!(
        failed(&layer),
        Error::File(FileError::Length {
            expected: 16384,
            found: 16352,
            ..
        })
    ));
    fs::remove_file(&layer).unwrap();
    assert!(matches!(failed(&layer), Error::File(FileError::Io { .. })));

    // one more than the largest element, at a node of the fourth base tree
    let mut order = LARGEST;
    order[0] += 1;
    let mut bad = good.clone();
    bad[200 * 32..201 * 32].copy_from_slice(&order);
    fs::write(&layer, &bad).unwrap();
    assert!(matches!(failed(&layer), Error::NotField { node: 200, .. }));
    fs::write(&layer, &good).unwrap();

    let staged = OpenOptions::new()
        .write(true)
        .open(sector.staged())
        .unwrap();
    staged.write_all_at(&order, 77 * 32).unwrap();
    assert!(matches!(
        failed(&sector.staged()),
        Error::NotField { node: 77, .. }
    ));
    staged.set_len(16 * KIB + 1).unwrap();
    assert!(matches!(
        failed(&sector.staged()),
        Error::File(FileError::Length { .. })
    ));

    fs::remove_dir_all(sector.path("bad")).unwrap();
    let mut job = sector.job("bad");
    job.data = Data::InPlace;
    let error = pc2::run(&job, Cpu::detect(), &Options::default(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("bad/sealed"), "{error}");
    assert!(!job.sealed.exists(), "a file without data is not made up");
}

#[test]
fn a_full_disk_is_named_and_ends_the_run() {
    let sector = Sector::new(8 * MIB, 2, Content::Random, 24);
    let mut job = sector.job("full");
    job.sealed = "/dev/full".into();
    let error = pc2::run(&job, Cpu::detect(), &Options::default(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("/dev/full"), "{error}");
}

#[test]
fn data_is_never_sealed_over_itself() {
    let sector = Sector::new(2 * KIB, 2, Content::Random, 25);
    let before = fs::read(sector.staged()).unwrap();
    let job = sector.job("linked");
    fs::hard_link(sector.staged(), &job.sealed).unwrap();
    let error = pc2::run(&job, Cpu::detect(), &Options::default(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::SameFile(_)), "{error}");
    assert_eq!(fs::read(sector.staged()).unwrap(), before);
}

#[test]
fn what_cannot_be_is_refused() {
    let sector = Sector::new(2 * KIB, 2, Content::Random, 26);
    let run = |change: &dyn Fn(&mut pc2::Job, &mut Options<'_>)| {
        let (mut job, mut options) = (sector.job("no"), Options::default());
        change(&mut job, &mut options);
        pc2::run(&job, Cpu::detect(), &options, |_| {}).unwrap_err()
    };
    let error = run(&|job, _| job.sector_size = 3000);
    assert!(matches!(error, Error::SectorSize(3000)), "{error}");
    let error = run(&|job, _| job.layers.truncate(1));
    assert!(matches!(error, Error::Layers(1)), "{error}");
    let error = run(&|_, options| options.memory = 100);
    let Error::Memory { needed, .. } = error else {
        panic!("{error}");
    };
    assert!(
        run(&|_, options| options.memory = needed - 1)
            .to_string()
            .contains("at least")
    );
    let options = Options {
        memory: needed,
        ..Options::default()
    };
    sector.ours("enough", Cpu::detect(), &options).unwrap();

    // a directory that is not there
    let error = run(&|job, _| job.cache_dir = sector.path("nowhere"));
    assert!(error.to_string().contains("nowhere"), "{error}");
}
