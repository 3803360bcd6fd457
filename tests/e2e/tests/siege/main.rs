//! A house under siege: real daemons, a chain that checks, and everything that one host, a node,
//! a manager or a disk can do to them, case by case. Meanwhile one sector is kept proven, others
//! stand on their way, well-behaved callers ask, and numbers are handed out. No duration is
//! asserted: how long the well-behaved waited is a figure, in the table at the end and in
//! `siege/report.json` of the target directory.
//!
//! `make test-slow` runs it. `SIEGE_CASES=deaf,silent` takes only the cases with those words,
//! and seals nothing; for whoever works at one of them.

mod wire;
mod witness;
mod attack;
mod liar;
mod damage;
mod report;
mod siege;
