// Sessions: what they are told at their creation, how they are found, and how they end.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import {
  TOOLSET, all, ids, message, newSession, only, refused, say, streaming, text, turn, types, until, untilIdle,
} from "./testing.mjs";

export async function sessions(client) {
  const session = await newSession(client, { title: "First", metadata: { a: "1", b: "2" } });
  const updated = await client.beta.sessions.update(session.id, { title: "Second", metadata: { b: null, c: "3" } });
  assert.deepEqual([updated.title, updated.metadata], ["Second", { a: "1", c: "3" }]);
  assert.equal((await client.beta.sessions.retrieve(session.id)).title, "Second");
  assert.ok((await client.beta.sessions.archive(session.id)).archived_at);
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "terminated");
  await refused(Anthropic.BadRequestError, say(client, session, "anybody?"));
  assert.equal((await client.beta.sessions.delete(session.id)).type, "session_deleted");
  await refused(Anthropic.NotFoundError, client.beta.sessions.retrieve(session.id));
}

export async function thePrimaryThread(client) {
  const session = await newSession(client);
  const [thread] = await all(client.beta.sessions.threads.list(session.id));
  assert.deepEqual([thread.status, thread.parent_thread_id, thread.agent.id], ["idle", null, session.agent.id]);
  const of = { session_id: session.id };
  const stream = await client.beta.sessions.threads.events.stream(thread.id, of);
  await say(client, session, "one");
  const seen = await untilIdle(stream[Symbol.asyncIterator]());
  stream.controller.abort();
  const told = seen.filter((event) => event.type.startsWith("session.thread_"));
  assert.deepEqual(new Set(told.map((event) => event.session_thread_id)), new Set([thread.id]));
  const listed = await all(client.beta.sessions.threads.events.list(thread.id, { ...of, limit: 3 }));
  assert.deepEqual(ids(listed), ids(await all(client.beta.sessions.events.list(session.id))));
  const now = await client.beta.sessions.threads.retrieve(thread.id, of);
  assert.ok(now.usage && now.stats.active_seconds > 0);
  assert.deepEqual(await all(client.beta.sessions.threads.list(session.id, { "statuses[]": "running" })), []);
  const archiving = client.beta.sessions.threads.archive(thread.id, of);
  await refused(Anthropic.BadRequestError, archiving, "primary thread");
  await client.beta.sessions.archive(session.id);
  const [over] = await all(client.beta.sessions.threads.list(session.id));
  assert.equal(over.status, "terminated");
}

export async function sessionsEndByThemselvesAsTold(client) {
  const lifetimes = { idle_seconds: 600, then: "end", end_when_agent_exits: true };
  const session = await newSession(client, { lifetimes });
  assert.equal(session.tenure.lifetimes.outcome, "timed_out");
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "one");
    await until(stream, "session.status_terminated");
  });
  const over = await client.beta.sessions.retrieve(session.id);
  assert.deepEqual([over.status, over.archived_at, over.tenure.phase], ["terminated", null, "completed"]);
}

export async function sessionsComeInPages(client) {
  const first = await newSession(client);
  const made = [first];
  for (let number = 0; number < 4; number += 1) {
    made.push(await client.beta.sessions.create({ agent: first.agent.id, environment_id: first.environment_id }));
  }
  const list = (query) => client.beta.sessions.list({ agent_id: first.agent.id, limit: 2, ...query });
  const newestFirst = ids(made).reverse();
  assert.deepEqual(ids(await all(list())), newestFirst);
  assert.deepEqual(ids(await all(list({ order: "asc" }))), ids(made));
  const page = await list();
  assert.ok(page.data.length === 2 && page.hasNextPage());
  const second = await page.getNextPage();
  assert.deepEqual(ids((await list({ page: second.prev_page })).data), newestFirst.slice(0, 2), "and back");
  await refused(Anthropic.BadRequestError, list({ order: "asc", page: page.next_page }), "order=desc");
  await refused(Anthropic.BadRequestError, client.beta.sessions.list({ page: "page_nonsense" }), "page");
}

