//! The TOML form of a profile: one product's file, read into the domain's type and the dialects of its doors.
//!
//! A file loads whole or not at all. A route or tool without a declared permission, a refusal without words,
//! a name that nothing declares or a thing given twice is a problem, and all of them are told at once.
//!
//! Never here: a product's name. What is special about one stands in its file.

use std::sync::Arc;

use super::cors;
use super::door;
use super::problem::Problem;
use super::quantity;
use super::rate::{RouteRates, rate_headers, rate_of, rates_of};
use super::reader::{Field, Report, Section};
use super::rpc;
use crate::dialect::{MESSAGE_CHARS_MAX, RateHeaders, RestDialect, RpcDialect, ScopeWords, message_flaw};
use crate::domain::key::{TAG_LEN_MAX, Tag};
use crate::domain::meter::Grace;
use crate::domain::permission::{CATALOGUE_MAX, Catalogue, Permission};
use crate::domain::profile::{METERS_MAX, MeterNo, Plan, Profile, Requirement, Terms};
use crate::domain::signature::SigningHeaders;
use crate::http::cors::Cors;

/// The most plans of one profile.
pub(super) const PLANS_MAX: usize = 64;
/// The longest name of a profile, plan or meter, in bytes.
const NAME_LEN_MAX: usize = 64;
/// The longest URL told to callers, in bytes.
const URL_LEN_MAX: usize = 500;
/// The highest limit that a meter can be given; more is told by leaving it out.
const METER_LIMIT_MAX: u64 = 1_000_000_000_000_000;

/// One product, ready to be served.
#[derive(Debug)]
pub struct LoadedProfile {
    /// What its keys look like and what they may do.
    pub profile: Arc<Profile>,
    /// How its REST door refuses; there when the profile has that door.
    pub rest: Option<RestDialect>,
    /// How its JSON-RPC door refuses; there when the profile has that door.
    pub rpc: Option<RpcDialect>,
    /// Which headers tell callers where their rates stand.
    pub rate_headers: RateHeaders,
    /// What browsers are told at its REST door; without it no page of another origin can call.
    pub cors: Option<Cors>,
}

/// Reads a profile; `origin` is what problems call the text, such as its file's name.
pub fn load_profile(text: &str, origin: &str) -> Result<LoadedProfile, Vec<Problem>> {
    let report = Report::new(origin, text, &[]);
    let table = report.parse();
    let loaded = table.as_ref().and_then(|table| read(&Section::root(&report, table)));
    let problems = report.finish();
    match loaded {
        Some(loaded) if problems.is_empty() => Ok(loaded),
        _ => Err(problems),
    }
}

fn read(root: &Section<'_>) -> Option<LoadedProfile> {
    let name = root.required("name").and_then(|field| name_of(&field));
    let tag_form = format!("2 to {TAG_LEN_MAX} of a-z, 0-9 and _, a letter first and _ last");
    let tag = root.required("tag").and_then(|field| field.parsed(&tag_form, Tag::parse));
    let upgrade_url = root.field("upgrade_url").and_then(|field| field.parsed("an http(s) URL", url));
    let rate = root.field("rate").and_then(|field| rates_of(&field));
    let rate_headers = root.field("rate_headers").and_then(|field| rate_headers(&field)).unwrap_or_default();
    let signing = root.field("signing").and_then(|field| signing_of(&field));
    let mut terms = TermsTable::read(root);
    let rest_section = root.field("rest").and_then(|field| field.section());
    let rpc_section = root.field("rpc").and_then(|field| field.section());
    let rest = rest_section.as_ref().and_then(|section| door::rest(section, &mut terms));
    let rpc = rpc_section
        .as_ref()
        .and_then(|section| rpc::rpc(section, rest_section.as_ref(), &mut terms, upgrade_url));
    let plans = plans(root, &terms.meters);
    // A caller that is refused for its plan is told where a better one is, where there is one.
    let must_tell = upgrade_url.is_none() && plans.iter().any(|plan| plan.paid);
    if let Some(section) = rpc_section.as_ref().filter(|_| must_tell) {
        section.problem("a profile with this door and a paid plan needs an upgrade_url at its top");
    }
    let key_headers = rest.as_ref().map_or(&[][..], |(door, _)| &door.key_headers);
    let cors = root.field("cors").map(|field| cors::cors(&field, key_headers, signing.as_ref()));
    if cors.is_some() && rest_section.is_none() {
        root.problem("[cors] is about the REST door, and there is no [rest]");
    }
    root.close();
    check_signing(root, signing.as_ref(), rest.as_ref().map(|(door, _)| &*door.key_headers));
    let (rest_door, rest_dialect) = rest.unzip();
    let (rpc_door, rpc_dialect) = rpc.unzip();
    let mut profile = Profile {
        name: name?,
        tag: tag?,
        catalogue: terms.catalogue,
        terms: terms.terms,
        meters: terms.meters.0,
        plans,
        rate,
        route_rates: terms.route_rates.0,
        signing,
        rest: rest_door,
        rpc: rpc_door,
    };
    profile.number_places();
    let (rest, rpc, cors) = (rest_dialect, rpc_dialect, cors.flatten());
    Some(LoadedProfile { profile: Arc::new(profile), rest, rpc, rate_headers, cors })
}

