//! Which signed message answered which `MsgUuid`: what makes `MpoolPushMessage` safe to
//! repeat, also after a restart. One JSON line per message, synced before the answer.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use damocles_daemon::exit::{Exit, Fatal};
use damocles_node::SignedMessage;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::unwritable;

/// File of the list inside the repository.
const FILE: &str = "sent-messages.jsonl";

#[derive(Serialize, Deserialize)]
struct Line {
    uuid: Uuid,
    message: SignedMessage,
}

/// Signed messages by the id that their caller gave them.
#[derive(Debug)]
pub struct SentMessages {
    file: File,
    by_uuid: HashMap<Uuid, SignedMessage>,
    order: Vec<Uuid>,
}

impl SentMessages {
    /// Opens the repository's list. A last line that a kill cut short is dropped; any other
    /// damage is refused.
    pub fn open(repo: &Path) -> Result<Self, Fatal> {
        let path = repo.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => {
                return Err(Fatal::new(
                    Exit::Refused,
                    format!("cannot read {}: {e}", path.display()),
                ));
            }
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut by_uuid = HashMap::new();
        let mut order = Vec::new();
        for (number, line) in text[..whole].lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                Fatal::new(
                    Exit::Data,
                    format!("line {} of {} is damaged: {e}", number + 1, path.display()),
                )
                .hint("restore the file, or choose another directory with --repo")
            })?;
            order.push(line.uuid);
            by_uuid.insert(line.uuid, line.message);
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| unwritable(&path, &e))?;
        file.set_len(whole as u64)
            .map_err(|e| unwritable(&path, &e))?;
        Ok(SentMessages {
            file,
            by_uuid,
            order,
        })
    }

    /// The message that was sent under this id.
    pub fn get(&self, uuid: &Uuid) -> Option<&SignedMessage> {
        self.by_uuid.get(uuid)
    }

    /// Remembers a message; on disk when this returns.
    pub fn put(&mut self, uuid: Uuid, message: SignedMessage) -> io::Result<()> {
        let line = Line { uuid, message };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.order.push(line.uuid);
        self.by_uuid.insert(line.uuid, line.message);
        Ok(())
    }

    /// Forgets every message, as a node that was restored from a backup of yesterday.
    pub fn forget(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_data()?;
        self.order.clear();
        self.by_uuid.clear();
        Ok(())
    }

    /// Every message, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &SignedMessage> {
        self.order.iter().filter_map(|uuid| self.by_uuid.get(uuid))
    }
}

#[cfg(test)]
mod tests {
    use fvm_shared::address::Address;
    use fvm_shared::crypto::signature::Signature;
    use fvm_shared::econ::TokenAmount;

    use super::*;

    fn message(nonce: u64) -> SignedMessage {
        let id = Address::new_id;
        let mut message = damocles_node::Message::send(id(100), id(101), TokenAmount::default());
        message.nonce = nonce;
        SignedMessage {
            message,
            signature: Signature::new_bls(vec![1; 96]),
        }
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_and_a_torn_line_is_not() {
        let repo = tempfile::tempdir().unwrap();
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
        let mut sent = SentMessages::open(repo.path()).unwrap();
        sent.put(ids[0], message(0)).unwrap();
        sent.put(ids[1], message(1)).unwrap();
        drop(sent);
        let path = repo.path().join(FILE);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"uuid\":\"");
        std::fs::write(&path, text).unwrap();

        let mut sent = SentMessages::open(repo.path()).unwrap();
        assert_eq!(sent.get(&ids[0]), Some(&message(0)));
        assert_eq!(sent.get(&ids[2]), None);
        sent.put(ids[2], message(2)).unwrap();
        drop(sent);
        let sent = SentMessages::open(repo.path()).unwrap();
        let nonces: Vec<u64> = sent.all().map(|m| m.message.nonce).collect();
        assert_eq!(nonces, [0, 1, 2]);
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let repo = tempfile::tempdir().unwrap();
        std::fs::write(repo.path().join(FILE), "nonsense\n").unwrap();
        assert_eq!(
            SentMessages::open(repo.path()).unwrap_err().exit,
            Exit::Data
        );
    }
}
