// The official TypeScript clients through the gate: the first (`one`, @modelcontextprotocol/sdk) or the second
// (`two`, @modelcontextprotocol/client), in each era that it speaks.
//
// RUNS names what is served, where, and how it is spoken to; targets.json says what is there to be called.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { keyOf, targets, workspace } from "./daemon.mjs";

const sdk = process.argv[2];
const { connect, refusal } = await import(`./sdk_${sdk}.mjs`);

// What this client makes of a refusal that has this HTTP status, code and data. Only an answer of status 200, or one on
// a stream of HTTP+SSE, reaches the caller as JSON-RPC; of any other a TypeScript client tells the status.
async function refused(transport, doing, status, code, data = () => true) {
  const error = await doing.then(
    (result) => assert.fail(`admitted: ${JSON.stringify(result)}`),
    (error) => error,
  );
  const told = refusal(error);
  const isTold = status === 200 || (transport === "sse" && status !== 401);
  assert.equal(told.code, isTold ? code : status, `${error}`);
  if (isTold) {
    assert.ok(data(told.data), JSON.stringify(told.data));
  }
}

async function seen({ name, profile, url, transport, mode, era, plan, rate }) {
  const target = targets[name];
  const home = await workspace(profile, plan);
  const mayAll = await keyOf(home, ["*:*"]);
  const mayRead = await keyOf(home, target.reads);
  const refuses = (...expected) => refused(transport, ...expected);
  const open = (key) => connect({ url, transport, mode, key });

  const client = await open(mayAll);
  assert.equal(client.era(), era);
  if (era === "legacy") {
    await client.ping();
  }
  assert.equal((await client.list()).length, target.known);
  const answer = await client.call(target.call);
  assert.ok(!answer.isError && (!target.says || answer.content[0].text === target.says), JSON.stringify(answer));
  if (target.progress) {
    // What came when is told by order alone: the first step makes the client ask for something else, which is
    // answered before the call ends. A client may drop a step that arrives together with the end.
    const order = [];
    let other;
    const step = () => {
      order.push("step");
      other ??= client.call(target.call).then(() => order.push("other"));
    };
    await client.call(target.progress.call, step).then(() => order.push("end"));
    await other;
    const told = order.join(" ");
    assert.match(told, /^step .*other .*end$/);
    assert.ok(order.filter((one) => one === "step").length >= target.progress.steps - 1, told);
  }
  await client.close();

  await refuses(open("x".repeat(40)), 401);

  const reader = await open(mayRead);
  assert.deepEqual((await reader.list()).sort(), target.listed);
  await reader.call(target.call);
  await refuses(reader.call(target.refused), 403, -32003);
  await refuses(reader.call(target.unmapped), 403, -32003);
  await reader.call(target.call);
  await reader.close();

  // A rate of one a second: whoever waits as long as it was told is served again, in the same session.
  const slow = await open(await keyOf(home, ["*:*"], rate));
  const hurry = async () => {
    for (let calls = 0; calls < 4 * rate.limit; calls++) {
      await slow.call(target.call);
    }
  };
  let wait = 0;
  await refuses(hurry(), 200, -32004, (data) => (wait = data.retryAfter) >= 1);
  await pause(wait * 1000);
  await slow.call(target.call);
  await pause(wait * 1000); // to end a session takes its token too
  await slow.close();

  const small = await workspace(profile, target.month.plan, target.month.overrides);
  const spent = await open(await keyOf(small, ["*:*"]));
  const counted = target.month.call ?? target.call;
  for (let calls = 0; calls < 2; calls++) {
    assert.ok(!(await spent.call(counted)).isError);
  }
  await refuses(spent.call(counted), 403, -32003, (data) => data.upgradeUrl.startsWith("https://"));
  await spent.list();
  await spent.close();
  console.log(`${sdk}: ${profile} over ${transport}, ${mode}: ${era}`);
}

for (const run of JSON.parse(process.env.RUNS)) {
  await seen(run).catch((error) => {
    console.error(`${sdk}: ${run.profile} over ${run.transport}, ${run.mode}: failed\n${error.stack}`);
    process.exit(1);
  });
}
