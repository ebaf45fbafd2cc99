//! `accounts`, `persona`, `trending`: what is told of a workspace.
//!
//! Never here: anything that changes what is told.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::{Answer, Data, Sandbox, Trouble, check_method, no_query, workspace};
use crate::sandbox::accounts::ACCOUNTS;
use crate::sandbox::answer::json;
use crate::sandbox::page::Page;
use crate::sandbox::samples::{PERSONA, TRENDS};

/// Answers a request for what stands at these segments behind the base.
pub(super) async fn answer(
    sandbox: &Sandbox,
    request: &Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    match segments {
        ["accounts"] => page_of(&ACCOUNTS, request),
        ["trending"] => page_of(&TRENDS, request),
        ["persona"] => {
            check_method(request, "GET")?;
            workspace(request.headers())?;
            no_query(request)?;
            Ok(json(StatusCode::OK, &Data { data: PERSONA }))
        }
        ["accounts", "analytics"] => {
            check_method(request, "GET")?;
            let workspace = workspace(request.headers())?;
            no_query(request)?;
            Ok(json(StatusCode::OK, &Data { data: sandbox.account_analytics(workspace).await? }))
        }
        _ => Err(Trouble::NotBuilt),
    }
}

fn page_of<T: Serialize>(list: &[T], request: &Request<Incoming>) -> Result<Answer, Trouble> {
    check_method(request, "GET")?;
    workspace(request.headers())?;
    let page = Page::from_query(request.uri().query())?;
    Ok(json(StatusCode::OK, &Data { data: page.of(list) }))
}
