// A server of both protocol eras, built on the official server package, with everything that the conformance suite
// asks for: its tools, resources and prompts go by the names that the suite calls.
//
// The legacy era is served with sessions and event ids, so that streams can be resumed.

import { createServer } from "node:http";
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from "@modelcontextprotocol/node";
import {
  createMcpHandler, createRequestStateCodec, hostHeaderValidationResponse, inputRequired, isLegacyRequest,
  localhostAllowedHostnames, localhostAllowedOrigins, originValidationResponse, ProtocolError, Server,
} from "@modelcontextprotocol/server";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const codec = createRequestStateCodec({ key: randomBytes(32) });

const text = (text) => ({ type: "text", text });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const says = (...content) => () => ({ content });
const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
const object = (properties = {}, required = Object.keys(properties)) => ({ type: "object", properties, required });
const NAME = object({ name: { type: "string" } });

// What a server may ask of a client, in the form of both eras: the older is asked by a request of its own.
const elicit = (message, requestedSchema) => ({ method: "elicitation/create", params: { message, requestedSchema } });
const sample = (text, maxTokens = 100) => ({
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: { type: "text", text } }], maxTokens },
});
const ROOTS = { method: "roots/list", params: {} };

// A tool that asks round by round, each round a table of questions, and tells at the end what it was answered.
const asks = (rounds, { state = false, told = "Answers" } = {}) => async (args, ctx) => {
  const before = state ? (ctx.mcpReq.requestState() ?? { round: 0 }) : { round: 0 };
  const requests = rounds[before.round](args, ctx);
  const responses = ctx.mcpReq.inputResponses ?? {};
  const answered = Object.keys(requests).every((key) => typeof responses[key] === "object" && responses[key]);
  const round = answered ? before.round + 1 : before.round;
  if (round < rounds.length) {
    const requestState = state ? await codec.mint({ round }) : undefined;
    return inputRequired({ inputRequests: rounds[round](args, ctx), ...(state && { requestState }) });
  }
  return { content: [text(`${told}: ${JSON.stringify(responses)}`)] };
};

const logs = async (ctx, lines) => {
  for (const data of lines) {
    await ctx.mcpReq.notify({ method: "notifications/message", params: { level: "info", data } });
    await pause(30);
  }
};

async function progress(_args, ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (const progress of [0, 50, 100]) {
    if (progressToken !== undefined) {
      const params = { progressToken, progress, total: 100 };
      await ctx.mcpReq.notify({ method: "notifications/progress", params });
    }
    await pause(300); // long enough for something else to be asked and answered
  }
  return { content: [text("done")] };
}

const confirm = () => ({ confirm: elicit("Go on?", object({ ok: { type: "boolean" } })) });
const userName = () => ({ user_name: elicit("What is your name?", NAME) });
const choice = (values, title) => values.map((value, at) => ({ const: value, title: `${title} ${at + 1}` }));
const OPTIONS = ["option1", "option2", "option3"];

const DEFAULTS = object(
  {
    name: { type: "string", default: "John Doe" },
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", default: true },
  },
  [],
);
const ENUMS = object(
  {
    untitledSingle: { type: "string", enum: OPTIONS },
    titledSingle: { type: "string", oneOf: choice(["value1", "value2", "value3"], "Option") },
    legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["One", "Two", "Three"] },
    untitledMulti: { type: "array", items: { type: "string", enum: OPTIONS } },
    titledMulti: { type: "array", items: { anyOf: choice(["value1", "value2", "value3"], "Choice") } },
  },
  [],
);
const SCHEMA_2020_12 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

