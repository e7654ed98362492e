// Budgets: what a session may cost, and what follows when that is spent.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { TOOLSET, message, newSession, only, refused, say, streaming, text, turn, types, untilIdle } from "./testing.mjs";

const limit = (cents) => ({ type: "limit", max_list_cost: { amount: String(cents), currency: "USD" } });

/** A session of five dollars whose model's first reply took ten, and called a tool. */
async function spent(client) {
  const session = await newSession(client, { model: "script/priced", tools: [TOOLSET], budget: limit(500) });
  const seen = await turn(client, session, message("run it"));
  assert.equal(seen.at(-1).stop_reason.type, "budget_reached");
  return [session, seen];
}

export async function aBudgetStopsTheTurnAndRaisingItLetsItGoOn(client) {
  const [session, seen] = await spent(client);
  const last = ["agent.tool_result", "session.thread_status_idle", "session.usage", "session.status_idle"];
  assert.deepEqual(types(seen).slice(-4), last);
  const told = seen.at(-2);
  assert.deepEqual([told.usage.list_cost, told.budget], [{ amount: "1000", currency: "USD" }, limit(500)]);
  const now = await client.beta.sessions.retrieve(session.id);
  assert.deepEqual(
    [now.status, now.budget.max_list_cost.amount, now.usage.list_cost.amount],
    ["idle", "500", "1000"],
  );
  await refused(Anthropic.BadRequestError, say(client, session, "and then?"), "budget");
  const same = client.beta.sessions.update(session.id, { budget: limit(1000) });
  await refused(Anthropic.BadRequestError, same, "budget_not_raised");
  await streaming(client, session, {}, async (stream) => {
    const raised = await client.beta.sessions.update(session.id, { budget: limit(5000) });
    assert.equal(raised.budget.max_list_cost.amount, "5000");
    const rest = await untilIdle(stream);
    assert.deepEqual(types(rest).slice(0, 2), ["session.updated", "session.status_running"]);
    assert.equal(text(only(rest, "agent.message")[0]), "The shell: it ran");
    assert.equal(rest.at(-1).stop_reason.type, "end_turn");
  });
}

export async function aBudgetThatIsRemovedStaysAway(client) {
  const [session] = await spent(client);
  await streaming(client, session, {}, async (stream) => {
    assert.equal((await client.beta.sessions.update(session.id, { budget: null })).budget, null);
    assert.equal((await untilIdle(stream)).at(-1).stop_reason.type, "end_turn");
  });
  const another = client.beta.sessions.update(session.id, { budget: limit(5000) });
  await refused(Anthropic.BadRequestError, another, "budget_create_only");
}

export async function aModelWithoutAPriceTakesNoBudget(client) {
  await refused(Anthropic.BadRequestError, newSession(client, { budget: limit(500) }), "model_not_budgetable");
  for (const wrong of [limit("0"), limit("2.50"), { type: "limit" }]) {
    const session = newSession(client, { model: "script/priced", budget: wrong });
    await refused(Anthropic.BadRequestError, session, "budget.max_list_cost");
  }
}

export async function aSessionOverItsBudgetIsArchivedAndDeleted(client) {
  const [archived] = await spent(client);
  assert.equal((await client.beta.sessions.archive(archived.id)).status, "terminated");
  const [deleted] = await spent(client);
  assert.equal((await client.beta.sessions.delete(deleted.id)).type, "session_deleted");
}
