"""The official Python clients through the gate: the first (mcp 1.x) or the second (2.x), in each era that it speaks.

RUNS names what is served, where, and how it is spoken to; targets.json says what is there to be called.
"""

import asyncio
import json
import os
import pathlib
import sys
import types

import daemon

SDK = sys.argv[1]
if SDK == "one":
    from sdk_one import HTTP_ERROR, RPC_ERROR, connected
else:
    from sdk_two import HTTP_ERROR, RPC_ERROR, connected

TARGETS = json.loads((pathlib.Path(__file__).parent / "targets.json").read_text())


def workspace(profile, plan, overrides=None):
    made, _ = daemon.workspace(profile, plan)
    if overrides:
        daemon.admin("PATCH", f"/workspaces/{made}", {"overrides": overrides})
    return made


def key(home, permissions, rate=None):
    return daemon.key(home, permissions, rate=rate or daemon.NO_LIMIT)["key"]


def refusal(error):
    """What is told of an error: its code and data where it is one of JSON-RPC, its status where it is one of HTTP."""
    if isinstance(error, BaseExceptionGroup):
        told = [refusal(one) for one in error.exceptions]
        return next((one for one in told if one.status or one.code), told[0])
    told = types.SimpleNamespace(code=None, data=None, status=None, error=repr(error))
    if isinstance(error, RPC_ERROR):
        told.code, told.data = error.error.code, error.error.data
    if isinstance(error, HTTP_ERROR):
        told.status = error.response.status_code
    return told


async def refused(run, doing, status, code, data=lambda data: True):
    """What this client makes of a refusal that has this HTTP status, code and data.

    The second client tells code and data whatever the status is; the first one only those of status 200. On a stream
    of HTTP+SSE both tell them, but for a key that opens no stream.
    """
    try:
        admitted = await doing
    except BaseException as error:  # a group of errors, or one of them
        told = refusal(error)
    else:
        raise AssertionError(f"admitted: {admitted}")
    if run["transport"] == "sse":
        is_told = status != 401
    else:
        is_told = status == 200 or SDK == "two"
    if is_told:
        assert told.code == code, told
        assert data(told.data), told
    else:
        assert told.status == status, told


async def ends(run, key, call, status, code, data=lambda data: True):
    """A refusal that may end the session, and so has one of its own."""

    async def doing():
        async with connected(run, key) as client:
            return await call(client)

    await refused(run, doing(), status, code, data)


async def progresses(client, target):
    """What came when is told by order alone: the first step makes the client ask for something else, which is
    answered before the call ends."""
    order, others = [], []

    async def other():
        await client.call(target["call"])
        order.append("other")

    def step():
        order.append("step")
        if not others:
            others.append(asyncio.create_task(other()))

    await client.call(target["progress"]["call"], step)
    order.append("end")
    await asyncio.gather(*others)
    assert order[0] == "step" and order[-1] == "end" and "other" in order, order
    assert order.count("step") >= target["progress"]["steps"] - 1, order


async def seen(run):
    target = TARGETS[run["name"]]
    call = target["call"]
    home = workspace(run["profile"], run["plan"])
    may_read = key(home, target["reads"])

    async with connected(run, key(home, ["*:*"])) as client:
        assert client.era == run["era"], client.era
        if client.era == "legacy":
            await client.ping()
        assert len(await client.list()) == target["known"]
        answer = await client.call(call)
        assert not answer.isError and answer.content[0].text == target.get("says", answer.content[0].text), answer
        if "progress" in target:
            await progresses(client, target)

    await ends(run, "x" * 40, lambda client: client.list(), 401, -32001)

    async with connected(run, may_read) as client:
        assert sorted(await client.list()) == target["listed"]
        await client.call(call)
    for other in (target["refused"], target["unmapped"]):
        await ends(run, may_read, lambda client: client.call(other), 403, -32003)

    # A rate of one a second: whoever waits as long as it was told is served again, in the same session.
    async with connected(run, key(home, ["*:*"], run["rate"])) as client:
        wait = []

        async def hurry():
            for _ in range(4 * run["rate"]["limit"]):
                await client.call(call)

        await refused(run, hurry(), 200, -32004, lambda data: wait.append(data["retryAfter"]) or wait[0] >= 1)
        await asyncio.sleep(wait[0])
        await client.call(call)
        await asyncio.sleep(wait[0])  # to end a session takes its token too

    month = target["month"]
    spent = key(workspace(run["profile"], month["plan"], month.get("overrides")), ["*:*"])

    counted = month.get("call", call)

    async def thrice(client):
        for _ in range(2):
            assert not (await client.call(counted)).isError
        return await client.call(counted)

    await ends(run, spent, thrice, 403, -32003, lambda data: data["upgradeUrl"].startswith("https://"))
    async with connected(run, spent) as client:
        await client.list()
    print(f"python {SDK}: {run['profile']} over {run['transport']}, {run['mode']}: {run['era']}", flush=True)


async def main():
    for run in json.loads(os.environ["RUNS"]):
        try:
            await asyncio.wait_for(seen(run), 60)
        except BaseException:
            print(f"python {SDK}: {run['profile']} over {run['transport']}, {run['mode']}: failed", file=sys.stderr)
            raise


asyncio.run(main())
