//! SHA-256 in sixteen lanes of AVX-512 registers.
