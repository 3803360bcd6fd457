//! What every state table offers, and how one is rendered as a document.

use std::{collections::BTreeSet, fmt::Write as _};

/// A state machine given as a table.
pub trait Table {
    type State: Copy + Eq + Ord + std::fmt::Debug + 'static;
    type Event: Copy + Eq + Ord + std::fmt::Debug + 'static;

    /// The state in which everything begins.
    const START: Self::State;

    /// What may happen in a state, and where it leads. Empty for a state in which the
    /// machine ends, and for a state that is foreign to it.
    fn edges(state: Self::State) -> &'static [(Self::Event, Self::State)];

    /// Where the event leads, or nothing when it is not allowed here.
    fn next(state: Self::State, event: Self::Event) -> Option<Self::State> {
        Self::edges(state)
            .iter()
            .find(|(e, _)| *e == event)
            .map(|(_, next)| *next)
    }

    /// Every state that can be reached from the start, in breadth-first order.
    fn reachable() -> Vec<Self::State> {
        let mut seen = vec![Self::START];
        let mut known = BTreeSet::from([Self::START]);
        let mut at = 0;
        while let Some(&state) = seen.get(at) {
            at += 1;
            for &(_, next) in Self::edges(state) {
                if known.insert(next) {
                    seen.push(next);
                }
            }
        }
        seen
    }
}

/// Renders a table as Markdown: a diagram and the list of its edges. `does` says in a few
/// words what is done in a state.
pub fn render<T: Table>(
    title: &str,
    intro: &str,
    does: impl Fn(T::State) -> &'static str,
) -> String {
    let mut out = format!(
        "# {title}\n\n{intro}\n\nRendered from the table in `common/flow`; a test compares it. "
    );
    out.push_str("Rewrite with `UPDATE_DOCS=1 cargo test -p damocles-flow`.\n\n```mermaid\nstateDiagram-v2\n");
    let _ = writeln!(out, "    [*] --> {:?}", T::START);
    for state in T::reachable() {
        let edges = T::edges(state);
        for (event, next) in edges {
            let _ = writeln!(out, "    {state:?} --> {next:?}: {event:?}");
        }
        if edges.is_empty() {
            let _ = writeln!(out, "    {state:?} --> [*]");
        }
    }
    out.push_str("```\n\n| state | what is done there | event | next state |\n|---|---|---|---|\n");
    for state in T::reachable() {
        let edges = T::edges(state);
        if edges.is_empty() {
            let _ = writeln!(out, "| {state:?} | {} | – | ends |", does(state));
        }
        for (i, (event, next)) in edges.iter().enumerate() {
            let (name, what) = if i == 0 {
                (format!("{state:?}"), does(state))
            } else {
                (String::new(), "")
            };
            let _ = writeln!(out, "| {name} | {what} | {event:?} | {next:?} |");
        }
    }
    out
}
