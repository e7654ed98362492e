"""A turn that uses every tool, and a count of what each tool did to the session's files.

The files are looked at from outside, in the session's layers, so that counting needs no turn of its own and nothing that
is under test.
"""

import contextlib
import json
import os
import re
import stat
import uuid

from testbed import Failed, expect, is_idle, text_of, wait_for

# `bash` appends a line; `edit` puts one more letter before a word. A file that `write` replaces twice is as one that it replaced
# once, and `read`, `glob` and `grep` do nothing that could be counted but answer.
TOOLS = ("bash", "write", "edit", "read", "glob", "grep")
COUNTED = ("bash", "edit")
# What was said before an interrupt is part of the same user text: a rule goes by its last line.
SCRIPT = r"""
- when: still there
  steps:
    - text: Still here.
- when: (^|\n)prepare[^\n]*$
  steps:
    - tools: [{name: bash, input: {command: "mkdir out; echo end > edited; echo {{last_user_text}} > name"}}]
    - text: "It is prepared: {{last_tool_result}}"
- when: (^|\n)six[^\n]*$
  steps:
    - text: I use all six.
      tools:
        - {name: bash, input: {command: "echo line >> lines; echo the bash"}}
        - {name: write, input: {file_path: out/written, content: the write}}
        - {name: edit, input: {file_path: edited, old_string: end, new_string: x end}}
        - {name: read, input: {file_path: name}}
        - {name: glob, input: {pattern: "na*"}}
        - {name: grep, input: {pattern: prepare, path: name}}
    - text: "They said: {{last_tool_result}}"
- when: (^|\n)patient[^\n]*$
  steps:
    - text: I use all six, in no hurry.
      tools:
        - {name: bash, input: {command: "sleep 0.3; echo line >> lines; sleep 0.3; echo the bash"}}
        - {name: write, input: {file_path: out/written, content: the write}}
        - {name: edit, input: {file_path: edited, old_string: end, new_string: x end}}
        - {name: read, input: {file_path: name}}
        - {name: glob, input: {pattern: "na*"}}
        - {name: grep, input: {pattern: prepare, path: name}}
    - text: "They said: {{last_tool_result}}"
- when: (^|\n)hang[^\n]*$
  steps:
    - tools: [{name: bash, input: {command: "set -- {{last_user_text}}; echo line >> lines; sleep $2"}}]
    - text: "It hung: {{last_tool_result}}"
- when: (^|\n)slow[^\n]*$
  steps:
    - {text: I have thought about it., delay_ms: 600000}
- steps:
    - text: "You said: {{last_user_text}}"
"""
# What a call is told to have come to if nobody can know.
UNKNOWN = "outcome unknown"


class Files:
    """A session's workspace as it is seen from outside, in its layers, the topmost first."""

    def __init__(self, session_dir):
        self.session_dir = session_dir

    def read(self, name):
        """What a file holds; nothing if it isn't there."""
        return self.all().get(name)

    def all(self):
        """All files, with what they hold."""
        while True:
            before = self.head()
            with contextlib.suppress(FileNotFoundError):
                found = {}
                for place in self.places(before):
                    for path in sorted(place.rglob("*")):
                        # What isn't a file hides files below; what was moved away meanwhile isn't there to ask.
                        name, mode = str(path.relative_to(place)), path.lstat().st_mode
                        if name not in found and not stat.S_ISDIR(mode):
                            found[name] = path.read_bytes() if stat.S_ISREG(mode) else None
                # It is replaced before anything is moved.
                if self.head() == before:
                    return {name: held for name, held in found.items() if held is not None}

    def head(self):
        head = self.session_dir / "HEAD"
        return head.read_text() if head.exists() else '{"layers": []}'

    def places(self, head):
        layers = [self.session_dir.parent.parent / "layers" / layer for layer in json.loads(head)["layers"]]
        return [layer / "root" / "workspace" for layer in (self.session_dir / "layer", *reversed(layers))]


class Effects:
    """What the tools did to the files of one session."""

    def __init__(self, server, session):
        self.server, self.session = server, session
        name = f"prepare {uuid.uuid4().hex}"
        cursor = server.cursor(session)
        server.say(session, name)
        seen = server.until(session, is_idle, after=cursor)
        said = [text_of(event) for _, event in seen if event["type"] == "agent.message"]
        expect(said == ["It is prepared: (no output)"], f"preparing, it said {said}")
        self.files = find(server, name)

    def count(self):
        """How many times each tool has had its effect."""
        files = self.files.all()
        expect("edited" in files, f"no file is called edited in {self.files.session_dir}: {sorted(files)}, {self.files.head()}")
        return {
            "bash": len(files.get("lines", b"").splitlines()),
            "edit": files["edited"].decode().split().count("x"),
        }

    def close(self):
        """Nothing is held."""


