// Environments: what they are made of, how they change, and when they go.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { all, code, counting, ids, message, newSession, only, refused, text, turn, unique } from "./testing.mjs";

export async function environments(client) {
  const name = unique("environment");
  const made = await client.beta.environments.create({ name, config: { type: "cloud" } });
  assert.equal(made.config.networking.type, "unrestricted");
  assert.equal((await client.beta.environments.retrieve(made.id)).name, name);
  assert.ok(ids(await all(client.beta.environments.list())).includes(made.id));
  await refused(Anthropic.ConflictError, client.beta.environments.create({ name, config: { type: "cloud" } }));
  const networking = { type: "limited", allowed_hosts: ["example.com"] };
  const limited = client.beta.environments.create({ name: unique("limited"), config: { type: "cloud", networking } });
  await refused(Anthropic.BadRequestError, limited, "networking");
}

export async function environmentsChangeAndGo(client) {
  const environments = client.beta.environments;
  const made = await environments.create({
    name: unique("changing"),
    description: "first",
    metadata: { a: "1", b: "2" },
    config: { type: "cloud" },
  });
  const changed = await environments.update(made.id, { description: "second", metadata: { a: null, c: "3" } });
  assert.deepEqual([changed.name, changed.description, changed.metadata], [made.name, "second", { b: "2", c: "3" }]);
  assert.ok(changed.updated_at > made.updated_at);
  const unchanged = await environments.update(made.id, { config: { type: "cloud" } });
  assert.equal(unchanged.updated_at, changed.updated_at, "a change of nothing changes nothing");
  const moved = await refused(
    Anthropic.BadRequestError,
    environments.update(made.id, { config: { type: "self_hosted" } }),
    "type",
  );
  assert.equal(code(moved), "invalid_config_type_change");

  const agent = await client.beta.agents.create({ name: unique("tenant"), model: "script/greeter" });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: made.id });
  const [counted, sent] = counting();
  await refused(Anthropic.ConflictError, counted.beta.environments.delete(made.id));
  assert.equal(sent.length, 1, "a true conflict isn't retried");
  assert.ok((await environments.archive(made.id)).archived_at);
  for (const request of [
    () => environments.update(made.id, { name: unique("other") }),
    () => client.beta.sessions.create({ agent: agent.id, environment_id: made.id }),
  ]) {
    assert.equal(code(await refused(Anthropic.BadRequestError, request())), "environment_archived");
  }
  assert.ok(!ids(await all(environments.list())).includes(made.id));
  assert.ok(ids(await all(environments.list({ include_archived: true, limit: 3 }))).includes(made.id));
  assert.ok(text(only(await turn(client, session, message("still there?")), "agent.message")[0]));
  await client.beta.sessions.delete(session.id);
  assert.equal((await environments.delete(made.id)).type, "environment_deleted");
  const gone = await refused(Anthropic.NotFoundError, environments.retrieve(made.id));
  assert.equal(code(gone), "environment_not_found");
}
