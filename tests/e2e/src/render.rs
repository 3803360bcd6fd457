//! Config files with places to fill in: `@NAME@` in a file of `config-examples` becomes what
//! this run knows only now (ports, folders). Everything else in the file stays as it is read.

use anyhow::{Context, Result, bail};
use std::{fs, path::Path};

/// Fills the places of the file `from` and writes the outcome to `to`.
pub fn file(from: &Path, to: &Path, values: &[(&str, &str)]) -> Result<()> {
    let template =
        fs::read_to_string(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let text = fill(&template, values).with_context(|| from.display().to_string())?;
    fs::write(to, text).with_context(|| format!("{} cannot be written", to.display()))
}

fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    match unfilled(&text) {
        Some(place) => bail!("nothing is known for {place}"),
        None => Ok(text),
    }
}

/// The first `@NAME@` outside of comments.
fn unfilled(text: &str) -> Option<&str> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(code, _)| code))
        .find_map(|line| {
            let start = line.find('@')?;
            let end = line[start + 1..].find('@')? + start + 2;
            let name = &line[start + 1..end - 1];
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            is_name.then(|| &line[start..end])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_one_that_stays_empty_is_an_error() {
        assert_eq!(
            fill("a = \"@A@/@A@\" # b", &[("A", "x")]).unwrap(),
            "a = \"x/x\" # b"
        );
        let unknown = fill("a = \"@A@\"\nb = @B_C@", &[("A", "x")])
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("@B_C@"), "{unknown}");
        assert!(fill("# see @B@\nmail = \"a@b@c\"", &[]).is_ok());
    }
}
