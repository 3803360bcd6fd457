//! `util wallet …`: the manager's own keys. The file is the daemon's, so these run on its host, as
//! its user; a running manager is asked only what the chain has of the addresses.

use super::{client::Reach, show, wallet_password::Opener};
use crate::{
    config::{self, CONFIG_FILE},
    policy::WalletPolicy,
    wallet::{self, Entry, Key, Wallet, WalletError},
};
use clap::{Args, Subcommand};
use damocles_api::damocles_cli::{AccountView, DamoclesCliClient};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_node::{KeyType, wire::parse_address};
use damocles_types::shown;
use fvm_shared::address::Address;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Longest text that is read as a key (bytes).
const LONGEST_KEY: u64 = 4096;

/// So much of a path is said where it cannot be read; what is secret of an exported key stands
/// behind its first 70 characters.
const LONGEST_PATH: usize = 60;

/// The manager's own keys, with which it signs messages itself.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager util wallet new --type secp256k1 --name post
  damocles-manager util wallet list
  damocles-manager util wallet import key.hex          what `lotus wallet export` printed
Without PasswordFile or Credential in [Common.Wallet] the password is asked for. A running manager
has read its keys at its start: restart it after a change.")]
pub(super) struct WalletArgs {
    /// Directory of sector-manager.cfg [default: DAMOCLES_CONF_DIR, or the home]
    #[arg(long, global = true, value_name = "DIR")]
    conf_dir: Option<PathBuf>,
    /// File whose first line is the password, whatever [Common.Wallet] says
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Make a key, and the key store if there is none
    #[command(after_help = "\
Example:
  damocles-manager util wallet new --type bls --name worker
Back the key store up before its address is used: a lost key is lost for ever.")]
    New {
        /// secp256k1 or bls
        #[arg(long, default_value = "secp256k1", value_name = "TYPE", value_parser = kind)]
        r#type: KeyType,
        /// What people call it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take in a key that another wallet exported
    #[command(after_help = "\
Example:
  lotus wallet export f3… | damocles-manager util wallet import
Delete the key there afterwards: of two programs with one key each takes nonces from the other.")]
    Import {
        /// File with what `lotus wallet export` printed; `-`, or none: standard input
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// What people call it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Make it the default
        #[arg(long)]
        as_default: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a private key, as `lotus wallet import` reads it
    #[command(after_help = "\
Example:
  damocles-manager util wallet export post --really-do-it > key.hex
Whoever has what is printed has the funds of the address.")]
    Export {
        /// Its address or name [default: the default key]
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// Print it
        #[arg(long)]
        really_do_it: bool,
    },
    /// The keys, and what the chain has of their addresses when the manager runs
    #[command(after_help = "\
Example:
  damocles-manager util wallet list --json | jq '.[].Address'")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show which key commands take when none is named, or choose it
    #[command(after_help = "\
Example:
  damocles-manager util wallet default post")]
    Default {
        /// Its address or name
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key
    #[command(after_help = "\
Example:
  damocles-manager util wallet delete post --really-do-it
Without a backup or an exported copy the funds of its address are lost.")]
    Delete {
        /// Its address or name
        #[arg(value_name = "KEY")]
        key: String,
        /// Remove it
        #[arg(long)]
        really_do_it: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn kind(text: &str) -> Result<KeyType, String> {
    [KeyType::Secp256k1, KeyType::Bls]
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| {
            format!(
                "there is no such type of key; write {} or {}",
                KeyType::Secp256k1.name(),
                KeyType::Bls.name()
            )
        })
}

/// A key store and what opens it.
struct Place {
    path: PathBuf,
    opener: Opener,
}

pub(super) async fn run(reach: Reach, home: &Path, args: WalletArgs) -> anyhow::Result<()> {
    let WalletArgs {
        conf_dir,
        password_file,
        command,
    } = args;
    let conf_dir = config::config_dir(conf_dir.as_deref(), home, &|name| std::env::var(name).ok());
    let mut policy: WalletPolicy = config::wallet_file(&conf_dir.join(CONFIG_FILE))?;
    if password_file.is_some() {
        policy.password_file = password_file;
    }
    let place = Place {
        path: wallet::place(&policy, home),
        opener: Opener::new(policy),
    };
    match command {
        WalletCommand::New { r#type, name, json } => {
            let added =
                tokio::task::block_in_place(|| place.add(Key::generate(r#type), name, false))?;
            said(&added, json)
        }
        WalletCommand::Import {
            file,
            name,
            as_default,
            json,
        } => {
            let added = tokio::task::block_in_place(|| {
                let key = Key::from_lotus(&text(file.as_deref())?);
                place.add(key.map_err(fatal)?, name, as_default)
            })?;
            said(&added, json)
        }
        WalletCommand::Export { key, really_do_it } => {
            tokio::task::block_in_place(|| place.export(key.as_deref(), really_do_it))
        }
        WalletCommand::List { json } => list(reach, home, &place, json).await,
        WalletCommand::Default { key, json } => {
            tokio::task::block_in_place(|| place.default(key.as_deref(), json))
        }
        WalletCommand::Delete {
            key,
            really_do_it,
            json,
        } => tokio::task::block_in_place(|| place.delete(&key, really_do_it, json)),
    }
}

/// What went wrong, for the person who typed the command.
fn fatal(error: impl Into<WalletError>) -> Fatal {
    let error = error.into();
    let (exit, hint) = match &error {
        WalletError::Missing(_) => (
            Exit::NotFound,
            "make one with `damocles-manager util wallet new` or `damocles-manager util wallet import`",
        ),
        WalletError::Sealed { .. } => (
            Exit::Data,
            "give the right password, or bring the file back from a backup",
        ),
        WalletError::NoKey(_) => (
            Exit::NotFound,
            "`damocles-manager util wallet list` shows those that there are",
        ),
        WalletError::HasKey(_) | WalletError::Full | WalletError::Name => (
            Exit::Refused,
            "`damocles-manager util wallet list` shows those that there are",
        ),
        WalletError::Exists(_) | WalletError::Busy(_) => (
            Exit::Refused,
            "repeat the command when the other one has ended",
        ),
        WalletError::Io { .. } => (
            Exit::Refused,
            "run this as the manager's user, on its host, with room on the disk",
        ),
        WalletError::Key(_) => (
            Exit::Usage,
            "give what `lotus wallet export` or `damocles-manager util wallet export` printed, whole",
        ),
    };
    Fatal::new(exit, error).hint(hint)
}

/// What is to be taken in, from a file or standard input.
fn text(file: Option<&Path>) -> Result<Zeroizing<String>, Fatal> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_KEY as usize + 1));
    let (read, from) = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => (
            std::fs::File::open(path)
                .and_then(|file| file.take(LONGEST_KEY + 1).read_to_string(&mut text)),
            // where somebody has typed the key itself, it is not said once more
            shown(&path.display().to_string(), LONGEST_PATH).into_owned(),
        ),
        None if std::io::stdin().is_terminal() => (
            rpassword::prompt_password("The exported key: ").map(|typed| {
                text = Zeroizing::new(typed);
                text.len()
            }),
            "the terminal".to_owned(),
        ),
        None => (
            std::io::stdin()
                .take(LONGEST_KEY + 1)
                .read_to_string(&mut text),
            "standard input".to_owned(),
        ),
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Fatal::new(
            Exit::Usage,
            format!("no key can be read from {from}: {error}"),
        )
        .hint("name the file that `lotus wallet export` was written to")),
    }
}

/// A key in the store, and whether it is the default.
struct Added {
    view: Value,
    address: Address,
}

fn view(entry: &Entry, default: Option<Address>) -> Value {
    let address = entry.key.address();
    json!({
        "Address": address.to_string(), "Type": entry.key.kind().name(), "Name": entry.name,
        "Default": default == Some(address), "AddedAt": entry.added_at,
    })
}

fn said(added: &Added, as_json: bool) -> anyhow::Result<()> {
    eprintln!(
        "back the key store up, and restart a running manager: it has read its keys at its start"
    );
    if as_json {
        return show::json(&added.view);
    }
    println!("{}", added.address);
    Ok(())
}

impl Place {
    fn open(&self) -> Result<Wallet, Fatal> {
        // nobody is asked for the password of what is not there
        wallet::addresses(&self.path).map_err(fatal)?;
        Wallet::open(&self.path, &self.opener.password(&self.path)?).map_err(fatal)
    }

    fn save(&self, wallet: &Wallet) -> Result<(), Fatal> {
        let password = self.opener.password(&self.path)?;
        let saved = wallet.save(&self.path, &password, wallet::Effort::USUAL);
        saved.map_err(fatal)
    }

    fn add(&self, key: Key, name: Option<String>, as_default: bool) -> Result<Added, Fatal> {
        let _lock = wallet::lock(&self.path).map_err(fatal)?;
        let now = SystemClock.now_seconds();
        let new = !self.path.exists();
        let mut wallet = if new { Wallet::default() } else { self.open()? };
        let address = wallet.add(key, name, now).map_err(fatal)?;
        if as_default {
            wallet.set_default(&address).map_err(fatal)?;
        }
        if new {
            let password = self.opener.new_password(&self.path)?;
            let made = wallet.create(&self.path, &password, wallet::Effort::USUAL);
            made.map_err(fatal)?;
            eprintln!("the key store {} was made", self.path.display());
        } else {
            self.save(&wallet)?;
        }
        let entry = wallet.entry(&address);
        let view = entry.map(|entry| view(entry, wallet.default_address()));
        Ok(Added {
            view: view.unwrap_or_default(),
            address,
        })
    }

    fn export(&self, key: Option<&str>, really: bool) -> anyhow::Result<()> {
        if !really {
            return Err(Fatal::new(
                Exit::Refused,
                "nothing was printed: whoever sees a private key has the funds of its address",
            )
            .hint("repeat the command with --really-do-it, where nobody looks on")
            .into());
        }
        let wallet = self.open()?;
        let entry = named(&wallet, key)?;
        println!("{}", *entry.key.to_lotus());
        Ok(())
    }

    fn default(&self, key: Option<&str>, as_json: bool) -> anyhow::Result<()> {
        let _lock = wallet::lock(&self.path).map_err(fatal)?;
        let mut wallet = self.open()?;
        let address = named(&wallet, key)?.key.address();
        if key.is_some() {
            wallet.set_default(&address).map_err(fatal)?;
            self.save(&wallet)?;
        }
        if as_json {
            return show::json(&view(named(&wallet, None)?, Some(address)));
        }
        println!("{address}");
        Ok(())
    }

    fn delete(&self, key: &str, really: bool, as_json: bool) -> anyhow::Result<()> {
        let _lock = wallet::lock(&self.path).map_err(fatal)?;
        let mut wallet = self.open()?;
        let address = named(&wallet, Some(key))?.key.address();
        if !really {
            return Err(Fatal::new(
                Exit::Refused,
                format!(
                    "nothing was changed: without a copy of it the funds of {address} would be lost"
                ),
            )
            .hint("repeat the command with --really-do-it to remove the key")
            .into());
        }
        wallet.remove(&address).map_err(fatal)?;
        self.save(&wallet)?;
        if as_json {
            let default = wallet.default_address().map(|a| a.to_string());
            return show::json(&json!({"Deleted": address.to_string(), "Default": default}));
        }
        println!("{address} is deleted; a running manager signs with it until it is restarted");
        Ok(())
    }
}

/// The key of that address or name; with none given, the default.
fn named<'a>(wallet: &'a Wallet, key: Option<&str>) -> Result<&'a Entry, Fatal> {
    let Some(text) = key else {
        let address = wallet.default_address();
        return address.and_then(|a| wallet.entry(&a)).ok_or_else(|| {
            Fatal::new(Exit::NotFound, "the key store holds no key")
                .hint("make one with `damocles-manager util wallet new`")
        });
    };
    let by_name = wallet.entries().iter();
    let mut by_name = by_name.filter(|e| e.name.as_deref() == Some(text));
    if let Some(entry) = by_name.next() {
        return Ok(entry);
    }
    match parse_address(text) {
        Ok(address) if address.id().is_ok() => Err(Fatal::new(
            Exit::Usage,
            format!("{text} is an actor's id, and the key store knows keys"),
        )
        .hint(
            "name the key's address (f1… or f3…); `damocles-manager util wallet list` shows both",
        )),
        Ok(address) => wallet
            .entry(&address)
            .ok_or_else(|| fatal(WalletError::NoKey(address))),
        Err(_) => Err(Fatal::new(
            Exit::NotFound,
            format!("the key store has no key that is called {text:?}, and that is no address"),
        )
        .hint("`damocles-manager util wallet list` shows those that there are")),
    }
}

