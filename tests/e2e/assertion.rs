//! What an upstream can check without asking back: the token is signed by the key that the admin listener
//! publishes, says what the headers beside it say, and nobody else can have it said.
//!
//! Never here: the daemon's own code to check a signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::{header, last, recording};
use crate::wire::Call;

/// The claims of a token that one of these keys signed.
fn checked(token: &str, keys: &Value) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == parts[0]["kid"]).unwrap();
    assert_eq!(
        (&parts[0]["alg"], &key["kty"], &key["crv"]),
        (&json!("EdDSA"), &json!("OKP"), &json!("Ed25519"))
    );
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).unwrap();
    parts[1].clone()
}

#[tokio::test]
async fn an_upstream_can_check_who_asks_with_the_published_key_alone() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let published = daemon.admin_bare(&Call::get("/.well-known/jwks.json")).await;
    assert_eq!(published.status, 200, "{published:?}");
    assert!(published.header("cache-control").is_some_and(|value| value.contains("max-age")));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for call in [Call::get("/v1/posts"), Call::rpc(&message)] {
        let spoofed = call.bearer(&key.text).header("X-Keyward-Assertion", "a.b.c");
        assert_eq!(daemon.call(&spoofed).await.status, 200);
        let seen = last(&recorded);
        let said = checked(header(&seen, "x-keyward-assertion").unwrap(), &published.json());
        for (claim, told) in [
            ("sub", "x-keyward-key-id"),
            ("workspace", "x-keyward-workspace"),
            ("plan", "x-keyward-plan"),
            ("scope", "x-keyward-scopes"),
        ] {
            assert_eq!(said[claim].as_str(), header(&seen, told), "{claim}");
        }
        assert_eq!((&said["iss"], &said["aud"]), (&json!("keyward"), &json!("socialcrm")));
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 60);
    }
    // What needs no key has nobody to speak of.
    assert_eq!(daemon.call(&Call::rpc(&message).header("X-Keyward-Assertion", "a.b.c")).await.status, 200);
    assert_eq!(header(&last(&recorded), "x-keyward-assertion"), None);
    daemon.finish().await;
    task.abort();
}
