"""Calls a service through nginx, which asks Keyward about each request."""

import http.client
import os
import socket
import time

import daemon

host, port = os.environ["NGINX"].split(":")


def wait_for_nginx():
    """It says nothing when it is ready."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nginx does not start"
            time.sleep(0.02)


def call(method, path, key=None, body=None):
    names = ("Plan", "Workspace", "Scopes", "Assertion")
    headers = {f"X-Keyward-{name}": "spoofed" for name in names}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


wait_for_nginx()
workspace, key = daemon.workspace("gate", "all")
made = daemon.admin("POST", "/keys", {"workspace_id": workspace, "permissions": ["things:read"]})
reader, reader_id = made["key"], made["id"]

status, body, headers = call("GET", "/v1/things/7?a=b", reader)
assert (status, body) == (200, "GET /v1/things/7?a=b"), (status, body)
assert (headers["X-Seen-Key"], headers["X-Seen-Plan"]) == (reader_id, "all"), headers.items()
assert headers["X-Seen-Others"] == f"{workspace} things:read", headers.items()
assert headers["X-Seen-Authorization"] in (None, ""), "the service saw a key"
assert call("POST", "/v1/things/7", key, body="{}" * 1000)[:2] == (200, "POST /v1/things/7")
assert call("GET", "/v1/things/7")[0] == 401
assert call("GET", "/v1/things/7", reader[:-2] + "zz")[0] == 401
assert call("POST", "/v1/things/7", reader, body="{}")[0] == 403, "a permission that it lacks"
for _ in range(50):
    assert call("GET", "/v1/things/7", reader)[0] == 200
daemon.admin("POST", f"/keys/{reader_id}/revoke")
assert call("GET", "/v1/things/7", reader)[0] == 401, "the very next one"
assert call("GET", "/v1/things/7", key)[0] == 200
print("nginx asked about each request, and let through what may pass")
