//! A worker that drains begins no sector and finishes the one that it has.

use crate::{rig::Rig, until};

#[test]
fn the_sector_in_work_is_finished_and_none_is_begun_until_the_drain_ends() {
    let rig = Rig::new(2);
    let running = rig.start();
    until("a sector in work", || rig.manager.script().given == 1);
    assert!(rig.drain.set(true));
    assert!(!rig.drain.set(true), "it drains already");
    until("its end", || rig.manager.script().done.len() == 1);
    let says = || running.board.info().waiting_for.unwrap_or_default();
    until("a thread that drains", || {
        says().contains("draining: no new sector")
    });
    assert_eq!(rig.manager.script().given, 1);
    assert!(rig.drain.set(false));
    until("the next sector", || rig.manager.script().done.len() == 2);
    running.stop();
}