/// The permissions that a profile declares, with all that stands beside them.
pub(super) struct TermsTable {
    pub(super) catalogue: Catalogue,
    pub(super) terms: Vec<Terms>,
    pub(super) words: Vec<ScopeWords>,
    pub(super) meters: Meters,
    pub(super) route_rates: RouteRates,
}

impl TermsTable {
    fn read(root: &Section<'_>) -> Self {
        let mut meters = Meters::default();
        let (mut permissions, mut terms, mut words) = (Vec::new(), Vec::new(), Vec::new());
        for section in root.sections("permission", CATALOGUE_MAX) {
            let named = section.required("name");
            let form = "a permission such as posts:read, without *";
            let permission = named.as_ref().and_then(|field| field.parsed(form, asked_permission));
            section.field("about").and_then(|field| message(&field));
            let own = section.field("words").and_then(|field| message(&field));
            let paid = section.field("paid").and_then(|field| field.boolean()).unwrap_or(false);
            let meter = section.field("meter").and_then(|field| meters.used_by(&field));
            section.close();
            let Some(permission) = permission else { continue };
            if permissions.contains(&permission) {
                twice(named.as_ref());
                continue;
            }
            words.push(ScopeWords { scope: permission.to_string(), own });
            terms.push(Terms { paid, meter });
            permissions.push(permission);
        }
        if permissions.is_empty() {
            root.problem("expected at least one [[permission]]");
        }
        let catalogue = Catalogue::new(permissions).unwrap_or_default();
        Self { catalogue, terms, words, meters, route_rates: RouteRates::default() }
    }

    /// What asking for this permission requires; `None` when it is not declared.
    pub(super) fn asking(&self, permission: &Permission) -> Option<Requirement> {
        let number = self.catalogue.number(permission)?;
        let Terms { paid, meter } = self.terms.get(number.place()).copied().unwrap_or_default();
        Some(Requirement { permission: Some(number), paid, meter, ..Requirement::default() })
    }

