"""A runner of a few lines, so that nothing but the SDK need be installed; and what the tests share."""

import concurrent.futures
import contextlib
import faulthandler
import os
import sys
import time
import traceback
import uuid

import anthropic

TOOLSET = {"type": "agent_toolset_20260401"}
ASK_FIRST = {**TOOLSET, "default_config": {"permission_policy": {"type": "always_ask"}}}
WEATHER = {
    "type": "custom",
    "name": "weather",
    "description": "tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

# Tests that run at once: most of a test is waiting.
AT_ONCE = 6


def connect(**options):
    """The SDK as anybody would make it."""
    return anthropic.Anthropic(**where(), **options)


def connect_async():
    return anthropic.AsyncAnthropic(**where())


def where():
    return {"base_url": os.environ["TENURE_URL"], "api_key": os.environ["TENURE_API_KEY"], "timeout": 60}


def unique(name):
    return f"{name}-{uuid.uuid4().hex[:8]}"


def new_session(client, model="script/greeter", tools=(), **more):
    agent = client.beta.agents.create(name=unique("agent"), model=model, tools=list(tools))
    environment = client.beta.environments.create(name=unique("environment"), config={"type": "cloud"})
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id, **more)


def message(text):
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def say(client, session, text, **more):
    return client.beta.sessions.events.send(session.id, events=[message(text)], **more)


def turn(client, session, *events, **more):
    """Sends the events and gives what the stream says until the session is idle."""
    with client.beta.sessions.events.stream(session.id, **more) as stream:
        client.beta.sessions.events.send(session.id, events=list(events))
        return until_idle(stream)


def until_idle(stream):
    return until(stream, "session.status_idle")


def until(stream, kind):
    """What the stream says up to the first event of that type."""
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == kind:
            return seen
    raise AssertionError(f"the stream ended before {kind}; saw {types(seen)}")


def types(events):
    return [event.type for event in events]


def only(events, kind):
    return [event for event in events if event.type == kind]


def text(event):
    return "".join(block.text for block in event.content or [] if block.type == "text")


def counting(**options):
    """A client, and the list of requests it has sent, its own repeats included."""
    sent = []
    http = anthropic.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    return anthropic.Anthropic(**{**where(), **options}, http_client=http), sent


def code(caught):
    """The peer's name for what was wrong."""
    return caught.error.body["error"]["details"]["error_code"]


class Caught:
    """The error that `raises` expected."""

    error = None


@contextlib.contextmanager
def raises(kind, *words):
    """Expects an error of the SDK whose message has these words; gives it when it has come."""
    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"expected {missing} in: {error}"
        assert error.request_id, f"no request id: {error}"
        return
    raise AssertionError(f"expected {kind.__name__}")


def run(tests):
    """Runs every `test_…`, or those whose names hold a word of the command line; the last line counts them."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    chosen = lambda name: name.startswith("test_") and (not words or any(word in name for word in words))
    named = {name: test for name, test in tests.items() if chosen(name)}
    failed = []

    def one(name):
        began = time.monotonic()
        try:
            named[name](connect())
        except Exception:
            failed.append(name)
            print(f"--- {name} failed after {time.monotonic() - began:.1f} s\n{traceback.format_exc()}", file=sys.stderr)
        return time.monotonic() - began

    faulthandler.dump_traceback_later(180, exit=True)  # what hangs has a name
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        took = dict(zip(named, pool.map(one, named)))
    if "--times" in sys.argv:
        for name in sorted(took, key=took.get):
            print(f"{took[name]:6.2f} s  {name}")
    print(f"anthropic {anthropic.__version__}: {len(named) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)
