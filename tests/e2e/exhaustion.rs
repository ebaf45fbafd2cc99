//! Clients that take all they can: connections, descriptors, bytes. Others are served meanwhile, and after.
//!
//! How long idle and slow clients are borne is shown with short limits under `src/http`; here are their numbers.
//!
//! Never here: an assertion about how fast somebody was served.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::daemon::{Daemon, Options, list_posts};
use crate::program::{Program, command, configured, new_workspace, text};
use crate::wire::{Call, Connection, PATIENCE};

/// A daemon under a limit of the shell's `ulimit`.
async fn limited(dir: &Path, limit: &str) -> Program {
    let unlimited = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]).arg(unlimited.get_program());
    limited.args(unlimited.get_args()).current_dir(dir).stdin(Stdio::null());
    limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    Program::spawn(dir, &mut limited).await
}

#[tokio::test]
async fn x01_two_thousand_idle_connections_keep_nobody_out() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let mut idle = Vec::new();
    for number in 0..2000 {
        let mut stream = TcpStream::connect(daemon.data()).await.unwrap();
        // Some say nothing, some begin a request.
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/posts HTTP/1.1\r\nHost:").await.unwrap();
        }
        idle.push(stream);
        if number % 200 == 0 {
            assert_eq!(daemon.call(&list_posts(&key)).await.status, 200);
        }
    }
    daemon.is_well(&key).await;
    drop(idle);
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn x04_a_daemon_that_may_open_few_files_goes_on_and_saves() {
    let dir = configured();
    let program = limited(dir.path(), "-n 256").await;
    let made = program.admin_json(new_workspace()).await;
    let key = text(&made["default_key"]["key"]);
    assert_eq!(program.list_posts(&key).await.status, 200);
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(TcpStream::connect(program.data()).await.unwrap());
    }
    // The operator is not kept out, and the store has what it needs.
    let made = program.admin_json(new_workspace()).await;
    let second = text(&made["default_key"]["key"]);
    drop(held);
    assert_eq!(program.list_posts(&second).await.status, 200);
    let (ended, said) = program.end_by("TERM").await;
    assert!(ended.success(), "{said}");
    assert!(said.contains("few files may be open"), "{said}");
    assert!(!said.contains("cannot accept connections"), "there was always one left: {said}");
}

#[tokio::test]
async fn x08_a_daemon_with_little_memory_refuses_bodies_that_do_not_fit_and_goes_on() {
    const BODY_BYTES: usize = 1 << 20;
    const CALLS: usize = 40;
    let dir = configured();
    let program = limited(dir.path(), "-v 1572864").await;
    let mut keys = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let made = program.admin_json(new_workspace()).await;
        let key = text(&made["default_key"]["key"]);
        let head = format!(
            "POST /api/mcp-app HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        // All of a body but its last byte.
        let begun = [head.into_bytes(), vec![b' '; BODY_BYTES - 1]].concat();
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let (begun, mut stream) = (begun.clone(), TcpStream::connect(program.data()).await.unwrap());
            calls.spawn(async move {
                // Who is refused may be told so before all was sent.
                let _ = stream.write_all(&begun).await;
                let mut answer = vec![0; 64];
                let read = stream.read(&mut answer).await.unwrap_or(0);
                String::from_utf8_lossy(&answer[..read]).into_owned()
            });
        }
        let answer = timeout(PATIENCE, calls.join_next()).await.expect("some find no room").unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        keys.push(key);
        waiting.push(calls);
    }
    // While all that is waiting, others are served.
    for key in &keys {
        assert_eq!(program.list_posts(key).await.status, 200);
    }
    drop(waiting);
    let made = program.admin_json(new_workspace()).await;
    assert_eq!(program.list_posts(&text(&made["default_key"]["key"])).await.status, 200);
    let (ended, said) = program.end_by("TERM").await;
    assert!(ended.success(), "{said}");
}

#[tokio::test]
async fn x05_bodies_without_end_are_refused_at_the_bound() {
    let edits = &[("max_body = \"1MiB\"", "max_body = \"16KiB\"")];
    let daemon = Daemon::start_with(Options { edits, ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let head = |framing: &str| {
        format!(
            "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{framing}\r\n\r\n",
            &*key.text
        )
    };
    let chunked = "Transfer-Encoding: chunked";
    let large = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    for (told, framing, piece) in [
        ("1 GiB", "Content-Length: 1073741824", "x".repeat(1 << 16)),
        ("endless", chunked, large),
        ("chunks of one byte", chunked, "1\r\nx\r\n".repeat(1 << 14)),
        ("chunks with extensions", chunked, format!("1;{}\r\nx\r\n", "e".repeat(64)).repeat(1 << 10)),
    ] {
        let stream = TcpStream::connect(daemon.data()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let head = head(framing);
        let sending = tokio::spawn(async move {
            let mut sent = writing.write_all(head.as_bytes()).await;
            // Far more than any bound; an answer stops it before.
            for _ in 0..20_000 {
                if sent.is_err() {
                    return;
                }
                sent = writing.write_all(piece.as_bytes()).await;
            }
        });
        let mut answer = vec![0; 64];
        let read = timeout(2 * PATIENCE, reading.read(&mut answer)).await;
        let read = read.unwrap_or_else(|_| panic!("{told}: no answer")).unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 400 "),
            "{told}: {answer}"
        );
        drop(reading);
        sending.abort();
        daemon.is_well(&key).await;
    }
    let mut connection = Connection::open(daemon.data()).await.unwrap();
    assert_eq!(connection.call(&Call::get("/v1/posts").bearer(&key.text)).await.status, 200);
    daemon.finish().await;
}
