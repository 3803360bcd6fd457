//! Who signs for whom, with the key store open, locked, damaged and gone.

use super::*;
use crate::wallet::{Effort, Key};
use damocles_node::KeyType;
use std::fs;
use tempfile::TempDir;

/// A key store on disk that opens quickly.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) policy: WalletPolicy,
}

impl Place {
    /// With these keys.
    pub(crate) fn with(keys: &[Key]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut wallet = Wallet::default();
        for key in keys {
            wallet.add(key.clone(), None, 0).unwrap();
        }
        let effort = Effort {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
        };
        wallet
            .create(&dir.path().join(FILE), b"open", effort)
            .unwrap();
        let policy = WalletPolicy {
            password_file: Some(dir.path().join("password")),
            ..WalletPolicy::default()
        };
        let place = Self { dir, policy };
        place.password("open");
        place
    }

    pub(crate) fn password(&self, text: &str) {
        fs::write(self.dir.path().join("password"), text).unwrap();
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::load(&self.policy, self.dir.path())
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }
}

fn locked(signer: &Signer) -> bool {
    matches!(signer, Signer::Locked(_))
}

#[test]
fn the_store_signs_for_its_own_and_the_node_for_the_others() {
    let (ours, other) = (
        Key::generate(KeyType::Secp256k1),
        Key::generate(KeyType::Bls),
    );
    let place = Place::with(std::slice::from_ref(&ours));
    let keys = place.keys();
    assert_eq!(keys.trouble(), None);
    assert_eq!(keys.addresses(), [ours.address()]);
    assert_eq!(keys.signer(&ours.address()), Signer::Store);
    assert_eq!(keys.signer(&other.address()), Signer::Node);
    assert_eq!(Keys::none().signer(&ours.address()), Signer::Node);

    let message = Message::send(ours.address(), other.address(), Default::default());
    let signed = keys.sign(&message).unwrap();
    let bytes = message.cid().to_bytes();
    signed.signature.verify(&bytes, &ours.address()).unwrap();
    let foreign = Message::send(other.address(), ours.address(), Default::default());
    assert_eq!(keys.sign(&foreign), None);
}

#[test]
fn a_locked_store_holds_back_its_own_senders_and_no_others() {
    let (ours, other) = (
        Key::generate(KeyType::Secp256k1),
        Key::generate(KeyType::Bls),
    );
    let place = Place::with(std::slice::from_ref(&ours));
    place.password("another");
    let keys = place.keys();
    let why = keys.trouble().unwrap();
    assert!(why.contains("the password does not open it"), "{why}");
    assert!(!why.contains("another\n"), "{why}");
    assert_eq!(keys.signer(&ours.address()), Signer::Locked(why));
    assert_eq!(keys.signer(&other.address()), Signer::Node);
    let message = Message::send(ours.address(), other.address(), Default::default());
    assert_eq!(keys.sign(&message), None);
    assert!(!keys.unlock());
    place.password("open\n");
    assert!(keys.unlock());
    assert_eq!(keys.signer(&ours.address()), Signer::Store);
}

#[test]
fn a_store_that_cannot_be_read_may_be_anybodys() {
    let key = Key::generate(KeyType::Bls);
    let place = Place::with(std::slice::from_ref(&key));
    let good = fs::read(place.file()).unwrap();
    let other = Key::generate(KeyType::Bls).address();
    fs::write(place.file(), b"{").unwrap();
    assert!(locked(&place.keys().signer(&other)));
    // cut off behind its first line it is locked, and tells whose it is no better
    fs::write(place.file(), &good[..good.len() - 9]).unwrap();
    assert!(locked(&place.keys().signer(&key.address())));
    fs::remove_file(place.file()).unwrap();
    // the one in the home is there or not; one that a person named must be
    assert_eq!(place.keys().signer(&key.address()), Signer::Node);
    let named = WalletPolicy {
        path: Some(place.file()),
        ..place.policy.clone()
    };
    let keys = Keys::load(&named, place.dir.path());
    assert!(keys.trouble().unwrap().contains("there is no key store"));
    assert!(locked(&keys.signer(&key.address())));
    fs::write(place.file(), good).unwrap();
    assert!(keys.unlock());
}

#[test]
fn without_a_password_it_is_locked_and_says_what_to_set() {
    let place = Place::with(&[]);
    let keys = Keys::load(&WalletPolicy::default(), place.dir.path());
    let why = keys.trouble().unwrap();
    assert!(why.contains("PasswordFile or Credential"), "{why}");
}
