"""MCP-Cloud with plain `requests`: the page's own functions, its signing, its scopes and its errors."""

import hashlib
import hmac
import json
import time

import daemon
import requests

BASE = "http://" + daemon.surface("mcp-cloud")
INVALID = {
    "error": {
        "code": "invalid_api_key",
        "message": "The API key provided is invalid or has been revoked",
        "type": "authentication_error",
    }
}


# The page's functions, word for word but for the address.
def call_mcp_server(api_key, prompt):
    url = BASE + "/v1/chat/completions"
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {api_key}"
    }
    data = {
        "model": "claude-3-5-sonnet",
        "messages": [{"role": "user", "content": prompt}]
    }

    response = requests.post(url, headers=headers, json=data)
    response.raise_for_status()  # Raise exception for 4xx/5xx errors

    return response.json()


def create_signature(api_key, payload, timestamp):
    message = f"{timestamp}.{payload}"
    signature = hmac.new(
        api_key.encode('utf-8'),
        message.encode('utf-8'),
        hashlib.sha256
    ).hexdigest()
    return signature


def call_mcp_server_with_signature(api_key, prompt):
    url = BASE + "/v1/chat/completions"
    payload = json.dumps({
        "model": "claude-3-5-sonnet",
        "messages": [{"role": "user", "content": prompt}]
    })
    timestamp = int(time.time())
    signature = create_signature(api_key, payload, timestamp)

    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {api_key}",
        "X-MCP-Timestamp": str(timestamp),
        "X-MCP-Signature": signature
    }

    response = requests.post(url, headers=headers, data=payload)
    return response.json()


# Here ends what is the page's.


def call(method, path, key, **fields):
    """A request with a key, whatever comes of it."""
    headers = {"Authorization": f"Bearer {key}", **fields.pop("headers", {})}
    return requests.request(method, BASE + path, headers=headers, timeout=30, **fields)


def error(answer, status, code, kind):
    """The answer is this error, in the page's envelope."""
    said = answer.json()["error"]
    assert sorted(said) == ["code", "message", "type"], said
    assert (answer.status_code, said["code"], said["type"]) == (status, code, kind), (answer.status_code, said)
    return said["message"]


def the_pages_functions(key):
    """They come back with a choice, signed or not."""
    result = call_mcp_server(key, "What is the capital of France?")
    assert isinstance(result["choices"][0]["message"]["content"], str), result
    result = call_mcp_server_with_signature(key, "What is the capital of Norway?")
    assert isinstance(result["choices"][0]["message"]["content"], str), result


def signatures(workspace):
    """A key that demands one gets it checked: altered, late, repeated or missing ones are refused."""
    key = daemon.key(workspace, ["*:*"], require_signature=True, rate=daemon.NO_LIMIT)["key"]
    payload = json.dumps({"model": "m", "messages": [{"role": "user", "content": "signed"}]})

    def signed(timestamp, over=payload, sent=payload):
        headers = {
            "Content-Type": "application/json",
            "X-MCP-Timestamp": str(timestamp),
            "X-MCP-Signature": create_signature(key, over, timestamp),
        }
        return call("POST", "/v1/chat/completions", key, headers=headers, data=sent)

    now = int(time.time())
    assert signed(now).status_code == 200
    refused = [
        signed(now),
        signed(now - 1, sent=payload.replace("signed", "forged")),
        signed(now - 400),
        signed(now + 60),
        call("POST", "/v1/chat/completions", key, json=json.loads(payload)),
    ]
    for number, answer in enumerate(refused):
        assert (answer.status_code, answer.json()) == (401, INVALID), f"{number}: {answer.text}"
    assert signed(now - 2).status_code == 200


def scopes(workspace):
    """A key with only chats:create can chat, and can neither read nor change contexts."""
    key = daemon.key(workspace, ["chats:create"])["key"]
    assert call_mcp_server(key, "Hello")["choices"]
    for method, path in [("GET", "/v1/contexts"), ("POST", "/v1/contexts"), ("PUT", "/v1/contexts/x"), ("GET", "/v1/models")]:
        error(call(method, path, key, json={}), 403, "insufficient_permissions", "permission_error")


