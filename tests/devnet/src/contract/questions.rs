//! Puts the recorded questions to a chain and compares.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shape::ANYTHING;
use super::{Asked, Recorded, Reply, Said, fault, recorded, same_words};

/// What stands for a `$name`, without the `$`.
pub type Scene = BTreeMap<&'static str, Value>;

/// How it went.
#[derive(Debug, Default)]
pub struct Asking {
    /// Questions that were answered, histories that were told.
    pub asked: Vec<String>,
    /// Questions that the chain cannot be asked, or whose names the scene lacks; histories that it
    /// cannot be made to have.
    pub left: Vec<String>,
    /// Where the answer is not a node's.
    pub faults: Vec<String>,
}

impl Asking {
    /// Panics with every fault, and when fewer than `least` questions were answered, or histories
    /// told.
    #[track_caller]
    pub fn is_a_nodes(&self, least: usize) {
        assert!(
            self.faults.is_empty(),
            "not as a node answers:\n{}",
            self.faults.join("\n")
        );
        assert!(
            self.asked.len() >= least,
            "{} of at least {least} were asked, left out: {:?}",
            self.asked.len(),
            self.left
        );
    }
}

/// Asks everything that the chain can be asked.
pub async fn questions(chain: &impl Asked, scene: &Scene) -> Asking {
    let mut asking = Asking::default();
    for mut known in recorded() {
        let complete = fill(&mut known.params, scene)
            && known.error.as_mut().is_none_or(|error| fill(error, scene));
        let reply = if complete {
            let params = known.params.clone();
            chain.ask(known.token, &known.method, params).await
        } else {
            None
        };
        let Some(reply) = reply else {
            asking.left.push(known.question);
            continue;
        };
        if let Some(fault) = compare(&known, &reply) {
            asking
                .faults
                .push(format!("{} ({}): {fault}", known.question, known.method));
        }
        asking.asked.push(known.question);
    }
    asking
}

/// Puts the scene's values in; whether it had all of them.
fn fill(value: &mut Value, scene: &Scene) -> bool {
    match value {
        Value::String(text) if text.contains('$') => {
            if let Some(whole) = text.strip_prefix('$').and_then(|name| scene.get(name)) {
                *value = whole.clone();
                return true;
            }
            // longer names first: $miner_id before $miner
            let mut names: Vec<_> = scene.iter().collect();
            names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            for (name, with) in names {
                let with = with
                    .as_str()
                    .map_or_else(|| with.to_string(), str::to_owned);
                *text = text.replace(&format!("${name}"), &with);
            }
            !text.contains('$')
        }
        Value::Array(items) => items
            .iter_mut()
            .map(|item| u32::from(!fill(item, scene)))
            .sum::<u32>()
            .eq(&0),
        Value::Object(fields) => fields
            .values_mut()
            .map(|field| u32::from(!fill(field, scene)))
            .sum::<u32>()
            .eq(&0),
        _ => true,
    }
}

/// The recorded result, with what depends on the moment left open.
fn without_what_varies(known: &Recorded, result: &Value) -> Value {
    let mut result = result.clone();
    for key in &known.varies {
        if let Some(value) = result.get_mut(key) {
            *value = ANYTHING.into();
        }
    }
    result
}

fn compare(known: &Recorded, told: &Reply) -> Option<String> {
    if let Some(http) = told.http
        && http != known.http
    {
        return Some(format!("HTTP {http} where a node says {}", known.http));
    }
    match &told.said {
        Said::Result(value) => match &known.result {
            Some(result) => fault(&without_what_varies(known, result), value, "result"),
            None => Some(format!("{value} where a node refuses: {:?}", known.error)),
        },
        Said::Error { code, message } => {
            let Some(error) = &known.error else {
                return Some(format!("refused ({message}) where a node answers"));
            };
            let words = error["message"].as_str().unwrap_or_default();
            let same = error["code"] == *code && same_words(words, message);
            (!same).then(|| format!("{code} {message:?} where a node says {error}"))
        }
        Said::Body(body) => {
            let same = known.body.as_ref() == Some(body);
            (!same).then(|| format!("the body {body:?}"))
        }
    }
}
