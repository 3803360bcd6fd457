//! Transfers on a real file system: whole, verified, twice, and into odd destinations.

use super::*;
use crate::task::{TransferEnd, TransferOption};
use damocles_types::Level;
use std::collections::BTreeMap;

fn route(src: &Path, dest: &Path, opt: Option<TransferOption>) -> Transfer {
    let end = |path: &Path| TransferEnd {
        store_name: None,
        uri: path.to_owned(),
    };
    Transfer {
        stores: BTreeMap::new(),
        routes: vec![TransferRoute {
            src: end(src),
            dest: end(dest),
            opt,
        }],
    }
}

fn go(src: &Path, dest: &Path, opt: Option<TransferOption>) -> Result<bool, TaskError> {
    run(&route(src, dest, opt), true, &Progress::silent())
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_file_arrives_whole_and_a_second_run_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dest) = (
        dir.path().join("src"),
        dir.path().join("store/sealed/s-t01000-1"),
    );
    let content: Vec<u8> = (0..BLOCK + 77).map(|i| (i % 251) as u8).collect();
    fs::write(&src, &content).unwrap();
    go(&src, &dest, None).unwrap();
    assert_eq!(fs::read(&dest).unwrap(), content);
    assert!(src.exists());
    let first = inode(&dest);
    go(&src, &dest, None).unwrap();
    assert_eq!(inode(&dest), first, "a finished copy is not made again");

    // same length, other content: an older file of that name
    fs::write(&dest, vec![0; content.len()]).unwrap();
    // and half a copy of a run that was killed
    fs::write(sibling(&dest, PART).unwrap(), b"half").unwrap();
    go(&src, &dest, None).unwrap();
    assert_eq!(fs::read(&dest).unwrap(), content);
    assert_eq!(fs::read_dir(dest.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_directory_arrives_equal_and_goes_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dest) = (dir.path().join("cache"), dir.path().join("store/cache"));
    fs::create_dir_all(src.join("deep")).unwrap();
    fs::write(src.join("p_aux"), b"p").unwrap();
    fs::write(src.join("deep/t_aux"), b"t").unwrap();
    fs::create_dir_all(&dest).unwrap();
    fs::write(dest.join("p_aux"), b"p").unwrap();
    fs::write(dest.join("stale"), b"x").unwrap();
    fs::write(dest.join(".t_aux.part"), b"x").unwrap();
    let kept = inode(&dest.join("p_aux"));
    go(&src, &dest, None).unwrap();
    assert_eq!(inode(&dest.join("p_aux")), kept);
    assert_eq!(fs::read(dest.join("deep/t_aux")).unwrap(), b"t");
    let mut names: Vec<_> = fs::read_dir(&dest)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["deep", "p_aux"]);
}

#[test]
fn links_are_replaced_and_never_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dest, other) = (
        dir.path().join("src"),
        dir.path().join("dest"),
        dir.path().join("other"),
    );
    fs::write(&src, b"new").unwrap();
    // dangling (fault 11)
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &dest).unwrap();
    go(&src, &dest, None).unwrap();
    assert!(!fs::symlink_metadata(&dest).unwrap().is_symlink());
    assert!(!dir.path().join("nowhere").exists());
    // to a file of somebody else
    fs::write(&other, b"other").unwrap();
    fs::remove_file(&dest).unwrap();
    std::os::unix::fs::symlink(&other, &dest).unwrap();
    go(&src, &dest, None).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"other");
    // to the source itself
    fs::remove_file(&dest).unwrap();
    std::os::unix::fs::symlink(&src, &dest).unwrap();
    go(&src, &dest, None).unwrap();
    assert!(!fs::symlink_metadata(&dest).unwrap().is_symlink());
    assert_eq!(fs::read(&dest).unwrap(), b"new");
    // the destination is the source
    go(&src, &src, None).unwrap();
    assert_eq!(fs::read(&src).unwrap(), b"new");
}

#[test]
fn a_link_will_do_where_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    fs::write(&src, b"x").unwrap();
    fs::write(&dest, b"older").unwrap();
    let allowed = Some(TransferOption {
        is_dir: false,
        allow_link: true,
    });
    for _ in 0..2 {
        go(&src, &dest, allowed).unwrap();
        assert_eq!(fs::read_link(&dest).unwrap(), src);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    fs::write(&file, b"x").unwrap();
    fs::create_dir(&folder).unwrap();
    for (src, dest, words) in [
        (
            dir.path().join("missing"),
            dir.path().join("d"),
            "No such file",
        ),
        (file.clone(), folder.clone(), "is a directory already"),
        (folder, file.clone(), "is a file already"),
        (
            "relative".into(),
            dir.path().join("d"),
            "not an absolute path",
        ),
    ] {
        let error = go(&src, &dest, None).unwrap_err();
        assert!(error.message.contains(words), "{error}");
        assert_eq!(error.level, Level::Permanent);
    }
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn an_error_names_the_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("src"), b"x").unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let dest = dir.path().join("file/below/sealed");
    let mut task = route(&dir.path().join("src"), &dest, None);
    task.routes[0].dest.store_name = Some("hdd-1".to_owned());
    let error = run(&task, true, &Progress::silent()).unwrap_err();
    assert!(error.message.starts_with("store hdd-1: "), "{error}");
    assert_eq!(error.level, Level::Temporary);
}

