//! Which implementation computes a stage, as operators choose it, and as a stage says
//! afterwards which one it was.

use std::{fmt, str::FromStr};

/// What a stage may compute with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// Our own kernels where the stage has one, on the fastest code that this CPU allows.
    #[default]
    Auto,
    /// Only the library that the network was specified with.
    FilecoinProofs,
}

impl KernelChoice {
    pub const ALL: [Self; 2] = [Self::Auto, Self::FilecoinProofs];

    /// The word in config keys and arguments. `filecoin-proofs` is also what a stage calls
    /// that library when it tells what ran.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::FilecoinProofs => "filecoin-proofs",
        }
    }
}

impl fmt::Display for KernelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel(String);

impl std::error::Error for UnknownKernel {}

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a choice of kernel; ", self.0)?;
        match nearest(&self.0) {
            Some(choice) => write!(f, "did you mean \"{choice}\"?"),
            None => {
                let all = KernelChoice::ALL.map(|choice| format!("\"{choice}\""));
                write!(f, "write {}", all.join(" or "))
            }
        }
    }
}

/// The choice that begins most like `word`; none when none begins like it at all.
fn nearest(word: &str) -> Option<KernelChoice> {
    let word = word.trim().to_ascii_lowercase().replace('_', "-");
    let common = |choice: &KernelChoice| {
        let pairs = choice.name().bytes().zip(word.bytes());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let choice = KernelChoice::ALL.into_iter().max_by_key(common)?;
    (common(&choice) >= 2).then_some(choice)
}

impl FromStr for KernelChoice {
    type Err = UnknownKernel;

    fn from_str(word: &str) -> Result<Self, UnknownKernel> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.name() == word)
            .ok_or_else(|| UnknownKernel(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_others_are_told_the_nearest() {
        for choice in KernelChoice::ALL {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        for (word, ending) in [
            ("filecoin_proofs", "did you mean \"filecoin-proofs\"?"),
            ("Filecoin", "did you mean \"filecoin-proofs\"?"),
            ("automatic", "did you mean \"auto\"?"),
            ("", "write \"auto\" or \"filecoin-proofs\""),
            ("gpu", "write \"auto\" or \"filecoin-proofs\""),
        ] {
            let error = word.parse::<KernelChoice>().unwrap_err().to_string();
            assert!(error.ends_with(ending), "{error}");
        }
    }
}
