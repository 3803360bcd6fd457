//! One cgroup per child, version 2 or 1, below a root that is a parameter so that tests use a
//! directory. Of version 1 only the `cpuset` controller is touched.

use crate::cpus::CpuSet;
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// What a group allows. Nothing: as much as there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupLimits {
    pub cpuset: Option<CpuSet>,
    /// Bytes; over it the kernel kills the child.
    pub memory_max: Option<u64>,
    /// Its share where CPUs are short, 1 to 10000; 100 is anybody's.
    pub cpu_weight: Option<u32>,
}

/// Makes the group, gives it its limits and moves `pid` into it. `name` is relative and may
/// have several parts. Returns the group's directory.
///
/// # Errors
/// The system does not let us, or has version 1 and more than CPUs is to be limited.
pub fn enter(root: &Path, name: &str, limits: &GroupLimits, pid: u32) -> io::Result<PathBuf> {
    let (base, unified) = hierarchy(root)?;
    let parts = parts(name)?;
    let GroupLimits {
        cpuset,
        memory_max,
        cpu_weight,
    } = limits;
    let files = [
        (
            "cpuset",
            "cpuset.cpus",
            cpuset.as_ref().map(ToString::to_string),
        ),
        (
            "memory",
            "memory.max",
            memory_max.map(|bytes| bytes.to_string()),
        ),
        (
            "cpu",
            "cpu.weight",
            cpu_weight.map(|weight| weight.to_string()),
        ),
    ];
    let wanted: Vec<(&str, &str, String)> = files
        .into_iter()
        .filter_map(|(controller, file, value)| Some((controller, file, value?)))
        .collect();
    if !unified
        && wanted
            .iter()
            .any(|(controller, ..)| *controller != "cpuset")
    {
        return Err(io::Error::other(
            "cgroups of version 1 limit CPUs only; memory and weight need version 2",
        ));
    }
    let mut group = base;
    for part in &parts {
        if unified {
            for (controller, ..) in &wanted {
                allow(&group, controller)?;
            }
        }
        let parent = group.clone();
        group.push(part);
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !unified {
            // A version 1 group takes nobody in before it has CPUs and memory nodes.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = fs::read_to_string(group.join(file)).unwrap_or_default();
                if own.trim().is_empty() {
                    fs::write(group.join(file), fs::read_to_string(parent.join(file))?)?;
                }
            }
        }
    }
    for (_, file, value) in wanted {
        fs::write(group.join(file), value)?;
    }
    fs::write(group.join("cgroup.procs"), pid.to_string())?;
    Ok(group)
}

/// How many processes of a group, and of groups in it, the kernel has killed for memory; none where
/// it does not say (version 1).
pub fn killed_for_memory(root: &Path, name: &str) -> Option<u64> {
    let (base, unified) = hierarchy(root).ok()?;
    let group = base.join(name.trim_start_matches('/'));
    let text = fs::read_to_string(group.join("memory.events")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok().filter(|_| unified)
}

/// The group that this process is in (version 2), by its name below the root.
pub fn own(proc: &Path) -> Option<String> {
    let text = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_owned())
}

