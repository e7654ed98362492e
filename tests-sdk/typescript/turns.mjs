// Turns: one after another, queued, interrupted.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import {
  INTERRUPT, TOOLSET, all, ids, message, newSession, only, refused, say, send, streaming, text, turn, types, until,
  untilIdle,
} from "./testing.mjs";

const SLOW = { model: "script/slow" };
const CALLER = { model: "script/caller", tools: [TOOLSET] };

/** A session whose model is asked and takes its time. */
async function busy(client, use, query = {}) {
  const session = await newSession(client, SLOW);
  return streaming(client, session, query, async (stream) => {
    await say(client, session, "take your time");
    await until(stream, "span.model_request_start");
    return use(session, stream);
  });
}

export async function aConversationGoesOnWhereItWas(client) {
  const session = await newSession(client, CALLER);
  await turn(client, session, message("remember: the key is under the mat"));
  const seen = await turn(client, session, message("what was it?"));
  assert.equal(text(only(seen, "agent.message").at(-1)), "It was: remember: the key is under the mat");
  const said = await all(client.beta.sessions.events.list(session.id, { types: ["user.message"] }));
  assert.deepEqual(said.map(text), ["remember: the key is under the mat", "what was it?"]);
  assert.ok((await client.beta.sessions.retrieve(session.id)).stats.active_seconds > 0);
}

export async function messagesCarryPicturesAndDocuments(client) {
  const session = await newSession(client);
  const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const content = [
    { type: "text", text: "what is this?" },
    { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } },
    { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
    { type: "document", title: "Notes", source: { type: "text", media_type: "text/plain", data: "a b c" } },
  ];
  await turn(client, session, { type: "user.message", content });
  const [said] = await all(client.beta.sessions.events.list(session.id, { types: ["user.message"] }));
  assert.deepEqual(types(said.content), ["text", "image", "image", "document"]);
  assert.deepEqual([said.content[1].source.data, said.content[3].title], [pixel, "Notes"]);
}

export async function queuedMessagesBeginTheNextTurnTogether(client) {
  await busy(client, async (session, stream) => {
    const queued = [];
    for (const words of ["first", "quick, please"]) queued.push((await say(client, session, words)).data[0]);
    assert.deepEqual(queued.map((event) => event.processed_at), [null, null]);
    const told = only(await until(stream, (event) => event.id === queued[1].id), "user.message");
    assert.deepEqual(told.map((event) => [event.id, event.processed_at]), ids(queued).map((id) => [id, null]));
    await send(client, session, INTERRUPT);
    await untilIdle(stream);
    const seen = await untilIdle(stream);
    const taken = only(seen, "user.message");
    assert.deepEqual(ids(taken), ids(queued));
    assert.ok(taken.every((event) => event.processed_at));
    assert.equal(only(seen, "agent.message").length, 1, "one turn for both");
    const listed = await all(client.beta.sessions.events.list(session.id, { types: ["user.message"] }));
    assert.deepEqual(ids(listed).slice(1), ids(queued), "each is listed once");
  });
}

export async function aQueuedMessageCanBeTakenBack(client) {
  await busy(client, async (session, stream) => {
    const [queued] = (await say(client, session, "quick, please")).data;
    const path = `/v1/sessions/${session.id}/queue`;
    assert.deepEqual(ids((await client.get(path)).data), [queued.id]);
    await client.delete(`${path}/${queued.id}`);
    assert.deepEqual((await client.get(path)).data, []);
    await send(client, session, INTERRUPT);
    await untilIdle(stream);
    assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle", "nothing waits");
  });
}

export async function anInterruptStopsTheTurn(client) {
  await busy(client, async (session, stream) => {
    const [queued] = (await say(client, session, "quick, please")).data;
    assert.equal(queued.processed_at, null, "it waits for its turn");
    await send(client, session, INTERRUPT);
    const first = await untilIdle(stream);
    const second = await untilIdle(stream);
    assert.equal(first.at(-1).stop_reason.type, "end_turn");
    assert.ok(types(first).includes("user.interrupt") && !types(first).includes("agent.message"));
    assert.equal(text(only(second, "agent.message")[0]), "A quick answer.");
    assert.deepEqual(ids(only(second, "user.message")), [queued.id]);
  });
}

export async function anInterruptStopsAModelThatSpeaks(client) {
  const session = await newSession(client, SLOW);
  await streaming(client, session, { event_deltas: ["agent.message"] }, async (stream) => {
    await say(client, session, "tell me a story");
    await until(stream, "event_delta");
    assert.ok((await send(client, session, INTERRUPT)).data[0].processed_at, "it has taken effect");
    const seen = await untilIdle(stream);
    assert.equal(seen.at(-1).stop_reason.type, "end_turn");
    const kinds = types(seen);
    assert.ok(!kinds.includes("agent.message"), "what was said in part is no message");
    assert.ok(kinds.indexOf("user.interrupt") < kinds.indexOf("session.status_idle"));
    assert.equal(only(seen, "span.model_request_end").length, 1);
  });
  assert.equal(text(only(await turn(client, session, message("quick")), "agent.message")[0]), "A quick answer.");
}

