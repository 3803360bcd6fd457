//! The form of the key store's file: what everybody may read, and what the password opens.
//!
//! ```text
//! line 1   {"Format":"damocles-wallet","Version":1,"Addresses":[…],"Kdf":{…},"Cipher":{…}}
//! line 2   base64 of XChaCha20-Poly1305(Argon2id(password, salt), nonce, contents), authenticated
//!          together with the bytes of line 1
//! ```
//! The addresses stand in the open, so that a store which cannot be opened still tells for whom
//! it would sign; whoever changes them makes a file that does not open. Argon2id is RFC 9106,
//! the cipher RFC 8439 with the longer nonce of draft-irtf-cfrg-xchacha; libsodium has both.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::{RngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What the first line begins with.
const FORMAT: &str = "damocles-wallet";
/// The newest version that this program reads, and the one that it writes.
const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";
/// No key store is larger (bytes); a key takes some 200.
pub(super) const LARGEST: u64 = 1 << 20;
/// What a file may ask of the machine that opens it: KiB of memory, passes, lanes.
const MOST: Effort = Effort {
    memory_kib: 1 << 20,
    passes: 16,
    lanes: 16,
};

/// What it costs to try a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Effort {
    /// RFC 9106, section 4, the second recommended choice: 64 MiB, three passes; but one lane
    /// where that has four, for libsodium computes no more, and it is to open the file too.
    pub const USUAL: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 1,
    };

    fn is_bearable(self) -> bool {
        self.memory_kib <= MOST.memory_kib && self.passes <= MOST.passes && self.lanes <= MOST.lanes
    }
}

/// Why a file was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// It is no key store, or a part of one.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Newer(u32),
    /// Which of the two cannot be told: that is what encryption is for.
    #[error("the password does not open it; it is another one, or the file was changed")]
    NotOpened,
    #[error("the machine cannot do what the file asks for: {0}")]
    Machine(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Head {
    format: String,
    version: u32,
    /// Key addresses in the form of the main network (`f…`).
    addresses: Vec<String>,
    kdf: Kdf,
    cipher: Cipher,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kdf {
    name: String,
    /// Hexadecimal.
    salt: String,
    #[serde(rename = "MemoryKiB")]
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cipher {
    name: String,
    /// Hexadecimal.
    nonce: String,
}

/// The version alone: what else stands in a newer head is not known here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kind {
    format: String,
    version: u32,
}

/// A file that was read and not opened yet.
pub(super) struct Sealed {
    /// Line 1 as it stands in the file.
    line: Vec<u8>,
    head: Head,
    secret: Vec<u8>,
}

impl Sealed {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`SealedError::Damaged`], [`SealedError::Newer`].
    pub(super) fn read(bytes: &[u8]) -> Result<Self, SealedError> {
        let damaged = SealedError::Damaged;
        let mut lines = bytes.split(|b| *b == b'\n');
        let line = lines.next().unwrap_or_default();
        let kind: Kind = serde_json::from_slice(line)
            .map_err(|_| damaged("its first line is not that of a key store"))?;
        if kind.format != FORMAT {
            return Err(damaged("its first line is that of something else"));
        }
        if kind.version > VERSION {
            return Err(SealedError::Newer(kind.version));
        }
        let head: Head = serde_json::from_slice(line)
            .map_err(|_| damaged("its first line is not that of its version"))?;
        if head.kdf.name != KDF || head.cipher.name != CIPHER {
            return Err(damaged("its first line names another way of encryption"));
        }
        let secret = lines.next().filter(|line| !line.is_empty());
        let secret = secret.and_then(|line| STANDARD.decode(line).ok());
        let secret = secret.ok_or(damaged("its second line is missing or cut off"))?;
        if lines.any(|rest| !rest.is_empty()) {
            return Err(damaged("something follows its second line"));
        }
        Ok(Self {
            line: line.to_vec(),
            head,
            secret,
        })
    }

    /// For whom it signs, as it says itself; believed only once it was opened.
    pub(super) fn addresses(&self) -> &[String] {
        &self.head.addresses
    }

    /// The contents.
    ///
    /// # Errors
    /// [`SealedError`].
    pub(super) fn open(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let damaged = SealedError::Damaged;
        let Head { kdf, cipher, .. } = &self.head;
        let effort = Effort {
            memory_kib: kdf.memory_kib,
            passes: kdf.passes,
            lanes: kdf.lanes,
        };
        if !effort.is_bearable() {
            return Err(damaged("its first line asks for too much memory or time"));
        }
        let salt = hex::decode(&kdf.salt).map_err(|_| damaged("its salt cannot be read"))?;
        let mut nonce = XNonce::default();
        hex::decode_to_slice(&cipher.nonce, &mut nonce)
            .map_err(|_| damaged("its nonce cannot be read"))?;
        let key = derive(password, &salt, effort)?;
        let payload = Payload {
            msg: &self.secret,
            aad: &self.line,
        };
        let opened = aead(&key).decrypt(&nonce, payload);
        opened
            .map(Zeroizing::new)
            .map_err(|_| SealedError::NotOpened)
    }
}

/// The bytes of a file with these contents.
///
/// # Errors
/// [`SealedError::Machine`].
pub(super) fn seal(
    password: &[u8],
    contents: &[u8],
    addresses: Vec<String>,
    effort: Effort,
) -> Result<Vec<u8>, SealedError> {
    let mut salt = [0; 16];
    OsRng.fill_bytes(&mut salt);
    // drawn anew each time: 24 bytes are enough for that
    let mut nonce = XNonce::default();
    OsRng.fill_bytes(&mut nonce);
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        addresses,
        kdf: Kdf {
            name: KDF.to_owned(),
            salt: hex::encode(salt),
            memory_kib: effort.memory_kib,
            passes: effort.passes,
            lanes: effort.lanes,
        },
        cipher: Cipher {
            name: CIPHER.to_owned(),
            nonce: hex::encode(nonce),
        },
    };
    let machine = |e: &dyn std::fmt::Display| SealedError::Machine(e.to_string());
    let mut file = serde_json::to_vec(&head).map_err(|e| machine(&e))?;
    let key = derive(password, &salt, effort)?;
    let payload = Payload {
        msg: contents,
        aad: &file,
    };
    let secret = aead(&key)
        .encrypt(&nonce, payload)
        .map_err(|e| machine(&e))?;
    file.push(b'\n');
    file.extend(STANDARD.encode(secret).as_bytes());
    file.push(b'\n');
    Ok(file)
}

