//! The audit log: a piece at a time, and whether it is what was written.
//!
//! Rows come in their order, behind a number that the caller names, with what each field was before and is
//! after. The newest row's number and hash come along, to be kept elsewhere.
//!
//! Never here: a secret, or a part of one; the rows hold none.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::spoken::json as answer;
use super::intake::{Query, refused};
use super::{Answered, Call, shown};
use crate::domain::audit::chain::{AuditBreak, AuditVerdict};
use crate::domain::audit::seal::AuditHead;

/// Rows in one answer.
const AUDIT_ROWS_MAX: usize = 100;

pub(super) async fn list(call: Call<'_>) -> Answered {
    let query = Query::read(call.query, &["after"])?;
    let after = match query.get("after") {
        None => 0,
        Some(text) => text.parse().map_err(|_| refused("after", "the number of a row"))?,
    };
    let rows = call.engine.audit(after, AUDIT_ROWS_MAX).await?;
    let newest = call.engine.audit_head().await?;
    let data: Vec<_> = rows.iter().map(shown::audit_row).collect();
    Ok(answer(StatusCode::OK, &json!({"data": data, "head": head(newest)})))
}

pub(super) async fn verify(call: Call<'_>) -> Answered {
    let query = Query::read(call.query, &["anchor"])?;
    let expected = "SEQ:HEX: the number of a row and its hash, as `head` told them once";
    let anchor = query
        .get("anchor")
        .map(|text| AuditHead::parse(text).ok_or_else(|| refused("anchor", expected)))
        .transpose()?;
    let found = call.engine.verify_audit(anchor).await?;
    Ok(answer(StatusCode::OK, &verdict(&found)))
}

/// What came of a check, as JSON; `whole` says it all.
pub fn verdict(found: &AuditVerdict) -> Value {
    let unknown = found.unknown.iter().map(|maker| {
        json!({
            "install_secret": hex::encode(maker.made_by.as_bytes()),
            "first": maker.first,
            "last": maker.last,
            "rows": maker.rows,
        })
    });
    json!({
        "whole": found.is_whole(),
        "rows": found.rows,
        "head": head(found.head),
        "covered_to": found.covered_to,
        "unsealed_rows": found.unsealed,
        "unknown_install_secrets": unknown.collect::<Vec<_>>(),
        "problems": found.breaks.iter().map(problem).collect::<Vec<_>>(),
        "problems_total": found.breaks_total,
    })
}

fn head(head: Option<AuditHead>) -> Value {
    json!(head.map(|head| json!({"seq": head.seq, "hash": head.hash.to_string()})))
}

fn problem(found: &AuditBreak) -> Value {
    let (kind, seq, detail) = match *found {
        AuditBreak::Missing { first, last } if first == last => {
            ("missing", first, format!("row {first} is missing"))
        }
        AuditBreak::Missing { first, last } => {
            ("missing", first, format!("rows {first} to {last} are missing"))
        }
        AuditBreak::Changed { seq } => (
            "changed",
            seq,
            format!("row {seq} is not what was written there: it was edited, or belongs elsewhere"),
        ),
        AuditBreak::Seal { seq } => {
            ("seal", seq, format!("row {seq} was not written under the install secret that it names"))
        }
        AuditBreak::Unsealed { seq } => {
            ("unsealed", seq, format!("row {seq} has no seal, but a row before it has one"))
        }
        AuditBreak::Foreign { first, last } => (
            "foreign",
            first,
            format!(
                "rows {first} to {last} name an install secret that is not here, between rows whose is: they may have been written by somebody else"
            ),
        ),
        AuditBreak::Cut { newest, anchor } => {
            ("cut", anchor, format!("the log ends at row {newest}, but the anchor is row {anchor}"))
        }
        AuditBreak::Anchor { seq } => (
            "anchor",
            seq,
            format!("row {seq} has another hash than the anchor: it, or one before it, was changed"),
        ),
    };
    json!({"kind": kind, "seq": seq, "detail": detail})
}
