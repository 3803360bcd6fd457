//! The last six levels on the way down, and the first six on the way up again, on 64 elements
//! in eight blocks: three levels between blocks, a transposition, three levels within the
//! lanes.
//!
//! # Within the lanes
//! Three levels from the end a block is the rest of a polynomial modulo X⁸ − r. With t⁸ = r and
//! X = t Y that is a polynomial modulo Y⁸ − 1, whose coefficients are the block's elements times
//! 1, t, … t⁷; what follows is the same for all blocks. After the transposition lane l belongs to
//! block l. t is the power of the root with the exponent of the block's number reversed: a
//! constant of the lane (the number's lowest three bits) times one of the leaf (the others).
//!
//! The coefficients' places in the end have *their* bits reversed: row j (element j of the
//! blocks), lane l of leaf g is the coefficient of
//! reversed(j) n/8 + reversed(l) n/64 + reversed(g). So a factor with the place as exponent is
//! one of the row, which is multiplied behind the three levels, times one of the leaf and the
//! lane, which goes with the powers of t.
//!
//! # Bounds (multiples of p)
//! From below 7 three levels lead to below 13; times a power, below 1.2, that is below 1.5.
//! Within the lanes sums of eight are below 12, differences too; times constants they are below
//! 1.5 again. What is not multiplied is reduced: from below 12 to below 2.2, or, where more
//! levels follow, twice.
#![expect(unsafe_code, reason = "calls code for a CPU that was asked before")]

use super::lanes::{Ifma, SIX, THREE, TWO, constant, cross, down_four, times, up_four};
use super::tables::few_powers;
use blstrs::Scalar;
use damocles_kernels::field::{
    fixed::Fixed,
    lanes::Lanes,
    limbs::Limbs,
    loose::{Block, Loose, products, transpose},
};

/// Constants of a direction.
#[derive(Debug)]
pub(super) struct Turn {
    /// Of the nodes, one per 16 elements.
    pub(super) nodes: Vec<Fixed>,
    /// Of the leaves, one per 64 elements.
    pub(super) leaves: Vec<Limbs>,
    /// Of the lanes.
    pub(super) lanes: Block,
    /// The root of order 8 to the second, the first, the third power.
    pub(super) eighth: [Fixed; 3],
}

/// Factors of elements when they are at the bottom: a constant times powers of the coset's
/// generator (or its inverse), if at all.
#[derive(Debug)]
pub(super) struct Factors<'a> {
    /// The lanes' powers, times the constant.
    pub(super) lanes: Block,
    pub(super) generator: Option<Generator<'a>>,
}

#[derive(Debug)]
pub(super) struct Generator<'a> {
    /// One power per leaf.
    pub(super) leaves: &'a [Limbs],
    /// Of the rows from 1 to 7; that of row 0 is 1.
    pub(super) rows: [Fixed; 7],
}

/// `base^reversed(i)` for eight i, each times `factor`.
pub(super) fn eight(base: Scalar, factor: Scalar) -> [Scalar; 8] {
    let powers = few_powers(base, 3, factor);
    std::array::from_fn(|i| powers[i])
}

/// Eight constants as a block.
pub(super) fn block(constants: [Scalar; 8]) -> Block {
    let elements = constants.map(constant);
    std::array::from_fn(|limb| elements.map(|element| element[limb]))
}

impl Ifma {
    /// Down to the end: row j becomes block j.
    pub(super) fn leaf(
        self,
        turn: &Turn,
        factors: &Factors<'_>,
        leaf: usize,
        blocks: &mut [Block],
    ) {
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn run(turn: &Turn, factors: &Factors<'_>, leaf: usize, blocks: &mut [Block]) {
            store(&down(turn, factors, leaf, blocks), blocks);
        }
        // SAFETY: `Ifma` proves that the CPU has what it asks for
        unsafe { run(turn, factors, leaf, blocks) }
    }

