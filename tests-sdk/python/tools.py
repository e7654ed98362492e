"""Tools: approvals, tools of the client's own, and the SDK's runner for them."""

import asyncio
import os

import anthropic
from testing import (
    ASK_FIRST, TOOLSET, WEATHER, connect_async, message, new_session, only, raises, text, turn, types, unique,
)


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


def confirmation(call, result, **more):
    return {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": result, **more}


def result_of(call, words, **more):
    content = [{"type": "text", "text": words}]
    return {"type": "user.custom_tool_result", "custom_tool_use_id": call.id, "content": content, **more}


def test_some_calls_are_allowed_and_others_denied(client):
    session = new_session(client, model="script/caller", tools=[ASK_FIRST])
    seen = turn(client, session, message("run both"))
    first, second = only(seen, "agent.tool_use")
    assert seen[-1].stop_reason.event_ids == [first.id, second.id]
    seen = turn(client, session, confirmation(first, "allow"))
    assert seen[-1].stop_reason.type == "requires_action" and seen[-1].stop_reason.event_ids == [second.id]
    assert "agent.message" not in types(seen), "the model isn't asked before all is answered"
    seen = turn(client, session, confirmation(second, "deny", deny_message="once is enough"))
    assert seen[-1].stop_reason.type == "end_turn"
    results = {
        event.tool_use_id: (event.is_error, text(event).strip())
        for event in client.beta.sessions.events.list(session.id, types=["agent.tool_result"])
    }
    assert results[first.id] == (False, "one")
    denied, why = results[second.id]
    assert denied and "once is enough" in why


def test_several_calls_are_answered_in_one_request(client):
    session = new_session(client, model="script/caller", tools=[ASK_FIRST])
    first, second = only(turn(client, session, message("run both")), "agent.tool_use")
    seen = turn(client, session, confirmation(second, "deny"), confirmation(first, "allow"))
    assert seen[-1].stop_reason.type == "end_turn" and len(only(seen, "agent.tool_result")) == 2


def test_a_message_waits_behind_an_approval(client):
    session = new_session(client, model="script/caller", tools=[ASK_FIRST])
    call = only(turn(client, session, message("run it")), "agent.tool_use")[0]
    queued = client.beta.sessions.events.send(session.id, events=[message("run both")]).data[0]
    assert queued.processed_at is None
    assert client.beta.sessions.retrieve(session.id).status == "idle"
    seen = turn(client, session, confirmation(call, "allow"))
    assert seen[-1].stop_reason.type == "end_turn" and text(only(seen, "agent.message")[0]) == "The shell: it ran"


def test_an_interrupt_ends_the_wait_for_an_approval(client):
    session = new_session(client, model="script/caller", tools=[ASK_FIRST])
    call = only(turn(client, session, message("run it")), "agent.tool_use")[0]
    seen = turn(client, session, {"type": "user.interrupt"})
    assert seen[-1].stop_reason.type == "end_turn"
    with raises(anthropic.BadRequestError):
        client.beta.sessions.events.send(session.id, events=[confirmation(call, "allow")])


def test_tools_of_the_client_are_answered_one_by_one(client):
    session = new_session(client, model="script/caller", tools=[WEATHER])
    seen = turn(client, session, message("the weather in both cities?"))
    zurich, oslo = only(seen, "agent.custom_tool_use")
    assert (zurich.input, oslo.input) == ({"city": "Zurich"}, {"city": "Oslo"})
    seen = turn(client, session, result_of(oslo, "snow"))
    assert seen[-1].stop_reason.type == "requires_action" and seen[-1].stop_reason.event_ids == [zurich.id]
    seen = turn(client, session, result_of(zurich, "no signal", is_error=True))
    assert seen[-1].stop_reason.type == "end_turn"
    answers = client.beta.sessions.events.list(session.id, types=["user.custom_tool_result"])
    assert [(event.custom_tool_use_id, event.is_error) for event in answers] == [(oslo.id, False), (zurich.id, True)]
    with raises(anthropic.BadRequestError):
        client.beta.sessions.events.send(session.id, events=[result_of(zurich, "sunny after all")])


def test_the_tool_runner_of_the_sdk_answers_for_the_client(client):
    session = new_session(client, model="script/caller", tools=[WEATHER])
    asked = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Tells the weather."""
        asked.append(city)
        return f"sunny in {city}"

    async def answer_all():
        async with connect_async() as runner:
            await runner.beta.sessions.events.send(session.id, events=[message("the weather in both cities?")])
            calls = runner.beta.sessions.events.tool_runner(session.id, tools=[weather], max_idle=0.5)
            return [(call.name, call.posted, call.is_error) async for call in calls]

    assert asyncio.run(answer_all()) == [("weather", True, False)] * 2
    assert asked == ["Zurich", "Oslo"]
    said = list(client.beta.sessions.events.list(session.id, types=["agent.message"]))
    assert text(said[-1]) == "The weather: sunny in Oslo"


def test_a_tool_that_is_switched_off_is_not_run(client):
    off = {**TOOLSET, "configs": [{"name": "bash", "enabled": False}]}
    session = new_session(client, model="script/caller", tools=[off])
    assert session.agent.tools[0].configs[0].enabled is False
    seen = turn(client, session, message("run it"))
    assert only(seen, "agent.tool_use")[0].evaluated_permission == "deny"
    assert only(seen, "agent.tool_result")[0].is_error and seen[-1].stop_reason.type == "end_turn"


def test_a_question_is_answered_as_a_call_or_by_a_message(client):
    asking = {**TOOLSET, "configs": [{"name": "ask", "enabled": True}]}
    session = new_session(client, model="script/caller", tools=[asking])
    assert session.agent.tools[0].configs[0].name == "ask"
    seen = turn(client, session, message("which way?"))
    call = only(seen, "agent.custom_tool_use")[0]
    assert (call.name, call.input["question"]) == ("ask", "Left or right?")
    assert call.to_dict()["question"] is True and seen[-1].stop_reason.event_ids == [call.id]
    seen = turn(client, session, result_of(call, "left"))
    assert text(only(seen, "agent.message")[0]) == "You said: left"

    call = only(turn(client, session, message("and which way now?")), "agent.custom_tool_use")[0]
    seen = turn(client, session, message("right"))
    assert only(seen, "user.message")[0].to_dict()["answers"] == call.id
    assert only(seen, "user.custom_tool_result")[0].custom_tool_use_id == call.id
    assert text(only(seen, "agent.message")[0]) == "You said: right"


def test_a_page_is_fetched_by_the_server(client):
    session = new_session(client, model="script/caller", tools=[TOOLSET])
    page = os.environ["SDK_PAGE"]
    seen = turn(client, session, message(page))
    call, result = only(seen, "agent.tool_use")[0], only(seen, "agent.tool_result")[0]
    assert (call.name, call.input, call.evaluated_permission) == ("web_fetch", {"url": page}, "allow")
    assert not result.is_error and "Title: A page" in text(result) and "Welcome" in text(result), text(result)
    result = only(turn(client, session, message("http://169.254.169.254/latest/meta-data")), "agent.tool_result")[0]
    assert result.is_error and text(result).startswith("url_not_allowed"), text(result)
    assert client.beta.sessions.retrieve(session.id).to_dict()["tenure"]["sandbox"] == "not_yet"


def test_a_toolset_is_configured_tool_by_tool(client):
    def configured(**config):
        tools = [{**TOOLSET, "configs": [{"name": "web_fetch", **config}]}]
        return client.beta.agents.create(name=unique("reader"), model="script/caller", tools=tools).tools[0]

    sources = {"user_input": {"type": "all"}}
    fetch = configured(allowed_domains=["docs.example.com"], max_content_tokens=2000, url_sources=sources).configs[0]
    shown = fetch.to_dict()
    assert (shown["allowed_domains"], shown["max_content_tokens"]) == (["docs.example.com"], 2000)
    assert shown["blocked_domains"] is None and shown["url_sources"]["user_input"] == {"type": "all"}
    for wrong, words in [
        ({"allowed_domains": []}, "Empty list of domains is ambiguous"),
        ({"allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}, "Only one of"),
        ({"allowed_domains": ["10.0.0.1"]}, "IP addresses are not supported"),
        ({"permission_policy": {"type": "auto"}}, "judge"),
    ]:
        with raises(anthropic.BadRequestError, words):
            configured(**wrong)


def test_long_output_is_kept_in_a_file(client):
    session = new_session(client, model="script/caller", tools=[TOOLSET])
    seen = turn(client, session, message("count"))
    shown = text(only(seen, "agent.tool_result")[0])
    assert "/workspace/.tenure/outputs/" in shown and 1000 < len(shown) < 101_000
    assert text(only(seen, "agent.message")[0]) == "In the middle: 150000"
