//! The key store: several keys in one sealed file, which is replaced as a whole. Who changes it
//! holds the lock of its directory from reading to writing.

use super::{
    key::{Bare, Key, KeyError},
    sealed::{Effort, LARGEST, Sealed, SealedError, seal},
};
use damocles_daemon::file::{create_atomic, write_atomic};
use damocles_node::wire::parse_address;
use fvm_shared::address::Address;
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Nobody else may read the file.
const MODE: u32 = 0o600;
/// Keys in one store; more than a miner has control addresses, and few enough to be looked at.
const MOST_KEYS: usize = 1000;
/// Bytes of a key in the sealed contents at most: names, addresses and a private key.
const LARGEST_ENTRY: usize = 512;
/// Bytes of a key's name.
pub const LONGEST_NAME: usize = 64;

/// Why the key store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("there is no key store at {}", .0.display())]
    Missing(PathBuf),
    #[error("there is a key store at {} already", .0.display())]
    Exists(PathBuf),
    #[error("the key store {} cannot be opened: {what}", .path.display())]
    Sealed {
        path: PathBuf,
        #[source]
        what: SealedError,
    },
    #[error("the key store {} cannot be {verb}: {error}", .path.display())]
    Io {
        path: PathBuf,
        verb: &'static str,
        error: io::Error,
    },
    #[error("another command is changing the key store {} now; try again when it has ended", .0.display())]
    Busy(PathBuf),
    #[error("the key store has no key of {0}")]
    NoKey(Address),
    #[error("the key store has the key of {0} already")]
    HasKey(Address),
    #[error("the key store holds {MOST_KEYS} keys, and no more go in")]
    Full,
    #[error(
        "a name has 1 to {LONGEST_NAME} printable characters, and no two keys have the same one"
    )]
    Name,
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A key in the store.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    /// What people call it.
    pub name: Option<String>,
    /// Unix seconds.
    pub added_at: i64,
}

/// An opened key store.
#[derive(Debug, Default)]
pub struct Wallet {
    /// In the order in which they came.
    entries: Vec<Entry>,
    /// The one that commands take when none is named.
    default: Option<Address>,
}

/// The sealed contents. Field names are for ever; new ones have a default.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    default: Option<String>,
    keys: Vec<Held<Bare>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContentsOut<'a> {
    default: Option<String>,
    keys: Vec<Held<&'a Bare>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Held<K> {
    key: K,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    added_at: i64,
}

/// An address as the file writes it, whichever network the process works on: `f…`.
fn text(address: &Address) -> String {
    let shown = address.to_string();
    format!("f{}", shown.get(1..).unwrap_or_default())
}

/// The file's bytes.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, WalletError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => WalletError::Missing(path.to_owned()),
        _ => unread(path, error),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unread(path, error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(closed(path)(SealedError::Damaged("it is too large")));
    }
    Ok(bytes)
}

fn unread(path: &Path, error: io::Error) -> WalletError {
    WalletError::Io {
        path: path.to_owned(),
        verb: "read",
        error,
    }
}

pub(super) fn closed(path: &Path) -> impl Fn(SealedError) -> WalletError {
    move |what| WalletError::Sealed {
        path: path.to_owned(),
        what,
    }
}

/// The key addresses that a file says it signs for, without a password.
///
/// # Errors
/// [`WalletError`] of a file that is not there or no key store.
pub fn addresses(path: &Path) -> Result<Vec<Address>, WalletError> {
    let sealed = Sealed::read(&bytes(path)?).map_err(closed(path))?;
    let damaged = |_| closed(path)(SealedError::Damaged("an address in its first line is none"));
    let all = sealed.addresses().iter().map(|text| parse_address(text));
    all.collect::<Result<_, _>>().map_err(damaged)
}

