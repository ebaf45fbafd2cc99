//! The upstream's answer to `tools/list`, filtered.
//!
//! Never here: the predicate; it is the one that gates `tools/call`.

use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, ETAG};

use super::tool_list::filter_tools;
use crate::domain::denial::{Fault, Refusal};
use crate::domain::profile::RpcDoor;
use crate::engine::Reach;
use crate::http::body::BodyError;
use crate::http::{Body, Response, body};
use crate::surface::buffers::{Buffers, Holder};
use crate::surface::is_json;

/// The most bytes of a `tools/list` answer that is filtered.
const TOOL_LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest that such an answer may take to arrive whole.
const TOOL_LIST_TIME_MAX: Duration = Duration::from_secs(30);

/// The upstream's list without the tools that this key may not call.
pub(super) async fn filtered(
    response: Response,
    door: &RpcDoor,
    reach: &Reach,
    buffers: &Buffers,
    holder: Holder,
) -> Result<Response, Refusal> {
    if !response.status().is_success() {
        return Ok(response);
    }
    if !is_json(response.headers()) {
        // Lists in event streams cannot be filtered yet, and an unfiltered one is never shown.
        return Err(Fault::UpstreamBroken.into());
    }
    let _held = buffers.hold(holder, TOOL_LIST_BYTES_MAX)?;
    let (mut parts, body) = response.into_parts();
    let whole = body::read(body, TOOL_LIST_BYTES_MAX, TOOL_LIST_TIME_MAX).await;
    let whole = whole.map_err(|error| match error {
        BodyError::Untethered(denial) => Refusal::Denied(denial),
        BodyError::TooLarge { .. } | BodyError::Late | BodyError::Broken(_) | BodyError::Event => {
            Fault::UpstreamBroken.into()
        }
    })?;
    let may_call =
        |name: &str| door.requirement(name, None).is_some_and(|requirement| reach.covers(&requirement));
    let shown = filter_tools(&whole, may_call).ok_or(Fault::UpstreamBroken)?;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ETAG);
    Ok(Response::from_parts(parts, Body::from(shown)))
}
