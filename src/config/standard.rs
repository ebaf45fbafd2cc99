//! The standard words: what a door says when its profile chooses `words = "standard"`.
//!
//! Every refusal has one here, for either envelope of a REST door and for JSON-RPC, in the codes that the
//! public pages of the shipped products use.
//!
//! Never here: a word that a profile gets without having asked for it.

use http::StatusCode;

use crate::dialect::{Envelope, RestWord, RpcWord};

/// How a profile asks for these.
pub(super) const STANDARD: &str = "standard";

/// What one refusal is called.
struct Standard {
    name: &'static str,
    /// Status over REST, then over JSON-RPC.
    statuses: (u16, u16),
    codes: &'static Codes,
    message: &'static str,
}

/// What a group of refusals is called at each door.
struct Codes {
    /// In the envelope `error`.
    plain: &'static str,
    /// In the envelope `error+type`, with its type.
    typed: (&'static str, &'static str),
    rpc: i32,
}

const REQUEST: Codes =
    Codes { plain: "invalid_request", typed: ("invalid_request", "invalid_request_error"), rpc: -32_600 };
const KEY: Codes =
    Codes { plain: "unauthorized", typed: ("invalid_api_key", "authentication_error"), rpc: -32_001 };
const PACE: Codes =
    Codes { plain: "rate_limited", typed: ("rate_limit_exceeded", "rate_limit_error"), rpc: -32_004 };
const NOWHERE: Codes =
    Codes { plain: "not_found", typed: ("not_found", "invalid_request_error"), rpc: -32_601 };
const SCOPE: Codes =
    Codes { plain: "forbidden_scope", typed: ("insufficient_permissions", "permission_error"), rpc: -32_003 };
const PLAN: Codes =
    Codes { plain: "payment_required", typed: ("payment_required", "permission_error"), rpc: -32_003 };
const QUOTA: Codes =
    Codes { plain: "quota_exceeded", typed: ("quota_exceeded", "rate_limit_error"), rpc: -32_003 };
const CHECK: Codes = Codes { plain: "internal_error", typed: ("internal_error", "api_error"), rpc: -32_001 };
const OURS: Codes = Codes { plain: "internal_error", typed: ("internal_error", "api_error"), rpc: -32_603 };
const LATER: Codes = Codes { plain: "unavailable", typed: ("unavailable", "api_error"), rpc: -32_603 };
const UPSTREAM: Codes =
    Codes { plain: "upstream_error", typed: ("upstream_error", "api_error"), rpc: -32_603 };

/// Every refusal.
const WORDS: [Standard; 23] = [
    standard("invalid", (400, 400), &REQUEST, "Invalid request: expected {expected}."),
    standard("foreign_host", (403, 403), &REQUEST, "This host or origin is not served here."),
    standard(
        "expectation",
        (417, 417),
        &REQUEST,
        "Invalid request: expected no expectation but 100-continue.",
    ),
    standard("too_large", (413, 413), &REQUEST, "The body is larger than {max_bytes} bytes."),
    standard("content_type", (415, 415), &REQUEST, "The content type is not the one expected."),
    standard("two_credentials", (400, 400), &REQUEST, "Send exactly one API key, once."),
    standard("missing", (401, 401), &KEY, "Missing API key. Send it as Authorization: Bearer."),
    standard("invalid_key", (401, 401), &KEY, "Invalid API key."),
    standard("expired", (401, 401), &KEY, "Invalid API key."),
    standard("rate", (429, 200), &PACE, "Too many requests. Slow down and retry."),
    standard("not_found", (404, 404), &NOWHERE, "Resource does not exist."),
    standard("method", (405, 405), &REQUEST, "This method is not allowed here."),
    standard("closed", (403, 403), &SCOPE, "This is not open to any key."),
    standard("permission", (403, 403), &SCOPE, "This key lacks the scope {scope}."),
    standard("plan", (402, 403), &PLAN, "This action needs a paid plan."),
    standard("quota", (402, 403), &QUOTA, "The plan's quota for this action is used up."),
    standard("credential_fault", (500, 500), &CHECK, "The key could not be checked."),
    standard("internal_fault", (500, 500), &OURS, "Something went wrong on our side."),
    standard("busy", (503, 503), &LATER, "The service is busy. Retry later."),
    standard("not_durable", (503, 503), &LATER, "The service cannot save changes now. Retry later."),
    standard("upstream_unreachable", (502, 502), &UPSTREAM, "The upstream cannot be reached."),
    standard("upstream_broken", (502, 502), &UPSTREAM, "The upstream broke off its answer."),
    standard("upstream_late", (504, 504), &UPSTREAM, "The upstream did not answer in time."),
];

