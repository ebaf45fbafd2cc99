//! Event streams in pieces, and over a connection whose other end is written by hand.
//!
//! Never here: a wait for a time that a state could show.

use std::collections::VecDeque;
use std::sync::Mutex;

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::reader::{Piece, Reader};
use super::*;
use crate::domain::denial::Denial;
use crate::http::Body;

/// What comes out of chunks, and the data that the rewriter saw.
fn rewritten(
    chunks: &[&[u8]],
    verdict: fn(&[u8]) -> Verdict,
) -> (Result<Vec<u8>, &'static str>, Vec<String>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&seen);
    let rewriter = Box::new(move |event: &Event<'_>| {
        let (name, data) = (String::from_utf8_lossy(event.name), String::from_utf8_lossy(event.data));
        noting.lock().unwrap().push(format!("{name}|{data}"));
        verdict(event.data)
    });
    let room = EventRoom::default();
    let mut reader = Reader::default();
    reader.rewrites(rewriter, room.clone());
    let came = through(&mut reader, chunks, false);
    drop(reader);
    assert_eq!(room.held_bytes(), 0, "what was held is given back");
    let seen = seen.lock().unwrap().clone();
    (came.map(|pieces| pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect()), seen)
}

fn through(reader: &mut Reader, chunks: &[&[u8]], is_split: bool) -> Result<VecDeque<Piece>, &'static str> {
    let mut out = VecDeque::new();
    for chunk in chunks {
        reader.take(Bytes::copy_from_slice(chunk), is_split, &mut out)?;
    }
    reader.finish(&mut out)?;
    Ok(out)
}

const fn keep(_: &[u8]) -> Verdict {
    Verdict::Keep
}

fn replace_lists(data: &[u8]) -> Verdict {
    match data {
        b"list" => Verdict::Replace(Bytes::from_static(b"short\nlist")),
        b"bad" => Verdict::Cut("bad"),
        _ => Verdict::Keep,
    }
}

#[test]
fn events_are_read_with_every_line_end_and_over_several_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = "\u{feff}event: a\ndata: 1\ndata:2\nid: x\n\n: note\ndata\n\nretry: 5\n\nevent: b\n\ndata:  3\n\n";
        let stream = stream.replace('\n', end);
        let (came, seen) = rewritten(&[stream.as_bytes()], keep);
        assert_eq!(came.unwrap(), stream.as_bytes());
        assert_eq!(seen, ["a|1\n2", "|", "| 3"], "{end:?}");
    }
}

#[test]
fn replaced_data_stands_where_the_old_was_and_the_rest_stays() {
    let stream = b": c\nevent: message\r\ndata: list\r\nid: 7\r\n\r\ndata: x\n\n";
    let (came, _) = rewritten(&[stream], replace_lists);
    let expected = b": c\nevent: message\r\ndata: short\r\ndata: list\r\nid: 7\r\n\r\ndata: x\n\n";
    assert_eq!(String::from_utf8(came.unwrap()).unwrap(), String::from_utf8_lossy(expected));
}

#[test]
fn an_event_without_its_end_is_looked_at_when_the_stream_ends() {
    assert_eq!(
        rewritten(&[b"data: x\n\ndata: list"], replace_lists).0.unwrap(),
        b"data: x\n\ndata: short\ndata: list\n"
    );
    assert_eq!(rewritten(&[b"data: x\n\ndata: bad"], replace_lists).0, Err("bad"));
    assert_eq!(rewritten(&[b"data: bad\n\ndata: x\n\n"], replace_lists).0, Err("bad"));
}

#[test]
fn an_event_is_held_up_to_its_bound_and_no_further() {
    let line = vec![b'a'; EVENT_BYTES_MAX - b"data:\n\n".len()];
    let fits: [&[u8]; 3] = [b"data:", &line, b"\n\n"];
    assert!(rewritten(&fits, keep).0.is_ok());
    let over: [&[u8]; 4] = [b"data:", &line, b"a", b"\n\n"];
    assert_eq!(rewritten(&over, keep).0, Err("an event is larger than can be held"));
    // Without a rewriter nothing is held.
    assert!(through(&mut Reader::default(), &over, false).is_ok());
}

