//! The parameters of a circuit, decoded once: points in the form that the CPU calculates with.

use crate::multiexp::{Bases, G2Bases};
use bellperson::{
    SynthesisError,
    groth16::{ParameterSource, VerifyingKey},
};
use blstrs::{Bls12, G1Affine, G2Affine};
use damocles_kernels::cpu::Cpu;
use std::sync::Arc;

/// Points in the order in which the setup writes them.
pub struct Parameters {
    pub(crate) key: VerifyingKey<Bls12>,
    pub(crate) h: Bases,
    pub(crate) l: Bases,
    /// Of all inputs, and of the variables that occur on the left.
    pub(crate) a: Bases,
    /// Of the variables that occur on the right, inputs first.
    pub(crate) b_g1: Bases,
    pub(crate) b_g2: G2Bases,
    /// See [`Self::mapped`].
    pub(crate) mapped: u64,
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameters")
            .field("h", &self.h.len())
            .field("l", &self.l.len())
            .field("a", &self.a.len())
            .field("b", &self.b_g1.len())
            .finish_non_exhaustive()
    }
}

impl Parameters {
    /// Decodes what bellperson has read or mapped.
    ///
    /// # Errors
    /// A damaged point.
    pub fn of<P>(cpu: Cpu, source: P) -> Result<Self, SynthesisError>
    where
        P: ParameterSource<
                Bls12,
                G1Builder = (Arc<Vec<G1Affine>>, usize),
                G2Builder = (Arc<Vec<G2Affine>>, usize),
            >,
    {
        let key = source.get_vk(0)?.clone();
        // the whole of each, as they lie in the file
        let (h, _) = source.get_h(0)?;
        let h = Bases::new(cpu, &h);
        let (l, _) = source.get_l(0)?;
        let l = Bases::new(cpu, &l);
        let ((a, _), _) = source.get_a(0, 0)?;
        let a = Bases::new(cpu, &a);
        let ((b, _), _) = source.get_b_g1(0, 0)?;
        let b_g1 = Bases::new(cpu, &b);
        let ((b, _), _) = source.get_b_g2(0, 0)?;
        let b_g2 = G2Bases::new(cpu, &b);
        Ok(Self {
            key,
            h,
            l,
            a,
            b_g1,
            b_g2,
            mapped: 0,
        })
    }

    /// How many bytes of them lie in a mapped file, which the system takes for memory that could be had.
    pub fn mapped(&self) -> u64 {
        self.mapped
    }
}
