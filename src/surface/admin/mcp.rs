//! The admin API as an MCP server: an operator's agent makes, lists, rotates and revokes keys, reads usage and
//! asks why a key is refused.
//!
//! Each tool is one admin route: its permission, its handler, its audit row, its words. A key lists exactly the
//! tools that it may call. Every message is a request of its own, with a key of its own: there is no session,
//! and no stream.
//!
//! Never here: a rule about keys, or a tool that no route stands behind.

mod tools;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorCode, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::{Call, routes};
use crate::dialect::ProblemDialect;
use crate::domain::profile::{Found, Profile, Route};
use crate::engine::{Engine, Granted, Reach};
use crate::http::{Body, Response, answer};
use tools::{AdminTool, TOOLS};

/// Where it is served.
pub(super) const PATH: &str = "/mcp";

/// What a client needs not ask of this server: it takes either form of answer.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// A tool that exists and that this key may not call. The code is the one that product profiles use for it.
const LACKS_PERMISSION: ErrorCode = ErrorCode(-32_003);

const INSTRUCTIONS: &str = "Keys of the products that this Keyward serves. A key's text is in the answer of \
                            create_key and rotate_key and nowhere else: hand it over at once and keep no copy. \
                            Revoking a key is immediate and cannot be undone. explain_refusal tells why a \
                            request of a key would be refused, and spends nothing.";

/// The server behind [`PATH`].
pub(super) struct Server {
    service: StreamableHttpService<Operator, NeverSessionManager>,
}

impl Server {
    /// The server whose tools are the routes of `profile`, the system's own; refusals are `dialect`'s.
    pub(super) fn new(profile: &Arc<Profile>, dialect: Arc<ProblemDialect>) -> Self {
        let operator = Operator { profile: Arc::clone(profile), dialect };
        // Host and Origin were checked with those of every other admin request.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .disable_allowed_hosts()
            .disable_allowed_origins();
        let service = StreamableHttpService::new(move || Ok(operator.clone()), Arc::default(), config);
        Self { service }
    }

    /// Answers one message of a key that stands.
    pub(super) async fn answer(&self, call: Call<'_>, headers: &HeaderMap) -> Response {
        let mut request = hyper::Request::new(Full::new(Bytes::copy_from_slice(call.body)));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers.clone();
        request.headers_mut().remove(AUTHORIZATION);
        request.headers_mut().insert(ACCEPT, ACCEPTED);
        let reach = call.admin.reach();
        let asking = Asking { engine: Arc::clone(call.engine), reach, granted: Mutex::new(Some(call.admin)) };
        request.extensions_mut().insert(Arc::new(asking));
        let (parts, body) = self.service.handle(request).await.into_parts();
        let Ok(body) = body.collect().await;
        let mut response = Response::from_parts(parts, Body::from(body.to_bytes()));
        answer::forbid_storing(&mut response);
        response
    }
}

/// Who asks: what a message may do, once.
struct Asking {
    engine: Arc<Engine>,
    reach: Reach,
    granted: Mutex<Option<Granted>>,
}

impl Asking {
    fn of(context: &RequestContext<RoleServer>) -> Result<&Arc<Self>, ErrorData> {
        let parts = context.extensions.get::<Parts>();
        parts.and_then(|parts| parts.extensions.get::<Arc<Self>>()).ok_or_else(internal)
    }

    fn take(&self) -> Result<Granted, ErrorData> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(internal)
    }
}

/// The tools, as rmcp asks for them.
#[derive(Clone)]
struct Operator {
    profile: Arc<Profile>,
    dialect: Arc<ProblemDialect>,
}

impl Operator {
    /// The route behind a tool; a test holds that each has one.
    fn route(&self, tool: &AdminTool) -> Option<&Route> {
        match self.profile.rest.as_ref()?.routes.find(Some(tool.verb), tool.pattern) {
            Found::Route(route) => Some(route),
            Found::OtherVerbs(_) | Found::Nothing => None,
        }
    }

    fn may_call(&self, reach: &Reach, tool: &AdminTool) -> bool {
        self.route(tool).is_some_and(|route| reach.covers(&route.requirement))
    }
}

impl ServerHandler for Operator {
    fn get_info(&self) -> ServerConfig {
        let info = Implementation::new("keyward", env!("CARGO_PKG_VERSION")).with_title("Keyward");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(info)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let asking = Asking::of(&context)?;
        let callable = TOOLS.iter().filter(|tool| self.may_call(&asking.reach, tool));
        let callable: Vec<Tool> = callable.map(AdminTool::described).collect();
        Ok(ListToolsResult::with_all_items(callable))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let asking = Asking::of(&context)?;
        let found = TOOLS.iter().find(|tool| tool.name == request.name);
        let (tool, route) = found.and_then(|tool| Some((tool, self.route(tool)?))).ok_or_else(|| {
            ErrorData::invalid_params("Unknown tool: tools/list tells those of this key.", None)
        })?;
        if !asking.reach.covers(&route.requirement) {
            let needed =
                route.requirement.permission.and_then(|number| self.profile.catalogue.permission(number));
            let needed = needed.map(ToString::to_string).unwrap_or_default();
            let message = format!("This admin key lacks the permission {needed}.");
            return Err(ErrorData::new(LACKS_PERMISSION, message, None));
        }
        let arguments = match tool.arguments(request.arguments.unwrap_or_default()) {
            Ok(arguments) => arguments,
            Err(detail) => return Ok(CallToolResult::structured_error(json!({"detail": detail})).into()),
        };
        let call = Call {
            engine: &asking.engine,
            admin: asking.take()?,
            id: arguments.id.as_deref(),
            query: arguments.query.as_deref(),
            body: &arguments.body,
        };
        let result = match routes::answer(route, call).await {
            Ok(response) => CallToolResult::structured(told(response.into_body())?),
            Err(refused) => {
                let problem = Body::from(refused.say(&self.dialect).body);
                CallToolResult::structured_error(told(problem)?)
            }
        };
        Ok(result.into())
    }
}

/// The JSON of an answer.
fn told(body: Body) -> Result<Value, ErrorData> {
    match body {
        Body::Whole(bytes) => serde_json::from_slice(&bytes).map_err(|_| internal()),
        _ => Err(internal()),
    }
}

fn internal() -> ErrorData {
    ErrorData::internal_error("Something went wrong on our side.", None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::system_profile;

    #[test]
    fn each_tool_is_a_route_with_a_permission_and_has_a_name_of_its_own() {
        let profile = system_profile();
        let operator = Operator { dialect: Arc::new(ProblemDialect::new(&profile.catalogue)), profile };
        for (place, tool) in TOOLS.iter().enumerate() {
            let route = operator.route(tool).unwrap_or_else(|| panic!("{}", tool.name));
            assert!(route.requirement.permission.is_some() && route.pattern == tool.pattern, "{}", tool.name);
            assert!(TOOLS.iter().skip(place + 1).all(|other| other.name != tool.name), "{}", tool.name);
        }
    }
}
