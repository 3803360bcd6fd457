//! Keys of several named things in one table.

/// Where the keys of one kind, of what has this name, begin. Names may hold anything.
pub(crate) fn named(names: &[&str], kind: u8) -> Vec<u8> {
    let mut key = Vec::new();
    for name in names {
        for byte in name.bytes() {
            match byte {
                0 => key.extend([1, 1]),
                1 => key.extend([1, 2]),
                other => key.push(other),
            }
        }
        key.push(0);
    }
    key.push(kind);
    key
}

/// A key of that kind.
pub(crate) fn under(mut prefix: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    prefix.extend(rest);
    prefix
}

/// The number at the beginning of what stands behind the prefix, and the rest.
pub(crate) fn numbered<'a>(prefix: &[u8], key: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let (number, rest) = key.strip_prefix(prefix)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_run_into_each_other() {
        let names: [&[&str]; 6] = [
            &["a", "b"],
            &["ab"],
            &["a\0b"],
            &["a\u{1}b"],
            &["a", ""],
            &["", "a"],
        ];
        for (n, one) in names.iter().enumerate() {
            for other in &names[n + 1..] {
                let (a, b) = (named(one, b'k'), named(other, b'k'));
                assert!(
                    !a.starts_with(&b) && !b.starts_with(&a),
                    "{one:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_in_the_order_of_keys() {
        let prefix = named(&["q"], b'r');
        let key = |n: u64| under(under(prefix.clone(), &n.to_be_bytes()), b"id");
        assert!(key(255) < key(256));
        assert_eq!(numbered(&prefix, &key(7)), Some((7, &b"id"[..])));
        assert_eq!(numbered(&prefix, b"other"), None);
    }
}