export async function anInterruptEndsAToolThatRuns(client) {
  const session = await newSession(client, CALLER);
  const ours = { query: { tenure_events: "1" } };
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "sleep");
    await until(stream, "tenure.call_started");
    await send(client, session, INTERRUPT);
    const seen = await untilIdle(stream);
    assert.equal(seen.at(-1).stop_reason.type, "end_turn");
    const [result] = only(seen, "agent.tool_result");
    assert.ok(result.is_error && text(result).includes("interrupted"), text(result));
    assert.ok(!types(seen).includes("agent.message"));
  }, ours);
  assert.equal(text(only(await turn(client, session, message("run it")), "agent.message")[0]), "The shell: it ran");
}

export async function anInterruptAndAMessageInOneRequest(client) {
  await busy(client, async (session, stream) => {
    await send(client, session, INTERRUPT, message("quick, please"));
    const first = await untilIdle(stream);
    const second = await untilIdle(stream);
    assert.ok(types(first).includes("user.interrupt") && !types(first).includes("agent.message"));
    assert.equal(text(only(second, "agent.message")[0]), "A quick answer.");
  });
}

export async function anInterruptOfAnIdleSessionChangesNothing(client) {
  const session = await newSession(client);
  await send(client, session, INTERRUPT);
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle");
  assert.equal(only(await turn(client, session, message("one")), "agent.message").length, 1);
}

export async function aMessageCanSteerTheTurn(client) {
  const session = await newSession(client, { ...SLOW, tools: [TOOLSET] });
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "look around");
    await until(stream, "span.model_request_start");
    const [sent] = (await send(client, session, { ...message("quick, please"), delivery: "steer" })).data;
    assert.deepEqual([sent.processed_at, sent.delivery], [null, "steer"]);
    const seen = await untilIdle(stream);
    const told = seen.filter((event) => event.id === sent.id).map((event) => event.processed_at === null);
    assert.deepEqual(told, [true, false]);
    const [result] = only(seen, "agent.tool_result");
    assert.ok(result.is_error && text(result).startsWith("not run"), text(result));
    assert.equal(text(only(seen, "agent.message")[0]), "A quick answer.");
    assert.ok(!types(seen).includes("session.status_running"), "it is the same turn");
  });
}

export async function whoRunsTheAgentInstructsItInBetween(client) {
  const session = await newSession(client);
  const instruct = { type: "system.message", content: [{ type: "text", text: "Be brief." }] };
  const [alone] = (await send(client, session, instruct)).data;
  assert.deepEqual([alone.type, text(alone)], ["system.message", "Be brief."]);
  assert.ok(alone.processed_at);
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle", "it begins no turn");
  const kinds = types(await turn(client, session, [message("one"), instruct]));
  assert.ok(kinds.indexOf("user.message") < kinds.indexOf("system.message"));
  assert.ok(kinds.indexOf("system.message") < kinds.indexOf("span.model_request_start"));
  const listed = await all(client.beta.sessions.events.list(session.id, { types: ["system.message"] }));
  assert.deepEqual(listed.map(text), ["Be brief.", "Be brief."]);
  for (const wrong of [[instruct, message("two")], [message("two"), instruct, instruct]]) {
    await refused(Anthropic.BadRequestError, send(client, session, ...wrong), "events.");
  }
  const older = await newSession(client, { model: "claude-sonnet-4-5" });
  const told = send(client, older, instruct);
  await refused(Anthropic.BadRequestError, told, "model_does_not_support_mid_conversation_system");
}

export async function aConversationThatIsTooLongIsSummedUp(client) {
  const session = await newSession(client, { model: "script/forgetful" });
  const told = [];
  for (let number = 0; number < 4; number += 1) {
    told.push(await turn(client, session, message(`Hello number ${number}. `.repeat(100))));
  }
  const seen = told.find((events) => types(events).includes("agent.thread_context_compacted"));
  assert.deepEqual(types(seen).slice(3, 9), [
    "span.model_request_start",
    "span.model_request_end",
    "agent.thread_context_compacted",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
  ]);
  const [summedUp] = only(seen, "agent.thread_context_compacted");
  assert.equal(summedUp.summary, "They have greeted each other at length.");
  assert.ok(told.every((events) => text(only(events, "agent.message")[0]) === "Noted."));
  const said = await all(client.beta.sessions.events.list(session.id, { types: ["user.message"] }));
  assert.equal(said.length, 4, "nothing is lost");
}
