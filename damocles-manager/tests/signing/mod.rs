//! The manager's own keys on a network that verifies signatures: where tests get them from, and an
//! engine that signs with them.

use crate::sending::Runs;
use damocles_manager::{
    chain::NodeChain,
    db::Db,
    policy::WalletPolicy,
    wallet::{Effort, FILE, Key, Keys, Wallet},
};
use fvm_shared::address::Address;
use std::{fs, path::Path, sync::Arc};

/// Takes every key from the node's wallet into a key store in `home`.
pub(crate) fn move_keys(node: &damocles_devnet::rpc::Node, home: &Path) -> (Vec<Address>, Keys) {
    let mut wallet = node.wallet.lock();
    let mut ours = Wallet::default();
    let addresses = wallet.list();
    for address in &addresses {
        let info = wallet.export(address).unwrap();
        let text = hex::encode(serde_json::to_vec(&info).unwrap());
        let key = Key::from_lotus(&text).unwrap();
        assert_eq!(ours.add(key, None, 0).unwrap(), *address);
        wallet.delete(address).unwrap();
    }
    let quick = Effort {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    fs::write(home.join("password"), "open").unwrap();
    ours.create(&home.join(FILE), b"open", quick).unwrap();
    let policy = WalletPolicy {
        password_file: Some(home.join("password")),
        ..WalletPolicy::default()
    };
    (addresses, Keys::load(&policy, home))
}

/// An engine with these keys.
pub(crate) async fn start(db: &Db, chain: &Arc<NodeChain>, keys: &Keys) -> Runs {
    Runs::start_as(db, chain, |engine| engine.with_keys(keys.clone())).await
}
