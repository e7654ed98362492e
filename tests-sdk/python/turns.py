"""Turns: one after another, queued, interrupted."""

import anthropic
from testing import TOOLSET, message, new_session, only, raises, say, text, turn, types, until, until_idle

INTERRUPT = {"type": "user.interrupt"}


def test_an_interrupt_stops_the_turn(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        for event in stream:
            if event.type == "span.model_request_start":
                break
        queued = say(client, session, "quick, please").data[0]
        assert queued.processed_at is None, "it waits for its turn"
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        first, second = until_idle(stream), until_idle(stream)
    assert first[-1].stop_reason.type == "end_turn"
    assert "user.interrupt" in types(first) and "agent.message" not in types(first)
    assert text(only(second, "agent.message")[0]) == "A quick answer."
    assert [event.id for event in second if event.type == "user.message"] == [queued.id]


def test_a_conversation_goes_on_where_it_was(client):
    session = new_session(client, model="script/caller", tools=[TOOLSET])
    turn(client, session, message("remember: the key is under the mat"))
    seen = turn(client, session, message("what was it?"))
    assert text(only(seen, "agent.message")[-1]) == "It was: remember: the key is under the mat"
    said = client.beta.sessions.events.list(session.id, types=["user.message"])
    assert [text(event) for event in said] == ["remember: the key is under the mat", "what was it?"]
    assert client.beta.sessions.retrieve(session.id).stats.active_seconds > 0


def test_messages_carry_pictures_and_documents(client):
    session = new_session(client)
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "a b c"}},
    ]
    turn(client, session, {"type": "user.message", "content": content})
    (said,) = client.beta.sessions.events.list(session.id, types=["user.message"])
    assert [block.type for block in said.content] == ["text", "image", "image", "document"]
    assert said.content[1].source.data == pixel and said.content[3].title == "Notes"


