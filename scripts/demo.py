"""The demo's client: the official Anthropic SDK against Tenure. Only `base_url` and `api_key` are set.

Prints every event as it comes and ends with 0 if a tool that ran in the sandbox computed 6765.
"""

import json
import os
import sys
import textwrap

import anthropic

TASK = "write a Fibonacci script to fib.py, run it, tell me the 20th number"
ANSWER = "6765"


def main():
    client = anthropic.Anthropic(base_url=os.environ["TENURE_URL"], api_key=os.environ["TENURE_API_KEY"])
    model = choose_model(client)
    print(f"demo: the official SDK, anthropic {anthropic.__version__}, unchanged; the model is {model}")

    agent = client.beta.agents.create(
        name="Coding Assistant",
        model=model,
        system="You are a coding assistant. Use your tools; keep your answers short.",
        tools=[{"type": "agent_toolset_20260401"}],
    )
    show("agent", agent.id)
    environment = client.beta.environments.create(
        name="demo", config={"type": "cloud", "networking": {"type": "unrestricted"}}
    )
    show("environment", environment.id)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="Fibonacci")
    show("session", session.id)
    print()

    computed, stop = False, None
    with client.beta.sessions.events.stream(session.id) as stream:
        message = {"type": "user.message", "content": [{"type": "text", "text": TASK}]}
        client.beta.sessions.events.send(session.id, events=[message])
        for event in stream:
            show(event.type, describe(event))
            if event.type == "agent.tool_result" and not event.is_error:
                computed = computed or ANSWER in text(event)
            if event.type == "session.status_idle":
                stop = event.stop_reason.type
                break
    if stop != "end_turn":
        return f"the session stopped with `{stop}`, not `end_turn`"
    if not computed:
        return f"no tool printed {ANSWER}"
    return None


def choose_model(client):
    """Without any key, the script; else what the server takes by default."""
    keys = ("TENURE_MODEL", "ANTHROPIC_API_KEY", "TENURE_ANTHROPIC_API_KEY")
    servers = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TENURE_OPENAI_API_KEY", "TENURE_OPENAI_BASE_URL")
    if any(os.environ.get(name) for name in keys + servers):
        return client.get("/v1/tenure/models", cast_to=object)["default"]
    print(textwrap.fill(
        "demo: no model key, so the model is `script/fibonacci`, which plays a file. The tools it calls are real. "
        "For a model that thinks, set ANTHROPIC_API_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY.", 100
    ))
    return "script/fibonacci"


def text(event):
    return "".join(block.text for block in event.content or [] if block.type == "text")


def describe(event):
    """What a person wants to see of an event."""
    match event.type:
        case "user.message":
            return text(event) if event.processed_at else f"{text(event)} (queued)"
        case "agent.message" | "agent.tool_result":
            return text(event)
        case "agent.tool_use":
            return call(event.name, event.input)
        case "session.error":
            return f"{event.error.type}: {event.error.message} ({event.error.retry_status.type})"
        case "session.status_idle" | "session.thread_status_idle":
            return event.stop_reason.type
        case "session.usage":
            usage = event.usage
            return f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    return ""


def call(name, given):
    """A tool call as a person would write it down."""
    match name, given:
        case "bash", {"command": command}:
            return f"$ {command}"
        case "write", {"file_path": path, "content": content}:
            return f"write {path}\n{content}"
    return f"{name} {json.dumps(given, ensure_ascii=False)}"


def show(what, detail):
    wrap = textwrap.TextWrapper(88, replace_whitespace=False, drop_whitespace=False)
    lines = [piece for line in detail.splitlines() for piece in wrap.wrap(line) or [""]] or [""]
    print(f"  {what:32} {lines[0]}".rstrip())
    for line in lines[1:20]:
        print(f"  {'':32} {line}".rstrip())
    if len(lines) > 20:
        print(f"  {'':32} … {len(lines) - 20} more lines")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        problem = main()
    except anthropic.APIError as error:
        problem = f"the server said: {error}"
    if problem:
        sys.exit(f"demo: FAILED: {problem}")
