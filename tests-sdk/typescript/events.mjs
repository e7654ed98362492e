// Events: their order, their list, their stream, and what is seen of them before they are whole.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { accumulateManagedAgentsEvent } from "@anthropic-ai/sdk/lib/sessions/accumulate";
import {
  INTERRUPT, TOOLSET, all, ids, message, newSession, only, refused, say, send, streaming, text, turn, types, until,
  untilIdle,
} from "./testing.mjs";

export async function aTurnInOrder(client) {
  const session = await newSession(client);
  const seen = await turn(client, session, message("one"));
  assert.deepEqual(types(seen).filter((kind) => kind !== "user.message"), [
    "session.status_running",
    "session.thread_status_running",
    "span.model_request_start",
    "agent.thinking",
    "agent.message",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
  ]);
  const [start] = only(seen, "span.model_request_start");
  assert.equal(only(seen, "span.model_request_end")[0].model_request_start_id, start.id);
  assert.ok(seen.every((event) => event.processed_at));
}

export async function aTurnWithAToolInOrder(client) {
  const session = await newSession(client, { model: "script/caller", tools: [TOOLSET] });
  const seen = await turn(client, session, message("run it"));
  assert.deepEqual(types(seen), [
    "session.status_running",
    "session.thread_status_running",
    "user.message",
    "span.model_request_start",
    "agent.tool_use",
    "span.model_request_end",
    "agent.tool_result",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
  ]);
  const ends = only(seen, "span.model_request_end").map((end) => end.model_request_start_id);
  assert.deepEqual(ends, ids(only(seen, "span.model_request_start")));
  const moments = seen.map((event) => event.processed_at);
  assert.deepEqual(moments, [...moments].sort());
}

export async function eventsAreListed(client) {
  const session = await newSession(client);
  await turn(client, session, message("one"));
  await turn(client, session, message("two"));
  const list = async (query) => all(client.beta.sessions.events.list(session.id, query));
  const everything = ids(await list());
  assert.deepEqual(ids(await list({ limit: 3 })), everything);
  assert.deepEqual(ids(await list({ limit: 3, order: "desc" })), [...everything].reverse());
  const said = await list({ types: ["user.message"] });
  assert.deepEqual(said.map(text), ["one", "two"]);
  assert.ok(said.every((event) => event.processed_at));
}

export async function eventsAreFoundByTheirTime(client) {
  const session = await newSession(client);
  await turn(client, session, message("one"));
  await turn(client, session, message("two"));
  const list = (query) => client.beta.sessions.events.list(session.id, query);
  const [first, second] = await all(list({ types: ["user.message"] }));
  const said = async (query) => (await all(list({ types: ["user.message"], ...query }))).map(text);

  assert.deepEqual(await said({ "created_at[gt]": first.processed_at }), ["two"]);
  assert.deepEqual(await said({ "created_at[gte]": second.processed_at }), ["two"]);
  assert.deepEqual(await said({ "created_at[lt]": second.processed_at }), ["one"]);
  assert.deepEqual(await said({ "created_at[lte]": first.processed_at }), ["one"]);
  const both = types(await all(list({ types: ["agent.message", "session.status_idle"], limit: 1 })));
  assert.deepEqual(both, ["agent.message", "session.status_idle", "agent.message", "session.status_idle"]);
  const page = await list({ limit: 3 });
  await refused(Anthropic.BadRequestError, list({ order: "desc", page: page.next_page }), "order");
}

/** The raw frames of a stream up to the first `session.status_idle`: cursors and events. */
async function frames(client, session, options) {
  const answer = await client.beta.sessions.events.stream(session.id, {}, options).asResponse();
  const found = [];
  let cursor, rest = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("id:")) cursor = line.slice(3).trim();
      if (!line.startsWith("data:")) continue;
      found.push([cursor, JSON.parse(line.slice(5))]);
      if (found.at(-1)[1].type === "session.status_idle") return found;
    }
  }
  throw new Error("the stream ended");
}

