//! The time that decisions go by, and the word that the machine's clock is to be believed.
//!
//! Never here: a rule about which time is believed.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::spoken::json as answer;
use super::intake::{Fields, Query};
use super::{Answered, Call};
use crate::domain::time::Wall;
use crate::engine::ClockView;

pub(super) fn show(call: &Call<'_>) -> Answered {
    Query::read(call.query, &[])?;
    Ok(answer(StatusCode::OK, &shown(&call.engine.clock_view())))
}

pub(super) async fn confirm(call: Call<'_>) -> Answered {
    Query::read(call.query, &[])?;
    if !call.body.is_empty() {
        Fields::read(call.body, &[])?;
    }
    let view = call.engine.confirm_clock(call.actor()).await?;
    Ok(answer(StatusCode::OK, &shown(&view)))
}

fn shown(view: &ClockView) -> Value {
    json!({
        "believed": view.believed.to_rfc3339(),
        "machine": view.machine.to_rfc3339(),
        "mark": view.mark.map(Wall::to_rfc3339),
        "state": view.state.name(),
        "by_s": view.state.by_secs(),
    })
}
