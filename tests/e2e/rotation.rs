//! Rotation: a new secret at once, the old one for as long as its overlap and not a microsecond longer, with the
//! proof cached or not. Id, permissions, bucket and meters stay the key's own, and it is seen which secret is
//! still in use.
//!
//! Never here: a wait between the change and the request that must see it.

use serde_json::{Value, json};

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Hidden, Key, Options, ProofCache, Workspace, list_posts};
use crate::wire::{Answer, Call, call_once};

async fn try_rotate(daemon: &Daemon, key: &Key, overlap_secs: u64) -> Answer {
    let path = format!("/api/v1/keys/{}/rotate", key.id);
    daemon.admin(Call::post(&path, &json!({"overlap_s": overlap_secs}))).await
}

/// Rotates; gives the key under its new text, and the answer without it.
async fn rotate(daemon: &Daemon, key: &Key, overlap_secs: u64) -> (Key, Value) {
    let answer = try_rotate(daemon, key, overlap_secs).await;
    assert_eq!(answer.status, 200);
    let mut body = answer.json();
    let text = body.as_object_mut().unwrap().remove("key").unwrap().as_str().unwrap().to_owned();
    assert_ne!(text, key.text.0);
    (Key { id: key.id.clone(), text: Hidden(text) }, body)
}

async fn status_of(daemon: &Daemon, key: &Key) -> u16 {
    daemon.call(&list_posts(key)).await.status
}

/// `last_used_at` of each secret, the newest first.
async fn uses(daemon: &Daemon, key: &Key) -> Vec<Value> {
    let shown = daemon.show_key(key).await;
    shown["secrets"].as_array().unwrap().iter().map(|secret| secret["last_used_at"].clone()).collect()
}

const CACHES: [ProofCache; 2] = [ProofCache::On, ProofCache::Off];

/// A daemon, a workspace, and a key of it that was used before.
async fn warm(proof_cache: ProofCache) -> (Daemon, Workspace, Key) {
    let daemon = Daemon::start_with(Options { proof_cache, ..Options::default() }).await;
    let workspace = daemon.workspace("pro").await;
    let key =
        daemon.key(&workspace, json!({"permissions": ["posts:read", "ai:generate"], "name": "CI"})).await;
    assert_eq!(status_of(&daemon, &key).await, 200);
    (daemon, workspace, key)
}

#[tokio::test]
async fn b04_without_an_overlap_the_old_text_is_refused_on_the_next_request() {
    for proof_cache in CACHES {
        let (daemon, workspace, key) = warm(proof_cache).await;
        let mut open = daemon.connect().await;
        assert_eq!(open.call(&list_posts(&key)).await.status, 200);
        let before = daemon.show_key(&key).await;
        let (new, body) = rotate(&daemon, &key, 0).await;
        let refused = open.call(&list_posts(&key)).await;
        assert_eq!((refused.status, refused.rest_error().1.as_str()), (401, "Invalid API key."));
        assert_eq!(status_of(&daemon, &key).await, 401);
        assert_eq!(open.call(&list_posts(&new)).await.status, 200);
        // All that is not of the secret stays.
        assert_eq!(body["prefix"], new.text[8..16]);
        assert_eq!(body["secrets"].as_array().unwrap().len(), 1);
        assert!(body.get("previous").is_none());
        for field in ["id", "workspace_id", "name", "permissions", "created_at", "expires_at", "status"] {
            assert_eq!(body[field], before[field], "{field}");
        }
        assert_eq!(body["last_used_at"], before["last_used_at"]);
        daemon.is_well(&workspace.default_key).await;
        daemon.finish().await;
    }
}

#[tokio::test]
async fn an_old_text_that_nobody_used_before_is_refused_after_its_rotation_too() {
    for proof_cache in CACHES {
        let daemon = Daemon::start_with(Options { proof_cache, ..Options::default() }).await;
        let workspace = daemon.workspace("pro").await;
        let key = daemon.key_for(&workspace, &["posts:read"]).await;
        let (new, _) = rotate(&daemon, &key, 0).await;
        assert_eq!((status_of(&daemon, &key).await, status_of(&daemon, &new).await), (401, 200));
        daemon.finish().await;
    }
}

#[tokio::test]
async fn b09_an_overlap_ends_exactly_at_the_instant_that_was_told() {
    for proof_cache in CACHES {
        let (daemon, _, key) = warm(proof_cache).await;
        let ends_at = daemon.in_secs(3600);
        let (new, body) = rotate(&daemon, &key, 3600).await;
        assert_eq!(body["previous"], json!({"prefix": key.text[8..16], "ends_at": ends_at}));
        assert_eq!((status_of(&daemon, &key).await, status_of(&daemon, &new).await), (200, 200));
        daemon.advance_micros(3_600_000_000 - 1);
        assert_eq!((status_of(&daemon, &key).await, status_of(&daemon, &new).await), (200, 200));
        daemon.advance_micros(1);
        assert_eq!((status_of(&daemon, &key).await, status_of(&daemon, &new).await), (401, 200));
        daemon.finish().await;
    }
}

