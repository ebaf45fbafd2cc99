//! `{collection}` and `{collection}/{id}`, for every collection that has no rules of its own.
//!
//! Never here: a rule about records.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Data, Sandbox, Trouble, body, check_method, no_query, workspace};
use crate::sandbox::answer::{empty, json};
use crate::sandbox::collections::CollectionName;
use crate::sandbox::page::Page;

/// What products have under these names is no collection.
const OTHERS: [&str; 3] = ["ai", "chat", "media"];

/// Answers a request for a collection or a record of it.
pub(super) async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    let (name, id) = match *segments {
        [name] => (name, None),
        [name, id] if !id.is_empty() => (name, Some(id)),
        _ => return Err(Trouble::NotBuilt),
    };
    let name = CollectionName::parse(name).filter(|_| !OTHERS.contains(&name)).ok_or(Trouble::NotBuilt)?;
    match id {
        None => {
            check_method(&request, "GET, POST")?;
            all(sandbox, request, name).await
        }
        Some(id) => {
            check_method(&request, "GET, PUT, PATCH, DELETE")?;
            one(sandbox, request, name, id).await
        }
    }
}

async fn all(sandbox: &Sandbox, request: Request<Incoming>, name: CollectionName) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::GET {
        let page = Page::from_query(request.uri().query())?;
        let data = sandbox.list_records(workspace, &name, page).await?;
        return Ok(json(StatusCode::OK, &Data { data }));
    }
    let made = sandbox.create_record(workspace, name, body(request).await?).await?;
    Ok(json(StatusCode::CREATED, &made))
}

async fn one(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    name: CollectionName,
    id: &str,
) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    match *request.method() {
        Method::PUT => {
            let record = sandbox.replace_record(workspace, name, id, body(request).await?).await?;
            return Ok(json(StatusCode::OK, &record));
        }
        Method::PATCH => {
            let record = sandbox.patch_record(workspace, name, id, body(request).await?).await?;
            return Ok(json(StatusCode::OK, &record));
        }
        _ => no_query(&request)?,
    }
    if request.method() == Method::DELETE {
        sandbox.delete_record(workspace, &name, id).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    Ok(json(StatusCode::OK, &sandbox.record(workspace, &name, id).await?))
}
