//! Passes over blocks of eight elements with AVX-512 IFMA: the same constants for all lanes.
//!
//! # Bounds (multiples of p, see the field's `loose` and `fixed`)
//! * A product of x p and a constant is below x/35.3 + 1.
//! * Down, values come in below 2, and blocks are below 7 before and after a pass: in each
//!   level what is multiplied becomes less than 2, and what is not, grows by at most 2. It is
//!   reduced at the beginning of a pass.
//! * Node 0's constants are 1, 1 and a fourth root, so there are no products but one; its sums
//!   grow from below 2.7 to below 11.4, and are reduced.
//! * Up, blocks are below 2.7 before and after a pass; sums double in each level.
#![expect(unsafe_code, reason = "calls code for a CPU that was asked before")]

use super::walk::Steps;
use blst::blst_fr;
use blstrs::Scalar;
use damocles_kernels::{
    cpu::Cpu,
    field::{
        fixed::{self, Fixed},
        lanes::{Lanes, Word8},
        limbs::{Limbs, split},
        loose::{Block, Loose, multiple, products},
    },
};

pub(super) const TWO: Limbs = multiple(2);
pub(super) const THREE: Limbs = multiple(3);
pub(super) const SIX: Limbs = multiple(6);

/// Proof that this CPU has AVX-512 F, DQ and IFMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifma(());

impl Ifma {
    /// When `cpu` allows it and this CPU really has it.
    pub(super) fn of(cpu: Cpu) -> Option<Self> {
        cpu.here().ifma.then_some(Self(()))
    }
}

/// A constant as products with it want it: times R = 2^260. In memory a scalar is times 2^256.
pub(super) fn constant(scalar: Scalar) -> Limbs {
    split(memory(scalar * Scalar::from(16)))
}

/// A scalar's words in memory, below p: the scalar times 2^256.
#[inline]
pub(super) fn memory(scalar: Scalar) -> [u64; 4] {
    blst_fr::from(scalar).l
}

/// The nodes' constants on the way down; those of the opposite direction on the way up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nodes<'a> {
    #[expect(dead_code, reason = "a proof is had, not read")]
    pub(super) ifma: Ifma,
    pub(super) down: &'a [Fixed],
    pub(super) up: &'a [Fixed],
}

/// The constants of a node and of its halves.
fn constants(nodes: &[Fixed], node: usize) -> [&Fixed; 3] {
    [&nodes[node], &nodes[2 * node], &nodes[2 * node + 1]]
}

impl Steps for Nodes<'_> {
    type Block = Block;
    const LEAF: usize = 8;
    const COLUMNS: usize = 64;

    fn down(&self, node: usize, quarters: [&mut [Block]; 4]) {
        let constants = constants(self.down, node);
        // SAFETY: `Ifma` proves that the CPU has what they ask for
        unsafe {
            if node == 0 {
                down_first(constants[2], quarters);
            } else {
                down(constants, quarters);
            }
        }
    }

    fn down_half(&self, node: usize, halves: [&mut [Block]; 2]) {
        // SAFETY: as above
        unsafe { down_half(&self.down[node], halves) }
    }

    fn up(&self, node: usize, quarters: [&mut [Block]; 4]) {
        let constants = constants(self.up, node);
        // SAFETY: as above
        unsafe {
            if node == 0 {
                up_first(constants[2], quarters);
            } else {
                up(constants, quarters);
            }
        }
    }

    fn up_half(&self, node: usize, halves: [&mut [Block]; 2]) {
        // SAFETY: as above
        unsafe { up_half(&self.up[node], halves) }
    }
}

