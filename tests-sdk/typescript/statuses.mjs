// What may be archived and deleted in which status.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import {
  ASK_FIRST, INTERRUPT, all, message, newSession, only, refused, say, send, streaming, turn, types, until, untilIdle,
} from "./testing.mjs";

export async function anIdleSessionIsArchivedAndDeleted(client) {
  await goes(client, () => spoken(client));
}

export async function aSessionThatWaitsForAnApprovalIsArchivedAndDeleted(client) {
  await goes(client, async () => {
    const session = await newSession(client, { model: "script/caller", tools: [ASK_FIRST] });
    const seen = await turn(client, session, message("run it"));
    assert.equal(seen.at(-1).stop_reason.type, "requires_action");
    return session;
  });
}

export async function aRunningSessionIsInterruptedFirst(client) {
  const session = await newSession(client, { model: "script/slow" });
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "take your time");
    await until(stream, "span.model_request_start");
    assert.equal((await client.beta.sessions.retrieve(session.id)).status, "running");
    await stays(client, session);
    await send(client, session, INTERRUPT);
    await untilIdle(stream);
  });
  await client.beta.sessions.archive(session.id);
  await client.beta.sessions.delete(session.id);
}

export async function aReschedulingSessionIsInterruptedFirst(client) {
  const session = await newSession(client, { model: "claude-overloaded" });
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "are you there?");
    const seen = await until(stream, "session.status_rescheduled");
    const [{ error }] = only(seen, "session.error");
    assert.deepEqual([error.type, error.retry_status.type], ["model_overloaded_error", "retrying"]);
    assert.equal((await client.beta.sessions.retrieve(session.id)).status, "rescheduling");
    await stays(client, session);
    await send(client, session, INTERRUPT);
    assert.equal((await untilIdle(stream)).at(-1).stop_reason.type, "end_turn");
  });
  await client.beta.sessions.archive(session.id);
  await client.beta.sessions.delete(session.id);
}

export async function anArchivedSessionIsReadAndDeleted(client) {
  const session = await spoken(client);
  const archived = await client.beta.sessions.archive(session.id);
  const again = await client.beta.sessions.archive(session.id);
  assert.equal(again.archived_at, archived.archived_at, "again changes nothing");
  for (const request of [
    () => say(client, session, "anybody?"),
    () => send(client, session, INTERRUPT),
    () => client.beta.sessions.update(session.id, { title: "Other" }),
  ]) {
    await refused(Anthropic.BadRequestError, request(), "archived");
  }
  assert.ok(types(await all(client.beta.sessions.events.list(session.id))).includes("agent.message"));
  assert.equal((await client.beta.sessions.delete(session.id)).type, "session_deleted");
}

export async function anEndedSessionIsOnlyDeleted(client) {
  const session = await spoken(client);
  await client.post(`/v1/sessions/${session.id}/end`, { body: {} });
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "terminated");
  await refused(Anthropic.BadRequestError, client.beta.sessions.archive(session.id));
  assert.equal((await client.beta.sessions.delete(session.id)).type, "session_deleted");
}

async function spoken(client) {
  const session = await newSession(client);
  await turn(client, session, message("one"));
  return session;
}

/** One such session is archived, another deleted, the moment it says that it is idle. */
async function goes(client, make) {
  const archived = await client.beta.sessions.archive((await make()).id);
  assert.ok(archived.archived_at && archived.status === "terminated");
  const deleted = await client.beta.sessions.delete((await make()).id);
  await refused(Anthropic.NotFoundError, client.beta.sessions.retrieve(deleted.id));
}

async function stays(client, session) {
  await refused(Anthropic.BadRequestError, client.beta.sessions.archive(session.id), "interrupt");
  await refused(Anthropic.BadRequestError, client.beta.sessions.delete(session.id), "interrupt");
  assert.equal((await client.beta.sessions.retrieve(session.id)).archived_at, null);
}
