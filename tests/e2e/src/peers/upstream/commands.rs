//! The commands of upstream's `util` that read, and what is known of those that our manager
//! refuses.

/// One command, as it is typed after `util`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: &'static str,
    /// The method that our manager does not serve and the command asks for.
    pub(super) refused: Option<&'static str>,
    /// What may differ: beginnings of lines that only one of the two prints.
    pub(super) may_differ: &'static [&'static str],
}

const fn same(words: &'static str) -> Command {
    Command {
        words,
        refused: None,
        may_differ: &[],
    }
}

const fn refused(words: &'static str, method: &'static str) -> Command {
    Command {
        words,
        refused: Some(method),
        may_differ: &[],
    }
}

const fn may_differ(words: &'static str, may_differ: &'static [&'static str]) -> Command {
    Command {
        words,
        refused: None,
        may_differ,
    }
}

/// Errors about a sector that is not there: ours name the sector.
const fn names_the_sector(words: &'static str) -> Command {
    may_differ(words, &["ERROR cmd internal/run.go:# rpc FindSector"])
}

/// Neither manager takes a report of a sector that is done, and our worker's last one may come
/// before that or after it.
const fn last_step(words: &'static str) -> Command {
    const STEPS: &[&str] = &[
        "State: C#Done => ProofSubmitted @SubmitProof",
        "State: ProofSubmitted => Finished @Finish",
        "State Change: C#Done => ProofSubmitted, by SubmitProof",
        "State Change: ProofSubmitted => Finished, by Finish",
    ];
    may_differ(words, STEPS)
}

/// The window may be over by now.
const fn current(words: &'static str) -> Command {
    may_differ(words, &["Current: "])
}

/// Neither serves the method; upstream's manager says the code twice.
const fn not_served(words: &'static str) -> Command {
    may_differ(
        words,
        &["ERROR cmd internal/run.go:# get wdpost jobs: RPC error (-#): "],
    )
}

/// Sector 1 of the miner 1000 is sealed and proven when they are tried, and the worker is there.
pub(super) const COMMANDS: &[Command] = &[
    same("sealer sectors list"),
    last_step("sealer sectors list --offline"),
    last_step("sealer sectors list --offline --miner t01000"),
    same("sealer sectors list --offline --miner t01001"),
    last_step("sealer sectors state 1000 1"),
    last_step("sealer sectors state t01000 1"),
    names_the_sector("sealer sectors state 1000 77"),
    same("sealer sectors state export-json 1000 1"),
    same("sealer sectors find-deal 7"),
    same("sealer sectors find-deal --offline 7"),
    same("sealer sectors check-expire --miner t01000 --cutoff 100000000"),
    same("sealer sectors expired --miner t01000"),
    same("sealer sectors terminate --actor 1000 query 1"),
    names_the_sector("sealer sectors resend-pre 1000 1"),
    names_the_sector("sealer sectors resend-prove 1000 1"),
    same("sealer proving --miner t01000 info"),
    same("sealer proving --miner t01000 faults"),
    same("sealer proving --miner t01000 deadlines"),
    same("sealer proving --miner t01000 deadlines --all"),
    current("sealer proving --miner t01000 deadline @DEADLINE@"),
    current("sealer proving --miner t01000 deadline -n -b @DEADLINE@"),
    refused(
        "sealer proving --miner t01000 check @DEADLINE@",
        "CheckProvable",
    ),
    refused(
        "sealer proving --miner t01000 check --slow --detail @DEADLINE@",
        "CheckProvable",
    ),
    refused(
        "sealer proving --miner t01000 sector-info 1",
        "ProvingSectorInfo",
    ),
    same("sealer actor --miner t01000 balance"),
    refused("sealer actor --miner t01000 control list", "GetMinerConfig"),
    same("sealer snap candidates t01000"),
    same("storage list"),
    same("storage release-reserved 1000 1"),
    same("worker list"),
    same("worker info demo-worker"),
    same("worker info nobody.invalid"),
    not_served("worker wdpost list"),
    same("miner info t01000"),
    same("chain head"),
    same("chain pci t01000 1"),
    same("message search nothing"),
];
