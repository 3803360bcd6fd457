//! Threads whose plan this version has not: they wait, say so, and can be paused like any other.
//! One takes up work as soon as its own file names another plan.

use super::thread::{Engine, Over};
use crate::{
    config::{ThreadPlan, ThreadSettings},
    control::{Because, Control, Interrupt},
    view::{Board, Doing},
};
use std::time::Duration;

impl Engine {
    /// One rest of a thread without a plan.
    pub(super) fn without_plan(&self, settings: &ThreadSettings) -> Result<(), Over> {
        let file = self.config.location.join("config.toml");
        let way_on = format!("`plan` in {} can name another one", file.display());
        let why = format!("{}; {way_on}", settings.plan.waits());
        rest(
            &self.control,
            &self.board,
            settings.plan,
            &why,
            settings.sealing.seal_interval,
        )
    }
}

fn rest(
    control: &Control,
    board: &Board,
    plan: ThreadPlan,
    why: &str,
    time: Duration,
) -> Result<(), Over> {
    board.sector(plan, None);
    board.idle(why);
    match control.wait_about(time) {
        Ok(()) => Ok(()),
        Err(Interrupt::Stop) => Err(Over),
        Err(Interrupt::Pause) => {
            board.doing(Doing::Paused);
            control
                .stay_paused(Because::Asked, Vec::new())
                .map(drop)
                .map_err(|_| Over)
        }
    }
}