#[test]
fn a_destination_that_cannot_be_looked_at_is_not_taken_for_an_empty_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    assert!(look(&dir.path().join("none")).unwrap().is_none());
    assert!(look(&dir.path().join("file")).unwrap().is_some());
    assert!(look(&dir.path().join("file/below")).is_err());
}

#[test]
fn links_are_made_only_where_the_processor_may() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dest) = (dir.path().join("src"), dir.path().join("dest"));
    fs::write(&src, b"x").unwrap();
    let link = TransferOption {
        is_dir: false,
        allow_link: true,
    };
    for (links, linked) in [(false, false), (true, true)] {
        run(&route(&src, &dest, Some(link)), links, &Progress::silent()).unwrap();
        assert_eq!(dest.is_symlink(), linked);
        fs::remove_file(&dest).unwrap();
    }
}

/// Where the test below finds its file system, in the process that it starts for itself.
const SMALL_DISK: &str = "DAMOCLES_TEST_SMALL_DISK";

/// A file system of 4 MiB needs a mount, which needs a namespace of its own.
#[test]
fn a_full_and_a_read_only_disk_are_waited_for_and_nothing_half_is_left() {
    let Some(disk) = std::env::var_os(SMALL_DISK) else {
        return on_a_small_disk(
            "transfer::tests::a_full_and_a_read_only_disk_are_waited_for_and_nothing_half_is_left",
        );
    };
    let disk = PathBuf::from(disk);
    let elsewhere = tempfile::tempdir().unwrap();
    let src = elsewhere.path().join("src");
    let content: Vec<u8> = (0..2 * BLOCK).map(|i| (i % 253) as u8).collect();
    fs::write(&src, &content).unwrap();
    let (dest, filler) = (disk.join("sealed/s-t01000-1"), disk.join("filler"));
    fs::write(&filler, vec![1; 3 * BLOCK]).unwrap();

    let full = go(&src, &dest, None).unwrap_err();
    assert_eq!(full.level, Level::Temporary);
    assert!(full.message.contains("No space left"), "{full}");
    assert!(full.hint.unwrap().contains("`df -h"));
    assert_eq!(fs::read_dir(dest.parent().unwrap()).unwrap().count(), 0);
    fs::remove_file(&filler).unwrap();
    go(&src, &dest, None).unwrap();
    assert_eq!(fs::read(&dest).unwrap(), content);

    remount(&disk, "ro");
    let other = disk.join("sealed/s-t01000-2");
    let closed = go(&src, &other, None).unwrap_err();
    assert_eq!(closed.level, Level::Temporary);
    assert!(closed.message.contains("Read-only"), "{closed}");
    assert!(closed.hint.unwrap().contains("read-only"));
    go(&src, &dest, None).unwrap();
    remount(&disk, "rw");
    go(&src, &other, None).unwrap();
    assert_eq!(fs::read(&other).unwrap(), content);
}

#[expect(clippy::disallowed_methods, reason = "a test mounts a disk of its own")]
fn remount(disk: &Path, how: &str) {
    let mut mount = std::process::Command::new("mount");
    let done = mount.args(["-o", &format!("remount,{how}")]).arg(disk);
    assert!(done.status().unwrap().success());
}

/// Runs a test of this program once more, beside a file system of 4 MiB that is gone with it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts itself in a namespace"
)]
fn on_a_small_disk(name: &str) {
    let disk = tempfile::tempdir().unwrap();
    let mut unshare = std::process::Command::new("unshare");
    unshare
        .args(["--user", "--map-root-user", "--mount"])
        .args(["sh", "-ec"]);
    let again = r#"mount -t tmpfs -o size=4m small "$0"; echo mounted; exec "$@""#;
    unshare.arg(again).arg(disk.path());
    unshare.arg(std::env::current_exe().unwrap());
    unshare.args([name, "--exact"]);
    unshare.env(SMALL_DISK, disk.path());
    let Ok(output) = unshare.output() else {
        return eprintln!("NOT TESTED: there is no program `unshare`");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.starts_with("mounted") {
        let why = String::from_utf8_lossy(&output.stderr);
        return eprintln!("NOT TESTED: this user may not mount: {why}");
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
