//! The install secret over the life of an installation: lost, replaced, retired, and of no use on disk.
//!
//! Never here: how its file is written, or what stands in it.

use keyward::app::{LaunchFlags, StartError};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options, list_posts};
use crate::program::{Program, configured, new_workspace, run, text};
use crate::wire::Call;

const NEW_SECRET: LaunchFlags = LaunchFlags { new_install_secret: true };

async fn keys(daemon: &Daemon) -> Vec<Key> {
    let workspace = daemon.workspace("pro").await;
    let mut keys = vec![workspace.default_key.clone()];
    for _ in 0..3 {
        keys.push(daemon.key_for(&workspace, &["posts:read"]).await);
    }
    keys
}

async fn all_are_well(daemon: &Daemon, keys: &[Key]) {
    for key in keys {
        daemon.is_well(key).await;
    }
}

/// The rows of one action, as (subject, how many keys).
async fn rows(daemon: &Daemon, action: &str) -> Vec<(String, u64)> {
    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let rows = audit["data"].as_array().unwrap().iter().filter(|row| row["action"] == action);
    rows.map(|row| (text(&row["subject"]), row["batch"]["count"].as_u64().unwrap_or(0))).collect()
}

fn lose(file: &std::path::Path) {
    std::fs::remove_file(file.with_file_name("install.secret")).unwrap();
}

#[tokio::test]
async fn a_lost_install_secret_costs_one_slow_hash_a_key_and_no_key() {
    let mut daemon = Daemon::start().await;
    let keys = keys(&daemon).await;
    let refused = daemon.restart_with(LaunchFlags::default(), lose).await.unwrap_err();
    assert!(matches!(refused, StartError::InstallSecretLost { .. }));
    let said = refused.to_string();
    for needed in
        ["install.secret is missing", "put that file back", "--new-install-secret", "no key is lost"]
    {
        assert!(said.contains(needed), "{needed}: {said}");
    }
    daemon.restart_with(NEW_SECRET, |_| {}).await.unwrap();
    all_are_well(&daemon, &keys).await;
    assert_eq!(daemon.slow_hashes(), keys.len() as u64);
    let wrong = crate::credentials::near_miss(&keys[0]);
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(&wrong)).await.status, 401);
    // The flag is needed once, what was proven is stored at the stop, and one row tells of each.
    daemon.restart_after(|_| {}).await;
    all_are_well(&daemon, &keys).await;
    assert_eq!(daemon.slow_hashes(), 0);
    assert_eq!(rows(&daemon, "install_secret.rotated").await, [("installation".to_owned(), 0)]);
    let learnt = rows(&daemon, "fingerprints.learnt").await;
    assert_eq!(learnt.iter().map(|(_, count)| count).sum::<u64>(), keys.len() as u64);
    daemon.finish().await;
}

#[tokio::test]
async fn a_start_with_the_flag_needs_it_no_more_even_when_no_key_was_used_meanwhile() {
    let mut daemon = Daemon::start().await;
    let keys = keys(&daemon).await;
    daemon.restart_with(NEW_SECRET, lose).await.unwrap();
    daemon.restart_after(|_| {}).await;
    all_are_well(&daemon, &keys).await;
    assert_eq!(daemon.slow_hashes(), keys.len() as u64);
    // Another installation's file is as good as none.
    let foreign = |file: &std::path::Path| {
        let secret = file.with_file_name("install.secret");
        std::fs::write(secret, [7; 32]).unwrap();
    };
    let refused = daemon.restart_with(LaunchFlags::default(), foreign).await.unwrap_err();
    assert!(refused.to_string().contains("another secret"), "{refused}");
    daemon.restart_with(NEW_SECRET, |_| {}).await.unwrap();
    all_are_well(&daemon, &keys).await;
    daemon.finish().await;
}