export async function sessionsAreFound(client) {
  const first = await newSession(client);
  const create = () =>
    client.beta.sessions.create({ agent: first.agent.id, environment_id: first.environment_id });
  const again = await create();
  await client.beta.agents.update(first.agent.id, { system: "Be brief." });
  const newer = await create();
  const found = async (query = {}) =>
    ids(await all(client.beta.sessions.list({ agent_id: first.agent.id, ...query })));

  assert.deepEqual(await found({ agent_version: 1 }), [again.id, first.id]);
  assert.deepEqual(await found({ agent_version: 2 }), [newer.id]);
  assert.deepEqual(await found({ "created_at[gt]": again.created_at }), [newer.id]);
  assert.deepEqual(await found({ "created_at[gte]": again.created_at, order: "asc" }), [again.id, newer.id]);
  assert.deepEqual(await found({ "created_at[lt]": again.created_at }), [first.id]);
  assert.deepEqual(await found({ "created_at[lte]": again.created_at }), [again.id, first.id]);
  await client.beta.sessions.archive(again.id);
  assert.deepEqual(await found(), [newer.id, first.id]);
  assert.deepEqual(await found({ include_archived: true }), [newer.id, again.id, first.id]);
  assert.deepEqual(await found({ statuses: ["idle"] }), [newer.id, first.id]);
  assert.deepEqual(await found({ statuses: ["running", "rescheduling"] }), []);
  assert.deepEqual(await found({ statuses: ["terminated", "running"], include_archived: true }), [again.id]);
  await refused(Anthropic.BadRequestError, client.beta.sessions.list({ agent_version: 1 }), "agent_version");
}

export async function sessionsAreFoundByTheirLabels(client) {
  const web = await newSession(client, { labels: ["web", "nightly"] });
  const other = await newSession(client, { labels: ["web"] });
  assert.deepEqual(web.tenure.labels, ["nightly", "web"]);
  const found = async (...labels) => {
    const listed = await all(client.beta.sessions.list({ limit: 1, "created_at[gte]": web.created_at, labels }));
    return ids(listed).filter((id) => [web.id, other.id].includes(id));
  };
  assert.deepEqual(await found("web"), [other.id, web.id]);
  assert.deepEqual(await found("nightly", "web"), [web.id]);
  const changed = await client.beta.sessions.update(other.id, { labels: ["nightly"] });
  assert.deepEqual(changed.tenure.labels, ["nightly"]);
  assert.deepEqual(await found("web"), [web.id]);
  const wrong = client.beta.sessions.update(other.id, { labels: ["two words"] });
  await refused(Anthropic.BadRequestError, wrong, "labels.0");
}

export async function aSessionCanBeginWithAMessage(client) {
  const session = await newSession(client, { initial_events: [message("begin")] });
  const seen = await streaming(client, session, {}, untilIdle, { query: { after: "0" } });
  assert.ok(text(only(seen, "agent.message")[0]).startsWith("Hello! You said: begin."));
}

export async function changesAreToldOnTheStream(client) {
  const session = await newSession(client, { title: "First" });
  await streaming(client, session, {}, async (stream) => {
    await client.beta.sessions.update(session.id, { title: "Second", metadata: { team: "blue" } });
    let told = (await until(stream, "session.updated")).at(-1);
    assert.deepEqual([told.title, told.metadata], ["Second", { team: "blue" }]);
    await client.beta.sessions.update(session.id, { title: "Second" });
    await client.beta.sessions.update(session.id, { agent: { tools: [TOOLSET] } });
    told = (await until(stream, "session.updated")).at(-1);
    assert.deepEqual([told.agent.tools[0].type, told.title], [TOOLSET.type, undefined], "what changed, nothing else");
  });
}

export async function aDeletedSessionsStreamSaysSoAndEnds(client) {
  const session = await newSession(client);
  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.delete(session.id);
  assert.deepEqual(types(await all(stream)), ["session.deleted"]);
  for (const gone of [
    () => client.beta.sessions.retrieve(session.id),
    () => client.beta.sessions.events.list(session.id),
    () => client.beta.sessions.events.stream(session.id),
    () => say(client, session, "anybody?"),
    () => client.beta.sessions.delete(session.id),
  ]) {
    await refused(Anthropic.NotFoundError, gone());
  }
}
