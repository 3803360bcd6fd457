//! The engine with the manager's own keys on a network that verifies signatures: keys of both
//! kinds, which the node does not have, send messages that land; the engine dies where it has
//! signed and not sent, and where it has sent and does not know it.

mod sending;
mod signing;

use damocles_flow::message::MessageState;
use damocles_manager::{chain::Chain, db::Db, model::MessageId};
use damocles_node::TipSetKey;
use fvm_shared::{
    address::{Network, set_current_network},
    crypto::signature::SignatureType,
};
use sending::{adapter, comes, mine, network, payment, reached};
use signing::{move_keys, start};

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_both_kinds_send_through_deaths_without_the_nodes_wallet() {
    set_current_network(Network::Testnet);
    let dir = tempfile::tempdir().unwrap();
    let net = network(dir.path()).await;
    let (addresses, keys) = move_keys(&net.node, dir.path());
    assert!(net.node.wallet.lock().list().is_empty());
    let chain = adapter(&net);
    let db = Db::in_memory();

    let mut kinds = Vec::new();
    for from in addresses {
        // it dies when it has signed, then when the node has the message and it does not know it
        fail::cfg("messages::signed", "return").unwrap();
        let runs = start(&db, &chain, &keys).await;
        let id = MessageId::new();
        runs.engine.want(id, payment(from)).await.unwrap();
        let signed = reached(&db, id, |m| m.signed.is_some()).await;
        assert_eq!(
            (signed.state, signed.nonce),
            (MessageState::Wanted, Some(0))
        );
        assert!(net.node.network.pending().is_empty());
        runs.die().await;
        fail::cfg("messages::signed", "off").unwrap();
        fail::cfg("messages::pushed", "return").unwrap();
        let runs = start(&db, &chain, &keys).await;
        comes(|| !net.node.network.pending().is_empty()).await;
        runs.die().await;
        fail::cfg("messages::pushed", "off").unwrap();

        let runs = start(&db, &chain, &keys).await;
        let pushed = reached(&db, id, |m| m.state == MessageState::Pushed).await;
        assert_eq!((pushed.cid, &pushed.signed), (signed.cid, &signed.signed));
        kinds.push(pushed.signed.unwrap().signature.sig_type);
        for _ in 0..4 {
            mine(&net).await;
            runs.look(&chain).await;
        }
        let landed = reached(&db, id, |m| m.state == MessageState::Landed).await;
        assert_eq!((landed.exit_code, landed.cid), (Some(0), signed.cid));
        let actor = chain.actor(from, &TipSetKey::HEAD).await.unwrap();
        assert_eq!(actor.nonce, 1, "one message, one nonce");
        runs.die().await;
    }
    assert!(kinds.contains(&SignatureType::BLS) && kinds.contains(&SignatureType::Secp256k1));
}
