"""What an application relies on beyond the quickstart."""

import json
import threading

import anthropic
from testing import (
    TOOLSET, code, connect, counting, message, new_session, only, raises, run, say, text, turn, types, unique,
    until, until_idle,
)

ASK_FIRST = {**TOOLSET, "default_config": {"permission_policy": {"type": "always_ask"}}}
WEATHER = {
    "type": "custom",
    "name": "weather",
    "description": "tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_agents_have_versions(client):
    agent = client.beta.agents.create(name=unique("versioned"), model="script/greeter")
    assert agent.version == 1 and agent.system is None
    same = client.beta.agents.update(agent.id, version=1, name=agent.name)
    assert same.version == 1, "an update that changes nothing makes no version"
    changed = client.beta.agents.update(agent.id, version=1, system="Be brief.", metadata={"team": "blue"})
    assert (changed.version, changed.system, changed.metadata) == (2, "Be brief.", {"team": "blue"})
    with raises(anthropic.ConflictError):
        client.beta.agents.update(agent.id, version=1, system="Be verbose.")
    assert [found.version for found in client.beta.agents.versions.list(agent.id)] == [2, 1]
    assert client.beta.agents.retrieve(agent.id, version=1).system is None
    assert client.beta.agents.retrieve(agent.id).system == "Be brief."


def test_a_conflict_is_one_request(client):
    agent = client.beta.agents.create(name=unique("contested"), model="script/greeter")
    client.beta.agents.update(agent.id, version=1, system="Be brief.")
    counted, sent = counting()
    with raises(anthropic.ConflictError, "version 1", "version 2"):
        counted.beta.agents.update(agent.id, version=1, system="Be brief.")
    assert len(sent) == 1, "it isn't retried, though it would change nothing"


def test_updates_keep_replace_and_clear(client):
    agent = client.beta.agents.create(
        name=unique("edited"), model={"id": "claude-sonnet-5", "effort": "low"}, system="s", description="d",
        tools=[TOOLSET, WEATHER], metadata={"a": "1", "b": "2"},
    )
    assert (agent.model.effort.type, agent.model.speed) == ("low", "standard")
    assert agent.to_dict()["execution_identity"] == {"type": "service_account"}, "0.x has no type for it"
    changed = client.beta.agents.update(
        agent.id, system=None, description="", tools=[WEATHER], metadata={"a": None, "c": "3"},
        model={"id": "claude-sonnet-5"},
    )
    assert (changed.version, changed.name, changed.system, changed.description) == (2, agent.name, None, None)
    assert (changed.metadata, [tool.type for tool in changed.tools]) == ({"b": "2", "c": "3"}, ["custom"])
    assert changed.model.effort.type == "low", "effort stays with its model"
    moved = client.beta.agents.update(agent.id, model="claude-opus-5-5", tools=[])
    assert (moved.model.id, moved.model.effort.type, moved.tools) == ("claude-opus-5-5", "high", [])
    with raises(anthropic.BadRequestError, "metadata") as refused:
        client.beta.agents.update(agent.id, metadata={str(number): "v" for number in range(17)})
    assert code(refused) == "invalid_metadata"


def test_sessions_pin_and_override(client):
    session = new_session(client)
    agent = client.beta.agents.update(session.agent.id, system="Be brief.")
    assert client.beta.sessions.retrieve(session.id).agent.version == 1

    def create(choice):
        return client.beta.sessions.create(agent=choice, environment_id=session.environment_id).agent

    assert create(agent.id).version == 2
    pinned = create({"type": "agent", "id": agent.id, "version": 1})
    assert (pinned.version, pinned.system) == (1, None)
    overridden = create({"type": "agent_with_overrides", "id": agent.id, "system": None, "tools": [WEATHER]})
    assert (overridden.version, overridden.system, overridden.tools[0].name) == (2, None, "weather")
    assert client.beta.agents.retrieve(agent.id).system == "Be brief."
    with raises(anthropic.BadRequestError, "agent_model_required"):
        create({"type": "agent_with_overrides", "id": agent.id, "model": None})


def test_archived_agents_take_no_new_sessions(client):
    session = new_session(client)
    archived = client.beta.agents.archive(session.agent.id)
    assert archived.archived_at is not None
    with raises(anthropic.BadRequestError):
        client.beta.agents.update(archived.id, version=1, system="Back?")
    with raises(anthropic.BadRequestError):
        client.beta.sessions.create(agent=archived.id, environment_id=session.environment_id)
    assert archived.id not in [found.id for found in client.beta.agents.list()]
    assert archived.id in [found.id for found in client.beta.agents.list(include_archived=True)]
    assert text(only(turn(client, session, message("still there?")), "agent.message")[0])


def test_environments(client):
    name = unique("environment")
    made = client.beta.environments.create(name=name, config={"type": "cloud"})
    assert made.config.networking.type == "unrestricted"
    assert client.beta.environments.retrieve(made.id).name == name
    assert made.id in [found.id for found in client.beta.environments.list()]
    with raises(anthropic.ConflictError):
        client.beta.environments.create(name=name, config={"type": "cloud"})
    with raises(anthropic.BadRequestError, "networking"):
        limited = {"type": "limited", "allowed_hosts": ["example.com"]}
        client.beta.environments.create(name=unique("limited"), config={"type": "cloud", "networking": limited})


def test_environments_change_and_go(client):
    made = client.beta.environments.create(
        name=unique("changing"), description="first", metadata={"a": "1", "b": "2"}, config={"type": "cloud"}
    )
    changed = client.beta.environments.update(made.id, description="second", metadata={"a": None, "c": "3"})
    assert (changed.name, changed.description, changed.metadata) == (made.name, "second", {"b": "2", "c": "3"})
    assert changed.updated_at > made.updated_at
    unchanged = client.beta.environments.update(made.id, config={"type": "cloud"})
    assert unchanged.updated_at == changed.updated_at, "a change of nothing changes nothing"
    with raises(anthropic.BadRequestError, "type") as refused:
        client.beta.environments.update(made.id, config={"type": "self_hosted"})
    assert code(refused) == "invalid_config_type_change"

    agent = client.beta.agents.create(name=unique("tenant"), model="script/greeter")
    session = client.beta.sessions.create(agent=agent.id, environment_id=made.id)
    counted, sent = counting()
    with raises(anthropic.ConflictError):
        counted.beta.environments.delete(made.id)
    assert len(sent) == 1, "a true conflict isn't retried"
    archived = client.beta.environments.archive(made.id)
    assert archived.archived_at is not None
    for refused_call in (
        lambda: client.beta.environments.update(made.id, name=unique("other")),
        lambda: client.beta.sessions.create(agent=agent.id, environment_id=made.id),
    ):
        with raises(anthropic.BadRequestError) as refused:
            refused_call()
        assert code(refused) == "environment_archived"
    assert made.id not in [found.id for found in client.beta.environments.list()]
    assert made.id in [found.id for found in client.beta.environments.list(include_archived=True, limit=3)]
    assert text(only(turn(client, session, message("still there?")), "agent.message")[0])
    client.beta.sessions.delete(session.id)
    assert client.beta.environments.delete(made.id).type == "environment_deleted"
    with raises(anthropic.NotFoundError) as refused:
        client.beta.environments.retrieve(made.id)
    assert code(refused) == "environment_not_found"


def test_sessions(client):
    session = new_session(client, title="First", metadata={"a": "1", "b": "2"})
    updated = client.beta.sessions.update(session.id, title="Second", metadata={"b": None, "c": "3"})
    assert (updated.title, updated.metadata) == ("Second", {"a": "1", "c": "3"})
    assert client.beta.sessions.retrieve(session.id).title == "Second"
    archived = client.beta.sessions.archive(session.id)
    assert archived.archived_at is not None
    assert client.beta.sessions.retrieve(session.id).status == "terminated"
    with raises(anthropic.BadRequestError):
        say(client, session, "anybody?")
    assert client.beta.sessions.delete(session.id).type == "session_deleted"
    with raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve(session.id)


def test_the_primary_thread(client):
    session = new_session(client)
    thread = only_one(client.beta.sessions.threads.list(session.id))
    assert (thread.status, thread.parent_thread_id, thread.agent.id) == ("idle", None, session.agent.id)
    with client.beta.sessions.threads.events.stream(thread.id, session_id=session.id) as stream:
        say(client, session, "one")
        seen = until_idle(stream)
    assert {event.session_thread_id for event in seen if event.type.startswith("session.thread_")} == {thread.id}
    listed = list(client.beta.sessions.threads.events.list(thread.id, session_id=session.id, limit=3))
    assert [event.id for event in listed] == [event.id for event in client.beta.sessions.events.list(session.id)]
    now = client.beta.sessions.threads.retrieve(thread.id, session_id=session.id)
    assert now.usage is not None and now.stats.active_seconds > 0
    assert list(client.beta.sessions.threads.list(session.id, extra_query={"statuses[]": "running"})) == []
    with raises(anthropic.BadRequestError, "primary thread"):
        client.beta.sessions.threads.archive(thread.id, session_id=session.id)
    client.beta.sessions.archive(session.id)
    assert only_one(client.beta.sessions.threads.list(session.id)).status == "terminated"


def only_one(page):
    (one,) = page
    return one


def test_sessions_end_by_themselves_as_told(client):
    told = {"lifetimes": {"idle_seconds": 600, "then": "end", "end_when_agent_exits": True}}
    session = new_session(client, extra_body=told)
    assert session.to_dict()["tenure"]["lifetimes"]["outcome"] == "timed_out"
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "one")
        assert "session.status_terminated" in [event.type for event in until(stream, "session.status_terminated")]
    over = client.beta.sessions.retrieve(session.id)
    assert (over.status, over.archived_at, over.to_dict()["tenure"]["phase"]) == ("terminated", None, "completed")