def find(server, name):
    """The files of the session that was prepared by this name, or the first that was prepared at all."""
    for session_dir in sorted((server.data / "sandbox" / "sessions").iterdir()):
        files = Files(session_dir)
        held = files.read("name")
        if held is not None and name in held.decode():
            return files
    raise Failed(f"no session's layers have `{name}`")


class Tally:
    """The totals of a script."""

    def __init__(self):
        self.cells = self.kills = self.calls = self.once = self.interrupted = self.lost = self.doubled = 0

    def __iadd__(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def __str__(self):
        return (
            f"{self.kills} kills, {self.calls} calls run: {self.once} once, {self.interrupted} reported as interrupted "
            f"and run at most once, {self.lost} lost, {self.doubled} doubled"
        )

    def take(self, events, effects):
        """Counts the calls that these events report against what was done. Gives the tools of those interrupted.

        Each call has exactly one result. One with a result was carried out once; one of unknown outcome, at most once."""
        uses = {event["id"]: event["name"] for event in events if event["type"] == "agent.tool_use"}
        results = [event for event in events if event["type"] == "agent.tool_result"]
        reported = [event["tool_use_id"] for event in results]
        expect(sorted(reported) == sorted(uses), f"{len(uses)} calls have {len(results)} results")
        unknown = [uses[event["tool_use_id"]] for event in results if UNKNOWN in str(event["content"])]
        known = [uses[event["tool_use_id"]] for event in results if UNKNOWN not in str(event["content"])]
        done = effects.count()
        lost = {tool: known.count(tool) - done[tool] for tool in COUNTED if done[tool] < known.count(tool)}
        most = {tool: known.count(tool) + unknown.count(tool) for tool in COUNTED}
        doubled = {tool: done[tool] - most[tool] for tool in COUNTED if done[tool] > most[tool]}
        self.calls += len(uses)
        self.once += len(known) - sum(lost.values())
        self.interrupted += len(unknown)
        self.lost += sum(lost.values())
        self.doubled += sum(doubled.values())
        results = [(uses[event["tool_use_id"]], text_of(event)) for event in results]
        expect(not lost, f"reported as done and not done: {lost}; results: {results}")
        expect(not doubled, f"done more often than reported: {doubled}; results: {results}")
        return unknown


def check_cursors(seen, first):
    """That the frames of a stream with Tenure's own events have every cursor once, in order."""
    cursors = [int(cursor) for cursor, _ in seen]
    for at, cursor in enumerate(cursors):
        if cursor != first + at:
            raise Failed(f"cursor {cursor} where {first + at} was expected, among {seen[max(0, at - 2) : at + 2]}")


def check_list(server, session, query=""):
    """That a stream from the beginning, deduplicated by id keeping the last, is the list with what was gone back on. Gives the
    stream."""
    newest = None
    while newest != server.cursor(session):
        # What still comes of a death, a sandbox that is gone say, may come while both are read.
        newest = server.cursor(session)
        seen = server.until_cursor(session, str(newest), query)
        listed = server.events(session, query + "&include_rewound=1")
    compare(seen, listed)
    return seen


def compare(seen, listed):
    last = {}
    for _, event in seen:
        last.pop(event["id"], None)
        last[event["id"]] = event
    streamed = list(last.values())
    if listed != streamed:
        where = next((at for at, (one, other) in enumerate(zip(listed, streamed)) if one != other), None)
        where = min(len(listed), len(streamed)) if where is None else where
        raise Failed(
            f"stream and list differ from place {where} of {len(streamed)} and {len(listed)}: "
            f"{streamed[where : where + 2]} and {listed[where : where + 2]}"
        )


def sleepers(seconds):
    """The processes that sleep for so many seconds, wherever they are."""
    wanted = b"sleep\0" + str(seconds).encode() + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if re.fullmatch("[0-9]+", entry):
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as line:
                if line.read() == wanted:
                    found.append(int(entry))
    return found


def wait_until_gone(seconds):
    wait_for(f"`sleep {seconds}` has ended", lambda: not sleepers(seconds))
