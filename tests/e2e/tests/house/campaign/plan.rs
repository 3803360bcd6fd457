//! What befalls the house, and when: a pure function of the seed and of the network's shape.

use crate::chance::Chance;
use damocles_types::Epoch;

/// A network whose epochs last a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) miners: u64,
    pub(crate) deadlines: u64,
    /// Epochs of a window.
    pub(crate) window: Epoch,
    /// Sectors of each miner.
    pub(crate) sectors: u64,
    /// Proving periods that the campaign lasts.
    pub(crate) periods: u64,
    /// Epochs from one blow to the next.
    pub(crate) pace: Epoch,
    /// Epochs for which a store is away.
    pub(crate) away: Epoch,
}

/// Sectors of a partition, of 2 KiB each.
const PARTITION: u64 = 2;
/// Deadlines that take no new sectors: the open one and the next.
const CLOSED: u64 = 2;

impl Shape {
    /// Two minutes: two partitions in one deadline of three. A proof takes two seconds, and five on
    /// a busy machine, which is a larger part of the window than on the mainnet: a store is not
    /// waited for as long. The miners' windows open some seconds apart with this length.
    pub(crate) fn short() -> Self {
        Self {
            miners: 3,
            deadlines: 3,
            window: 19,
            sectors: 2 * PARTITION,
            periods: 2,
            pace: 11,
            away: 5,
        }
    }

    /// Two partitions in each deadline; the real network has 48. The miners' windows open nine
    /// seconds apart with this length.
    pub(crate) fn long(periods: u64, deadlines: u64) -> Self {
        Self {
            miners: 3,
            deadlines,
            window: 27,
            sectors: 2 * PARTITION * (deadlines - CLOSED),
            periods,
            pace: 27,
            away: 13,
        }
    }

    pub(crate) fn period(&self) -> Epoch {
        self.window * self.deadlines as Epoch
    }

    /// Epochs of the campaign.
    pub(crate) fn length(&self) -> Epoch {
        self.period() * self.periods as Epoch
    }

    /// Epochs from the challenge to the opening.
    pub(crate) fn lookback(&self) -> Epoch {
        self.window / 3
    }

    /// Epochs from the last declaration of recoveries to the opening.
    pub(crate) fn cutoff(&self) -> Epoch {
        self.lookback() + self.window * 5 / 6
    }

    /// The devnet's policy.
    pub(crate) fn policy(&self) -> String {
        format!(
            "network_name = \"damocles-campaign\"\n\
             block_delay_secs = 1\n\
             genesis_age_secs = {}\n\
             wpost_period_deadlines = {}\n\
             wpost_challenge_window = {}\n\
             wpost_proving_period = {}\n\
             wpost_challenge_lookback = {}\n\
             fault_declaration_cutoff = {}\n\
             wpost_max_chain_commit_age = {}\n\
             wpost_dispute_window = {}\n\
             fault_max_age = {}\n",
            self.past(),
            self.deadlines,
            self.window,
            self.period(),
            self.lookback(),
            self.cutoff(),
            self.window,
            self.period() * 5 / 8,
            self.period() * 42,
        )
    }

    /// Epochs that the chain has behind it when the managers are started: nothing is due in them,
    /// as the first two deadlines take no sectors.
    pub(crate) fn past(&self) -> Epoch {
        self.window / 2
    }
}

/// What may befall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Trouble {
    /// `kill -9` of a manager, which is started again.
    Manager,
    /// `kill -9` of the children that prove, at their work.
    Prover,
    /// The children that prove stand still at their work, for half a window or until they are
    /// replaced.
    ProverHangs,
    /// The node answers nobody for a third of a window.
    NodeDown,
    /// The node's head is old for a third of a window.
    NodeSyncs,
    /// A branch is lost from before a challenge that is being answered, and so deeper than the
    /// managers' confidence.
    Branch,
    /// For a third of a window the base fee is above what a message may cost.
    BaseFee,
    /// Whoever looks at a store waits, for a third of a window.
    StoreHangs,
    /// A store is not there, in the long form for half a window.
    StoreAway,
    /// `kill -9` of the database.
    Database,
}

impl Trouble {
    /// An old head must be old: it stands behind others.
    const YOUNG: [Self; 8] = [
        Self::Manager,
        Self::Prover,
        Self::ProverHangs,
        Self::NodeDown,
        Self::Branch,
        Self::BaseFee,
        Self::StoreHangs,
        Self::StoreAway,
    ];
}

/// One trouble at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blow {
    /// Epochs from the campaign's begin.
    pub(crate) at: Epoch,
    pub(crate) trouble: Trouble,
    /// Which manager, which store.
    pub(crate) which: u64,
}

