//! Pieces from nowhere, files and URLs; layouts that make no sector.

use super::*;
use crate::{kernel::KernelChoice, serve::Progress, stage::Settings};
use damocles_types::{Level, SectorSize, UnpaddedSize};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
};

const PROOF: SealProof = SealProof::interactive(SectorSize::KiB2);

fn task(dir: &Path, pieces: Vec<Piece>) -> AddPieces {
    AddPieces {
        seal_proof_type: PROOF,
        pieces,
        staged_filepath: dir.join("unsealed/s-t01000-1"),
    }
}

fn piece(file: PieceFile, payload: u64, padded: u64) -> Piece {
    Piece {
        piece_file: file,
        payload_size: payload,
        piece_size: PaddedSize(padded).unpadded(),
        piece_cid: None,
    }
}

/// By both kernels, which must agree in everything; the file is that of the second.
fn go(task: &AddPieces) -> Result<Vec<PieceInfo>, TaskError> {
    let ours = go_by(KernelChoice::Auto, task);
    let file = fs::read(&task.staged_filepath).ok();
    let theirs = go_by(KernelChoice::FilecoinProofs, task);
    assert_eq!(ours, theirs);
    assert!(file == fs::read(&task.staged_filepath).ok());
    theirs
}

fn go_by(kernel: KernelChoice, task: &AddPieces) -> Result<Vec<PieceInfo>, TaskError> {
    let context = Context {
        settings: &Settings::from(kernel),
        progress: &Progress::silent(),
    };
    run(task, &context)
}

fn local(dir: &Path, name: &str, content: &[u8]) -> PieceFile {
    let path: PathBuf = dir.join(name);
    fs::write(&path, content).unwrap();
    PieceFile::Local(path)
}

/// Answers each request with the next of these; hands out the request heads.
fn server(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines
                    .map(Result::unwrap)
                    .take_while(|l| !l.is_empty())
                    .collect();
                stream.write_all(&answer).unwrap();
                head.join("\n")
            })
            .collect()
    });
    (url, thread)
}

fn ok(body: &[u8], length: usize) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
            .into_bytes();
    out.extend_from_slice(body);
    out
}

#[test]
fn committed_capacity_is_a_sparse_file_of_zeros() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let mut task = task(dir.path(), vec![]);
    task.seal_proof_type = SealProof::interactive(SectorSize::MiB8);
    let infos = go(&task).unwrap();
    assert_eq!(infos.len(), 1);
    assert_eq!(infos[0].size, PaddedSize(8 << 20).unpadded());
    let meta = fs::metadata(&task.staged_filepath).unwrap();
    assert_eq!((meta.len(), meta.blocks()), (8 << 20, 0));
    // go-commp-utils' zero commitment of 8MiB
    let info = api::seal::generate_piece_commitment(
        PROOF_OF_ZEROS,
        io::repeat(0).take(infos[0].size.0),
        UnpaddedBytesAmount(infos[0].size.0),
    )
    .unwrap();
    assert_eq!(info.commitment, infos[0].commitment.0);
    // again, over something else
    fs::write(&task.staged_filepath, b"older").unwrap();
    assert_eq!(go(&task).unwrap(), infos);
    assert_eq!(fs::metadata(&task.staged_filepath).unwrap().len(), 8 << 20);
}

const PROOF_OF_ZEROS: api::RegisteredSealProof = api::RegisteredSealProof::StackedDrg8MiBV1_1;

#[test]
fn pieces_lie_back_to_back_padded_with_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let a = local(dir.path(), "a", &[0xff; 100]);
    let task = task(
        dir.path(),
        vec![
            piece(a.clone(), 100, 128),
            piece(PieceFile::Pledge, 127, 128),
            piece(a, 50, 256),
            piece(PieceFile::Pledge, 0, 512),
            piece(PieceFile::Pledge, 0, 1024),
        ],
    );
    let infos = go(&task).unwrap();
    assert_eq!(
        infos.iter().map(|i| i.size.padded().0).collect::<Vec<_>>(),
        [128, 128, 256, 512, 1024]
    );
    let staged = fs::read(&task.staged_filepath).unwrap();
    assert_eq!(staged.len(), 2048);
    assert_eq!(&staged[..4], [0xff; 4]);
    assert_eq!(staged[31], 0x3f, "two zero bits after every 254");
    assert!(staged[128..256].iter().all(|b| *b == 0), "the filler");
    assert_eq!(&staged[256..260], [0xff; 4]);
    assert!(staged[512..].iter().all(|b| *b == 0));
    // and CommD is that of the data
    let tree = tempfile::tempdir().unwrap();
    let context = Context {
        settings: &Settings::default(),
        progress: &Progress::silent(),
    };
    let root = super::super::tree_d::build(
        &task.staged_filepath,
        tree.path(),
        SectorSize::KiB2,
        &context,
    )
    .unwrap();
    assert_eq!(root, crate::proofs::comm_d(PROOF, &infos).unwrap());
}

