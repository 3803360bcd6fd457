//! The node behind the RPC: the network, the wallet, the tokens, the memory of what was sent.

use std::path::{Path, PathBuf};

use anyhow::Context;
use damocles_daemon::exit::{Exit, Fatal};
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use parking_lot::Mutex;

use super::door::{Door, Kind};
use super::shapes::{self, base58};
use crate::auth::Auth;
use crate::fatal::fatal;
use crate::network::{Network, NetworkConfig};
use crate::randomness::blake2b256;
use crate::sent::SentMessages;
use crate::snapshot::BadSnapshot;
use crate::wallet::{GenesisKeys, Wallet};

/// Funds of each genesis key.
const GENESIS_FIL: i64 = 1_000_000;

/// One node; shared by every connection.
#[derive(Debug)]
pub struct Node {
    pub network: Network,
    pub auth: Auth,
    pub wallet: Mutex<Wallet>,
    /// Not held while a message is pushed: as on Lotus, two pushes with one id that run at the
    /// same time make two messages.
    pub(crate) sent: Mutex<SentMessages>,
    pub(crate) door: Door,
    /// Where it listens, for `NetAddrsListen`.
    pub(crate) multiaddr: String,
    pub(crate) peer_id: String,
    repo: PathBuf,
}

impl Node {
    /// Opens wallet, tokens and sent messages of a repository, and its network: loaded when
    /// there is a snapshot, else made by `config`, which gets the keys of genesis. Blocking.
    pub fn open(
        repo: &Path,
        seed: [u8; 32],
        multiaddr: String,
        config: impl FnOnce(&GenesisKeys, Vec<(Address, TokenAmount)>) -> NetworkConfig,
    ) -> anyhow::Result<Self> {
        let auth = Auth::load_or_create(repo)?;
        let mut wallet = Wallet::open(repo)?;
        let sent = SentMessages::open(repo)?;
        let network = if Network::exists(repo) {
            Network::load(repo).map_err(unreadable)?
        } else {
            let keys = wallet.add_genesis_keys(&seed)?;
            let funds = TokenAmount::from_whole(GENESIS_FIL);
            let funded = vec![(keys.miner, funds.clone()), (keys.faucet, funds)];
            let network = Network::create(config(&keys, funded))?;
            network.save()?;
            network
        };
        let node = Node {
            network,
            auth,
            wallet: Mutex::new(wallet),
            sent: Mutex::new(sent),
            door: Door::new(Kind::Full),
            multiaddr,
            peer_id: peer_id(&seed),
            repo: repo.to_owned(),
        };
        node.repool();
        Ok(node)
    }

    /// Another node of the same network, under a directory of this one's repository: it takes
    /// the same tokens, has an empty wallet and a head of its own.
    pub fn beside(&self, kind: Kind, name: &str, multiaddr: String) -> anyhow::Result<Self> {
        let repo = self.repo.join(name);
        std::fs::create_dir_all(&repo)
            .with_context(|| format!("could not make the directory {}", repo.display()))?;
        let seed = blake2b256(self.peer_id.as_bytes());
        Ok(Node {
            network: self.network.beside(),
            auth: self.auth.clone(),
            wallet: Mutex::new(Wallet::open(&repo)?),
            sent: Mutex::new(SentMessages::open(&repo)?),
            door: Door::new(kind),
            multiaddr,
            peer_id: peer_id(&seed),
            repo,
        })
    }

    /// The repository.
    pub fn repo(&self) -> &Path {
        &self.repo
    }

    /// Writes the admin token and the multiaddress where Lotus' clients look for them.
    pub fn announce(&self) -> Result<(), Fatal> {
        self.auth.write_token(&self.repo)?;
        let path = self.repo.join(crate::auth::API);
        damocles_daemon::file::write_atomic(&path, self.multiaddr.as_bytes(), 0o644)
            .map_err(|e| crate::auth::unwritable(&path, &e))
    }

    /// Takes the multiaddress back: nobody listens there any more (Lotus does the same).
    pub fn withdraw(&self) -> Result<(), Fatal> {
        let path = self.repo.join(crate::auth::API);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(crate::auth::unwritable(&path, &e))
            }
            _ => Ok(()),
        }
    }

    /// Puts back into the pool what was sent but is neither on chain nor pooled: the snapshot
    /// may be older than the last push (Lotus keeps its own messages the same way).
    fn repool(&self) {
        for message in self.sent.lock().all() {
            let cid = message.cid();
            // What is on chain, replaced or waiting is known; only what nobody knows comes back.
            if self.network.message(&cid).is_some() {
                continue;
            }
            match self.network.push(shapes::to_signed(message)) {
                Ok(_) => tracing::info!(%cid, "put a sent message back into the pool"),
                Err(error) => {
                    tracing::warn!(%cid, %error, "a sent message is not on chain and cannot return to the pool");
                }
            }
        }
    }
}

/// A snapshot that cannot be used has its own exit code.
fn unreadable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<BadSnapshot>() {
        Ok(bad) => fatal(Exit::Data, bad).into(),
        Err(other) => other,
    }
}

/// A libp2p peer id in the form of an ed25519 key, made from the seed; nobody can be reached
/// under it.
fn peer_id(seed: &[u8; 32]) -> String {
    let key = blake2b256(&[&seed[..], b"peer"].concat());
    // identity multihash of the protobuf {1: Ed25519, 2: key}
    let bytes = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], &key[..]].concat();
    base58(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_ids_look_like_those_of_libp2p() {
        let id = peer_id(&[1; 32]);
        assert!(id.starts_with("12D3KooW"), "{id}");
        assert_eq!(id.len(), 52);
        assert_ne!(id, peer_id(&[2; 32]));
    }
}
