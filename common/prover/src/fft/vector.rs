//! Transforms on eight elements side by side, for CPUs with AVX-512 IFMA, of 2^6 elements and
//! more.
//!
//! # Scale
//! All that happens to values on the way is linear. So scalars come in as they are in memory,
//! times 2^256, and leave as they came, with nothing converted in between; where they are to
//! leave otherwise, a factor that they are multiplied with anyway takes care of it. Only a·b
//! is no longer linear: a product divides by 2^260, so what comes of it is times 2^252.

use super::factors::{Around, OfQuotient, Powers, inverse};
use super::lanes::{Ifma, Nodes, constant, memory};
use super::leaf::{Factors, Generator, Turn, block, eight};
use super::memory::Blocks;
use super::scatter::Scatter;
use super::tables::{powers, root};
use super::transform::Transform;
use super::walk::{End, Walk};
use crate::run::Run;
use blst::blst_fr;
use blstrs::Scalar;
use damocles_kernels::{
    crew::Cancelled,
    field::{
        fixed::Fixed,
        limbs::{Limbs, Words},
        loose::Block,
    },
};
use ff::{Field, PrimeField};
use std::sync::{Mutex, PoisonError};

/// The smallest domain for lanes: one leaf.
pub(super) const LEAST: u32 = 6;

/// What a domain keeps: 12.5 bytes per element.
#[derive(Debug)]
pub(super) struct LaneTables {
    ifma: Ifma,
    power: u32,
    forward: Turn,
    inverse: Turn,
    /// Powers of the coset's generator for the leaves, and those of its inverse.
    generator: Vec<Limbs>,
    generator_inverse: Vec<Limbs>,
    /// Where the last transform took place, for the next one: new pages can cost as much as it.
    spare: Mutex<Option<Blocks>>,
}

impl Turn {
    fn new(power: u32, root: Scalar, run: Run<'_>) -> Result<Self, Cancelled> {
        let second = root.pow_vartime([1 << (power - 2)]);
        let first = root.pow_vartime([1 << (power - 3)]);
        Ok(Self {
            nodes: powers(
                root.pow_vartime([8]),
                power - 4,
                Scalar::ONE,
                Fixed::new,
                run,
            )?,
            leaves: powers(root, power - 6, Scalar::ONE, constant, run)?,
            lanes: lanes(root, power, Scalar::ONE),
            eighth: [second, first, second * first].map(Fixed::new),
        })
    }
}

/// The lanes' factors for powers of a base with the places as exponents, times a constant.
fn lanes(base: Scalar, power: u32, constant: Scalar) -> Block {
    block(eight(base.pow_vartime([1 << (power - 6)]), constant))
}

/// 2^exponent
fn two_to(exponent: u64) -> Scalar {
    Scalar::from(2).pow_vartime([exponent])
}

/// Eight scalars as they are in memory; after the last one, zeros.
fn load(ifma: Ifma, scalars: &[Scalar]) -> Block {
    let mut words = [[0; 8]; 4];
    for (lane, scalar) in scalars.iter().take(8).enumerate() {
        for (word, part) in words.iter_mut().zip(memory(*scalar)) {
            word[lane] = part;
        }
    }
    ifma.block(&words)
}

/// Fills blocks from number `place` on with scalars in natural order.
fn load_all(ifma: Ifma, scalars: &[Scalar], place: usize, blocks: &mut [Block]) {
    for (i, block) in (place..).zip(blocks) {
        *block = load(ifma, scalars.get(8 * i..).unwrap_or_default());
    }
}

impl LaneTables {
    pub(super) fn new(ifma: Ifma, power: u32, run: Run<'_>) -> Result<Self, Cancelled> {
        let generator = Scalar::MULTIPLICATIVE_GENERATOR;
        let leaves = |base| powers(base, power - 6, Scalar::ONE, constant, run);
        Ok(Self {
            ifma,
            power,
            forward: Turn::new(power, root(power), run)?,
            inverse: Turn::new(power, inverse(root(power)), run)?,
            generator: leaves(generator)?,
            generator_inverse: leaves(inverse(generator))?,
            spare: Mutex::default(),
        })
    }

    /// A direction and its opposite.
    fn turns(&self, inverse: bool) -> [&Turn; 2] {
        match inverse {
            false => [&self.forward, &self.inverse],
            true => [&self.inverse, &self.forward],
        }
    }