/// A lock on the key store of that path; it goes with the value.
///
/// # Errors
/// [`WalletError::Busy`], [`WalletError::Io`].
pub fn lock(path: &Path) -> Result<File, WalletError> {
    let directory = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let failed = |error| WalletError::Io {
        path: path.to_owned(),
        verb: "locked",
        error,
    };
    let directory = File::open(directory).map_err(failed)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(WalletError::Busy(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Wallet {
    /// Opens the file.
    ///
    /// # Errors
    /// [`WalletError`].
    pub fn open(path: &Path, password: &[u8]) -> Result<Self, WalletError> {
        let closed = closed(path);
        let sealed = Sealed::read(&bytes(path)?).map_err(&closed)?;
        let contents = sealed.open(password).map_err(&closed)?;
        // what serde says may quote the contents
        let inside = || closed(SealedError::Damaged("what is inside cannot be read"));
        let Contents { default, keys } = serde_json::from_slice(&contents).map_err(|_| inside())?;
        let mut wallet = Self::default();
        for Held {
            key,
            name,
            added_at,
        } in keys
        {
            wallet.entries.push(Entry {
                key: Key::try_from(key).map_err(|_| inside())?,
                name,
                added_at,
            });
        }
        let default = default.and_then(|text| parse_address(&text).ok());
        wallet.default = default.filter(|address| wallet.entry(address).is_some());
        Ok(wallet)
    }

    /// Makes the file, where there must be none yet.
    ///
    /// # Errors
    /// [`WalletError::Exists`], [`WalletError::Io`].
    pub fn create(&self, path: &Path, password: &[u8], effort: Effort) -> Result<(), WalletError> {
        let bytes = self.sealed(path, password, effort)?;
        create_atomic(path, &bytes, MODE).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => WalletError::Exists(path.to_owned()),
            _ => unwritten(path, error),
        })
    }

    /// Replaces the file. Its reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`WalletError::Io`].
    pub fn save(&self, path: &Path, password: &[u8], effort: Effort) -> Result<(), WalletError> {
        let bytes = self.sealed(path, password, effort)?;
        write_atomic(path, &bytes, MODE).map_err(|error| unwritten(path, error))
    }

    fn sealed(&self, path: &Path, password: &[u8], effort: Effort) -> Result<Vec<u8>, WalletError> {
        let out = ContentsOut {
            default: self.default.as_ref().map(text),
            keys: self
                .entries
                .iter()
                .map(|entry| Held {
                    key: entry.key.bare(),
                    name: entry.name.clone(),
                    added_at: entry.added_at,
                })
                .collect(),
        };
        // with room from the beginning: what grows leaves copies of itself behind
        let room = LARGEST_ENTRY * (self.entries.len() + 1);
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, &out)
            .map_err(|e| closed(path)(SealedError::Machine(e.to_string())))?;
        let addresses = self.entries.iter().map(|e| text(&e.key.address()));
        seal(password, &json, addresses.collect(), effort).map_err(closed(path))
    }

    /// The keys, in the order in which they came.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, address: &Address) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key.address() == *address)
    }

    pub fn default_address(&self) -> Option<Address> {
        self.default
    }

    /// Takes a key in; the first one is the default.
    ///
    /// # Errors
    /// [`WalletError::HasKey`], [`WalletError::Full`], [`WalletError::Name`].
    pub fn add(
        &mut self,
        key: Key,
        name: Option<String>,
        now: i64,
    ) -> Result<Address, WalletError> {
        let address = key.address();
        if self.entry(&address).is_some() {
            return Err(WalletError::HasKey(address));
        }
        if self.entries.len() >= MOST_KEYS {
            return Err(WalletError::Full);
        }
        if let Some(name) = &name {
            let fits = (1..=LONGEST_NAME).contains(&name.len())
                && !name.chars().any(char::is_control)
                && !self.entries.iter().any(|e| e.name.as_ref() == Some(name));
            if !fits {
                return Err(WalletError::Name);
            }
        }
        self.entries.push(Entry {
            key,
            name,
            added_at: now,
        });
        self.default.get_or_insert(address);
        Ok(address)
    }

    /// # Errors
    /// [`WalletError::NoKey`].
    pub fn set_default(&mut self, address: &Address) -> Result<(), WalletError> {
        let entry = self.entry(address).ok_or(WalletError::NoKey(*address))?;
        self.default = Some(entry.key.address());
        Ok(())
    }

    /// Forgets a key. If it was the default, the oldest one that is left becomes it.
    ///
    /// # Errors
    /// [`WalletError::NoKey`].
    pub fn remove(&mut self, address: &Address) -> Result<(), WalletError> {
        let before = self.entries.len();
        self.entries.retain(|e| e.key.address() != *address);
        if self.entries.len() == before {
            return Err(WalletError::NoKey(*address));
        }
        if self.default == Some(*address) {
            self.default = self.entries.first().map(|e| e.key.address());
        }
        Ok(())
    }
}

fn unwritten(path: &Path, error: io::Error) -> WalletError {
    WalletError::Io {
        path: path.to_owned(),
        verb: "written",
        error,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
