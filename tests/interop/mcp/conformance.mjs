// The official conformance suite against an upstream, and against the same upstream behind the gate with a key that
// may do everything: compared check by check, and no check that held may be lost.
//
// The suite cannot send a key. Both ways it goes through a forwarder that adds one and changes nothing else, so that
// they differ by the gate alone.

import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { keyOf, workspace } from "./daemon.mjs";

const { SUITE, WORK, TARGETS } = process.env;

// Sends on what comes as it came, with the key; gives its address and the way to end it.
async function forwarder(target, key) {
  const { hostname, port } = new URL(target);
  const server = createServer((came, back) => {
    const headers = [...came.rawHeaders, "Authorization", `Bearer ${key}`];
    const sent = request({ hostname, port, method: came.method, path: came.url, headers, agent: false }, (answer) => {
      back.writeHead(answer.statusCode, answer.rawHeaders);
      back.flushHeaders();
      answer.pipe(back);
      answer.on("error", () => back.destroy());
    });
    sent.on("error", () => back.destroy());
    back.on("close", () => sent.destroy());
    came.pipe(sent);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const close = () => (server.closeAllConnections(), new Promise((closed) => server.close(closed)));
  return { url: `http://127.0.0.1:${server.address().port}/mcp`, close };
}

// Every check of a run, by scenario, id and how many of that id came before.
async function checks(target, key, revision, name) {
  const out = join(WORK, name);
  mkdirSync(out);
  const { url, close } = await forwarder(target, key);
  const args = [SUITE, "server", "--url", url, "--requirements", revision, "--output-dir", out, "--timeout", "15000"];
  // The suite exits with 1 when the upstream itself fails a check: what counts is compared below.
  await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 26 }).catch((error) => {
    if (error.code !== 1) {
      throw error;
    }
  });
  await close();
  const seen = new Map();
  for (const folder of readdirSync(out).sort()) {
    const scenario = folder.replace(/^server-/, "").replace(/-\d{4}-\d{2}-\d{2}T[\d-]+Z$/, "");
    for (const check of JSON.parse(readFileSync(join(out, folder, "checks.json"), "utf8"))) {
      let nth = 1;
      while (seen.has(`${scenario} ${check.id} ${nth}`)) {
        nth++;
      }
      seen.set(`${scenario} ${check.id} ${nth}`, check);
    }
  }
  return seen;
}

const STATUSES = ["SUCCESS", "FAILURE", "WARNING", "SKIPPED", "INFO"];
const rows = [["upstream", "revision", "way", "checks", ...STATUSES.map((status) => status.toLowerCase())]];
const counted = (seen) =>
  STATUSES.map((status) => [...seen.values()].filter((check) => check.status === status).length);
const lost = [];

for (const { name, profile, upstream, surface, revisions, least } of JSON.parse(TARGETS)) {
  const key = await keyOf(await workspace(profile, "all"), ["*:*"]);
  for (const revision of revisions) {
    const direct = await checks(upstream, key, revision, `${name}-${revision}-direct`);
    const gated = await checks(surface, key, revision, `${name}-${revision}-gated`);
    rows.push([name, revision, "direct", direct.size, ...counted(direct)]);
    rows.push([name, revision, "behind the gate", gated.size, ...counted(gated)]);
    // A suite that checked nothing lost nothing.
    if (counted(direct)[0] < least) {
      lost.push(`${name} ${revision}: ${counted(direct)[0]} checks hold without the gate, expected ${least}`);
    }
    for (const [check, { status }] of direct) {
      const there = gated.get(check);
      if (there?.status !== status && there?.status !== "SUCCESS") {
        const instead = `${there?.status ?? "never reached"}: ${there?.errorMessage}`;
        lost.push(`${name} ${revision} ${check}: ${status}, behind the gate ${instead}`);
      }
    }
  }
}

const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => `${row[column]}`.length)));
for (const row of rows) {
  console.log(row.map((cell, column) => `${cell}`.padEnd(widths[column])).join("  ").trimEnd());
}
if (lost.length > 0) {
  console.error(`${lost.length} checks are lost behind the gate:\n${lost.join("\n")}`);
  process.exit(1);
}
console.log("conformance: no check is lost behind the gate");
