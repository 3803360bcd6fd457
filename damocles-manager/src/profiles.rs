//! Profiles for workers: TOML files in a directory beside the manager's configuration, and which
//! worker has which. They are read anew for each question, so that a changed file needs no signal.

use damocles_api::profiles::{ProfileView, WorkerProfile};
use damocles_daemon::file::write_atomic;
use damocles_worker_config::profile::{self, ASSIGNED, LARGEST};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// The directory, beside `sector-manager.cfg`.
pub const DIRECTORY: &str = "worker-profiles";
/// Worker and profile, one a line of TOML.
const ASSIGNMENTS: &str = "assigned";
/// Longest name of a worker.
const LONGEST_WORKER: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("{0}")]
    Name(String),
    #[error("there is no profile {name:?} in {}; put one there as {name}.toml", dir.display())]
    Unknown { name: String, dir: PathBuf },
    #[error("{}: {error}", path.display())]
    Disk { path: PathBuf, error: io::Error },
    #[error("{} is larger than a profile can be ({LARGEST} bytes)", .0.display())]
    Large(PathBuf),
    #[error("{} cannot be read: {error}", path.display())]
    Assignments {
        path: PathBuf,
        error: toml::de::Error,
    },
}

/// One assignment at a time is written.
static WRITING: Mutex<()> = Mutex::new(());

/// The directory of profiles.
#[derive(Clone, Debug)]
pub struct Profiles {
    dir: PathBuf,
}

impl Profiles {
    /// Those beside a configuration file.
    pub fn beside(config: &Path) -> Self {
        let dir = config.parent().unwrap_or(Path::new("."));
        Self {
            dir: dir.join(DIRECTORY),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.toml"))
    }

    /// The one that a worker asks for; None: there is none, or none is assigned to it.
    ///
    /// # Errors
    /// It is there and cannot be read, or its name is none.
    pub fn wanted(&self, name: &str, worker: &str) -> Result<Option<WorkerProfile>, ProfileError> {
        if name != ASSIGNED {
            return self.named(name);
        }
        match self.assignments()?.remove(worker) {
            Some(name) => self.named(&name),
            None => Ok(None),
        }
    }

    fn named(&self, name: &str) -> Result<Option<WorkerProfile>, ProfileError> {
        profile::check_name(name).map_err(ProfileError::Name)?;
        let Some(text) = read(&self.file(name))? else {
            return Ok(None);
        };
        Ok(Some(WorkerProfile {
            name: name.to_owned(),
            digest: profile::digest(&text),
            text,
        }))
    }

    /// All of them, by name, with what is wrong with each.
    ///
    /// # Errors
    /// The directory or the assignments cannot be read.
    pub fn list(&self) -> Result<Vec<ProfileView>, ProfileError> {
        let assigned = self.assignments()?;
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(at(&self.dir))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".toml"));
            let Some(name) = name.filter(|name| profile::check_name(name).is_ok()) else {
                continue;
            };
            found.push(self.view(name, &assigned));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn view(&self, name: &str, assigned: &BTreeMap<String, String>) -> ProfileView {
        let (digest, faults) = match read(&self.file(name)) {
            Ok(text) => {
                let text = text.unwrap_or_default();
                (profile::digest(&text), faults_of(&self.file(name), &text))
            }
            Err(error) => (String::new(), vec![error.to_string()]),
        };
        let of_it = assigned.iter().filter(|(_, profile)| *profile == name);
        ProfileView {
            name: name.to_owned(),
            digest,
            faults,
            assigned: of_it.map(|(worker, _)| worker.clone()).collect(),
        }
    }

    /// Assigns one to a worker, or takes its assignment away. What it had before.
    ///
    /// # Errors
    /// There is no such profile, or it cannot be written down.
    pub fn assign(&self, worker: &str, name: Option<&str>) -> Result<Option<String>, ProfileError> {
        if worker.is_empty() || worker.len() > LONGEST_WORKER {
            let text = format!("a worker's name has 1 to {LONGEST_WORKER} bytes");
            return Err(ProfileError::Name(text));
        }
        if let Some(name) = name
            && self.named(name)?.is_none()
        {
            let (name, dir) = (name.to_owned(), self.dir.clone());
            return Err(ProfileError::Unknown { name, dir });
        }
        let _writing = WRITING.lock();
        let mut assigned = self.assignments()?;
        let before = match name {
            Some(name) => assigned.insert(worker.to_owned(), name.to_owned()),
            None => assigned.remove(worker),
        };
        let table: toml::Table = assigned
            .into_iter()
            .map(|(worker, name)| (worker, toml::Value::String(name)))
            .collect();
        let path = self.dir.join(ASSIGNMENTS);
        fs::create_dir_all(&self.dir).map_err(at(&self.dir))?;
        write_atomic(&path, table.to_string().as_bytes(), 0o644).map_err(at(&path))?;
        Ok(before)
    }