// name: what a call does, and the schema of its arguments where it takes some.
const TOOLS = {
  test_simple_text: [says(text("This is a simple text response for testing."))],
  test_image_content: [says(image)],
  test_audio_content: [says({ type: "audio", data: WAV, mimeType: "audio/wav" })],
  test_embedded_resource: [says(embedded("test://embedded-resource", "text/plain", "Inside."))],
  test_multiple_content_types: [
    says(text("Three:"), image, embedded("test://mixed-content-resource", "application/json", '{"value":123}')),
  ],
  test_error_handling: [() => ({ isError: true, content: [text("This tool fails whenever it is called.")] })],
  test_tool_with_logging: [
    async (_args, ctx) => {
      await logs(ctx, ["begun", "half way", "ended"]);
      return { content: [text("logged")] };
    },
  ],
  test_logging_tool: [
    async (_args, ctx) => {
      await ctx.mcpReq.log("info", "logged");
      return { content: [text("logged")] };
    },
  ],
  test_tool_with_progress: [progress],
  test_reconnection: [
    async (_args, ctx) => {
      ctx.http?.closeSSE?.();
      await pause(100);
      return { content: [text("here again")] };
    },
  ],
  test_sampling: [
    asks([({ prompt }) => ({ answer: sample(prompt) })], { told: "LLM response" }),
    object({ prompt: { type: "string" } }),
  ],
  test_elicitation: [
    asks([({ message }) => ({ answer: elicit(message, object({ response: { type: "string" } })) })]),
    object({ message: { type: "string" } }),
  ],
  test_streaming_elicitation: [
    asks([() => ({ answer: elicit("Who are you?", NAME) })]),
  ],
  test_elicitation_sep1034_defaults: [asks([() => ({ answer: elicit("As it is?", DEFAULTS) })])],
  test_elicitation_sep1330_enums: [asks([() => ({ answer: elicit("Which?", ENUMS) })])],
  test_missing_capability: [asks([() => ({ answer: sample("Anything") })])],
  test_input_required_result_elicitation: [asks([userName])],
  test_input_required_result_sampling: [asks([() => ({ capital_question: sample("Capital of France?") })])],
  test_input_required_result_list_roots: [asks([() => ({ client_roots: ROOTS })])],
  test_input_required_result_request_state: [asks([confirm], { state: true, told: "state-ok" })],
  test_input_required_result_tampered_state: [asks([confirm], { state: true })],
  test_input_required_result_multiple_inputs: [
    asks([() => ({ ...userName(), greeting: sample("Greet", 50), client_roots: ROOTS })], { state: true }),
  ],
  test_input_required_result_multi_round: [
    asks(
      [() => ({ step1: elicit("Your name?", NAME) }), () => ({ step2: elicit("Your colour?", NAME) })],
      { state: true },
    ),
  ],
  test_input_required_result_capabilities: [
    asks([
      (_args, ctx) => {
        const can = ctx.mcpReq.envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? {};
        return { ...(can.sampling && { answer: sample("Hello") }), ...(can.elicitation && userName()) };
      },
    ]),
  ],
  json_schema_2020_12_tool: [says(text("kept")), SCHEMA_2020_12],
  test_x_mcp_header: [
    says(text("read")),
    object(
      { region: { type: "string", "x-mcp-header": "Region" }, rank: { type: "integer", "x-mcp-header": "Rank" } },
      [],
    ),
  ],
  test_trigger_tool_change: [() => (modern.notify.toolsChanged(), { content: [text("told")] })],
  test_trigger_prompt_change: [() => (modern.notify.promptsChanged(), { content: [text("told")] })],
};

const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "Watched." },
  "test://example-resource": { mimeType: "text/plain", text: "An example." },
};

const fromUser = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });
const PROMPTS = {
  test_simple_prompt: [[], () => fromUser(text("This is a simple prompt for testing."))],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => fromUser(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  ],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => fromUser(embedded(resourceUri, "text/plain", "Inside."), text("Read what is embedded.")),
  ],
  test_prompt_with_image: [[], () => fromUser(image, text("Look at the image."))],
  test_input_required_result_prompt: [
    [],
    async (args, ctx) => {
      const about = () => ({ user_context: elicit("What about?", object({ context: { type: "string" } })) });
      const asked = await asks([about])(args, ctx);
      return asked.content ? fromUser(asked.content[0]) : asked;
    },
  ],
};

// What a header says of an argument, where it is told in the form for what no header can hold.
function plain(value) {
  const packed = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (packed === undefined) {
    return value;
  }
  const bytes = Buffer.from(packed, "base64");
  return bytes.toString("base64") === packed ? bytes.toString() : undefined;
}

// Whether an argument that is told in a header too is told alike.
function agrees({ name, arguments: args = {} }, headers) {
  return Object.entries(TOOLS[name]?.[1]?.properties ?? {}).every(([name, { "x-mcp-header": header }]) => {
    const told = header && headers[`mcp-param-${header.toLowerCase()}`];
    return !header || (told === undefined ? undefined : plain(told)) === args[name]?.toString();
  });
}

const unknown = (what, data) => new ProtocolError(-32602, `${what} not found`, data);

const HINTS = { ttlMs: 1000, cacheScope: "public" };
const LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];

