"""Budgets: what a session may cost, and what follows when that is spent."""

import anthropic
from testing import TOOLSET, message, new_session, only, raises, say, text, turn, types, until_idle


def limit(cents):
    return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}


def spent(client):
    """A session of five dollars whose model's first reply took ten, and called a tool."""
    session = new_session(client, model="script/priced", tools=[TOOLSET], budget=limit(500))
    seen = turn(client, session, message("run it"))
    assert seen[-1].stop_reason.type == "budget_reached", seen[-1]
    return session, seen


def test_a_budget_stops_the_turn_and_raising_it_lets_it_go_on(client):
    session, seen = spent(client)
    assert types(seen)[-4:] == [
        "agent.tool_result", "session.thread_status_idle", "session.usage", "session.status_idle"
    ]
    told = seen[-2].to_dict()
    assert (told["usage"]["list_cost"], told["budget"]) == ({"amount": "1000", "currency": "USD"}, limit(500))
    now = client.beta.sessions.retrieve(session.id)
    assert (now.status, now.budget.max_list_cost.amount, now.usage.list_cost.amount) == ("idle", "500", "1000")
    with raises(anthropic.BadRequestError, "budget"):
        say(client, session, "and then?")
    with raises(anthropic.BadRequestError, "budget_not_raised"):
        client.beta.sessions.update(session.id, budget=limit(1000))
    with client.beta.sessions.events.stream(session.id) as stream:
        raised = client.beta.sessions.update(session.id, budget=limit(5000))
        assert raised.budget.max_list_cost.amount == "5000"
        seen = until_idle(stream)
    assert types(seen)[:2] == ["session.updated", "session.status_running"]
    assert text(only(seen, "agent.message")[0]) == "The shell: it ran" and seen[-1].stop_reason.type == "end_turn"


def test_a_budget_that_is_removed_stays_away(client):
    session, _ = spent(client)
    with client.beta.sessions.events.stream(session.id) as stream:
        assert client.beta.sessions.update(session.id, budget=None).budget is None
        assert until_idle(stream)[-1].stop_reason.type == "end_turn"
    with raises(anthropic.BadRequestError, "budget_create_only"):
        client.beta.sessions.update(session.id, budget=limit(5000))


def test_a_model_without_a_price_takes_no_budget(client):
    with raises(anthropic.BadRequestError, "model_not_budgetable"):
        new_session(client, budget=limit(500))
    for wrong in (limit("0"), limit("2.50"), {"type": "limit"}):
        with raises(anthropic.BadRequestError, "budget.max_list_cost"):
            new_session(client, model="script/priced", budget=wrong)


def test_a_session_over_its_budget_is_archived_and_deleted(client):
    session, _ = spent(client)
    assert client.beta.sessions.archive(session.id).status == "terminated"
    session, _ = spent(client)
    assert client.beta.sessions.delete(session.id).type == "session_deleted"
