// What the JavaScript clients beside this share: the admin API of the daemon, and what there is to be called.
//
// Never here: an expectation of a client.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const announced = JSON.parse(readFileSync(process.env.KEYWARD_ANNOUNCED, "utf8"));
const adminKey = readFileSync(process.env.KEYWARD_ADMIN_KEY_FILE, "utf8").trim();

export const targets = JSON.parse(readFileSync(new URL("targets.json", import.meta.url), "utf8"));

// So much that no test of something else meets it.
export const NO_LIMIT = { limit: 1_000_000, window_s: 1 };

// A call of the admin API that must succeed.
async function admin(method, path, body) {
  const headers = { Authorization: `Bearer ${adminKey}`, "Content-Type": "application/json" };
  const answer = await fetch(announced.admin + "/api/v1" + path, { method, headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// A new workspace: its id.
export async function workspace(profile, plan, overrides) {
  const { workspace } = await admin("POST", "/workspaces", { name: "interop", profile, plan });
  if (overrides) {
    await admin("PATCH", `/workspaces/${workspace.id}`, { overrides });
  }
  return workspace.id;
}

// A new key: its id and its text.
export async function madeKey(workspace_id, permissions, rate = NO_LIMIT) {
  const { id, key } = await admin("POST", "/keys", { workspace_id, permissions, rate });
  return { id, text: key };
}

// A new key: its text.
export const keyOf = async (...asked) => (await madeKey(...asked)).text;

// What a key may do from now on.
export const permit = (id, permissions) => admin("PATCH", `/keys/${id}`, { permissions });

// What a key did, and what it was refused.
export const usage = (id) => admin("GET", `/keys/${id}/usage`);
