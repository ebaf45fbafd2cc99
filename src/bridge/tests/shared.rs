//! One process for everyone.
//!
//! Never here: a session.

use super::*;

const TOKEN: &str = r#","_meta":{"progressToken":"t"}"#;
const RELEASE: &str = r#"{"jsonrpc":"2.0","method":"notifications/release"}"#;

#[tokio::test]
async fn a_list_and_a_call_are_answered_under_the_clients_own_ids_and_every_member_stays() {
    let served = Served::shared("");
    let greeted = served.post(JSON, &initialize("\"i\"", "2025-06-18")).await;
    assert_eq!(
        greeted.text,
        r#"{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"2025-06-18","x":1.50,"capabilities":{"tools":{}},"serverInfo":{"name":"tiny","version":"1"}}}"#
    );
    assert!(!greeted.headers.contains_key(SESSION_ID));
    let told = served.post(JSON, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((told.status, told.text.as_str()), (202, ""));
    let list = served.post(BOTH, "{\"jsonrpc\":\"2.0\",\n\"id\":7,\r\n\"method\":\"tools/list\"}").await;
    assert_eq!(
        list.text,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"pid","x":1.50},{"name":"slow"},{"name":"hidden"}]}}"#
    );
    assert_eq!(list.headers["content-type"], "application/json");
    let pid = served.post(JSON, &call("1", "pid", "")).await.tool_text();
    assert_eq!(served.noted().first().unwrap(), &format!("start {pid}"));
    // An error of the server's is an answer in the legacy era.
    let none = served.post(JSON, r#"{"jsonrpc":"2.0","id":8,"method":"none"}"#).await;
    assert_eq!((none.error(), &none.json()["id"]), ((200, -32601), &serde_json::json!(8)));
    // The server was greeted once, and told so once.
    let initialized = served.noted().iter().filter(|line| line.contains("initialized")).count();
    assert_eq!(initialized, 1);
    served.finish().await;
}

#[tokio::test]
async fn a_client_is_greeted_in_its_version_or_in_the_servers() {
    let served = Served::shared("");
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("2024-10-07", "2025-11-25"),
        ("x", "2025-11-25"),
    ] {
        let greeted = served.post(JSON, &initialize("1", asked)).await;
        assert_eq!(greeted.json()["result"]["protocolVersion"], given, "{asked}");
    }
    served.finish().await;
}