fn aead(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn derive(
    password: &[u8],
    salt: &[u8],
    effort: Effort,
) -> Result<Zeroizing<[u8; 32]>, SealedError> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(effort.memory_kib, effort.passes, effort.lanes, Some(32));
    let params = params
        .map_err(|_| SealedError::Damaged("its first line asks for what Argon2 cannot do"))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, key.as_mut_slice())
        .map_err(|e| SealedError::Machine(e.to_string()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Effort = Effort {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    fn file() -> Vec<u8> {
        seal(b"open", b"contents", vec!["f1x".into()], FAST).unwrap()
    }

    fn open(file: &[u8], password: &[u8]) -> Result<Vec<u8>, SealedError> {
        Ok(Sealed::read(file)?.open(password)?.to_vec())
    }

    #[test]
    fn only_the_password_opens_it_and_no_two_files_are_alike() {
        let (one, two) = (file(), file());
        assert_ne!(one, two);
        assert_eq!(open(&one, b"open").unwrap(), b"contents");
        for password in [&b"Open"[..], b"", b"open\n"] {
            assert_eq!(open(&one, password), Err(SealedError::NotOpened));
        }
        assert_eq!(Sealed::read(&one).unwrap().addresses(), ["f1x"]);
        let text = String::from_utf8(one).unwrap();
        assert!(!text.contains("contents"), "{text}");
    }

    #[test]
    fn a_file_that_was_changed_anywhere_is_not_opened() {
        let good = file();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(open(&bad, b"open").is_err(), "byte {at}");
        }
        for end in 0..good.len() - 1 {
            assert!(open(&good[..end], b"open").is_err(), "cut off at {end}");
        }
        let longer = [&good[..], b"x"].concat();
        assert!(open(&longer, b"open").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let text = String::from_utf8(file()).unwrap();
        for (from, to, said) in [
            ("{", "", "not that of a key store"),
            ("damocles-wallet", "other", "something else"),
            ("\"Version\":1", "\"Version\":2", "version 2"),
            ("argon2id", "scrypt", "another way"),
            ("\"MemoryKiB\":64", "\"MemoryKiB\":4000000", "too much"),
            ("\"Passes\":1", "\"Passes\":0", "Argon2 cannot"),
            ("\"Salt\":\"", "\"Salt\":\"x", "salt"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let error = open(changed.as_bytes(), b"open").unwrap_err();
            assert!(error.to_string().contains(said), "{from}: {error}");
        }
    }
}
