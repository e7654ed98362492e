"""What may be archived and deleted in which status."""

import anthropic
from testing import ASK_FIRST, message, new_session, raises, say, turn, until, until_idle


def test_an_idle_session_is_archived_and_deleted(client):
    goes(client, lambda: spoken(client))


def test_a_session_that_waits_for_an_approval_is_archived_and_deleted(client):
    def waiting():
        session = new_session(client, model="script/caller", tools=[ASK_FIRST])
        assert turn(client, session, message("run it"))[-1].stop_reason.type == "requires_action"
        return session

    goes(client, waiting)


def test_a_running_session_is_interrupted_first(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        until(stream, "span.model_request_start")
        assert client.beta.sessions.retrieve(session.id).status == "running"
        stays(client, session)
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        until_idle(stream)
    client.beta.sessions.archive(session.id)
    client.beta.sessions.delete(session.id)


def test_a_rescheduling_session_is_interrupted_first(client):
    session = new_session(client, model="claude-overloaded")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "are you there?")
        seen = until(stream, "session.status_rescheduled")
        (error,) = [event.error for event in seen if event.type == "session.error"]
        assert (error.type, error.retry_status.type) == ("model_overloaded_error", "retrying")
        assert client.beta.sessions.retrieve(session.id).status == "rescheduling"
        stays(client, session)
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        assert until_idle(stream)[-1].stop_reason.type == "end_turn"
    client.beta.sessions.archive(session.id)
    client.beta.sessions.delete(session.id)


def test_an_archived_session_is_read_and_deleted(client):
    session = spoken(client)
    archived = client.beta.sessions.archive(session.id)
    assert client.beta.sessions.archive(session.id).archived_at == archived.archived_at, "again changes nothing"
    for refused in (
        lambda: say(client, session, "anybody?"),
        lambda: client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}]),
        lambda: client.beta.sessions.update(session.id, title="Other"),
    ):
        with raises(anthropic.BadRequestError, "archived"):
            refused()
    assert "agent.message" in [event.type for event in client.beta.sessions.events.list(session.id)]
    assert client.beta.sessions.delete(session.id).type == "session_deleted"


def test_an_ended_session_is_only_deleted(client):
    session = spoken(client)
    client.post(f"/v1/sessions/{session.id}/end", cast_to=object, body={})
    assert client.beta.sessions.retrieve(session.id).status == "terminated"
    with raises(anthropic.BadRequestError):
        client.beta.sessions.archive(session.id)
    assert client.beta.sessions.delete(session.id).type == "session_deleted"


def spoken(client):
    session = new_session(client)
    turn(client, session, message("one"))
    return session


def goes(client, make):
    """One such session is archived, another deleted, the moment it says that it is idle."""
    archived = client.beta.sessions.archive(make().id)
    assert archived.archived_at and archived.status == "terminated"
    deleted = client.beta.sessions.delete(make().id)
    with raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve(deleted.id)


def stays(client, session):
    for refused in (client.beta.sessions.archive, client.beta.sessions.delete):
        with raises(anthropic.BadRequestError, "interrupt"):
            refused(session.id)
    assert client.beta.sessions.retrieve(session.id).archived_at is None
