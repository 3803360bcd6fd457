//! Signed messages: their CIDs as Filecoin computes them, the check of their signature, and the
//! sectors that they name.
use cid::Cid;
use fil_actor_miner_state::v18::{PreCommitSectorBatchParams2, ProveCommitSectors3Params};
use fvm_ipld_encoding::RawBytes;
use fvm_ipld_encoding::to_vec;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple};
use fvm_shared::MethodNum;
use fvm_shared::address::{Address, Protocol};
use fvm_shared::crypto::signature::{Signature, SignatureType};
use fvm_shared::message::Message;
use fvm_shared::sector::SectorNumber;
use multihash_codetable::{Code, MultihashDigest};
use serde::Serialize;

const PRE_COMMIT_SECTOR_BATCH_2: MethodNum = 28;
const PROVE_COMMIT_SECTORS_3: MethodNum = 34;

/// A message and the signature of its sender over the message's CID bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct SignedMessage {
    pub message: Message,
    pub signature: Signature,
}

/// Signs bytes with the key of an address; a sentence if it cannot.
pub type Sign<'a> = dyn FnMut(&Address, &[u8]) -> Result<Signature, String> + 'a;

/// DAG-CBOR blake2b-256 CID of a value.
pub fn cbor_cid<T: Serialize>(value: &T) -> anyhow::Result<Cid> {
    let bytes = to_vec(value)?;
    Ok(bytes_cid(&bytes))
}

/// CID of bytes that are already DAG-CBOR.
pub fn bytes_cid(bytes: &[u8]) -> Cid {
    Cid::new_v1(fvm_ipld_encoding::DAG_CBOR, Code::Blake2b256.digest(bytes))
}

impl SignedMessage {
    /// The CID under which the chain knows the message: of the unsigned message when the
    /// signature is BLS (it is aggregated away in the block), of the signed one otherwise.
    pub fn cid(&self) -> anyhow::Result<Cid> {
        match self.signature.sig_type {
            SignatureType::BLS => cbor_cid(&self.message),
            SignatureType::Secp256k1 => cbor_cid(self),
        }
    }

    /// Verifies the signature against the key address of the sender, which the caller
    /// resolved; a sentence on failure.
    pub fn verify(&self, sender_key: &Address) -> Result<(), String> {
        let expected = match sender_key.protocol() {
            Protocol::BLS => SignatureType::BLS,
            Protocol::Secp256k1 => SignatureType::Secp256k1,
            other => return Err(format!("sender has no key address (protocol {other})")),
        };
        if self.signature.sig_type != expected {
            return Err(format!(
                "signature type {:?} does not fit the sender {sender_key}",
                self.signature.sig_type
            ));
        }
        let cid = cbor_cid(&self.message).map_err(|e| e.to_string())?;
        self.signature.verify(&cid.to_bytes(), sender_key)
    }

    /// Size on the chain in bytes, which the gas price list charges for.
    pub fn chain_length(&self) -> anyhow::Result<usize> {
        Ok(match self.signature.sig_type {
            SignatureType::BLS => to_vec(&self.message)?.len(),
            SignatureType::Secp256k1 => to_vec(self)?.len(),
        })
    }
}

/// The sectors that the parameters of a message to a miner name (PreCommitSectorBatch2 and
/// ProveCommitSectors3); none of other methods, and none where they cannot be read.
pub fn named_sectors(method: MethodNum, params: &RawBytes) -> Vec<SectorNumber> {
    match method {
        PRE_COMMIT_SECTOR_BATCH_2 => params
            .deserialize::<PreCommitSectorBatchParams2>()
            .map(|p| p.sectors.iter().map(|s| s.sector_number).collect()),
        PROVE_COMMIT_SECTORS_3 => params.deserialize::<ProveCommitSectors3Params>().map(|p| {
            p.sector_activations
                .iter()
                .map(|s| s.sector_number)
                .collect()
        }),
        _ => Ok(Vec::new()),
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fil_actor_miner_state::v18::SectorActivationManifest;

    use super::*;

    #[test]
    fn sectors_are_read_from_parameters() {
        let params = ProveCommitSectors3Params {
            sector_activations: [4, 2]
                .map(|sector_number| SectorActivationManifest {
                    sector_number,
                    pieces: Vec::new(),
                })
                .to_vec(),
            sector_proofs: vec![RawBytes::new(vec![1]); 2],
            aggregate_proof: RawBytes::default(),
            aggregate_proof_type: None,
            require_activation_success: true,
            require_notification_success: false,
        };
        let bytes = RawBytes::serialize(&params).unwrap();
        assert_eq!(named_sectors(PROVE_COMMIT_SECTORS_3, &bytes), [4, 2]);
        assert!(named_sectors(5, &bytes).is_empty());
        assert!(named_sectors(PRE_COMMIT_SECTOR_BATCH_2, &RawBytes::new(vec![0xff])).is_empty());
    }
}
