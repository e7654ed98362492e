"""Events: their order, their list, their stream, and what is seen of them before they are whole."""

import json
import threading

import anthropic
from anthropic.lib.sessions import accumulate_managed_agents_event
from testing import (
    TOOLSET, connect, message, new_session, only, raises, say, text, turn, types, until_idle,
)


def test_a_turn_in_order(client):
    session = new_session(client)
    seen = turn(client, session, message("one"))
    kinds = [kind for kind in types(seen) if kind != "user.message"]
    assert kinds == [
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.thinking",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ], kinds
    start, end = only(seen, "span.model_request_start")[0], only(seen, "span.model_request_end")[0]
    assert end.model_request_start_id == start.id
    assert all(event.processed_at for event in seen if event.type != "user.message")


def test_events_are_listed(client):
    session = new_session(client)
    turn(client, session, message("one"))
    turn(client, session, message("two"))
    everything = [event.id for event in client.beta.sessions.events.list(session.id)]
    assert [event.id for event in client.beta.sessions.events.list(session.id, limit=3)] == everything
    backwards = client.beta.sessions.events.list(session.id, limit=3, order="desc")
    assert [event.id for event in backwards] == everything[::-1]
    said = list(client.beta.sessions.events.list(session.id, types=["user.message"]))
    assert [text(event) for event in said] == ["one", "two"]
    assert all(event.processed_at for event in said)


def frames(client, session, **more):
    """The raw frames of a stream up to the first `session.status_idle`: cursors and events."""
    found, cursor = [], None
    with client.beta.sessions.events.with_streaming_response.stream(session.id, **more) as answer:
        for line in answer.iter_lines():
            if line.startswith("id:"):
                cursor = line[3:].strip()
            elif line.startswith("data:"):
                found.append((cursor, json.loads(line[5:])))
                if found[-1][1]["type"] == "session.status_idle":
                    return found
    raise AssertionError("the stream ended")


def test_a_stream_resumes_from_any_cursor(client):
    session = new_session(client)
    turn(client, session, message("one"))
    whole = frames(client, session, extra_query={"after": "0"})
    assert all(cursor for cursor, _ in whole), "every stored event has a cursor"
    for at in (0, len(whole) // 2, len(whole) - 2):
        cursor = whole[at][0]
        assert frames(client, session, extra_headers={"Last-Event-ID": cursor}) == whole[at + 1 :]
        assert frames(client, session, extra_query={"after": cursor}) == whole[at + 1 :]
    # Over the seam: what is stored and what comes live, without loss or doubling.
    def speak():
        say(connect(), session, "two")

    speaker = threading.Timer(0.3, speak)
    speaker.start()
    with client.beta.sessions.events.stream(session.id, extra_headers={"Last-Event-ID": whole[2][0]}) as stream:
        first, second = until_idle(stream), until_idle(stream)
    speaker.join()
    assert [event.id for event in first] == [event["id"] for _, event in whole[3:]]
    assert "agent.message" in types(second)
    with raises(anthropic.BadRequestError):
        client.beta.sessions.events.stream(session.id, extra_headers={"Last-Event-ID": "999999"})


def test_text_is_previewed(client):
    session = new_session(client)
    seen = turn(client, session, message("one"), event_deltas=["agent.message"])
    started = [event.event.id for event in only(seen, "event_start")]
    deltas = only(seen, "event_delta")
    said = only(seen, "agent.message")[0]
    assert started == [said.id] and {delta.event_id for delta in deltas} == {said.id}
    assert "".join(delta.delta.content.text for delta in deltas) == text(said)
    assert len(deltas) > 1, "it comes in pieces"
    assert "event_delta" not in types(turn(client, session, message("two"))), "only when asked for"
    with raises(anthropic.BadRequestError, "event_deltas"):
        client.beta.sessions.events.stream(session.id, event_deltas=["nonsense"])


def test_a_turn_with_a_tool_in_order(client):
    session = new_session(client, model="script/caller", tools=[TOOLSET])
    seen = turn(client, session, message("run it"))
    assert types(seen) == [
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "span.model_request_start",
        "agent.tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ], types(seen)
    starts, ends = only(seen, "span.model_request_start"), only(seen, "span.model_request_end")
    assert [end.model_request_start_id for end in ends] == [start.id for start in starts]
    moments = [event.processed_at for event in seen]
    assert all(moments) and moments == sorted(moments)


def test_the_accumulator_of_the_sdk_follows_a_preview(client):
    session = new_session(client)
    snapshots, message_so_far = [], None
    for event in turn(client, session, message("one"), event_deltas=["agent.message", "agent.thinking"]):
        message_so_far = accumulate_managed_agents_event(message_so_far, event)
        if event.type == "event_delta":
            snapshots.append(text(message_so_far))
        if event.type == "agent.message":
            assert message_so_far.id == event.id and snapshots[-1] == text(event)
    assert len(snapshots) > 1, "it comes in pieces"
    assert all(later.startswith(earlier) for earlier, later in zip(snapshots, snapshots[1:]))


def test_who_comes_in_the_middle_of_a_message_gets_the_text_so_far(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as first:
        say(client, session, "tell me a story")
        whole = None
        for event in first:
            whole = accumulate_managed_agents_event(whole, event)
            if whole is not None and len(text(whole)) > 40:
                break
        with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as second:
            late = None
            for event in second:
                late = accumulate_managed_agents_event(late, event)
                if event.type == "event_delta":
                    break
        assert late.id == whole.id and text(late).startswith(text(whole))
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])


def test_events_are_found_by_their_time(client):
    session = new_session(client)
    turn(client, session, message("one"))
    turn(client, session, message("two"))
    first, second = client.beta.sessions.events.list(session.id, types=["user.message"])

    def said(**filters):
        listed = client.beta.sessions.events.list(session.id, types=["user.message"], **filters)
        return [text(event) for event in listed]

    assert said(created_at_gt=first.processed_at) == said(created_at_gte=second.processed_at) == ["two"]
    assert said(created_at_lt=second.processed_at) == said(created_at_lte=first.processed_at) == ["one"]
    both = client.beta.sessions.events.list(session.id, types=["agent.message", "session.status_idle"], limit=1)
    assert types(both) == ["agent.message", "session.status_idle"] * 2
    page = client.beta.sessions.events.list(session.id, limit=3)
    with raises(anthropic.BadRequestError, "order"):
        client.beta.sessions.events.list(session.id, order="desc", page=page.next_page)
