//! The REST door: page 002's twenty routes, of which posts and accounts are built.
//!
//! Path before method, so a known path with another method is 405 with `Allow`; then the query, then the
//! body. A route that is not built yet says 501. Every error is `{"error":{"code","message"}}`.
//!
//! Never here: a rule about posts.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::accounts::ACCOUNTS;
use super::answer::{self, Answer};
use super::failure::Failure;
use super::intake::{self, Unread};
use super::members::Members;
use super::page::Page;
use super::posts::{Draft, Edit};
use super::{Sandbox, product, workspace};

/// Answers one request.
pub(super) async fn answer(sandbox: &Sandbox, request: Request<Incoming>) -> Answer {
    // Owned, since the body takes the request with it.
    let path = request.uri().path().to_owned();
    let Some(route) = Route::find(&path) else {
        return match &sandbox.product.not_built {
            Some(body) => product::not_built(body),
            None => error(StatusCode::NOT_FOUND, "not_found", "No such route."),
        };
    };
    let allow = route.allow();
    if !allow.split(", ").any(|method| method == request.method().as_str()) {
        let message = format!("This route allows {allow}.");
        return answer::with_allow(error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &message), allow);
    }
    let answered = match route {
        Route::Posts => posts(sandbox, request).await,
        Route::Post(id) => post(sandbox, request, id).await,
        Route::Accounts => accounts(&request),
        Route::LaterGet | Route::LaterPost => {
            let message = "The sandbox does not have this route yet.";
            return error(StatusCode::NOT_IMPLEMENTED, "not_implemented", message);
        }
    };
    answered.unwrap_or_else(|trouble| trouble.answer())
}

/// A path that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route<'a> {
    Posts,
    Post(&'a str),
    Accounts,
    LaterGet,
    LaterPost,
}

impl<'a> Route<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix("/v1/")?.split('/');
        let (first, second, third) = (segments.next()?, segments.next(), segments.next());
        if segments.next().is_some() || second == Some("") {
            return None;
        }
        Some(match (first, second, third) {
            ("posts", None, None) => Self::Posts,
            ("posts", Some(id), None) => Self::Post(id),
            ("accounts", None, None) => Self::Accounts,
            ("posts", Some(_), Some("analytics"))
            | ("accounts", Some("analytics"), None)
            | ("persona" | "trending", None, None) => Self::LaterGet,
            ("posts", Some(_), Some("schedule" | "publish"))
            | ("ai", Some("rewrite" | "compose" | "hashtags" | "thread" | "ideas" | "optimise"), None)
            | ("media", Some("upload-url"), None)
            | ("media", Some(_), Some("confirm")) => Self::LaterPost,
            _ => return None,
        })
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Posts => "GET, POST",
            Self::Post(_) => "GET, PATCH, DELETE",
            Self::Accounts | Self::LaterGet => "GET",
            Self::LaterPost => "POST",
        }
    }
}

async fn posts(sandbox: &Sandbox, request: Request<Incoming>) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::GET {
        let page = Page::from_query(request.uri().query())?;
        let data = sandbox.list_posts(workspace, page).await?;
        return Ok(answer::json(StatusCode::OK, &Data { data }));
    }
    let draft = Draft::from_members(body(request).await?)?;
    Ok(answer::json(StatusCode::CREATED, &sandbox.create_post(workspace, draft).await?))
}

async fn post(sandbox: &Sandbox, request: Request<Incoming>, id: &str) -> Result<Answer, Trouble> {
    let workspace = workspace(request.headers())?;
    if request.method() == Method::PATCH {
        let edit = Edit::from_members(body(request).await?)?;
        return Ok(answer::json(StatusCode::OK, &sandbox.update_post(workspace, id, edit).await?));
    }
    no_query(&request)?;
    if request.method() == Method::DELETE {
        sandbox.delete_post(workspace, id).await?;
        return Ok(answer::empty(StatusCode::NO_CONTENT));
    }
    Ok(answer::json(StatusCode::OK, &sandbox.post(workspace, id).await?))
}

fn accounts(request: &Request<Incoming>) -> Result<Answer, Trouble> {
    workspace(request.headers())?;
    let page = Page::from_query(request.uri().query())?;
    Ok(answer::json(StatusCode::OK, &Data { data: page.of(&ACCOUNTS) }))
}

async fn body(request: Request<Incoming>) -> Result<Members, Trouble> {
    no_query(&request)?;
    let bytes = intake::json(request).await.map_err(Trouble::Unread)?;
    Ok(Members::parse(&bytes, "The body")?)
}

fn no_query(request: &Request<Incoming>) -> Result<(), Failure> {
    match request.uri().query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Failure::Invalid("This route takes no query parameters.".to_owned())),
    }
}

#[derive(Serialize)]
struct Data<T> {
    data: Vec<T>,
}

/// Why a built route has no good answer.
enum Trouble {
    Unread(Unread),
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Trouble {
    fn answer(&self) -> Answer {
        let failure = match self {
            Self::Unread(unread) => {
                let status = match unread {
                    Unread::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Unread::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    Unread::Broken => StatusCode::BAD_REQUEST,
                };
                return error(status, "invalid_request", &unread.message());
            }
            Self::Failed(failure) => failure,
        };
        let message = failure.message();
        match failure {
            Failure::Invalid(_) | Failure::Full => {
                error(StatusCode::BAD_REQUEST, "invalid_request", &message)
            }
            Failure::NoSuchPost => error(StatusCode::NOT_FOUND, "not_found", &message),
            Failure::Fault(fault) => {
                fault.log();
                if fault.is_passing() {
                    answer::with_retry(error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message))
                } else {
                    error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", &message)
                }
            }
        }
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Envelope<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'a str,
        message: &'a str,
    }
    answer::json(status, &Envelope { error: Inner { code, message } })
}
