//! The real binary: what a newcomer starts, what a kill leaves, what stands in its files and its log.
//!
//! [`Program`] is the harness's, for all who need a process.
//!
//! Never here: anything that a daemon inside the test's process can show as well.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::daemon::Hidden;
pub(crate) use crate::harness::program::{
    Program, command, configured, files_under, new_workspace, run, saved, text,
};
use crate::wire::{Call, Connection, call_once};

#[tokio::test]
async fn a_demo_says_where_it_is_and_its_key_works_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--data", "demo", "--port", "0", "--json"];
    let mut first_key = None;
    for _ in 0..2 {
        let demo = Program::start(dir.path(), &arguments).await;
        let key = Hidden(text(&demo.announced["keys"]["socialcrm"]));
        let admin_key = Hidden(text(&demo.announced["admin_key"]));
        let mut members: Vec<_> = demo.announced.as_object().unwrap().keys().cloned().collect();
        members.sort_unstable();
        assert_eq!(members, ["admin", "admin_key", "keys", "surfaces"]);
        assert_eq!(
            *first_key.get_or_insert_with(|| key.clone()),
            key,
            "a demo that forgets its keys is useless"
        );
        assert_eq!(demo.list_posts(&key).await.status, 200);
        let paid = Call::post("/v1/ai/rewrite", &json!({"text": "a", "tone": "b"})).bearer(&key);
        assert_eq!(call_once(demo.data, &paid).await.status, 200, "it is on the best plan");
        let tools = Call::rpc(&json!({"jsonrpc": "2.0", "id": "1", "method": "tools/list"})).bearer(&key);
        assert_eq!(
            call_once(demo.data, &tools).await.json()["result"]["tools"].as_array().unwrap().len(),
            20
        );
        for (product, call) in
            [("mcp-cloud", Call::get("/v1/models")), ("shingleai", crate::products::list_tools_at_mcp())]
        {
            let key = Hidden(text(&demo.announced["keys"][product]));
            let url = text(&demo.announced["surfaces"][product]);
            let address = url.strip_prefix("http://").unwrap().parse().unwrap();
            let refused = call_once(address, &call).await;
            assert_eq!(refused.status, 401, "{product}: {refused:?}");
            let answer = call_once(address, &call.bearer(&key)).await;
            assert_eq!(answer.status, 200, "{product}: {answer:?}");
        }
        let workspaces = call_once(demo.admin, &Call::get("/api/v1/workspaces").bearer(&admin_key)).await;
        assert_eq!((workspaces.status, &workspaces.json()["total"]), (200, &json!(3)));
        let (ended, said) = demo.end_by("TERM").await;
        assert_eq!(ended.code(), Some(0), "{said}");
        for hidden in [&key, &admin_key] {
            assert!(!said.contains(&hidden[8..]), "the log shows a key");
        }
    }
    let key = first_key.unwrap();
    for file in files_under(&dir.path().join("demo")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{name}");
        let may_hold = name == "keys.json" || name == "admin.key";
        assert!(may_hold || !crate::stored::file_holds(&file, &key[16..38]), "{name} holds a secret");
    }
    assert_eq!(dir.path().join("demo").metadata().unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn both_signals_end_it_well_with_a_client_connected() {
    for signal in ["TERM", "INT"] {
        let dir = configured();
        let daemon = Program::serve(dir.path()).await;
        let made = daemon.admin_json(new_workspace()).await;
        let key = text(&made["default_key"]["key"]);
        let mut connection = Connection::open(daemon.data).await.unwrap();
        assert_eq!(connection.call(&Call::get("/v1/posts").bearer(&key)).await.status, 200);
        let (ended, said) = daemon.end_by(signal).await;
        assert_eq!(ended.code(), Some(0), "{signal}: {said}");
        assert!(connection.is_closed().await, "{signal}");
    }
}

#[tokio::test]
async fn an_acknowledged_change_survives_kill_9() {
    let dir = configured();
    let mut daemon = Program::serve(dir.path()).await;
    let workspace = daemon.admin_json(new_workspace()).await;
    let id = text(&workspace["workspace"]["id"]);
    daemon.kill();
    let mut keys = vec![Hidden(text(&workspace["default_key"]["key"]))];
    let mut newest = String::new();
    for round in 0..5 {
        daemon = Program::serve(dir.path()).await;
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(daemon.list_posts(key).await.status, 200, "key {number} in round {round}");
        }
        let wanted = json!({"workspace_id": id, "permissions": ["posts:read"]});
        let made = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
        daemon.kill();
        keys.push(Hidden(text(&made["key"])));
        newest = text(&made["id"]);
    }
    daemon = Program::serve(dir.path()).await;
    let listed = daemon.admin_json(Call::get(&format!("/api/v1/keys?workspace_id={id}"))).await;
    assert_eq!(listed["total"], keys.len());
    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    // The admin keys' workspace, this one, and each key: one row for each change and none for a start.
    assert_eq!(audit["data"].as_array().unwrap().len(), 2 + 5);
    // Not the last that is listed: a start goes on from the clock's mark, and two starts within its two seconds go
    // on from the same one.
    let path = format!("/api/v1/keys/{newest}");
    daemon.admin_json(Call::post(&format!("{path}/revoke"), &json!({}))).await;
    daemon.kill();
    daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.admin_json(Call::get(&path)).await["status"], "revoked");
    assert_eq!(daemon.list_posts(keys.last().unwrap()).await.status, 401);
    let suspend = json!({"status": "suspended"});
    daemon.admin_json(Call::new("PATCH", &format!("/api/v1/workspaces/{id}")).json(&suspend)).await;
    daemon.kill();
    daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.list_posts(&keys[0]).await.status, 401);
    daemon.kill();
}