    /// Down to the end and up again, to the values of another transform.
    pub(super) fn turning_leaf(
        self,
        [turn, opposite]: [&Turn; 2],
        factors: &Factors<'_>,
        leaf: usize,
        blocks: &mut [Block],
    ) {
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn run(
            [turn, opposite]: [&Turn; 2],
            factors: &Factors<'_>,
            leaf: usize,
            blocks: &mut [Block],
        ) {
            let mut rows = down(turn, factors, leaf, blocks);
            up(opposite, leaf, &mut rows);
            store(&rows, blocks);
        }
        // SAFETY: as above
        unsafe { run([turn, opposite], factors, leaf, blocks) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(rows: &[Loose; 8], blocks: &mut [Block]) {
    for (block, row) in blocks.iter_mut().zip(rows) {
        *block = row.store();
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn down(turn: &Turn, factors: &Factors<'_>, leaf: usize, blocks: &[Block]) -> [Loose; 8] {
    let mut rows = load(blocks);
    down_blocks(&turn.nodes, leaf, &mut rows);
    transpose(&mut rows);
    times_eight(&mut rows, &factors.powers(turn, leaf)); // < 1.5
    down_lanes(&turn.eighth, &mut rows);
    if let Some(generator) = &factors.generator {
        times_constants(&mut rows, &generator.rows);
    } else {
        for row in &mut rows {
            *row = row.reduce().loose(); // < 2.2
        }
    }
    rows
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn up(turn: &Turn, leaf: usize, rows: &mut [Loose; 8]) {
    up_lanes(&turn.eighth, rows);
    times_seven(rows, &turn.powers(leaf));
    transpose(rows);
    up_blocks(&turn.nodes, leaf, rows);
}

/// Eight names instead of an index: arrays that are filled first are copied by calls.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(blocks: &[Block]) -> [Loose; 8] {
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| &blocks[i]);
    let [e, f, g, h] = [4, 5, 6, 7].map(|i| &blocks[i]);
    let [a, b, c, d] = [
        Loose::load(a),
        Loose::load(b),
        Loose::load(c),
        Loose::load(d),
    ];
    let [e, f, g, h] = [
        Loose::load(e),
        Loose::load(f),
        Loose::load(g),
        Loose::load(h),
    ];
    [a, b, c, d, e, f, g, h]
}

/// Each row but the first times a constant; the first, below 13, becomes below 1.3.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn times_constants(rows: &mut [Loose; 8], constants: &[Fixed; 7]) {
    rows[0] = rows[0].reduce().loose().reduce().loose();
    let [a, b, c, d, e, f, g] = constants;
    for (i, two) in [(1, [a, b]), (3, [c, d])] {
        [rows[i], rows[i + 1]] = times(&[rows[i], rows[i + 1]], two);
    }
    [rows[5], rows[6], rows[7]] = times(&[rows[5], rows[6], rows[7]], [e, f, g]);
}

impl Turn {
    /// t, … t⁷ of each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn powers(&self, leaf: usize) -> [Lanes; 7] {
        let lanes = Loose::load(&self.lanes).carry();
        let [one] = carried(products(&[Lanes::splat(&self.leaves[leaf])], &[lanes]));
        let [two] = carried(products(&[one], &[one]));
        let [three, four] = carried(products(&[one, two], &[two; 2]));
        let [five, six] = carried(products(&[one, two], &[four; 2]));
        let [seven] = carried(products(&[three], &[four]));
        [one, two, three, four, five, six, seven]
    }
}

impl Factors<'_> {
    /// The factors of each lane times 1, t, … t⁷.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn powers(&self, turn: &Turn, leaf: usize) -> [Lanes; 8] {
        let lanes = [&turn.lanes, &self.lanes];
        let lanes = [Loose::load(lanes[0]).carry(), Loose::load(lanes[1]).carry()];
        let t = Lanes::splat(&turn.leaves[leaf]);
        let [t, zero] = match &self.generator {
            Some(generator) => {
                let leaf = Lanes::splat(&generator.leaves[leaf]);
                carried(products(&[t, leaf], &lanes))
            }
            None => {
                let [t] = carried(products(&[t], &[lanes[0]]));
                [t, lanes[1]]
            }
        };
        let [one, square] = carried(products(&[zero, t], &[t; 2]));
        let [two, fourth] = carried(products(&[zero, square], &[square; 2]));
        let [three] = carried(products(&[one], &[square]));
        let [four, five] = carried(products(&[zero, one], &[fourth; 2]));
        let [six, seven] = carried(products(&[two, three], &[fourth; 2]));
        [zero, one, two, three, four, five, six, seven]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn carried<const G: usize>(loose: [Loose; G]) -> [Lanes; G] {
    let mut lanes = [loose[0].carry(); G];
    for g in 1..G {
        lanes[g] = loose[g].carry();
    }
    lanes
}

/// Each row times its factors.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn times_eight(rows: &mut [Loose; 8], factors: &[Lanes; 8]) {
    for i in [0, 2, 4, 6] {
        let both = [rows[i].carry(), rows[i + 1].carry()];
        [rows[i], rows[i + 1]] = products(&both, &[factors[i], factors[i + 1]]);
    }
}

/// Each row but the first times its factors; the first, below 13, becomes below 1.3.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn times_seven(rows: &mut [Loose; 8], factors: &[Lanes; 7]) {
    rows[0] = rows[0].reduce().loose().reduce().loose();
    for i in [1, 3, 5] {
        let both = carried([rows[i], rows[i + 1]]);
        [rows[i], rows[i + 1]] = products(&both, &[factors[i - 1], factors[i]]);
    }
    let [seventh] = products(&[rows[7].carry()], &[factors[6]]);
    rows[7] = seventh;
}

