//! Passes for tests, made the only way there is: through the order of checks.
//!
//! The key, workspace and profile are the least that the checks let through; nothing about them is
//! configurable.
//!
//! Never here: a way around the checks.

use crate::domain::decision::{Admission, Case, OpenPass, Wanted, allowed, pace, pace_route, standing};
use crate::domain::denial::Denial;
use crate::domain::facts::{KeyFacts, WorkspaceFacts};
use crate::domain::hash::{Fingerprinter, SlowHashCost, SlowHashMemory, StoredFingerprint, StoredHash};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::identity::Identity;
use crate::domain::key::{RawKey, Tag};
use crate::domain::permission::Catalogue;
use crate::domain::profile::{Profile, Requirement, RpcDoor};
use crate::domain::proof::Compared;
use crate::domain::rate::Rate;
use crate::domain::rate::bucket::{Bucket, TooFast};
use crate::domain::record::{
    KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord, WorkspaceStatus,
};
use crate::domain::tether::Tether;
use crate::domain::time::{Mono, Now, Wall};
use crate::gateway::Pass;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A granted pass.
pub(super) fn granted() -> Pass {
    granted_to(WorkspaceId::from_u128(2))
}

/// A pass granted to a key of `workspace`, as the order of checks makes it.
pub(super) fn granted_to(workspace: WorkspaceId) -> Pass {
    tied_to(workspace, Tether::new(|| Ok(())))
}

/// A granted pass and the switch that ends what it stands on.
pub(super) fn granted_until() -> (Pass, Arc<AtomicBool>) {
    let over = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&over);
    let check = move || if switch.load(Ordering::SeqCst) { Err(Denial::Revoked) } else { Ok(()) };
    (tied_to(WorkspaceId::from_u128(2), Tether::new(check)), over)
}

fn tied_to(workspace: WorkspaceId, tether: Tether) -> Pass {
    let profile = profile();
    let now = Now { wall: Wall::from_secs(1_000), mono: Mono::from_nanos(1) };
    let key = KeyId::from_u128(1);
    let raw = RawKey::mint(&profile.tag, &[7; 64]).unwrap();
    let presented = raw.as_presented();
    let fingerprinter = Fingerprinter::new(&[1; 32]);
    let fingerprint = fingerprinter.fingerprint(&presented);
    let cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap();
    let secret = KeySecret {
        prefix: presented.prefix().unwrap(),
        epoch: 0,
        hash: StoredHash::create(&presented, [3; 16], cost, &mut SlowHashMemory::default()).unwrap(),
        fingerprint: Some(StoredFingerprint { made_by: fingerprinter.made_by(), fingerprint }),

        imported: None,
        created_at: now.wall,
        ends_at: None,
    };
    let record = KeyRecord {
        id: key,
        version: 1,
        workspace,
        name: None,
        description: None,
        permissions: Vec::new(),
        secrets: vec![secret],
        created_at: now.wall,
        expires_at: None,
        revoked_at: None,
        addresses: None,
        rate: None,
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    };
    let account = WorkspaceRecord {
        id: workspace,
        version: 1,
        name: Label::parse("Acme").unwrap(),
        profile: profile.name.clone(),
        plan: "pro".into(),
        billing_anchor: now.wall,
        brands: Vec::new(),
        status: WorkspaceStatus::Active,
        overrides: Overrides::default(),
        created_at: now.wall,
    };
    let (key_facts, account_facts) =
        (KeyFacts::compile(&record, &profile), WorkspaceFacts::compile(&account, &profile));
    let case = Case { key: &key_facts, workspace: &account_facts, address: None, now };
    let fingerprint_of = |maker| (maker == fingerprinter.made_by()).then_some(fingerprint);
    let Compared::Proven(proof) = record.prove_by_fingerprint(&presented, fingerprint_of) else {
        panic!("the key is its own");
    };
    let standing = standing(proof, &case).unwrap();
    let free = pace(&standing, &case, |_| Err(TooFast::never()), &Bucket::default()).unwrap();
    let (rate, _) = pace_route(free, &case, None).unwrap();
    let wanted = Wanted::Known(Requirement::default());
    let Ok(Admission::Unmetered(admitted)) = allowed(standing, rate, &case, &wanted) else {
        panic!("nothing was asked");
    };
    let (plan, scopes) = ("pro".into(), "posts:read posts:write".into());
    let identity = Identity { key, workspace, plan, scopes, assertion: None };
    Pass::Granted(admitted.grant(), identity.into(), tether)
}

fn profile() -> Profile {
    let rpc = RpcDoor {
        endpoint: "/rpc".into(),
        sse: None,
        public_paths: vec!["/open".into()],
        keyless_methods: Vec::new(),
        methods: Vec::new(),
        tools: HashMap::new(),
        method_requirements: Vec::new(),
        tool_patterns: Vec::new(),
        refused_key_id: crate::domain::profile::RefusedKeyId::Null,
    };
    Profile {
        name: "test".into(),
        tag: Tag::parse("sk_live_").unwrap(),
        catalogue: Catalogue::default(),
        terms: Vec::new(),
        meters: Vec::new(),
        plans: Vec::new(),
        rate: None,
        route_rates: Vec::new(),
        signing: None,
        rest: None,
        rpc: Some(rpc),
    }
}

/// An open pass.
pub(super) fn open() -> Pass {
    let public = profile().rpc.unwrap().public_path("/open").unwrap();
    let rate = Rate::new(1, 1, None).unwrap();
    Pass::Open(OpenPass::paced(public, Some(&rate), &Bucket::default(), Mono::from_nanos(1)).unwrap())
}