#[tokio::test]
async fn the_audit_log_is_checked_with_a_daemon_and_without_one_and_the_exit_code_tells() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    daemon.admin_json(new_workspace()).await;
    let admin = format!("http://{}", daemon.admin);
    let asked = async |arguments: &[&str]| {
        let (dir, arguments) = (dir.path().to_owned(), arguments.iter().map(ToString::to_string));
        let arguments: Vec<_> = std::iter::once("verify-audit".to_owned()).chain(arguments).collect();
        let run = move || run(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let key_file = ["--admin", &admin, "--admin-key-file", "admin.key"];
    let (code, out, err) = asked(&key_file).await;
    assert!(code == Some(0) && out.starts_with("the audit log is whole: 2 rows\n"), "{out} {err}");
    let anchor = out.lines().find_map(|line| line.strip_prefix("newest row: ")).unwrap().to_owned();
    // The file is the daemon's, so it would be asked; the configuration names no port to ask at.
    let (code, _, err) = asked(&["--config", "keyward.toml"]).await;
    assert!(code == Some(3) && err.contains("The daemon at http://127.0.0.1:0 is asked."), "{err}");
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");

    for place in [["--data", "data"], ["--config", "keyward.toml"]] {
        let (code, out, err) = asked(&[&place[..], &["--anchor", &anchor]].concat()).await;
        assert!(code == Some(0) && out.contains(&anchor), "{out} {err}");
    }
    crate::stored::edit_audit_row(&dir.path().join("data/keyward.redb"), 1);
    let (code, out, err) = asked(&["--data", "data"]).await;
    assert!(code == Some(1) && out.contains("row 1 is not what was written there"), "{out} {err}");
    assert!(err.contains("1 problem"), "{err}");
    let (code, out, _) = asked(&["--data", "data", "--json"]).await;
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["whole"]), (Some(1), &json!(false)));
    assert_eq!(asked(&["--data", "nowhere"]).await.0, Some(1));
    assert_eq!(asked(&["--data", "data", "--anchor", "x"]).await.0, Some(2));
}

