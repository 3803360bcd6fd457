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

/// The generators of the curve's two groups, compressed: (G1, G2, G1) is well-formed as a Groth16
/// proof, and proves nothing.
const G1: &str = "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
const G2: &str = "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8";

/// A proof of that many bytes which any verifier can read.
fn well_formed(bytes: usize) -> Vec<u8> {
    let hex = [G1, G2, G1].concat();
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let one = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d));
    one.cycle().take(bytes).collect()
}

/// What an answer of the library means. An error is no verdict by itself: a key that cannot be
/// read must not cost anything. Only if the same question with a proof that can be read is
/// answered, the error is the proof's: it is not even a proof. Pure.
fn verdict(
    answer: Result<bool, String>,
    control: impl FnOnce() -> Result<bool, String>,
) -> Result<SealVerdict, String> {
    match answer {
        Ok(true) => Ok(SealVerdict::Good),
        Ok(false) => Ok(SealVerdict::Bad("it does not verify".into())),
        Err(why) => match control() {
            Ok(_) => Ok(SealVerdict::Bad(format!(
                "it cannot be read as a proof: {why}"
            ))),
            Err(_) => Err(why),
        },
    }
}

impl Verifier for ProofsVerifier {
    fn verify(&self, seal: &Seal, proof: &[u8]) -> Result<SealVerdict, String> {
        if proof.is_empty() || !proof.len().is_multiple_of(GROTH_PROOF) {
            let why = format!("{} bytes are no seal proof", proof.len());
            return Ok(SealVerdict::Bad(why));
        }
        let ask = |proof: &[u8]| {
            verify_seal(seal, proof).map_err(|error| match error.hint {
                Some(hint) => format!("{}; {hint}", error.message),
                None => error.message,
            })
        };
        verdict(ask(proof), || ask(&well_formed(proof.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_proof_are_a_wrong_proof_and_a_missing_key_is_none() {
        let no = || Err::<bool, _>("not on curve".to_owned());
        let verdict = |answer, control: Result<bool, String>| super::verdict(answer, || control);
        assert_eq!(verdict(Ok(true), no()), Ok(SealVerdict::Good));
        assert!(matches!(verdict(Ok(false), no()), Ok(SealVerdict::Bad(_))));
        let unreadable = verdict(no(), Ok(false));
        assert!(matches!(unreadable, Ok(SealVerdict::Bad(why)) if why.contains("not on curve")));
        assert_eq!(verdict(no(), no()), Err("not on curve".to_owned()));
    }

    #[test]
    fn the_proof_to_compare_with_has_the_size_of_the_other() {
        for partitions in [1, 10] {
            let proof = well_formed(partitions * GROTH_PROOF);
            assert_eq!(proof.len(), partitions * GROTH_PROOF);
            // compressed points, three a partition
            for at in [0, 48, 144] {
                assert_eq!(proof[at] & 0x80, 0x80);
            }
            assert_eq!(proof[..48], proof[144..192]);
        }
    }
}
