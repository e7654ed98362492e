"""The quickstart: an agent, an environment, a session, a message, and the events while real tools run."""

from testing import TOOLSET, message, only, text, types, unique, until_idle

TASK = "write a Fibonacci script to fib.py, run it, tell me the 20th number"


def test_quickstart(client):
    agent = client.beta.agents.create(
        name=unique("Coding Assistant"),
        model="script/fibonacci",
        system="You are a helpful coding assistant.",
        tools=[TOOLSET],
    )
    environment = client.beta.environments.create(
        name=unique("quickstart"), config={"type": "cloud", "networking": {"type": "unrestricted"}}
    )
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="Quickstart")
    assert session.status == "idle", session.status

    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message(TASK)])
        seen = until_idle(stream)

    assert [event.name for event in only(seen, "agent.tool_use")] == ["write", "bash"]
    results = only(seen, "agent.tool_result")
    assert not any(result.is_error for result in results), results
    assert text(results[-1]).strip() == "6765", text(results[-1])
    assert "6765" in text(only(seen, "agent.message")[-1])
    assert seen[-1].stop_reason.type == "end_turn"

    kinds = types(seen)
    for earlier, later in [
        ("session.status_running", "span.model_request_start"),
        ("span.model_request_start", "agent.tool_use"),
        ("agent.tool_use", "agent.tool_result"),
        ("agent.tool_result", "session.thread_status_idle"),
        ("session.thread_status_idle", "session.status_idle"),
    ]:
        assert kinds.index(earlier) < kinds.index(later), kinds
    assert client.beta.sessions.retrieve(session.id).status == "idle"
    listed = list(client.beta.sessions.events.list(session.id))
    assert [event.id for event in listed] == list(dict.fromkeys(event.id for event in seen)), types(listed)
