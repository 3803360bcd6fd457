//! Which workers there are: what their pings say, who left, and two of one name.

use crate::{
    db::{
        Db,
        record::{Twin, VERSION, WorkerRecord},
    },
    model::{seconds, unix_ms},
    sealing::{Sealing, SealingError, bounds},
};
use damocles_api::workers::{WorkerPing, WorkerPingInfo};

/// Two workers of one name ping in turn. What is longer ago than this (seconds) is forgotten.
const TURN: i64 = 600;

impl From<WorkerRecord> for WorkerPingInfo {
    fn from(r: WorkerRecord) -> Self {
        Self {
            info: r.ping,
            last_ping: r.last_ping,
            left: r.left,
            twin: r
                .twin
                .filter(|t| t.certain && r.last_ping - t.at < TURN)
                .map(|t| t.dest),
        }
    }
}

fn now() -> i64 {
    seconds(unix_ms())
}

/// What is known of a worker after a ping. A worker that moves to another address never comes
/// back to the old one; two of one name do, in turn. Pure.
fn heard(before: Option<WorkerRecord>, ping: WorkerPing, at: i64) -> WorkerRecord {
    let twin = before.and_then(|before| {
        let known = before.twin.filter(|t| at - t.at < TURN);
        if before.ping.dest == ping.dest {
            return known;
        }
        let certain = known.is_some_and(|t| t.dest == ping.dest || t.certain);
        Some(Twin {
            dest: before.ping.dest,
            at: before.last_ping,
            certain,
        })
        .filter(|t| at - t.at < TURN)
    });
    WorkerRecord {
        v: VERSION,
        ping,
        last_ping: at,
        left: false,
        twin,
    }
}

impl Sealing {
    /// Notes that a worker is alive.
    ///
    /// # Errors
    /// [`SealingError::NamelessWorker`]; [`SealingError::TooLong`]; more workers than there can be.
    pub async fn ping(&self, mut ping: WorkerPing) -> Result<(), SealingError> {
        if ping.name.is_empty() || ping.dest.is_empty() {
            return Err(SealingError::NamelessWorker);
        }
        bounds::name("the worker's name", &ping.name)?;
        bounds::name("the worker's address", &ping.dest)?;
        bounds::word(&mut ping.version);
        let (name, dest) = (ping.name.clone(), ping.dest.clone());
        let store = move |db: &Db| {
            let heard_at = now();
            db.change_worker(&ping.name, |before| {
                let knew = before
                    .as_ref()
                    .and_then(|b| b.twin.as_ref())
                    .is_some_and(|t| t.certain);
                let after = heard(before, ping.clone(), heard_at);
                let news = after.twin.clone().filter(|t| t.certain && !knew);
                (after, news)
            })
        };
        if let Some(twin) = self.db.call(store).await? {
            tracing::warn!(
                worker = name,
                at = dest,
                and = twin.dest,
                "two workers have one name and replace each other in every list; give one of them another [worker] name"
            );
        }
        Ok(())
    }

    /// A worker stops in order. One that never called is no error.
    ///
    /// # Errors
    /// A failing database.
    pub async fn worker_leaves(&self, name: String) -> Result<(), SealingError> {
        Ok(self.db.call(move |db| db.worker_left(&name)).await?)
    }

    /// All workers that ever called, by name.
    ///
    /// # Errors
    /// A failing database.
    pub async fn workers(&self) -> Result<Vec<WorkerPingInfo>, SealingError> {
        let all = self.db.call(|db| db.workers()).await?;
        Ok(all.into_iter().map(Into::into).collect())
    }

    /// The worker of that name.
    ///
    /// # Errors
    /// A failing database.
    pub async fn worker(&self, name: String) -> Result<Option<WorkerPingInfo>, SealingError> {
        Ok(self
            .db
            .call(move |db| db.worker(&name))
            .await?
            .map(Into::into))
    }

    /// Forgets a worker.
    ///
    /// # Errors
    /// A failing database.
    pub async fn remove_worker(&self, name: String) -> Result<(), SealingError> {
        Ok(self.db.call(move |db| db.remove_worker(&name)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::tests::room;

    fn ping(name: &str, dest: &str) -> WorkerPing {
        WorkerPing {
            name: name.into(),
            dest: dest.into(),
            version: String::new(),
            summary: Default::default(),
        }
    }

    #[tokio::test]
    async fn workers_are_remembered_by_name() {
        let (room, _) = room(1000);
        for name in ["b", "a", "b"] {
            room.ping(ping(name, "127.0.0.1:1")).await.unwrap();
        }
        let nameless = room.ping(ping("", "127.0.0.1:1")).await;
        assert!(matches!(nameless, Err(SealingError::NamelessWorker)));
        let names: Vec<_> = room.workers().await.unwrap();
        let names: Vec<_> = names.into_iter().map(|w| w.info.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(room.worker("a".into()).await.unwrap().unwrap().last_ping > 0);
        room.remove_worker("a".into()).await.unwrap();
        assert!(room.worker("a".into()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_name_of_megabytes_is_refused_and_a_long_version_cut() {
        let (room, _) = room(1000);
        let long = "n".repeat(8 << 20);
        for (name, dest) in [(&long[..], "h:1"), ("w", &long[..])] {
            let refused = room.ping(ping(name, dest)).await;
            assert!(matches!(refused, Err(SealingError::TooLong(_))));
        }
        let mut loud = ping("w", "h:1");
        loud.version = long;
        room.ping(loud).await.unwrap();
        let known = room.worker("w".into()).await.unwrap().unwrap();
        assert!(known.info.version.len() <= 256);
    }

    #[tokio::test]
    async fn who_left_is_back_with_its_next_ping() {
        let (room, _) = room(1000);
        room.ping(ping("w", "h:1")).await.unwrap();
        room.worker_leaves("w".into()).await.unwrap();
        room.worker_leaves("nobody".into()).await.unwrap();
        assert!(room.worker("w".into()).await.unwrap().unwrap().left);
        room.ping(ping("w", "h:1")).await.unwrap();
        assert!(!room.worker("w".into()).await.unwrap().unwrap().left);
    }

    #[test]
    fn two_living_workers_of_one_name_are_told_from_one_that_moved() {
        let mut known = None;
        let mut twin = |dest: &str, at| {
            known = Some(heard(known.take(), ping("w", dest), at));
            WorkerPingInfo::from(known.clone().unwrap()).twin
        };
        assert_eq!(twin("a:1", 0), None);
        assert_eq!(twin("b:1", 30), None, "it may have moved");
        assert_eq!(twin("b:1", 60), None);
        assert_eq!(twin("a:1", 70).as_deref(), Some("b:1"), "it is back");
        assert_eq!(twin("b:1", 90).as_deref(), Some("a:1"));
        // one of them was renamed; after a while it is forgotten
        assert_eq!(twin("b:1", 120).as_deref(), Some("a:1"));
        assert_eq!(twin("b:1", 1000), None);
        // long after, a machine got its old address again
        assert_eq!(twin("a:1", 2000), None);
    }
}