#[tokio::test]
async fn an_install_secret_is_rotated_by_a_call_and_no_key_notices() {
    let mut daemon = Daemon::start().await;
    let mut known = keys(&daemon).await;
    all_are_well(&daemon, &known).await;
    let made = daemon.slow_hashes();
    let rotate = || Call::post("/api/v1/install-secret/rotate", &json!({}));
    let first = daemon.admin_json(rotate()).await;
    assert_eq!(first["retired"].as_array().unwrap().len(), 1);
    assert_eq!(text(&first["current"]).len(), 16);
    all_are_well(&daemon, &known).await;
    assert_eq!(daemon.slow_hashes(), made);
    known.extend(keys(&daemon).await);
    let second = daemon.admin_json(rotate()).await;
    assert_eq!(second["retired"], json!([first["current"], first["retired"][0]]));
    daemon.restart_after(|_| {}).await;
    all_are_well(&daemon, &known).await;
    assert_eq!(daemon.slow_hashes(), 0);
    // All were learnt under the newest by the stop; the retired ones can go. The admin key has the first yet.
    let cut = |file: &std::path::Path| {
        let secret = file.with_file_name("install.secret");
        let content = std::fs::read(&secret).unwrap();
        assert_eq!(content.len(), 3 * 32);
        std::fs::write(&secret, &content[..32]).unwrap();
    };
    let chain = async |daemon: &Daemon| daemon.admin_json(Call::get("/api/v1/audit/verify")).await;
    let whole = chain(&daemon).await;
    assert_eq!((&whole["whole"], &whole["unknown_install_secrets"]), (&json!(true), &json!([])));
    daemon.restart_after(cut).await;
    all_are_well(&daemon, &known).await;
    assert_eq!(daemon.slow_hashes(), 0);
    // Without the retired ones their rows have no seal that can be checked, and are bound by those behind them.
    let bound = chain(&daemon).await;
    assert_eq!(
        (&bound["whole"], bound["unknown_install_secrets"].as_array().unwrap().len()),
        (&json!(true), 2)
    );
    for _ in 1..8 {
        daemon.admin_json(rotate()).await;
    }
    let full = daemon.admin(rotate()).await;
    crate::admin_input::check_problem("a ninth secret", &full, 409, "holds 8 secrets");
    crate::admin_input::check_problem("a ninth secret", &full, 409, "truncate -s -32");
    all_are_well(&daemon, &known).await;
    assert_eq!(rows(&daemon, "install_secret.rotated").await.len(), 2 + 7);
    let odd = daemon.admin(Call::post("/api/v1/install-secret/rotate", &json!({"force": true}))).await;
    crate::admin_input::check_problem("an unknown field", &odd, 400, "force");
    daemon.finish().await;
}

#[tokio::test]
async fn an_admin_key_without_the_permission_rotates_nothing() {
    let daemon = Daemon::start().await;
    let own = "ws_00000000000000000000000001";
    let wanted =
        json!({"workspace_id": own, "permissions": ["keys:write", "audit:read", "workspaces:write"]});
    let clerk = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
    let call = Call::post("/api/v1/install-secret/rotate", &json!({})).bearer(clerk["key"].as_str().unwrap());
    let answer = daemon.admin_bare(&call).await;
    crate::admin_input::check_problem("a clerk", &answer, 403, "install_secret:rotate");
    assert!(rows(&daemon, "install_secret.rotated").await.is_empty());
    daemon.finish().await;
}

#[tokio::test]
async fn fingerprints_that_are_kept_in_memory_leave_the_file_and_every_key_works() {
    let mut daemon = Daemon::start().await;
    let keys = keys(&daemon).await;
    daemon.options = Options { fingerprints_in_memory: true, ..daemon.options };
    daemon.restart_after(|_| {}).await;
    // The removal runs beside the start; its row tells when it is done.
    let forgotten = async {
        loop {
            let rows = rows(&daemon, "fingerprints.forgotten").await;
            if !rows.is_empty() {
                break rows;
            }
            tokio::task::yield_now().await;
        }
    };
    let rows = tokio::time::timeout(crate::wire::PATIENCE, forgotten).await.expect("they are removed");
    assert_eq!(rows, [("keys".to_owned(), keys.len() as u64 + 1)], "and the admin key's");
    let new = daemon.workspace("pro").await.default_key;
    daemon.restart_after(|_| {}).await;
    for key in keys.iter().chain([&new]) {
        let before = daemon.slow_hashes();
        daemon.is_well(key).await;
        assert_eq!(daemon.slow_hashes(), before + 1, "the first use, and that alone");
    }
    let wrong = crate::credentials::near_miss(&keys[0]);
    assert_eq!(daemon.call(&Call::get("/v1/posts").bearer(&wrong)).await.status, 401);
    assert_eq!(daemon.call(&list_posts(&keys[0])).await.status, 200);
    // The seals of the audit log still depend on it, so that it is not replaced without a word.
    let refused = daemon.restart_with(LaunchFlags::default(), lose).await.unwrap_err();
    assert!(matches!(refused, StartError::InstallSecretLost { .. }));
    daemon.restart_with(NEW_SECRET, |_| {}).await.unwrap();
    daemon.is_well(&keys[1]).await;
    daemon.finish().await;
}

#[tokio::test]
async fn an_install_secret_is_rotated_from_a_shell() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let key = text(&daemon.admin_json(new_workspace()).await["default_key"]["key"]);
    let admin = format!("http://{}", daemon.admin);
    let reach = ["--admin", &admin, "--config", "keyward.toml"];
    let told = |more: &[&str]| {
        let arguments: Vec<_> =
            ["install-secret", "rotate"].iter().copied().chain(reach).chain(more.iter().copied()).collect();
        let (code, out, said) = run(dir.path(), &arguments);
        assert_eq!(code, Some(0), "{said}");
        (out, said)
    };
    let (out, _) = told(&["--json"]);
    let first: Value = serde_json::from_str(&out).unwrap();
    let (out, said) = told(&[]);
    assert!(out.contains(first["current"].as_str().unwrap()) && said.contains("Back up"), "{out}{said}");
    assert_eq!(std::fs::read(dir.path().join("data/install.secret")).unwrap().len(), 96);
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    daemon.kill();
    let daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    daemon.kill();
}
