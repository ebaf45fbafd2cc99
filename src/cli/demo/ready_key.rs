//! A working key for one product, by the admin API alone.
//!
//! The kept key is asked about without spending anything. One that no longer works is replaced in its own
//! workspace, so that what the sandbox holds for it stays in sight; only a workspace that is gone or
//! suspended is replaced as a whole.
//!
//! Never here: the key's text in an error, or a way around the admin API.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::admin_client::{AdminClient, ClientError};
use super::super::failure::CliError;
use super::kept_keys::KeptKey;
use crate::domain::id::WorkspaceId;
use crate::domain::profile::Profile;

/// What the verify call says of a key that does not stand. Every other word is about what was asked, and
/// nothing is.
const DOES_NOT_STAND: [&str; 6] = ["malformed", "unknown", "revoked", "expired", "address", "signature"];

/// A key, and how it was come by.
#[derive(Debug)]
pub(super) struct ReadyKey {
    pub(super) key: KeptKey,
    /// Whether it has to be kept yet.
    pub(super) is_new: bool,
    /// What the user should know.
    pub(super) remark: Option<String>,
}

/// Takes the kept key if it works, else makes one.
pub(super) async fn ready_key(
    client: &AdminClient,
    product: &Profile,
    kept: Option<&KeptKey>,
) -> Result<ReadyKey, CliError> {
    let Some(kept) = kept else {
        let key = new_workspace(client, product).await?;
        return Ok(ReadyKey { key, is_new: true, remark: None });
    };
    let question = json!({"key": kept.key, "ip": "127.0.0.1", "dry_run": true});
    let said = client.call(Method::POST, "/api/v1/verify", Some(&question)).await?.value;
    let code = text(&said, "/code")?;
    if !DOES_NOT_STAND.contains(&code.as_str()) {
        return Ok(ReadyKey { key: kept.clone(), is_new: false, remark: None });
    }
    let (key, place) = match key_in(client, product, &kept.workspace_id).await? {
        Some(key) => (key, "the same workspace"),
        None => (new_workspace(client, product).await?, "a new workspace"),
    };
    let remark =
        format!("the kept key of {} no longer works ({code}); a new one was made in {place}", product.name);
    Ok(ReadyKey { key, is_new: true, remark: Some(remark) })
}

/// Another key for everything in a workspace that stands; `None` when it does not.
async fn key_in(
    client: &AdminClient,
    product: &Profile,
    workspace: &str,
) -> Result<Option<KeptKey>, CliError> {
    // The id comes from a file that hands may have touched.
    let Some(id) = WorkspaceId::parse(workspace) else { return Ok(None) };
    let found = match client.call(Method::GET, &format!("/api/v1/workspaces/{id}"), None).await {
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
        other => other?.value,
    };
    let stands = text(&found, "/status")? == "active" && text(&found, "/profile")? == product.name;
    if !stands {
        return Ok(None);
    }
    let wanted = json!({"workspace_id": workspace, "name": "demo", "permissions": ["*:*"]});
    let made = client.call(Method::POST, "/api/v1/keys", Some(&wanted)).await?.value;
    Ok(Some(KeptKey { workspace_id: workspace.to_owned(), key: text(&made, "/key")? }))
}

/// A workspace on the product's best plan, the last one, and its default key.
async fn new_workspace(client: &AdminClient, product: &Profile) -> Result<KeptKey, CliError> {
    let plan = product.plans.last().map(|plan| plan.name.as_str()).unwrap_or_default();
    let wanted = json!({"name": "Demo", "profile": product.name, "plan": plan});
    let made = client.call(Method::POST, "/api/v1/workspaces", Some(&wanted)).await?.value;
    Ok(KeptKey { workspace_id: text(&made, "/workspace/id")?, key: text(&made, "/default_key/key")? })
}

