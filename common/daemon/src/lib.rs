//! What both daemons share: how they start, refuse, log, listen, stop and say who they are.
//! From the ground floor up; nothing here knows about sectors.

pub mod build;
pub mod clock;
pub mod exit;
pub mod table;
pub mod file;
pub mod seldom;
pub mod log;
pub mod runtime;
pub mod systemd;
pub mod signals;
pub mod services;
pub mod config;
pub mod lock;
pub mod belongs;
pub mod net;
pub mod tls;
pub mod http;
pub mod metrics;
pub mod pages;
pub mod shell;
pub mod patience;
pub mod database;
pub mod auth;
pub mod audit;
