//! Downloads from a local gateway that cuts connections, lies, and does not find things.

use super::*;
use crate::params::show::Silent;
use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What the gateway does with one request.
#[derive(Clone, Copy)]
enum Deed {
    /// Serves, but cuts the connection after that many bytes of the body.
    Cut(usize),
    Serve,
    /// Serves from the beginning whatever is asked.
    NoRange,
    Status(&'static str),
}

/// A gateway with one file; `deeds` in order, the last one again and again. Records the
/// `Range` header of each request.
struct Gateway {
    url: String,
    ranges: Arc<Mutex<Vec<Option<u64>>>>,
}

fn gateway(content: Vec<u8>, deeds: Vec<Deed>) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ipfs/", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ranges);
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let deed = deeds[i.min(deeds.len() - 1)];
            answer(stream.unwrap(), &content, deed, &seen);
        }
    });
    Gateway { url, ranges }
}

fn answer(mut stream: TcpStream, content: &[u8], deed: Deed, seen: &Mutex<Vec<Option<u64>>>) {
    let mut range = None;
    let mut path = String::new();
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap();
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = Some(value.trim_end_matches('-').parse::<u64>().unwrap());
        }
        if line.is_empty() {
            break;
        }
    }
    seen.lock().unwrap().push(range);
    let total = content.len();
    let from = match (deed, range) {
        (Deed::NoRange, _) | (_, None) => 0,
        (_, Some(from)) => from as usize,
    };
    let head = match deed {
        Deed::Status(status) => format!("HTTP/1.1 {status}\r\n"),
        _ if path != "/ipfs/QmTest" => "HTTP/1.1 404 Not Found\r\n".to_owned(),
        _ if from >= total => {
            format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\n")
        }
        _ if from > 0 => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\n",
            total - 1
        ),
        _ => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let body: &[u8] = if head.contains(" 20") {
        &content[from..]
    } else {
        b""
    };
    let sent = match deed {
        Deed::Cut(bytes) => &body[..bytes.min(body.len())],
        _ => body,
    };
    let head = format!(
        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(sent));
}

fn content() -> Vec<u8> {
    (0..200_000u32).flat_map(u32::to_le_bytes).collect()
}

fn listed(content: &[u8]) -> ParameterData {
    ParameterData {
        cid: "QmTest".to_owned(),
        digest: blake2b_simd::blake2b(content).to_hex()[..32].to_owned(),
        sector_size: 2048,
    }
}

const NAME: &str = "v28-test.params";

fn go(gateway: &Gateway, data: &ParameterData, dir: &Path) -> Result<Vec<String>, ParamsError> {
    loop {
        match fetch_files(&[(NAME, data)], &gateway.url, dir, &Silent) {
            // a child that another test starts just now has the lock, too, until it is itself
            Err(error) if error.to_string().contains("another process") => thread::yield_now(),
            done => return done,
        }
    }
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let content = content();
    let gateway = gateway(
        content.clone(),
        vec![Deed::Cut(300_000), Deed::Cut(100_000), Deed::Serve],
    );
    assert_eq!(go(&gateway, &listed(&content), dir.path()).unwrap(), [NAME]);
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), content);
    let ranges = gateway.ranges.lock().unwrap().clone();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], None);
    assert!(
        ranges[1].unwrap() > 0 && ranges[2].unwrap() > ranges[1].unwrap(),
        "{ranges:?}"
    );
    // finished and right: nothing is asked for again, and nothing else lies there but the lock
    assert!(
        go(&gateway, &listed(&content), dir.path())
            .unwrap()
            .is_empty()
    );
    assert_eq!(gateway.ranges.lock().unwrap().len(), 3);
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".v28-test.params.lock", NAME]);
}

#[test]
fn another_run_goes_on_and_a_gateway_without_ranges_begins_again() {
    let content = content();
    for deed in [Deed::Serve, Deed::NoRange] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".v28-test.params.part"), &content[..1000]).unwrap();
        let gateway = gateway(content.clone(), vec![deed]);
        go(&gateway, &listed(&content), dir.path()).unwrap();
        assert_eq!(*gateway.ranges.lock().unwrap(), [Some(1000)]);
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), content);
    }
}

#[test]
fn a_whole_part_is_only_checked() {
    let dir = tempfile::tempdir().unwrap();
    let content = content();
    fs::write(dir.path().join(".v28-test.params.part"), &content).unwrap();
    let gateway = gateway(content.clone(), vec![Deed::Serve]);
    go(&gateway, &listed(&content), dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), content);
    // one question for what is behind the end, to which there is nothing to load
    let whole = Some(content.len() as u64);
    assert_eq!(*gateway.ranges.lock().unwrap(), [whole]);
}

#[test]
fn a_wrong_digest_is_thrown_away_and_an_older_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let content = content();
    fs::write(dir.path().join(NAME), b"older").unwrap();
    let mut data = listed(&content);
    data.digest = "00".repeat(16);
    let gateway = gateway(content, vec![Deed::Serve]);
    let error = go(&gateway, &data, dir.path()).unwrap_err();
    assert!(matches!(error, ParamsError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(NAME) && error.hint().unwrap().contains("gateway"));
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), b"older");
    assert!(!dir.path().join(".v28-test.params.part").exists());
}

#[test]
fn not_found_is_final_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let content = content();
    let gateway = gateway(content.clone(), vec![Deed::Status("404 Not Found")]);
    let error = go(&gateway, &listed(&content), dir.path()).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(gateway.ranges.lock().unwrap().len(), 1);
}