#[tokio::test]
async fn counters_come_back_after_kill_9_as_of_the_last_checkpoint() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let workspace = daemon.admin_json(new_workspace()).await;
    let id = text(&workspace["workspace"]["id"]);
    // So slow that no token comes back while this test runs.
    let rate = json!({"limit": 10, "window_s": 2_678_400});
    let wanted = json!({"workspace_id": id, "permissions": ["*:*"], "rate": rate});
    let key = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
    let (key_path, meters) =
        (format!("/api/v1/keys/{}", text(&key["id"])), format!("/api/v1/workspaces/{id}/meters"));
    let ask = json!({"key": key["key"], "permission": "ai:generate"});
    let used = async |daemon: &Program| {
        daemon.admin_json(Call::get(&meters)).await["data"][0]["used"].as_u64().unwrap()
    };
    for _ in 0..3 {
        assert_eq!(daemon.admin_json(Call::post("/api/v1/verify", &ask)).await["code"], "valid");
    }
    saved(&daemon).await;
    let last_used_at = daemon.admin_json(Call::get(&key_path)).await["last_used_at"].clone();
    assert!(last_used_at.is_string());
    // Whether this one is saved before the kill is not promised.
    assert_eq!(daemon.admin_json(Call::post("/api/v1/verify", &ask)).await["code"], "valid");
    let latest = daemon.admin_json(Call::get(&key_path)).await["last_used_at"].clone();
    daemon.kill();

    let daemon = Program::serve(dir.path()).await;
    let (known, after) =
        (used(&daemon).await, daemon.admin_json(Call::get(&key_path)).await["last_used_at"].clone());
    assert!(known == 3 || known == 4, "{known} of 3 saved and 1 in doubt");
    assert!(after == last_used_at || after == latest, "{after} is neither {last_used_at} nor {latest}");
    let rehearsed = daemon.admin_json(Call::post("/api/v1/verify", &ask)).await;
    let left = rehearsed["remaining"].as_u64().unwrap();
    assert!(left == 5 || left == 6, "{left} left of 10 after 3 saved, 1 in doubt, 1 now");
    daemon.kill();
}

#[tokio::test]
async fn a_second_daemon_on_the_same_files_is_refused_and_the_first_goes_on() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let key = Hidden(text(&daemon.admin_json(new_workspace()).await["default_key"]["key"]));
    let (code, out, said) = run(dir.path(), &["serve", "--config", "keyward.toml", "--json"]);
    assert!(code.is_some_and(|code| code != 0) && out.is_empty(), "{code:?} {out} {said}");
    assert!(said.contains("keyward.redb") && said.contains("process"), "{said}");
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let (ended, _) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_taken_port_an_open_file_and_a_bad_configuration_are_told_plainly() {
    let dir = configured();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = std::fs::read_to_string(dir.path().join("keyward.toml")).unwrap();
    std::fs::write(dir.path().join("taken.toml"), config.replacen("127.0.0.1:0", &address, 1)).unwrap();
    let (code, out, said) = run(dir.path(), &["serve", "--config", "taken.toml", "--json"]);
    assert!(
        code.is_some_and(|code| code != 0) && out.is_empty() && said.contains(&address),
        "{code:?} {out} {said}"
    );

    Program::serve(dir.path()).await.kill();
    let store = dir.path().join("data/keyward.redb");
    std::fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (code, _, said) = run(dir.path(), &["serve", "--config", "keyward.toml"]);
    assert!(code.is_some_and(|code| code != 0) && said.contains("600"), "{code:?} {said}");

    std::fs::write(
        dir.path().join("bad.toml"),
        format!("{config}\n[cache]\nproofs_max = -1\nunknown_name = 1\n"),
    )
    .unwrap();
    let (code, out, said) = run(dir.path(), &["check", "--config", "bad.toml"]);
    let told = out + &said;
    assert!(
        code == Some(1) && told.contains("proofs_max") && told.contains("unknown_name"),
        "{code:?} {told}"
    );
    let (code, out, said) = run(dir.path(), &["check", "--config", "keyward.toml"]);
    assert_eq!(code, Some(0), "{out}{said}");
}