    /// The permissions' names, for a message.
    pub(super) fn names(&self) -> String {
        self.words.iter().map(|words| words.scope.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The meters of a profile: those that something is counted by.
#[derive(Default)]
pub(super) struct Meters(Vec<String>);

impl Meters {
    /// The number of the named meter, which exists from here on.
    pub(super) fn used_by(&mut self, field: &Field<'_>) -> Option<MeterNo> {
        let name = name_of(field)?;
        let place = self.0.iter().position(|known| *known == name).unwrap_or(self.0.len());
        if place == self.0.len() {
            if place == METERS_MAX {
                return field.refused(&format!("expected at most {METERS_MAX} different meters"));
            }
            self.0.push(name);
        }
        u8::try_from(place).ok().map(MeterNo)
    }
}

fn plans(root: &Section<'_>, meters: &Meters) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for section in root.sections("plan", PLANS_MAX) {
        let named = section.required("name");
        let name = named.as_ref().and_then(name_of);
        let paid = section.field("paid").and_then(|field| field.boolean()).unwrap_or(false);
        let rate = section.field("rate").and_then(|field| rates_of(&field));
        let workspace_rate = section.field("workspace_rate").and_then(|field| rate_of(&field));
        let grace = section.field("grace").and_then(|field| grace_of(&field)).unwrap_or_default();
        let limits = section
            .field("meters")
            .map_or_else(|| vec![None; meters.0.len()], |field| limits(&field, meters));
        section.close();
        let Some(name) = name else { continue };
        if plans.iter().any(|plan| plan.name == name) {
            twice(named.as_ref());
            continue;
        }
        plans.push(Plan { name, paid, rate, workspace_rate, grace, limits });
    }
    if plans.is_empty() {
        root.problem("expected at least one [[plan]]");
    }
    plans
}

fn limits(field: &Field<'_>, meters: &Meters) -> Vec<Option<u64>> {
    let mut limits = vec![None; meters.0.len()];
    for (name, limit) in field.section().iter().flat_map(Section::entries) {
        let place = meters.0.iter().position(|known| known == name);
        match place.and_then(|place| limits.get_mut(place)) {
            Some(slot) => *slot = limit.integer(0..=METER_LIMIT_MAX),
            None => limit.problem(&format!("no such meter; known: {}", meters.0.join(", "))),
        }
    }
    limits
}

fn grace_of(field: &Field<'_>) -> Option<Grace> {
    let form = "a share in quotes from \"0%\" to \"100%\", such as \"10%\" or \"2.5%\"";
    if !field.is_text() {
        return field.refused(&format!("expected {form}"));
    }
    field.parsed(form, |text| quantity::permille(text).and_then(Grace::from_permille))
}

fn signing_of(field: &Field<'_>) -> Option<SigningHeaders> {
    let section = field.section()?;
    let timestamp = section.required("timestamp_header").and_then(|field| door::own_header(&field));
    let signature = section.required("signature_header").and_then(|field| door::own_header(&field));
    section.close();
    Some(SigningHeaders { timestamp: timestamp?, signature: signature? })
}

/// A header means one thing.
fn check_signing(root: &Section<'_>, signing: Option<&SigningHeaders>, key_headers: Option<&[String]>) {
    let Some(SigningHeaders { timestamp, signature }) = signing else { return };
    if timestamp == signature {
        root.problem("signing.timestamp_header and signing.signature_header are the same");
    }
    for name in [timestamp, signature] {
        if key_headers.is_some_and(|keys| keys.contains(name)) {
            root.problem(&format!("{name} is a header of [signing] and one of rest.key_headers"));
        }
    }
}

/// A name of lower-case letters, digits, `-` and `_`, a letter first.
pub(super) fn name_of(field: &Field<'_>) -> Option<String> {
    let form = format!("1 to {NAME_LEN_MAX} of a-z, 0-9, - and _, a letter first");
    field.parsed(&form, |text| is_name(text).then(|| text.to_owned()))
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    text.len() <= NAME_LEN_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(plain)
}

/// A permission that something can ask for: without a star.
fn asked_permission(text: &str) -> Option<Permission> {
    Permission::parse(text).filter(|_| !text.contains('*'))
}

fn message(field: &Field<'_>) -> Option<String> {
    let form = format!("1 to {MESSAGE_CHARS_MAX} characters without control characters and braces");
    field.parsed(&form, |text| message_flaw(text, None).is_none().then(|| text.to_owned()))
}

fn url(text: &str) -> Option<&str> {
    let fits = (text.starts_with("https://") || text.starts_with("http://"))
        && text.len() <= URL_LEN_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}\"\\<>".contains(&byte));
    fits.then_some(text)
}

