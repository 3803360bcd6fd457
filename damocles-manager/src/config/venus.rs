//! The services of Venus that a file names, checked.

use super::{endpoint, raw::Api};
use crate::policy::{MarketPolicy, NodeEndpoint};
use damocles_daemon::config::Report;

/// API versions of their interfaces.
const MESSAGER: &str = "v0";
const MARKET: &str = "v1";

/// The messager, which is the one behind the first gateway where none is named; None: this manager
/// sends its messages itself.
pub(super) fn messager(report: &mut Report, api: &Api) -> Option<NodeEndpoint> {
    let named = api.messager.as_deref().filter(|text| !text.is_empty());
    let gateway = api.gateway.first().filter(|text| !text.is_empty());
    let (key, text) = match (named, gateway) {
        (Some(text), _) => ("Common.API.Messager", text),
        (None, Some(text)) => ("Common.API.Gateway", text.as_str()),
        (None, None) => return None,
    };
    if api.sends_itself {
        report.notice(
            key,
            "is not used for messages, as SendsItself says: this manager's key store (Common.Wallet) or the wallet of the node in Common.API.Chain must hold the keys of the senders, and no messager may use the same keys, or two programs give out one address's nonces and messages get lost",
        );
        return None;
    }
    if named.is_none() {
        report.notice(
            key,
            "stands in for Messager, as upstream has it: messages are given to the messager behind it; set SendsItself = true if this manager is to sign and send by itself",
        );
    }
    match endpoint::parse_as(MESSAGER, text, &api.token) {
        Ok(endpoint) => Some(endpoint),
        Err(what) => {
            report.fault(key, what);
            None
        }
    }
}

/// The market that assigns deals, which is the one behind the first gateway where none is named and
/// somebody wants deals.
pub(super) fn market(report: &mut Report, api: &Api, wanted: bool) -> Option<MarketPolicy> {
    let named = api.market.as_deref().filter(|text| !text.is_empty());
    let gateway = api
        .gateway
        .first()
        .filter(|text| !text.is_empty() && wanted);
    let (key, text) = match (named, gateway) {
        (Some(text), _) => ("Common.API.Market", text),
        (None, Some(text)) => ("Common.API.Gateway", text.as_str()),
        (None, None) => return None,
    };
    match endpoint::parse_as(MARKET, text, &api.token) {
        Ok(endpoint) => Some(MarketPolicy {
            endpoint,
            named: named.is_some(),
        }),
        Err(what) => {
            report.fault(key, what);
            None
        }
    }
}
