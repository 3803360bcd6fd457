//! The stages of the trade by name, as they stand in config keys, ready lines and logs.
//! Names only: what a stage takes and gives is in `task`, what it does in `stage`.

use std::{fmt, str::FromStr};

/// A stage that a processor child can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    AddPieces,
    TreeD,
    Pc1,
    Pc2,
    SynthProof,
    C1,
    C2,
    SnapEncode,
    SnapProve,
    Unseal,
    Transfer,
    WindowPost,
    WinningPost,
    /// Makes Groth parameters. Never configured; `params::generate` starts it by itself.
    MakeParams,
    /// Reads of sectors what a WindowPoSt would. Never configured; the poster starts it by itself.
    ReadSectors,
    /// Makes one proof of many seal proofs. Never configured; who commits sectors starts it by
    /// itself.
    Aggregate,
}

impl Stage {
    /// Every stage that may stand in a config, in the order of a sector's life.
    pub const ALL: [Self; 13] = [
        Self::AddPieces,
        Self::TreeD,
        Self::Pc1,
        Self::Pc2,
        Self::SynthProof,
        Self::C1,
        Self::C2,
        Self::SnapEncode,
        Self::SnapProve,
        Self::Unseal,
        Self::Transfer,
        Self::WindowPost,
        Self::WinningPost,
    ];

    /// Stages that only a parent asks for by itself; they stand in no config.
    pub const INTERNAL: [Self; 3] = [Self::MakeParams, Self::ReadSectors, Self::Aggregate];

    /// The name on the wire and in config keys (upstream's where upstream has the stage).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddPieces => "add_pieces",
            Self::TreeD => "tree_d",
            Self::Pc1 => "pc1",
            Self::Pc2 => "pc2",
            Self::SynthProof => "synth_proof",
            Self::C1 => "c1",
            Self::C2 => "c2",
            Self::SnapEncode => "snap_encode",
            Self::SnapProve => "snap_prove",
            Self::Unseal => "unseal",
            Self::Transfer => "transfer",
            Self::WindowPost => "window_post",
            Self::WinningPost => "winning_post",
            Self::MakeParams => "make_params",
            Self::ReadSectors => "read_sectors",
            Self::Aggregate => "aggregate",
        }
    }

    /// Whether a deadline of the chain waits for it: where it wants the same locks as other stages,
    /// it goes before them.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::WindowPost | Self::WinningPost)
    }

    /// The first line that a child of this stage prints when it can take work.
    pub fn ready_line(self) -> String {
        ready_line(self.name())
    }
}

/// The ready line of a stage name; also that of upstream's `EMPTY` (sealing daemons).
pub fn ready_line(name: &str) -> String {
    format!("{name} processor ready")
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no stage has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stage; the stages are {list}", list = Stage::ALL.map(Stage::name).join(", "))]
pub struct UnknownStage(pub String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<Self, UnknownStage> {
        Self::ALL
            .into_iter()
            .chain(Self::INTERNAL)
            .find(|stage| stage.name() == name)
            .ok_or_else(|| UnknownStage(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_the_ready_line_is_upstreams() {
        for stage in Stage::ALL {
            assert_eq!(stage.name().parse::<Stage>().unwrap(), stage);
        }
        assert_eq!(Stage::Pc1.ready_line(), "pc1 processor ready");
        let error = "pc3".parse::<Stage>().unwrap_err().to_string();
        assert!(
            error.contains("add_pieces") && error.contains("winning_post"),
            "{error}"
        );
    }
}