def test_queued_messages_begin_the_next_turn_together(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        until(stream, "span.model_request_start")
        queued = [say(client, session, words).data[0] for words in ("first", "quick, please")]
        assert [event.processed_at for event in queued] == [None, None]
        ids = [event.id for event in queued]
        told = [event for event in until_told(stream, ids[-1]) if event.type == "user.message"]
        assert [(event.id, event.processed_at) for event in told] == [(id, None) for id in ids]
        client.beta.sessions.events.send(session.id, events=[INTERRUPT])
        until_idle(stream)
        seen = until_idle(stream)
    taken = only(seen, "user.message")
    assert [event.id for event in taken] == ids and all(event.processed_at for event in taken)
    assert len(only(seen, "agent.message")) == 1, "one turn for both"
    listed = client.beta.sessions.events.list(session.id, types=["user.message"])
    assert [event.id for event in listed][1:] == ids, "each is listed once"


def until_told(stream, wanted):
    """What the stream says up to that event."""
    seen = []
    for event in stream:
        seen.append(event)
        if event.id == wanted:
            return seen
    raise AssertionError(f"the stream ended before {wanted}; saw {types(seen)}")


def test_a_queued_message_can_be_taken_back(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        until(stream, "span.model_request_start")
        queued = say(client, session, "quick, please").data[0]
        path = f"/v1/sessions/{session.id}/queue"
        assert [waiting["id"] for waiting in client.get(path, cast_to=object)["data"]] == [queued.id]
        client.delete(f"{path}/{queued.id}", cast_to=object)
        assert client.get(path, cast_to=object)["data"] == []
        client.beta.sessions.events.send(session.id, events=[INTERRUPT])
        until_idle(stream)
    assert client.beta.sessions.retrieve(session.id).status == "idle", "nothing waits"


def test_an_interrupt_stops_a_model_that_speaks(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
        say(client, session, "tell me a story")
        until(stream, "event_delta")
        answer = client.beta.sessions.events.send(session.id, events=[INTERRUPT])
        assert answer.data[0].processed_at, "it has taken effect"
        seen = until_idle(stream)
    assert seen[-1].stop_reason.type == "end_turn"
    kinds = types(seen)
    assert "agent.message" not in kinds, "what was said in part is no message"
    assert kinds.index("user.interrupt") < kinds.index("session.status_idle")
    assert kinds.count("span.model_request_end") == 1
    assert text(only(turn(client, session, message("quick")), "agent.message")[0]) == "A quick answer."


def test_an_interrupt_ends_a_tool_that_runs(client):
    session = new_session(client, model="script/caller", tools=[TOOLSET])
    with client.beta.sessions.events.stream(session.id, extra_query={"tenure_events": "1"}) as stream:
        say(client, session, "sleep")
        until(stream, "tenure.call_started")
        client.beta.sessions.events.send(session.id, events=[INTERRUPT])
        seen = until_idle(stream)
    assert seen[-1].stop_reason.type == "end_turn"
    result = only(seen, "agent.tool_result")[0]
    assert result.is_error and "interrupted" in text(result), text(result)
    assert "agent.message" not in types(seen)
    assert text(only(turn(client, session, message("run it")), "agent.message")[0]) == "The shell: it ran"


def test_an_interrupt_and_a_message_in_one_request(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        until(stream, "span.model_request_start")
        client.beta.sessions.events.send(session.id, events=[INTERRUPT, message("quick, please")])
        first, second = until_idle(stream), until_idle(stream)
    assert "user.interrupt" in types(first) and "agent.message" not in types(first)
    assert text(only(second, "agent.message")[0]) == "A quick answer."


def test_an_interrupt_of_an_idle_session_changes_nothing(client):
    session = new_session(client)
    client.beta.sessions.events.send(session.id, events=[INTERRUPT])
    assert client.beta.sessions.retrieve(session.id).status == "idle"
    assert only(turn(client, session, message("one")), "agent.message")


def test_a_message_can_steer_the_turn(client):
    session = new_session(client, model="script/slow", tools=[TOOLSET])
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "look around")
        until(stream, "span.model_request_start")
        steering = {**message("quick, please"), "delivery": "steer"}
        sent = client.beta.sessions.events.send(session.id, events=[steering]).data[0]
        assert sent.processed_at is None and sent.to_dict()["delivery"] == "steer"
        seen = until_idle(stream)
    assert [event.processed_at is None for event in seen if event.id == sent.id] == [True, False]
    result = only(seen, "agent.tool_result")[0]
    assert result.is_error and text(result).startswith("not run"), text(result)
    assert text(only(seen, "agent.message")[0]) == "A quick answer."
    assert "session.status_running" not in types(seen), "it is the same turn"


def test_who_runs_the_agent_instructs_it_in_between(client):
    session = new_session(client)
    instruct = {"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}
    alone = client.beta.sessions.events.send(session.id, events=[instruct]).data[0]
    assert alone.type == "system.message" and alone.processed_at and text(alone) == "Be brief."
    assert client.beta.sessions.retrieve(session.id).status == "idle", "it begins no turn"
    seen = turn(client, session, message("one"), instruct)
    kinds = types(seen)
    assert kinds.index("user.message") < kinds.index("system.message") < kinds.index("span.model_request_start")
    listed = client.beta.sessions.events.list(session.id, types=["system.message"])
    assert [text(event) for event in listed] == ["Be brief."] * 2
    for wrong in ([instruct, message("two")], [message("two"), instruct, instruct]):
        with raises(anthropic.BadRequestError, "events."):
            client.beta.sessions.events.send(session.id, events=wrong)
    older = new_session(client, model="claude-sonnet-4-5")
    with raises(anthropic.BadRequestError, "model_does_not_support_mid_conversation_system"):
        client.beta.sessions.events.send(older.id, events=[instruct])


def test_a_conversation_that_is_too_long_is_summed_up(client):
    session = new_session(client, model="script/forgetful")
    told = [turn(client, session, message(f"Hello number {number}. " * 100)) for number in range(4)]
    (seen,) = [seen for seen in told if "agent.thread_context_compacted" in types(seen)][:1]
    assert types(seen)[3:9] == [
        "span.model_request_start",
        "span.model_request_end",
        "agent.thread_context_compacted",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
    ]
    summed_up = only(seen, "agent.thread_context_compacted")[0]
    assert summed_up.to_dict()["summary"] == "They have greeted each other at length."
    assert [text(only(seen, "agent.message")[0]) for seen in told] == ["Noted."] * 4
    assert len(list(client.beta.sessions.events.list(session.id, types=["user.message"]))) == 4, "nothing is lost"
