//! Verification of a seal proof before it is sent: a wrong one would cost gas and the trust
//! of a whole batch. Milliseconds, so it runs in this process.

use damocles_processor::verify::{Seal, verify_seal};

/// What a verifier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealVerdict {
    Good,
    /// Not a proof of this seal; why, where that can be told.
    Bad(String),
}

/// Verifies seal proofs.
pub trait Verifier: Send + Sync + std::fmt::Debug + 'static {
    /// Judges the proof. May take some 10 ms, the first time a second.
    ///
    /// # Errors
    /// It could not be found out, e.g. the verifying key is missing: one sentence with a hint.
    fn verify(&self, seal: &Seal, proof: &[u8]) -> Result<SealVerdict, String>;
}

/// Verification by the proofs library.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProofsVerifier;

/// Bytes of a Groth16 proof; a seal proof has one per partition.
const GROTH_PROOF: usize = 192;

impl Verifier for ProofsVerifier {
    fn verify(&self, seal: &Seal, proof: &[u8]) -> Result<SealVerdict, String> {
        if proof.is_empty() || !proof.len().is_multiple_of(GROTH_PROOF) {
            let why = format!("{} bytes are no seal proof", proof.len());
            return Ok(SealVerdict::Bad(why));
        }
        // An error is no verdict: a file that cannot be read must not cost a sector.
        match verify_seal(seal, proof) {
            Ok(true) => Ok(SealVerdict::Good),
            Ok(false) => Ok(SealVerdict::Bad("it does not verify".into())),
            Err(error) => Err(match error.hint {
                Some(hint) => format!("{}; {hint}", error.message),
                None => error.message,
            }),
        }
    }
}
