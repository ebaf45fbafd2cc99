// The inspector's command line through the gate: what a person sees who tries a server with it.
//
// Each run of it connects, does one thing (or, under `--load`, calls one tool again and again) and ends. So it cannot
// show: ping, which it says is no method of its; the steps of a call, since it prints the result alone, even where it
// is given a progress token; and the code and data of a refusal that comes with status 200 or on a stream, of which it
// prints the message. There the key's usage, or a plain request with the same key, says which refusal it was.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { keyOf, madeKey, permit, targets, usage, workspace } from "./daemon.mjs";

const { INSPECTOR, WORK } = process.env;
const REVISIONS = { legacy: "2025-11-25", modern: "2026-07-28" };

// Ten a second: once a second has gone by, there is enough for a whole run, which is half a dozen requests.
const RATE = { limit: 20, window_s: 2 };

// One run of it: how it ended, and what it printed or complained of.
const inspect = ({ url, transport, mode }, key, ...method) =>
  new Promise((ended) => {
    const args = [
      INSPECTOR, "--server-url", url, "--transport", transport, "--protocol-era", mode, "--format", "json", "--quiet",
      "--header", `Authorization: Bearer ${key}`, "--stored-auth-only", "--method", ...method,
    ];
    // Whatever it remembers of servers, it remembers in the run's own folder.
    const env = { ...process.env, HOME: WORK };
    execFile(process.execPath, args, { env, timeout: 60_000 }, (error, out, said) =>
      ended({ code: error ? error.code : 0, out, said }),
    );
  });

const call = (run, key, { name, arguments: args }, ...more) =>
  inspect(run, key, "tools/call", "--tool-name", name, "--tool-args-json", JSON.stringify(args), ...more);

async function result(ended) {
  const { code, out, said } = await ended;
  assert.equal(code, 0, said);
  return JSON.parse(out).result;
}

async function complaint(ended) {
  const { code, out, said } = await ended;
  assert.notEqual(code, 0, out);
  return { exit: code, ...JSON.parse(said).error };
}

// Calls in one session, `more` says how many: how many were answered, how many refused, and what it said of those. It
// keeps ten different messages, and numbers make them differ.
async function load(run, key, tool, ...more) {
  const { ok, toolErrors, errors, errorMessages } = await result(call(run, key, tool, "--load", ...more));
  assert.equal(toolErrors, 0);
  assert.ok(ok > 0 && errors > 0, `${ok} answered, ${errors} refused`);
  return { ok, errors, messages: errorMessages.map(({ message }) => message).filter((one) => one !== "(other)") };
}

// A refusal of status 403 is printed as it came, but of a stream the message alone.
function isGates({ transport }, message, code, data) {
  if (transport === "sse") {
    assert.ok(!message.includes("{"), message);
    return;
  }
  const { error } = JSON.parse(message.slice(message.indexOf("{")));
  assert.equal(error.code, code, message);
  assert.ok(data(error.data), message);
}

async function works(run, target, key) {
  const { protocolVersion } = await result(inspect(run, key, "initialize"));
  assert.equal(protocolVersion, REVISIONS[run.era]);
  const { tools } = await result(inspect(run, key, "tools/list"));
  assert.deepEqual(tools.map((tool) => tool.name).sort(), target.listed);
  const { content, isError } = await result(call(run, key, target.call));
  assert.ok(!isError && (!target.says || content[0].text === target.says), JSON.stringify(content));
}

async function badKey(run) {
  const { exit, code, message } = await complaint(inspect(run, "x".repeat(40), "tools/list"));
  assert.equal(exit, 3, message);
  assert.equal(code, "auth_required");
  assert.match(message, /-32001|401/);
}

// It looks a tool up in the list first, and itself refuses one that is not there. Only of a tool whose permission is
// taken away after that does it send the call.
async function missingPermission(run, target, home) {
  const reader = await madeKey(home, target.reads);
  const unlisted = await complaint(call(run, reader.text, target.refused));
  assert.equal(unlisted.code, "tool_not_found", unlisted.message);
  assert.deepEqual((await usage(reader.id)).total.refused, {});

  const losing = await madeKey(home, target.reads);
  const calls = load(run, losing.text, target.call, "--load-requests", "60", "--load-rate", "20");
  const taken = async () => {
    while (!(await usage(losing.id)).places.some(({ place, valid }) => place === target.call.name && valid > 0)) {
      await pause(20);
    }
    await permit(losing.id, []);
  };
  const [{ errors, messages }] = await Promise.all([calls, taken()]);
  messages.forEach((message) => isGates(run, message, -32003, (data) => !data?.upgradeUrl));
  assert.deepEqual((await usage(losing.id)).total.refused, { permission: errors });
}

// What it does not print of a refusal by rate: the same key empties what has come into its bucket since, and is told.
async function toldOfRate({ url }, key) {
  const headers = {
    Authorization: `Bearer ${key}`, Accept: "application/json, text/event-stream", "Content-Type": "application/json",
  };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  for (let tries = 0; tries < 10 * RATE.limit; tries++) {
    const answer = await fetch(url.replace(/\/sse$/, "/mcp"), { method: "POST", headers, body });
    const text = await answer.text();
    if (text.includes("-32004")) {
      return JSON.parse(text).error;
    }
  }
  assert.fail("never too many");
}

async function tooMany(run, target, home) {
  const slow = await madeKey(home, ["*:*"], RATE);
  const { errors, messages } = await load(run, slow.text, target.call, "--load-requests", "120");
  const { refused } = (await usage(slow.id)).total;
  assert.deepEqual(Object.keys(refused), ["rate"]);
  assert.ok(refused.rate >= errors, `${refused.rate} refused, ${errors} seen`); // to end the session may be one more
  const told = await toldOfRate(run, slow.text);
  assert.deepEqual(messages, [told.message]);
  assert.ok(told.data.retryAfter >= 1, JSON.stringify(told));
  await pause(told.data.retryAfter * 1000);
  await result(call(run, slow.text, target.call));
}

async function monthUsedUp(run, target) {
  const small = await workspace(run.profile, target.month.plan, target.month.overrides);
  const spent = await madeKey(small, ["*:*"]);
  const counted = target.month.call ?? target.call;
  const hasUpgrade = (data) => data.upgradeUrl.startsWith("https://");
  const calls = await load(run, spent.text, counted, "--load-requests", "3", "--load-concurrency", "1");
  assert.equal(calls.ok, 2);
  assert.equal(calls.errors, 1);
  isGates(run, calls.messages[0], -32003, hasUpgrade);
  isGates(run, (await complaint(call(run, spent.text, counted))).message, -32003, hasUpgrade);
  assert.deepEqual((await usage(spent.id)).total.refused, { quota: 2 });
  await result(inspect(run, spent.text, "tools/list"));
}

for (const run of JSON.parse(process.env.RUNS)) {
  const target = targets[run.name];
  const home = await workspace(run.profile, run.plan);
  await works(run, target, await keyOf(home, target.reads));
  await badKey(run);
  await missingPermission(run, target, home);
  await tooMany(run, target, home);
  await monthUsedUp(run, target);
  console.log(`inspector: ${run.profile} over ${run.transport}, ${run.mode}: ${run.era}`);
}