def test_sessions_come_in_pages(client):
    first = new_session(client)
    more = [
        client.beta.sessions.create(agent=first.agent.id, environment_id=first.environment_id).id for _ in range(4)
    ]
    newest_first = [*reversed(more), first.id]
    assert [found.id for found in client.beta.sessions.list(agent_id=first.agent.id, limit=2)] == newest_first
    oldest_first = client.beta.sessions.list(agent_id=first.agent.id, limit=2, order="asc")
    assert [found.id for found in oldest_first] == list(reversed(newest_first))
    page = client.beta.sessions.list(agent_id=first.agent.id, limit=2)
    assert len(page.data) == 2 and page.has_next_page()
    second = page.get_next_page()
    assert [found.id for found in client.beta.sessions.list(
        agent_id=first.agent.id, limit=2, page=second.prev_page
    ).data] == newest_first[:2], "and back"
    with raises(anthropic.BadRequestError, "order=desc"):
        client.beta.sessions.list(agent_id=first.agent.id, order="asc", page=page.next_page)
    with raises(anthropic.BadRequestError, "page"):
        client.beta.sessions.list(page="page_nonsense")


def test_sessions_are_found(client):
    first = new_session(client)
    again = client.beta.sessions.create(agent=first.agent.id, environment_id=first.environment_id)
    client.beta.agents.update(first.agent.id, system="Be brief.")
    newer = client.beta.sessions.create(agent=first.agent.id, environment_id=first.environment_id)

    def found(**filters):
        return [session.id for session in client.beta.sessions.list(agent_id=first.agent.id, **filters)]

    assert found(agent_version=1) == [again.id, first.id] and found(agent_version=2) == [newer.id]
    assert found(created_at_gt=again.created_at) == [newer.id]
    assert found(created_at_gte=again.created_at, order="asc") == [again.id, newer.id]
    assert found(created_at_lt=again.created_at) == [first.id]
    assert found(created_at_lte=again.created_at.isoformat()) == [again.id, first.id]
    client.beta.sessions.archive(again.id)
    assert found() == [newer.id, first.id] and found(include_archived=True) == [newer.id, again.id, first.id]
    assert found(statuses=["idle"]) == [newer.id, first.id] and found(statuses=["running", "rescheduling"]) == []
    assert found(statuses=["terminated", "running"], include_archived=True) == [again.id]
    with raises(anthropic.BadRequestError, "agent_version"):
        client.beta.sessions.list(agent_version=1)


