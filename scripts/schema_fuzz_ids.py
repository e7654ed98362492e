"""Hooks for schemathesis: ids that are made up mostly meet a 404, so most requests get those of what earlier ones made.

What is chosen depends on the seed and on the order of the requests alone. At the end it says how often each operation got
which answer.
"""

import atexit
import collections.abc
import copy
import itertools
import json
import os
import pathlib
import random

import schemathesis

CHOICE = random.Random(int(os.environ["SCHEMA_FUZZ_SEED"]))

# What was there before: it is never ended, so there is always something to change.
KEPT = json.loads(os.environ["SCHEMA_FUZZ_KEPT"])

# The newest of what was made, by kind; of sessions' threads and calls, by session and kind. Some that were ended
# or deleted stay known for a while, and are asked for too.
MADE = collections.defaultdict(lambda: collections.deque(maxlen=8))

# Fields of bodies and parameters, and what they are the ids of.
NAMES = {
    "agent": "agent",
    "agent_id": "agent",
    "environment": "environment",
    "environment_id": "environment",
    "session": "session",
    "thread": "thread",
    "session_thread_id": "thread",
    "tool_use_id": "call",
    "custom_tool_use_id": "call",
    "page": "page",
    "snapshot": "snapshot",
}
PREFIXES = {"agent_": "agent", "env_": "environment", "sesn_": "session", "sthr_": "thread", "sevt_": "call", "page_": "page", "snap_": "snapshot"}

NUMBERS = itertools.count()
ANSWERS = collections.defaultdict(collections.Counter)


def known(name, made_up, session=None, ends=False):
    """An id of something that is there, mostly; else what was made up."""
    kind = NAMES.get(name)
    lists = [list(MADE[session, kind] or MADE[kind]), [] if ends else KEPT.get(kind, [])]
    lists = [among for among in lists if among]
    if not isinstance(made_up, str) or not lists or CHOICE.random() < 0.15:
        return made_up
    return CHOICE.choice(CHOICE.choice(lists))


@schemathesis.hook
def before_call(context, case, kwargs):
    ends = is_end(case)
    # What is generated may be used again, and is left as it is.
    for part in ("path_parameters", "query", "headers", "body"):
        if isinstance(getattr(case, part), collections.abc.MutableMapping | list):
            setattr(case, part, copy.deepcopy(getattr(case, part)))
    key = (case.headers or {}).get("Idempotency-Key")
    if key and len(key) < 200 and CHOICE.random() < 0.8:
        # Those that are made up are few, and a second request with one is a conflict.
        case.headers["Idempotency-Key"] = f"{key}{next(NUMBERS)}"
    if "/queue" in case.path:
        # One session is asked for its queue alone, so there is something in it.
        case.path_parameters["session"] = KEPT["queue"]["session"]
        if "event" in case.path_parameters and KEPT["queue"]["events"] and CHOICE.random() < 0.5:
            case.path_parameters["event"] = KEPT["queue"]["events"].pop()
        return
    if case.method.upper() == "DELETE" and case.path.endswith("/snapshots/{snapshot}") and KEPT["snapshots"] and CHOICE.random() < 0.5:
        # What is made up meets one of its session's too seldom.
        case.path_parameters["session"], case.path_parameters["snapshot"] = KEPT["snapshots"].pop()
        return
    session = None
    for name, made_up in sorted((case.path_parameters or {}).items(), key=lambda item: item[0] != "session"):
        chosen = known(name, made_up, session, ends)
        # schemathesis takes ids out of answers too, those of what is to stay among them.
        if chosen == KEPT["queue"]["session"] or (ends and chosen in KEPT.get(name, [])):
            chosen = "1" * 22
        case.path_parameters[name] = chosen
        if name == "session":
            session = case.path_parameters[name]
    for name, made_up in (case.query or {}).items():
        case.query[name] = known(name, made_up)
    if case.path.endswith("/workspace/diff") and CHOICE.random() < 0.7:
        # Made-up places are nowhere, and made-up paths name nothing.
        case.path_parameters["session"] = CHOICE.choice(KEPT["session"])
        for name in ("from", "to", "path", "page"):
            (case.query or {}).pop(name, None)
    if isinstance(case.body, (dict, list)):
        replace(case.body, session)


def replace(value, session):
    """Puts known ids into a body."""
    if isinstance(value, list):
        for part in value:
            replace(part, session)
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "model" and isinstance(part, str):
                value[name] = "script/fuzz"
            elif name == "id" and str(value.get("type")).startswith("agent"):
                value[name] = known("agent", part)
            elif name == "id" and isinstance(part, str):
                value[name] = "script/fuzz"
            else:
                value[name] = known(name, part, session)
                replace(value[name], session)


@schemathesis.hook
def after_call(context, case, response):
    ANSWERS[f"{case.method.upper()} {case.path}"][response.status_code] += 1
    if response.status_code == 200 and "application/json" in str(response.headers.get("content-type")):
        answer = json.loads(response.content)
        if is_end(case):
            forget(answer.get("id"))
        else:
            remember(answer, (case.path_parameters or {}).get("session"))


def is_end(case):
    return case.method.upper() == "DELETE" or case.path.endswith(("/archive", "/end"))


def forget(text):
    """Few of those that were ended stay known: most requests are about what lives."""
    for made in MADE.values():
        if text in made and CHOICE.random() < 0.8:
            made.remove(text)


def remember(answer, session):
    """Notes the ids that an answer has on top, and those of its rows."""
    rows = answer.get("data") if isinstance(answer, dict) else None
    for row in [answer, *(rows if isinstance(rows, list) else [])]:
        for text in [row.get(name) for name in ("id", "next_page", "prev_page")] if isinstance(row, dict) else []:
            kind = next((PREFIXES[prefix] for prefix in PREFIXES if str(text).startswith(prefix)), None)
            if kind == "call" and not row["type"].endswith("tool_use"):
                continue
            kind = (session, kind) if kind in ("thread", "call") else kind
            if kind and text not in MADE[kind] and text not in [*KEPT.get(kind, []), KEPT["queue"]["session"]]:
                MADE[kind].append(text)


@atexit.register
def write_answers():
    pathlib.Path(os.environ["SCHEMA_FUZZ_ANSWERS"]).write_text(json.dumps(ANSWERS))
