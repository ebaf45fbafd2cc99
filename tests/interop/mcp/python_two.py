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


def refusal(error):
    """What is told of an error: its code and data where it is one of JSON-RPC, its status where it is one of HTTP."""
    if isinstance(error, BaseExceptionGroup):
        told = [refusal(one) for one in error.exceptions]
        return next((one for one in told if one.status or one.code), told[0])
    told = types.SimpleNamespace(code=None, data=None, status=None, error=repr(error))
    if isinstance(error, MCPError):
        told.code, told.data = error.error.code, error.error.data
    if isinstance(error, httpx2.HTTPStatusError):
        told.status = error.response.status_code
    return told
