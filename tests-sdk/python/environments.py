"""Environments: what they are made of, how they change, and when they go."""

import anthropic
from testing import code, connect, counting, message, new_session, only, raises, text, turn, unique


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