#[test]
fn a_deal_with_other_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut deal = piece(local(dir.path(), "a", &[7; 127]), 127, 2048);
    let infos = go(&task(dir.path(), vec![deal.clone()])).unwrap();
    deal.piece_cid = Some(infos[0].commitment.unsealed_cid().to_string());
    go(&task(dir.path(), vec![deal.clone()])).unwrap();
    deal.piece_file = local(dir.path(), "b", &[8; 127]);
    let error = go(&task(dir.path(), vec![deal.clone()])).unwrap_err();
    assert_eq!(error.level, Level::Permanent);
    assert!(
        error.message.contains("has the commitment baga6ea4sea"),
        "{error}"
    );
    deal.piece_cid = Some("nonsense".into());
    assert!(
        go(&task(dir.path(), vec![deal]))
            .unwrap_err()
            .message
            .contains("no piece CID")
    );
}

#[test]
fn layouts_that_make_no_sector_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pledge = |payload, padded| piece(PieceFile::Pledge, payload, padded);
    let odd = Piece {
        piece_size: UnpaddedSize(128),
        ..pledge(0, 128)
    };
    for (pieces, words) in [
        (vec![odd], "not the unpadded size"),
        (vec![pledge(128, 128)], "larger than itself"),
        (vec![pledge(1, 128), pledge(1, 256)], "fillers are missing"),
        (vec![pledge(1, 1024)], "fillers are missing"),
        (vec![pledge(1, 2048), pledge(1, 128)], "beyond the sector"),
        (vec![pledge(1, 4096)], "beyond the sector"),
    ] {
        let error = go(&task(dir.path(), pieces)).unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn local_sources_must_be_files_with_the_payload() {
    let dir = tempfile::tempdir().unwrap();
    let short = local(dir.path(), "short", b"x");
    for (file, words) in [
        (short, "has 1 bytes"),
        (PieceFile::Local(dir.path().into()), "not a regular file"),
        (PieceFile::Local(dir.path().join("missing")), "No such file"),
    ] {
        let error = go(&task(dir.path(), vec![piece(file, 127, 2048)])).unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn a_url_is_followed_by_hand_and_ends_where_the_payload_ends() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = go(&task(
        dir.path(),
        vec![piece(local(dir.path(), "a", &[7; 100]), 100, 2048)],
    ))
    .unwrap();
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: /market/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for kernel in KernelChoice::ALL {
        let (url, served) = server(vec![redirect.to_vec(), ok(&[7; 200], 200)]);
        let got = go_by(
            kernel,
            &task(
                dir.path(),
                vec![piece(
                    PieceFile::Url(format!("{url}/piecestore/x")),
                    100,
                    2048,
                )],
            ),
        )
        .unwrap();
        assert_eq!(got, wanted);
        let heads = served.join().unwrap();
        assert!(
            heads[0].starts_with("GET /piecestore/x") && heads[1].starts_with("GET /market/x"),
            "{heads:?}"
        );
        assert!(
            heads[1]
                .to_ascii_lowercase()
                .contains("x-venus-api-namespace: v1.imarket")
        );
    }
}

#[test]
fn a_download_that_breaks_off_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    for answer in [
        ok(&[7; 50], 100),
        ok(&[7; 50], 50),
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    ] {
        for kernel in KernelChoice::ALL {
            let (url, served) = server(vec![answer.clone()]);
            let task = task(dir.path(), vec![piece(PieceFile::Url(url), 100, 2048)]);
            let error = go_by(kernel, &task).unwrap_err();
            assert_eq!(error.level, Level::Temporary, "{error}");
            served.join().unwrap();
        }
    }
}
