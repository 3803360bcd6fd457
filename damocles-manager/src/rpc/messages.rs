//! `Damocles.*` about chain messages.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::messages::{DamoclesMessagesServer, MessageDetail};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesMessagesServer for Rooms {
    async fn message(&self, name: String) -> RpcResult<MessageDetail> {
        let found = self.messages.named(&name).await;
        found.map(Into::into).map_err(ToRpc::to_operator)
    }

    async fn retry_message(&self, name: String) -> RpcResult<MessageDetail> {
        let done = self.messages.retry(&name).await;
        done.map(Into::into).map_err(ToRpc::to_operator)
    }

    async fn replace_message(
        &self,
        name: String,
        max_fee: Option<String>,
    ) -> RpcResult<MessageDetail> {
        let done = self.messages.order_replacement(&name, max_fee).await;
        done.map(Into::into).map_err(ToRpc::to_operator)
    }

    async fn withdraw_message(&self, name: String, reason: String) -> RpcResult<MessageDetail> {
        let done = self.messages.order_withdrawal(&name, reason).await;
        done.map(Into::into).map_err(ToRpc::to_operator)
    }
}
