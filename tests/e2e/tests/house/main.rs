//! Stories of a whole house: real daemons, real proofs, a chain that checks.

mod chance;
mod mounts;
mod road;

mod kill_worker;
mod synthetic;
mod old_ticket;
mod kill_manager;
mod lost_manager;
mod branches;
mod outages;
mod own_keys;
mod deals;
mod several_managers;
mod posters;
mod drill;
mod campaign;
mod demo;