def errors(workspace):
    """401 for whatever is wrong with a key, 429 past the plan's rate."""
    for key in ["", "mcp_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk_live_of_somebody_else"]:
        answer = call("GET", "/v1/models", key)
        assert (answer.status_code, answer.json()) == (401, INVALID), answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    made = daemon.key(workspace, ["*:*"], metadata={"environment": "production", "owner": "data-science-team"})
    assert daemon.admin("GET", f"/keys/{made['id']}")["metadata"]["environment"] == "production"
    assert call("GET", "/v1/models", made["key"]).status_code == 200
    daemon.admin("POST", f"/keys/{made['id']}/revoke", {})
    answer = call("GET", "/v1/models", made["key"])
    assert (answer.status_code, answer.json()) == (401, INVALID)
    away = daemon.key(workspace, ["*:*"], ip_allow=["10.0.0.0/8"])["key"]
    assert call("GET", "/v1/models", away).json() == INVALID
    near = daemon.key(workspace, ["*:*"], ip_allow=["127.0.0.0/8"])["key"]
    assert call("GET", "/v1/models", near).status_code == 200
    _, free = daemon.workspace("mcp-cloud", "free")
    statuses = [call("GET", "/v1/models", free).status_code for _ in range(12)]
    assert statuses[:10] == [200] * 10 and 429 in statuses[10:], statuses
    answer = call("GET", "/v1/models", free)
    error(answer, 429, "rate_limit_exceeded", "rate_limit_error")
    assert int(answer.headers["Retry-After"]) >= 1
    error(call("GET", "/v1/nope", near), 404, "not_found", "invalid_request_error")
    answer = call("POST", "/v1/chat/completions", near, json={"model": "m"})
    assert "messages" in error(answer, 400, "invalid_request", "invalid_request_error")


def everything_else(key):
    """Completions, streams, models, contexts and files, from one end to the other."""
    done = call("POST", "/v1/completions", key, json={"model": "m", "prompt": "Once upon"})
    assert isinstance(done.json()["choices"][0]["text"], str), done.text
    wanted = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Stream."}]}
    with call("POST", "/v1/chat/completions", key, json=wanted, stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines(decode_unicode=True) if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]", lines
    chunks = [json.loads(line[6:]) for line in lines[:-1]]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop", chunks[-1]

    models = call("GET", "/v1/models", key).json()
    assert models["object"] == "list" and models["data"][0]["object"] == "model"
    assert call("GET", "/v1/models/claude-3-5-sonnet", key).json()["id"] == "claude-3-5-sonnet"

    made = call("POST", "/v1/contexts", key, json={"name": "notes", "text": "one"})
    assert made.status_code == 201, made.text
    path = "/v1/contexts/" + made.json()["id"]
    assert call("GET", path, key).json()["name"] == "notes"
    assert call("PUT", path, key, json={"name": "notes", "text": "two"}).json()["text"] == "two"
    assert [one["id"] for one in call("GET", "/v1/contexts", key).json()["data"]] == [made.json()["id"]]
    assert call("DELETE", path, key).status_code in (200, 204)
    error(call("GET", path, key), 404, "not_found", "invalid_request_error")

    content = bytes(range(256)) * 4096
    made = call("POST", "/v1/files", key, files={"file": ("a.bin", content)}, data={"purpose": "assistants"})
    assert made.status_code in (200, 201), made.text
    told = made.json()
    assert (told["object"], told["bytes"], told["filename"], told["purpose"]) == ("file", len(content), "a.bin", "assistants")
    path = "/v1/files/" + told["id"]
    assert call("GET", path, key).json() == told
    assert call("GET", path + "/content", key).content == content
    assert told["id"] in [one["id"] for one in call("GET", "/v1/files", key).json()["data"]]
    assert call("DELETE", path, key).json()["deleted"] is True
    error(call("GET", path + "/content", key), 404, "not_found", "invalid_request_error")


workspace, default_key = daemon.workspace("mcp-cloud", "enterprise")
the_pages_functions(default_key)
signatures(workspace)
scopes(workspace)
errors(workspace)
everything_else(default_key)
print("page 001 holds: its functions, its signing, its scopes, its errors")
