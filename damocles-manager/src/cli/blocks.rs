//! `util sealer proving blocks`.

use super::{client::Manager, show};
use damocles_api::blocks::{BlockView, BlocksView, DamoclesBlocksClient};
use damocles_daemon::table::Table;
use damocles_types::ActorId;

pub(super) async fn run(
    manager: &Manager,
    miner: ActorId,
    limit: u32,
    json: bool,
) -> anyhow::Result<()> {
    let view = manager.rpc.blocks(miner, limit).await;
    let view = view.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&view);
    }
    if view.tried == 0 && view.blocks.is_empty() {
        println!("no round of miner t0{miner} was tried by this manager yet");
        return Ok(());
    }
    if !view.blocks.is_empty() {
        show::print(&table(&view.blocks));
    }
    show::say(summary(&view));
    Ok(())
}

fn table(blocks: &[BlockView]) -> Table {
    let mut table = Table::new(
        &[
            "epoch", "wins", "state", "lost by", "read", "proof", "made", "sent", "block",
            "problem",
        ],
        &["state", "lost by", "block", "problem"],
    );
    for block in blocks {
        let steps = &block.steps;
        let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let ms = |ms: Option<u64>| show::or_dash(ms.map(show::millis));
        table.add_row([
            block.height.to_string(),
            block.wins.to_string(),
            block.state.clone(),
            show::or_dash(block.lost.as_ref()),
            ms(between(steps.elected, steps.read)),
            ms(between(steps.read, steps.proven)),
            ms(steps.made),
            ms(steps.sent),
            show::or_dash(block.cid.as_ref().map(|c| c.cid)),
            show::or_dash(block.error.as_ref()),
        ]);
    }
    table
}

/// What became of the rounds, in one sentence.
fn summary(view: &BlocksView) -> String {
    let BlocksView {
        since,
        last,
        tried,
        not_eligible,
        not_won,
        late,
        expected,
        ..
    } = view;
    format!(
        "epochs {since} to {last}: {tried} tried, {not_won} not won, {not_eligible} in which the miner might make no block, {late} over before that was known; of its power {expected:.1} wins could be expected"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_became_of_all_rounds() {
        let view = BlocksView {
            miner: 1000,
            since: 7,
            last: 106,
            tried: 100,
            not_eligible: 3,
            not_won: 90,
            late: 2,
            expected: 4.26,
            blocks: vec![],
        };
        let said = summary(&view);
        assert!(said.starts_with("epochs 7 to 106: 100 tried, 90 not won, 3 in which"));
        assert!(
            said.ends_with("2 over before that was known; of its power 4.3 wins could be expected")
        );
    }
}