fn text(value: &Value, place: &str) -> Result<String, CliError> {
    let found = value.pointer(place).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| CliError::Demo(format!("the admin API's answer lacks {place}")))
}

#[cfg(test)]
mod tests {
    use super::super::super::admin_client::tests::server;
    use super::*;
    use crate::config::{load_profile, shipped};

    const WORKSPACE: &str = "ws_01h2xcejqtf2nbrexx3vqjhp41";
    const MADE: &str = r#"{"workspace":{"id":"ws_2"},"default_key":{"id":"key_2","key":"sk_live_new"}}"#;

    fn kept() -> KeptKey {
        KeptKey { workspace_id: WORKSPACE.to_owned(), key: "sk_live_old".to_owned() }
    }

    /// Asks for a ready key of a server that gives these answers; the key and the requests' first lines.
    async fn ready(kept: Option<&KeptKey>, answers: &[(u16, &str)]) -> (ReadyKey, Vec<String>) {
        let profile = load_profile(shipped("socialcrm").unwrap(), "socialcrm").unwrap().profile;
        let answers = answers.iter().map(|(status, body)| (*status, "application/json", (*body).to_owned()));
        let (client, asked) = server(answers.collect()).await;
        let ready = ready_key(&client, &profile, kept).await.unwrap();
        let asked = asked.await.unwrap();
        let first_lines =
            asked.iter().map(|request| request.lines().next().unwrap().replace(" HTTP/1.1", ""));
        (ready, first_lines.collect())
    }

    #[tokio::test]
    async fn a_first_run_makes_a_workspace_on_the_best_plan() {
        let (ready, asked) = ready(None, &[(201, MADE)]).await;
        assert_eq!(asked, ["POST /api/v1/workspaces"]);
        assert!(ready.is_new && ready.remark.is_none());
        assert_eq!(ready.key, KeptKey { workspace_id: "ws_2".to_owned(), key: "sk_live_new".to_owned() });
    }

    #[tokio::test]
    async fn a_kept_key_that_works_is_gone_on_with() {
        for code in [r#"{"valid":true,"code":"valid"}"#, r#"{"valid":false,"code":"rate"}"#] {
            let (ready, asked) = ready(Some(&kept()), &[(200, code)]).await;
            assert_eq!(asked, ["POST /api/v1/verify"]);
            assert!(!ready.is_new && ready.remark.is_none());
            assert_eq!(ready.key, kept());
        }
    }

    #[tokio::test]
    async fn a_revoked_key_is_replaced_in_its_workspace_and_that_is_told() {
        let answers = [
            (200, r#"{"valid":false,"code":"revoked"}"#),
            (200, r#"{"id":"ws_1","status":"active","profile":"socialcrm"}"#),
            (201, r#"{"id":"key_3","key":"sk_live_third"}"#),
        ];
        let (ready, asked) = ready(Some(&kept()), &answers).await;
        assert_eq!(
            asked[1..],
            [format!("GET /api/v1/workspaces/{WORKSPACE}"), "POST /api/v1/keys".to_owned()]
        );
        assert_eq!(ready.key, KeptKey { key: "sk_live_third".to_owned(), ..kept() });
        let remark = ready.remark.unwrap();
        assert!(ready.is_new && remark.contains("revoked") && !remark.contains("sk_live_"), "{remark}");
    }

    #[tokio::test]
    async fn a_workspace_that_is_gone_or_suspended_is_replaced() {
        let revoked = (200, r#"{"valid":false,"code":"revoked"}"#);
        let suspended = (200, r#"{"id":"ws_1","status":"suspended","profile":"socialcrm"}"#);
        for lost in [(404, r#"{"detail":"no such thing"}"#), suspended] {
            let (ready, asked) = ready(Some(&kept()), &[revoked, lost, (201, MADE)]).await;
            assert_eq!(asked[2], "POST /api/v1/workspaces");
            assert_eq!(ready.key.workspace_id, "ws_2");
        }
    }
}
