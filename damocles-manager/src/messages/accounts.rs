//! Addresses as the chain has them, and who signs for each.

use crate::{
    messages::{Engine, EngineError},
    wallet::Signer,
};
use damocles_api::damocles_cli::{AccountSigner, AccountView};
use damocles_node::{TipSetKey, wire::parse_address};
use fvm_shared::address::Address;

/// What is asked of in one call at most; each is two questions to the node.
const MOST: usize = 1000;

impl Engine {
    /// What the chain has of the addresses, in their order.
    ///
    /// # Errors
    /// A node that cannot be asked. What is wrong with one address is said with it.
    pub async fn accounts(&self, addresses: Vec<String>) -> Result<Vec<AccountView>, EngineError> {
        let mut all = Vec::with_capacity(addresses.len().min(MOST));
        for text in addresses.into_iter().take(MOST) {
            all.push(match parse_address(&text) {
                Ok(address) => self.account(address).await?,
                Err(error) => AccountView {
                    address: text,
                    id: None,
                    balance: None,
                    nonce: None,
                    signer: AccountSigner::Nobody,
                    note: Some(format!("it is no address: {error}")),
                },
            });
        }
        Ok(all)
    }

    async fn account(&self, address: Address) -> Result<AccountView, EngineError> {
        let head = TipSetKey::HEAD;
        let (signer, note) = match self.keys().signer(&address) {
            _ if self.messager().is_some() => (AccountSigner::Messager, None),
            Signer::Store => (AccountSigner::KeyStore, None),
            Signer::Locked(why) => (AccountSigner::LockedKeyStore, Some(why)),
            Signer::Node => (AccountSigner::Node, None),
        };
        let mut view = AccountView {
            address: address.to_string(),
            id: None,
            balance: None,
            nonce: None,
            signer,
            note,
        };
        match self.chain.lookup_id(address, &head).await {
            Ok(id) => {
                let actor = self.chain.actor(id, &head).await?;
                view.id = Some(id.to_string());
                view.balance = Some(actor.balance.to_string());
                view.nonce = Some(actor.nonce);
            }
            // nobody has sent it anything yet
            Err(error) if error.knows_no_actor() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(view)
    }
}
