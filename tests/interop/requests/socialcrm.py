"""SocialCRM's REST API with plain `requests`: every row of the page's tables, and every error code."""

import datetime

import daemon
import requests

BASE = "http://" + daemon.surface("socialcrm")


def call(method, path, key, header="Authorization", **fields):
    """A request with a key, whatever comes of it."""
    headers = {header: f"Bearer {key}" if header == "Authorization" else key}
    return requests.request(method, BASE + path, headers=headers, timeout=30, **fields)


def good(answer, status=200):
    """The answer's body, which has this status."""
    assert answer.status_code == status, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def error(answer, status, code, message=None):
    """The answer is this error, in the page's envelope."""
    said = answer.json()["error"]
    assert sorted(said) == ["code", "message"], said
    assert (answer.status_code, said["code"]) == (status, code), (answer.status_code, said)
    assert message is None or said["message"] == message, said
    return said["message"]


def posts(key):
    """Create, list, read, change, schedule, publish, count, delete."""
    assert good(call("GET", "/v1/posts", key)) == {"data": []}
    made = good(call("POST", "/v1/posts", key, json={"body": "Launch day is here.", "account_ids": ["acct_1"]}), 201)
    assert (made["status"], made["body"]) == ("draft", "Launch day is here.")
    path = "/v1/posts/" + made["id"]
    assert good(call("GET", path, key, header="X-API-Key"))["id"] == made["id"]
    assert good(call("PATCH", path, key, json={"body": "Launch day was here."}))["body"] == "Launch day was here."
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    scheduled = good(call("POST", path + "/schedule", key, json={"scheduled_at": later.isoformat()}))
    assert scheduled["status"] == "scheduled"
    past = (later - datetime.timedelta(days=2)).isoformat()
    assert "scheduled_at" in error(call("POST", path + "/schedule", key, json={"scheduled_at": past}), 400, "invalid_request")
    assert good(call("POST", path + "/publish", key))["status"] == "published"
    assert isinstance(good(call("GET", path + "/analytics", key))["data"], dict)
    for number in range(25):
        good(call("POST", "/v1/posts", key, json={"body": f"Post {number}", "account_ids": ["acct_1"]}), 201)
    assert len(good(call("GET", "/v1/posts", key))["data"]) == 20
    assert len(good(call("GET", "/v1/posts?limit=50&offset=20", key))["data"]) == 6
    for query in ["limit=51", "limit=0", "offset=-1"]:
        error(call("GET", "/v1/posts?" + query, key), 400, "invalid_request")
    assert good(call("DELETE", path, key), 204) is None
    error(call("GET", path, key), 404, "not_found")


def writing(key):
    """All six of the AI rows."""
    rewritten = good(call("POST", "/v1/ai/rewrite", key, json={"text": "buy now", "tone": "friendly"}))
    assert isinstance(rewritten["data"]["text"], str) and rewritten["data"]["text"]
    for what, fields in [
        ("compose", {"prompt": "A launch"}),
        ("hashtags", {"text": "A launch of a rocket"}),
        ("thread", {"text": "A launch. A rocket. A landing."}),
        ("ideas", {"topic": "rockets"}),
        ("optimise", {"text": "a launch"}),
    ]:
        assert good(call("POST", "/v1/ai/" + what, key, json=fields))["data"], what
        field = next(iter(fields))
        assert field in error(call("POST", "/v1/ai/" + what, key, json={}), 400, "invalid_request"), what


def insights(key):
    """The rows about data."""
    assert isinstance(good(call("GET", "/v1/accounts", key))["data"], list)
    assert isinstance(good(call("GET", "/v1/accounts/analytics", key))["data"], dict)
    assert isinstance(good(call("GET", "/v1/persona", key))["data"], dict)
    assert isinstance(good(call("GET", "/v1/trending", key))["data"], list)


def media(key):
    """A URL, an upload that needs no key, and its confirmation."""
    content = b"\x89PNG" + bytes(range(256)) * 2048
    wanted = {"filename": "launch.png", "content_type": "image/png"}
    made = good(call("POST", "/v1/media/upload-url", key, json=wanted), 201)["data"]
    assert sorted(made) == ["expires_at", "id", "upload_url"], made
    confirm = f"/v1/media/{made['id']}/confirm"
    error(call("POST", confirm, key), 400, "invalid_request")
    url, kind = made["upload_url"], {"Content-Type": "image/png"}
    forged = requests.put(url[:-1] + ("0" if url[-1] != "0" else "1"), data=content, headers=kind, timeout=30)
    assert forged.status_code in (400, 403), forged.text
    uploaded = requests.put(url, data=content, headers=kind, timeout=30)
    assert uploaded.status_code == 200, uploaded.text
    again = requests.put(url, data=content, headers=kind, timeout=30)
    assert again.status_code in (400, 403, 409), again.text
    ready = good(call("POST", confirm, key))["data"]
    assert ready == {"id": made["id"], "status": "ready", "size": len(content)}, ready


def errors(workspace, key):
    """Each code of the page's table."""
    error(requests.get(BASE + "/v1/posts", timeout=30), 401, "unauthorized")
    error(call("GET", "/v1/posts", "sk_live_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), 401, "unauthorized")
    reader = daemon.key(workspace, ["posts:read"])["key"]
    said = error(call("POST", "/v1/posts/x/publish", reader), 403, "forbidden_scope")
    assert said == "This key cannot publish posts."
    free, free_key = daemon.workspace("socialcrm", "free")
    error(call("POST", "/v1/ai/rewrite", free_key, json={"text": "a", "tone": "b"}), 402, "payment_required")
    daemon.admin("PATCH", f"/workspaces/{workspace}", {"overrides": {"meters": {"ai": 0}}})
    error(call("POST", "/v1/ai/rewrite", key, json={"text": "a", "tone": "b"}), 402, "quota_exceeded")
    slow = daemon.key(workspace, ["*:*"], rate={"limit": 1, "window_s": 3600})["key"]
    good(call("GET", "/v1/posts", slow))
    message = "Too many requests. Slow down and retry."
    error(call("GET", "/v1/posts", slow), 429, "rate_limited", message)
    error(call("GET", "/v1/nope", key), 404, "not_found")
    assert "body" in error(call("POST", "/v1/posts", key, json={"account_ids": ["a"]}), 400, "invalid_request")


workspace, default_key = daemon.workspace("socialcrm", "enterprise")
posts(default_key)
writing(default_key)
insights(default_key)
media(default_key)
errors(workspace, default_key)
print("page 002 holds: every row of its tables, and every error code")