const fn standard(
    name: &'static str,
    statuses: (u16, u16),
    codes: &'static Codes,
    message: &'static str,
) -> Standard {
    Standard { name, statuses, codes, message }
}

/// What a REST door says to the named refusal.
pub(super) fn rest(name: &str, envelope: Envelope) -> Option<RestWord> {
    let word = find(name)?;
    let (code, kind) = match envelope {
        Envelope::Error => (word.codes.plain, None),
        Envelope::ErrorType => (word.codes.typed.0, Some(word.codes.typed.1.to_owned())),
    };
    let status = StatusCode::from_u16(word.statuses.0).ok()?;
    Some(RestWord { status, code: code.to_owned(), kind, message: word.message.to_owned() })
}

/// What a JSON-RPC door says to the named refusal.
pub(super) fn rpc(name: &str) -> Option<RpcWord> {
    let word = find(name)?;
    let status = StatusCode::from_u16(word.statuses.1).ok()?;
    Some(RpcWord { status, code: word.codes.rpc, message: word.message.to_owned() })
}

fn find(name: &str) -> Option<&'static Standard> {
    WORDS.iter().find(|word| word.name == name)
}

#[cfg(test)]
mod tests {
    use crate::config::{LoadedProfile, load_profile, shipped};
    use crate::dialect::Era;
    use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
    use crate::domain::profile::VerbSet;

