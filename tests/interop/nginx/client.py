"""Calls nginx through the gate."""

import filecmp
import http.client
import os
import random
import socket
import threading
import time

import daemon

GIB = 1 << 30
PIECE = 1 << 20
GROWTH_MIB_MAX = 32
REQUESTS = 10_000
THREADS = 8

files = os.path.join(os.environ["WORK"], "files")
gate = daemon.surface("gate")
host, port = gate.split(":")


def wait_for_nginx():
    """It says nothing when it is ready."""
    nginx_host, nginx_port = os.environ["NGINX"].split(":")
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((nginx_host, int(nginx_port))).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nginx does not start"
            time.sleep(0.02)


def one_gib_up_and_down(key):
    """Both ways whole, and the daemon stays small."""
    source = os.path.join(files, "down")
    with open(source, "wb") as file:
        for number in range(GIB // PIECE):
            file.write(number.to_bytes(8, "big") * (PIECE // 8))
    headers = {"Authorization": f"Bearer {key}"}
    before = daemon.memory_mib("VmRSS")

    began = time.monotonic()
    connection = http.client.HTTPConnection(gate, timeout=120, blocksize=PIECE)
    with open(source, "rb") as file:
        connection.request("PUT", "/v1/files/up", body=file, headers={**headers, "Content-Length": str(GIB)})
        answer = connection.getresponse()
    assert answer.status == 201, (answer.status, answer.read())
    answer.read()
    up = time.monotonic() - began
    assert filecmp.cmp(source, os.path.join(files, "up"), shallow=False), "another file came up"

    began = time.monotonic()
    connection.request("GET", "/v1/files/down", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(GIB))
    for number in range(GIB // PIECE):
        piece = answer.read(PIECE)
        assert piece == number.to_bytes(8, "big") * (PIECE // 8), f"MiB {number} is another"
    assert answer.read() == b""
    down = time.monotonic() - began

    grown = daemon.memory_mib("VmHWM") - before
    assert grown <= GROWTH_MIB_MAX, f"the daemon grew by {grown:.0f} MiB"
    os.remove(os.path.join(files, "up"))
    print(f"1 GiB up in {up:.1f} s, down in {down:.1f} s; the daemon grew by {grown:.1f} MiB")


def connections_are_used_again(key, key_id):
    """One client's requests, one after the other, share a connection to nginx."""
    connection = http.client.HTTPConnection(gate, timeout=30)
    used = set()
    for number in range(200):
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("POST", f"/v1/echo/{number}", body=f"body-{number}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        seen = (answer.headers["X-Seen-Key"], answer.headers["X-Seen-Target"], answer.headers["X-Seen-Body"])
        assert (answer.status, *seen) == (200, key_id, f"/v1/echo/{number}", f"body-{number}")
        used.add(answer.headers["X-Seen-Connection"])
    assert len(used) == 1, f"{len(used)} connections for 200 requests in turn"
    print("200 requests in turn over 1 connection to nginx")


class Caller(threading.Thread):
    """Two customers by turns, at random, over a connection of each that is opened again after it broke off."""

    def __init__(self, number, keys):
        super().__init__()
        self.random = random.Random(number)
        self.keys = keys
        self.number = number
        self.connections = [None, None]
        self.whole, self.broken, self.mixed = 0, 0, []

    def run(self):
        try:
            for count in range(REQUESTS // THREADS):
                self.call(count)
        except Exception as error:  # told by the main thread
            self.mixed.append(repr(error))

    def call(self, count):
        who = self.random.randrange(2)
        key = self.keys[who]
        headers = {"Authorization": f"Bearer {key['key']}"}
        target = f"/v1/echo/{self.number}-{count}"
        what = self.random.random()
        if what < 0.25:
            # Half of a body, with another customer's request in it, and away.
            hidden = f"GET /v1/echo/hidden HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.keys[1 - who]['key']}\r\n\r\n"
            head = f"POST {target} HTTP/1.1\r\nHost: {gate}\r\nAuthorization: Bearer {key['key']}\r\n"
            if self.random.random() < 0.5:
                sent = f"{head}Content-Length: 60000\r\n\r\n{hidden}"
            else:
                sent = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(hidden):x}\r\n{hidden}\r\n"
            self.break_off(sent.encode(), 0)
        elif what < 0.35:
            # A piece of a large answer, and away.
            head = f"GET /v1/files/down HTTP/1.1\r\nHost: {gate}\r\nAuthorization: Bearer {key['key']}\r\n\r\n"
            self.break_off(head.encode(), self.random.randrange(1, 50_000))
        else:
            if self.connections[who] is None or self.random.random() < 0.02:
                self.connections[who] = http.client.HTTPConnection(gate, timeout=60)
            connection = self.connections[who]
            body = f"{key['id']} {self.number} {count}"
            connection.request("POST", target, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            came = tuple(answer.headers[name] for name in ("X-Seen-Key", "X-Seen-Target", "X-Seen-Body"))
            self.whole += 1
            if (answer.status, came) != (200, (key["id"], target, body)):
                self.mixed.append(f"{answer.status} {came} for {target}")

    def break_off(self, sent, read):
        self.broken += 1
        with socket.create_connection((host, int(port)), timeout=60) as stream:
            stream.sendall(sent)
            got = 0
            while got < read:
                piece = stream.recv(16_384)
                if not piece:
                    break
                got += len(piece)
            if self.random.random() < 0.5:
                # With a reset.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def nobody_gets_anothers_answer(keys):
    """10,000 requests, a third of which break off."""
    began = time.monotonic()
    callers = [Caller(number, keys) for number in range(THREADS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    mixed = [what for caller in callers for what in caller.mixed]
    whole, broken = sum(caller.whole for caller in callers), sum(caller.broken for caller in callers)
    assert not mixed, f"{len(mixed)} answers are another's: {mixed[:5]}"
    assert whole + broken == REQUESTS and whole > REQUESTS / 2 and broken > REQUESTS / 5
    took = time.monotonic() - began
    print(f"{whole} whole and {broken} broken requests of two customers in {took:.1f} s: none mixed up")


wait_for_nginx()
first, second = (daemon.workspace("gate", "all")[0] for _ in range(2))
keys = [daemon.fast_key(first), daemon.fast_key(second)]
connections_are_used_again(keys[0]["key"], keys[0]["id"])
one_gib_up_and_down(keys[0]["key"])
nobody_gets_anothers_answer(keys)
