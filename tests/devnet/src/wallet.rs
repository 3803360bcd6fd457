//! The node's wallet: BLS and secp256k1 keys in one file of the repository (mode 0600). The
//! keys of genesis are made from the network's seed, so that a seed gives the same addresses
//! on every machine; they protect nothing but a test network.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bls_signatures::Serialize as _;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_daemon::file::write_atomic;
use damocles_node::{KeyInfo, KeyType, wire};
use fvm_shared::address::Address;
use fvm_shared::crypto::signature::{Signature, SignatureType};
use k256::ecdsa::SigningKey;
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::auth::unwritable;
use crate::randomness::blake2b256;

/// File of the wallet inside the repository.
const FILE: &str = "wallet.json";

/// Why a wallet could not do what it was asked for. The texts follow Lotus'.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("signing using private key: key not found for address {0}")]
    NoKey(Address),
    #[error("invalid private key: {0}")]
    BadKey(String),
    #[error("failed to get default key: no keys in the wallet")]
    NoDefault,
    #[error("signing failed: {0}")]
    Sign(String),
    #[error("the wallet file could not be written: {0}")]
    Write(#[from] io::Error),
}

/// One key and the address that it speaks for.
#[derive(Clone)]
struct Key {
    address: Address,
    info: KeyInfo,
}

impl Key {
    fn new(info: KeyInfo) -> Result<Self, WalletError> {
        let address = match info.r#type {
            KeyType::Bls => {
                let public = bls(&info)?.public_key().as_bytes();
                Address::new_bls(&public)
            }
            KeyType::Secp256k1 => {
                let public = secp(&info)?.verifying_key().to_encoded_point(false);
                Address::new_secp256k1(public.as_bytes())
            }
        };
        let address = address.map_err(|e| WalletError::BadKey(e.to_string()))?;
        Ok(Key { address, info })
    }

    /// A key made of 32 bytes that nobody else knows (or, at genesis, everybody).
    fn from_entropy(kind: KeyType, mut entropy: [u8; 32]) -> Result<Self, WalletError> {
        let private_key = match kind {
            KeyType::Bls => bls_signatures::PrivateKey::new(entropy).as_bytes(),
            KeyType::Secp256k1 => {
                // Nearly every 32 bytes are a scalar; the rest is hashed until it is one.
                while SigningKey::from_slice(&entropy).is_err() {
                    entropy = blake2b256(&entropy);
                }
                entropy.to_vec()
            }
        };
        Self::new(KeyInfo {
            r#type: kind,
            private_key,
        })
    }
}

fn bls(info: &KeyInfo) -> Result<bls_signatures::PrivateKey, WalletError> {
    bls_signatures::PrivateKey::from_bytes(&info.private_key)
        .map_err(|e| WalletError::BadKey(e.to_string()))
}

fn secp(info: &KeyInfo) -> Result<SigningKey, WalletError> {
    SigningKey::from_slice(&info.private_key).map_err(|e| WalletError::BadKey(e.to_string()))
}

/// The addresses that a network is born with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisKeys {
    /// Owner and worker of the genesis miner; BLS.
    pub miner: Address,
    /// A funded account with a secp256k1 key, for whoever signs by himself.
    pub faucet: Address,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    #[serde(with = "wire")]
    default: Option<Address>,
    keys: Vec<KeyInfo>,
}

/// Keys in memory, written through to the repository's file.
pub struct Wallet {
    path: PathBuf,
    default: Option<Address>,
    keys: BTreeMap<Vec<u8>, Key>,
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wallet({} keys, hidden)", self.keys.len())
    }
}

