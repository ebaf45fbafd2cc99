//! The record of a workspace.
//!
//! The id is the table's key and is not repeated inside. The golden bytes at the end can never change.
//!
//! Never here: a default for what a record does not say, but for what its format leaves out when it is absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Place, RateTwin, decode, encode, rates_from_twins, rates_to_twins};
use crate::domain::id::WorkspaceId;
use crate::domain::record::{Label, Overrides, WorkspaceRecord, WorkspaceStatus};
use crate::domain::time::Wall;
use crate::store::error::StoreError;

const TABLE: &str = "workspaces";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceTwin {
    version: u64,
    name: String,
    profile: String,
    plan: String,
    anchor_us: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    brands: Vec<String>,
    suspended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<RateTwin>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    meters: BTreeMap<String, u64>,
    created_us: i64,
    /// Since format 2. Absent: it is not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    /// Since format 3. Absent: there is no rate beside the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more_rates: Vec<RateTwin>,
    /// Since format 3. Absent: the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace_rate: Option<RateTwin>,
}

/// Writes a workspace down.
pub(in crate::store) fn to_bytes(record: &WorkspaceRecord) -> Result<Vec<u8>, StoreError> {
    let (rate, more_rates) = rates_to_twins(record.overrides.rate.as_ref());
    encode(&WorkspaceTwin {
        version: record.version,
        name: record.name.as_str().to_owned(),
        profile: record.profile.clone(),
        plan: record.plan.clone(),
        anchor_us: record.billing_anchor.micros(),
        brands: record.brands.iter().map(|brand| brand.as_str().to_owned()).collect(),
        suspended: record.status == WorkspaceStatus::Suspended,
        rate,
        meters: record.overrides.meters.clone(),
        created_us: record.created_at.micros(),
        deleted: record.status == WorkspaceStatus::Deleted,
        more_rates,
        workspace_rate: record.overrides.workspace_rate.map(RateTwin::from),
    })
}

/// Reads the workspace of this id.
pub(in crate::store) fn from_bytes(id: WorkspaceId, bytes: &[u8]) -> Result<WorkspaceRecord, StoreError> {
    let place = Place { table: TABLE, key: &id };
    let twin: WorkspaceTwin = decode(place, bytes)?;
    let label =
        |text: &String| Label::parse(text).ok_or_else(|| place.corrupt("its name or a brand is malformed"));
    Ok(WorkspaceRecord {
        id,
        version: twin.version,
        name: label(&twin.name)?,
        profile: twin.profile,
        plan: twin.plan,
        billing_anchor: Wall::from_micros(twin.anchor_us),
        brands: twin.brands.iter().map(label).collect::<Result<_, _>>()?,
        status: match (twin.deleted, twin.suspended) {
            (true, _) => WorkspaceStatus::Deleted,
            (false, true) => WorkspaceStatus::Suspended,
            (false, false) => WorkspaceStatus::Active,
        },
        overrides: Overrides {
            rate: rates_from_twins(twin.rate, twin.more_rates, place)?,
            workspace_rate: twin.workspace_rate.map(|rate| rate.into_domain(place)).transpose()?,
            meters: twin.meters,
        },
        created_at: Wall::from_micros(twin.created_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate::{Rate, Rates};
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    fn full() -> WorkspaceRecord {
        WorkspaceRecord {
            id: WorkspaceId::from_u128(7),
            version: 3,
            name: Label::parse("Müller & Söhne").unwrap(),
            profile: "socialcrm".to_owned(),
            plan: "pro".to_owned(),
            billing_anchor: Wall::from_secs(1_700_000_000),
            brands: vec![Label::parse("One").unwrap(), Label::parse("Two").unwrap()],
            status: WorkspaceStatus::Suspended,
            overrides: Overrides {
                rate: Some(Rate::new(120, 60, Some(200)).unwrap().into()),
                workspace_rate: None,
                meters: BTreeMap::from([("ai".to_owned(), 5), ("mcp_calls".to_owned(), 0)]),
            },
            created_at: Wall::from_micros(1_700_000_000_123_456),
        }
    }

    fn bare() -> WorkspaceRecord {
        let (brands, overrides, status) = (Vec::new(), Overrides::default(), WorkspaceStatus::Active);
        WorkspaceRecord { brands, status, overrides, ..full() }
    }

    /// What format 1 could not say.
    fn since_format_2() -> WorkspaceRecord {
        bare().deleted()
    }

    /// What format 2 could not say.
    fn since_format_3() -> WorkspaceRecord {
        let rates = [(10, 1), (60, 60)].map(|(limit, window)| Rate::new(limit, window, None).unwrap());
        let workspace_rate = Rate::new(1000, 60, None).ok();
        let overrides =
            Overrides { rate: Rates::new(rates.to_vec()).ok(), workspace_rate, meters: BTreeMap::new() };
        WorkspaceRecord { overrides, ..bare() }
    }

    #[test]
    fn formats_1_to_3_are_pinned() {
        let read = |bytes: &[u8]| from_bytes(full().id, bytes).unwrap();
        check_golden(&to_bytes(&full()).unwrap(), FULL, read, &full());
        check_golden(&to_bytes(&bare()).unwrap(), BARE, read, &bare());
        check_golden(&to_bytes(&since_format_2()).unwrap(), SINCE_2, read, &since_format_2());
        check_golden(&to_bytes(&since_format_3()).unwrap(), SINCE_3, read, &since_format_3());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&full()).unwrap(), |bytes| from_bytes(full().id, bytes).map(drop));
    }

    const FULL: &str = "
        018aa776657273696f6e03a46e616d65b04dc3bc6c6c657220262053c3b6686e65a770726f66696c65a9736f6369616c
        63726da4706c616ea370726fa9616e63686f725f7573cf00060a24181e4000a66272616e647392a34f6e65a354776fa9
        73757370656e646564c3a47261746583a56c696d697478ab77696e646f775f736563733ca56275727374ccc8a66d6574
        65727382a2616905a96d63705f63616c6c7300aa637265617465645f7573cf00060a2418202240";
    const SINCE_3: &str = "
        038aa776657273696f6e03a46e616d65b04dc3bc6c6c657220262053c3b6686e65a770726f66696c65a9736f6369616c
        63726da4706c616ea370726fa9616e63686f725f7573cf00060a24181e4000a973757370656e646564c2a47261746583
        a56c696d69740aab77696e646f775f7365637301a562757273740aaa637265617465645f7573cf00060a2418202240aa
        6d6f72655f72617465739183a56c696d69743cab77696e646f775f736563733ca562757273743cae776f726b73706163
        655f7261746583a56c696d6974cd03e8ab77696e646f775f736563733ca56275727374cd03e8";
    const SINCE_2: &str = "
        0288a776657273696f6e04a46e616d65b04dc3bc6c6c657220262053c3b6686e65a770726f66696c65a9736f6369616c
        63726da4706c616ea370726fa9616e63686f725f7573cf00060a24181e4000a973757370656e646564c2aa6372656174
        65645f7573cf00060a2418202240a764656c65746564c3";
    const BARE: &str = "
        0187a776657273696f6e03a46e616d65b04dc3bc6c6c657220262053c3b6686e65a770726f66696c65a9736f6369616c
        63726da4706c616ea370726fa9616e63686f725f7573cf00060a24181e4000a973757370656e646564c2aa6372656174
        65645f7573cf00060a2418202240";
}