fn twice(field: Option<&Field<'_>>) {
    if let Some(field) = field {
        field.problem("given twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shipped;
    use crate::domain::profile::{Access, Found, Verb};

    fn socialcrm() -> &'static str {
        shipped("socialcrm").unwrap()
    }

    /// The problems of the shipped profile after one edit.
    fn problems_after(old: &str, new: &str) -> Vec<String> {
        assert!(socialcrm().contains(old), "{old}");
        match load_profile(&socialcrm().replacen(old, new, 1), "p.toml") {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_routes_of_socialcrm_ask_for_what_the_page_says() {
        let profile = load_profile(socialcrm(), "socialcrm").unwrap().profile;
        let routes = &profile.rest.as_ref().unwrap().routes;
        let table = [
            (Verb::Get, "/v1/posts", "posts:read", false),
            (Verb::Post, "/v1/posts", "posts:write", false),
            (Verb::Get, "/v1/posts/7", "posts:read", false),
            (Verb::Patch, "/v1/posts/7", "posts:write", false),
            (Verb::Delete, "/v1/posts/7", "posts:write", false),
            (Verb::Post, "/v1/posts/7/schedule", "posts:publish", true),
            (Verb::Post, "/v1/posts/7/publish", "posts:publish", true),
            (Verb::Get, "/v1/posts/7/analytics", "insights:read", false),
            (Verb::Post, "/v1/ai/rewrite", "ai:generate", true),
            (Verb::Post, "/v1/ai/compose", "ai:generate", true),
            (Verb::Post, "/v1/ai/hashtags", "ai:generate", true),
            (Verb::Post, "/v1/ai/thread", "ai:generate", true),
            (Verb::Post, "/v1/ai/ideas", "ai:generate", true),
            (Verb::Post, "/v1/ai/optimise", "ai:generate", true),
            (Verb::Get, "/v1/accounts", "insights:read", false),
            (Verb::Get, "/v1/accounts/analytics", "insights:read", false),
            (Verb::Get, "/v1/persona", "insights:read", false),
            (Verb::Get, "/v1/trending", "insights:read", false),
            (Verb::Post, "/v1/media/upload-url", "media:write", true),
            (Verb::Post, "/v1/media/7/confirm", "media:write", true),
        ];
        let keyed = routes.iter().filter(|route| route.access == Access::Keyed);
        assert_eq!(keyed.count(), table.len());
        for (verb, path, asked, paid) in table {
            let Found::Route(route) = routes.find(Some(verb), path) else { panic!("{path}") };
            let needed = profile.catalogue.permission(route.requirement.permission.unwrap()).unwrap();
            assert_eq!((needed.as_str(), route.requirement.paid), (asked, paid), "{path}");
            let meter = route.requirement.meter.map(|meter| profile.meter_name(meter));
            assert_eq!(meter, (asked == "ai:generate").then_some("ai"), "{path}");
            assert_eq!(route.max_body_bytes, Some(1 << 20), "{path}");
        }
    }

    #[test]
    fn the_plans_and_tools_of_socialcrm_are_the_pages_own() {
        let profile = load_profile(socialcrm(), "socialcrm").unwrap().profile;
        let plans: Vec<_> =
            profile.plans.iter().map(|plan| (plan.name.as_str(), plan.paid, plan.limits.clone())).collect();
        assert_eq!(
            plans,
            [
                ("free", false, vec![Some(0)]),
                ("pro", true, vec![Some(1000)]),
                ("enterprise", true, vec![None])
            ]
        );
        assert!(profile.plans.iter().all(|plan| plan.grace == Grace::default() && plan.rate.is_none()));
        let rate = profile.rate.as_ref().and_then(|rates| rates.only()).unwrap();
        assert_eq!((rate.limit(), rate.window_secs(), rate.burst()), (600, 60, 600));
        let rpc = profile.rpc.as_ref().unwrap();
        let mut tools: Vec<_> =
            rpc.tools.iter().map(|(name, asked)| (name.as_str(), asked.permission)).collect();
        tools.sort_unstable_by_key(|(name, _)| *name);
        let number = |scope| profile.catalogue.number(&Permission::parse(scope).unwrap());
        assert_eq!(
            tools,
            [
                ("accounts_analytics", number("insights:read")),
                ("accounts_list", number("insights:read")),
                ("ai_compose", number("ai:generate")),
                ("ai_hashtags", number("ai:generate")),
                ("ai_ideas", number("ai:generate")),
                ("ai_optimise", number("ai:generate")),
                ("ai_rewrite", number("ai:generate")),
                ("ai_thread", number("ai:generate")),
                ("media_confirm", number("media:write")),
                ("media_upload_url", number("media:write")),
                ("persona_get", number("insights:read")),
                ("posts_analytics", number("insights:read")),
                ("posts_create", number("posts:write")),
                ("posts_delete", number("posts:write")),
                ("posts_get", number("posts:read")),
                ("posts_list", number("posts:read")),
                ("posts_publish", number("posts:publish")),
                ("posts_schedule", number("posts:publish")),
                ("posts_update", number("posts:write")),
                ("trending_list", number("insights:read")),
            ]
        );
        assert!(rpc.keyless_method("ping").is_some() && rpc.keyless_method("tools/call").is_none());
    }

    #[test]
    fn a_profile_with_one_fault_does_not_load_and_names_it() {
        let cases = [
            ("tag = \"sk_live_\"", "tag = \"SK\"", "tag: expected 2 to 24"),
            ("tag = \"sk_live_\"", "", "`tag` is missing"),
            ("name = \"socialcrm\"", "name = \"Social CRM\"", "name: expected 1 to 64"),
            ("window_s = 60", "window_s = 0", "rate.window_s: expected a whole number from 1 to 2678400"),
            ("window_s = 60", "window_s = 60\nburst = 1_000_000_000", "rate: expected a burst"),
            ("limit = 600", "limit = 600_000_000", "rate: expected a limit of at most 1000000 a second"),
            ("name = \"posts:write\"", "name = \"posts:*\"", "expected a permission such as posts:read"),
            ("name = \"posts:write\"", "name = \"posts:read\"", "given twice"),
            ("meters = { ai = 1000 }", "meters = { tokens = 1 }", "no such meter; known: ai"),
            ("meters = { ai = 1000 }", "meters = { ai = -1 }", "expected a whole number from 0"),
            ("meters = { ai = 1000 }", "grace = 0.1", "in quotes"),
            ("meters = { ai = 1000 }", "grace = \"10.55%\"", "grace: expected a share"),
            ("name = \"pro\"", "name = \"free\"", "given twice"),
            (
                "permission = \"posts:read\"",
                "permission = \"posts:erase\"",
                "expected a declared permission, one of: insights:read",
            ),
            ("permission = \"posts:read\"", "", "`permission` is missing"),
            ("path = \"/v1/posts/{id}\"", "path = \"/v2/posts/{id}\"", "expected a path under /v1"),
            ("path = \"/v1/posts/{id}\"", "path = \"/v1/{*rest}/a\"", "expected a path under /v1"),
            ("method = \"PATCH\"", "method = \"GET\"", "GET /v1/posts/{id} is given twice"),
            ("method = \"PATCH\"", "method = \"HEAD\"", "expected GET (HEAD goes with it), POST"),
            ("max_body = \"1MiB\"", "max_body = \"1MB\"", "rest.max_body: expected bytes"),
            (
                "key_headers = [\"X-API-Key\"]",
                "key_headers = [\"Authorization\"]",
                "rest.key_headers[0]: expected a header",
            ),
            ("envelope = \"error\"", "envelope = \"error+type\"", "`type` is missing"),
            ("envelope = \"error\"", "envelope = \"problem\"", "expected \"error\" or"),
            ("upgrade_url = \"https://socialcrm.com/pricing\"", "", "needs an upgrade_url"),
            ("endpoint = \"/api/mcp-app\"", "endpoint = \"/v1/mcp\"", "apart from the REST door"),
            ("keyless_methods = [", "keyless_methods = [\"tools/call\", ", "not tools/call"),
            ("methods = [\"tools/list\"", "methods = [\"ping\"", "it needs no key"),
            (
                "posts_get = \"posts:read\"",
                "posts_get = \"posts:see\"",
                "rpc.tools.posts_get: expected a declared",
            ),
            ("posts_get = \"posts:read\"", "\"posts get\" = \"posts:read\"", "expected a tool's name"),
            (
                "status = 429",
                "status = 200",
                "rest.words.rate.status: expected a whole number from 400 to 499",
            ),
            ("code = -32004", "code = \"-32004\"", "rpc.words.rate.code: expected a whole number"),
            (
                "lacks the scope {scope}",
                "lacks the scope {scope} {scope}",
                "expected no braces but one {scope}",
            ),
            (
                "about = \"Read posts and drafts\"",
                "abuot = \"Read posts and drafts\"",
                "unknown; known here: name, about",
            ),
        ];
        for (old, new, told) in cases {
            let problems = problems_after(old, new);
            assert!(problems.iter().any(|problem| problem.contains(told)), "{new}: {problems:?}");
        }
    }

    #[test]
    fn a_refusal_without_words_stops_the_load_at_either_door() {
        let doors = socialcrm().split_once("[rest.words]").unwrap().1.split_once("[rpc.words]").unwrap();
        for (door, text) in [("rest", doors.0), ("rpc", doors.1)] {
            let words: Vec<_> = text.lines().filter(|line| line.contains("= { status")).collect();
            assert_eq!(words.len(), 23);
            for word in words {
                let name = word.split(' ').next().unwrap();
                let problems = problems_after(&format!("{word}\n"), "");
                let told = format!("{door}.words: `{name}` is missing");
                assert!(problems.len() == 1 && problems[0].ends_with(&told), "{problems:?}");
            }
        }
    }

    #[test]
    fn the_example_of_the_documentation_loads() {
        let page = include_str!("../../docs/profiles.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let loaded = load_profile(example, "docs/profiles.md").unwrap();
        assert!(loaded.rest.is_some() && loaded.rpc.is_some());
    }

    #[test]
    fn a_problem_tells_its_line_and_all_are_told_at_once() {
        let text = socialcrm()
            .replace("limit = 600", "limit = \"many\"")
            .replace("method = \"PATCH\"", "method = 1");
        let problems = load_profile(&text, "p.toml").unwrap_err();
        let line = 1 + text.lines().position(|line| line == "limit = \"many\"").unwrap();
        assert_eq!((problems.len(), problems[0].line), (2, Some(line)), "{problems:?}");
    }

    #[test]
    fn grace_and_a_routes_own_terms_are_read() {
        let text = socialcrm()
            .replacen("meters = { ai = 1000 }", "meters = { ai = 1000 }\ngrace = \"2.5%\"", 1)
            .replacen(
                "path = \"/v1/trending\"",
                "path = \"/v1/trending\"\npaid = true\nmeter = \"views\"\nmax_body = 0",
                1,
            );
        let profile = load_profile(&text, "p.toml").unwrap().profile;
        assert_eq!(profile.plan("pro").unwrap().grace.admitted(1000), 1025);
        let routes = &profile.rest.as_ref().unwrap().routes;
        let Found::Route(route) = routes.find(Some(Verb::Get), "/v1/trending") else { panic!() };
        assert_eq!(route.requirement.meter, profile.meter("views"));
        assert!(route.requirement.paid && route.requirement.meter.is_some());
        assert_eq!(route.max_body_bytes, Some(0));
    }

    #[test]
    fn the_headers_of_signatures_are_the_profiles_own_and_mean_nothing_else() {
        let with = |timestamp: &str, signature: &str| {
            format!(
                "[signing]\ntimestamp_header = \"{timestamp}\"\nsignature_header = \"{signature}\"\n[rest]\n"
            )
        };
        assert!(load_profile(socialcrm(), "socialcrm").unwrap().profile.signing.is_none());
        let text = socialcrm().replacen("[rest]\n", &with("X-MCP-Timestamp", "X-MCP-Signature"), 1);
        let signing = load_profile(&text, "p.toml").unwrap().profile.signing.clone().unwrap();
        let names = (signing.timestamp.as_str(), signing.signature.as_str());
        assert_eq!(names, ("x-mcp-timestamp", "x-mcp-signature"));
        for (timestamp, signature, told) in [
            ("X-A", "x-a", "signing.timestamp_header and signing.signature_header are the same"),
            ("X-A", "X-API-Key", "x-api-key is a header of [signing] and one of rest.key_headers"),
            ("Keyward-Signature", "X-A", "signing.timestamp_header: expected a header"),
            ("X-A", "Authorization", "signing.signature_header: expected a header"),
            ("X-A", "X-Keyward-Key-Id", "signing.signature_header: expected a header"),
            ("X A", "X-B", "signing.timestamp_header: expected a header"),
        ] {
            let problems = problems_after("[rest]\n", &with(timestamp, signature));
            assert!(problems.iter().any(|problem| problem.contains(told)), "{told}: {problems:?}");
        }
        let half = problems_after("[rest]\n", "[signing]\ntimestamp_header = \"X-A\"\n[rest]\n");
        assert!(half.iter().any(|problem| problem.contains("signature_header")), "{half:?}");
    }
}
