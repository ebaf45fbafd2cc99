//! What is asserted of a caller: the record as it is, signed anew when that changes or half its time is over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

impl World {
    /// The token for the next request of this key.
    async fn token(&self, raw: &RawKey) -> String {
        let attempt = Attempt {
            door: Door::Rest,
            profile: &self.profile,
            credential: Ok(raw.reveal().as_bytes()),
            wanted: Wanted::Known(Requirement::default()),
            address: None,
            cost: 1,
        };
        let granted = self.engine.verify(attempt).await.unwrap();
        let identity = self.engine.identity(&granted, true).unwrap();
        identity.assertion.as_ref().unwrap().to_string()
    }
}

fn claims(token: &str) -> serde_json::Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

fn key_name(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    head["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_told_for_half_its_life() {
    let world = World::new();
    let (workspace, _) = world.workspace("free").await;
    let (id, raw) = world.key(workspace, &[READ]).await;
    let first = world.token(&raw).await;
    let said = claims(&first);
    assert_eq!(
        (said["sub"].as_str(), said["workspace"].as_str()),
        (Some(&*id.to_string()), Some(&*workspace.to_string()))
    );
    assert_eq!(
        (&said["aud"], &said["plan"], &said["scope"]),
        (&"product".into(), &"free".into(), &READ.into())
    );
    assert_eq!((&said["iat"], &said["exp"]), (&START.into(), &(START + 60).into()));
    world.time.advance_micros(29_000_000);
    assert_eq!(world.token(&raw).await, first);
    world.time.advance_micros(1_000_000);
    assert_eq!(claims(&world.token(&raw).await)["iat"], START + 30);
}

#[tokio::test]
async fn a_change_of_the_key_or_its_workspace_is_told_with_the_next_request() {
    let world = World::new();
    let (workspace, _) = world.workspace("free").await;
    let (id, raw) = world.key(workspace, &[READ]).await;
    world.token(&raw).await;
    let patch = KeyPatch { permissions: Some(vec![]), ..KeyPatch::default() };
    world.engine.update_key(Actor::System, id, patch).await.unwrap();
    assert_eq!(claims(&world.token(&raw).await)["scope"], "");
    let patch = WorkspacePatch { plan: Some("pro".to_owned()), ..WorkspacePatch::default() };
    world.engine.update_workspace(Actor::System, workspace, patch).await.unwrap();
    assert_eq!(claims(&world.token(&raw).await)["plan"], "pro");
}

#[tokio::test]
async fn a_new_install_secret_signs_at_once_and_the_old_key_is_published_until_its_tokens_end() {
    let world = World::new();
    let (workspace, _) = world.workspace("free").await;
    let (_, raw) = world.key(workspace, &[READ]).await;
    let names = || world.engine.assertion_keys().into_iter().map(|key| key.id).collect::<Vec<_>>();
    let old = key_name(&world.token(&raw).await);
    assert_eq!(names(), std::slice::from_ref(&old));
    world.engine.rotate_install_secret(Actor::System).await.unwrap();
    let new = key_name(&world.token(&raw).await);
    assert_ne!(new, old);
    assert_eq!(names(), [new.clone(), old]);
    world.time.advance_micros(120_000_000);
    assert_eq!(names(), [new]);
}
