"""The first Python client: the legacy era, over Streamable HTTP and over HTTP+SSE."""

import contextlib
import types

import httpx
from mcp import ClientSession, McpError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client


@contextlib.asynccontextmanager
async def connected(run, key):
    opener = {"http": streamablehttp_client, "sse": sse_client}[run["transport"]]
    async with opener(run["url"], headers={"Authorization": f"Bearer {key}"}) as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            yield Client(session)


class Client:
    era = "legacy"

    def __init__(self, session):
        self.session = session

    async def ping(self):
        await self.session.send_ping()

    async def list(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, call, step=None):
        async def progress(*_):
            step()

        return await self.session.call_tool(call["name"], call["arguments"], progress_callback=step and progress)


def refusal(error):
    """What is told of an error: its code and data where it is one of JSON-RPC, its status where it is one of HTTP."""
    if isinstance(error, BaseExceptionGroup):
        told = [refusal(one) for one in error.exceptions]
        return next((one for one in told if one.status or one.code), told[0])
    told = types.SimpleNamespace(code=None, data=None, status=None, error=repr(error))
    if isinstance(error, McpError):
        told.code, told.data = error.error.code, error.error.data
    if isinstance(error, httpx.HTTPStatusError):
        told.status = error.response.status_code
    return told
