//! Transforms over the scalar field of BLS12-381 and the quotient polynomial h of a Groth16
//! proof: what bellperson's `EvaluationDomain` computes, element for element.
//!
//! # The quotient in six transforms
//! a, b, c are values of polynomials A, B, C on the n-th roots of unity, and
//! h = (A·B − C)/Z, Z = Xⁿ − 1. bellperson takes all three to a coset g·ωⁱ, where Z is the
//! constant gⁿ − 1, and what is left there back to coefficients: seven transforms. But a way to
//! the coset and back changes nothing about C, which has less than n coefficients; so
//! h = (coefficients of A·B from the coset − coefficients of C)/(gⁿ − 1), for *any* a, b, c
//! what bellperson gives, whether they satisfy c = a·b or not.
//!
//! # Order
//! A transform takes values in natural order and leaves results with their places' bits
//! reversed; undone, it takes them in this order, and then one goes up that went down. So
//! from values on the domain to those on the coset no place changes, and all the quotient
//! costs is one permutation: the one with which h is written.
//!
//! Rooms: `transform` which there are · `walk` the way through memory and the threads · `tables` powers of roots ·
//! `factors` powers of the coset's generator · `portable` on scalars, any CPU ·
//! `vector` eight elements side by side (AVX-512 IFMA), with its `memory`, its passes (`lanes`),
//! its last levels (`leaf`) and the permutation (`scatter`).

mod transform;
mod walk;
mod tables;
mod factors;
mod portable;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod leaf;
#[cfg(target_arch = "x86_64")]
mod memory;
#[cfg(target_arch = "x86_64")]
mod scatter;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod measure;

pub use transform::Transform;

use crate::run::Run;
use blstrs::Scalar;
use damocles_kernels::{cpu::Cpu, crew::Cancelled, field::limbs::Words};
use ff::PrimeField;

/// The 2^k-th roots of unity, and what transforms need to know about them.
///
/// Its tables take 12.5 bytes per element on lanes, 32 with portable code; on lanes it keeps the 40
/// bytes per element in which a transform took place for the next one.
#[derive(Debug)]
pub struct Domain {
    power: u32,
    code: Code,
}

/// Who computes.
#[derive(Debug)]
enum Code {
    #[cfg(target_arch = "x86_64")]
    Lanes(Box<vector::LaneTables>),
    Scalars(portable::ScalarTables),
}

impl Code {
    /// The fastest code that `cpu` allows, that this CPU has, and that is for such sizes.
    fn best(power: u32, cpu: Cpu, run: Run<'_>) -> Result<Self, Cancelled> {
        #[cfg(target_arch = "x86_64")]
        if let Some(ifma) = lanes::Ifma::of(cpu).filter(|_| power >= vector::LEAST) {
            let tables = vector::LaneTables::new(ifma, power, run)?;
            return Ok(Self::Lanes(Box::new(tables)));
        }
        let _ = cpu;
        Ok(Self::Scalars(portable::ScalarTables::new(power, run)?))
    }
}

impl Domain {
    /// The domain of 2^`power` elements, for the best code that the CPU allows.
    ///
    /// # Panics
    /// When there is none: `power` is above 32.
    pub fn new(power: u32, cpu: Cpu, run: Run<'_>) -> Result<Self, Cancelled> {
        assert!(power <= Scalar::S, "no 2^{power} roots of unity");
        let code = Code::best(power, cpu, run)?;
        Ok(Self { power, code })
    }

    /// The k of the smallest domain with so many elements.
    pub fn power_for(elements: usize) -> u32 {
        elements.next_power_of_two().trailing_zeros()
    }

    /// How many elements: 2^k.
    pub fn size(&self) -> usize {
        1 << self.power
    }

    /// The transform of values that zeros are appended to: what bellperson's `fft`, `ifft`,
    /// `coset_fft` and `icoset_fft` give.
    ///
    /// # Panics
    /// When there are more values than the domain has elements.
    pub fn transform(
        &self,
        transform: Transform,
        values: Vec<Scalar>,
        run: Run<'_>,
    ) -> Result<Vec<Scalar>, Cancelled> {
        self.check(&values);
        match &self.code {
            #[cfg(target_arch = "x86_64")]
            Code::Lanes(code) => code.transform(transform, values, run),
            Code::Scalars(code) => code.transform(transform, values, run),
        }
    }

    /// The coefficients of h = (A·B − C)/Z, lowest first, one less than the domain has
    /// elements, as canonical words: what bellperson multiplies the bases of h with. a, b, c are
    /// the values of the constraints; zeros are appended to them. (h is a polynomial when c is
    /// a·b everywhere; in any case it is what bellperson gives.)
    ///
    /// Memory per element: 96 bytes of values, which are freed one after the other, and 32 of h.
    /// On lanes there are two arrays of 40 bytes besides, 144 bytes in all at most at a time;
    /// portable code works where the values are.
    ///
    /// # Panics
    /// When there are more values than the domain has elements.
    pub fn quotient(
        &self,
        values: [Vec<Scalar>; 3],
        run: Run<'_>,
    ) -> Result<Vec<Words>, Cancelled> {
        for values in &values {
            self.check(values);
        }
        match &self.code {
            #[cfg(target_arch = "x86_64")]
            Code::Lanes(code) => code.quotient(values, run),
            Code::Scalars(code) => code.quotient(values, run),
        }
    }

    fn check(&self, values: &[Scalar]) {
        let (count, size) = (values.len(), self.size());
        assert!(count <= size, "{count} values on {size} places");
    }
}