#[test]
fn all_streams_together_hold_no_more_than_there_is_room_for() {
    let room = EventRoom::default();
    assert!(room.note(0, HELD_BYTES_MAX));
    let mut reader = Reader::default();
    reader.rewrites(Box::new(|_| Verdict::Keep), room.clone());
    assert!(through(&mut reader, &[b"data: whole\n\n"], false).is_ok(), "a whole event needs none");
    assert!(through(&mut reader, &[b"data: part"], false).is_err());
    drop(reader);
    assert_eq!(room.held_bytes(), HELD_BYTES_MAX);
}

#[test]
fn ours_find_a_place_between_events_alone() {
    let places = |stream: &[u8]| {
        let pieces = through(&mut Reader::default(), &[stream], true).unwrap();
        let text = |piece: Piece| (String::from_utf8(piece.bytes.to_vec()).unwrap(), piece.is_between);
        pieces.into_iter().map(text).collect::<Vec<_>>()
    };
    let piece = |text: &str, is_between| (text.to_owned(), is_between);
    assert_eq!(places(b"data: a\n\ndata: b\n"), [piece("data: a\n\n", true), piece("data: b\n", false)]);
    assert_eq!(places(b"data: a\n\n: c\n"), [piece("data: a\n\n: c\n", true)]);
    assert_eq!(places(b"data: a\n\n: c"), [piece("data: a\n\n", true), piece(": c", false)]);
    // The line feed may still come.
    assert_eq!(places(b"data: a\r\n\r"), [piece("data: a\r\n\r", false)]);
    assert_eq!(places(b"data: a\r\r"), [piece("data: a\r\r", true)]);
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "data",
        "data:",
        "data: list",
        "data: x",
        "event: e",
        "id: 1",
        ":",
        ": c",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "\u{feff}",
        "retry: 1",
        "\u{0}",
        "dat",
        "a: b",
    ]);
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat().into_bytes())
}

/// What a reader of whole streams, written apart from ours, dispatches.
fn plainly_read(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), None::<Vec<&str>>);
    for line in text.split('\n').chain([""]) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.get_or_insert_default().push(value),
            "event" => value.clone_into(&mut name),
            "" if line.is_empty() => {
                if let Some(data) = data.take() {
                    events.push(format!("{name}|{}", data.join("\n")));
                }
                name.clear();
            }
            _ => {}
        }
    }
    events
}

proptest! {
    #[test]
    fn pieces_say_the_same_as_the_whole(stream in stream(), cuts in prop::collection::vec(0usize..200, 0..12)) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let (kept, seen) = rewritten(&chunks, keep);
        prop_assert_eq!(kept.unwrap(), stream.clone());
        prop_assert_eq!(seen, plainly_read(&stream));
        let (whole, seen_whole) = rewritten(&[&stream], replace_lists);
        let (pieces, seen_pieces) = rewritten(&chunks, replace_lists);
        prop_assert_eq!(seen_whole, seen_pieces);
        // Between a carriage return and a line feed of another chunk an event ends too: the same to every reader.
        let read = |came: Result<Vec<u8>, _>| came.map(|came| plainly_read(&came));
        prop_assert_eq!(read(whole), read(pieces));
        for is_split in [false, true] {
            let passed = through(&mut Reader::default(), &chunks, is_split).unwrap();
            let passed: Vec<u8> = passed.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
            prop_assert_eq!(&passed, &stream);
        }
    }
}

