//! Explaining: what each check of an attempt would say, and why, spending nothing.
//!
//! The checks are those of `decision`, run one by one; the first that fails is what a request would be refused
//! for. The reasons are for the operator, who may know all of them; no caller is ever told one.
//!
//! Never here: a check of its own, a token or a unit taken, a secret.

mod reasons;
#[cfg(test)]
mod tests;

use super::decision::{ASKED, Buckets, Case, Check, STANDING, Wanted, needs_no_signature, would_pace};
use super::denial::Denial;
use super::key::Prefix;
use super::meter::PeriodMeter;
use super::profile::{MeterNo, Profile};
use reasons::{of_asked, of_quota, of_rate, of_refused, of_standing};

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
    /// A check that fails already by a change that is in force and not in the file yet.
    pub in_force: Option<(Check, Denial)>,
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
    buckets: &Buckets<'_>,
    meter_of: impl FnOnce(MeterNo) -> PeriodMeter,
) -> Vec<Finding> {
    let mut findings: Vec<_> = STANDING
        .iter()
        .map(|(check, run)| {
            let outcome = run(explained.epoch, case);
            match &explained.in_force {
                Some((failing, denial)) if failing == check && outcome.is_ok() => Finding {
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
    let outcome = would_pace(case, buckets);
    findings.push(Finding { check: Check::Rate, why: of_rate(case, buckets, &outcome), outcome });
    match explained.wanted {
        Wanted::Known(asked) => {
            findings.extend(ASKED.iter().map(|(check, run)| {
                let why = of_asked(*check, explained.profile, case, *asked);
                Finding { check: *check, why, outcome: run(case.key, case.workspace, *asked) }
            }));
            findings.push(of_quota(explained, case, *asked, meter_of));
        }
        Wanted::Refused(denial) | Wanted::RefusedAt(_, denial) => {
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