#[tokio::test]
async fn progress_comes_before_the_end_and_to_its_client_alone() {
    let served = Served::shared("");
    let (head, (mut body, _connection)) =
        served.send("POST", BOTH, &call("\"s\"", "slow", TOKEN)).await.into_parts();
    assert_eq!(
        (head.status.as_u16(), &head.headers["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let begun = read_until(&mut body, "\n\n").await;
    assert!(begun.contains(r#""progressToken":"t""#), "{begun}");
    // The call is still under way while others are answered.
    assert_eq!(
        served.post(BOTH, &call("\"s\"", "pid", TOKEN)).await.headers["content-type"],
        "application/json"
    );
    assert_eq!(served.post(JSON, RELEASE).await.status, 202);
    let rest = body.collect().await.unwrap().to_bytes();
    let rest = std::str::from_utf8(&rest).unwrap();
    assert!(rest.contains(r#""id":"s""#) && rest.contains("released"), "{rest}");
    served.finish().await;
}

#[tokio::test]
async fn a_client_that_takes_only_json_gets_the_answer_as_json() {
    let served = Served::shared("");
    for accept in [JSON, &[("accept", "*/*")], &[]] {
        let calling = served.call("POST", accept, &CALL_SLOW);
        let releasing = async {
            // The server reads in order: once this is answered it has the call.
            while !served.post(JSON, RELEASE).await.text.is_empty() {}
        };
        let (answer, ()) = tokio::join!(calling, async {
            sleep_until_asked(&served).await;
            releasing.await;
        });
        assert_eq!(answer.headers["content-type"], "application/json", "{accept:?}");
        assert_eq!(answer.tool_text(), "released");
    }
    served.finish().await;
}

static CALL_SLOW: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| call("3", "slow", TOKEN));

/// Waits until the server has a request under way that this bridge knows of.
async fn sleep_until_asked(served: &Served) {
    let Legacy::Shared(lane) = &served.bridge.legacy else { panic!() };
    let up = lane.up(PATIENCE).await.unwrap();
    while up.link.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // It is in the pipe before whatever is said from now on.
    served.post(JSON, &call("4", "pid", "")).await;
}

#[tokio::test]
async fn a_client_that_leaves_has_its_request_cancelled() {
    let served = Served::shared("");
    let (_, (mut body, connection)) =
        served.send("POST", BOTH, &call("\"mine\"", "slow", TOKEN)).await.into_parts();
    let begun = read_until(&mut body, "\n\n").await;
    assert!(begun.contains("progress"), "{begun}");
    drop(body);
    connection.abort();
    let noted = served.until_noted("notifications/cancelled").await;
    assert!(noted.contains("\"requestId\":") && !noted.contains("mine"), "{noted}");
    served.finish().await;
}

#[tokio::test]
async fn a_client_cancels_its_own_request() {
    let served = Served::shared("");
    let headers = [BOTH[0], ("x-keyward-key-id", "key_1")];
    let (_, (mut body, _connection)) =
        served.send("POST", &headers, &call("\"mine\"", "slow", TOKEN)).await.into_parts();
    read_until(&mut body, "\n\n").await;
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mine","reason":"r1"}}"#;
    assert_eq!(served.post(&[("x-keyward-key-id", "key_2")], &cancel.replace("r1", "r0")).await.status, 202);
    assert_eq!(served.post(&headers, cancel).await.status, 202);
    served.until_noted("\"r1\"").await;
    assert!(!served.noted().iter().any(|line| line.contains("\"r0\"")), "another key's");
    served.finish().await;
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_the_next_request_served() {
    let served = Served::shared("");
    let first = served.post(JSON, &call("1", "pid", "")).await.tool_text();
    let (_, (mut body, _connection)) =
        served.send("POST", BOTH, &call("\"s\"", "slow", TOKEN)).await.into_parts();
    read_until(&mut body, "\n\n").await;
    rustix::process::kill_process(pid(&first), rustix::process::Signal::KILL).unwrap();
    // What was under way is answered honestly, at once.
    let told = read_until(&mut body, "\n\n").await;
    assert!(told.contains(r#""id":"s""#) && told.contains("-32603"), "{told}");
    let next = served.post(JSON, &call("2", "pid", "")).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_ne!(next.tool_text(), first);
    served.finish().await;
}

#[tokio::test]
async fn a_server_that_ends_in_a_call_is_a_502_and_is_back_for_the_next() {
    let served = Served::shared("");
    let died = served.post(JSON, &call("\"d\"", "die", "")).await;
    assert_eq!((died.error(), died.json()["id"].as_str()), ((502, -32603), Some("d")));
    assert_eq!(served.post(JSON, &call("2", "pid", "")).await.status, 200);
    served.finish().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_or_ends_at_once_is_a_502() {
    for (mode, command) in [("", "keyward-no-such-command"), ("broken", "sh")] {
        let served = Served::start(mode, Processes::Shared, command);
        let refused = served.post(JSON, &call("5", "pid", "")).await;
        assert_eq!((refused.error(), refused.json()["id"].as_i64()), ((502, -32603), Some(5)), "{command}");
        assert_eq!(served.post(JSON, &initialize("6", "2025-06-18")).await.status, 502, "{command}");
        served.finish().await;
    }
}

#[tokio::test]
async fn a_server_that_is_deaf_to_its_end_is_killed_with_what_it_started() {
    let served = Served::shared("deaf");
    assert_eq!(served.post(JSON, &call("1", "pid", "")).await.status, 200);
    served.until_noted("child").await;
    served.finish().await;
}

#[tokio::test]
async fn every_stream_hears_that_a_list_changed() {
    let served = Served::shared("");
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (head, mut body) = served.send("GET", BOTH, "").await.into_parts();
        assert_eq!(head.status.as_u16(), 200);
        read_until(&mut body.0, ":\n\n").await;
        streams.push(body);
    }
    served.post(JSON, r#"{"jsonrpc":"2.0","method":"notifications/change"}"#).await;
    for (mut body, _connection) in streams {
        let event = read_until(&mut body, "data").await;
        assert!(event.contains("tools/list_changed"), "{event}");
    }
    served.finish().await;
}

#[tokio::test]
async fn a_server_that_asks_hears_that_nobody_can_be_asked() {
    let served = Served::shared("");
    assert_eq!(served.post(BOTH, &call("1", "ask", "")).await.tool_text(), "asked");
    assert!(served.until_noted("\"q\"").await.contains("-32601"));
    served.finish().await;
}

#[tokio::test]
async fn a_server_of_the_modern_era_is_asked_in_it_and_answers_by_its_statuses() {
    let served = Served::shared("modern");
    let meta = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","own":{"x":1.50}}"#;
    assert_eq!(served.post(BOTH, &call("1", "pid", meta)).await.status, 200);
    let discovered = served.post(BOTH, r#"{"jsonrpc":"2.0","id":2,"method":"server/discover"}"#).await;
    assert_eq!(discovered.json()["result"]["supportedVersions"][0], "2026-07-28");
    let headers = [BOTH[0], ("mcp-protocol-version", "2026-07-28")];
    let none = served.post(&headers, r#"{"jsonrpc":"2.0","id":8,"method":"none"}"#).await;
    assert_eq!(none.error(), (404, -32601));
    assert_eq!(served.call("GET", &headers, "").await.status, 405);
    let legacy = served.post(JSON, &initialize("3", "2025-11-25")).await;
    assert_eq!(legacy.error(), (400, -32600));
    served.finish().await;
}

#[tokio::test]
async fn a_server_of_the_legacy_era_sends_modern_clients_to_the_handshake() {
    let served = Served::shared("");
    let meta = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    assert_eq!(served.post(BOTH, &call("1", "pid", meta)).await.error(), (400, -32600));
    let discovered = served.post(BOTH, r#"{"jsonrpc":"2.0","id":2,"method":"server/discover"}"#).await;
    assert_eq!(discovered.error(), (404, -32601));
    assert_eq!(served.post(JSON, &call("1", "pid", "")).await.status, 200);
    served.finish().await;
}

#[tokio::test]
async fn what_is_no_message_reaches_no_server() {
    let served = Served::shared("");
    for (body, refusal) in [
        ("{", (400, -32700)),
        ("[]", (400, -32600)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, (400, -32600)),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, (400, -32600)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n{}", (400, -32700)),
    ] {
        assert_eq!(served.post(JSON, body).await.error(), refusal, "{body}");
    }
    assert_eq!(served.call("PUT", JSON, "").await.status, 405);
    assert_eq!(served.call("DELETE", JSON, "").await.status, 405);
    assert_eq!(served.call("GET", JSON, "").await.status, 405);
    served.finish().await;
}

#[tokio::test]
async fn the_environment_is_what_was_configured_and_nothing_of_ours() {
    let served = Served::shared("");
    let seen = served.post(JSON, &call("1", "env", "")).await.tool_text();
    let names: Vec<_> = seen.split(';').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    // The shell adds some of its own.
    let foreign: Vec<_> = names
        .iter()
        .filter(|name| !["PATH", "TINY_LOG", "PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(names.contains(&"TINY_LOG") && foreign.is_empty(), "{names:?}");
    served.finish().await;
}