export async function aStreamResumesFromAnyCursor(client) {
  const session = await newSession(client);
  await turn(client, session, message("one"));
  const whole = await frames(client, session, { query: { after: "0" } });
  assert.ok(whole.every(([cursor]) => cursor), "every stored event has a cursor");
  for (const at of [0, Math.floor(whole.length / 2), whole.length - 2]) {
    const cursor = whole[at][0];
    const rest = whole.slice(at + 1);
    assert.deepEqual(await frames(client, session, { headers: { "Last-Event-ID": cursor } }), rest);
    assert.deepEqual(await frames(client, session, { query: { after: cursor } }), rest);
  }
  // Over the seam: what is stored and what comes live, without loss or doubling.
  const speaking = new Promise((resolve) => setTimeout(resolve, 300)).then(() => say(client, session, "two"));
  const resumed = { headers: { "Last-Event-ID": whole[2][0] } };
  await streaming(client, session, {}, async (stream) => {
    const first = await untilIdle(stream);
    assert.deepEqual(ids(first), whole.slice(3).map(([, event]) => event.id));
    assert.ok(types(await untilIdle(stream)).includes("agent.message"));
  }, resumed);
  await speaking;
  const beyond = { headers: { "Last-Event-ID": "999999" } };
  await refused(Anthropic.BadRequestError, client.beta.sessions.events.stream(session.id, {}, beyond));
}

export async function textIsPreviewed(client) {
  const session = await newSession(client);
  const seen = await turn(client, session, message("one"), { event_deltas: ["agent.message"] });
  const [said] = only(seen, "agent.message");
  const deltas = only(seen, "event_delta");
  assert.deepEqual(only(seen, "event_start").map((started) => started.event.id), [said.id]);
  assert.ok(deltas.length > 1 && deltas.every((delta) => delta.event_id === said.id), "it comes in pieces");
  assert.equal(deltas.map((delta) => delta.delta.content.text).join(""), text(said));
  const plain = await turn(client, session, message("two"));
  assert.ok(!types(plain).includes("event_delta"), "only when asked for");
  const nonsense = client.beta.sessions.events.stream(session.id, { event_deltas: ["nonsense"] });
  await refused(Anthropic.BadRequestError, nonsense, "event_deltas");
}

export async function theAccumulatorOfTheSdkFollowsAPreview(client) {
  const session = await newSession(client);
  const snapshots = [];
  let soFar;
  for (const event of await turn(client, session, message("one"), { event_deltas: ["agent.message", "agent.thinking"] })) {
    soFar = accumulateManagedAgentsEvent(soFar, event);
    if (event.type === "event_delta") snapshots.push(text(soFar));
    if (event.type === "agent.message") assert.deepEqual([soFar.id, snapshots.at(-1)], [event.id, text(event)]);
  }
  assert.ok(snapshots.length > 1, "it comes in pieces");
  assert.ok(snapshots.slice(1).every((later, at) => later.startsWith(snapshots[at])));
}

export async function whoComesInTheMiddleOfAMessageGetsTheTextSoFar(client) {
  const session = await newSession(client, { model: "script/slow" });
  const previews = { event_deltas: ["agent.message"] };
  await streaming(client, session, previews, async (first) => {
    await say(client, session, "tell me a story");
    let whole;
    await until(first, (event) => {
      whole = accumulateManagedAgentsEvent(whole, event);
      return whole !== undefined && text(whole).length > 40;
    });
    let late;
    await streaming(client, session, previews, (second) =>
      until(second, (event) => {
        late = accumulateManagedAgentsEvent(late, event);
        return event.type === "event_delta";
      }),
    );
    assert.equal(late.id, whole.id);
    assert.ok(text(late).startsWith(text(whole)));
    await send(client, session, INTERRUPT);
  });
}