#[tokio::test]
async fn during_an_overlap_another_is_refused_and_none_replaces_both() {
    let (daemon, _, first) = warm(ProofCache::On).await;
    let ends_at = daemon.in_secs(600);
    let (second, _) = rotate(&daemon, &first, 600).await;
    let refused = try_rotate(&daemon, &first, 60).await;
    check_problem("an overlap in an overlap", &refused, 409, &ends_at);
    check_problem("an overlap in an overlap", &refused, 409, "overlap_s 0");
    assert_eq!((status_of(&daemon, &first).await, status_of(&daemon, &second).await), (200, 200));
    let (third, _) = rotate(&daemon, &first, 0).await;
    assert_eq!((status_of(&daemon, &first).await, status_of(&daemon, &second).await), (401, 401));
    assert_eq!(status_of(&daemon, &third).await, 200);
    // When an overlap has passed, the next may begin.
    let (fourth, _) = rotate(&daemon, &third, 10).await;
    daemon.advance_secs(10);
    let (fifth, body) = rotate(&daemon, &fourth, 10).await;
    assert_eq!(body["secrets"].as_array().unwrap().len(), 2);
    assert_eq!((status_of(&daemon, &third).await, status_of(&daemon, &fourth).await), (401, 200));
    assert_eq!(status_of(&daemon, &fifth).await, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn a_rotation_survives_a_restart_as_it_was_told() {
    let (mut daemon, _, first) = warm(ProofCache::On).await;
    let (second, _) = rotate(&daemon, &first, 600).await;
    daemon.advance_secs(1);
    assert_eq!(status_of(&daemon, &first).await, 200);
    let used_at = daemon.in_secs(0);
    assert_eq!(uses(&daemon, &second).await, [Value::Null, json!(used_at)]);
    daemon.restart_after(|_| {}).await;
    assert_eq!(uses(&daemon, &second).await, [Value::Null, json!(used_at)]);
    let hashes = daemon.slow_hashes();
    assert_eq!((status_of(&daemon, &first).await, status_of(&daemon, &second).await), (200, 200));
    assert_eq!(daemon.slow_hashes(), hashes, "both have a stored fingerprint");
    let (third, _) = rotate(&daemon, &first, 0).await;
    daemon.restart_after(|_| {}).await;
    assert_eq!((status_of(&daemon, &first).await, status_of(&daemon, &second).await), (401, 401));
    assert_eq!(status_of(&daemon, &third).await, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn e15_bucket_and_meters_go_on_through_a_rotation() {
    let (daemon, workspace, key) = warm(ProofCache::On).await;
    let verify = async |key: &Key| daemon.verify(&key.text, json!({"permission": "ai:generate"})).await;
    daemon.patch_key(&key, json!({"rate": {"limit": 3, "window_s": 3600}})).await;
    assert_eq!(verify(&key).await["remaining"], 1);
    let (new, _) = rotate(&daemon, &key, 60).await;
    assert_eq!(verify(&new).await["remaining"], 0);
    assert_eq!(
        (verify(&key).await["code"].clone(), verify(&new).await["code"].clone()),
        (json!("rate"), json!("rate"))
    );
    assert_eq!(daemon.ai_meter(&workspace).await["used"], 2);
    daemon.finish().await;
}

#[tokio::test]
async fn it_is_seen_who_still_uses_the_old_secret_and_the_keys_own_last_use_never_moves_back() {
    let (daemon, _, first) = warm(ProofCache::On).await;
    let at = |secs| json!(daemon.in_secs(secs));
    let used_before = at(0);
    assert_eq!(uses(&daemon, &first).await, std::slice::from_ref(&used_before));
    daemon.advance_secs(5);
    let (second, body) = rotate(&daemon, &first, 600).await;
    assert_eq!(body["secrets"][0]["last_used_at"], Value::Null);
    assert_eq!(uses(&daemon, &first).await, [Value::Null, used_before]);
    daemon.advance_secs(5);
    assert_eq!(status_of(&daemon, &first).await, 200);
    let old_used = at(0);
    assert_eq!(uses(&daemon, &first).await, [Value::Null, old_used.clone()]);
    daemon.advance_secs(5);
    assert_eq!(status_of(&daemon, &second).await, 200);
    let new_used = at(0);
    assert_eq!(uses(&daemon, &first).await, [new_used.clone(), old_used]);
    assert_eq!(daemon.show_key(&first).await["last_used_at"], new_used);
    // The third has the parity of the first, and starts unused all the same; twice over, so that no use of a
    // secret that is left counts any more.
    for _ in 0..2 {
        let (_, body) = rotate(&daemon, &first, 0).await;
        assert_eq!(body["secrets"][0]["last_used_at"], Value::Null);
        assert_eq!(uses(&daemon, &first).await, [Value::Null]);
        assert_eq!(daemon.show_key(&first).await["last_used_at"], new_used);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn what_cannot_be_rotated_is_refused_and_nothing_changes() {
    let (daemon, _, key) = warm(ProofCache::On).await;
    let path = format!("/api/v1/keys/{}/rotate", key.id);
    for (told, body, said) in [
        ("nothing said", json!({}), "overlap_s: is required"),
        ("too long", json!({"overlap_s": 7_776_001}), "from 0 to 7776000"),
        ("below zero", json!({"overlap_s": -1}), "from 0 to 7776000"),
        ("a part of a second", json!({"overlap_s": 0.5}), "from 0 to 7776000"),
        ("a text", json!({"overlap_s": "0"}), "from 0 to 7776000"),
        ("no number", json!({"overlap_s": null}), "from 0 to 7776000"),
        ("another field", json!({"overlap_s": 0, "overlap": 1}), "unknown field"),
    ] {
        check_problem(told, &daemon.admin(Call::post(&path, &body)).await, 400, said);
    }
    let nobody = Call::post("/api/v1/keys/key_00000000000000000000000009/rotate", &json!({"overlap_s": 0}));
    check_problem("no such key", &daemon.admin(nobody).await, 404, "");
    let revoked = daemon.key_for(&daemon.workspace("pro").await, &["*:*"]).await;
    daemon.revoke(&revoked).await;
    check_problem("revoked", &try_rotate(&daemon, &revoked, 0).await, 409, "revoked");
    let hashes = daemon.slow_hashes();
    check_problem("revoked", &try_rotate(&daemon, &revoked, 60).await, 409, "revoked");
    assert_eq!(daemon.slow_hashes(), hashes, "a refusal costs no slow hash");
    assert_eq!(daemon.show_key(&key).await["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(status_of(&daemon, &key).await, 200);
    rotate(&daemon, &key, 7_776_000).await;
    daemon.finish().await;
}

#[tokio::test]
async fn each_rotation_is_one_audit_row_and_a_refused_one_none() {
    let (daemon, _, key) = warm(ProofCache::On).await;
    rotate(&daemon, &key, 60).await;
    assert_eq!(try_rotate(&daemon, &key, 60).await.status, 409);
    let rows = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let rows = rows["data"].as_array().unwrap().clone();
    let rotations: Vec<_> = rows.iter().filter(|row| row["action"] == "key.rotated").collect();
    assert_eq!(rotations.len(), 1);
    assert_eq!(rotations[0]["subject"], key.id);
    assert!(
        rotations[0].to_string().contains(&key.text[8..16]),
        "it names the prefix of the secret that ends"
    );
    daemon.finish().await;
}

#[tokio::test]
async fn two_rotations_at_once_leave_one_key_that_works() {
    let (daemon, _, key) = warm(ProofCache::On).await;
    let (one, two) = tokio::join!(try_rotate(&daemon, &key, 60), try_rotate(&daemon, &key, 60));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let won = if one.status == 200 { one } else { two };
    let text = Hidden(won.json()["key"].as_str().unwrap().to_owned());
    assert_eq!(status_of(&daemon, &Key { id: key.id.clone(), text }).await, 200);
    assert_eq!(status_of(&daemon, &key).await, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn an_admin_key_rotates_itself_only_with_time_to_try_again_and_no_greater_one() {
    let daemon = Daemon::start().await;
    let system = "ws_00000000000000000000000001";
    let make = |permissions: &[&str]| {
        Call::post("/api/v1/keys", &json!({"workspace_id": system, "permissions": permissions}))
    };
    let lesser = daemon.admin_json(make(&["keys:read", "keys:write"])).await;
    let greater = daemon.admin_json(make(&["*:*"])).await;
    let as_lesser = async |id: &Value, overlap_secs: u64| {
        let path = format!("/api/v1/keys/{}/rotate", id.as_str().unwrap());
        let call = Call::post(&path, &json!({"overlap_s": overlap_secs}));
        call_once(daemon.admin_address(), &call.bearer(lesser["key"].as_str().unwrap())).await
    };
    for overlap_secs in [0, 59] {
        check_problem("itself", &as_lesser(&lesser["id"], overlap_secs).await, 409, "at least 60");
    }
    check_problem(
        "a greater one",
        &as_lesser(&greater["id"], 0).await,
        400,
        "as far as its own permissions go",
    );
    let rotated = as_lesser(&lesser["id"], 60).await;
    assert_eq!(rotated.status, 200);
    let list = Call::get("/api/v1/keys");
    for (told, key) in
        [("old", &lesser["key"]), ("new", &rotated.json()["key"]), ("greater", &greater["key"])]
    {
        assert_eq!(
            daemon.admin_bare(&list.clone().bearer(key.as_str().unwrap())).await.status,
            200,
            "{told}"
        );
    }
    daemon.advance_secs(60);
    assert_eq!(daemon.admin_bare(&list.bearer(lesser["key"].as_str().unwrap())).await.status, 401);
    // Another admin key that holds enough may end it at once.
    let path = format!("/api/v1/keys/{}/rotate", greater["id"].as_str().unwrap());
    daemon.admin_json(Call::post(&path, &json!({"overlap_s": 0}))).await;
    daemon.finish().await;
}
