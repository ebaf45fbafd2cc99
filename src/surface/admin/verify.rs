//! The verify call: the pipeline as JSON, for gateways and apps that ask instead of being proxied.
//!
//! A refusal of the key is an answer (`200`, `valid: false`), a fault of ours is not (`503`). It spends like
//! a request unless `dry_run` is set.
//!
//! Never here: an answer that echoes the key.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::super::spoken::json as answer;
use super::intake::{self, Fields, refused};
use super::verify_mcp::McpHeaders;
use super::{Answered, Call};
use crate::dialect::{AdminRefusal, reset_secs};
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Refusal};
use crate::domain::profile::{Found, Profile, Requirement, SYSTEM_PROFILE, ToolClass, Verb};
use crate::domain::usage::Place;
use crate::engine::{Door, Granted, Refused};
use crate::http::target::Target;

pub(super) async fn verify(call: Call<'_>) -> Answered {
    let known = ["key", "permission", "method", "path", "tool", "mcp", "ip", "cost", "meter", "dry_run"];
    let fields = Fields::read(call.body, &known)?;
    let mcp = fields.optional("mcp", McpHeaders::read)?;
    if let Some(mcp) = mcp.as_ref().filter(|_| !fields.has("key")) {
        return keyless(&call, &fields, mcp);
    }
    let key = zeroize::Zeroizing::new(fields.required("key", intake::text)?);
    let cost = fields.optional("cost", intake::count)?;
    let dry_run = fields.optional("dry_run", intake::flag)?.unwrap_or(false);
    let address = fields.optional("ip", intake::address)?;
    let Some(profile) =
        call.engine.profile_of_key(key.as_bytes()).filter(|profile| profile.name != SYSTEM_PROFILE)
    else {
        return Ok(Said::default().with(Err(Denial::Malformed)));
    };
    if let Some(named) =
        mcp.as_ref().and_then(|mcp| mcp.profile.as_deref()).filter(|named| *named != profile.name)
    {
        let expected = format!("{}, whose key this is, not {}", profile.name, intake::quoted(named));
        return Err(refused("mcp.profile", expected).into());
    }
    if mcp.is_some() && fields.has_any(&["permission", "method", "path", "tool"]) {
        return Err(refused("mcp", "nothing beside it that says what is asked").into());
    }
    // What a tool does is known of the key alone, once that is known.
    let asked_first = wanted(&fields, profile, |_| None)?;
    let credential = Ok(key.as_bytes());
    let identified = if dry_run {
        call.engine.identify_to_rehearse(Door::Verify, profile, &credential, address).await
    } else {
        call.engine.identify_at(asked_first.place(), Door::Verify, profile, &credential, address).await
    };
    let caller = match identified {
        Ok(caller) => caller,
        Err(Refusal::Denied(denial)) => return Ok(Said::default().with(Err(denial))),
        Err(fault) => return Err(fault.into()),
    };
    let class_of = |tool: &str| call.engine.learnt_tools().class(caller.key(), tool);
    let wanted = match &mcp {
        Some(mcp) => with_meter(mcp.wanted(profile.rpc.as_ref(), class_of), &fields, profile)?,
        None if fields.has("tool") => wanted(&fields, profile, class_of)?,
        None => asked_first,
    };
    let cost = cost.unwrap_or_else(|| wanted.cost());
    let mut said = Said {
        mcp: mcp.as_ref().map(|mcp| mcp.told(profile.rpc.as_ref(), class_of)),
        key_id: Some(caller.key().to_string()),
        workspace_id: Some(caller.workspace().to_string()),
        ..Said::default()
    };
    if dry_run {
        return Ok(said.with(call.engine.rehearse(&caller, &wanted, cost)));
    }
    let admitted = call.engine.admit(caller, &wanted, cost).await;
    let limit_states = admitted.as_ref().map_or_else(Refused::limit_states, Granted::limit_states);
    if let Some((_, rate)) = limit_states.tightest() {
        said.remaining = admitted.is_ok().then_some(rate.remaining);
        let (limit, remaining, reset_s) = (rate.limit, rate.remaining, reset_secs(rate));
        said.rate = Some(SaidRate { limit, remaining, reset_s });
    }
    match admitted.map(drop).map_err(|refused| refused.refusal) {
        Ok(()) => Ok(said.with(Ok(()))),
        Err(Refusal::Denied(denial)) => Ok(said.with(Err(denial))),
        Err(fault) => Err(fault.into()),
    }
}

/// An MCP request that brings no key: what its product opens without one, paced by address.
fn keyless(call: &Call<'_>, fields: &Fields<'_>, mcp: &McpHeaders) -> Answered {
    if fields.has_any(&["permission", "method", "path", "tool", "cost", "meter", "dry_run"]) {
        return Err(refused("key", "the key's text: without it, mcp and ip say all there is").into());
    }
    let address = fields.optional("ip", intake::address)?;
    let profile = mcp.profile.as_deref().and_then(|name| call.engine.profile(name));
    let Some(profile) = profile.filter(|profile| profile.name != SYSTEM_PROFILE) else {
        return Err(refused(
            "mcp.profile",
            "the name of a profile that is served, for a request without a key",
        )
        .into());
    };
    let door = profile.rpc.as_ref();
    let passed = match mcp.public(door) {
        Some(public) => call.engine.open_pass(profile, public, address).map(drop),
        None => Err(Denial::Missing),
    };
    Ok(Said { mcp: Some(mcp.told(door, |_| None)), ..Said::default() }.with(passed))
}