    fn nodes<'a>(&self, [turn, opposite]: [&'a Turn; 2]) -> Nodes<'a> {
        Nodes {
            ifma: self.ifma,
            down: &turn.nodes,
            up: &opposite.nodes,
        }
    }

    /// Factors at the bottom, times `scale`.
    fn factors(&self, powers: &Powers, scale: Scalar) -> Factors<'_> {
        let leaves = if powers.base == Scalar::ONE {
            None
        } else if powers.base == Scalar::MULTIPLICATIVE_GENERATOR {
            Some(&self.generator)
        } else {
            Some(&self.generator_inverse)
        };
        let [_, rows @ ..] = eight(
            powers.base.pow_vartime([1 << (self.power - 3)]),
            Scalar::ONE,
        );
        Factors {
            lanes: lanes(powers.base, self.power, powers.constant * scale),
            generator: leaves.map(|leaves| Generator {
                leaves,
                rows: rows.map(Fixed::new),
            }),
        }
    }

    /// See [`super::Domain::transform`].
    pub(super) fn transform(
        &self,
        transform: Transform,
        mut values: Vec<Scalar>,
        run: Run<'_>,
    ) -> Result<Vec<Scalar>, Cancelled> {
        let around = Around::of(transform, self.power);
        let turns = self.turns(transform.is_inverse());
        let factors = self.factors(&around.after, Scalar::ONE);
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().take();
        let mut blocks = kept.unwrap_or_else(|| self.blocks());
        let walk = Walk {
            steps: &self.nodes(turns),
            first: |place, blocks: &mut [Block]| {
                load_all(self.ifma, &values, place, blocks);
                self.scale(&around.before, place, blocks);
            },
            leaf: |leaf, blocks: &mut [Block]| self.ifma.leaf(turns[0], &factors, leaf, blocks),
            end: End::Below,
        };
        walk.run(blocks.get_mut(), run)?;
        values.resize(1 << self.power, Scalar::ZERO);
        let scalar = |words| Scalar::from(blst_fr { l: words });
        self.scatter(&blocks, None).run(&mut values, scalar, run)?;
        *spare() = Some(blocks);
        Ok(values)
    }

    /// Multiplies values in natural order, the first block of them being number `place`.
    fn scale(&self, powers: &Powers, place: usize, blocks: &mut [Block]) {
        if powers.are_none() {
            return;
        }
        let mut power = powers.at(8 * place);
        let first = [(); 8].map(|()| {
            let this = power;
            power *= powers.base;
            this
        });
        let step = constant(powers.base.pow_vartime([8]));
        self.ifma.scale(blocks, &block(first), &step);
    }

    /// See [`super::Domain::quotient`].
    pub(super) fn quotient(
        &self,
        [a, b, c]: [Vec<Scalar>; 3],
        run: Run<'_>,
    ) -> Result<Vec<Words>, Cancelled> {
        let factors = OfQuotient::new(self.power);
        let mut a = self.onto_coset(a, &factors.onto_coset, run)?;
        let b = self.onto_coset(b, &factors.onto_coset, run)?;
        // both leave as what they are: canonical words, times nothing
        let scale = inverse(two_to(252));
        let from_coset = self.factors(&factors.from_coset, scale);
        let multiply = |place: usize, blocks: &mut [Block]| {
            self.ifma.multiply(blocks, &b.get()[place..]);
        };
        self.coefficients(&mut a, multiply, &from_coset, run)?;
        let others = self.factors(&factors.others, inverse(two_to(256)));
        // the memory serves again
        let mut others_blocks = b;
        let load = |place, blocks: &mut [Block]| load_all(self.ifma, &c, place, blocks);
        self.coefficients(&mut others_blocks, load, &others, run)?;
        drop(c);
        let mut h = vec![[0; 4]; 1 << self.power];
        self.scatter(&a, Some(&others_blocks))
            .run(&mut h, |words| words, run)?;
        h.pop();
        Ok(h)
    }

    fn scatter<'a>(&self, blocks: &'a Blocks, others: Option<&'a Blocks>) -> Scatter<'a> {
        Scatter {
            ifma: self.ifma,
            blocks: blocks.get(),
            others: others.map(Blocks::get),
        }
    }

    fn blocks(&self) -> Blocks {
        Blocks::new(1 << (self.power - 3))
    }

    /// From the values on the domain to those on the coset.
    fn onto_coset(
        &self,
        values: Vec<Scalar>,
        powers: &Powers,
        run: Run<'_>,
    ) -> Result<Blocks, Cancelled> {
        let mut blocks = self.blocks();
        let turns = self.turns(true);
        let factors = self.factors(powers, Scalar::ONE);
        let walk = Walk {
            steps: &self.nodes(turns),
            first: |place, blocks: &mut [Block]| load_all(self.ifma, &values, place, blocks),
            leaf: |leaf, blocks: &mut [Block]| {
                self.ifma.turning_leaf(turns, &factors, leaf, blocks);
            },
            end: End::Above,
        };
        walk.run(blocks.get_mut(), run)?;
        Ok(blocks)
    }

    /// From values to coefficients times factors, in the order of leaves.
    fn coefficients(
        &self,
        blocks: &mut Blocks,
        first: impl Fn(usize, &mut [Block]) + Sync,
        factors: &Factors<'_>,
        run: Run<'_>,
    ) -> Result<(), Cancelled> {
        let turns = self.turns(true);
        let walk = Walk {
            steps: &self.nodes(turns),
            first,
            leaf: |leaf, blocks: &mut [Block]| self.ifma.leaf(turns[0], factors, leaf, blocks),
            end: End::Below,
        };
        walk.run(blocks.get_mut(), run)
    }
}