#[tokio::test]
async fn a_key_is_made_used_and_revoked_from_a_shell() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let admin = format!("http://{}", daemon.admin);
    let shell = |arguments: &[&str]| {
        let reach = ["--json", "--admin", &admin, "--config", "keyward.toml"];
        let whole: Vec<_> = arguments.iter().copied().chain(reach).collect();
        let (code, out, said) = run(dir.path(), &whole);
        (code, serde_json::from_str::<Value>(&out).unwrap_or_default(), said)
    };
    let (code, made, said) =
        shell(&["workspace", "create", "--name", "Acme", "--profile", "socialcrm", "--plan", "free"]);
    assert_eq!(code, Some(0), "{said}");
    let id = text(&made["workspace"]["id"]);
    let (code, key, said) = shell(&["key", "create", "--workspace", &id, "--permission", "posts:read"]);
    assert_eq!(code, Some(0), "{said}");
    let (key_id, key) = (text(&key["id"]), Hidden(text(&key["key"])));
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let (code, shown, _) = shell(&["key", "show", &key_id]);
    assert_eq!((code, &shown["status"]), (Some(0), &json!("active")));
    let (code, _, _) = shell(&["key", "revoke", &key_id]);
    assert_eq!(code, Some(0));
    assert_eq!(daemon.list_posts(&key).await.status, 401);
    let (code, _, said) = shell(&["key", "create", "--workspace", &id, "--permission", "posts:fly"]);
    assert!(code.is_some_and(|code| code != 0) && said.contains("posts:fly"), "{code:?} {said}");
    let (ended, _) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn b08_what_is_sent_after_a_revoke_that_a_stopped_process_answered_late_is_refused() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let made = daemon.admin_json(new_workspace()).await;
    let workspace = text(&made["workspace"]["id"]);
    for round in 0..5 {
        let wanted = json!({"workspace_id": workspace, "permissions": ["*:*"]});
        let key = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
        let call = Call::get("/v1/posts").bearer(key["key"].as_str().unwrap());
        let mut connections = Vec::new();
        for _ in 0..8 {
            let mut connection = Connection::open(daemon.data).await.unwrap();
            // Warm half the time.
            if round % 2 == 0 {
                assert_eq!(connection.call(&call).await.status, 200);
            }
            connections.push(connection);
        }
        let path = format!("/api/v1/keys/{}/revoke", text(&key["id"]));
        let revoke = Call::post(&path, &json!({})).bearer(&daemon.admin_key);
        let mut admin = Connection::open(daemon.admin).await.unwrap();

        daemon.signal("STOP");
        // Half of these lie in the kernel before the revoke does, half behind it.
        for (number, connection) in connections.iter_mut().enumerate() {
            if number == 4 {
                admin.send(&revoke.bytes(daemon.admin)).await;
            }
            connection.send(&call.bytes(daemon.data)).await;
        }
        daemon.signal("CONT");
        assert_eq!(admin.answer_to("POST").await.status, 200);
        // Acknowledged. What is sent from here on lies in the kernel of a stopped process once more.
        daemon.signal("STOP");
        for connection in &mut connections {
            connection.send(&call.bytes(daemon.data)).await;
        }
        daemon.signal("CONT");
        for connection in &mut connections {
            // An answer that was under way when the revoke landed is cut off, and the connection with it.
            let Some(queued) = connection.answer_unless_cut("GET").await else { continue };
            assert!(matches!(queued.status, 200 | 401), "{queued:?}");
            // A refusal of a whole request keeps the connection.
            assert_eq!(connection.answer_to("GET").await.status, 401, "round {round}");
        }
    }
    let default_key = Hidden(text(&made["default_key"]["key"]));
    assert_eq!(daemon.list_posts(&default_key).await.status, 200);
}
