"""Sessions as they should be: what was said in them, their files, and the points that they can be forked at or rewound to."""

import json

from files_model import Tree
from testbed import text_of


class Point:
    """A place that a session can be forked at or rewound to, and what it was there."""

    def __init__(self, session, place, key, event=None, name=None):
        self.place, self.event, self.name = place, event, name
        # Which snapshot the files are in; none: what a session starts with.
        self.key = key
        self.list, self.conversation = list(session.list), list(session.conversation)
        self.tree, self.live = session.tree.copy(), list(session.live)
        self.open_call = session.waiting
        # Whether it isn't sure that there is a snapshot.
        self.unsure = False


class Session:
    """A session as it should be."""

    def __init__(self, id):
        self.id = id
        self.list, self.conversation, self.tree = [], [], Tree()
        self.points, self.live = [], []
        # The snapshots that are kept, and the one that the files were equal to last.
        self.kept, self.current, self.changed = set(), None, False
        # The call that waits for the client, and the plans that wait behind it.
        self.waiting, self.queue = None, []
        # Whether a process writes all the time, and what one has written, as far as that is known. If it isn't, it may be of
        # the snapshot that the session was forked from or rewound to. What is written between two turns without calls is in
        # neither's files.
        self.writes, self.noise, self.noise_of = False, {}, None

    def usable(self, point, files=True):
        """Whether there is a fork point there."""
        if point.unsure or (point.name and point.key not in self.kept):
            return False
        return not files or point.key is None or point.key in self.kept

    def go_to(self, point):
        self.list, self.conversation = list(point.list), list(point.conversation)
        self.live = [*point.live, point]
        self.waiting, self.queue = None, []


def ended(event):
    """Whether a turn is over by it."""
    return event["type"] == "session.status_idle" and event["stop_reason"]["type"] != "requires_action"


def conversation_of(listed):
    """What was said and done by a list of events, as a model server is sent it."""
    said = []
    for event in listed:
        match event["type"]:
            case "user.message" | "system.message" if not event.get("withdrawn"):
                who = event["type"].partition(".")[0]
                said += [(who, "text", block["text"]) for block in event["content"]]
            case "agent.message":
                said.append(("assistant", "text", text_of(event)))
            case "agent.tool_use" | "agent.custom_tool_use":
                said.append(("assistant", "call", event["id"], event["name"], json.dumps(event["input"], sort_keys=True)))
            case "agent.tool_result":
                said.append(("user", "result", event["tool_use_id"], text_of(event)))
            case "user.custom_tool_result":
                said.append(("user", "result", event["custom_tool_use_id"], text_of(event)))
    return said


def as_sent(conversation):
    """The same in the order in which the model's server is sent it: between two replies the results first, and then what the user
    says, and then what whoever runs the agent says."""
    sent, group = [], []
    order = lambda part: 0 if part[1] == "result" else 1 if part[0] == "user" else 2
    for part in [*conversation, None]:
        if part and part[0] != "assistant":
            group.append(part)
            continue
        sent += sorted(group, key=order)
        group = []
        sent += [part] if part else []
    return sent


def agrees(part, expected):
    """Whether a part of a conversation is as expected: which id it has isn't known before, and of a result only a word is."""
    if part[:2] != expected[:2]:
        return False
    match part[1]:
        case "result":
            return expected[2] in (None, part[2]) and expected[3] in part[3]
        case "call":
            return part[3:] == expected[3:]
        case _:
            return part == expected


def difference(what, expected, got):
    at = next((at for at, (one, other) in enumerate(zip(expected, got)) if one != other), min(len(expected), len(got)))
    return f"{what}: from {at} of {len(expected)}: expected {expected[at : at + 2]}, got {got[at : at + 2]}"
