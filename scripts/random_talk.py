"""Turns of all kinds in a session, chosen at random, each held against a model: what the list of events says then, and what the
model's server was sent. The plans are carried out by a `ModelServer`.
"""

import json

from session_model import Point, agrees, as_sent, conversation_of, difference, ended
from testbed import expect, text_of, wait_for

# Two files, one written after the other: whenever both are looked at at once, they are as far, or one is one ahead.
WRITER = (
    "rm -rf /workspace/n; mkdir /workspace/n; setsid bash -c 'i=0; while :; do i=$((i+1)); for f in a b; do echo $i > /workspace/n/.$f; "
    "mv /workspace/n/.$f /workspace/n/$f; done; sleep 0.003; done' > /dev/null 2>&1 &"
)


def said(kind, text):
    return {"type": kind, "content": [{"type": "text", "text": text}]}


class Talk:
    """What is said. Whoever has it has `server`, `models`, `dice`, `tally`, `numbers`, `keys` and `tell`."""

    def plan(self, session, calls=None):
        """The text of a plan whose calls change files, and what they are to come to."""
        calls = self.dice.choices((1, 2, 3), (6, 2, 1))[0] if calls is None else calls
        return [self.edit(session) for _ in range(calls)]

    def edit(self, session, then=""):
        """A call that changes files."""
        number = next(self.numbers)
        lines = ["mkdir -p /workspace/t", "cd /workspace/t"]
        lines += filter(None, (session.tree.change(self.dice, f"{number}.") for _ in range(self.dice.randrange(1, 6))))
        behind = ""
        match self.dice.randrange(12):
            case 0 if not session.writes:
                session.writes, session.noise, session.noise_of, behind = True, {}, None, WRITER
            case 1:
                behind = "sleep 1000 > /dev/null 2>&1 &"
            case 2 | 3:
                behind = f"sleep 0.0{self.dice.randrange(10)} > /dev/null 2>&1 &"
        command = " && ".join(lines) + f" && echo edited {number}; {behind}{then}"
        return {"name": "bash", "input": {"command": command}}, f"edited {number}"

    def send(self, session, calls):
        """Says a plan; gives its number."""
        number = next(self.numbers)
        text = f"plan {number}: {json.dumps([call for call, _ in calls])}"
        expected, events = [("user", "text", text)], [said("user.message", text)]
        if self.dice.random() < 0.2:
            expected.append(("system", "text", f"rule {number}"))
            events.append(said("system.message", f"rule {number}"))
        for call, result in calls:
            expected += self.called(call, result)
        expected.append(("assistant", "text", f"done {number}"))
        self.tell(f"{session.id[-6:]} {text[:2000]}{' with a rule' if len(events) > 1 else ''}")
        self.server.post(f"/v1/sessions/{session.id}/events", {"events": events})
        return number, expected

    def called(self, call, result):
        expected = [("assistant", "call", None, call["name"], json.dumps(call["input"], sort_keys=True))]
        return expected + ([("user", "result", None, result)] if result is not None else [])

    def follow(self, session, cursor, number, expected, calls=True):
        """Waits until a turn is over, and holds it against what was expected."""
        done = []

        def over(event):
            done.extend([True] if event["type"] == "agent.message" and text_of(event) == f"done {number}" else [])
            return done and ended(event)

        seen = self.server.until(session.id, over, after=cursor)
        session.changed |= calls
        self.take_in(session, expected)
        self.requests(session, number)
        self.end_turn(session, seen[-1])

    def take_in(self, session, expected):
        """The list must be what it was, and then what is expected."""
        listed = self.server.events(session.id)
        expect(listed[: len(session.list)] == session.list, difference("the list began", session.list, listed))
        conversation = conversation_of(listed)
        new = conversation[len(session.conversation) :]
        matches = len(new) == len(expected) and all(map(agrees, new, expected))
        expect(matches, f"{session.id}: expected the conversation to go on by {expected}, got {new}")
        session.list, session.conversation = listed, conversation

    def requests(self, session, number):
        """What the model was sent must be the conversation, each time more of it."""
        asked = self.models.asked.pop(number)
        lengths = [len(said) for said in asked]
        expect(sorted(set(lengths)) == lengths, f"the requests had {lengths} parts")
        conversation = session.conversation
        plan = next(at for at, part in enumerate(conversation) if part[1] == "text" and part[2].startswith(f"plan {number}:"))
        first = plan + 1 + (conversation[plan + 1 : plan + 2] == [("system", "text", f"rule {number}")])
        expect(lengths[0] == first, f"the first request has {lengths[0]} parts, expected {first}")
        for sent in asked:
            expected = as_sent(conversation[: len(sent)])
            expect(sent == expected, difference(f"{session.id}: the model was sent", expected, sent))
        self.tally["requests compared"] += len(asked)

    def end_turn(self, session, end):
        cursor, event = end
        if session.changed:
            key = next(self.keys)
            session.kept.add(key)
            session.current, session.changed = key, False
        point = Point(session, int(cursor), session.current, event=event["id"])
        session.points.append(point)
        session.live.append(point)
        return point

    def turn(self, session):
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        number, expected = self.send(session, self.plan(session))
        self.follow(session, cursor, number, expected)

    def words(self, session):
        """A turn without calls: its files are those of the snapshot before, which may just be being taken."""
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        number, expected = self.send(session, [])
        self.follow(session, cursor, number, expected, calls=False)

    def quick(self, session):
        """A turn, words right after it, and a fork or a rewind right after that."""
        if session.waiting:
            return
        self.turn(session)
        self.words(session)
        return self.dice.choice((self.fork, self.rewind))(session, session.live[-1])

    def queued(self, session):
        """A second plan comes while the first is carried out; its turn follows at once."""
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        first, first_expected = self.send(session, [self.edit(session, "sleep 0.2")])
        session.changed = True
        between = session.tree.copy()
        second, second_expected = self.send(session, self.plan(session, self.dice.randrange(2)))
        ends = []

        def over(event):
            if ended(event):
                ends.append(event)
            return len(ends) == 2

        seen = [frame for frame in self.server.until(session.id, over, after=cursor) if ended(frame[1])]
        later, session.tree = session.tree, between
        listed = self.server.events(session.id)
        at = next(at for at, event in enumerate(listed) if event["id"] == seen[0][1]["id"])
        expect(listed[: len(session.list)] == session.list, difference("the list began", session.list, listed))
        new = conversation_of(listed[: at + 1])[len(session.conversation) :]
        expect(len(new) == len(first_expected) and all(map(agrees, new, first_expected)), f"expected {first_expected}, got {new}")
        session.list, session.conversation = listed[: at + 1], conversation_of(listed[: at + 1])
        self.requests(session, first)
        self.end_turn(session, seen[0])
        session.tree = later
        session.changed = len(second_expected) > 2
        self.take_in(session, second_expected)
        self.requests(session, second)
        self.end_turn(session, seen[1])

    def withdrawn(self, session):
        """A message comes while a plan is carried out, perhaps with a rule, and is taken back."""
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        number, expected = self.send(session, [self.edit(session, "sleep 0.5")])
        self.server.until(session.id, lambda event: event["type"] == "agent.tool_use", after=cursor)
        events = [said("user.message", "not meant"), said("system.message", "nor this")][: self.dice.choice((1, 2))]
        first = self.server.post(f"/v1/sessions/{session.id}/events", {"events": events})["data"][0]
        self.tell(f"{session.id[-6:]} {len(events)} inputs withdrawn")
        self.server.ask("DELETE", f"/v1/sessions/{session.id}/queue/{first['id']}")
        waits = self.server.get(f"/v1/sessions/{session.id}/queue")["data"]
        expect(waits == [], f"after it was withdrawn there waits {waits}")
        self.follow(session, cursor, number, expected)

    def instructions(self, session):
        """Who runs the agent says something by themselves."""
        if session.waiting:
            return
        number = next(self.numbers)
        self.tell(f"{session.id[-6:]} rule {number}")
        self.server.post(f"/v1/sessions/{session.id}/events", {"events": [said("system.message", f"rule {number}")]})
        self.take_in(session, [("system", "text", f"rule {number}")])

    def interrupted(self, session):
        """The call has had its effect, and is interrupted."""
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        mark = f"mark{next(self.numbers)}"
        call, _ = self.edit(session, f": > /workspace/t/{mark}; sleep 1000")
        session.tree.write(mark, "")
        number, expected = self.send(session, [(call, "interrupted by the user while it ran")])
        wait_for("the call has had its effect", lambda: self.is_there(session, f"t/{mark}"))
        self.server.post(f"/v1/sessions/{session.id}/events", {"events": [{"type": "user.interrupt"}]})
        seen = self.server.until(session.id, ended, after=cursor)
        session.changed = True
        self.take_in(session, expected[:-1])
        self.requests(session, number)
        # Its processes are ended, not those that calls before it left.
        point = self.end_turn(session, seen[-1])
        if self.dice.random() < 0.3:
            # The next call may begin before the cancelled one is over; then this turn's end has no snapshot.
            point.unsure = True
            session.kept.discard(point.key)
            session.current, session.changed = None, True
            self.turn(session)

    def pause(self, session):
        """A call that waits for the client, perhaps after and before others."""
        if session.waiting:
            return
        cursor = self.server.cursor(session.id)
        calls = self.plan(session, self.dice.randrange(2))
        pause = ({"name": "pause", "input": {"n": next(self.numbers)}}, None)
        number = next(self.numbers)
        text = f"plan {number}: {json.dumps([call for call, _ in [*calls, pause]])}"
        self.tell(f"{session.id[-6:]} {text}")
        self.server.say(session.id, text)
        expected = [("user", "text", text)]
        for call, result in [*calls, pause]:
            expected += self.called(call, result)
        waits = lambda event: event["type"] == "session.status_idle" and event["stop_reason"]["type"] == "requires_action"
        self.server.until(session.id, waits, after=cursor)
        session.changed |= bool(calls)
        self.take_in(session, expected)
        self.requests(session, number)
        session.waiting = (session.conversation[-1][2], number)

    def answer(self, session):
        """What a paused turn waits for comes, or the turn is interrupted."""
        if not session.waiting:
            return
        (call, number), cursor = session.waiting, self.server.cursor(session.id)
        session.waiting = None
        if self.dice.random() < 0.3:
            self.tell(f"{session.id[-6:]} interrupt")
            self.server.post(f"/v1/sessions/{session.id}/events", {"events": [{"type": "user.interrupt"}]})
            seen = self.server.until(session.id, ended, after=cursor)
            self.take_in(session, [("user", "result", call, "interrupted by the user")])
            self.end_turn(session, seen[-1])
        else:
            self.tell(f"{session.id[-6:]} answer")
            result = {"type": "user.custom_tool_result", "custom_tool_use_id": call, "content": [{"type": "text", "text": "go on"}]}
            self.server.post(f"/v1/sessions/{session.id}/events", {"events": [result]})
            seen = self.server.until(session.id, ended, after=cursor)
            self.take_in(session, [("user", "result", call, "go on"), ("assistant", "text", f"done {number}")])
            self.models.asked.pop(number)
            self.end_turn(session, seen[-1])