/// One blow after the other, each kind before any comes again.
pub(crate) fn plan(seed: u64, shape: &Shape, database: bool) -> Vec<Blow> {
    let mut chance = Chance::new(seed);
    let mut kinds = Trouble::YOUNG.to_vec();
    kinds.extend(database.then_some(Trouble::Database));
    let mut out = Vec::new();
    let mut deck = Vec::new();
    let mut rounds = 0;
    for slot in 0..shape.length() / shape.pace {
        if deck.is_empty() {
            deck.clone_from(&kinds);
            chance.shuffle(&mut deck);
            // the last of the round: by then the chain is long enough to be old
            deck.insert(0, Trouble::NodeSyncs);
            if rounds > 0 {
                chance.shuffle(&mut deck);
            }
            rounds += 1;
        }
        let Some(trouble) = deck.pop() else { break };
        let late = chance.below(shape.pace as u64 / 4) as Epoch;
        out.push(Blow {
            at: slot * shape.pace + late,
            trouble,
            which: chance.below(1 << 32),
        });
    }
    out
}

/// Whether a window is between its challenge and a third of its time: what is proven by then is on
/// chain mostly. `opened`: epochs since windows with sectors have opened.
pub(crate) fn at_stake(shape: &Shape, opened: &[Epoch]) -> bool {
    let time = -shape.lookback()..=shape.window / 3;
    opened.iter().any(|opened| time.contains(opened))
}

/// How long a branch must be that crosses the challenge of a window; `opened`: epochs since windows
/// with sectors have opened. Whose message is executed below its opening again has half of its
/// window to prove anew. None: not now.
pub(crate) fn branch(shape: &Shape, opened: &[Epoch]) -> Option<Epoch> {
    // by then its message is on chain mostly
    let time = shape.window / 6..=shape.window / 3;
    let young = opened.iter().filter(|o| time.contains(o));
    let depth = young.max()? + shape.lookback() + 1;
    let late = |o: &Epoch| *o > shape.window / 2 && *o <= depth;
    (!opened.iter().any(late)).then_some(depth)
}

/// Which sectors are damaged: of two miners one each.
pub(crate) fn damages(seed: u64, shape: &Shape) -> [(u64, u64); 2] {
    let mut chance = Chance::new(!seed);
    let mut miners: Vec<u64> = (0..shape.miners).collect();
    chance.shuffle(&mut miners);
    let sector = |miner, chance: &mut Chance| (miner, chance.below(shape.sectors));
    [
        sector(miners[0], &mut chance),
        sector(miners[1], &mut chance),
    ]
}

#[test]
fn a_plan_is_had_again_by_its_seed_and_has_every_trouble() {
    let shape = Shape::short();
    let kinds = |blows: &[Blow]| {
        let mut kinds: Vec<_> = blows.iter().map(|blow| blow.trouble).collect();
        kinds.sort();
        kinds.dedup();
        kinds.len()
    };
    for seed in 0..100 {
        let blows = plan(seed, &shape, true);
        assert_eq!(blows, plan(seed, &shape, true));
        assert_eq!(kinds(&blows), 10, "{blows:?}");
        let without = plan(seed, &shape, false);
        assert_eq!(kinds(&without), 9, "{without:?}");
        assert!(without.iter().all(|b| b.trouble != Trouble::Database));
        // a trouble is over when the next one comes
        let longest = shape.away.max(shape.window / 2);
        let apart = |pair: &[Blow]| pair[1].at - pair[0].at > longest;
        assert!(blows.windows(2).all(apart), "{blows:?}");
        assert!(blows.iter().all(|blow| blow.at < shape.length()));
        let [one, other] = damages(seed, &shape);
        assert!(one.0 != other.0 && one.1 < shape.sectors && other.0 < shape.miners);
    }
    assert_ne!(plan(1, &shape, true), plan(2, &shape, true));
}

#[test]
fn a_branch_crosses_a_challenge_and_leaves_time() {
    let shape = Shape::short();
    for (opened, depth) in [
        (&[][..], None),
        (&[2], None),
        (&[3], Some(10)),
        (&[6], Some(13)),
        (&[7], None),
        // the other message is not lost
        (&[3, 12], Some(10)),
        // the other one would have to be proven again in a third of its window
        (&[6, 12], None),
        (&[3, 5], Some(12)),
    ] {
        assert_eq!(branch(&shape, opened), depth, "{opened:?}");
    }
    assert!(at_stake(&shape, &[9, -6]) && at_stake(&shape, &[6]));
    assert!(!at_stake(&shape, &[7, -7]) && !at_stake(&shape, &[]));
}