/// Three levels between blocks; from below 7 to below 13.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn down_blocks(nodes: &[Fixed], leaf: usize, rows: &mut [Loose; 8]) {
    let outer = &nodes[leaf];
    let inner = [&nodes[2 * leaf], &nodes[2 * leaf + 1]];
    for i in 0..2 {
        let four = [rows[i], rows[i + 2], rows[i + 4], rows[i + 6]];
        [rows[i], rows[i + 2], rows[i + 4], rows[i + 6]] = down_four(four, outer, inner);
    }
    for i in [0, 4] {
        let node = 4 * leaf + i / 2;
        let constants = [&nodes[node], &nodes[node + 1]];
        let [t, u] = times(&[rows[i + 1], rows[i + 3]], constants);
        [rows[i], rows[i + 1]] = cross(&rows[i], &t, &TWO);
        [rows[i + 2], rows[i + 3]] = cross(&rows[i + 2], &u, &TWO);
    }
}

/// Undoes [`down_blocks`], but for a factor 8; from below 1.5 to below 2.7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn up_blocks(nodes: &[Fixed], leaf: usize, rows: &mut [Loose; 8]) {
    for i in [0, 4] {
        let node = 4 * leaf + i / 2;
        let constants = [&nodes[node], &nodes[node + 1]];
        let [first, t] = cross(&rows[i], &rows[i + 1], &TWO); // < 3, < 3.5
        let [second, u] = cross(&rows[i + 2], &rows[i + 3], &TWO);
        let [t, u] = times(&[t, u], constants); // < 1.1
        [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]] = [first, t, second, u];
    }
    let outer = &nodes[leaf];
    let inner = [&nodes[2 * leaf], &nodes[2 * leaf + 1]];
    for i in 0..2 {
        let four = [rows[i], rows[i + 2], rows[i + 4], rows[i + 6]];
        [rows[i], rows[i + 2], rows[i + 4], rows[i + 6]] = up_four(four, outer, inner);
    }
}

/// Three levels within the lanes; from below 1.5 to below 12.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn down_lanes([second, first, third]: &[Fixed; 3], rows: &mut [Loose; 8]) {
    let [b, d] = [rows[2].minus(&rows[6], &TWO), rows[3].minus(&rows[7], &TWO)];
    let [b, d] = times(&[b, d], [second; 2]); // < 1.1
    for (i, d) in [(0, b), (1, d)] {
        let [a, c] = cross(&rows[i], &rows[i + 4], &TWO); // < 3, < 3.5
        let b = rows[i + 2].plus(&rows[i + 6]);
        [rows[i], rows[i + 2]] = cross(&a, &b, &THREE); // < 6
        [rows[i + 4], rows[i + 6]] = cross(&c, &d, &TWO); // < 5.5
    }
    let three = times(&[rows[3], rows[5], rows[7]], [second, first, third]); // < 1.2
    [rows[0], rows[1]] = cross(&rows[0], &rows[1], &SIX); // < 12
    for (i, product) in [2, 4, 6].into_iter().zip(three) {
        [rows[i], rows[i + 1]] = cross(&rows[i], &product, &TWO); // < 8
    }
}

/// Undoes [`down_lanes`], but for a factor 8; from below 1.5 to below 12.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn up_lanes([second, first, third]: &[Fixed; 3], rows: &mut [Loose; 8]) {
    for i in [0, 2, 4, 6] {
        [rows[i], rows[i + 1]] = cross(&rows[i], &rows[i + 1], &TWO); // < 3, < 3.5
    }
    let three = times(&[rows[3], rows[5], rows[7]], [second, first, third]); // < 1.1
    [rows[3], rows[5], rows[7]] = three;
    let sixth = rows[4].minus(&rows[6], &THREE); // < 6
    let seventh = rows[5].minus(&rows[7], &TWO);
    let [sixth, seventh] = times(&[sixth, seventh], [second; 2]); // < 1.2
    for (i, product, multiple) in [(0, sixth, &THREE), (1, seventh, &TWO)] {
        let [a, b] = cross(&rows[i], &rows[i + 2], multiple); // < 6
        let c = rows[i + 4].plus(&rows[i + 6]); // < 6
        [rows[i], rows[i + 4]] = cross(&a, &c, &SIX); // < 12
        [rows[i + 2], rows[i + 6]] = cross(&b, &product, &TWO); // < 8
    }
}
