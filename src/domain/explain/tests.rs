//! What each check says of an attempt, and that the findings agree with the order of checks.
//!
//! Never here: the engine's side of an explanation (tests over a socket).

use std::sync::Arc;

use super::*;
use crate::domain::address::AddressRules;
use crate::domain::counts::MeterRow;
use crate::domain::decision::rehearse;
use crate::domain::facts::{KeyFacts, WorkspaceFacts};
use crate::domain::hash::{Fingerprinter, StoredFingerprint, StoredHash};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};
use crate::domain::meter::Grace;
use crate::domain::meter::ledger::Ledger;
use crate::domain::permission::{Catalogue, Permission};
use crate::domain::profile::{Plan, Requirement, Terms, VerbSet};
use crate::domain::proof::{Compared, Proof};
use crate::domain::rate::bucket::Bucket;
use crate::domain::rate::windows::Windows;
use crate::domain::rate::{Rate, Rates};
use crate::domain::record::{
    KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord, WorkspaceStatus,
};
use crate::domain::time::{Mono, Now, Wall};
use proptest::prelude::*;

const PHC: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";
const NOW: i64 = 1_800_000_000;

fn product() -> Profile {
    let plan = |name: &str, paid| Plan {
        name: name.to_owned(),
        paid,
        rate: None,
        workspace_rate: None,
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
        route_rates: Vec::new(),
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
    shared_bucket: Bucket,
    route: Option<(Rate, Arc<Bucket>)>,
    used: u64,
    wanted: Wanted,
    in_force: Option<(Check, Denial)>,
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
            rate: Rate::new(1, 10, None).ok().map(Rates::from),
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
        let Compared::Proven(proof) = key
            .prove_by_fingerprint(&raw.as_presented(), |by| (by == maker.made_by()).then_some(fingerprint))
        else {
            panic!("a key is itself")
        };
        let asked = profile.requirement(&Permission::parse("posts:publish").unwrap()).unwrap();
        let (bucket, address) = (Bucket::default(), Some("10.1.2.3"));
        let wanted = Wanted::Known(asked);
        Self {
            key,
            workspace,
            proof,
            address,
            bucket,
            shared_bucket: Bucket::default(),
            route: None,
            used: 0,
            wanted,
            in_force: None,
        }
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
        let meter = |number| {
            let mut ledger = Ledger::new(workspace.period(now.wall), workspace.terms(number));
            ledger.open(Some(&MeterRow { reserved: self.used, used: self.used, ..MeterRow::default() }));
            ledger.meter()
        };
        let explained = Explained {
            profile: &profile,
            prefix: self.key.prefix().unwrap(),
            epoch: self.proof.epoch(),
            wanted: &self.wanted,
            cost: 1,
            in_force: self.in_force.clone(),
        };
        let (key, workspace) = (Windows::of(&self.bucket).unwrap(), &self.shared_bucket);
        let buckets = Buckets { key, workspace, route: self.route.clone() };
        let findings = explain(&explained, &case, &buckets, meter);
        (rehearse(self.proof, &case, &self.wanted, &buckets, meter, 1), findings)
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
            Told::with(|told| told.in_force = Some((Workspace, Denial::Suspended))),
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
