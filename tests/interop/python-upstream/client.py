"""Calls the Python server through the gate."""

import http.client
import time

import daemon
from upstream import PIECE, PIECES, piece

GROWTH_MIB_MAX = 32
EVENTS = 100

gate = daemon.surface("gate")
workspace, _ = daemon.workspace("gate", "all")
headers = {"Authorization": f"Bearer {daemon.fast_key(workspace)['key']}"}


def call(method, target, **fields):
    """A request over a connection of its own, and its answer, whose body is still to come."""
    connection = http.client.HTTPConnection(gate, timeout=120, blocksize=PIECE)
    connection.request(method, target, headers=headers, **fields)
    answer = connection.getresponse()
    assert answer.status == 200, (answer.status, answer.read())
    return answer


def events_come_one_by_one():
    """Each is read before the server may send the next."""
    answer = call("GET", f"/v1/events/{EVENTS}")
    assert answer.headers["Content-Type"] == "text/event-stream"
    for number in range(EVENTS):
        assert answer.readline() == f"data: {number}\n".encode()
        assert answer.readline() == b"\n"
        assert call("POST", f"/v1/seen/{number}", body=b"").read() == b"{}"
    assert answer.read() == b""
    print(f"{EVENTS} events, each read before the next was sent")


def one_gib_up_and_down():
    """Both ways whole, without a length, and the daemon stays small."""
    before = daemon.memory_mib("VmRSS")
    began = time.monotonic()
    answer = call("POST", "/v1/files/up", body=map(piece, range(PIECES)), encode_chunked=True)
    assert int(answer.read()) == PIECE * PIECES
    up = time.monotonic() - began
    began = time.monotonic()
    answer = call("GET", "/v1/files/down")
    assert answer.headers["Content-Length"] is None
    for number in range(PIECES):
        assert answer.read(PIECE) == piece(number), f"MiB {number} is another"
    assert answer.read() == b""
    down = time.monotonic() - began
    grown = daemon.memory_mib("VmHWM") - before
    assert grown <= GROWTH_MIB_MAX, f"the daemon grew by {grown:.0f} MiB"
    print(f"1 GiB up in {up:.1f} s, down in {down:.1f} s; the daemon grew by {grown:.1f} MiB")


events_come_one_by_one()
one_gib_up_and_down()
