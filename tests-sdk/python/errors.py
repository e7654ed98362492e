"""Requests: the errors the SDK raises, repeats, and fields that nobody knows."""

import anthropic
from testing import connect, counting, message, new_session, raises, say, unique, until, until_idle

TOO_LARGE = getattr(anthropic, "ContentTooLargeError", None) or anthropic.RequestTooLargeError


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


def test_a_refusal_is_one_request(client):
    session = new_session(client)
    counted, sent = counting()
    with raises(anthropic.BadRequestError):
        say(counted, session, "")
    stranger, asked = counting(api_key="not-a-key")
    with raises(anthropic.AuthenticationError):
        stranger.beta.sessions.retrieve(session.id)
    assert (len(sent), len(asked)) == (1, 1)


def test_a_host_that_is_not_ours_is_refused(client):
    with raises(anthropic.PermissionDeniedError, "evil.example"):
        client.beta.agents.list(extra_headers={"Host": "evil.example"})


def test_a_body_that_is_too_large_is_refused(client):
    session = new_session(client)
    with raises(TOO_LARGE):
        say(client.with_options(max_retries=0), session, "x" * (33 << 20))
    with raises(anthropic.BadRequestError, "system"):
        client.beta.agents.create(name=unique("wordy"), model="script/greeter", system="x" * 100_001)


def test_more_input_than_may_wait_is_a_rate_limit(client):
    session = new_session(client, model="script/slow")
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "take your time")
        until(stream, "span.model_request_start")
        hurried = client.with_options(max_retries=0)
        hurried.beta.sessions.events.send(session.id, events=[message("more")] * 1000)
        with raises(anthropic.RateLimitError) as refused:
            say(hurried, session, "one too many")
        assert int(refused.error.response.headers["retry-after"]) > 0
    client.post(f"/v1/sessions/{session.id}/end", cast_to=object, body={})


def test_a_key_comes_in_either_header(client):
    for headers in ({"X-Api-Key": client.api_key}, {"Authorization": f"Bearer {client.api_key}"}):
        bare = {"X-Api-Key": anthropic.Omit(), "Authorization": anthropic.Omit()}
        assert client.beta.sessions.list(limit=1, extra_headers={**bare, **headers}).data is not None


def test_answers_have_request_ids(client):
    session = new_session(client)
    assert session._request_id.startswith("req_")
    assert say(client, session, "one")._request_id != session._request_id
