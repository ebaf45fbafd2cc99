"""What the Python clients beside this share: where the daemon is, its admin API, and how much memory it has.

Never here: an expectation of a client.
"""

import json
import os
import re
import urllib.parse
import urllib.request

with open(os.environ["KEYWARD_ANNOUNCED"]) as file:
    ANNOUNCED = json.load(file)


def surface(product):
    """The host and port where a product is served."""
    return urllib.parse.urlsplit(ANNOUNCED["surfaces"][product]).netloc


def admin(method, path, body=None):
    """A call of the admin API that must succeed; gives what it answers."""
    key = ANNOUNCED.get("admin_key")
    if key is None:
        with open(os.environ["KEYWARD_ADMIN_KEY_FILE"]) as file:
            key = file.read().strip()
    request = urllib.request.Request(
        ANNOUNCED["admin"] + "/api/v1" + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def workspace(product, plan):
    """A new workspace: its id, and the text of its default key."""
    made = admin("POST", "/workspaces", {"name": "interop", "profile": product, "plan": plan})
    return made["workspace"]["id"], made["default_key"]["key"]


def key(workspace_id, permissions, **fields):
    """A new key: what the admin API tells of it."""
    return admin("POST", "/keys", {"workspace_id": workspace_id, "permissions": permissions, **fields})


# So much that no test of something else meets it.
NO_LIMIT = {"limit": 1_000_000, "window_s": 1}


def fast_key(workspace_id):
    """A key that may do everything, as fast as it likes."""
    return key(workspace_id, ["*:*"], rate=NO_LIMIT)


def memory_mib(name):
    """VmRSS, what the daemon holds, or VmHWM, the most that it ever held."""
    with open(f"/proc/{os.environ['KEYWARD_PID']}/status") as file:
        return int(re.search(rf"^{name}:\s+(\d+) kB$", file.read(), re.M).group(1)) / 1024
