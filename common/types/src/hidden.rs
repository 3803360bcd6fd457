//! A text that is not printed with what holds it: a token, or what may be one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Prints as `***`; whoever needs the text takes it out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_stars_and_is_written_as_it_is() {
        let token = Hidden::from("secret");
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "*** Some(***)");
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"secret\"");
    }
}
