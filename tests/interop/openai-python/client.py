"""Calls MCP-Cloud with the official client, which reads every answer into types of its own."""

import daemon
import openai

BASE = "http://" + daemon.surface("mcp-cloud") + "/v1"
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is the capital of France?"}]

workspace, default_key = daemon.workspace("mcp-cloud", "enterprise")


def client_of(key):
    """The client with a key; it must not try again by itself."""
    return openai.OpenAI(api_key=key, base_url=BASE, max_retries=0, timeout=30)


def refused(kind, code, do):
    """The client raises its own error of this kind, which holds the page's code."""
    try:
        do()
    except kind as error:
        assert error.code == code, error.body
    else:
        raise AssertionError(f"no {kind.__name__}")


client = client_of(default_key)

done = client.chat.completions.create(model="claude-3-5-sonnet", messages=MESSAGES, temperature=0.2)
plain = done.choices[0].message.content
assert done.object == "chat.completion" and done.choices[0].finish_reason == "stop" and plain
assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens

said, reasons, usage = "", [], None
options = {"include_usage": True}
for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=options):
    assert chunk.object == "chat.completion.chunk"
    usage = chunk.usage or usage
    for choice in chunk.choices:
        said += choice.delta.content or ""
        reasons.append(choice.finish_reason)
assert said == plain, (said, plain)
assert reasons[-1] == "stop" and not any(reasons[:-1]) and len(reasons) > 2, reasons
assert usage.total_tokens == done.usage.total_tokens

completion = client.completions.create(model="m", prompt="Once upon")
assert completion.object == "text_completion" and completion.choices[0].text
assert "".join(chunk.choices[0].text for chunk in client.completions.create(model="m", prompt="Once upon", stream=True))

models = client.models.list().data
assert models and all(model.object == "model" for model in models)
assert client.models.retrieve("claude-3-5-sonnet").id == "claude-3-5-sonnet"

content = b'{"line": 1}\n' * 10_000
file = client.files.create(file=("data.jsonl", content), purpose="assistants")
assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "data.jsonl", "assistants")
assert client.files.retrieve(file.id).id == file.id
assert client.files.content(file.id).read() == content
assert file.id in [one.id for one in client.files.list().data]
assert client.files.delete(file.id).deleted
refused(openai.NotFoundError, "not_found", lambda: client.files.retrieve(file.id))

stranger = client_of("mcp_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
refused(openai.AuthenticationError, "invalid_api_key", stranger.models.list)
reader = client_of(daemon.key(workspace, ["models:read"])["key"])
assert reader.models.list().data
chat = lambda: reader.chat.completions.create(model="m", messages=MESSAGES)
refused(openai.PermissionDeniedError, "insufficient_permissions", chat)
refused(openai.BadRequestError, "invalid_request", lambda: client.chat.completions.create(model="m", messages=[]))
slow = client_of(daemon.key(workspace, ["*:*"], rate={"limit": 1, "window_s": 3600})["key"])
slow.models.list()
refused(openai.RateLimitError, "rate_limit_exceeded", slow.models.list)

print(f"openai {openai.__version__} for Python: chat, streams, completions, models, files, errors")