def test_a_session_can_begin_with_a_message(client):
    session = new_session(client, initial_events=[message("begin")])
    with client.beta.sessions.events.stream(session.id, extra_query={"after": "0"}) as stream:
        seen = until_idle(stream)
    assert text(only(seen, "agent.message")[0]).startswith("Hello! You said: begin.")


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


def test_a_call_waits_for_approval(client):
    session = new_session(client, model="script/caller", tools=[ASK_FIRST])
    seen = turn(client, session, message("run it"))
    call = only(seen, "agent.tool_use")[0]
    assert call.evaluated_permission == "ask"
    assert seen[-1].stop_reason.type == "requires_action" and seen[-1].stop_reason.event_ids == [call.id]
    seen = turn(client, session, {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": "allow"})
    assert text(only(seen, "agent.message")[0]) == "The shell: it ran"

    call = only(turn(client, session, message("run it again")), "agent.tool_use")[0]
    no = {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": "deny", "deny_message": "not today"}
    result = only(turn(client, session, no), "agent.tool_result")[0]
    assert result.is_error and result.tool_use_id == call.id and "not today" in text(result)
    with raises(anthropic.BadRequestError):
        client.beta.sessions.events.send(session.id, events=[no])


def test_a_tool_of_the_client(client):
    session = new_session(client, model="script/caller", tools=[WEATHER])
    seen = turn(client, session, message("the weather?"))
    call = only(seen, "agent.custom_tool_use")[0]
    assert (call.name, call.input) == ("weather", {"city": "Zurich"})
    assert seen[-1].stop_reason.event_ids == [call.id]
    result = {
        "type": "user.custom_tool_result",
        "custom_tool_use_id": call.id,
        "content": [{"type": "text", "text": "sunny"}],
    }
    seen = turn(client, session, result)
    assert text(only(seen, "agent.message")[0]) == "The weather: sunny"


def test_errors_have_their_types(client):
    with raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve("sesn_000000000000000000000000")
    session = new_session(client)
    with raises(anthropic.BadRequestError, "title"):
        client.beta.sessions.update(session.id, title=7)
    with raises(anthropic.BadRequestError, "content"):
        client.beta.sessions.events.send(session.id, events=[{"type": "user.message"}])
    with raises(anthropic.BadRequestError, "events.1"):
        client.beta.sessions.events.send(session.id, events=[message("good"), {"type": "user.nonsense"}])
    assert list(client.beta.sessions.events.list(session.id)) == [], "nothing is half done"
    with raises(anthropic.BadRequestError, "vault_ids"):
        client.beta.sessions.create(
            agent=session.agent.id, environment_id=session.environment_id, vault_ids=["vlt_000000000000000000000000"]
        )
    stranger = client.with_options(api_key="not-a-key", max_retries=0)
    with raises(anthropic.AuthenticationError):
        stranger.beta.sessions.retrieve(session.id)


def test_an_idempotency_key_makes_a_repeat_harmless(client):
    session = new_session(client)
    key = {"Idempotency-Key": unique("key")}
    first = say(client, session, "once", extra_headers=key)
    second = say(client, session, "once", extra_headers=key)
    assert first.data[0].id == second.data[0].id
    assert len(list(client.beta.sessions.events.list(session.id, types=["user.message"]))) == 1


def test_unknown_fields_are_named(client):
    answer = client.beta.agents.with_raw_response.create(
        name=unique("curious"), model="script/greeter", extra_body={"favourite_colour": "green"}
    )
    assert "favourite_colour" in answer.headers["x-tenure-ignored"]


if __name__ == "__main__":
    run(dict(globals()))