/// An event stream from a server that is written by hand.
async fn from_server() -> (DuplexStream, Relayed) {
    let (client, mut server) = duplex(64 * 1024);
    let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let answering = async {
        server.read_u8().await.unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(sender.send_request(request), answering);
    let answer = answer.unwrap();
    (server, Relayed::new(answer.into_body(), u64::MAX, Duration::from_millis(20)))
}

fn standing() -> Tether {
    Tether::new(|| Ok(()))
}

async fn next(body: &mut Body) -> Result<Bytes, BodyError> {
    body.frame().await.unwrap().map(|frame| frame.into_data().unwrap())
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments_between_its_events() {
    let (mut server, relayed) = from_server().await;
    let events = Events::new(relayed.tethered(Some(standing()))).kept_alive_after(Duration::from_millis(30));
    let mut body = Body::Events(Box::new(events));
    assert_eq!(next(&mut body).await.unwrap(), KEEP_ALIVE);
    assert_eq!(next(&mut body).await.unwrap(), KEEP_ALIVE, "longer than any body may pause");
    server.write_all(b"data: a\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: a\n");
    let (end, ending) = oneshot::channel();
    let writing = tokio::spawn(async move {
        ending.await.unwrap();
        server.write_all(b"\n").await.unwrap();
        server
    });
    let in_the_middle = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
    assert!(in_the_middle.is_err(), "nothing is put into an event");
    end.send(()).unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "\n");
    assert_eq!(next(&mut body).await.unwrap(), KEEP_ALIVE);
    drop(writing.await.unwrap());
    while let Some(frame) = body.frame().await {
        assert_eq!(frame.unwrap().into_data().unwrap(), KEEP_ALIVE);
    }
}

#[tokio::test]
async fn a_stream_that_hangs_on_nothing_still_ends_when_its_sender_is_silent() {
    let (_server, relayed) = from_server().await;
    let mut body = Body::Events(Box::new(Events::new(relayed)));
    assert!(matches!(next(&mut body).await, Err(BodyError::Late)));
}

#[tokio::test]
async fn a_stream_whose_tether_broke_ends_within_its_silence() {
    let (_server, relayed) = from_server().await;
    let asked = AtomicUsize::new(0);
    let check = move || if asked.fetch_add(1, Ordering::SeqCst) < 3 { Ok(()) } else { Err(Denial::Revoked) };
    let mut body = Body::Events(Box::new(Events::new(relayed.tethered(Some(Tether::new(check))))));
    assert!(matches!(next(&mut body).await, Err(BodyError::Untethered(Denial::Revoked))));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn events_of_ours_wait_for_the_end_of_the_one_that_is_open() {
    let (mut server, relayed) = from_server().await;
    let (ours, inlet) = mpsc::channel(4);
    let mut body = Body::Events(Box::new(Events::new(relayed.tethered(Some(standing()))).with_inlet(inlet)));
    ours.send(Bytes::from_static(b"data: ours\n\n")).await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: ours\n\n");
    server.write_all(b"data: a\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: a\n");
    ours.send(Bytes::from_static(b"data: late\n\n")).await.unwrap();
    server.write_all(b"\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "\n");
    assert_eq!(next(&mut body).await.unwrap(), "data: late\n\n");
    drop(server);
    assert!(body.frame().await.is_none_or(|frame| frame.is_err()));
}

#[tokio::test]
async fn a_stream_breaks_off_at_an_event_that_may_not_be_shown() {
    let (mut server, relayed) = from_server().await;
    let rewriter = Box::new(|event: &Event<'_>| replace_lists(event.data));
    let events = Events::new(relayed.tethered(Some(standing()))).rewritten(rewriter, EventRoom::default());
    let mut body = Body::Events(Box::new(events));
    server.write_all(b"data: x\n\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: x\n\n");
    server.write_all(b"data: bad\n\ndata: x\n\n").await.unwrap();
    assert!(matches!(next(&mut body).await, Err(BodyError::Event)));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_stop_ends_a_stream_behind_the_event_that_is_open() {
    let (mut server, relayed) = from_server().await;
    let stop = CancellationToken::new();
    let mut body = Body::Events(Box::new(Events::new(relayed.tethered(Some(standing())))));
    body.end_at(&stop);
    server.write_all(b"data: a\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: a\n");
    stop.cancel();
    server.write_all(b"\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "\n");
    assert!(body.frame().await.is_none(), "as if its sender had nothing more to say");
    let (_server, relayed) = from_server().await;
    let mut silent = Body::Events(Box::new(Events::new(relayed.tethered(Some(standing())))));
    silent.end_at(&stop);
    assert!(silent.frame().await.is_none());
}
