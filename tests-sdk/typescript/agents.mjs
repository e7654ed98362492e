// Agents: versions, changes, and the sessions that hold on to them.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { TOOLSET, WEATHER, all, code, counting, ids, message, newSession, only, refused, text, turn, unique } from "./testing.mjs";

export async function agentsHaveVersions(client) {
  const agents = client.beta.agents;
  const agent = await agents.create({ name: unique("versioned"), model: "script/greeter" });
  assert.deepEqual([agent.version, agent.system], [1, null]);
  const same = await agents.update(agent.id, { version: 1, name: agent.name });
  assert.equal(same.version, 1, "an update that changes nothing makes no version");
  const changed = await agents.update(agent.id, { version: 1, system: "Be brief.", metadata: { team: "blue" } });
  assert.deepEqual([changed.version, changed.system, changed.metadata], [2, "Be brief.", { team: "blue" }]);
  await refused(Anthropic.ConflictError, agents.update(agent.id, { version: 1, system: "Be verbose." }));
  assert.deepEqual((await all(agents.versions.list(agent.id))).map((found) => found.version), [2, 1]);
  assert.equal((await agents.retrieve(agent.id, { version: 1 })).system, null);
  assert.equal((await agents.retrieve(agent.id)).system, "Be brief.");
}

export async function aConflictIsOneRequest(client) {
  const agent = await client.beta.agents.create({ name: unique("contested"), model: "script/greeter" });
  await client.beta.agents.update(agent.id, { version: 1, system: "Be brief." });
  const [counted, sent] = counting();
  const again = counted.beta.agents.update(agent.id, { version: 1, system: "Be brief." });
  await refused(Anthropic.ConflictError, again, "version 1", "version 2");
  assert.equal(sent.length, 1, "it isn't retried, though it would change nothing");
}

export async function updatesKeepReplaceAndClear(client) {
  const agents = client.beta.agents;
  const agent = await agents.create({
    name: unique("edited"),
    model: { id: "claude-sonnet-5", effort: "low" },
    system: "s",
    description: "d",
    tools: [TOOLSET, WEATHER],
    metadata: { a: "1", b: "2" },
  });
  assert.deepEqual([agent.model.effort.type, agent.model.speed], ["low", "standard"]);
  assert.deepEqual(agent.execution_identity, { type: "service_account" });
  const changed = await agents.update(agent.id, {
    system: null,
    description: "",
    tools: [WEATHER],
    metadata: { a: null, c: "3" },
    model: { id: "claude-sonnet-5" },
  });
  assert.deepEqual(
    [changed.version, changed.name, changed.system, changed.description],
    [2, agent.name, null, null],
  );
  assert.deepEqual([changed.metadata, changed.tools.map((tool) => tool.type)], [{ b: "2", c: "3" }, ["custom"]]);
  assert.equal(changed.model.effort.type, "low", "effort stays with its model");
  const moved = await agents.update(agent.id, { model: "claude-opus-5-5", tools: [] });
  assert.deepEqual([moved.model.id, moved.model.effort.type, moved.tools], ["claude-opus-5-5", "high", []]);
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, number) => [`${number}`, "v"]));
  const error = await refused(Anthropic.BadRequestError, agents.update(agent.id, { metadata: many }), "metadata");
  assert.equal(code(error), "invalid_metadata");
}

export async function sessionsPinAndOverride(client) {
  const session = await newSession(client);
  const agent = await client.beta.agents.update(session.agent.id, { system: "Be brief." });
  assert.equal((await client.beta.sessions.retrieve(session.id)).agent.version, 1);

  const create = (choice) =>
    client.beta.sessions
      .create({ agent: choice, environment_id: session.environment_id })
      .then((created) => created.agent);

  assert.equal((await create(agent.id)).version, 2);
  const pinned = await create({ type: "agent", id: agent.id, version: 1 });
  assert.deepEqual([pinned.version, pinned.system], [1, null]);
  const overridden = await create({ type: "agent_with_overrides", id: agent.id, system: null, tools: [WEATHER] });
  assert.deepEqual([overridden.version, overridden.system, overridden.tools[0].name], [2, null, "weather"]);
  assert.equal((await client.beta.agents.retrieve(agent.id)).system, "Be brief.");
  const bare = create({ type: "agent_with_overrides", id: agent.id, model: null });
  await refused(Anthropic.BadRequestError, bare, "agent_model_required");
}

export async function archivedAgentsTakeNoNewSessions(client) {
  const session = await newSession(client);
  const archived = await client.beta.agents.archive(session.agent.id);
  assert.ok(archived.archived_at);
  await refused(Anthropic.BadRequestError, client.beta.agents.update(archived.id, { version: 1, system: "Back?" }));
  const another = client.beta.sessions.create({ agent: archived.id, environment_id: session.environment_id });
  await refused(Anthropic.BadRequestError, another);
  assert.ok(!ids(await all(client.beta.agents.list())).includes(archived.id));
  assert.ok(ids(await all(client.beta.agents.list({ include_archived: true }))).includes(archived.id));
  assert.ok(text(only(await turn(client, session, message("still there?")), "agent.message")[0]));
}

export async function agentsComeInPages(client) {
  const agents = client.beta.agents;
  const made = [];
  for (let number = 0; number < 3; number += 1) {
    made.push(await agents.create({ name: unique("paged"), model: "script/greeter" }));
  }
  const [first, second, third] = ids(made);
  const since = made[0].created_at;
  const listed = async (query) => ids(await all(agents.list(query))).filter((id) => ids(made).includes(id));

  assert.deepEqual(await listed({ "created_at[gte]": since, limit: 1 }), [third, second, first]);
  assert.deepEqual(await listed({ "created_at[lte]": since }), [first]);
  await agents.archive(second);
  assert.deepEqual(await listed({ "created_at[gte]": since }), [third, first]);
  assert.deepEqual(await listed({ "created_at[gte]": since, include_archived: true }), [third, second, first]);
  for (const system of ["Be brief.", "Be briefer."]) await agents.update(first, { system });
  const page = await agents.versions.list(first, { limit: 2 });
  assert.deepEqual(page.data.map((found) => found.version), [3, 2]);
  assert.deepEqual((await page.getNextPage()).data.map((found) => found.version), [1]);
}
