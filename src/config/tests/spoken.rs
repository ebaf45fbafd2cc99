//! What the shipped `socialcrm` profile says to every refusal, word for word, over REST and over JSON-RPC.
//!
//! The table is the contract that customers' clients were written against. It stands here, where files become
//! dialects, because the words are the file's.
//!
//! Never here: a computed expectation.

use serde_json::{Value, json};

use super::super::{LoadedProfile, load_profile, shipped};
use crate::dialect::{Era, Spoken};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::permission::Permission;
use crate::domain::profile::{MeterNo, Verb, VerbSet};
use crate::domain::time::Wall;

fn socialcrm() -> LoadedProfile {
    load_profile(shipped("socialcrm").unwrap(), "socialcrm").unwrap()
}

fn lacking(loaded: &LoadedProfile, scope: &str) -> Refusal {
    let needed = loaded.profile.catalogue.number(&Permission::parse(scope).unwrap());
    assert!(needed.is_some());
    Denial::Permission { needed }.into()
}

fn header(spoken: &Spoken) -> String {
    let text = spoken.header.as_ref().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    text.unwrap_or_default()
}

const CHALLENGE: &str = "www-authenticate: Bearer realm=\"keyward\"";
const ALLOW: &str = "allow: GET, HEAD, POST";
const KEY_REST: &str = r#"{"error":{"code":"unauthorized","message":"Invalid API key."}}"#;

/// Refusal, then REST: status, header, body; then JSON-RPC: status, header, code and message.
type Row = (Refusal, u16, &'static str, String, u16, &'static str, (i32, String));

fn rest(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let invalid = |message: &str| rest("invalid_request", message);
    let rpc = |code: i32, message: &str| (code, message.to_owned());
    let allow = VerbSet::default().with(Verb::Get).with(Verb::Post);
    let quota = Denial::Quota { meter: MeterNo(0), resets_at: Wall::from_secs(0) };
    let same = |denial: Denial| {
        (denial.into(), 401, CHALLENGE, KEY_REST.to_owned(), 401, CHALLENGE, rpc(-32001, "Invalid API key."))
    };
    let large = "The body is larger than 1048576 bytes.";
    let content = "The content type must be application/json.";
    let method = "This method is not allowed here.";
    let unsaved = "The service cannot save changes now. Retry later.";
    let busy = "The service is busy. Retry later.";
    let gone = "The upstream cannot be reached.";
    let broken = "The upstream broke off its answer.";
    let late = "The upstream did not answer in time.";
    let missing = "Missing API key. Send it as Authorization: Bearer or as X-API-Key.";
    let two = "Send exactly one credential: Authorization: Bearer or X-API-Key, once.";
    let slow = "Too many requests. Slow down and retry.";
    vec![
        (
            Denial::TooLarge { max_bytes: 1 << 20 }.into(),
            413,
            "",
            invalid(large),
            413,
            "",
            rpc(-32600, large),
        ),
        (Denial::ContentType.into(), 415, "", invalid(content), 415, "", rpc(-32600, content)),
        (
            Denial::TwoCredentials.into(),
            400,
            "",
            invalid(two),
            400,
            "",
            rpc(-32600, "Send exactly one Authorization header."),
        ),
        (
            Denial::Missing.into(),
            401,
            CHALLENGE,
            rest("unauthorized", missing),
            401,
            CHALLENGE,
            rpc(-32001, "Missing Authorization header."),
        ),
        same(Denial::Malformed),
        same(Denial::Unknown),
        same(Denial::Revoked),
        same(Denial::Suspended),
        same(Denial::Address),
        same(Denial::Signature),
        (
            Denial::Expired.into(),
            401,
            CHALLENGE,
            KEY_REST.to_owned(),
            401,
            CHALLENGE,
            rpc(-32001, "API key expired."),
        ),
        (
            Denial::Rate { retry_after_nanos: Some(1_500_000_000) }.into(),
            429,
            "retry-after: 2",
            rest("rate_limited", slow),
            200,
            "retry-after: 2",
            rpc(-32004, "Rate limit exceeded"),
        ),
        (
            Denial::Rate { retry_after_nanos: None }.into(),
            429,
            "",
            rest("rate_limited", slow),
            200,
            "",
            rpc(-32004, "Rate limit exceeded"),
        ),
        (
            Denial::NotFound.into(),
            404,
            "",
            rest("not_found", "Resource does not exist."),
            404,
            "",
            rpc(-32601, "Not found"),
        ),
        (Denial::Method { allow }.into(), 405, ALLOW, invalid(method), 405, ALLOW, rpc(-32600, method)),
        (
            Denial::UnknownMethod.into(),
            404,
            "",
            rest("not_found", "Resource does not exist."),
            404,
            "",
            rpc(-32601, "Method not found"),
        ),
        (
            Denial::Permission { needed: None }.into(),
            403,
            "",
            rest("forbidden_scope", "This is not open to any key."),
            403,
            "",
            rpc(-32003, "Insufficient permissions for this tool"),
        ),
        (
            Denial::Plan.into(),
            402,
            "",
            rest("payment_required", "This action needs a paid plan."),
            403,
            "",
            rpc(-32003, "This action needs a paid plan"),
        ),
        (
            quota.into(),
            402,
            "",
            rest("quota_exceeded", "The plan's quota for this action is used up."),
            403,
            "",
            rpc(-32003, "Monthly MCP call limit exceeded"),
        ),
        (
            Fault::Credential.into(),
            500,
            "",
            rest("internal_error", "The key could not be checked."),
            500,
            "",
            rpc(-32001, "Failed to validate API key."),
        ),
        (
            Fault::Internal.into(),
            500,
            "",
            rest("internal_error", "Something went wrong on our side."),
            500,
            "",
            rpc(-32603, "Internal error"),
        ),
        (
            Fault::Busy { retry_after_secs: 0 }.into(),
            503,
            "retry-after: 1",
            rest("unavailable", busy),
            503,
            "retry-after: 1",
            rpc(-32603, busy),
        ),
        (
            Fault::NotDurable.into(),
            503,
            "retry-after: 5",
            rest("unavailable", unsaved),
            503,
            "retry-after: 5",
            rpc(-32603, unsaved),
        ),
        (
            Fault::UpstreamUnreachable.into(),
            502,
            "",
            rest("upstream_error", gone),
            502,
            "",
            rpc(-32603, gone),
        ),
        (Fault::UpstreamBroken.into(), 502, "", rest("upstream_error", broken), 502, "", rpc(-32603, broken)),
        (Fault::UpstreamLate.into(), 504, "", rest("upstream_error", late), 504, "", rpc(-32603, late)),
    ]
}

