// Calls MCP-Cloud with the official client, which reads every answer into types of its own.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const announced = JSON.parse(readFileSync(process.env.KEYWARD_ANNOUNCED, "utf8"));
const messages = [
  { role: "system", content: "Be short." },
  { role: "user", content: "What is the capital of France?" },
];

// The client with a key; it must not try again by itself.
const clientOf = (apiKey) =>
  new OpenAI({ apiKey, baseURL: announced.surfaces["mcp-cloud"] + "/v1", maxRetries: 0, timeout: 30_000 });

// A call of the admin API that must succeed.
async function admin(path, body) {
  const headers = { Authorization: `Bearer ${announced.admin_key}`, "Content-Type": "application/json" };
  const answer = await fetch(announced.admin + "/api/v1" + path, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 201);
  return answer.json();
}

// The client throws its own error of this kind, which holds the page's code.
const refused = (kind, code, doing) =>
  assert.rejects(doing, (error) => error instanceof kind && error.code === code);

const made = await admin("/workspaces", { name: "interop", profile: "mcp-cloud", plan: "enterprise" });
const keyOf = async (fields) => (await admin("/keys", { workspace_id: made.workspace.id, ...fields })).key;
const client = clientOf(made.default_key.key);

const done = await client.chat.completions.create({ model: "claude-3-5-sonnet", messages, temperature: 0.2 });
const plain = done.choices[0].message.content;
assert.equal(done.object, "chat.completion");
assert.equal(done.choices[0].finish_reason, "stop");
assert.ok(plain);

let said = "";
const reasons = [];
for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
  assert.equal(chunk.object, "chat.completion.chunk");
  said += chunk.choices[0].delta.content ?? "";
  reasons.push(chunk.choices[0].finish_reason);
}
assert.equal(said, plain);
assert.equal(reasons.at(-1), "stop");
assert.ok(reasons.length > 2 && reasons.slice(0, -1).every((reason) => !reason));

const completion = await client.completions.create({ model: "m", prompt: "Once upon" });
assert.ok(completion.choices[0].text);

const models = (await client.models.list()).data;
assert.ok(models.length > 0 && models.every((model) => model.object === "model"));
assert.equal((await client.models.retrieve("claude-3-5-sonnet")).id, "claude-3-5-sonnet");

const content = Buffer.from('{"line": 1}\n'.repeat(10_000));
const file = await client.files.create({ file: await toFile(content, "data.jsonl"), purpose: "assistants" });
assert.deepEqual([file.object, file.bytes, file.filename], ["file", content.length, "data.jsonl"]);
assert.equal((await client.files.retrieve(file.id)).id, file.id);
const back = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
assert.ok(back.equals(content));
assert.ok((await client.files.list()).data.some((one) => one.id === file.id));
assert.equal((await client.files.delete(file.id)).deleted, true);
await refused(OpenAI.NotFoundError, "not_found", client.files.retrieve(file.id));

const stranger = clientOf("mcp_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
await refused(OpenAI.AuthenticationError, "invalid_api_key", stranger.models.list());
const reader = clientOf(await keyOf({ permissions: ["models:read"] }));
await reader.models.list();
await refused(OpenAI.PermissionDeniedError, "insufficient_permissions", reader.chat.completions.create({ model: "m", messages }));
await refused(OpenAI.BadRequestError, "invalid_request", client.chat.completions.create({ model: "m", messages: [] }));
const slow = clientOf(await keyOf({ permissions: ["*:*"], rate: { limit: 1, window_s: 3600 } }));
await slow.models.list();
await refused(OpenAI.RateLimitError, "rate_limit_exceeded", slow.models.list());

console.log("openai for JavaScript: chat, streams, completions, models, files, errors");
