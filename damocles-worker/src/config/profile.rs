//! The fleet's profile that a host's file is laid over: which one is wanted, where the last one is
//! kept, and what comes of both.

use super::checked::{ManagerConfig, check_manager};
use damocles_daemon::{
    config::{Report, parse, text_of},
    exit::{Exit, Fatal},
    file,
};
use damocles_worker_config::{
    RawConfig, lay_over,
    profile::{self, ASSIGNED},
    raw::RULES,
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// A profile that a host's file asks for.
#[derive(Clone, Debug)]
pub struct WantedProfile {
    /// Its name, or `assigned`.
    pub name: String,
    /// The worker's name, where the file says one.
    pub worker: String,
    pub manager: ManagerConfig,
    /// Where the last one is kept.
    pub copy: PathBuf,
}

/// A profile that was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub text: String,
    /// Why it is the last one that was kept, and not the manager's.
    pub kept: Option<String>,
}

impl Profile {
    /// As messages name it.
    fn called(&self) -> String {
        format!("the profile {:?}", self.name)
    }
}

/// Where profiles come from.
pub type ProfileSource<'a> = &'a dyn Fn(&WantedProfile) -> Result<Profile, Fatal>;

/// The first line of a copy, before the profile itself.
fn headline(wanted: &str, name: &str) -> String {
    format!("# profile {name} (asked for: {wanted}), as the manager gave it last")
}

impl WantedProfile {
    /// The copy on disk. `why`: the manager was not asked, or did not answer.
    ///
    /// # Errors
    /// There is none of this profile, or it cannot be read.
    pub fn kept(&self, why: &str) -> Result<Profile, Fatal> {
        let none = |what: String| {
            Fatal::new(Exit::Unreachable, what)
                .hint("start the manager, or correct rpc_client.addr; the profile is kept for the next time once it was got")
        };
        let shown = self.copy.display();
        let text = fs::read_to_string(&self.copy).map_err(|e| {
            let name = &self.name;
            none(format!(
                "{why}, and the profile {name:?} was never kept ({shown}: {e})"
            ))
        })?;
        let (head, text) = text.split_once('\n').unwrap_or_default();
        let name = head.strip_prefix("# profile ");
        let name = name.and_then(|rest| rest.split_once(" (asked for: "));
        match name.filter(|(name, _)| headline(&self.name, name) == head) {
            Some((name, _)) => Ok(Profile {
                name: name.to_owned(),
                text: text.to_owned(),
                kept: Some(why.to_owned()),
            }),
            None => Err(none(format!(
                "{why}, and {shown} keeps another profile than {:?}",
                self.name
            ))),
        }
    }

    /// Keeps it for a start without the manager, for nobody else to read: variables may be secrets.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, profile: &Profile) -> io::Result<()> {
        let head = headline(&self.name, &profile.name);
        let text = format!("{head}\n{}", profile.text);
        if fs::read_to_string(&self.copy).is_ok_and(|now| now == text) {
            return Ok(());
        }
        file::write_atomic(&self.copy, text.as_bytes(), 0o600)
    }
}

/// Files laid over each other, and what is wrong with them.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) raw: RawConfig,
    pub(super) report: Report,
    /// What was wanted and got.
    pub(super) profile: Option<(WantedProfile, Profile)>,
}

/// Reads a host's file, and the profile that it names.
pub(super) fn read(path: &Path, source: ProfileSource<'_>) -> Result<Layers, Fatal> {
    let text = text_of(path)?;
    let (own, mut report) = parse::<RawConfig>(path, &text, &RULES);
    let own = own.unwrap_or_default();
    let Some(wanted) = wanted(path, &own, &mut report) else {
        return Ok(Layers {
            raw: own,
            report,
            profile: None,
        });
    };
    let profile = source(&wanted)?;
    let (_, under) = profile::read(Path::new(&profile.called()), &profile.text);
    // what cannot be read is among the faults
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let laid = lay_over(table(&profile.text), table(&text));
    let raw = laid.table.clone().try_into::<RawConfig>().unwrap_or(own);
    let report = report.laid_over(
        under,
        &profile.called(),
        |key| laid.moved(key),
        |key| laid.keeps(key),
    );
    Ok(Layers {
        raw,
        report,
        profile: Some((wanted, profile)),
    })
}

/// None: the file names none, or names it wrongly.
fn wanted(path: &Path, own: &RawConfig, report: &mut Report) -> Option<WantedProfile> {
    let section = &own.sector_manager;
    let name = section.profile.clone()?;
    let key = "sector_manager.profile";
    if let Err(why) = profile::check_name(&name) {
        report.fault(key, why);
        return None;
    }
    if name == ASSIGNED && own.worker.name.is_none() {
        report.fault(
            key,
            format!("is {ASSIGNED:?}, and the manager assigns profiles by the worker's name: write one in [worker] name"),
        );
        return None;
    }
    let manager = check_manager(&section.rpc_client, report)?;
    let copy = section.profile_copy.clone();
    Some(WantedProfile {
        name,
        worker: own.worker.name.clone().unwrap_or_default(),
        manager,
        copy: copy.unwrap_or_else(|| copy_beside(path, env::var_os("STATE_DIRECTORY"))),
    })
}

/// `worker.toml` keeps its profile in `worker.profile.toml`.
fn copy_beside(path: &Path, state: Option<std::ffi::OsString>) -> PathBuf {
    let beside = path.with_extension("profile.toml");
    // of several directories, systemd separates them by colons
    let state = state.and_then(|dirs| env::split_paths(&dirs).next());
    match (state, beside.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => beside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lies_beside_the_file_or_where_systemd_lets_a_service_write() {
        let file = Path::new("/etc/damocles/worker.toml");
        for (state, copy) in [
            (None, "/etc/damocles/worker.profile.toml"),
            (Some("/var/lib/w"), "/var/lib/w/worker.profile.toml"),
            (
                Some("/var/lib/w:/var/lib/x"),
                "/var/lib/w/worker.profile.toml",
            ),
        ] {
            assert_eq!(copy_beside(file, state.map(Into::into)), Path::new(copy));
        }
    }
}
