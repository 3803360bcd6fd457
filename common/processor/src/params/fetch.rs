//! Downloads the network's own parameters by CID from a gateway: resumed after a cut
//! connection, checked by digest, named only when right.

use super::{
    ParamSet, ParamsError, circuits, directory,
    manifest::digest,
    show::{Event, Watcher},
};
use crate::{
    disk::{WorkLock, at, put, remove_if_there, sibling, sync},
    http,
};
use damocles_types::{SectorSize, chain};
use reqwest::{StatusCode, blocking::Client, header};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::Path,
    thread,
    time::Duration,
};
use storage_proofs_core::parameter_cache::{PARAMETERS, ParameterData, SRS_PARAMETERS};

/// The gateway of the proofs project. A gateway is a URL to which a CID is appended.
pub const DEFAULT_GATEWAY: &str = "https://proofs.filecoin.io/ipfs/";

/// Tries in a row that bring no byte before it is given up.
const BARREN_TRIES: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two notes of progress, in bytes.
const NOTE_EVERY: u64 = 4 << 20;

/// Fetches the official files of these sizes into the library's directory: what the circuits
/// need, and the reference string of aggregation. Files that are there and right are left.
/// Returns the names of those fetched.
pub fn fetch(
    sizes: &[SectorSize],
    snap: bool,
    gateway: &str,
    watcher: &dyn Watcher,
) -> Result<Vec<String>, ParamsError> {
    let mut wanted = Vec::new();
    for size in sizes {
        for circuit in circuits(snap) {
            let set = ParamSet::of(circuit, *size)?;
            wanted.extend([set.verifying_key(), set.params()]);
        }
    }
    let mut files: Vec<(&str, &ParameterData)> = Vec::new();
    for name in &wanted {
        let data = PARAMETERS
            .get(name)
            .ok_or_else(|| ParamsError::Library(format!("{name} is not in the official list")))?;
        files.push((name, data));
    }
    files.extend(
        SRS_PARAMETERS
            .iter()
            .map(|(name, data)| (name.as_str(), data)),
    );
    fetch_files(&files, gateway, &directory(), watcher)
}

/// Fetches listed files into `dir`.
pub fn fetch_files(
    files: &[(&str, &ParameterData)],
    gateway: &str,
    dir: &Path,
    watcher: &dyn Watcher,
) -> Result<Vec<String>, ParamsError> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    let mut fetched = Vec::new();
    let client = http::client(true).map_err(|error| ParamsError::Fetch {
        name: gateway.to_owned(),
        reason: chain(&error),
    })?;
    for (name, data) in files {
        if one(&client, name, data, gateway, dir, watcher)? {
            watcher.event(Event::Got {
                name: (*name).to_owned(),
            });
            fetched.push((*name).to_owned());
        }
    }
    Ok(fetched)
}

fn one(
    client: &Client,
    name: &str,
    data: &ParameterData,
    gateway: &str,
    dir: &Path,
    watcher: &dyn Watcher,
) -> Result<bool, ParamsError> {
    let path = dir.join(name);
    if path.is_file() {
        watcher.event(Event::Checking {
            name: name.to_owned(),
        });
        if digest(&path)? == data.digest {
            return Ok(false);
        }
        // It stays until the right one is here: on a test network it may be one made here,
        // and the network would then be other than the one that it proves for.
    }
    let part = sibling(&path, "part")?;
    let _lock =
        WorkLock::try_take(&sibling(&path, "lock")?)?.ok_or_else(|| ParamsError::Fetch {
            name: name.to_owned(),
            reason: "another process is fetching it".to_owned(),
        })?;
    let url = format!("{}/{}", gateway.trim_end_matches('/'), data.cid);
    let mut barren = 0;
    loop {
        let before = length(&part);
        let reason = match load(client, &url, name, &part, watcher) {
            Ok(()) => break,
            Err(Trouble::Final(reason)) => {
                return Err(ParamsError::Fetch {
                    name: name.to_owned(),
                    reason,
                });
            }
            Err(Trouble::Again(reason)) => reason,
        };
        let bytes = length(&part);
        barren = if bytes > before { 0 } else { barren + 1 };
        if barren == BARREN_TRIES {
            return Err(ParamsError::Fetch {
                name: name.to_owned(),
                reason,
            });
        }
        watcher.event(Event::Again {
            name: name.to_owned(),
            bytes,
            reason,
        });
        thread::sleep(PAUSE);
    }
    watcher.event(Event::Checking {
        name: name.to_owned(),
    });
    let found = digest(&part)?;
    if found != data.digest {
        remove_if_there(&part)?;
        return Err(ParamsError::Digest {
            name: name.to_owned(),
            wanted: data.digest.clone(),
            found,
        });
    }
    sync(&part)?;
    put(&part, &path)?;
    // the lock's file stays: whoever has it open already would lock one that nobody else sees
    Ok(true)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

enum Trouble {
    Again(String),
    Final(String),
}

/// One request: from where the part ends to the end of the file.
fn load(
    client: &Client,
    url: &str,
    name: &str,
    part: &Path,
    watcher: &dyn Watcher,
) -> Result<(), Trouble> {
    let disk = |error: std::io::Error| Trouble::Final(error.to_string());
    let here = length(part);
    let mut request = client.get(url);
    if here > 0 {
        request = request.header(header::RANGE, format!("bytes={here}-"));
    }
    let mut response = request
        .send()
        .map_err(|error| Trouble::Again(chain(&error)))?;
    let (mut file, mut bytes) = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response, here) => {
            let file = OpenOptions::new().append(true).open(part).map_err(disk)?;
            (file, here)
        }
        // the part has the whole length; whether it is right, the digest tells
        StatusCode::RANGE_NOT_SATISFIABLE if here > 0 => return Ok(()),
        // a gateway that cannot resume sends everything again
        StatusCode::OK => (File::create(part).map_err(disk)?, 0),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Trouble::Again(format!("the gateway says {status}")));
        }
        status => {
            return Err(Trouble::Final(format!(
                "the gateway says {status} to {url}"
            )));
        }
    };
    let total = response.content_length().map(|rest| rest + bytes);
    watcher.event(Event::Fetching {
        name: name.to_owned(),
        from: bytes,
        total,
    });
    let mut block = vec![0; 64 << 10];
    let mut noted = bytes;
    loop {
        let n = match response.read(&mut block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(Trouble::Again(chain(&error))),
        };
        file.write_all(&block[..n])
            .map_err(|error| disk(at(part)(error)))?;
        bytes += n as u64;
        if bytes - noted >= NOTE_EVERY {
            noted = bytes;
            watcher.event(Event::Fetched { bytes });
        }
    }
    match total {
        Some(total) if bytes < total => Err(Trouble::Again(format!(
            "the connection ended after {bytes} of {total} bytes"
        ))),
        _ => Ok(()),
    }
}

/// `Content-Range: bytes <first>-…` begins where we asked.
fn starts_at(response: &reqwest::blocking::Response, first: u64) -> bool {
    response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(&format!("bytes {first}-")))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