function serve() {
  const server = new Server(
    { name: "suite", version: "1" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: codec.verify },
      cacheHints: Object.fromEntries(
        [...LISTS, "resources/read", "server/discover"].map((method) => [method, HINTS]),
      ),
    },
  );
  const on = (method, answer) => server.setRequestHandler(method, (request, ctx) => answer(request.params ?? {}, ctx));
  on("tools/list", () => ({
    tools: Object.entries(TOOLS).map(([name, [, inputSchema = object()]]) => ({
      name, description: `What the suite calls ${name}.`, inputSchema, "x-unknown": { kept: [name] },
    })),
  }));
  on("tools/call", ({ name, arguments: args = {} }, ctx) => {
    if (!TOOLS[name]) {
      throw unknown("Tool", { name });
    }
    return TOOLS[name][0](args, ctx);
  });
  on("resources/list", () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({
      uri, name: uri.slice(7), description: `What the suite reads at ${uri}.`, mimeType,
    })),
  }));
  on("resources/templates/list", () => ({
    resourceTemplates: [
      {
        uriTemplate: "test://template/{id}/data", name: "template", description: "By id.",
        mimeType: "application/json",
      },
    ],
  }));
  on("resources/read", ({ uri }) => {
    const id = /^test:\/\/template\/(.+)\/data$/.exec(uri)?.[1];
    const made = { mimeType: "application/json", text: JSON.stringify({ id, data: `Data for ID: ${id}` }) };
    const found = id ? made : RESOURCES[uri];
    if (!found) {
      throw unknown("Resource", { uri });
    }
    return { contents: [{ uri, ...found }] };
  });
  on("resources/subscribe", () => ({}));
  on("resources/unsubscribe", () => ({}));
  on("prompts/list", () => ({
    prompts: Object.entries(PROMPTS).map(([name, [args]]) => ({
      name, description: `What the suite gets as ${name}.`, arguments: args.map((name) => ({ name, required: true })),
    })),
  }));
  on("prompts/get", ({ name, arguments: args = {} }, ctx) => {
    if (!PROMPTS[name]) {
      throw unknown("Prompt", { name });
    }
    return PROMPTS[name][1](args, ctx);
  });
  on("completion/complete", ({ argument }) => {
    const values = ["paris", "park", "party"].filter((value) => value.startsWith(argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });
  return server;
}

// Every event has an id, and can be told again from any of them on.
class Events {
  constructor() {
    this.told = [];
  }
  async storeEvent(streamId, message) {
    this.told.push({ streamId, message });
    return `${this.told.length}`;
  }
  async getStreamIdForEventId(eventId) {
    return this.told[Number(eventId) - 1]?.streamId;
  }
  async replayEventsAfter(lastEventId, { send }) {
    const streamId = await this.getStreamIdForEventId(lastEventId);
    for (let at = Number(lastEventId); at < this.told.length; at++) {
      const { streamId: of, message } = this.told[at];
      if (of === streamId && Object.keys(message).length > 0) {
        await send(`${at + 1}`, message);
      }
    }
    return streamId;
  }
}

const sessions = new Map();
const modern = createMcpHandler(serve, { legacy: "reject" });
const modernHandler = toNodeHandler(modern);

async function legacy(req, res, body) {
  const id = req.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (!transport && (id || body?.method !== "initialize")) {
    const [status, code, message] = id ? [404, -32001, "Session not found"] : [400, -32000, "No session"];
    res.writeHead(status, { "Content-Type": "application/json" });
    res.end(JSON.stringify({ jsonrpc: "2.0", id: body?.id ?? null, error: { code, message } }));
    return;
  }
  if (!transport) {
    transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await serve().connect(transport);
  }
  await transport.handleRequest(req, res, body);
}

async function answer(req, res) {
  const chunks = [];
  for await (const chunk of req) {
    chunks.push(chunk);
  }
  const whole = Buffer.concat(chunks).toString();
  let body;
  try {
    body = whole ? JSON.parse(whole) : undefined;
  } catch {
    res.writeHead(400, { "Content-Type": "application/json" });
    res.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}');
    return;
  }
  const request = await toWebRequest(req, body);
  const foreign =
    hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
    originValidationResponse(request, localhostAllowedOrigins());
  if (foreign) {
    res.writeHead(foreign.status, Object.fromEntries(foreign.headers));
    res.end(await foreign.text());
  } else if (new URL(request.url).pathname !== "/mcp") {
    res.writeHead(404).end();
  } else if (await isLegacyRequest(request, body)) {
    await legacy(req, res, body);
  } else if (body?.method === "tools/call" && !agrees(body.params ?? {}, req.headers)) {
    const error = { code: -32020, message: "a header of an argument disagrees" };
    res.writeHead(400, { "Content-Type": "application/json" });
    res.end(JSON.stringify({ jsonrpc: "2.0", id: body.id, error }));
  } else {
    await modernHandler(req, res, body);
  }
}

const http = createServer((req, res) => answer(req, res).catch((error) => {
  console.error(error);
  res.destroy();
}));
http.listen(Number(process.env.PORT), "127.0.0.1");
