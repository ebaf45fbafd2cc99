// The first TypeScript client: the legacy era, over Streamable HTTP and over HTTP+SSE.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const transports = { http: StreamableHTTPClientTransport, sse: SSEClientTransport };

export async function connect({ url, transport, key }) {
  const client = new Client({ name: "interop", version: "1" });
  const opened = new transports[transport](new URL(url), {
    requestInit: { headers: { Authorization: `Bearer ${key}` } },
  });
  await client.connect(opened);
  return {
    era: () => "legacy",
    ping: () => client.ping(),
    list: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: (call, onprogress) => client.callTool(call, undefined, { onprogress }),
    close: async () => {
      await opened.terminateSession?.();
      await client.close();
    },
  };
}

// Over SSE the status of a POST is told in the message alone.
export const refusal = (error) => ({
  code: error.code ?? Number(/\(HTTP (\d{3})\)/.exec(error.message)?.[1]),
  data: error.data,
});
