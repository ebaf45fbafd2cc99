//! A process for each session.
//!
//! Never here: a server that is shared, but by the modern era.

use super::*;

fn start(most: usize, idle_max: Duration) -> Served {
    Served::start("", Processes::Sessions { most, idle_max }, "sh")
}

async fn open(served: &Served) -> String {
    let greeted = served.post(&KEYED, &initialize("1", "2025-06-18")).await;
    assert_eq!(greeted.status, 200, "{greeted:?}");
    greeted.headers[SESSION_ID].to_str().unwrap().to_owned()
}

/// What the gate sends for a client with a key.
const KEYED: [(&str, &str); 2] = [BOTH[0], (KEY_ID, "key_1")];

fn within(session: &str) -> [(&'static str, &str); 2] {
    [BOTH[0], ("mcp-session-id", session)]
}

const LONG: Duration = Duration::from_mins(30);

#[tokio::test]
async fn each_session_has_its_own_process_until_it_is_deleted() {
    let served = start(2, LONG);
    let (one, two) = (open(&served).await, open(&served).await);
    assert!(one != two && one.len() == 64);
    let pid = |session: String| {
        let served = &served;
        async move { served.post(&within(&session), &call("1", "pid", "")).await.tool_text() }
    };
    let (first, second) = (pid(one.clone()).await, pid(two.clone()).await);
    assert_ne!(first, second);
    assert_eq!(pid(one.clone()).await, first);
    // Two are open, and no more may be.
    assert_eq!(served.post(&KEYED, &initialize("1", "2025-06-18")).await.error(), (503, -32603));
    assert_eq!(served.call("DELETE", &within(&one), "").await.status, 204);
    assert_eq!(served.post(&within(&one), &call("1", "pid", "")).await.error(), (404, -32001));
    assert_eq!(served.call("GET", &within(&one), "").await.status, 404);
    served.until_noted(&format!("end {first}")).await;
    assert_eq!(pid(two).await, second);
    assert_eq!(served.post(BOTH, &call("1", "pid", "")).await.error(), (400, -32600));
    served.finish().await;
}

#[tokio::test]
async fn clients_without_a_key_take_a_quarter_of_the_processes_until_a_key_uses_them() {
    let served = start(8, LONG);
    let first = served.post(BOTH, &initialize("1", "2025-06-18")).await;
    assert_eq!(served.post(BOTH, &initialize("1", "2025-06-18")).await.status, 200);
    assert_eq!(served.post(BOTH, &initialize("1", "2025-06-18")).await.error(), (503, -32603));
    open(&served).await;
    // A key goes on with the first one: it is nobody's no more.
    let used = [BOTH[0], (KEY_ID, "key_1"), ("mcp-session-id", first.headers[SESSION_ID].to_str().unwrap())];
    assert_eq!(served.post(&used, &call("1", "pid", "")).await.status, 200);
    assert_eq!(served.post(BOTH, &initialize("1", "2025-06-18")).await.status, 200);
    served.finish().await;
}

#[tokio::test]
async fn messages_go_as_they_came_and_so_do_the_servers() {
    let served = start(2, LONG);
    let session = open(&served).await;
    let text = r#"{"jsonrpc":"2.0","method":"notifications/own","params":{"x":1.50,"requestId":"r"}}"#;
    assert_eq!(served.post(&within(&session), text).await.status, 202);
    assert_eq!(served.until_noted("notifications/own").await, text);
    // The server asks on the stream of the one request that is under way, and hears the answer.
    let (_, (mut body, _connection)) =
        served.send("POST", &within(&session), &call("\"a\"", "ask", "")).await.into_parts();
    let asked = read_until(&mut body, "\n\n").await;
    assert!(asked.contains(r#""id":"q","method":"sampling/createMessage""#), "{asked}");
    let same = served.post(&within(&session), &call("\"\\u0061\"", "pid", "")).await;
    assert_eq!(same.error(), (400, -32600), "an id that is under way");
    let answer = r#"{"jsonrpc":"2.0","id":"q","result":{"role":"assistant"}}"#;
    assert_eq!(served.post(&within(&session), answer).await.status, 202);
    let rest = read_until(&mut body, "\n\n").await;
    assert!(rest.contains(r#""id":"a""#) && rest.contains("asked"), "{rest}");
    assert_eq!(served.until_noted("\"q\"").await, answer);
    served.finish().await;
}

#[tokio::test]
async fn what_belongs_to_no_request_waits_for_the_stream() {
    let served = start(2, LONG);
    let session = open(&served).await;
    let change = r#"{"jsonrpc":"2.0","method":"notifications/change"}"#;
    served.post(&within(&session), change).await;
    // Once this is answered the server has changed; one that took events would have been told itself.
    served.post(&[("mcp-session-id", session.as_str())], &call("1", "pid", "")).await;
    let (head, (mut body, connection)) = served.send("GET", &within(&session), "").await.into_parts();
    assert_eq!(head.status.as_u16(), 200);
    read_until(&mut body, "list_changed").await;
    assert_eq!(served.call("GET", &within(&session), "").await.status, 409);
    served.post(&within(&session), change).await;
    read_until(&mut body, "list_changed").await;
    // Another may listen once the first has gone.
    drop(body);
    connection.abort();
    let _ = connection.await;
    let (mut again, _connection) = loop {
        let (head, body) = served.send("GET", &within(&session), "").await.into_parts();
        if head.status == StatusCode::OK {
            break body;
        }
        assert_eq!(head.status, StatusCode::CONFLICT);
    };
    served.post(&within(&session), change).await;
    read_until(&mut again, "list_changed").await;
    // It ends with its session.
    assert_eq!(served.call("DELETE", &within(&session), "").await.status, 204);
    assert!(tokio::time::timeout(PATIENCE, again.collect()).await.is_ok());
    served.finish().await;
}

#[tokio::test]
async fn an_idle_session_ends_and_one_that_listens_does_not() {
    let served = start(2, Duration::from_millis(300));
    let (idle, listening) = (open(&served).await, open(&served).await);
    let (_, (mut body, _connection)) = served.send("GET", &within(&listening), "").await.into_parts();
    read_until(&mut body, ":\n\n").await;
    let pid = served.post(&within(&idle), &call("1", "pid", "")).await.tool_text();
    served.until_noted(&format!("end {pid}")).await;
    assert_eq!(served.post(&within(&idle), &call("1", "pid", "")).await.error(), (404, -32001));
    assert_eq!(served.post(&within(&listening), &call("1", "pid", "")).await.status, 200);
    served.finish().await;
}

#[tokio::test]
async fn a_session_ends_with_its_process() {
    let served = start(2, LONG);
    let session = open(&served).await;
    let died = served.post(&within(&session), &call("\"d\"", "die", "")).await;
    assert_eq!((died.error(), died.json()["id"].as_str()), ((502, -32603), Some("d")));
    assert_eq!(served.post(&within(&session), &call("1", "pid", "")).await.error(), (404, -32001));
    assert_eq!(served.post(&within(&open(&served).await), &call("1", "pid", "")).await.status, 200);
    served.finish().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_opens_no_session() {
    let processes = Processes::Sessions { most: 1, idle_max: LONG };
    for (mode, command) in [("", "keyward-no-such-command"), ("broken", "sh"), ("modern", "sh")] {
        let served = Served::start(mode, processes, command);
        // Each leaves its place to the next.
        for _ in 0..2 {
            let refused = loop {
                let refused = served.post(BOTH, &initialize("1", "2025-06-18")).await;
                if refused.status != 503 {
                    break refused;
                }
            };
            let expected = if mode == "modern" { (200, -32022) } else { (502, -32603) };
            assert_eq!(refused.error(), expected, "{mode} {command}");
            assert!(!refused.headers.contains_key(SESSION_ID));
        }
        served.finish().await;
    }
}

#[tokio::test]
async fn modern_messages_have_a_process_and_no_session() {
    let processes = Processes::Sessions { most: 1, idle_max: LONG };
    let served = Served::start("modern", processes, "sh");
    let meta = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let answer = served.post(BOTH, &call("1", "pid", meta)).await;
    assert!(answer.status == 200 && !answer.headers.contains_key(SESSION_ID));
    served.finish().await;
}
