//! The start of a pool's children: several at a time, and none any more once a stop comes.

use crate::{
    kind::Stage,
    parent::{
        cancel::Cancel,
        keeper::{Child, ChildError, OnChange},
        leftovers,
        spec::ChildSpec,
    },
    pin::{CGROUP_ROOT, cgroup},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Whose child did not start, and why.
type NotStarted = (Option<Stage>, ChildError);

/// A child that is to be started, and whose it is; none: a sealing daemon.
pub(super) struct Asked {
    pub(super) of: Option<Stage>,
    pub(super) spec: ChildSpec,
    pub(super) on_change: OnChange,
}

/// How many children start at once.
const MOST_STARTING: usize = 8;

/// Starts all, several at a time, and waits until each is ready; in the order given. The first
/// that fails, or a stop, ends the others as well.
pub(super) fn start_all(
    asked: Vec<Asked>,
    stop: &Cancel,
) -> Result<Vec<(Option<Stage>, Child)>, NotStarted> {
    let threads = asked.len().min(MOST_STARTING);
    let todo = Mutex::new(asked.into_iter().enumerate());
    let done: Mutex<BTreeMap<usize, (Option<Stage>, Child)>> = Mutex::default();
    let failed: Mutex<Option<NotStarted>> = Mutex::default();
    let work = || {
        loop {
            let Some((
                index,
                Asked {
                    of,
                    spec,
                    on_change,
                },
            )) = todo.lock().next()
            else {
                return;
            };
            let unwanted = || stop.is_cancelled() || failed.lock().is_some();
            let wanted = match unwanted() {
                true => Err(ChildError::Cancelled),
                false => Ok(()),
            };
            let started = wanted
                .and_then(|()| Child::start(spec, on_change))
                .and_then(|child| child.wait_until_ready(&unwanted).map(|()| child));
            match started {
                Ok(child) => {
                    done.lock().insert(index, (of, child));
                }
                Err(error) => {
                    failed.lock().get_or_insert((of, error));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let started = done.into_inner();
    let Some(error) = failed.into_inner() else {
        return Ok(started.into_values().collect());
    };
    // side by side
    started.values().for_each(|(_, child)| child.part());
    Err(error)
}

/// What a daemon that was killed could not take away: processes, and cgroups with what still runs
/// in them.
pub(super) fn clear_leftovers(asked: &[Asked]) {
    match leftovers::end_all() {
        0 => {}
        n => tracing::warn!(
            "{n} processes were left running by a daemon that is gone; they were killed"
        ),
    }
    let groups = asked
        .iter()
        .filter_map(|asked| asked.spec.cgroup.as_deref());
    let parents: BTreeSet<&str> = groups
        .filter_map(|name| Some(name.rsplit_once('/')?.0))
        .collect();
    for parent in parents {
        let lives = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
        match cgroup::remove_leftovers(Path::new(CGROUP_ROOT), parent, &lives) {
            Ok(0) => {}
            Ok(n) => tracing::info!("{n} cgroups in {parent} were left by a daemon that is gone"),
            Err(error) => tracing::debug!("leftovers in the cgroup {parent} stay: {error}"),
        }
    }
}
