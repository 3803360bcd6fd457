//! Two directories, byte by byte.

use crate::disk::at;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::Path,
};

/// The first difference, in words. Names that begin with a dot are notes that the stages
/// leave to themselves, with times in them; they do not count.
pub(super) fn difference(a: &Path, b: &Path) -> io::Result<Option<String>> {
    let (names_a, names_b) = (names(a)?, names(b)?);
    if let Some(name) = names_a.symmetric_difference(&names_b).next() {
        return Ok(Some(format!("only one of the two has {name}")));
    }
    for name in names_a {
        let (a, b) = (a.join(&name), b.join(&name));
        let found = if a.is_dir() {
            difference(&a, &b)?.map(|inside| format!("{name}/{inside}"))
        } else {
            of_files(&a, &b)?.map(|at| format!("{name} differs at byte {at}"))
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') {
            names.insert(name.into_owned());
        }
    }
    Ok(names)
}

fn of_files(path_a: &Path, path_b: &Path) -> io::Result<Option<u64>> {
    let open = |path: &Path| {
        let file = File::open(path).map_err(at(path))?;
        io::Result::Ok(BufReader::with_capacity(1 << 20, file))
    };
    let (mut a, mut b) = (open(path_a)?, open(path_b)?);
    let mut offset = 0;
    loop {
        let read_a = a.fill_buf().map_err(at(path_a))?;
        let read_b = b.fill_buf().map_err(at(path_b))?;
        let length = read_a.len().min(read_b.len());
        if read_a[..length] != read_b[..length] {
            let same = read_a.iter().zip(read_b).take_while(|(a, b)| a == b);
            return Ok(Some(offset + same.count() as u64));
        }
        if length == 0 {
            let both = read_a.is_empty() && read_b.is_empty();
            return Ok((!both).then_some(offset));
        }
        a.consume(length);
        b.consume(length);
        offset += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for side in ["a", "b"] {
            fs::create_dir_all(at(side).join("cache")).unwrap();
            fs::write(at(side).join("cache/tree"), vec![7; 3 << 20]).unwrap();
            fs::write(at(side).join(".mark"), side).unwrap();
        }
        let found = || difference(&at("a"), &at("b")).unwrap();
        assert_eq!(found(), None);
        let mut other = vec![7; 3 << 20];
        other[2_500_000] = 8;
        fs::write(at("b/cache/tree"), &other).unwrap();
        assert_eq!(found().unwrap(), "cache/tree differs at byte 2500000");
        fs::write(at("b/cache/tree"), vec![7; 100]).unwrap();
        assert_eq!(found().unwrap(), "cache/tree differs at byte 100");
        fs::remove_file(at("b/cache/tree")).unwrap();
        assert_eq!(found().unwrap(), "cache/only one of the two has tree");
    }
}
