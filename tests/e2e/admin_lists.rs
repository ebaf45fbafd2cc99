//! What the admin API shows: lists in pages, a key once, a row of the audit log for each change.
//!
//! Never here: a change that is refused for its fields.

use serde_json::json;

use crate::admin_input::{check_problem, in_workspace};
use crate::daemon::Daemon;
use crate::wire::Call;

#[tokio::test]
async fn a_list_is_paged_within_its_bounds_and_in_a_stable_order() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    for _ in 0..24 {
        daemon.advance_secs(1);
        daemon.key_for(&workspace, &["posts:read"]).await;
    }
    let ids = async |query: &str| {
        let listed = daemon.admin_json(Call::get(&format!("/api/v1/keys{query}"))).await;
        assert_eq!(listed["total"], 25, "{query}");
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = ids("?limit=100").await;
    assert_eq!(all.len(), 25);
    assert_eq!(ids("").await, all[..20]);
    assert_eq!(ids("?limit=1").await, all[..1]);
    assert_eq!(ids("?limit=10&offset=20").await, all[20..]);
    assert_eq!(ids("?offset=25").await, Vec::<String>::new());
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert!(sorted == all || sorted.iter().rev().eq(&all), "the order is not that of the ids");
    for query in [
        "?limit=0",
        "?limit=101",
        "?limit=-1",
        "?limit=1e1",
        "?limit=",
        "?limit",
        "?limit=+1",
        "?limit=99999999999999999999",
        "?limit=1&limit=1",
        "?offset=-1",
        "?offset=x",
        "?offset=99999999999999999999",
        "?page=1",
        "?Limit=1",
        "?status=gone",
        "?workspace_id=acme",
        "?limit[]=1",
    ] {
        for list in ["keys", "workspaces"] {
            let answer = daemon.admin(Call::get(&format!("/api/v1/{list}{query}"))).await;
            check_problem(query, &answer, 400, "");
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_list_is_narrowed_by_workspace_and_status() {
    let daemon = Daemon::start().await;
    let (ours, theirs) = (daemon.workspace("pro").await, daemon.workspace("pro").await);
    let revoked = daemon.key_for(&ours, &[]).await;
    daemon.revoke(&revoked).await;
    let expired = daemon.key(&ours, json!({"expires_at": daemon.in_secs(1)})).await;
    daemon.advance_secs(1);
    let ids = async |query: String| {
        let listed = daemon.admin_json(Call::get(&format!("/api/v1/keys?{query}"))).await;
        let data = listed["data"].as_array().unwrap().clone();
        assert_eq!(listed["total"], data.len(), "{query}");
        data.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let in_ours = format!("workspace_id={}", ours.id);
    assert_eq!(ids(format!("{in_ours}&status=active")).await, [&*ours.default_key.id]);
    assert_eq!(ids(format!("{in_ours}&status=revoked")).await, [revoked.id]);
    assert_eq!(ids(format!("{in_ours}&status=expired")).await, [expired.id]);
    assert_eq!(ids(in_ours).await.len(), 3);
    assert_eq!(ids(format!("workspace_id={}", theirs.id)).await, [theirs.default_key.id]);
    assert_eq!(ids("status=active".to_owned()).await.len(), 2);
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_never_to_be_stored() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let fields = json!({"name": "ci", "description": "builds", "permissions": ["posts:read"], "ip_allow": ["127.0.0.1", "10.0.0.0/8"],
        "expires_at": "2028-01-31T00:00:00Z", "rate": {"limit": 10, "window_s": 60}, "metadata": {"team": "a"}});
    let made = daemon.admin(Call::post("/api/v1/keys", &in_workspace(&workspace, &fields))).await;
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")));
    let mut made = made.json();
    let text = made.as_object_mut().unwrap().remove("key").unwrap();
    let text = text.as_str().unwrap();
    assert!(text.len() == 40 && text.starts_with("sk_live_") && made["prefix"] == text[8..16]);
    for (field, value) in fields.as_object().unwrap() {
        let shown = &made[field];
        let same = if field == "expires_at" {
            shown == "2028-01-31T00:00:00.000Z"
        } else if field == "rate" {
            shown["limit"] == 10
        } else {
            shown == value
        };
        assert!(same, "{field}: {shown}");
    }
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let shown = daemon.admin(Call::get(&path)).await;
    assert_eq!((shown.json(), shown.header("cache-control")), (made, Some("no-store")));
    let everywhere = [path, "/api/v1/keys".to_owned(), "/api/v1/audit".to_owned(), "/metrics".to_owned()];
    for place in everywhere {
        let answer = daemon.admin(Call::get(&place)).await;
        assert!(
            !answer.text().contains(&text[8..]) && !answer.text().contains("argon2"),
            "{place} shows a secret"
        );
    }
    daemon.finish().await;
}

#[tokio::test]
async fn each_change_has_one_audit_row_and_a_refused_one_has_none() {
    let daemon = Daemon::start().await;
    let rows =
        async || daemon.admin_json(Call::get("/api/v1/audit")).await["data"].as_array().unwrap().clone();
    let start = rows().await.len();
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    daemon.patch_key(&key, json!({"name": "x"})).await;
    let refused = daemon
        .admin(Call::new("PATCH", &format!("/api/v1/keys/{}", key.id)).json(&json!({"name": ""})))
        .await;
    assert_eq!(refused.status, 400);
    daemon.patch_workspace(&workspace, json!({"plan": "free"})).await;
    daemon.revoke(&key).await;
    daemon.revoke(&key).await;
    let rows = rows().await;
    let subjects: Vec<_> =
        rows[start..].iter().map(|row| row["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, [&workspace.id, &key.id, &key.id, &workspace.id, &key.id].map(String::clone));
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["seq"], place + 1);
    }
    daemon.finish().await;
}