async fn list(reach: Reach, home: &Path, place: &Place, as_json: bool) -> anyhow::Result<()> {
    let wallet = tokio::task::block_in_place(|| place.open())?;
    let addresses = wallet.entries().iter().map(|e| e.key.address().to_string());
    let addresses: Vec<String> = addresses.collect();
    let mut away = None;
    let mut accounts: Vec<AccountView> = Vec::new();
    reach
        .ask(home, async |manager| {
            match manager.rpc.accounts(addresses).await {
                Ok(told) => accounts = told,
                Err(error) => away = Some(manager.failed(error).message),
            }
            Ok(())
        })
        .await?;
    let known = |at: usize| accounts.get(at);
    if as_json {
        let all = wallet.entries().iter().enumerate().map(|(at, entry)| {
            let mut one = view(entry, wallet.default_address());
            one["Account"] = serde_json::to_value(known(at))?;
            Ok(one)
        });
        return show::json(&all.collect::<Result<Vec<Value>, serde_json::Error>>()?);
    }
    if wallet.entries().is_empty() {
        println!("the key store {} holds no key", place.path.display());
        return Ok(());
    }
    let mut table = Table::new(
        &[
            "address", "type", "name", "default", "id", "balance", "nonce",
        ],
        &["address", "name"],
    );
    for (at, entry) in wallet.entries().iter().enumerate() {
        let account = known(at);
        let address = entry.key.address();
        let default = wallet.default_address() == Some(address);
        table.add_row([
            account.map_or_else(|| address.to_string(), |a| a.address.clone()),
            entry.key.kind().name().to_owned(),
            show::or_dash(entry.name.as_ref()),
            show::or_dash(default.then_some("yes")),
            show::or_dash(account.and_then(|a| a.id.as_ref())),
            show::or_dash(
                account
                    .and_then(|a| a.balance.as_ref())
                    .map(|b| format!("{b} FIL")),
            ),
            show::or_dash(account.and_then(|a| a.nonce)),
        ]);
    }
    show::print(&table);
    for (entry, account) in wallet.entries().iter().zip(&accounts) {
        use damocles_api::damocles_cli::AccountSigner as S;
        let address = entry.key.address();
        match account.signer {
            S::KeyStore => {}
            S::LockedKeyStore => show::say(format!(
                "the running manager has {address} locked: {}",
                account.note.as_deref().unwrap_or_default()
            )),
            S::Messager => show::say(format!(
                "the running manager gives the messages of {address} to venus-messager, whatever keys are here"
            )),
            S::Node | S::Nobody => show::say(format!(
                "the running manager does not sign for {address}: it has read its keys before; restart it"
            )),
        }
    }
    if let Some(away) = away {
        show::say(format!("what the chain has of them is not shown: {away}"));
    }
    Ok(())
}
