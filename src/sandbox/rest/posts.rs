//! `posts`: drafts and what becomes of them.
//!
//! Never here: a rule about posts.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Data, Sandbox, Trouble, body, check_method, no_body, no_query, workspace};
use crate::sandbox::answer::{empty, json};
use crate::sandbox::page::Page;
use crate::sandbox::posts::publishing::Schedule;
use crate::sandbox::posts::{Draft, Edit};

/// Answers a request for what stands behind `posts`.
pub(super) async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    match segments {
        [] => {
            check_method(&request, "GET, POST")?;
            all(sandbox, request).await
        }
        [id] if !id.is_empty() => {
            check_method(&request, "GET, PATCH, DELETE")?;
            one(sandbox, request, id).await
        }
        [id, "schedule"] if !id.is_empty() => {
            check_method(&request, "POST")?;
            let workspace = workspace(request.headers())?;
            let schedule = Schedule::from_members(body(request).await?)?;
            Ok(json(StatusCode::OK, &sandbox.schedule_post(workspace, id, schedule).await?))
        }
        [id, "publish"] if !id.is_empty() => {
            check_method(&request, "POST")?;
            let workspace = workspace(request.headers())?;
            no_body(request).await?;
            Ok(json(StatusCode::OK, &sandbox.publish_post(workspace, id).await?))
        }
        [id, "analytics"] if !id.is_empty() => {
            check_method(&request, "GET")?;
            let workspace = workspace(request.headers())?;
            no_query(&request)?;
            Ok(json(StatusCode::OK, &Data { data: sandbox.post_analytics(workspace, id).await? }))
        }
        _ => Err(Trouble::NotBuilt),
    }
}

async fn all(sandbox: &Sandbox, request: Request<Incoming>) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::GET {
        let page = Page::from_query(request.uri().query())?;
        let data = sandbox.list_posts(workspace, page).await?;
        return Ok(json(StatusCode::OK, &Data { data }));
    }
    let draft = Draft::from_members(body(request).await?)?;
    Ok(json(StatusCode::CREATED, &sandbox.create_post(workspace, draft).await?))
}

async fn one(sandbox: &Sandbox, request: Request<Incoming>, id: &str) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::PATCH {
        let edit = Edit::from_members(body(request).await?)?;
        return Ok(json(StatusCode::OK, &sandbox.update_post(workspace, id, edit).await?));
    }
    no_query(&request)?;
    if request.method() == Method::DELETE {
        sandbox.delete_post(workspace, id).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    Ok(json(StatusCode::OK, &sandbox.post(workspace, id).await?))
}
