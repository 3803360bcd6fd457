//! WindowPoSt: keeps the sealed sectors proven.
