//! `accounts`, `persona`, `trending`: what is told of a workspace.
//!
//! Never here: anything that changes what is told.

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Data, Sandbox, Trouble, check_method, workspace};
use crate::sandbox::accounts::ACCOUNTS;
use crate::sandbox::answer::json;
use crate::sandbox::page::Page;

/// Answers a request for what stands at these segments behind the base.
pub(super) fn answer(
    _sandbox: &Sandbox,
    request: &Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    match segments {
        ["accounts"] => {
            check_method(request, "GET")?;
            accounts(request)
        }
        _ => Err(Trouble::NotBuilt),
    }
}

fn accounts(request: &Request<Incoming>) -> Result<Answer, Trouble> {
    workspace(request.headers())?;
    let page = Page::from_query(request.uri().query())?;
    Ok(json(StatusCode::OK, &Data { data: page.of(&ACCOUNTS) }))
}
