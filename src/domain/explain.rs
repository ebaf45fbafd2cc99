//! Explaining: what each check of an attempt would say, and why, spending nothing.
//!
//! The checks are those of `decision`, run one by one; the first that fails is what a request would be refused
//! for. The reasons are for the operator, who may know all of them; no caller is ever told one.
//!
//! Never here: a check of its own, a token or a unit taken, a secret.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bucket::Bucket;
use super::decision::{
    ASKED, Case, Check, STANDING, Wanted, needs_no_signature, rate_of, would_buy, would_pace,
};
use super::denial::Denial;
use super::key::Prefix;
use super::meter::PeriodMeter;
use super::profile::{MeterNo, Profile, Requirement};
use super::record::WorkspaceStatus;
use super::time::Wall;

/// The most address rules that one reason names.
const RULES_TOLD_MAX: usize = 8;
/// The most bytes of held permissions that one reason names.
const HELD_BYTES_MAX: usize = 400;

/// What is explained: one thing wanted by one secret of a key.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The key's product.
    pub profile: &'a Profile,
    /// The prefix of the secret.
    pub prefix: Prefix,
    /// The epoch of the secret.
    pub epoch: u32,
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// Units of the meter.
    pub cost: u64,
    /// A check that a change fails already which is not in the file yet.
    pub begun: Option<(Check, Denial)>,
}

/// What one check says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// What it refuses; nothing when it passes.
    pub outcome: Result<(), Denial>,
    /// Why, for people.
    pub why: String,
}

impl Check {
    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Workspace => "workspace",
            Self::Secret => "secret",
            Self::Expired => "expired",
            Self::Address => "address",
            Self::Signature => "signature",
            Self::Rate => "rate",
            Self::Permission => "permission",
            Self::Plan => "plan",
            Self::Quota => "quota",
        }
    }
}

/// Every check in its order, whether or not one before it fails.
pub fn explain(
    explained: &Explained<'_>,
    case: &Case<'_>,
    bucket: &Bucket,
    meter_of: impl FnOnce(MeterNo) -> Arc<PeriodMeter>,
) -> Vec<Finding> {
    let mut findings: Vec<_> = STANDING
        .iter()
        .map(|(check, run)| {
            let outcome = run(explained.epoch, case);
            match &explained.begun {
                Some((begun, denial)) if begun == check && outcome.is_ok() => Finding {
                    check: *check,
                    outcome: Err(denial.clone()),
                    why: "a change that is not durable yet denies it already".to_owned(),
                },
                _ => Finding { check: *check, why: of_standing(*check, explained, case), outcome },
            }
        })
        .collect();
    let (outcome, why) = (needs_no_signature(case), of_standing(Check::Signature, explained, case));
    findings.push(Finding { check: Check::Signature, outcome, why });
    let outcome = would_pace(case, bucket);
    findings.push(Finding { check: Check::Rate, why: of_rate(case, bucket, &outcome), outcome });
    match explained.wanted {
        Wanted::Known(asked) => {
            findings.extend(ASKED.iter().map(|(check, run)| {
                let why = of_asked(*check, explained.profile, case, *asked);
                Finding { check: *check, why, outcome: run(case.key, case.workspace, *asked) }
            }));
            findings.push(of_quota(explained, case, *asked, meter_of));
        }
        Wanted::Refused(denial) => {
            let outcome = Err(denial.clone());
            findings.push(Finding { check: Check::Permission, why: of_refused(denial), outcome });
            findings.extend([Check::Plan, Check::Quota].map(|check| {
                let why = "nothing that is known was asked for".to_owned();
                Finding { check, outcome: Ok(()), why }
            }));
        }
    }
    findings
}

fn of_standing(check: Check, explained: &Explained<'_>, case: &Case<'_>) -> String {
    let (key, now, prefix) = (case.key, case.now.wall, explained.prefix);
    match check {
        Check::Revoked => key.revoked_at.map_or("not revoked".to_owned(), |at| moment("revoked", at, now)),
        Check::Workspace => match case.workspace.status {
            WorkspaceStatus::Active => "the workspace is active".to_owned(),
            WorkspaceStatus::Suspended => "the workspace is suspended, until it is activated".to_owned(),
            WorkspaceStatus::Deleted => "the workspace is deleted, for good".to_owned(),
        },
        Check::Secret => match key.secret(explained.epoch) {
            None => format!("the secret {prefix} was replaced"),
            Some(secret) => match secret.ends_at {
                None => format!("the secret {prefix} has no end"),
                Some(end) if now >= end => moment(&format!("the secret {prefix} ended"), end, now),
                Some(end) => moment(&format!("the secret {prefix} ends"), end, now),
            },
        },
        Check::Expired => match key.expires_at {
            None => "no expiry".to_owned(),
            Some(end) if now >= end => moment("expired", end, now),
            Some(end) => moment("expires", end, now),
        },
        Check::Address => of_address(case),
        Check::Signature if key.require_signature => "demanded; explain cannot check one".to_owned(),
        Check::Signature => "none demanded".to_owned(),
        Check::Rate | Check::Permission | Check::Plan | Check::Quota => String::new(),
    }
}