/// The blocks of four quarters that belong together.
fn fours([a, b, c, d]: [&mut [Block]; 4]) -> impl Iterator<Item = [&mut Block; 4]> {
    let pairs = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    pairs.map(|((a, b), (c, d))| [a, b, c, d])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load([a, b, c, d]: &[&mut Block; 4]) -> [Loose; 4] {
    [
        Loose::load(a),
        Loose::load(b),
        Loose::load(c),
        Loose::load(d),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(four: [Loose; 4], blocks: [&mut Block; 4]) {
    for (block, loose) in blocks.into_iter().zip(four) {
        *block = loose.store();
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn reduced(mut four: [Loose; 4]) -> [Loose; 4] {
    for loose in &mut four {
        *loose = loose.reduce().loose();
    }
    four
}

/// Elements times constants. These are spread here, not by the caller, who has no registers
/// left for them and would have to store them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn times<const G: usize>(a: &[Loose; G], constants: [&Fixed; G]) -> [Loose; G] {
    let mut lanes = [a[0].carry(); G];
    let mut fixed = [constants[0].splat(); G];
    for g in 1..G {
        lanes[g] = a[g].carry();
        fixed[g] = constants[g].splat();
    }
    let lanes = fixed::products(&lanes, &fixed);
    let mut loose = *a;
    for g in 0..G {
        loose[g] = lanes[g].loose();
    }
    loose
}

/// The sum and the difference, plus a multiple of p that is not less than `b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn cross(a: &Loose, b: &Loose, multiple: &Limbs) -> [Loose; 2] {
    [a.plus(b), a.minus(b, multiple)]
}

/// Two levels of a node with constant `outer`, and its halves, with `inner`. From below 1.7 (the
/// first) and 7 to below 5.7; each level adds at most 2 to what is not multiplied.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn down_four([a, b, c, d]: [Loose; 4], outer: &Fixed, inner: [&Fixed; 2]) -> [Loose; 4] {
    let [t, u] = times(&[c, d], [outer; 2]); // < 1.2
    let [second, fourth] = cross(&b, &u, &TWO); // < 9
    let [second, fourth] = times(&[second, fourth], inner); // < 1.3
    let [first, third] = cross(&a, &t, &TWO); // < 3.7
    let [a, b] = cross(&first, &second, &TWO); // < 5.7
    let [c, d] = cross(&third, &fourth, &TWO);
    [a, b, c, d]
}

/// Undoes [`down_four`], but for a factor 4; from below 3 to below 2.7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn up_four([a, b, c, d]: [Loose; 4], outer: &Fixed, inner: [&Fixed; 2]) -> [Loose; 4] {
    let [first, second] = cross(&a, &b, &THREE); // < 6
    let [third, fourth] = cross(&c, &d, &THREE);
    let [second, fourth] = times(&[second, fourth], inner); // < 1.2
    let [a, c] = cross(&first, &third, &SIX); // < 12
    let [b, d] = cross(&second, &fourth, &TWO); // < 2.4, < 3.2
    let [c, d] = times(&[c, d], [outer; 2]); // < 1.4
    [a.reduce().loose(), b, c, d] // < 2.2, < 2.4
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn down([outer, left, right]: [&Fixed; 3], quarters: [&mut [Block]; 4]) {
    for blocks in fours(quarters) {
        let [a, b, c, d] = load(&blocks);
        let a = a.reduce().loose(); // < 1.7
        store(down_four([a, b, c, d], outer, [left, right]), blocks);
    }
}

/// Node 0: only one constant is not 1.
#[target_feature(enable = "avx512f,avx512ifma")]
fn down_first(right: &Fixed, quarters: [&mut [Block]; 4]) {
    for blocks in fours(quarters) {
        let [a, b, c, d] = load(&blocks);
        let [first, third] = cross(&a, &c, &THREE); // < 5.4, < 5.7
        let [second, fourth] = cross(&b, &d, &THREE);
        let [fourth] = times(&[fourth], [right]); // < 1.2
        let [a, b] = cross(&first, &second, &SIX); // < 11.4
        let [c, d] = cross(&third, &fourth, &TWO);
        store(reduced([a, b, c, d]), blocks); // < 2.1
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn down_half(constant: &Fixed, [a, b]: [&mut [Block]; 2]) {
    for (a, b) in a.iter_mut().zip(b) {
        let [t] = times(&[Loose::load(b)], [constant]); // < 1.2
        let x = Loose::load(a).reduce().loose(); // < 1.7
        *a = x.plus(&t).store();
        *b = x.minus(&t, &TWO).store();
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn up([outer, left, right]: [&Fixed; 3], quarters: [&mut [Block]; 4]) {
    for blocks in fours(quarters) {
        store(up_four(load(&blocks), outer, [left, right]), blocks);
    }
}

/// Node 0: the same as on the way down, with the quarters in the middle exchanged.
#[target_feature(enable = "avx512f,avx512ifma")]
fn up_first(right: &Fixed, [a, b, c, d]: [&mut [Block]; 4]) {
    down_first(right, [a, c, b, d]);
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn up_half(constant: &Fixed, [a, b]: [&mut [Block]; 2]) {
    for (a, b) in a.iter_mut().zip(b) {
        let (x, y) = (Loose::load(a), Loose::load(b));
        let [t] = times(&[x.minus(&y, &THREE)], [constant]); // < 1.2
        *a = x.plus(&y).reduce().loose().store(); // < 5.4, reduced < 1.6
        *b = t.store();
    }
}

impl Ifma {
    /// Each block of `a` times that of `b`: below 1.3 when both are below 2.7.
    pub(super) fn multiply(self, a: &mut [Block], b: &[Block]) {
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn run(a: &mut [Block], b: &[Block]) {
            for (a, b) in a.iter_mut().zip(b) {
                let [product] = products(&[Loose::load(a).carry()], &[Loose::load(b).carry()]);
                *a = product.store();
            }
        }
        // SAFETY: `Ifma` proves that the CPU has what it asks for
        unsafe { run(a, b) }
    }

    /// Multiplies blocks by the powers of a base, each power times `step` the power of the
    /// block before; `first` are the powers for the first block.
    pub(super) fn scale(self, blocks: &mut [Block], first: &Block, step: &Limbs) {
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn run(blocks: &mut [Block], first: &Block, step: &Limbs) {
            let mut powers = Loose::load(first).carry();
            let step = Lanes::splat(step);
            for block in blocks {
                let both = [Loose::load(block).carry(), powers];
                let [scaled, next] = products(&both, &[powers, step]);
                *block = scaled.store();
                powers = next.carry();
            }
        }
        // SAFETY: as above
        unsafe { run(blocks, first, step) }
    }

    /// Blocks of canonical words.
    #[inline]
    pub(super) fn block(self, words: &[Word8; 4]) -> Block {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn run(words: &[Word8; 4]) -> Block {
            Lanes::from_words(words).loose().store()
        }
        // SAFETY: as above
        unsafe { run(words) }
    }

    /// The canonical words of a block, or of the sum of two, below 8.
    #[inline]
    pub(super) fn words(self, block: &Block, other: Option<&Block>) -> [Word8; 4] {
        #[inline]
        #[target_feature(enable = "avx512f,avx512dq")]
        fn run(block: &Block, other: Option<&Block>) -> [Word8; 4] {
            let mut sum = Loose::load(block);
            if let Some(other) = other {
                sum = sum.plus(&Loose::load(other));
            }
            sum.reduce().to_words()
        }
        // SAFETY: as above
        unsafe { run(block, other) }
    }
}
