//! The manager's own key store: private keys in one encrypted file, with which messages are
//! signed here rather than by the node's wallet.
//!
//! ```text
//! key.rs      one key: address, signature, Lotus' form
//! sealed.rs   the file's form: what is open, what the password opens
//! store.rs    several keys in the file, changed as a whole      ◄── cli/wallet
//! password.rs where the password is when nobody types it
//! keys.rs     the store as the daemon has it: open, or locked   ◄── messages
//! ```
//! Nothing of a key or a password is ever in a log, an error or the database.

mod key;
mod keys;
mod password;
mod sealed;
mod store;

pub use key::{Key, KeyError};
pub use keys::{FILE, Keys, Signer, place};
pub use password::{Password, PasswordError, exposed, password};
pub use sealed::Effort;
pub use store::{Entry, LONGEST_NAME, Wallet, WalletError, addresses, lock};

#[cfg(test)]
pub(crate) use keys::tests::Place;