/// Removes the last part of a group after its process has ended. A group that is not there
/// is no error.
pub fn remove(root: &Path, name: &str) -> io::Result<()> {
    let Ok((mut group, _)) = hierarchy(root) else {
        return Ok(());
    };
    group.extend(parts(name)?);
    match fs::remove_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the groups of children in `parent` (see `placement::cgroup_name`) whose daemon is
/// gone, and kills what the daemon's end left running in them. Returns how many went.
pub fn remove_leftovers(
    root: &Path,
    parent: &str,
    lives: &dyn Fn(u32) -> bool,
) -> io::Result<usize> {
    let (mut dir, _) = hierarchy(root)?;
    dir.extend(parts(parent)?);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut gone = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let daemon = name.to_str().and_then(daemon_of);
        if daemon.is_none_or(lives) {
            continue;
        }
        let group = entry.path();
        // version 2 only; the file is there in every group
        if group.join(KILL).exists() {
            fs::write(group.join(KILL), "1")?;
        }
        for _ in 0..EMPTIES {
            match fs::remove_dir(&group) {
                Ok(()) => {
                    gone += 1;
                    break;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(gone)
}

/// Kills what is in a group.
const KILL: &str = "cgroup.kill";
/// How often a group is looked at again whose processes have just been killed.
const EMPTIES: usize = 10;

/// The process that made a group of the name `sub-<stage>-<pid>-<index>`.
fn daemon_of(name: &str) -> Option<u32> {
    let (rest, index) = name.strip_prefix("sub-")?.rsplit_once('-')?;
    index.parse::<u32>().ok()?;
    rest.rsplit_once('-')?.1.parse().ok()
}

/// The directory below which groups are made, and whether it is of version 2.
fn hierarchy(root: &Path) -> io::Result<(PathBuf, bool)> {
    if root.join("cgroup.controllers").is_file() {
        Ok((root.to_owned(), true))
    } else if root.join("cpuset").is_dir() {
        Ok((root.join("cpuset"), false))
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no cpuset controller at {}", root.display()),
        ))
    }
}

fn allow(group: &Path, controller: &str) -> io::Result<()> {
    let file = group.join("cgroup.subtree_control");
    let allowed = fs::read_to_string(&file)?;
    if allowed.split_whitespace().any(|word| word == controller) {
        return Ok(());
    }
    fs::write(file, format!("+{controller}"))
}

fn parts(name: &str) -> io::Result<Vec<&str>> {
    let parts: Vec<_> = Path::new(name)
        .components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_str()),
            Component::CurDir => None,
            _ => Some(None),
        })
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default();
    if parts.is_empty() {
        let message = format!("{name:?} is not the name of a cgroup below the root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(text: &str) -> GroupLimits {
        GroupLimits {
            cpuset: Some(text.parse().unwrap()),
            ..GroupLimits::default()
        }
    }

    #[test]
    fn memory_and_weight_are_limited_before_anybody_is_put_in() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "memory cpu").unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "memory").unwrap();
        fs::create_dir(root.path().join("g")).unwrap();
        fs::write(root.path().join("g/cgroup.subtree_control"), "cpu memory").unwrap();
        let limits = GroupLimits {
            memory_max: Some(4096),
            cpu_weight: Some(50),
            cpuset: None,
        };
        let group = enter(root.path(), "g/sub", &limits, 7).unwrap();
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(
            (read("memory.max"), read("cpu.weight")),
            ("4096".into(), "50".into())
        );
        assert!(!group.join("cpuset.cpus").exists());
        let allowed = fs::read_to_string(root.path().join("cgroup.subtree_control"));
        assert_eq!(allowed.unwrap(), "+cpu");
        assert_eq!(killed_for_memory(root.path(), "g/sub"), None);
        fs::write(group.join("memory.events"), "oom 1\noom_kill 3\n").unwrap();
        assert_eq!(killed_for_memory(root.path(), "/g/sub"), Some(3));

        let old = tempfile::tempdir().unwrap();
        fs::create_dir(old.path().join("cpuset")).unwrap();
        let refused = enter(old.path(), "g", &limits, 7).unwrap_err().to_string();
        assert!(refused.contains("need version 2"), "{refused}");
        fs::create_dir(old.path().join("self")).unwrap();
        fs::write(
            old.path().join("self/cgroup"),
            "1:cpu:/x\n0::/system.slice/w\n",
        )
        .unwrap();
        assert_eq!(own(old.path()).as_deref(), Some("/system.slice/w"));
    }

    #[test]
    fn version_2() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu").unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "cpu").unwrap();
        fs::create_dir(root.path().join("vc-worker")).unwrap();
        fs::write(
            root.path().join("vc-worker/cgroup.subtree_control"),
            "cpuset\n",
        )
        .unwrap();

        let group = enter(root.path(), "vc-worker/sub-pc1-1-0", &cpus("0-3"), 42).unwrap();
        assert_eq!(group, root.path().join("vc-worker/sub-pc1-1-0"));
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+cpuset");
        assert_eq!(read("vc-worker/cgroup.subtree_control"), "cpuset\n");
        assert_eq!(read("vc-worker/sub-pc1-1-0/cpuset.cpus"), "0-3");
        assert_eq!(read("vc-worker/sub-pc1-1-0/cgroup.procs"), "42");
        remove(root.path(), "vc-worker/nothing").unwrap();
    }

    #[test]
    fn groups_of_daemons_that_are_gone_are_removed_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset").unwrap();
        let dir = root.path().join("vc-worker");
        for name in [
            "sub-pc1-7-0",
            "sub-add_pieces-7-1",
            "sub-pc1-8-0",
            "sub-x",
            "other",
        ] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let lives = |pid| pid == 8;
        assert_eq!(
            remove_leftovers(root.path(), "vc-worker", &lives).unwrap(),
            2
        );
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["other", "sub-pc1-8-0", "sub-x"]);
        assert_eq!(remove_leftovers(root.path(), "none", &lives).unwrap(), 0);
    }

    #[test]
    fn version_1_inherits_memory_nodes() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("cpuset");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("cpuset.cpus"), "0-7").unwrap();
        fs::write(base.join("cpuset.mems"), "0").unwrap();
        let group = enter(root.path(), "g/sub", &cpus("2"), 7).unwrap();
        let read = |file: &str| fs::read_to_string(base.join(file)).unwrap();
        assert_eq!(read("g/cpuset.cpus"), "0-7");
        assert_eq!(read("g/sub/cpuset.mems"), "0");
        assert_eq!(fs::read_to_string(group.join("cpuset.cpus")).unwrap(), "2");
        assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap(), "7");
    }

    /// The kernel refuses a process in a group of version 1 that has none of these yet.
    #[test]
    fn nobody_is_put_into_a_group_that_lacks_cpus_or_memory() {
        for lacking in ["cpuset.cpus", "cpuset.mems"] {
            let root = tempfile::tempdir().unwrap();
            let base = root.path().join("cpuset");
            // what is a directory cannot be written
            fs::create_dir_all(base.join("g/sub").join(lacking)).unwrap();
            fs::write(base.join("cpuset.cpus"), "0-7").unwrap();
            fs::write(base.join("cpuset.mems"), "0").unwrap();
            enter(root.path(), "g/sub", &cpus("2"), 7).unwrap_err();
            assert!(!base.join("g/sub/cgroup.procs").exists(), "{lacking}");
        }
    }

    #[test]
    fn no_controller_or_a_name_that_leaves_the_root_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let cpus = cpus("0");
        assert!(enter(root.path(), "g", &cpus, 1).is_err());
        fs::write(root.path().join("cgroup.controllers"), "cpuset").unwrap();
        for bad in ["", "/g", "../g", "a/../../b"] {
            assert!(enter(root.path(), bad, &cpus, 1).is_err(), "{bad}");
        }
    }
}
