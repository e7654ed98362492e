"""Sessions: what they are told at their creation, how they are found, and how they end."""

import anthropic
from testing import message, new_session, only, raises, say, text, turn, until, until_idle


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


def test_sessions_are_found_by_their_labels(client):
    web = new_session(client, extra_body={"labels": ["web", "nightly"]})
    other = new_session(client, extra_body={"labels": ["web"]})
    assert web.to_dict()["tenure"]["labels"] == ["nightly", "web"]

    def found(*labels):
        query = {"labels": list(labels), "created_at[gte]": web.created_at.isoformat()}
        listed = client.beta.sessions.list(limit=1, extra_query=query)
        return [session.id for session in listed if session.id in (web.id, other.id)]

    assert found("web") == [other.id, web.id] and found("nightly", "web") == [web.id]
    changed = client.beta.sessions.update(other.id, extra_body={"labels": ["nightly"]})
    assert changed.to_dict()["tenure"]["labels"] == ["nightly"] and found("web") == [web.id]
    with raises(anthropic.BadRequestError, "labels.0"):
        client.beta.sessions.update(other.id, extra_body={"labels": ["two words"]})


def test_a_session_can_begin_with_a_message(client):
    session = new_session(client, initial_events=[message("begin")])
    with client.beta.sessions.events.stream(session.id, extra_query={"after": "0"}) as stream:
        seen = until_idle(stream)
    assert text(only(seen, "agent.message")[0]).startswith("Hello! You said: begin.")


def test_changes_are_told_on_the_stream(client):
    session = new_session(client, title="First")
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.update(session.id, title="Second", metadata={"team": "blue"})
        told = until(stream, "session.updated")[-1]
        assert (told.title, told.metadata) == ("Second", {"team": "blue"})
        client.beta.sessions.update(session.id, title="Second")
        tools = [{"type": "agent_toolset_20260401"}]
        assert client.beta.sessions.update(session.id, agent={"tools": tools}).agent.tools
        told = until(stream, "session.updated")[-1]
    assert told.agent.tools[0].type == "agent_toolset_20260401" and told.title is None, "what changed, nothing else"


def test_a_deleted_sessions_stream_says_so_and_ends(client):
    session = new_session(client)
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.delete(session.id)
        assert [event.type for event in stream] == ["session.deleted"]
    for gone in (
        lambda: client.beta.sessions.retrieve(session.id),
        lambda: client.beta.sessions.events.list(session.id),
        lambda: client.beta.sessions.events.stream(session.id),
        lambda: say(client, session, "anybody?"),
        lambda: client.beta.sessions.delete(session.id),
    ):
        with raises(anthropic.NotFoundError):
            gone()