/// What is asked: a permission, a route, a tool, or only whether the key stands; and by which meter it is
/// counted. `class_of` is what is known of a tool that is mapped by what it does.
pub(super) fn wanted(
    fields: &Fields<'_>,
    profile: &Profile,
    class_of: impl Fn(&str) -> Option<ToolClass>,
) -> Result<Wanted, AdminRefusal> {
    let permission = fields.optional("permission", intake::permission)?;
    let method = fields.optional("method", intake::text)?;
    let path = fields.optional("path", intake::text)?;
    let tool = fields.optional("tool", intake::text)?;
    let wanted = match (permission, method, path, tool) {
        (None, None, None, None) => Wanted::Known(Requirement::default().at(Place::Standing)),
        (Some(permission), None, None, None) => {
            let unknown = || refused("permission", intake::known_permissions(profile));
            Wanted::Known(profile.requirement(&permission).ok_or_else(unknown)?)
        }
        (None, Some(method), Some(path), None) => route(profile, &method, &path)?,
        (None, None, None, Some(tool)) => {
            let mapped = profile.rpc.as_ref().and_then(|door| door.requirement(&tool, class_of(&tool)));
            mapped.map_or(Wanted::Refused(Denial::Permission { needed: None }), Wanted::Known)
        }
        _ => return Err(refused("permission", "one of: permission; method and path; tool; or none of them")),
    };
    with_meter(wanted, fields, profile)
}

/// The same, counted by the meter that is given.
fn with_meter(wanted: Wanted, fields: &Fields<'_>, profile: &Profile) -> Result<Wanted, AdminRefusal> {
    let meter = fields.optional("meter", |field, raw| {
        let name = intake::text(field, raw)?;
        profile.meter(&name).ok_or_else(|| {
            refused(field, format!("a meter of {}: {}", profile.name, profile.meters.join(", ")))
        })
    })?;
    Ok(match (wanted, meter) {
        (Wanted::Known(requirement), Some(meter)) => {
            Wanted::Known(Requirement { meter: Some(meter), ..requirement })
        }
        (wanted, _) => wanted,
    })
}

fn route(profile: &Profile, method: &str, path: &str) -> Result<Wanted, AdminRefusal> {
    let unreadable = || refused("path", "an absolute path that can be read one way");
    let uri: hyper::Uri = path.parse().map_err(|_| unreadable())?;
    if uri.authority().is_some() {
        return Err(unreadable());
    }
    Target::parse(&uri).map_err(|_| unreadable())?;
    let verb = Verb::of_method(method);
    let found = profile.rest.as_ref().map_or(Found::Nothing, |door| door.routes.find(verb, uri.path()));
    Ok(match found {
        Found::Route(route) => Wanted::Known(route.requirement),
        Found::OtherVerbs(allow) => Wanted::Refused(Denial::Method { allow }),
        Found::Nothing => Wanted::Refused(Denial::NotFound),
    })
}

/// What is answered, in this order; what there is nothing to say of is left out.
#[derive(Default, Serialize)]
struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<SaidRate>,
    valid: bool,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
}

/// Where the rate with the fewest tokens left stands.
#[derive(Serialize)]
struct SaidRate {
    limit: u64,
    remaining: u64,
    reset_s: u64,
}

impl Said {
    /// The answer, with what was decided.
    fn with(mut self, outcome: Result<(), Denial>) -> crate::http::Response {
        (self.valid, self.code) = (outcome.is_ok(), "valid");
        if let Err(denial) = outcome {
            self.code = code(&denial);
            match denial {
                Denial::Rate { retry_after_nanos: Some(nanos) } => {
                    self.retry_after_ms = Some(nanos.div_ceil(1_000_000));
                }
                Denial::Quota { resets_at, .. } => self.resets_at = Some(resets_at.to_rfc3339()),
                _ => {}
            }
        }
        answer(StatusCode::OK, &self)
    }
}

/// The stable words of the verify call. The asking app is trusted with the true reason; its own callers are
/// its affair.
pub(super) fn code(denial: &Denial) -> &'static str {
    match denial {
        Denial::Invalid(_)
        | Denial::TooLarge { .. }
        | Denial::ContentType
        | Denial::TwoCredentials
        | Denial::Malformed => "malformed",
        Denial::Missing => "missing",
        Denial::Unknown => "unknown",
        Denial::Revoked | Denial::Suspended => "revoked",
        Denial::Expired => "expired",
        Denial::Address => "address",
        Denial::Signature => "signature",
        Denial::Rate { .. } => "rate",
        Denial::NotFound | Denial::Method { .. } | Denial::UnknownMethod | Denial::Permission { .. } => {
            "permission"
        }
        Denial::Plan => "plan",
        Denial::Quota { .. } => "quota",
    }
}
