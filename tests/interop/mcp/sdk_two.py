"""The second Python client: both eras over Streamable HTTP, the legacy one over HTTP+SSE."""

import contextlib
import types
import warnings

import httpx2
from mcp import Client as Connection
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

# The legacy era is spoken on purpose.
warnings.simplefilter("ignore", MCPDeprecationWarning)
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}

# What is raised for an error of JSON-RPC, and for one of HTTP.
RPC_ERROR, HTTP_ERROR = MCPError, httpx2.HTTPStatusError


@contextlib.asynccontextmanager
async def connected(run, key):
    headers = {"Authorization": f"Bearer {key}"}
    async with contextlib.AsyncExitStack() as stack:
        if run["transport"] == "sse":
            transport = sse_client(run["url"], headers=headers)
        else:
            http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
            transport = streamable_http_client(run["url"], http_client=http)
        yield Client(await stack.enter_async_context(Connection(transport, mode=MODES[run["mode"]])))


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.era = "modern" if connection.protocol_version >= "2026" else "legacy"

    async def ping(self):
        await self.connection.send_ping()

    async def list(self):
        return [tool.name for tool in (await self.connection.list_tools()).tools]

    async def call(self, call, step=None):
        async def progress(*_):
            step()

        answer = await self.connection.call_tool(call["name"], call["arguments"], progress_callback=step and progress)
        return types.SimpleNamespace(isError=answer.is_error, content=answer.content)
