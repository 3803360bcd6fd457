//! What came of a run, as `report.json` has it.

use super::chain::{Chain, WINDOW_POST};
use crate::peers::{report::Steps, tap::Asked};
use anyhow::Result;
use damocles_types::ActorId;
use serde::Serialize;

/// Everything that is told at the end.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// What the node says of itself.
    pub(super) lotus: String,
    #[serde(flatten)]
    pub(super) steps: Steps,
    /// Sectors that are proven in the end.
    pub(super) sectors: usize,
    /// Messages of the miners that the chain has and that succeeded.
    pub(super) landed: usize,
    /// WindowPoSts among them.
    pub(super) posts: usize,
    /// Messages that the chain executed and refused, and those that the manager gave up.
    pub(super) refused: Vec<String>,
    /// Epochs while the manager's questions were counted, and how many there were, by method.
    pub(super) epochs: i64,
    pub(super) questions: Asked,
}

impl Report {
    /// Fills in what the chain has of the miners.
    pub(super) async fn sum_up(&mut self, chain: &Chain, miners: &[ActorId]) -> Result<()> {
        let all = chain.to_miners(miners, 0).await?;
        let good = all.iter().filter(|executed| executed.exit_code == 0);
        self.landed = good.clone().count();
        let posts = good.filter(|executed| executed.message.method == WINDOW_POST);
        self.posts = posts.count();
        let bad = all.iter().filter(|executed| executed.exit_code != 0);
        self.refused.extend(bad.map(|executed| {
            let message = &executed.message;
            format!(
                "epoch {}: method {} to {} of sectors {:?}: exit {}",
                executed.epoch,
                message.method,
                message.to,
                executed.sectors(),
                executed.exit_code
            )
        }));
        Ok(())
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let asked: u64 = self.questions.values().sum();
        let mut text = format!(
            "{}\n\n{}\n\n{} sectors proven, {} messages landed, {} of them WindowPoSts; {asked} questions in {} epochs\n",
            self.lotus,
            self.steps.table(),
            self.sectors,
            self.landed,
            self.posts,
            self.epochs
        );
        for refused in &self.refused {
            text.push_str(&format!("refused: {refused}\n"));
        }
        text
    }
}
