// The inspector's command line through the gate: what a person sees who tries a server with it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { keyOf, targets, workspace } from "./daemon.mjs";

const { INSPECTOR, WORK } = process.env;

// One run of it: how it ended, what it printed, what it complained of.
const inspect = (url, transport, era, key, ...method) =>
  new Promise((ended) => {
    const args = [
      INSPECTOR, "--server-url", url, "--transport", transport, "--protocol-era", era, "--format", "json", "--quiet",
      "--header", `Authorization: Bearer ${key}`, "--stored-auth-only", "--method", ...method,
    ];
    // Whatever it remembers of servers, it remembers in the run's own folder.
    const env = { ...process.env, HOME: WORK };
    execFile(process.execPath, args, { env, timeout: 60_000 }, (error, out, said) =>
      ended({ code: error ? error.code : 0, out, said }),
    );
  });

for (const { name, profile, url, transport, mode: era, plan } of JSON.parse(process.env.RUNS)) {
  const target = targets[name];
  const key = await keyOf(await workspace(profile, plan), target.reads);
  const call = ({ name, arguments: args }) =>
    inspect(url, transport, era, key, "tools/call", "--tool-name", name, "--tool-args-json", JSON.stringify(args));

  const listed = await inspect(url, transport, era, key, "tools/list");
  assert.equal(listed.code, 0, listed.said);
  const { tools } = JSON.parse(listed.out).result ?? JSON.parse(listed.out);
  assert.deepEqual(tools.map((tool) => tool.name).sort(), target.listed);

  const called = await call(target.call);
  assert.equal(called.code, 0, called.said);
  assert.ok(called.out.includes(target.says ?? "content"), called.out);

  // It has no schema for a tool that is not listed, and says so itself or sends the call all the same.
  const refused = await call(target.refused);
  assert.notEqual(refused.code, 0, refused.out);

  const stranger = await inspect(url, transport, era, "x".repeat(40), "tools/list");
  assert.notEqual(stranger.code, 0, stranger.out);
  assert.ok(/401|Unauthorized|auth/i.test(stranger.said + stranger.out), stranger.said);
  console.log(`inspector: ${profile} over ${transport}, ${era}`);
}
