//! Whether two answers are of one kind: the same keys, the same JSON types, `null` where the
//! other has `null`, the same words.

use serde_json::Value;

/// Stands for anything, in words and as a value.
pub(super) const ANYTHING: &str = "…";

/// Why `told` is not of the kind of `known`, if it is not.
pub fn fault(known: &Value, told: &Value, at: &str) -> Option<String> {
    let wrong = || Some(format!("{at}: {told} where a node says {known}"));
    match (known, told) {
        (Value::String(any), _) if any == ANYTHING => None,
        (Value::String(a), Value::String(b)) => {
            // an address that is none is said so
            if (a == "<empty>") == (b == "<empty>") {
                None
            } else {
                wrong()
            }
        }
        (Value::Null, Value::Null) | (Value::Number(_), Value::Number(_)) => None,
        (Value::Bool(a), Value::Bool(b)) if a == b => None,
        (Value::Array(a), Value::Array(b)) => {
            let (Some(a), Some(b)) = (a.first(), b.first()) else {
                return None;
            };
            fault(a, b, &format!("{at}[0]"))
        }
        (Value::Object(a), Value::Object(b)) => {
            if let Some(missing) = a.keys().find(|key| !b.contains_key(*key)) {
                return Some(format!("{at}: key {missing} is missing"));
            }
            if let Some(extra) = b.keys().find(|key| !a.contains_key(*key)) {
                return Some(format!("{at}: key {extra} is not a node's"));
            }
            a.iter()
                .find_map(|(key, known)| fault(known, &b[key], &format!("{at}.{key}")))
        }
        _ => wrong(),
    }
}

/// Whether the words are the same, but for what `…` stands for.
pub fn same_words(known: &str, told: &str) -> bool {
    let mut parts = known.split(ANYTHING);
    let Some(mut rest) = told.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut open_end = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open_end = part.is_empty();
    }
    rest.is_empty() || open_end
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let same = |a, b| fault(&a, &b, "x").is_none();
        assert!(same(json!({"A": 1, "B": null}), json!({"A": 7, "B": null})));
        assert!(same(json!(["t01"]), json!([])));
        assert!(same(json!({"A": "…"}), json!({"A": [1]})));
        assert!(!same(json!({"A": 1}), json!({"A": "1"})));
        assert!(!same(json!({"A": 1}), json!({})));
        assert!(!same(json!({}), json!({"A": 1})));
        assert!(!same(json!(null), json!([])));
        assert!(!same(json!(true), json!(false)));
        assert!(!same(json!([{"A": 1}]), json!([{"A": null}])));
        assert!(!same(json!("<empty>"), json!("t01")));
    }

    #[test]
    fn words_are_compared_but_for_the_holes() {
        assert!(same_words("a b", "a b"));
        assert!(same_words("a … c", "a b b c"));
        assert!(same_words("a …", "a b"));
        assert!(!same_words("a b", "a b c"));
        assert!(!same_words("a … c", "a b d"));
        assert!(!same_words("b", "a b"));
    }
}
