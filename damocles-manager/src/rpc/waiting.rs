//! Gauges of the messages that are on their way: how many there are of each kind in each state, and
//! how long the oldest of them has been wanted.

use crate::{
    db::{Db, record::MessageRecord},
    model::{UnixMs, unix_ms},
};
use damocles_daemon::metrics::Metrics;
use damocles_types::ActorId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Class {
    miner: ActorId,
    kind: String,
    state: String,
}

/// Of each class how many messages there are, and the seconds since the first was wanted.
fn census(open: &[MessageRecord], now: UnixMs) -> BTreeMap<Class, (i64, i64)> {
    let mut found = BTreeMap::<Class, (i64, i64)>::new();
    for message in open {
        let class = Class {
            miner: message.miner,
            kind: message.kind.to_string(),
            state: message.state.to_string(),
        };
        let age = now.saturating_sub(message.wanted_at) / 1000;
        let (count, oldest) = found.entry(class).or_default();
        *count += 1;
        *oldest = (*oldest).max(i64::try_from(age).unwrap_or(i64::MAX));
    }
    found
}

/// The two gauges, registered.
pub(super) struct MessageGauges {
    count: Family<Class, Gauge>,
    oldest: Family<Class, Gauge>,
}

impl MessageGauges {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let this = Self {
            count: Family::default(),
            oldest: Family::default(),
        };
        metrics.with(|r| {
            r.register(
                "messages_open",
                "Messages on their way, by kind and state",
                this.count.clone(),
            );
            r.register(
                "messages_oldest_seconds",
                "How long the oldest message of a kind in a state has been wanted",
                this.oldest.clone(),
            );
        });
        this
    }

    /// Makes each metric visible, for the page that lists them.
    pub(super) fn touch(&self) {
        drop(self.count.get_or_create(&Class::default()));
        drop(self.oldest.get_or_create(&Class::default()));
    }

    fn show(&self, found: BTreeMap<Class, (i64, i64)>) {
        // what is not there any more is not told as it was
        self.count.clear();
        self.oldest.clear();
        for (class, (count, oldest)) in found {
            self.count.get_or_create(&class).set(count);
            self.oldest.get_or_create(&class).set(oldest);
        }
    }
}

/// Keeps the gauges up to date until `stop`.
///
/// # Errors
/// None; the result fits a service.
pub async fn watch(db: Db, metrics: Metrics, stop: CancellationToken) -> anyhow::Result<()> {
    let gauges = MessageGauges::register(&metrics);
    loop {
        match db.call(Db::open_messages_briefly).await {
            Ok(open) => gauges.show(census(&open, unix_ms())),
            Err(error) => tracing::warn!(%error, "messages could not be counted"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::lives_tests::message, model::MessageKind};

    #[test]
    fn every_message_is_in_one_class_and_a_class_that_is_empty_is_not_told() {
        let of = |kind, at| message(kind, &[], at);
        let open = [
            of(MessageKind::PreCommit, 10_000),
            of(MessageKind::PreCommit, 4_000),
            of(MessageKind::WindowPost, 70_000),
        ];
        let found = census(&open, 64_000);
        let told: Vec<_> = found
            .iter()
            .map(|(class, told)| (class.kind.as_str(), *told))
            .collect();
        assert_eq!(told, [("PreCommit", (2, 60)), ("WindowPost", (1, 0))]);
        let metrics = Metrics::new("damocles_manager");
        let gauges = MessageGauges::register(&metrics);
        gauges.show(found);
        assert!(metrics.render().contains("kind=\"PreCommit\""));
        gauges.show(BTreeMap::new());
        assert!(!metrics.render().contains("kind="));
    }
}