impl Wallet {
    /// Opens the repository's wallet; a repository without one gets an empty one.
    pub fn open(repo: &Path) -> Result<Self, Fatal> {
        let path = repo.join(FILE);
        let damaged = |why: String| {
            Fatal::new(
                Exit::Data,
                format!("the wallet {} is damaged: {why}", path.display()),
            )
            .hint("restore it from a copy, or choose another directory with --repo")
        };
        let disk = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice::<OnDisk>(&bytes).map_err(|e| damaged(e.to_string()))?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => OnDisk::default(),
            Err(e) => {
                return Err(Fatal::new(
                    Exit::Refused,
                    format!("cannot read the wallet {}: {e}", path.display()),
                ));
            }
        };
        let mut keys = BTreeMap::new();
        for info in disk.keys {
            let key = Key::new(info).map_err(|e| damaged(e.to_string()))?;
            keys.insert(key.address.to_bytes(), key);
        }
        Ok(Wallet {
            path,
            default: disk.default,
            keys,
        })
    }

    /// Makes sure that the keys of genesis are there; the miner's is the default key.
    pub fn add_genesis_keys(&mut self, seed: &[u8; 32]) -> Result<GenesisKeys, Fatal> {
        let from_seed = |name: &str| blake2b256(&[&seed[..], name.as_bytes()].concat());
        let made = (|| {
            let miner = Key::from_entropy(KeyType::Bls, from_seed("miner"))?;
            let faucet = Key::from_entropy(KeyType::Secp256k1, from_seed("faucet"))?;
            let keys = GenesisKeys {
                miner: miner.address,
                faucet: faucet.address,
            };
            for key in [miner, faucet] {
                self.keys.insert(key.address.to_bytes(), key);
            }
            self.default.get_or_insert(keys.miner);
            Ok(keys)
        })();
        let keys = made.map_err(|e: WalletError| Fatal::new(Exit::Unexpected, e))?;
        self.save().map_err(|e| unwritable(&self.path, &e))?;
        Ok(keys)
    }

    fn save(&self) -> io::Result<()> {
        let disk = OnDisk {
            default: self.default,
            keys: self.keys.values().map(|k| k.info.clone()).collect(),
        };
        let bytes = serde_json::to_vec_pretty(&disk).map_err(io::Error::other)?;
        write_atomic(&self.path, &bytes, 0o600)
    }

    fn add(&mut self, key: Key) -> Result<Address, WalletError> {
        let address = key.address;
        self.keys.insert(address.to_bytes(), key);
        self.default.get_or_insert(address);
        self.save()?;
        Ok(address)
    }

    fn key(&self, address: &Address) -> Result<&Key, WalletError> {
        self.keys
            .get(&address.to_bytes())
            .ok_or(WalletError::NoKey(*address))
    }

    /// A new random key.
    pub fn create(&mut self, kind: KeyType) -> Result<Address, WalletError> {
        let mut entropy = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut entropy);
        self.add(Key::from_entropy(kind, entropy)?)
    }

    pub fn has(&self, address: &Address) -> bool {
        self.keys.contains_key(&address.to_bytes())
    }

    /// All addresses, in the order of their bytes.
    pub fn list(&self) -> Vec<Address> {
        self.keys.values().map(|k| k.address).collect()
    }

    pub fn default_address(&self) -> Result<Address, WalletError> {
        self.default.ok_or(WalletError::NoDefault)
    }

    pub fn set_default(&mut self, address: &Address) -> Result<(), WalletError> {
        self.default = Some(self.key(address)?.address);
        Ok(self.save()?)
    }

    pub fn export(&self, address: &Address) -> Result<KeyInfo, WalletError> {
        Ok(self.key(address)?.info.clone())
    }

    pub fn import(&mut self, info: KeyInfo) -> Result<Address, WalletError> {
        self.add(Key::new(info)?)
    }

    /// Forgets a key; without it Lotus' wallet says nothing either.
    pub fn delete(&mut self, address: &Address) -> Result<(), WalletError> {
        self.keys.remove(&address.to_bytes());
        if self.default == Some(*address) {
            self.default = self.keys.values().map(|k| k.address).next();
        }
        Ok(self.save()?)
    }

    /// Signs bytes with the key of a key address (secp256k1 signs their blake2b-256 hash).
    pub fn sign(&self, address: &Address, bytes: &[u8]) -> Result<Signature, WalletError> {
        let key = self.key(address)?;
        match key.info.r#type {
            KeyType::Bls => Ok(Signature {
                sig_type: SignatureType::BLS,
                bytes: bls(&key.info)?.sign(bytes).as_bytes(),
            }),
            KeyType::Secp256k1 => {
                let (signature, recovery) = secp(&key.info)?
                    .sign_prehash_recoverable(&blake2b256(bytes))
                    .map_err(|e| WalletError::Sign(e.to_string()))?;
                let mut bytes = signature.to_bytes().to_vec();
                bytes.push(recovery.to_byte());
                Ok(Signature {
                    sig_type: SignatureType::Secp256k1,
                    bytes,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn wallet() -> (tempfile::TempDir, Wallet, GenesisKeys) {
        let repo = tempfile::tempdir().unwrap();
        let mut wallet = Wallet::open(repo.path()).unwrap();
        let keys = wallet.add_genesis_keys(&[9; 32]).unwrap();
        (repo, wallet, keys)
    }

    #[test]
    fn signatures_verify_and_bind_the_bytes() {
        let (_repo, mut wallet, keys) = wallet();
        let fresh = wallet.create(KeyType::Secp256k1).unwrap();
        for address in [keys.miner, keys.faucet, fresh] {
            let signature = wallet.sign(&address, b"hello").unwrap();
            signature.verify(b"hello", &address).unwrap();
            assert!(signature.verify(b"hullo", &address).is_err());
        }
        let stranger = Address::new_id(5);
        assert!(matches!(
            wallet.sign(&stranger, b"x"),
            Err(WalletError::NoKey(_))
        ));
    }

    #[test]
    fn the_seed_decides_the_genesis_keys() {
        let (_a, _, one) = wallet();
        let (_b, _, two) = wallet();
        assert_eq!(one, two);
        let repo = tempfile::tempdir().unwrap();
        let mut other = Wallet::open(repo.path()).unwrap();
        assert_ne!(other.add_genesis_keys(&[8; 32]).unwrap(), one);
    }

    #[test]
    fn keys_survive_a_restart_in_a_private_file() {
        let (repo, mut wallet, keys) = wallet();
        let mine = wallet.create(KeyType::Bls).unwrap();
        wallet.set_default(&mine).unwrap();
        drop(wallet);
        let again = Wallet::open(repo.path()).unwrap();
        assert_eq!(again.list().len(), 3);
        assert!(again.has(&mine) && again.has(&keys.faucet));
        assert_eq!(again.default_address().unwrap(), mine);
        let meta = std::fs::metadata(repo.path().join(FILE)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn export_import_delete() {
        let (_repo, mut wallet, keys) = wallet();
        let info = wallet.export(&keys.faucet).unwrap();
        wallet.delete(&keys.faucet).unwrap();
        assert!(!wallet.has(&keys.faucet));
        assert_eq!(wallet.import(info).unwrap(), keys.faucet);
        let bad = KeyInfo {
            r#type: KeyType::Secp256k1,
            private_key: vec![0; 32],
        };
        assert!(wallet.import(bad).is_err());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let (repo, _, _) = wallet();
        std::fs::write(repo.path().join(FILE), b"{\"default\":null,\"keys\":[{}]}").unwrap();
        assert_eq!(Wallet::open(repo.path()).unwrap_err().exit, Exit::Data);
    }
}
