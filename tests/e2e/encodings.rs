//! Bodies in another coding or character set than the plain one, where the gate reads them and where it does not.
//!
//! Never here: a body that is decoded.

use serde_json::json;

use crate::daemon::{Daemon, Options};
use crate::upstreams::recording::{header, last, recording};
use crate::wire::Call;

#[tokio::test]
async fn f20_a_body_in_another_coding_is_refused_by_the_admin_api_and_passed_on_to_a_rest_upstream() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = &workspace.default_key;
    let create = json!({"workspace_id": workspace.id});
    let before = daemon.admin_json(Call::get("/api/v1/keys")).await["total"].clone();
    for coding in ["gzip", "br", "deflate, gzip", "identity, gzip", ""] {
        let admin =
            daemon.admin(Call::post("/api/v1/keys", &create).header("Content-Encoding", coding)).await;
        assert_eq!(admin.status, 400, "{coding}");
    }
    for kind in ["application/json; charset=utf-16", "application/json; charset=utf-7", "text/json"] {
        let admin = Call::new("POST", "/api/v1/keys").body(create.to_string()).header("Content-Type", kind);
        assert_eq!(daemon.admin(admin).await.status, 415, "{kind}");
    }
    assert_eq!(daemon.admin_json(Call::get("/api/v1/keys")).await["total"], before);
    let zipped = Call::new("POST", "/v1/posts").body("\u{1f}\u{8b}").bearer(&key.text);
    let zipped = zipped.header("Content-Type", "application/json").header("Content-Encoding", "gzip");
    assert_eq!(daemon.call(&zipped).await.status, 200);
    assert_eq!(header(&last(&recorded), "content-encoding"), Some("gzip"), "whoever reads it must know");
    // A coding of the transfer itself is the gate's own affair, and no other is undone.
    let coded = Call::new("POST", "/v1/posts").body("a").bearer(&key.text);
    let coded = coded.header("Transfer-Encoding", "gzip, chunked");
    assert_eq!(daemon.call(&coded).await.status, 400);
    daemon.finish().await;
    task.abort();
}