#[test]
fn every_refusal_is_spoken_as_the_pages_say() {
    let loaded = socialcrm();
    let (rest, rpc) = (loaded.rest.as_ref().unwrap(), loaded.rpc.as_ref().unwrap());
    for (refusal, rest_status, rest_header, rest_body, rpc_status, rpc_header, (code, message)) in rows() {
        let name = refusal.name();
        let spoken = rest.say(&refusal);
        assert_eq!((spoken.status.as_u16(), header(&spoken).as_str()), (rest_status, rest_header), "{name}");
        assert_eq!(spoken.body, rest_body, "{name}");
        let spoken = rpc.say(&refusal, Some("\"a-1\""), Era::Modern);
        assert_eq!((spoken.status.as_u16(), header(&spoken).as_str()), (rpc_status, rpc_header), "{name}");
        let body: Value = serde_json::from_slice(&spoken.body).unwrap();
        let answered = (body["error"]["code"].as_i64(), body["error"]["message"].as_str());
        assert_eq!(answered, (Some(code.into()), Some(message.as_str())), "{name}");
    }
}

#[test]
fn a_credential_refusal_has_a_null_id_and_every_other_one_the_requests() {
    let rpc = socialcrm().rpc.unwrap();
    let no_id = |refusal: &Refusal| {
        matches!(
            refusal.name(),
            "missing"
                | "malformed"
                | "unknown"
                | "revoked"
                | "suspended"
                | "expired"
                | "address"
                | "signature"
                | "two_credentials"
                | "credential_fault"
        )
    };
    for row in rows() {
        let spoken = rpc.say(&row.0, Some("7"), Era::Legacy);
        let body: Value = serde_json::from_slice(&spoken.body).unwrap();
        let id = if no_id(&row.0) { Value::Null } else { json!(7) };
        assert_eq!((&body["id"], &body["jsonrpc"]), (&id, &json!("2.0")), "{}", row.0.name());
    }
    let spoken = rpc.say(&Denial::Missing.into(), Some("7"), Era::Legacy);
    let page =
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Missing Authorization header."}}"#;
    assert_eq!(spoken.body, page);
}

