"""Agents: versions, changes, and the sessions that hold on to them."""

import anthropic
from testing import (
    TOOLSET, WEATHER, code, counting, message, new_session, only, raises, text, turn, unique,
)


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


def test_agents_come_in_pages(client):
    made = [client.beta.agents.create(name=unique("paged"), model="script/greeter") for _ in range(3)]
    ids, since = [agent.id for agent in made], made[0].created_at

    def listed(**filters):
        return [found.id for found in client.beta.agents.list(**filters) if found.id in ids]

    assert listed(created_at_gte=since, limit=1) == list(reversed(ids)), "newest first, a page each"
    assert listed(created_at_lte=since) == ids[:1]
    client.beta.agents.archive(ids[1])
    assert listed(created_at_gte=since) == [ids[2], ids[0]]
    assert listed(created_at_gte=since, include_archived=True) == list(reversed(ids))
    for brief in ("Be brief.", "Be briefer."):
        client.beta.agents.update(ids[0], system=brief)
    page = client.beta.agents.versions.list(ids[0], limit=2)
    assert [found.version for found in page.data] == [3, 2] and page.has_next_page()
    assert [found.version for found in page.get_next_page().data] == [1]
