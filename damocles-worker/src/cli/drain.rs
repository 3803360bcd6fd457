//! What is said of the sectors of a worker that drains. Pure.

use damocles_api::worker::ThreadInfo;

/// Whether nothing of its sector runs before the drain ends.
pub(super) fn has_come(thread: &ThreadInfo) -> bool {
    thread.draining.as_ref().is_some_and(|d| d.stands)
}

/// Of each sector in a worker that drains it is said what becomes of it.
pub(super) fn is_taken_back(sectors: &[ThreadInfo]) -> bool {
    sectors.iter().any(|thread| thread.draining.is_none())
}

pub(super) fn in_work(sectors: &[ThreadInfo]) -> String {
    let mut text = match (sectors.is_empty(), sectors.iter().all(has_come)) {
        (true, _) => return "drained: no sector is in work, and none is begun".to_owned(),
        (false, true) => "drained: nothing runs, and no sector is begun; these stand:".to_owned(),
        (false, false) => "draining; in work still:".to_owned(),
    };
    for thread in sectors {
        let sector = thread.job_id.as_deref().unwrap_or_default();
        let state = &thread.job_state;
        let fate = thread.draining.as_ref().map_or("", |d| d.fate.as_str());
        text.push_str(&format!("\n  #{} {sector} in {state} {fate}", thread.index));
    }
    text
}
