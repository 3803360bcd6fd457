//! `rpc.discover`: the OpenRPC document of all methods, so that programs need not be told which
//! there are. It is generated from the traits and the table of methods, and lies in `docs/`.

use jsonrpsee::{RpcModule, server::RegisterMethodError};
use serde_json::value::RawValue;

/// Its name, as OpenRPC demands it.
pub(super) const METHOD: &str = "rpc.discover";
/// The document.
pub(super) const DOCUMENT: &str = include_str!("../../../docs/openrpc.json");

/// The method.
pub(super) fn module() -> Result<RpcModule<()>, RegisterMethodError> {
    let mut module = RpcModule::new(());
    module.register_method(METHOD, |_, (), _| {
        serde_json::from_str::<Box<RawValue>>(DOCUMENT)
            .map_err(|e| damocles_api::code::error(damocles_api::code::FAILED, e))
    })?;
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::METHODS;
    use serde_json::Value;

    #[tokio::test]
    async fn the_document_that_is_served_names_every_method_with_its_parameters() {
        let served: Value = module().unwrap().call(METHOD, [(); 0]).await.unwrap();
        assert_eq!(served["openrpc"], "1.3.2");
        let methods = served["methods"].as_array().unwrap();
        let named: Vec<_> = methods
            .iter()
            .map(|m| {
                (
                    m["name"].as_str().unwrap(),
                    m["params"].as_array().unwrap().len(),
                )
            })
            .collect();
        let listed: Vec<_> = METHODS.iter().map(|m| (m.name, m.params)).collect();
        assert_eq!(named, listed);
    }
}
