// The second TypeScript client: both eras over Streamable HTTP, the legacy one over HTTP+SSE.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const transports = { http: StreamableHTTPClientTransport, sse: SSEClientTransport };
const modes = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } };

export async function connect({ url, transport, mode, key }) {
  const client = new Client({ name: "interop", version: "1" }, { versionNegotiation: { mode: modes[mode] } });
  const opened = new transports[transport](new URL(url), {
    requestInit: { headers: { Authorization: `Bearer ${key}` } },
  });
  await client.connect(opened);
  return {
    era: () => client.getProtocolEra(),
    ping: () => client.ping(),
    list: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: (call, onprogress) => client.callTool(call, { onprogress }),
    close: async () => {
      await opened.terminateSession?.();
      await client.close();
    },
  };
}

export const refusal = (error) => ({ code: error.status ?? error.code, data: error.data });
