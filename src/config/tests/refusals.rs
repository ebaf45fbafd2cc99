//! What the shipped `mcp-cloud` and `shingleai` profiles say to every refusal, word for word.
//!
//! Like the table of `socialcrm`, this is the contract that customers' clients were written against.
//!
//! Never here: a computed expectation.

use serde_json::{Value, json};

use super::super::{LoadedProfile, load_profile, shipped};
use crate::dialect::Era;
use crate::domain::denial::{Denial, Fault, Invalid, REFUSAL_NAMES, Refusal};
use crate::domain::permission::Permission;
use crate::domain::profile::{MeterNo, Verb, VerbSet};
use crate::domain::time::Wall;

fn loaded(name: &str) -> LoadedProfile {
    load_profile(shipped(name).unwrap(), name).unwrap()
}

/// Every refusal, in the order of the list of names; `scope` is one that is missing.
fn every_refusal(loaded: &LoadedProfile, scope: &str) -> Vec<Refusal> {
    let needed = loaded.profile.catalogue.number(&Permission::parse(scope).unwrap());
    assert!(needed.is_some());
    let allow = VerbSet::default().with(Verb::Post);
    let all: Vec<Refusal> = vec![
        Denial::Invalid(Invalid::Target).into(),
        Denial::TooLarge { max_bytes: 7 }.into(),
        Denial::ContentType.into(),
        Denial::TwoCredentials.into(),
        Denial::Missing.into(),
        Denial::Malformed.into(),
        Denial::Unknown.into(),
        Denial::Revoked.into(),
        Denial::Suspended.into(),
        Denial::Expired.into(),
        Denial::Address.into(),
        Denial::Signature.into(),
        Denial::Rate { retry_after_nanos: Some(59_000_000_001) }.into(),
        Denial::NotFound.into(),
        Denial::Method { allow }.into(),
        Denial::UnknownMethod.into(),
        Denial::Permission { needed }.into(),
        Denial::Plan.into(),
        Denial::Quota { meter: MeterNo(0), resets_at: Wall::from_secs(0) }.into(),
        Fault::Credential.into(),
        Fault::Internal.into(),
        Fault::Busy { retry_after_secs: 2 }.into(),
        Fault::NotDurable.into(),
        Fault::UpstreamUnreachable.into(),
        Fault::UpstreamBroken.into(),
        Fault::UpstreamLate.into(),
    ];
    assert!(all.iter().map(Refusal::name).eq(REFUSAL_NAMES));
    all
}

#[test]
fn every_refusal_of_mcp_cloud_is_the_pages() {
    let loaded = loaded("mcp-cloud");
    let bad_key = (
        401,
        "invalid_api_key",
        "authentication_error",
        "The API key provided is invalid or has been revoked",
    );
    let invalid = |status, message| (status, "invalid_request", "invalid_request_error", message);
    let nothing = (404, "not_found", "invalid_request_error", "Resource does not exist.");
    let down = |status, message| (status, "upstream_error", "api_error", message);
    let table = [
        (400, "invalid_request", "invalid_request_error", ""),
        invalid(413, "The body is larger than 7 bytes."),
        invalid(415, "The content type must be application/json."),
        invalid(400, "Send exactly one Authorization header."),
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        (429, "rate_limit_exceeded", "rate_limit_error", "Rate limit exceeded. Slow down and retry."),
        nothing,
        invalid(405, "This method is not allowed here."),
        nothing,
        (403, "insufficient_permissions", "permission_error", "This key lacks the scope models:read."),
        (402, "payment_required", "permission_error", "This action needs a paid plan."),
        (402, "quota_exceeded", "rate_limit_error", "The plan's quota for this action is used up."),
        (500, "internal_error", "api_error", "The key could not be checked."),
        (500, "internal_error", "api_error", "Something went wrong on our side."),
        (503, "unavailable", "api_error", "The service is busy. Retry later."),
        (503, "unavailable", "api_error", "The service cannot save changes now. Retry later."),
        down(502, "The upstream cannot be reached."),
        down(502, "The upstream broke off its answer."),
        down(504, "The upstream did not answer in time."),
    ];
    let dialect = loaded.rest.as_ref().unwrap();
    let refusals = every_refusal(&loaded, "models:read");
    assert_eq!(table.len(), refusals.len());
    for ((status, code, kind, message), refusal) in table.into_iter().zip(refusals) {
        let spoken = dialect.say(&refusal);
        assert_eq!(spoken.status.as_u16(), status, "{}", refusal.name());
        if message.is_empty() {
            let body: Value = serde_json::from_slice(&spoken.body).unwrap();
            assert_eq!((&body["error"]["code"], &body["error"]["type"]), (&json!(code), &json!(kind)));
            continue;
        }
        let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}","type":"{kind}"}}}}"#);
        assert_eq!(spoken.body, body, "{}", refusal.name());
    }
}

#[test]
fn every_refusal_of_shingleai_is_the_pages_with_the_requests_id() {
    let loaded = loaded("shingleai");
    let bad_key = (401, -32001, "Invalid or missing MCP key");
    let no_permission = (403, -32003, "Insufficient permissions for this tool");
    let table = [
        (400, -32600, ""),
        (413, -32600, "The body is larger than 7 bytes."),
        (415, -32600, "The content type must be application/json."),
        (400, -32600, "Send exactly one Authorization header."),
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        bad_key,
        (200, -32004, "Rate limit exceeded"),
        (404, -32601, "Not found"),
        (405, -32600, "This method is not allowed here."),
        (200, -32601, "Method not found"),
        no_permission,
        (403, -32003, "This action needs a paid plan"),
        (403, -32003, "Monthly MCP call limit exceeded"),
        (500, -32001, "Failed to validate API key."),
        (500, -32603, "Internal error"),
        (503, -32603, "The service is busy. Retry later."),
        (503, -32603, "The service cannot save changes now. Retry later."),
        (502, -32603, "The upstream cannot be reached."),
        (502, -32603, "The upstream broke off its answer."),
        (504, -32603, "The upstream did not answer in time."),
    ];
    let dialect = loaded.rpc.as_ref().unwrap();
    let refusals = every_refusal(&loaded, "contacts:read");
    assert_eq!(table.len(), refusals.len());
    for ((status, code, message), refusal) in table.into_iter().zip(refusals) {
        let name = refusal.name();
        let spoken = dialect.say(&refusal, Some("7"), Era::Legacy);
        let body: Value = serde_json::from_slice(&spoken.body).unwrap();
        assert_eq!((spoken.status.as_u16(), &body["error"]["code"]), (status, &json!(code)), "{name}");
        assert!(message.is_empty() || body["error"]["message"] == message, "{name}: {body}");
        let id = if name == "two_credentials" { Value::Null } else { json!(7) };
        assert_eq!(body["id"], id, "{name}");
        let data = match name {
            "rate" => json!({"retryAfter": 60}),
            "plan" | "quota" => json!({"upgradeUrl": "https://www.shingleai.com/pricing"}),
            _ => Value::Null,
        };
        assert_eq!(body["error"]["data"], data, "{name}");
    }
    let unmapped = dialect.say(&Denial::Permission { needed: None }.into(), Some("7"), Era::Modern);
    let (status, code, message) = no_permission;
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":{code},"message":"{message}"}}}}"#);
    assert_eq!((unmapped.status.as_u16(), unmapped.body), (status, body.into()));
}
