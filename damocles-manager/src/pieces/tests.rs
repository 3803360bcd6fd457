//! What is under a CID is that piece, however it came there.

use super::receive::MOST;
use super::*;
use axum::body::Body;
use damocles_processor::verify::piece_commitment;

fn piece(bytes: &[u8], padded: u64) -> PieceCid {
    let mut source = bytes;
    PieceCid(piece_commitment(&mut source, bytes.len() as u64, padded).unwrap())
}

fn store(path: &Path, read_only: bool) -> PieceStorePolicy {
    PieceStorePolicy {
        name: path.display().to_string(),
        path: path.to_owned(),
        read_only,
    }
}

const ALL: Part = Part {
    from: 0,
    whole: None,
    padded: None,
};

#[test]
fn only_the_cid_of_a_piece_names_one() {
    let good = piece(b"some bytes", 128);
    let text = good.to_string();
    assert!(text.starts_with("baga6ea4seaq"), "{text}");
    assert_eq!(PieceCid::named(&text), Ok(good));
    assert_eq!(PieceCid::named(&format!("{text}.car")), Ok(good));
    let sealed = Commitment([7; 32]).sealed_cid().to_string();
    for bad in [
        "",
        "x",
        "../etc/passwd",
        ".car",
        &sealed,
        &format!("{text}.part"),
    ] {
        assert!(PieceCid::named(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_piece_is_found_in_the_first_store_that_has_it_then_at_the_market() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = [dirs[0].path(), dirs[1].path()];
    let stores = vec![store(first, true), store(second, false)];
    let market = Some("http://market:1".to_owned());
    let pieces = Pieces::new(Db::in_memory(), stores.clone(), market);
    let cid = piece(b"some bytes", 128);
    let there = format!("http://market:1/resource?resource-id={cid}");
    assert_eq!(pieces.find(cid).await.unwrap(), Found::Url(there));
    let alone = Pieces::new(Db::in_memory(), stores, None);
    assert_eq!(alone.find(cid).await.unwrap(), Found::Nowhere);
    let car = second.join(format!("{cid}.car"));
    std::fs::write(&car, b"some bytes").unwrap();
    assert_eq!(pieces.find(cid).await.unwrap(), Found::File(car));
    let plain = first.join(cid.to_string());
    std::fs::write(&plain, b"some bytes").unwrap();
    assert_eq!(pieces.find(cid).await.unwrap(), Found::File(plain));
}

#[tokio::test]
async fn a_piece_gets_its_name_when_it_is_that_piece() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = Pieces::new(Db::in_memory(), vec![store(dir.path(), false)], None);
    let bytes: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
    let cid = piece(&bytes, 1024);
    assert_eq!(
        pieces
            .receive(cid, ALL, bytes.clone().into())
            .await
            .unwrap(),
        1000
    );
    let path = dir.path().join(cid.to_string());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // once more: it is there, and nothing of the body is wanted
    assert_eq!(
        pieces.receive(cid, ALL, Body::from("other")).await.unwrap(),
        1000
    );

    let larger = piece(&bytes, 4096);
    let wrong = pieces
        .receive(larger, ALL, bytes.clone().into())
        .await
        .unwrap_err();
    assert!(matches!(wrong, ReceiveError::Other { .. }), "{wrong}");
    let sized = Part {
        padded: Some(4096),
        ..ALL
    };
    assert_eq!(
        pieces
            .receive(larger, sized, bytes.clone().into())
            .await
            .unwrap(),
        1000
    );
    for padded in [Some(512), Some(1000)] {
        let other = piece(b"third", 128);
        let sized = Part { padded, ..ALL };
        let wrong = pieces
            .receive(other, sized, bytes.clone().into())
            .await
            .unwrap_err();
        assert!(matches!(wrong, ReceiveError::Size { .. }), "{wrong}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        left.iter()
            .filter(|n| n.to_string_lossy().ends_with(".part"))
            .count(),
        1,
        "{left:?}"
    );
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = Pieces::new(Db::in_memory(), vec![store(dir.path(), false)], None);
    let bytes = vec![7u8; 2000];
    let cid = piece(&bytes, 2048);
    let part = |from| Part {
        from,
        whole: Some(2000),
        padded: None,
    };
    let broken = futures::stream::iter([
        Ok(axum::body::Bytes::from(bytes[..700].to_vec())),
        Err(std::io::Error::other("the line is dead")),
    ]);
    let error = pieces
        .receive(cid, part(0), Body::from_stream(broken))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the line is dead"), "{error}");
    assert_eq!(pieces.begun(cid).await, Some(700));
    assert_eq!(pieces.find(cid).await.unwrap(), Found::Nowhere);
    let elsewhere = pieces
        .receive(cid, part(900), Body::from("x"))
        .await
        .unwrap_err();
    assert!(matches!(
        elsewhere,
        ReceiveError::Elsewhere {
            has: 700,
            from: 900
        }
    ));
    let short = pieces
        .receive(cid, part(700), bytes[700..900].to_vec().into())
        .await;
    assert!(matches!(
        short,
        Err(ReceiveError::Incomplete {
            has: 900,
            whole: 2000
        })
    ));
    let rest = bytes[900..].to_vec();
    assert_eq!(
        pieces.receive(cid, part(900), rest.into()).await.unwrap(),
        2000
    );
    assert_eq!(pieces.begun(cid).await, None);
    let more = pieces.receive(
        piece(b"m", 128),
        Part {
            whole: Some(5),
            ..ALL
        },
        Body::from("more than that"),
    );
    assert!(matches!(more.await, Err(ReceiveError::TooLarge)));
}

#[tokio::test]
async fn what_breaks_off_without_a_length_is_not_taken_for_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = Pieces::new(Db::in_memory(), vec![store(dir.path(), false)], None);
    let cid = piece(&[7u8; 2000], 2048);
    let broken = futures::stream::iter([
        Ok(axum::body::Bytes::from(vec![7u8; 700])),
        Err(std::io::Error::other("the line is dead")),
    ]);
    let error = pieces.receive(cid, ALL, Body::from_stream(broken)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ReceiveError::Body(_)), "{error}");
    assert_eq!(pieces.begun(cid).await, Some(700));
    let rest = Part { from: 700, ..ALL };
    let all = pieces.receive(cid, rest, vec![7u8; 1300].into()).await;
    assert_eq!(all.unwrap(), 2000);
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_disk_hangs_holds_up_only_who_asks_for_it() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [hung, well] = [dirs[0].path(), dirs[1].path()];
    let stores = vec![store(hung, false), store(well, false)];
    let pieces = Pieces::new(Db::in_memory(), stores, None);
    let all = u32::try_from(PLACES).unwrap();
    let threads = pieces.places[0].clone().acquire_many_owned(all).await;
    let cid = piece(b"x", 128);
    let came = pieces.receive(cid, ALL, Body::from("x")).await;
    assert_eq!(came.unwrap(), 1, "it lies on the other disk");
    let path = well.join(cid.to_string());
    assert_eq!(pieces.find(cid).await.unwrap(), Found::File(path));
    drop(threads);
    assert_eq!(pieces.places[0].available_permits(), PLACES);
}

#[tokio::test]
async fn pieces_that_are_handed_in_are_few_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = Pieces::new(Db::in_memory(), vec![store(dir.path(), false)], None);
    let mut lines = Vec::new();
    let mut coming = Vec::new();
    for n in 0..MOST as u8 {
        let (line, body) = futures::channel::mpsc::unbounded::<Result<Vec<u8>, std::io::Error>>();
        lines.push(line);
        let (pieces, cid) = (pieces.clone(), piece(&[n], 128));
        coming.push(tokio::spawn(async move {
            pieces.receive(cid, ALL, Body::from_stream(body)).await
        }));
    }
    while pieces.coming.lock().len() < MOST {
        tokio::task::yield_now().await;
    }
    let cid = piece(b"one more", 128);
    let more = || pieces.receive(cid, ALL, Body::from("one more"));
    assert!(matches!(more().await, Err(ReceiveError::Busy)));
    for (n, line) in lines.into_iter().enumerate() {
        line.unbounded_send(Ok(vec![n as u8])).unwrap();
    }
    for one in coming {
        assert_eq!(one.await.unwrap().unwrap(), 1);
    }
    assert_eq!(more().await.unwrap(), 8);
}

#[tokio::test]
async fn nothing_is_taken_where_nothing_may_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let cid = piece(b"x", 128);
    for stores in [vec![], vec![store(dir.path(), true)]] {
        let pieces = Pieces::new(Db::in_memory(), stores, None);
        let error = pieces.receive(cid, ALL, Body::from("x")).await.unwrap_err();
        assert!(matches!(error, ReceiveError::NoStore));
    }
    // two at a time would write into one file
    let pieces = Pieces::new(Db::in_memory(), vec![store(dir.path(), false)], None);
    pieces.coming.lock().insert(cid);
    let busy = pieces.receive(cid, ALL, Body::from("x")).await.unwrap_err();
    assert!(matches!(busy, ReceiveError::Busy));
}