    fn assignments(&self) -> Result<BTreeMap<String, String>, ProfileError> {
        let path = self.dir.join(ASSIGNMENTS);
        let text = read(&path)?.unwrap_or_default();
        toml::from_str(&text).map_err(|error| ProfileError::Assignments { path, error })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ProfileError {
    let path = path.to_owned();
    move |error| ProfileError::Disk { path, error }
}

/// A file's text, if it is there; no more than a profile may have.
fn read(path: &Path) -> Result<Option<String>, ProfileError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
        // a pipe or a device may never end
        Ok(about) if !about.is_file() => {
            return Err(at(path)(io::Error::other("it is no regular file")));
        }
        Ok(_) => {}
    }
    let file = File::open(path).map_err(at(path))?;
    let mut text = String::new();
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    let read = file.take(most + 1).read_to_string(&mut text);
    match read.map_err(at(path))? > LARGEST {
        true => Err(ProfileError::Large(path.to_owned())),
        false => Ok(Some(text)),
    }
}

/// What is wrong with a profile.
fn faults_of(path: &Path, text: &str) -> Vec<String> {
    let (_, report) = profile::read(path, text);
    let one = |fault: &damocles_daemon::config::Fault| {
        let line = fault
            .line
            .map_or_else(String::new, |line| format!("line {line}: "));
        format!("{line}{}: {}", fault.key, fault.message)
    };
    report.faults.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> (tempfile::TempDir, Profiles) {
        let dir = tempfile::tempdir().unwrap();
        let profiles = Profiles::beside(&dir.path().join("sector-manager.cfg"));
        (dir, profiles)
    }

    #[test]
    fn a_profile_is_a_file_and_a_worker_has_the_one_that_it_was_assigned() {
        let (_dir, profiles) = profiles();
        assert_eq!(profiles.list().unwrap(), []);
        assert_eq!(profiles.wanted("epyc", "w1").unwrap(), None);
        fs::create_dir(&profiles.dir).unwrap();
        fs::write(profiles.file("epyc"), "[sealing]\nmax_retries = 3\n").unwrap();
        fs::write(profiles.file("bad"), "[sealing]\nmax_retrys = 3\n").unwrap();
        let got = profiles.wanted("epyc", "w1").unwrap().unwrap();
        assert_eq!(got.text, "[sealing]\nmax_retries = 3\n");
        assert_eq!(got.digest, profile::digest(&got.text));

        assert_eq!(profiles.wanted(ASSIGNED, "w1").unwrap(), None);
        assert_eq!(profiles.assign("w1", Some("epyc")).unwrap(), None);
        assert_eq!(profiles.wanted(ASSIGNED, "w1").unwrap(), Some(got));
        let list = profiles.list().unwrap();
        assert_eq!(list[0].name, "bad");
        assert!(list[0].faults[0].contains("line 2: sealing.max_retrys: unknown key"));
        assert_eq!(
            (list[1].assigned.as_slice(), list[1].faults.len()),
            (&["w1".to_owned()][..], 0)
        );
        assert_eq!(
            profiles.assign("w1", None).unwrap().as_deref(),
            Some("epyc")
        );
        assert_eq!(profiles.wanted(ASSIGNED, "w1").unwrap(), None);

        let unknown = profiles.assign("w1", Some("none")).unwrap_err().to_string();
        assert!(unknown.contains("put one there as none.toml"), "{unknown}");
    }

    #[test]
    fn no_name_leads_out_of_the_directory_and_nothing_endless_is_read() {
        let (dir, profiles) = profiles();
        fs::create_dir(&profiles.dir).unwrap();
        fs::write(dir.path().join("secret.toml"), "x").unwrap();
        for bad in ["../secret", "", "/etc/passwd", "a/b"] {
            assert!(
                matches!(profiles.wanted(bad, ""), Err(ProfileError::Name(_))),
                "{bad}"
            );
        }
        std::os::unix::fs::symlink("/dev/zero", profiles.file("zero")).unwrap();
        assert!(profiles.wanted("zero", "").is_err());
        fs::write(profiles.file("large"), vec![b'#'; LARGEST + 1]).unwrap();
        assert!(matches!(
            profiles.wanted("large", ""),
            Err(ProfileError::Large(_))
        ));
        assert!(profiles.assign("", Some("large")).is_err());
    }
}