    /// The shipped profile with `table` in the place of its REST door's words.
    fn with_words(name: &str, table: &str) -> Result<LoadedProfile, Vec<String>> {
        let text = shipped(name).unwrap();
        let start = text.find("[rest.words]").unwrap();
        let rest = &text[start..];
        let end = rest.find("\n\n").map_or(rest.len(), |end| end);
        let text = format!("{}{table}{}", &text[..start], &rest[end..]);
        load_profile(&text, "p.toml").map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    /// The shipped profile with `words = "standard"` for its REST door.
    fn standard_rest(name: &str) -> LoadedProfile {
        let text = shipped(name).unwrap();
        let start = text.find("[rest.words]").unwrap();
        let rest = &text[start..];
        let end = rest.find("\n\n").unwrap_or(rest.len());
        let text = format!("{}{}", &text[..start], &rest[end..]);
        let text = text.replacen("[rest]\n", "[rest]\nwords = \"standard\"\n", 1);
        load_profile(&text, "p.toml").unwrap()
    }

    fn refusals() -> Vec<Refusal> {
        vec![
            Denial::Missing.into(),
            Denial::Unknown.into(),
            Denial::Expired.into(),
            Denial::Address.into(),
            Denial::Rate { retry_after_nanos: None }.into(),
            Denial::NotFound.into(),
            Denial::Method { allow: VerbSet::default() }.into(),
            Denial::Permission { needed: None }.into(),
            Denial::Plan.into(),
            Denial::TooLarge { max_bytes: 7 }.into(),
            Fault::Internal.into(),
            Fault::NotDurable.into(),
            Fault::UpstreamLate.into(),
        ]
    }

    #[test]
    fn the_standard_words_have_the_codes_of_the_pages() {
        for name in ["socialcrm", "mcp-cloud"] {
            let page = load_profile(shipped(name).unwrap(), name).unwrap();
            let (page, standard) = (page.rest.unwrap(), standard_rest(name).rest.unwrap());
            for refusal in refusals() {
                let parts = |dialect: &crate::dialect::RestDialect| {
                    let spoken = dialect.say(&refusal);
                    let body: serde_json::Value = serde_json::from_slice(&spoken.body).unwrap();
                    (spoken.status, body["error"]["code"].clone(), body["error"]["type"].clone())
                };
                assert_eq!(parts(&page), parts(&standard), "{name}: {}", refusal.name());
            }
        }
    }

    #[test]
    fn a_json_rpc_door_has_standard_words_as_well() {
        let text = shipped("shingleai").unwrap();
        let cut = &text[..text.find("[rpc.words]").unwrap()];
        let text = cut.replacen("[rpc]\n", "[rpc]\nwords = \"standard\"\n", 1);
        let dialect = load_profile(&text, "p.toml").unwrap().rpc.unwrap();
        for (refusal, status, code) in [
            (Refusal::from(Denial::Unknown), 401, -32001),
            (Denial::Permission { needed: None }.into(), 403, -32003),
            (Denial::Rate { retry_after_nanos: None }.into(), 200, -32004),
            (Fault::Internal.into(), 500, -32603),
        ] {
            let spoken = dialect.say(&refusal, Some("1"), Era::Modern);
            let body: serde_json::Value = serde_json::from_slice(&spoken.body).unwrap();
            assert_eq!((spoken.status.as_u16(), &body["error"]["code"]), (status, &code.into()), "{body}");
        }
    }

    /// The least that an MCP product needs, and `more` in its door.
    fn least(more: &str) -> Result<LoadedProfile, Vec<String>> {
        let text = format!(
            "name = \"notes\"\ntag = \"notes_\"\n[[permission]]\nname = \"notes:read\"\n[[plan]]\nname = \"free\"\n\
             [rpc]\nendpoint = \"/mcp\"\nwords = \"standard\"\n{more}\nmethods = [\"*\"]\n\
             tools = {{ notes_list = \"notes:read\" }}\n"
        );
        load_profile(&text, "p.toml").map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    /// The `data` of what a door says.
    fn data(dialect: &crate::dialect::RpcDialect, refusal: &Refusal) -> serde_json::Value {
        let spoken = dialect.say(refusal, Some("1"), Era::Legacy);
        serde_json::from_slice::<serde_json::Value>(&spoken.body).unwrap()["error"]["data"].clone()
    }

    #[test]
    fn a_product_without_paid_plans_needs_no_url_and_tells_of_none() {
        let dialect = least("").unwrap().rpc.unwrap();
        let quota = Denial::Quota {
            meter: crate::domain::profile::MeterNo(0),
            resets_at: crate::domain::time::Wall::from_secs(0),
        };
        for refusal in [Denial::Plan.into(), quota.into(), Denial::Unknown.into()] {
            assert!(data(&dialect, &refusal).is_null(), "{}", refusal.name());
        }
        let url = "upgrade_url = \"https://a.example/up\"\nname = \"notes\"";
        let text = "[[plan]]\nname = \"pro\"\npaid = true\n[rpc]";
        let with = |edits: [(&str, &str); 2]| {
            let mut text = "name = \"notes\"\ntag = \"n_\"\n[[permission]]\nname = \"n:r\"\n[rpc]\nendpoint = \"/m\"\nwords = \"standard\"\n".to_owned();
            for (old, new) in edits {
                text = text.replacen(old, new, 1);
            }
            load_profile(&text, "p.toml")
        };
        let told = with([("[rpc]", text), ("name = \"notes\"", url)]).unwrap().rpc.unwrap();
        assert_eq!(data(&told, &Denial::Plan.into())["upgradeUrl"], "https://a.example/up");
        let problems = with([("[rpc]", text), ("", "")]).unwrap_err();
        assert!(problems[0].to_string().contains("a paid plan needs an upgrade_url"), "{problems:?}");
    }

    #[test]
    fn a_reason_is_told_where_the_profile_says_so_and_tells_no_more_than_the_message() {
        let silent = least("").unwrap().rpc.unwrap();
        let telling = least("reason = true").unwrap().rpc.unwrap();
        let rate = |retry_after_nanos| Refusal::from(Denial::Rate { retry_after_nanos });
        let invalid = |invalid| Refusal::from(Denial::Invalid(invalid));
        let permission = Denial::Permission {
            needed: least("")
                .unwrap()
                .profile
                .catalogue
                .number(&crate::domain::permission::Permission::parse("notes:read").unwrap()),
        };
        for (refusal, reason) in [
            (invalid(Invalid::NotJson), "invalid"),
            (invalid(Invalid::Params), "invalid"),
            (invalid(Invalid::HeaderMismatch), "invalid"),
            (invalid(Invalid::AmbiguousMember), "invalid"),
            (invalid(Invalid::ForeignHost), "foreign_host"),
            (Denial::TooLarge { max_bytes: 7 }.into(), "too_large"),
            (Denial::ContentType.into(), "content_type"),
            (Denial::TwoCredentials.into(), "two_credentials"),
            (Denial::Missing.into(), "missing"),
            (Denial::Malformed.into(), "invalid_key"),
            (Denial::Revoked.into(), "invalid_key"),
            // The standard words say the same of both, so the reason does too.
            (Denial::Expired.into(), "invalid_key"),
            (Denial::Address.into(), "invalid_key"),
            (rate(Some(1)), "rate"),
            (rate(None), "rate"),
            (Denial::UnknownMethod.into(), "unknown_method"),
            (permission.into(), "permission"),
            (Denial::Permission { needed: None }.into(), "closed"),
            (Denial::Plan.into(), "plan"),
            (Fault::Credential.into(), "credential_fault"),
            (Fault::Busy { retry_after_secs: 1 }.into(), "busy"),
            (Fault::UpstreamLate.into(), "upstream_late"),
        ] {
            assert_eq!(data(&telling, &refusal)["reason"], reason, "{}", refusal.name());
            assert!(data(&silent, &refusal).get("reason").is_none(), "{}", refusal.name());
        }
        assert_eq!(data(&telling, &rate(Some(1)))["retryAfter"], 1);
        let text = shipped("socialcrm").unwrap().replacen("[rpc]\n", "[rpc]\nreason = true\n", 1);
        let page = load_profile(&text, "p.toml").unwrap().rpc.unwrap();
        assert_eq!(data(&page, &Denial::Expired.into())["reason"], "expired");
        for name in ["socialcrm", "shingleai"] {
            let page = load_profile(shipped(name).unwrap(), name).unwrap().rpc.unwrap();
            assert!(data(&page, &Denial::Expired.into()).is_null(), "{name}");
        }
    }

    #[test]
    fn a_single_word_may_stand_in_the_place_of_a_standard_one() {
        let own = "[rest.words]\nbase = \"standard\"\n\
                   rate = { status = 420, code = \"calm\", message = \"Calm down.\" }\n";
        let dialect = with_words("socialcrm", own).unwrap().rest.unwrap();
        let said = |refusal: Refusal| dialect.say(&refusal);
        assert_eq!(said(Denial::Rate { retry_after_nanos: None }.into()).status.as_u16(), 420);
        assert_eq!(said(Denial::NotFound.into()).status.as_u16(), 404);
        for (table, told) in [
            ("[rest.words]\nbase = \"mine\"\n", "rest.words.base: expected \"standard\""),
            ("[rest.words]\nbase = \"standard\"\nrates = 1\n", "rest.words.rates: unknown"),
            (
                "[rest.words]\nbase = \"standard\"\nrate = { status = 200, code = \"x\", message = \"x\" }\n",
                "rest.words.rate.status: expected a whole number from 400 to 499",
            ),
            ("[rest.words]\nrate = { status = 429, code = \"x\", message = \"x\" }\n", "`busy` is missing"),
        ] {
            let problems = with_words("socialcrm", table).err().unwrap();
            assert!(problems.iter().any(|problem| problem.contains(told)), "{table}: {problems:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_told_openly_only_by_a_word_of_its_own() {
        let shipped = load_profile(shipped("mcp-cloud").unwrap(), "mcp-cloud").unwrap().rest.unwrap();
        let [hidden, unknown] = [Denial::Address, Denial::Unknown].map(|denial| shipped.say(&denial.into()));
        assert_eq!((hidden.status, hidden.body), (unknown.status, unknown.body));
        let word = |status: u16| {
            let word = format!(
                "address = {{ status = {status}, code = \"ip_not_allowed\", type = \"permission_error\", message = \"Not from here.\" }}"
            );
            with_words("mcp-cloud", &format!("[rest.words]\nbase = \"standard\"\n{word}\n"))
        };
        let open = word(403).unwrap().rest.unwrap();
        let told = open.say(&Denial::Address.into());
        assert_eq!(told.status.as_u16(), 403);
        assert!(String::from_utf8_lossy(&told.body).contains("ip_not_allowed"));
        assert_eq!(open.say(&Denial::Unknown.into()).status.as_u16(), 401);
        assert!(
            word(404).err().unwrap()[0].contains("address.status: expected a whole number from 401 to 403")
        );
    }
}