fn of_address(case: &Case<'_>) -> String {
    let Some(rules) = &case.key.addresses else { return "may be used from anywhere".to_owned() };
    let told = || {
        let (first, others) = (rules.iter().take(RULES_TOLD_MAX).collect::<Vec<_>>(), rules.iter().count());
        let others = others.saturating_sub(RULES_TOLD_MAX);
        if others == 0 { first.join(", ") } else { format!("{} and {others} more", first.join(", ")) }
    };
    match case.address {
        None => format!("no address is known; expected one of {}", told()),
        Some(address) => match rules.matching(address) {
            Some(rule) => format!("{address} is in {rule}"),
            None => format!("{address} is in none of {}", told()),
        },
    }
}

fn of_rate(case: &Case<'_>, bucket: &Bucket, outcome: &Result<(), Denial>) -> String {
    let Some(rate) = rate_of(case) else { return "no rate applies".to_owned() };
    let is = format!("{} each {} s, at most {} at once", rate.limit(), rate.window_secs(), rate.burst());
    match outcome {
        Err(Denial::Rate { retry_after_nanos: Some(nanos) }) => {
            format!("the bucket is empty, one token in {}; {is}", span(nanos.div_ceil(1000)))
        }
        Err(_) => "a rate of 0 admits nothing".to_owned(),
        Ok(()) => format!("tokens left: {}; {is}", bucket.left(rate, case.now.mono)),
    }
}

fn of_asked(check: Check, profile: &Profile, case: &Case<'_>, asked: Requirement) -> String {
    if check == Check::Plan {
        let plan = case.workspace.plan();
        return match (asked.paid, case.workspace.paid) {
            (false, _) => "asks for no paid plan".to_owned(),
            (true, true) => format!("the plan {plan} is paid"),
            (true, false) => format!("the plan {plan} is not paid"),
        };
    }
    let Some(needed) = asked.permission.and_then(|number| profile.catalogue.permission(number)) else {
        return "asks for no permission".to_owned();
    };
    format!("holds {}; needs {needed}", held(case.key.scopes()))
}

/// The permissions held, cut at a whole one.
fn held(scopes: &str) -> String {
    if scopes.is_empty() {
        return "nothing".to_owned();
    }
    let whole = scopes.get(..HELD_BYTES_MAX).and_then(|first| first.rfind(' '));
    let Some(first) = whole.and_then(|end| scopes.get(..end)) else { return scopes.replace(' ', ", ") };
    let others = scopes.split(' ').count() - first.split(' ').count();
    format!("{} and {others} more", first.replace(' ', ", "))
}

fn of_refused(denial: &Denial) -> String {
    match denial {
        Denial::Method { allow } => format!("this route takes {}", allow.to_allow()),
        Denial::NotFound => "there is no such route".to_owned(),
        Denial::UnknownMethod => "there is no such method".to_owned(),
        _ => "there is no such tool; no permission opens it".to_owned(),
    }
}

fn of_quota(
    explained: &Explained<'_>,
    case: &Case<'_>,
    asked: Requirement,
    meter_of: impl FnOnce(MeterNo) -> Arc<PeriodMeter>,
) -> Finding {
    let Some(number) = asked.meter else {
        return Finding { check: Check::Quota, outcome: Ok(()), why: "not metered".to_owned() };
    };
    let (meter, cost) = (meter_of(number), explained.cost);
    let (used, name) = (meter.used(), explained.profile.meter_name(number));
    let resets = moment("resets", meter.period().end, case.now.wall);
    let wants = if cost == 1 { String::new() } else { format!(", {cost} wanted") };
    let why = match case.workspace.admitted(number) {
        None => format!("{name}: {used} used, unlimited{wants}, {resets}"),
        Some(limit) => format!("{name}: {used} of {limit} used{wants}, {resets}"),
    };
    Finding { check: Check::Quota, outcome: would_buy(case, number, &meter, cost), why }
}

