//! An upstream that keeps the bytes it was sent, request by request, and answers `{}`.
//!
//! Never here: an expectation about what it was sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Every head and body that arrived, in order.
pub(crate) type Recorded = Arc<Mutex<Vec<String>>>;

pub(crate) async fn recording() -> (String, Recorded, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let recorded = Recorded::default();
    let into = Arc::clone(&recorded);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(record(stream, Arc::clone(&into)));
        }
    });
    (url, recorded, task)
}

async fn record(mut stream: TcpStream, into: Recorded) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let whole = match head.lines().find_map(length) {
            Some(len) => body.len() >= len,
            None => !chunked || body.ends_with("0\r\n\r\n"),
        };
        if whole {
            into.lock().unwrap().push(text);
            bytes.clear();
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

pub(crate) fn last(recorded: &Recorded) -> String {
    recorded.lock().unwrap().last().unwrap().clone()
}

pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let mut found = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let value = found.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let again =
        head.lines().filter(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: "))).count();
    assert!(again <= 1, "{name} is given {again} times");
    value
}
