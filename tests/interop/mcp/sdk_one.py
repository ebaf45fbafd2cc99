"""The first Python client: the legacy era, over Streamable HTTP and over HTTP+SSE."""

import contextlib

import httpx
from mcp import ClientSession, McpError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

# What is raised for an error of JSON-RPC, and for one of HTTP.
RPC_ERROR, HTTP_ERROR = McpError, httpx.HTTPStatusError


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