/// `expired 2 h ago, at 2026-…` or `expires in 2 h, at 2026-…`.
fn moment(what: &str, at: Wall, now: Wall) -> String {
    let when = match at.cmp(&now) {
        Ordering::Greater => format!("in {}", span(at.micros_since(now))),
        Ordering::Equal => "now".to_owned(),
        Ordering::Less => format!("{} ago", span(now.micros_since(at))),
    };
    format!("{what} {when}, at {}", at.to_rfc3339())
}

/// A span of time in the unit that says it best.
fn span(micros: u64) -> String {
    let (millis, secs) = (micros.div_ceil(1_000), micros / 1_000_000);
    match secs {
        0 => format!("{millis} ms"),
        1..=59 => format!("{secs}.{} s", micros / 100_000 % 10),
        60..=3_599 => format!("{} min", secs / 60),
        3_600..=172_799 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::AddressRules;
    use super::super::bucket::Rate;
    use super::super::decision::{KeyFacts, WorkspaceFacts, rehearse};
    use super::super::hash::{Fingerprinter, StoredFingerprint, StoredHash};
    use super::super::id::{KeyId, WorkspaceId};
    use super::super::key::{MINT_RANDOM_BYTES, RawKey, Tag};
    use super::super::meter::Grace;
    use super::super::permission::{Catalogue, Permission};
    use super::super::profile::{Plan, Terms, VerbSet};
    use super::super::proof::{Compared, Proof};
    use super::super::record::{KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord};
    use super::super::time::{Mono, Now};
    use super::*;
    use proptest::prelude::*;

    const PHC: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";
    const NOW: i64 = 1_800_000_000;

    fn product() -> Profile {
        let plan = |name: &str, paid| Plan {
            name: name.to_owned(),
            paid,
            rate: None,
            grace: Grace::default(),
            limits: vec![Some(1000)],
        };
        let permissions = ["posts:read", "posts:publish"].map(|text| Permission::parse(text).unwrap());
        Profile {
            name: "product".to_owned(),
            tag: Tag::parse("sk_live_").unwrap(),
            catalogue: Catalogue::new(permissions.to_vec()).unwrap(),
            terms: vec![Terms::default(), Terms { paid: true, meter: Some(MeterNo(0)) }],
            meters: vec!["ai".to_owned()],
            plans: vec![plan("free", false), plan("pro", true)],
            rate: None,
            rest: None,
            rpc: None,
            signing: None,
        }
    }

    /// What can be told of one attempt.
    struct Told {
        key: KeyRecord,
        workspace: WorkspaceRecord,
        proof: Proof,
        address: Option<&'static str>,
        bucket: Bucket,
        used: u64,
        wanted: Wanted,
        begun: Option<(Check, Denial)>,
    }

    impl Told {
        /// Nothing is wrong with it.
        fn new() -> Self {
            let profile = product();
            let raw = RawKey::mint(&profile.tag, &[7; MINT_RANDOM_BYTES]).unwrap();
            let maker = Fingerprinter::new(&[1; 32]);
            let fingerprint = maker.fingerprint(&raw.as_presented());
            let secret = KeySecret {
                prefix: raw.prefix().unwrap(),
                epoch: 1,
                hash: StoredHash::parse(PHC).unwrap(),
                fingerprint: Some(StoredFingerprint { made_by: maker.made_by(), fingerprint }),
                imported: None,
                created_at: Wall::from_secs(0),
                ends_at: None,
            };
            let key = KeyRecord {
                id: KeyId::from_u128(9),
                version: 1,
                workspace: WorkspaceId::from_u128(7),
                name: None,
                description: None,
                permissions: vec![Permission::parse("posts:*").unwrap()],
                secrets: vec![secret],
                created_at: Wall::from_secs(0),
                expires_at: None,
                revoked_at: None,
                addresses: AddressRules::parse(["10.0.0.0/8"]).ok(),
                rate: Rate::new(1, 10, None).ok(),
                metadata: None,
                require_signature: false,
                signature_replay: SignatureReplay::Once,
            };
            let workspace = WorkspaceRecord {
                id: WorkspaceId::from_u128(7),
                version: 1,
                name: Label::parse("w").unwrap(),
                profile: "product".to_owned(),
                plan: "pro".to_owned(),
                billing_anchor: Wall::from_secs(NOW - 86_400),
                brands: Vec::new(),
                status: WorkspaceStatus::Active,
                overrides: Overrides::default(),
                created_at: Wall::from_secs(0),
            };
            let Compared::Proven(proof) = key.prove_by_fingerprint(&raw.as_presented(), |by| {
                (by == maker.made_by()).then_some(fingerprint)
            }) else {
                panic!("a key is itself")
            };
            let asked = profile.requirement(&Permission::parse("posts:publish").unwrap()).unwrap();
            let (bucket, address) = (Bucket::default(), Some("10.1.2.3"));
            let wanted = Wanted::Known(asked);
            Self { key, workspace, proof, address, bucket, used: 0, wanted, begun: None }
        }

        fn with(change: impl FnOnce(&mut Self)) -> Self {
            let mut told = Self::new();
            change(&mut told);
            told
        }

        /// What a request would be told, and what each check says.
        fn both(&self) -> (Result<(), Denial>, Vec<Finding>) {
            let profile = product();
            let (key, workspace) =
                (KeyFacts::compile(&self.key, &profile), WorkspaceFacts::compile(&self.workspace, &profile));
            let now = Now { wall: Wall::from_secs(NOW), mono: Mono::from_nanos(0) };
            let address = self.address.map(|text| text.parse().unwrap());
            let case = Case { key: &key, workspace: &workspace, address, now };
            let meter = |_| Arc::new(PeriodMeter::new(workspace.period(now.wall), self.used));
            let explained = Explained {
                profile: &profile,
                prefix: self.key.prefix().unwrap(),
                epoch: self.proof.epoch(),
                wanted: &self.wanted,
                cost: 1,
                begun: self.begun.clone(),
            };
            let findings = explain(&explained, &case, &self.bucket, meter);
            (rehearse(self.proof, &case, &self.wanted, &self.bucket, meter, 1), findings)
        }

        #[track_caller]
        fn check(&self, check: Check, passes: bool, why: &str) {
            let (_, findings) = self.both();
            let finding = findings.iter().find(|finding| finding.check == check).unwrap();
            assert_eq!((finding.outcome.is_ok(), finding.why.as_str()), (passes, why));
        }
    }

    fn drained() -> Bucket {
        let bucket = Bucket::default();
        assert!(bucket.take(&Rate::new(1, 10, None).unwrap(), 1, Mono::from_nanos(0)).is_ok());
        bucket
    }

    #[test]
    fn each_check_of_standing_says_why() {
        use Check::{Address, Expired, Revoked, Secret, Signature, Workspace};
        let at = |ago: i64| Some(Wall::from_secs(NOW - ago));
        let prefix = Told::new().key.prefix().unwrap();
        let ended = format!("the secret {prefix} ended 5 min ago, at 2027-01-15T07:55:00.000Z");
        let ends = format!("the secret {prefix} ends in 3 d, at 2027-01-18T08:00:00.000Z");
        let cases: [(Told, Check, bool, &str); 14] = [
            (Told::new(), Revoked, true, "not revoked"),
            (
                Told::with(|told| told.key.revoked_at = at(7200)),
                Revoked,
                false,
                "revoked 2 h ago, at 2027-01-15T06:00:00.000Z",
            ),
            (
                Told::with(|told| told.workspace.status = WorkspaceStatus::Suspended),
                Workspace,
                false,
                "the workspace is suspended, until it is activated",
            ),
            (
                Told::with(|told| told.workspace.status = WorkspaceStatus::Deleted),
                Workspace,
                false,
                "the workspace is deleted, for good",
            ),
            (
                Told::with(|told| told.begun = Some((Workspace, Denial::Suspended))),
                Workspace,
                false,
                "a change that is not durable yet denies it already",
            ),
            (Told::with(|told| told.key.secrets[0].ends_at = at(300)), Secret, false, &ended),
            (Told::with(|told| told.key.secrets[0].ends_at = at(-259_200)), Secret, true, &ends),
            (Told::new(), Expired, true, "no expiry"),
            (
                Told::with(|told| told.key.expires_at = at(0)),
                Expired,
                false,
                "expired now, at 2027-01-15T08:00:00.000Z",
            ),
            (
                Told::with(|told| told.key.expires_at = at(-1)),
                Expired,
                true,
                "expires in 1.0 s, at 2027-01-15T08:00:01.000Z",
            ),
            (Told::new(), Address, true, "10.1.2.3 is in 10.0.0.0/8"),
            (
                Told::with(|told| told.address = Some("203.0.113.9")),
                Address,
                false,
                "203.0.113.9 is in none of 10.0.0.0/8",
            ),
            (
                Told::with(|told| told.address = None),
                Address,
                false,
                "no address is known; expected one of 10.0.0.0/8",
            ),
            (
                Told::with(|told| told.key.require_signature = true),
                Signature,
                false,
                "demanded; explain cannot check one",
            ),
        ];
        for (told, check, passes, why) in cases {
            told.check(check, passes, why);
        }
    }

    #[test]
    fn each_check_of_what_is_asked_says_why() {
        use Check::{Permission, Plan, Quota, Rate};
        let cases: [(Told, Check, bool, &str); 9] = [
            (Told::new(), Rate, true, "tokens left: 1; 1 each 10 s, at most 1 at once"),
            (
                Told::with(|told| told.bucket = drained()),
                Rate,
                false,
                "the bucket is empty, one token in 10.0 s; 1 each 10 s, at most 1 at once",
            ),
            (Told::new(), Permission, true, "holds posts:*; needs posts:publish"),
            (
                Told::with(|told| told.key.permissions.clear()),
                Permission,
                false,
                "holds nothing; needs posts:publish",
            ),
            (
                Told::with(|told| told.wanted = Wanted::Refused(Denial::NotFound)),
                Permission,
                false,
                "there is no such route",
            ),
            (
                Told::with(|told| told.workspace.plan = "free".to_owned()),
                Plan,
                false,
                "the plan free is not paid",
            ),
            (Told::new(), Plan, true, "the plan pro is paid"),
            (Told::new(), Quota, true, "ai: 0 of 1000 used, resets in 30 d, at 2027-02-14T08:00:00.000Z"),
            (
                Told::with(|told| told.used = 1000),
                Quota,
                false,
                "ai: 1000 of 1000 used, resets in 30 d, at 2027-02-14T08:00:00.000Z",
            ),
        ];
        for (told, check, passes, why) in cases {
            told.check(check, passes, why);
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_says_so() {
        let many: Vec<_> = (0..60).map(|n| format!("10.0.0.{n}")).collect();
        let told = Told::with(|told| {
            told.key.addresses = AddressRules::parse(many.iter().map(String::as_str)).ok();
            told.key.permissions =
                (0..200).map(|n| Permission::parse(&format!("thing{n}:read")).unwrap()).collect();
        });
        for finding in told.both().1 {
            assert!(finding.why.len() < 500, "{}", finding.why);
        }
        let last = "10.0.0.7 and 52 more";
        assert!(told.both().1.iter().any(|finding| finding.why.ends_with(last)));
    }

    proptest! {
        #[test]
        fn the_first_check_that_fails_is_what_a_request_is_refused_for(wrong in any::<[bool; 10]>(), deleted: bool, wanted in 0usize..4) {
            let told = Told::with(|told| {
                let [revoked, workspace, secret, expired, address, signature, rate, permission, plan, quota] = wrong;
                let past = Some(Wall::from_secs(NOW));
                told.key.revoked_at = past.filter(|_| revoked);
                told.workspace.status = match (workspace, deleted) {
                    (false, _) => WorkspaceStatus::Active,
                    (true, false) => WorkspaceStatus::Suspended,
                    (true, true) => WorkspaceStatus::Deleted,
                };
                told.key.secrets[0].ends_at = past.filter(|_| secret);
                told.key.expires_at = past.filter(|_| expired);
                told.address = Some(if address { "192.0.2.1" } else { "10.0.0.1" });
                told.key.require_signature = signature;
                told.bucket = if rate { drained() } else { Bucket::default() };
                if permission {
                    told.key.permissions.clear();
                }
                if plan {
                    told.workspace.plan = "free".to_owned();
                }
                told.used = if quota { 1000 } else { 0 };
                match wanted {
                    0 => told.wanted = Wanted::Known(Requirement::default()),
                    1 => told.wanted = Wanted::Refused(Denial::NotFound),
                    2 => told.wanted = Wanted::Refused(Denial::Method { allow: VerbSet::default() }),
                    _ => {}
                }
            });
            let (rehearsed, findings) = told.both();
            let first = findings.iter().find_map(|finding| finding.outcome.clone().err());
            prop_assert_eq!(rehearsed.err(), first);
            let names: Vec<_> = findings.iter().map(|finding| finding.check.name()).collect();
            prop_assert_eq!(names, ["revoked", "workspace", "secret", "expired", "address", "signature", "rate", "permission", "plan", "quota"]);
        }
    }
}
