//! Keys that were made elsewhere: taken with their old texts and hashes, and from then on like any other.
//!
//! Each expectation of a refusal has the good key beside it. Slow hashes are counted, not timed.
//!
//! Never here: a text of our own form, but where it is what is imported.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::daemon::{Daemon, Hidden, Key, Workspace, list_posts};
use crate::wire::Call;

/// Texts of the old system: a tag, 4 characters that it showed, 22 that it did not.
fn text(number: usize) -> String {
    format!("old_{number:04}{}{number:04}", "Zq7Lm2Xv9Rt4Bn8Kp3")
}

const LENGTH: usize = 30;

fn shape() -> Value {
    json!({"tag": "old_", "length": LENGTH, "alphabet": "base62"})
}

fn bcrypt_of(text: &str) -> String {
    bcrypt::hash(text, 4).unwrap()
}

fn argon2id_of(text: &str, memory_kib: u32) -> String {
    let params = argon2::Params::new(memory_kib, 1, 1, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut output = [0; 32];
    argon2.hash_password_into(text.as_bytes(), &[9; 16], &mut output).unwrap();
    let (salt, output) = (STANDARD_NO_PAD.encode([9; 16]), STANDARD_NO_PAD.encode(output));
    format!("$argon2id$v=19$m={memory_kib},t=1,p=1${salt}${output}")
}

fn scrypt_of(text: &str) -> String {
    let mut output = [0; 32];
    let params = scrypt::Params::new(4, 8, 1).unwrap();
    scrypt::scrypt(text.as_bytes(), &[9; 16], &params, &mut output).unwrap();
    let (salt, output) = (STANDARD_NO_PAD.encode([9; 16]), STANDARD_NO_PAD.encode(output));
    format!("$scrypt$ln=4,r=8,p=1${salt}${output}")
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

async fn import(daemon: &Daemon, workspace: &Workspace, keys: Value) -> Value {
    let body = json!({"workspace_id": workspace.id, "shape": shape(), "keys": keys});
    daemon.admin_json(Call::post("/api/v1/keys/import", &body)).await
}

/// Imports one record, which must be taken.
async fn import_one(daemon: &Daemon, workspace: &Workspace, mut record: Value) -> Key {
    let text = record["text"].take();
    record.as_object_mut().unwrap().remove("text");
    record["permissions"] = json!(["*:*"]);
    let report = import(daemon, workspace, json!([record])).await;
    assert_eq!((&report["taken"], &report["refused"]), (&json!(1), &json!(0)), "{report}");
    let id = report["results"][0]["id"].as_str().unwrap().to_owned();
    Key { id, text: Hidden(text.as_str().unwrap().to_owned()) }
}

async fn status(daemon: &Daemon, text: &str) -> u16 {
    let key = Key { id: String::new(), text: Hidden(text.to_owned()) };
    daemon.call(&list_posts(&key)).await.status
}

fn other_end(text: &str) -> String {
    let end = if text.ends_with('x') { 'y' } else { 'x' };
    format!("{}{end}", &text[..text.len() - 1])
}

async fn audit_rows(daemon: &Daemon) -> Vec<Value> {
    daemon.admin_json(Call::get("/api/v1/audit")).await["data"].as_array().unwrap().clone()
}

/// Waits until a key's new hash is stored.
async fn hashed_anew(daemon: &Daemon, key: &Key) {
    loop {
        let rows = audit_rows(daemon).await;
        let is_it = |row: &Value| row["action"] == "key.updated" && row["subject"] == json!(key.id);
        if rows.iter().any(is_it) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn keys_of_every_kind_of_hash_work_with_their_old_texts() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let head = |number| text(number)[..8].to_owned();
    let slow = |number, hash| json!({"text": text(number), "hash": hash, "prefix": head(number)});
    // (record, slow hashes of its first use and of that after a restart): the second of two makes a new hash, and
    // what came as a text is known until the restart.
    let cases = [
        (slow(1, bcrypt_of(&text(1))), 2, 1),
        (slow(2, scrypt_of(&text(2))), 2, 1),
        (slow(3, argon2id_of(&text(3), 16)), 2, 1),
        (slow(4, argon2id_of(&text(4), 8)), 1, 1),
        (json!({"text": text(5), "sha256": hex::encode(sha256(&text(5)))}), 0, 0),
        (json!({"text": text(6), "sha256": STANDARD.encode(sha256(&text(6)))}), 0, 0),
        (json!({"text": text(7), "sha256": URL_SAFE_NO_PAD.encode(sha256(&text(7))), "over": "whole"}), 0, 0),
        (json!({"text": text(8), "key": text(8), "random": true}), 0, 0),
        (json!({"text": text(9), "key": text(9), "prefix": head(9)}), 0, 1),
        (json!({"text": text(10), "hash": bcrypt_of(&text(10)), "prefix": head(10)}), 2, 1),
    ];
    let mut keys = Vec::new();
    for (record, hashes, after_restart) in cases {
        let told = record.to_string();
        let text = record["text"].as_str().unwrap().to_owned();
        assert_eq!(status(&daemon, &text).await, 401, "{told}");
        let key = import_one(&daemon, &workspace, record).await;
        let before = daemon.slow_hashes();
        assert_eq!(status(&daemon, &text).await, 200, "{told}");
        if hashes == 2 {
            hashed_anew(&daemon, &key).await;
        }
        assert_eq!(daemon.slow_hashes() - before, hashes, "{told}");
        assert_eq!(status(&daemon, &text).await, 200, "{told}");
        for wrong in
            [other_end(&text), format!("{text}x"), text[..LENGTH - 1].to_owned(), text.to_uppercase()]
        {
            assert_eq!(status(&daemon, &wrong).await, 401, "{told}");
        }
        assert_eq!(daemon.slow_hashes() - before, hashes, "what was proven once costs none: {told}");
        daemon.is_well(&key).await;
        keys.push((key, text, after_restart));
    }
    daemon.restart_after(|_| ()).await;
    for (key, text, after_restart) in keys {
        let before = daemon.slow_hashes();
        assert_eq!(status(&daemon, &text).await, 200);
        assert_eq!(daemon.slow_hashes() - before, after_restart, "by its new hash, once");
        assert_eq!(daemon.verify(&text, json!({})).await["code"], "valid");
        daemon.revoke(&key).await;
        assert_eq!(status(&daemon, &text).await, 401);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_vouched_key_needs_no_slow_hash_after_a_restart_and_a_list_shows_our_prefix() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let record = json!({"text": text(1), "hash": bcrypt_of(&text(1)), "prefix": "old_", "random": true});
    let key = import_one(&daemon, &workspace, record).await;
    let shown = daemon.show_key(&key).await;
    assert_eq!(shown["imported"], json!({"prefix": "old_", "random": true, "hash": "bcrypt"}));
    assert!(!text(1).contains(shown["prefix"].as_str().unwrap()), "{shown}");
    assert_eq!(daemon.show_key(&workspace.default_key).await["imported"], json!(null));
    assert_eq!(status(&daemon, &text(1)).await, 200);
    loop {
        let rows = audit_rows(&daemon).await;
        if rows.iter().filter(|row| row["action"] != "keys.imported").count() >= 4 {
            break;
        }
        tokio::task::yield_now().await;
    }
    daemon.restart_after(|_| ()).await;
    assert_eq!(daemon.show_key(&key).await["imported"]["hash"], "argon2id");
    for wrong in [other_end(&text(1)), text(2)] {
        assert_eq!(status(&daemon, &wrong).await, 401);
    }
    assert_eq!(status(&daemon, &text(1)).await, 200);
    assert_eq!(daemon.slow_hashes(), 0);
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_of_a_short_and_a_long_part_passes_as_a_whole_alone() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let long = "Kq8zP2mW5xR7tB4nV9cL3sD6";
    let shape = json!({"tag": "acme_", "length": 5 + 9 + long.len(), "alphabet": "base64url"});
    let record = |short: &str, long: &str| {
        json!({"sha256": hex::encode(sha256(long)), "over": "long_part", "prefix": format!("acme_{short}_"),
            "permissions": ["*:*"], "shape": shape})
    };
    let other_long = other_end(long);
    let records = json!([record("4f2a9c01", long), record("7b7b7b7b", &other_long)]);
    let report = import(&daemon, &workspace, records).await;
    assert_eq!(report["taken"], 2, "{report}");
    let at = |company: &str, short: &str, long: &str| format!("{company}_{short}_{long}");
    assert_eq!(status(&daemon, &at("acme", "4f2a9c01", long)).await, 200);
    assert_eq!(status(&daemon, &at("acme", "7b7b7b7b", &other_long)).await, 200);
    for wrong in [
        at("acme", "4f2a9c02", long),
        at("acme", "7b7b7b7b", long),
        at("acme", "4f2a9c01", &other_long),
        at("acmf", "4f2a9c01", long),
        at("acme", "4f2a9c01", &long.to_lowercase()),
        format!("acme-4f2a9c01-{long}"),
        long.to_owned(),
        hex::encode(sha256(long)),
    ] {
        assert_eq!(status(&daemon, &wrong).await, 401, "{wrong}");
    }
    let mut no_separator = record("99999999", "x");
    no_separator["prefix"] = json!("acme_99999999");
    let report = import(&daemon, &workspace, json!([no_separator])).await;
    assert!(report["results"][0]["why"].as_str().unwrap().contains("separator"), "{report}");
    assert_eq!(daemon.slow_hashes(), 2, "the making of two workspaces' keys alone");
    daemon.finish().await;
}

/// Attack A11: whoever sees what is stored or shown of a key has no key.
#[tokio::test]
async fn what_is_stored_or_shown_of_a_key_passes_at_no_door() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    // Of a shape so wide that each of these texts fits it and is looked up.
    let shape = json!({"tag": "", "length_min": 12, "length_max": 200, "alphabet": "printable"});
    let (digest, argon2id) = (sha256(&text(1)), argon2id_of(&text(2), 8));
    let record = |mut record: Value| {
        record["shape"] = shape.clone();
        record
    };
    let key = record(json!({"text": text(1), "sha256": hex::encode(digest)}));
    let shown = [
        daemon.show_key(&import_one(&daemon, &workspace, key).await).await,
        daemon
            .show_key(
                &import_one(&daemon, &workspace, record(json!({"text": text(2), "hash": argon2id}))).await,
            )
            .await,
        daemon.show_key(&workspace.default_key).await,
    ];
    for number in [1, 2] {
        assert_eq!(status(&daemon, &text(number)).await, 200);
    }
    let mut wrong = vec![
        hex::encode(digest),
        STANDARD.encode(digest),
        format!("$sha256${}", STANDARD_NO_PAD.encode(digest)),
        hex::encode(sha256(&hex::encode(digest))),
        argon2id,
    ];
    for shown in shown {
        let (id, prefix) = (shown["id"].as_str().unwrap(), shown["prefix"].as_str().unwrap());
        wrong.extend([id.to_owned(), prefix.to_owned(), format!("sk_live_{prefix}")]);
    }
    for wrong in wrong {
        assert_eq!(status(&daemon, &wrong).await, 401, "{wrong}");
        assert_ne!(daemon.verify(&wrong, json!({})).await["code"], "valid", "{wrong}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn where_only_the_tag_was_shown_four_slow_hashed_keys_are_taken_and_the_fifth_is_refused() {
    let mut daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    // The very form of our own keys, as SocialCRM's old system made them.
    let old = |number: usize| format!("sk_live_{number}{}", "Zq7Lm2Xv9Rt4Bn8Kp3Wd6Fh5Js1Gc0Y");
    let shape = json!({"tag": "sk_live_", "length": 40, "alphabet": "base62"});
    let record =
        |number| json!({"hash": argon2id_of(&old(number), 8), "prefix": "sk_live_", "permissions": ["*:*"]});
    let keys: Vec<_> = (1..=5).map(record).collect();
    let body = json!({"workspace_id": workspace.id, "shape": shape, "keys": keys});
    let report = daemon.admin_json(Call::post("/api/v1/keys/import", &body)).await;
    assert_eq!((&report["taken"], &report["refused"]), (&json!(4), &json!(1)), "{report}");
    let why = report["results"][4]["why"].as_str().unwrap();
    assert!(why.contains("4 slow-hashed keys"), "{why}");
    for _ in 0..2 {
        for number in 1..=4 {
            assert_eq!(status(&daemon, &old(number)).await, 200);
        }
        let before = daemon.slow_hashes();
        for number in 5..9 {
            assert_eq!(status(&daemon, &old(number)).await, 401);
        }
        assert_eq!(daemon.slow_hashes(), before, "every key of the head is known by its fingerprint");
        daemon.is_well(&workspace.default_key).await;
        daemon.restart_after(|_| ()).await;
    }
    let before = daemon.slow_hashes();
    assert_eq!(status(&daemon, &old(7)).await, 401);
    assert_eq!(daemon.slow_hashes() - before, 4, "as many as stand under its head, in one job");
    daemon.finish().await;
}

#[tokio::test]
async fn sixty_four_first_uses_at_once_cost_one_slow_hash() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    // So dear that all of them are there before it ends.
    let record = json!({"text": text(1), "hash": argon2id_of(&text(1), 65_536), "prefix": "old_0001"});
    let key = import_one(&daemon, &workspace, record).await;
    let before = daemon.slow_hashes();
    let calls = list_posts(&key);
    let address = daemon.data();
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let call = calls.clone();
        uses.spawn(async move { crate::wire::call_once(address, &call).await.status });
    }
    assert_eq!(uses.join_all().await, [200; 64]);
    hashed_anew(&daemon, &key).await;
    assert_eq!(daemon.slow_hashes() - before, 2, "one for all of them, and one for the new hash");
    daemon.finish().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_become_of_each_record_and_writes_nothing() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let keys = json!([
        {"key": text(1), "random": true, "permissions": ["posts:read"], "name": "first"},
        {"key": text(1), "random": true},
        {"key": text(2), "permissions": ["posts:nothing"]},
        {"sha256": hex::encode(sha256(&text(3))), "metadata": {"team": "a"}, "expires_at": daemon.in_secs(60)},
        {"key": text(4), "prefix": "old_0004"},
        {"hash": bcrypt_of(&text(5)), "prefix": "old_0005", "secret": "x"},
    ]);
    let body = |dry_run: bool| json!({"workspace_id": workspace.id, "shape": shape(), "dry_run": dry_run, "keys": keys});
    let total = async || daemon.admin_json(Call::get("/api/v1/keys")).await["total"].clone();
    let (rows, keys_before) = (audit_rows(&daemon).await, total().await);
    let hashes = daemon.slow_hashes();
    let dry = daemon.admin_json(Call::post("/api/v1/keys/import", &body(true))).await;
    assert_eq!(
        (&dry["dry_run"], &dry["taken"], &dry["refused"]),
        (&json!(true), &json!(3), &json!(3)),
        "{dry}"
    );
    assert_eq!((audit_rows(&daemon).await, total().await), (rows.clone(), keys_before));
    assert_eq!(daemon.slow_hashes(), hashes, "a dry run hashes no new text");
    assert_eq!(status(&daemon, &text(1)).await, 401);

    let report = daemon.admin_json(Call::post("/api/v1/keys/import", &body(false))).await;
    let statuses = |report: &Value| -> Vec<String> {
        let results = report["results"].as_array().unwrap().iter();
        results.map(|result| result["status"].as_str().unwrap().replace("would_take", "taken")).collect()
    };
    assert_eq!(statuses(&report), ["taken", "refused", "refused", "taken", "taken", "refused"], "{report}");
    assert_eq!(statuses(&report), statuses(&dry));
    for number in [1, 3, 4] {
        assert_ne!(status(&daemon, &text(number)).await, 401, "{number}");
    }
    for number in [2, 5] {
        assert_eq!(status(&daemon, &text(number)).await, 401, "{number}");
    }
    let after = audit_rows(&daemon).await;
    assert_eq!(after.len(), rows.len() + 1, "an import is one change");
    let row = after.last().unwrap();
    assert_eq!(row["action"], "keys.imported");
    assert_eq!(row["batch"]["count"], 3, "{row}");

    let again = daemon.admin_json(Call::post("/api/v1/keys/import", &body(false))).await;
    assert_eq!((&again["taken"], &again["refused"]), (&json!(0), &json!(6)), "{again}");
    assert_eq!(audit_rows(&daemon).await.len(), after.len(), "nothing was changed");
    let said = format!("{dry}{report}{again}{after:?}");
    for number in 1..=5 {
        assert!(!said.contains(&text(number)[8..]), "a key is repeated");
        assert!(!said.contains(&hex::encode(sha256(&text(number)))), "a digest is repeated");
    }
    daemon.is_well(&workspace.default_key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_second_run_finds_what_is_there_after_it_was_hashed_anew() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let record = json!({"hash": bcrypt_of(&text(1)), "prefix": "old_0001"});
    let mut first = record.clone();
    first["text"] = json!(text(1));
    let key = import_one(&daemon, &workspace, first).await;
    let again = || import(&daemon, &workspace, json!([record, {"key": text(1)}]));
    let both_there = |report: &Value| {
        let results = report["results"].as_array().unwrap();
        results.iter().all(|result| result["why"].as_str().is_some_and(|why| why.contains("already there")))
    };
    let report = again().await;
    assert_eq!(report["results"][0]["status"], "refused", "{report}");
    assert_eq!(status(&daemon, &text(1)).await, 200);
    hashed_anew(&daemon, &key).await;
    let report = again().await;
    assert!(both_there(&report), "{report}");
    let own = json!([{"key": &*workspace.default_key.text, "random": true,
        "shape": {"tag": "sk_live_", "length": 40, "alphabet": "base62"}}]);
    let report = import(&daemon, &workspace, own).await;
    assert!(both_there(&report), "a key of our own is there too: {report}");
    daemon.finish().await;
}

/// Attack A12.
#[tokio::test]
async fn two_keys_of_one_prefix_both_work() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let twin = |text: &str| json!({"text": text, "hash": argon2id_of(text, 8), "prefix": "old_0001"});
    let (one, other) = (text(1), other_end(&text(1)));
    import_one(&daemon, &workspace, twin(&one)).await;
    import_one(&daemon, &workspace, twin(&other)).await;
    // The first is compared with both; by then it is known, and the second with one.
    for most in [3, 0] {
        let before = daemon.slow_hashes();
        assert_eq!((status(&daemon, &one).await, status(&daemon, &other).await), (200, 200));
        assert!(daemon.slow_hashes() - before <= most);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_its_reason() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let digest = hex::encode(sha256(&text(1)));
    let costly = bcrypt_of(&text(1)).replacen("$04$", "$14$", 1);
    let long_shape = json!({"tag": "old_", "length": 73, "alphabet": "base62"});
    let hex_shape = json!({"tag": "old_", "length": 24, "alphabet": "hex"});
    let cases = [
        (json!({}), "exactly one of"),
        (json!({"key": text(1), "sha256": digest}), "exactly one of"),
        (json!({"key": "old_short"}), "does not look as the shape says"),
        (json!({"key": text(1), "prefix": "old_9999"}), "does not start with it"),
        (json!({"key": text(1), "prefix": "new_"}), "does not look as the shape says"),
        (json!({"key": text(1), "prefix": &text(1)[..LENGTH - 7]}), "at least 8 characters"),
        (json!({"hash": bcrypt_of(&text(1)), "prefix": &text(1)[..LENGTH - 1]}), "at least 8 characters"),
        (json!({"key": 5}), "key: expected a text"),
        (json!({"hash": "plain"}), "hash: a hash of no known form"),
        (json!({"hash": costly}), "out of bounds"),
        (json!({"hash": argon2id_of(&text(1), 8).replace("m=8", "m=4194304")}), "out of bounds"),
        (json!({"hash": bcrypt_of(&text(1)), "shape": long_shape}), "bcrypt tells keys of at most"),
        (json!({"sha256": &digest[1..]}), "64 hexadecimal digits"),
        (json!({"sha256": digest, "over": "half"}), "whole or long_part"),
        (json!({"key": text(1), "over": "whole"}), "sha256"),
        (json!({"sha256": digest, "over": "long_part"}), "separator"),
        (json!({"sha256": digest, "random": true, "shape": hex_shape}), "128 random bits"),
        (json!({"key": text(1), "prefix": "old_00001", "random": true}), "does not start with it"),
        (json!({"key": text(1), "expires_at": "2001-01-01T00:00:00Z"}), "in the future"),
        (
            json!({"key": text(1), "workspace_id": "ws_00000000000000000000000001"}),
            "admin keys are made here",
        ),
        (json!({"key": text(1), "workspace_id": "ws_7zzzzzzzzzzzzzzzzzzzzzzzzz"}), "that is there"),
        (
            json!({"key": text(1), "shape": {"tag": "old_", "length": 300, "alphabet": "base62"}}),
            "shape.length",
        ),
        (
            json!({"key": text(1), "shape": {"tag": "old_", "length": 30, "alphabet": "base10"}}),
            "shape.alphabet",
        ),
        (json!({"key": text(1), "id": "key_1"}), "record: expected no field but"),
        (json!("old"), "record: expected one JSON object"),
    ];
    let keys: Vec<_> =
        cases.iter().map(|(record, _)| record.clone()).chain([json!({"sha256": digest})]).collect();
    let report = import(&daemon, &workspace, json!(keys)).await;
    let results = report["results"].as_array().unwrap();
    for ((record, why), result) in cases.iter().zip(results) {
        let told = result["why"].as_str().unwrap_or_default();
        assert!(result["status"] == "refused" && told.contains(why), "{record}: {result}");
        assert!(!told.contains(&text(1)[8..]) && !told.contains("$0"), "{told}");
    }
    assert_eq!((&report["taken"], &results.last().unwrap()["status"]), (&json!(1), &json!("taken")));
    // A second length of heads would give one text two of them.
    let heads = json!([
        {"hash": bcrypt_of(&text(2)), "prefix": "old_0002"},
        {"hash": bcrypt_of(&text(3)), "prefix": "old_0"},
    ]);
    let report = import(&daemon, &workspace, heads).await;
    assert!(report["results"][1]["why"].as_str().unwrap().contains("expected 8 characters"), "{report}");
    for (body, said) in [
        (json!({}), "keys: is required"),
        (json!({"keys": []}), "1 to 10000 records"),
        (json!({"keys": {}}), "1 to 10000 records"),
        (json!({"keys": [{}], "dry-run": true}), "unknown field"),
        (json!({"keys": [{}], "shape": {"tag": "a"}}), "shape."),
    ] {
        let answer = daemon.admin(Call::post("/api/v1/keys/import", &body)).await;
        crate::admin_input::check_problem(&body.to_string(), &answer, 400, said);
    }
    daemon.is_well(&workspace.default_key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn the_command_line_shows_a_dry_run_first_and_writes_when_told_to() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let file = daemon.store_file().with_file_name("keys.csv");
    let rows = [
        "key,prefix,random,name,permissions".to_owned(),
        format!("{},,true,\"one, two\",posts:read posts:write", text(1)),
        format!("{},old_0002,,,posts:read", text(2)),
        format!("{},,,,posts:read", "old_short"),
    ];
    std::fs::write(&file, rows.join("\n")).unwrap();
    let run = async |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(["key", "import"]).arg(&file).args(["--workspace", &workspace.id, "--tag", "old_"]);
        command.args(["--length", "30", "--alphabet", "base62", "--admin"]);
        command.arg(format!("http://{}", daemon.admin_address()));
        command.arg("--admin-key-file").arg(daemon.running().admin_key_file()).args(more);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(!said.concat().contains(&text(1)[8..]), "a key is printed");
        (output.status.code(), said)
    };
    let (code, [out, err]) = run(&[]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("2 would be taken, 1 refused") && err.contains("Nothing was written"), "{out}{err}");
    assert_eq!(status(&daemon, &text(1)).await, 401);
    let (code, [out, err]) = run(&["--yes"]).await;
    assert_eq!(code, Some(1), "one was refused: {err}");
    assert!(out.contains("2 taken, 1 refused") && out.contains("\n4     refused"), "{out}");
    assert_eq!((status(&daemon, &text(1)).await, status(&daemon, &text(2)).await), (200, 200));
    let (_, [out, err]) = run(&["--yes", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!((&report["taken"], &report["refused"]), (&json!(0), &json!(3)), "{report}");
    assert_eq!(report["results"][0]["line"], 2);
    daemon.finish().await;
}
