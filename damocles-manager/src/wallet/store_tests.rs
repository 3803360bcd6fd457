//! The key store on disk: what is in it, what becomes of it, and what is refused.

use super::*;
use damocles_node::KeyType;
use std::{fs, os::unix::fs::PermissionsExt};

pub(crate) const FAST: Effort = Effort {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};
const PASSWORD: &[u8] = b"correct horse";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("wallet.keys")
    }

    fn open(&self) -> Wallet {
        Wallet::open(&self.path(), PASSWORD).unwrap()
    }
}

fn two() -> (Wallet, Address, Address) {
    let mut wallet = Wallet::default();
    let name = Some("post".to_owned());
    let one = wallet.add(Key::generate(KeyType::Bls), name, 5).unwrap();
    let two = wallet
        .add(Key::generate(KeyType::Secp256k1), None, 6)
        .unwrap();
    (wallet, one, two)
}

#[test]
fn several_keys_lie_in_one_file_that_its_owner_alone_reads() {
    let place = Place::new();
    let (wallet, one, two) = two();
    wallet.create(&place.path(), PASSWORD, FAST).unwrap();
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = place.open();
    let found: Vec<_> = again.entries().iter().map(|e| &e.key).collect();
    let wanted: Vec<_> = wallet.entries().iter().map(|e| &e.key).collect();
    assert_eq!(found, wanted);
    assert_eq!(again.entries()[0].name.as_deref(), Some("post"));
    assert_eq!(again.entries()[1].added_at, 6);
    assert_eq!(addresses(&place.path()).unwrap(), [one, two]);
    // nothing of the keys stands in it
    let file = fs::read_to_string(place.path()).unwrap();
    for entry in wallet.entries() {
        let text = entry.key.to_lotus();
        let json = String::from_utf8(hex::decode(&*text).unwrap()).unwrap();
        let secret = json.split('"').nth(7).unwrap();
        assert!(!file.contains(secret) && !file.contains(&*text));
    }
    assert!(!file.contains("post"), "names are private as well");
}

#[test]
fn the_first_key_is_the_default_until_another_one_is() {
    let place = Place::new();
    let (mut wallet, one, two) = two();
    assert_eq!(wallet.default_address(), Some(one));
    wallet.set_default(&two).unwrap();
    wallet.create(&place.path(), PASSWORD, FAST).unwrap();
    let mut again = place.open();
    assert_eq!(again.default_address(), Some(two));
    again.remove(&two).unwrap();
    assert_eq!(again.default_address(), Some(one));
    again.remove(&one).unwrap();
    assert_eq!(again.default_address(), None);
    again.save(&place.path(), PASSWORD, FAST).unwrap();
    assert!(place.open().entries().is_empty());
    for refused in [again.set_default(&one), again.remove(&one)] {
        assert!(matches!(refused, Err(WalletError::NoKey(a)) if a == one));
    }
}

#[test]
fn nothing_is_replaced_by_accident() {
    let place = Place::new();
    let (mut wallet, ..) = two();
    wallet.create(&place.path(), PASSWORD, FAST).unwrap();
    let again = wallet.create(&place.path(), PASSWORD, FAST);
    assert!(matches!(again, Err(WalletError::Exists(_))));
    let key = wallet.entries()[0].key.clone();
    let same = wallet.add(key, None, 7);
    assert!(matches!(same, Err(WalletError::HasKey(_))));
    for name in ["post", "", "a\nb", &"x".repeat(LONGEST_NAME + 1)] {
        let key = Key::generate(KeyType::Secp256k1);
        let named = wallet.add(key, Some(name.to_owned()), 7);
        assert!(matches!(named, Err(WalletError::Name)), "{name:?}");
    }
    let held = lock(&place.path()).unwrap();
    assert!(matches!(lock(&place.path()), Err(WalletError::Busy(_))));
    drop(held);
    lock(&place.path()).unwrap();
}

#[test]
fn what_cannot_be_opened_says_why() {
    let place = Place::new();
    let path = place.path();
    let said = |password: &[u8]| Wallet::open(&path, password).unwrap_err().to_string();
    assert!(said(PASSWORD).contains("there is no key store"));
    let (wallet, ..) = two();
    wallet.create(&path, PASSWORD, FAST).unwrap();
    assert!(said(b"wrong").contains("the password does not open it"));
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() / 3]).unwrap();
    assert!(said(PASSWORD).contains("damaged"));
    assert!(addresses(&path).is_err());
    fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
    assert!(said(PASSWORD).contains("too large"));
}

/// A key has one address, whichever network's prefix people write it with.
#[test]
fn the_file_knows_no_network() {
    let (wallet, one, _) = two();
    let place = Place::new();
    wallet.create(&place.path(), PASSWORD, FAST).unwrap();
    let file = fs::read_to_string(place.path()).unwrap();
    let bare = one.to_string()[1..].to_owned();
    assert!(file.contains(&format!("\"f{bare}\"")), "{file}");
    for prefix in ["f", "t"] {
        let named = parse_address(&format!("{prefix}{bare}")).unwrap();
        assert!(place.open().entry(&named).is_some(), "{prefix}");
    }
}

/// The file of the first version, as it was written then; its password is `damocles`.
#[test]
fn a_file_of_version_1_opens_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/wallet-1.keys");
    let wallet = Wallet::open(&path, b"damocles").unwrap();
    let shown: Vec<_> = wallet
        .entries()
        .iter()
        .map(|e| (text(&e.key.address()), e.name.as_deref(), e.added_at))
        .collect();
    let secp256k1 = "f1bi2gz5rn5j2dl5lubvolrn6qmnrc7qarnjocg6a";
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(shown[0].0, secp256k1);
    assert_eq!((shown[0].1, shown[0].2), (Some("post"), 1_798_761_600));
    let default = wallet.default_address();
    assert_eq!(default, Some(wallet.entries()[1].key.address()));
    for entry in wallet.entries() {
        let signature = entry.key.sign(b"x").unwrap();
        signature.verify(b"x", &entry.key.address()).unwrap();
    }
}
