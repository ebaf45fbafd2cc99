//! What every profile that loads must be able to say, and how problems of one that does not are told.
//!
//! Never here: the reading of a file.

use keyward::config::{LoadedProfile, Problem};
use keyward::dialect::{Era, Spoken};
use keyward::domain::denial::{Denial, Fault, Invalid, REFUSAL_NAMES, Refusal};
use keyward::domain::profile::{MeterNo, Verb, VerbSet};
use keyward::domain::time::Wall;
use serde_json::Value;

/// What stands for a value that nobody may repeat; seeds have it where people put secrets by mistake.
const HIDDEN: &str = "hunter2hunter2";

/// Whether problems are told as they must be.
pub(crate) fn are_told(problems: &[Problem]) {
    assert!(!problems.is_empty(), "nothing loads and nothing is wrong");
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem}");
        assert!(!problem.message.contains(HIDDEN), "a problem repeats a value");
    }
}

/// Whether each door of a profile can say every refusal.
pub(crate) fn says_everything(loaded: &LoadedProfile) {
    let profile = &loaded.profile;
    assert!(profile.rest.is_some() == loaded.rest.is_some() && profile.rpc.is_some() == loaded.rpc.is_some());
    assert!(profile.rest.is_some() || profile.rpc.is_some(), "a product without a door");
    assert_eq!(profile.terms.len(), profile.catalogue.iter().count());
    for plan in &profile.plans {
        assert_eq!(plan.limits.len(), profile.meters.len(), "a meter without a word about its limit");
    }
    for refusal in refusals(loaded) {
        if let Some(dialect) = &loaded.rest {
            let spoken = dialect.say(&refusal);
            is_whole(&spoken, &refusal);
            assert!(!spoken.status.is_success(), "a refusal that looks like a success");
            let body: Value = serde_json::from_slice(&spoken.body).expect("a refusal is JSON");
            assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
        }
        for (id, era) in [(None, Era::Legacy), (Some("\"a\\u0000\""), Era::Legacy), (Some("7"), Era::Modern)]
        {
            let Some(dialect) = &loaded.rpc else { continue };
            let spoken = dialect.say(&refusal, id, era);
            is_whole(&spoken, &refusal);
            assert!(
                id.is_some() || !spoken.status.is_success(),
                "clients wait for ever on a 200 without an id"
            );
            let body: Value = serde_json::from_slice(&spoken.body).expect("a refusal is JSON");
            assert!(body["jsonrpc"] == "2.0" && body["error"]["code"].is_i64() && body.get("id").is_some());
            assert!(body["error"]["message"].is_string());
        }
    }
}

fn is_whole(spoken: &Spoken, refusal: &Refusal) {
    let status = spoken.status.as_u16();
    assert!(status == 200 || (400..600).contains(&status), "{} is spoken with {status}", refusal.name());
    assert!(spoken.header.as_ref().is_none_or(|(_, value)| value.to_str().is_ok()));
    let challenged = spoken.header.as_ref().is_some_and(|(name, _)| name == http::header::WWW_AUTHENTICATE);
    assert_eq!(status == 401, challenged, "a 401 has a challenge, and nothing else has one");
}

/// Every kind of refusal, and of each the permissions and meters that this profile has.
fn refusals(loaded: &LoadedProfile) -> Vec<Refusal> {
    let allow = VerbSet::default().with(Verb::Get).with(Verb::Delete);
    let mut denials = vec![
        Denial::TooLarge { max_bytes: u64::MAX },
        Denial::ContentType,
        Denial::TwoCredentials,
        Denial::Missing,
        Denial::Malformed,
        Denial::Unknown,
        Denial::Revoked,
        Denial::Suspended,
        Denial::Expired,
        Denial::Address,
        Denial::Signature,
        Denial::Rate { retry_after_nanos: None },
        Denial::Rate { retry_after_nanos: Some(u64::MAX) },
        Denial::NotFound,
        Denial::Method { allow },
        Denial::UnknownMethod,
        Denial::Permission { needed: None },
        Denial::Plan,
    ];
    denials.extend(Invalid::ALL.map(Denial::Invalid));
    let catalogue = &loaded.profile.catalogue;
    denials.extend(catalogue.iter().map(|needed| Denial::Permission { needed: catalogue.number(needed) }));
    let meters = 0..u8::try_from(loaded.profile.meters.len()).expect("a profile has few meters");
    let resets_at = Wall::from_secs(0);
    denials.extend(meters.chain([u8::MAX]).map(|meter| Denial::Quota { meter: MeterNo(meter), resets_at }));
    let faults = [
        Fault::Credential,
        Fault::Internal,
        Fault::Busy { retry_after_secs: 0 },
        Fault::NotDurable,
        Fault::UpstreamUnreachable,
        Fault::UpstreamBroken,
        Fault::UpstreamLate,
    ];
    let refusals: Vec<Refusal> =
        denials.into_iter().map(Refusal::from).chain(faults.map(Refusal::from)).collect();
    let known: std::collections::BTreeSet<_> = refusals.iter().map(Refusal::ordinal).collect();
    assert_eq!(known.len(), REFUSAL_NAMES.len(), "a refusal is not tried here");
    refusals
}
