//! Which keys a scan shows, from where, and in which direction.

/// Keys of a table, in an order. `Span::prefix(b"1000/").after(last).backwards()` are those that
/// begin with `1000/`, from the one below `last` downwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    prefix: Vec<u8>,
    first: Option<First>,
    below: Option<Vec<u8>>,
    backwards: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct First {
    key: Vec<u8>,
    included: bool,
}

/// Keys from `low` on and below `high`, if there is such a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Option<Vec<u8>>,
}

impl Span {
    /// All keys of a table.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// Begins with this key, or with the next one in the span's direction.
    #[must_use]
    pub fn from(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.first = Some(First {
            key: key.into(),
            included: true,
        });
        self
    }

    /// Begins with the key that comes after this one in the span's direction: for a cursor, the
    /// last key that was seen.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.first = Some(First {
            key: key.into(),
            included: false,
        });
        self
    }

    /// Only keys that are lower than this one, whatever the direction.
    #[must_use]
    pub fn below(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.below = Some(key.into());
        self
    }

    /// From the highest key downwards.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    pub(crate) fn is_backwards(&self) -> bool {
        self.backwards
    }

    pub(crate) fn range(&self) -> Range {
        let mut range = Range {
            low: self.prefix.clone(),
            high: after_all(&self.prefix),
        };
        match (&self.first, self.backwards) {
            (None, _) => {}
            (Some(first), false) => {
                let key = &first.key;
                let from = if first.included {
                    key.clone()
                } else {
                    successor(key)
                };
                range.low = range.low.max(from);
            }
            (Some(first), true) => {
                let key = &first.key;
                range.lower(if first.included {
                    successor(key)
                } else {
                    key.clone()
                });
            }
        }
        if let Some(below) = &self.below {
            range.lower(below.clone());
        }
        range
    }
}

impl Range {
    fn lower(&mut self, high: Vec<u8>) {
        self.high = Some(match self.high.take() {
            Some(known) => known.min(high),
            None => high,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }

    /// What of it was looked at by a scan that found these, with that limit.
    pub(crate) fn looked_at<T>(
        &self,
        backwards: bool,
        limit: usize,
        found: &[(Vec<u8>, T)],
    ) -> Self {
        let mut seen = self.clone();
        if let Some((last, _)) = found.last().filter(|_| found.len() == limit) {
            if backwards {
                seen.low.clone_from(last);
            } else {
                seen.high = Some(successor(last));
            }
        }
        seen
    }
}

/// The next key in the order of bytes.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The first key above all that begin with `prefix`; None when there is no such bound.
pub(crate) fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: &[u8], high: Option<&[u8]>) -> Range {
        Range {
            low: low.to_vec(),
            high: high.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn a_span_is_a_range_of_keys_in_either_direction() {
        for (span, want) in [
            (Span::all(), range(b"", None)),
            (Span::prefix(*b"m\xff"), range(b"m\xff", Some(b"n"))),
            (Span::prefix(*b"\xff"), range(b"\xff", None)),
            (Span::prefix(*b"m").from(*b"a"), range(b"m", Some(b"n"))),
            (Span::prefix(*b"m").from(*b"mx"), range(b"mx", Some(b"n"))),
            (
                Span::prefix(*b"m").after(*b"mx"),
                range(b"mx\0", Some(b"n")),
            ),
            (
                Span::prefix(*b"m").after(*b"mx").backwards(),
                range(b"m", Some(b"mx")),
            ),
            (
                Span::prefix(*b"m").from(*b"mx").backwards(),
                range(b"m", Some(b"mx\0")),
            ),
            (
                Span::prefix(*b"m").from(*b"z").backwards(),
                range(b"m", Some(b"n")),
            ),
            (
                Span::all().from(*b"a").below(*b"c"),
                range(b"a", Some(b"c")),
            ),
            (Span::all().below(*b"c").backwards(), range(b"", Some(b"c"))),
        ] {
            assert_eq!(span.range(), want, "{span:?}");
        }
        assert!(Span::prefix(*b"m").from(*b"x").range().is_empty());
        assert!(!Span::all().range().is_empty());
    }
}
