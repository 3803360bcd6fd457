//! Which transforms there are.

/// What is computed of the values or coefficients of a polynomial with n coefficients, and on
/// what: the n-th roots of unity, or these times the field's multiplicative generator g (a
/// coset of theirs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// From coefficients to values.
    Forward,
    /// From values to coefficients.
    Inverse,
    /// From coefficients to values on the coset.
    CosetForward,
    /// From values on the coset to coefficients.
    CosetInverse,
}

impl Transform {
    pub const ALL: [Self; 4] = [
        Self::Forward,
        Self::Inverse,
        Self::CosetForward,
        Self::CosetInverse,
    ];

    pub(super) fn is_inverse(self) -> bool {
        matches!(self, Self::Inverse | Self::CosetInverse)
    }
}
