//! The audit log, a piece at a time.
//!
//! Rows come in their order, behind a number that the caller names.
//!
//! Never here: a value that was set; the log names fields alone.

use hyper::StatusCode;
use serde_json::json;

use super::super::spoken::json as answer;
use super::intake::{Query, refused};
use super::{Answered, Call, shown};

/// Rows in one answer.
const AUDIT_ROWS_MAX: usize = 100;

pub(super) async fn list(call: Call<'_>) -> Answered {
    let query = Query::read(call.query, &["after"])?;
    let after = match query.get("after") {
        None => 0,
        Some(text) => text.parse().map_err(|_| refused("after", "the number of a row"))?,
    };
    let rows = call.engine.audit(after, AUDIT_ROWS_MAX).await?;
    let data: Vec<_> = rows.iter().map(shown::audit_row).collect();
    Ok(answer(StatusCode::OK, &json!({"data": data})))
}
