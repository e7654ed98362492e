// What an application relies on beyond the quickstart, with the TypeScript SDK: as `python/behaviours.py`, the parts in
// which the two SDKs' transports differ.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import Anthropic from "@anthropic-ai/sdk";

const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;

/** The SDK as anybody would make it, counting the requests it sends, its own repeats included. */
function connect() {
  const sent = [];
  const client = new Anthropic({
    baseURL: process.env.TENURE_URL,
    apiKey: process.env.TENURE_API_KEY,
    timeout: 60_000,
    fetch: (url, options) => {
      sent.push(String(url));
      return fetch(url, options);
    },
  });
  return { client, sent };
}

async function newSession(client, more = {}) {
  const agent = await client.beta.agents.create({ name: unique("agent"), model: "script/greeter" });
  const environment = await client.beta.environments.create({ name: unique("environment"), config: { type: "cloud" } });
  return client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, ...more });
}

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function refused(kind, request) {
  const error = await request.then(
    () => assert.fail(`expected ${kind.name}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, `expected ${kind.name}, got ${error}`);
  assert.ok(error.requestID, "it has a request id");
  return error;
}

const tests = {
  async "a conflict is one request"() {
    const { client, sent } = connect();
    const agent = await client.beta.agents.create({ name: unique("contested"), model: "script/greeter" });
    await client.beta.agents.update(agent.id, { version: 1, system: "Be brief." });
    const before = sent.length;
    await refused(Anthropic.ConflictError, client.beta.agents.update(agent.id, { version: 1, system: "Be verbose." }));
    assert.equal(sent.length, before + 1);
    const versions = await all(client.beta.agents.versions.list(agent.id, { limit: 1 }));
    assert.deepEqual(versions.map((found) => found.version), [2, 1]);
  },

  async "environments change and go"() {
    const { client } = connect();
    const session = await newSession(client);
    const id = session.environment_id;
    const changed = await client.beta.environments.update(id, { description: "d", metadata: { a: "1" } });
    assert.deepEqual([changed.description, changed.metadata], ["d", { a: "1" }]);
    await refused(Anthropic.ConflictError, client.beta.environments.delete(id));
    assert.ok((await client.beta.environments.archive(id)).archived_at);
    const again = client.beta.sessions.create({ agent: session.agent.id, environment_id: id });
    const error = await refused(Anthropic.BadRequestError, again);
    assert.equal(error.error.error.details.error_code, "environment_archived");
    await client.beta.sessions.delete(session.id);
    assert.equal((await client.beta.environments.delete(id)).type, "environment_deleted");
  },

  async "sessions are found and come in pages both ways"() {
    const { client } = connect();
    const first = await newSession(client);
    const create = () =>
      client.beta.sessions.create({ agent: first.agent.id, environment_id: first.environment_id });
    const made = [first, await create(), await create(), await create()];
    const ids = (sessions) => sessions.map((session) => session.id);
    const list = (query) => client.beta.sessions.list({ agent_id: first.agent.id, ...query });
    assert.deepEqual(ids(await all(list({ limit: 1, order: "asc" }))), ids(made));
    assert.deepEqual(ids(await all(list({ "created_at[gt]": made[2].created_at }))), ids(made.slice(3)));
    assert.deepEqual(ids(await all(list({ "created_at[lte]": made[0].created_at }))), ids(made.slice(0, 1)));
    assert.deepEqual(await all(list({ statuses: ["running", "terminated"] })), []);
    assert.equal((await all(list({ statuses: ["running", "idle"] }))).length, 4);
    const page = await list({ limit: 2 });
    const second = await list({ limit: 2, page: page.next_page });
    assert.deepEqual(ids((await list({ limit: 2, page: second.prev_page })).data), ids(page.data));
    await refused(Anthropic.BadRequestError, list({ order: "asc", page: page.next_page }));
  },

  async "the primary thread"() {
    const { client } = connect();
    const session = await newSession(client);
    const [thread] = await all(client.beta.sessions.threads.list(session.id));
    const of = { session_id: session.id };
    const stream = await client.beta.sessions.threads.events.stream(thread.id, of);
    await client.beta.sessions.events.send(session.id, {
      events: [{ type: "user.message", content: [{ type: "text", text: "one" }] }],
    });
    for await (const event of stream) if (event.type === "session.status_idle") break;
    assert.equal((await client.beta.sessions.threads.retrieve(thread.id, of)).status, "idle");
    const listed = await all(client.beta.sessions.threads.events.list(thread.id, { ...of, limit: 3 }));
    const whole = await all(client.beta.sessions.events.list(session.id));
    assert.deepEqual(listed.map((event) => event.id), whole.map((event) => event.id));
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
  } catch (error) {
    failed += 1;
    console.error(`--- ${name} failed`, error);
  }
}
console.log(`@anthropic-ai/sdk 1.11.0: ${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