#[test]
fn a_missing_scope_is_named_or_has_its_own_words_over_rest() {
    let loaded = socialcrm();
    let rest = loaded.rest.as_ref().unwrap();
    let own = r#"{"error":{"code":"forbidden_scope","message":"This key cannot publish posts."}}"#;
    assert_eq!(rest.say(&lacking(&loaded, "posts:publish")).body, own);
    let named = r#"{"error":{"code":"forbidden_scope","message":"This key lacks the scope posts:write."}}"#;
    assert_eq!(rest.say(&lacking(&loaded, "posts:write")).body, named);
    let rpc = loaded.rpc.as_ref().unwrap();
    let tool = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32003,"message":"Insufficient permissions for this tool"}}"#;
    assert_eq!(rpc.say(&lacking(&loaded, "posts:publish"), Some("1"), Era::Modern).body, tool);
}

#[test]
fn json_rpc_data_tells_when_to_come_back_and_where_to_upgrade() {
    let rpc = socialcrm().rpc.unwrap();
    let data = |refusal: Denial| {
        let spoken = rpc.say(&refusal.into(), Some("1.0"), Era::Modern);
        assert!(spoken.body.starts_with(br#"{"jsonrpc":"2.0","id":1.0,"#));
        serde_json::from_slice::<Value>(&spoken.body).unwrap()["error"]["data"].clone()
    };
    assert_eq!(data(Denial::Rate { retry_after_nanos: Some(59_000_000_001) }), json!({"retryAfter": 60}));
    assert_eq!(data(Denial::Rate { retry_after_nanos: None }), Value::Null);
    let upgrade = json!({"upgradeUrl": "https://socialcrm.com/pricing"});
    assert_eq!(data(Denial::Plan), upgrade);
    assert_eq!(data(Denial::Quota { meter: MeterNo(0), resets_at: Wall::from_secs(0) }), upgrade);
}

#[test]
fn a_refusal_without_an_id_never_has_status_200() {
    let rpc = socialcrm().rpc.unwrap();
    for row in rows() {
        for era in [Era::Legacy, Era::Modern] {
            let spoken = rpc.say(&row.0, None, era);
            assert!(spoken.status.as_u16() >= 400, "{}", row.0.name());
            assert!(spoken.body.starts_with(br#"{"jsonrpc":"2.0","id":null,"#));
        }
    }
    let legacy = rpc.say(&Denial::UnknownMethod.into(), Some("1"), Era::Legacy);
    assert_eq!(legacy.status.as_u16(), 200);
}

#[test]
fn what_cannot_be_read_says_what_was_expected() {
    let loaded = socialcrm();
    let (rest, rpc) = (loaded.rest.as_ref().unwrap(), loaded.rpc.as_ref().unwrap());
    let cases = [
        (Invalid::Host, 400, -32600, "exactly one well-formed Host header"),
        (Invalid::ForeignHost, 403, -32600, "not served here"),
        (Invalid::Target, 400, -32600, "dot segments"),
        (Invalid::Framing, 400, -32600, "one body length"),
        (Invalid::Header, 400, -32600, "plain text"),
        (Invalid::NotJson, 400, -32700, "JSON"),
        (Invalid::NotRpc, 400, -32600, "JSON-RPC 2.0"),
        (Invalid::AmbiguousMember, 400, -32600, "every member once"),
        (Invalid::Params, 400, -32602, "params"),
        (Invalid::HeaderMismatch, 400, -32020, "agree with the body"),
        (Invalid::Expectation, 417, -32600, "100-continue"),
    ];
    for (invalid, status, code, expected) in cases {
        let refusal = Denial::Invalid(invalid).into();
        let spoken = rest.say(&refusal);
        let body: Value = serde_json::from_slice(&spoken.body).unwrap();
        assert_eq!(
            (spoken.status.as_u16(), body["error"]["code"].as_str()),
            (status, Some("invalid_request"))
        );
        assert!(body["error"]["message"].as_str().unwrap().contains(expected), "{invalid:?}");
        let spoken = rpc.say(&refusal, Some("9"), Era::Modern);
        let body: Value = serde_json::from_slice(&spoken.body).unwrap();
        assert_eq!(
            (spoken.status.as_u16(), body["error"]["code"].as_i64()),
            (status, Some(code)),
            "{invalid:?}"
        );
        assert!(body["error"]["message"].as_str().unwrap().contains(expected), "{invalid:?}");
        let id = if invalid == Invalid::NotJson { Value::Null } else { json!(9) };
        assert_eq!(body["id"], id, "{invalid:?}");
    }
    // What servers of the official libraries say, since clients begin anew at that.
    let spoken = rpc.say(&Denial::Invalid(Invalid::Session).into(), Some("9"), Era::Legacy);
    let body: Value = serde_json::from_slice(&spoken.body).unwrap();
    let error = json!({"code": -32001, "message": "Session not found"});
    assert_eq!((spoken.status.as_u16(), &body["error"], &body["id"]), (404, &error, &json!(9)));
}
