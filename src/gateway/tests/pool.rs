//! Which connection an exchange gets: the one that was used last, if nothing about it is in doubt.
//!
//! Each upstream here is told connection by connection what to say, so that a request on another connection than the
//! one that the test listens on is seen as one that does not come.
//!
//! Never here: what is said over a connection (`attacks` has it).

use super::*;

/// Takes one request without a body and says `piece`.
async fn take_and_say(stream: &mut DuplexStream, piece: &[u8]) {
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
    stream.write_all(piece).await.unwrap();
}

/// Has `/a` asked for and answered over this connection.
async fn over(stream: &mut DuplexStream, upstream: &Upstream) {
    let (answer, ()) = tokio::join!(upstream.forward(granted(), get("/a")), take_and_say(stream, OK));
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
}

/// Has it asked for and answered over a new connection.
async fn over_new(arriving: &mut mpsc::Receiver<DuplexStream>, upstream: &Upstream) -> DuplexStream {
    let taken = async {
        let mut stream = arriving.recv().await.unwrap();
        take_and_say(&mut stream, OK).await;
        stream
    };
    let (answer, stream) = tokio::join!(upstream.forward(granted(), get("/a")), taken);
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
    stream
}

async fn sees_its_end(mut stream: DuplexStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_connection_serves_one_exchange_after_the_other_and_the_last_used_first() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let mut first = over_new(&mut arriving, &upstream).await;
    for _ in 0..3 {
        over(&mut first, &upstream).await;
    }
    // While it is taken there is another one.
    let held = tokio::spawn({
        let upstream = upstream.clone();
        async move { text(upstream.forward(granted(), get("/held")).await.unwrap()).await.unwrap() }
    });
    let mut begun = [0; 16];
    first.read_exact(&mut begun).await.unwrap();
    let mut second = over_new(&mut arriving, &upstream).await;
    over(&mut second, &upstream).await;
    take_and_say(&mut first, OK).await;
    assert_eq!(held.await.unwrap(), "ok");
    over(&mut first, &upstream).await;
    assert!(arriving.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_is_free_again_behind_a_body_that_came_in_pieces() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let mut stream = over_new(&mut arriving, &upstream).await;
    for (head, pieces) in [
        ("content-length: 6", ["abc", "def"]),
        ("transfer-encoding: chunked", ["3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"]),
    ] {
        let said = async {
            take_and_say(&mut stream, format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).await;
            for piece in pieces {
                tokio::task::yield_now().await;
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
        };
        let asked = async { text(upstream.forward(granted(), get("/a")).await.unwrap()).await };
        assert_eq!(tokio::join!(asked, said).0.unwrap(), "abcdef", "{head}");
        over(&mut stream, &upstream).await;
    }
}

#[tokio::test]
async fn a_connection_whose_answer_was_left_in_the_middle_is_nobodys() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let mut stream = over_new(&mut arriving, &upstream).await;
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";
    let (answer, ()) = tokio::join!(upstream.forward(granted(), get("/a")), take_and_say(&mut stream, begun));
    drop(answer.unwrap());
    sees_its_end(stream).await;
    // Nor is one whose answer nobody waited for.
    let mut stream = over_new(&mut arriving, &upstream).await;
    let asking = tokio::spawn({
        let upstream = upstream.clone();
        async move { upstream.forward(granted(), get("/a")).await.map(drop) }
    });
    stream.read_exact(&mut [0; 16]).await.unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    over_new(&mut arriving, &upstream).await;
}

#[tokio::test]
async fn a_connection_that_ended_or_spoke_unasked_is_not_used_again() {
    let poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    drop(over_new(&mut arriving, &upstream).await);
    let mut stream = over_new(&mut arriving, &upstream).await;
    stream.write_all(poison).await.unwrap();
    let mut other = over_new(&mut arriving, &upstream).await;
    sees_its_end(stream).await;
    let closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let (answer, ()) =
        tokio::join!(upstream.forward(granted(), get("/a")), take_and_say(&mut other, closing));
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
    sees_its_end(other).await;
    over_new(&mut arriving, &upstream).await;
}

#[tokio::test]
async fn no_more_connections_are_kept_than_may_be() {
    for (kept, new) in [(0, 2), (1, 1), (2, 0)] {
        let options = UpstreamOptions { idle_connections_max: kept, ..UpstreamOptions::default() };
        let (upstream, mut arriving) = in_memory(options);
        let mut streams = Vec::new();
        let mut asking = JoinSet::new();
        for _ in 0..2 {
            let upstream = upstream.clone();
            asking.spawn(async move { upstream.forward(granted(), get("/a")).await.map(drop) });
            streams.push(arriving.recv().await.unwrap());
        }
        for stream in &mut streams {
            take_and_say(stream, OK).await;
        }
        while let Some(asked) = asking.join_next().await {
            asked.unwrap().unwrap();
        }
        let both = [upstream.forward(granted(), get("/b")), upstream.forward(granted(), get("/b"))];
        let [one, two] = both;
        let served = async {
            let mut came = 0;
            let mut open = JoinSet::new();
            for mut stream in streams {
                open.spawn(async move {
                    let mut got = Vec::new();
                    while !got.ends_with(b"\r\n\r\n") && stream.read_buf(&mut got).await.unwrap() > 0 {}
                    if !got.is_empty() {
                        stream.write_all(OK).await.unwrap();
                    }
                });
            }
            for _ in 0..new {
                let mut stream = arriving.recv().await.unwrap();
                came += 1;
                open.spawn(async move { take_and_say(&mut stream, OK).await });
            }
            open.join_all().await;
            came
        };
        let (one, two, came) = tokio::join!(one, two, served);
        assert!(one.is_ok() && two.is_ok() && came == new && arriving.try_recv().is_err(), "{kept} kept");
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_in_its_time() {
    let options = UpstreamOptions { idle_max: Duration::from_millis(40), ..UpstreamOptions::default() };
    let (upstream, mut arriving) = in_memory(options);
    sees_its_end(over_new(&mut arriving, &upstream).await).await;
    // And again, after there was none.
    sees_its_end(over_new(&mut arriving, &upstream).await).await;
    let kept = over_new(&mut arriving, &upstream).await;
    drop(upstream);
    sees_its_end(kept).await;
}

#[tokio::test]
async fn an_answer_that_comes_before_its_request_has_gone_stops_neither() {
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let (address, near_end, near) = gate(upstream.clone()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await
        .unwrap();
    let mut far = arriving.recv().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"3\r\nabc\r\n") {
        assert!(far.read_buf(&mut got).await.unwrap() > 0);
    }
    far.write_all(OK).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nok") {
        assert!(client.read_buf(&mut seen).await.unwrap() > 0);
    }
    client.write_all(b"3\r\ndef\r\n0\r\n\r\n").await.unwrap();
    while !got.ends_with(b"3\r\ndef\r\n0\r\n\r\n") {
        assert!(far.read_buf(&mut got).await.unwrap() > 0);
    }
    // That connection is done, and the client's goes on.
    sees_its_end(far).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    take_and_say(&mut arriving.recv().await.unwrap(), OK).await;
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    near_end.cancel();
    near.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_streams_while_its_request_is_still_sent_waits_for_nobody_to_be_read() {
    const BYTES: usize = 90_000;
    let (upstream, mut arriving) = in_memory(UpstreamOptions::default());
    let (address, near_end, near) = gate(upstream.clone()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {BYTES}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut far = arriving.recv().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        assert!(far.read_buf(&mut got).await.unwrap() > 0);
    }
    far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    // Until every buffer between here and the client, who reads nothing, is full.
    let chunk = [&b"2000\r\n"[..], &[b'x'; 0x2000], b"\r\n"].concat();
    let (mut written, mut chunks) = (0, 0);
    while let Ok(more) = tokio::time::timeout(Duration::from_millis(300), far.write(&chunk[written..])).await
    {
        written += more.unwrap();
        if written == chunk.len() {
            (written, chunks) = (0, chunks + 1);
        }
    }
    let body = vec![b'y'; BYTES];
    client.write_all(&body).await.unwrap();
    let mut came = vec![0; BYTES];
    far.read_exact(&mut came).await.unwrap();
    assert_eq!(came, body);
    let ending = async {
        far.write_all(&chunk[written..]).await.unwrap();
        far.write_all(b"0\r\n\r\n").await.unwrap();
        far
    };
    let mut seen = Vec::new();
    let (far, read) = tokio::join!(ending, client.read_to_end(&mut seen));
    read.unwrap();
    assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n") && seen.ends_with(b"\r\n0\r\n\r\n"));
    let came = memchr::memchr_iter(b'x', &seen).count();
    assert!(came >= (chunks + 1) * 0x2000, "{came} of {chunks} chunks");
    sees_its_end(far).await;
    near_end.cancel();
    near.await.unwrap();
}
