//! `files`: uploads as forms, lists, contents.
//!
//! What was uploaded comes back as bytes and nothing else: no type of its own, never shown by a browser.
//!
//! Never here: a rule about files.

use std::fmt::Write as _;

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{Answer, Sandbox, Trouble, check_method, no_query, workspace};
use crate::sandbox::answer::json as answered;
use crate::sandbox::failure::Failure;
use crate::sandbox::form::{NoUpload, upload};
use crate::sandbox::page::Page;

impl From<NoUpload> for Trouble {
    fn from(why: NoUpload) -> Self {
        match why {
            NoUpload::Unread(unread) => Self::Unread(unread),
            NoUpload::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Answers a request for what stands behind `files`.
pub(super) async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    segments: &[&str],
) -> Result<Answer, Trouble> {
    match *segments {
        [] => {
            check_method(&request, "GET, POST")?;
            all(sandbox, request).await
        }
        [id] if !id.is_empty() => {
            check_method(&request, "GET, DELETE")?;
            one(sandbox, &request, id).await
        }
        [id, "content"] if !id.is_empty() => {
            check_method(&request, "GET")?;
            content(sandbox, &request, id).await
        }
        _ => Err(Trouble::NotBuilt),
    }
}

async fn all(sandbox: &Sandbox, request: Request<Incoming>) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::GET {
        let (after, query) = cursor(request.uri().query().unwrap_or_default())?;
        let page = Page::from_query(Some(&query))?;
        // One more than asked for, to know whether there is more.
        let wider = Page { limit: page.limit + 1, ..page };
        let mut data = sandbox.list_files(workspace, after, wider).await?;
        let has_more = data.len() > page.limit;
        data.truncate(page.limit);
        return Ok(answered(StatusCode::OK, &json!({"object": "list", "data": data, "has_more": has_more})));
    }
    no_query(&request)?;
    let upload = upload(request, &sandbox.blobs, workspace).await?;
    Ok(answered(StatusCode::OK, &sandbox.create_file(workspace, upload).await?))
}

/// The cursor of OpenAI's lists, and the rest of the query. It stands in the place of an offset.
fn cursor(query: &str) -> Result<(Option<&str>, String), Failure> {
    let (cursors, rest): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| pair.starts_with("after="));
    let after = match cursors.as_slice() {
        [] => None,
        [after] if !rest.iter().any(|pair| pair.starts_with("offset=")) => after.strip_prefix("after="),
        [_] => return Err(Failure::Invalid("Give after or offset, not both.".to_owned())),
        _ => return Err(Failure::Invalid("The parameter after is given twice.".to_owned())),
    };
    Ok((after, rest.join("&")))
}

async fn one(sandbox: &Sandbox, request: &Request<Incoming>, id: &str) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    no_query(request)?;
    if request.method() == Method::DELETE {
        sandbox.delete_file(workspace, id).await?;
        return Ok(answered(StatusCode::OK, &json!({"id": id, "object": "file", "deleted": true})));
    }
    Ok(answered(StatusCode::OK, &sandbox.file(workspace, id).await?))
}

async fn content(sandbox: &Sandbox, request: &Request<Incoming>, id: &str) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    no_query(request)?;
    let (file, body) = sandbox.file_content(workspace, id).await?;
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&attachment(&file.filename)) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(answer)
}

/// A file's name as RFC 6266 and RFC 8187 write it, whatever is in it.
fn attachment(filename: &str) -> String {
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
