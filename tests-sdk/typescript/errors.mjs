// Requests: the errors the SDK raises, repeats, and fields that nobody knows.

import assert from "node:assert/strict";
import http from "node:http";

import Anthropic from "@anthropic-ai/sdk";
import { all, connect, counting, message, newSession, refused, say, send, streaming, unique, until } from "./testing.mjs";

export async function errorsHaveTheirTypes(client) {
  await refused(Anthropic.NotFoundError, client.beta.sessions.retrieve("sesn_000000000000000000000000"));
  const session = await newSession(client);
  await refused(Anthropic.BadRequestError, client.beta.sessions.update(session.id, { title: 7 }), "title");
  await refused(Anthropic.BadRequestError, send(client, session, { type: "user.message" }), "content");
  const half = send(client, session, message("good"), { type: "user.nonsense" });
  await refused(Anthropic.BadRequestError, half, "events.1");
  assert.deepEqual(await all(client.beta.sessions.events.list(session.id)), [], "nothing is half done");
  const of = { agent: session.agent.id, environment_id: session.environment_id };
  const vaulted = client.beta.sessions.create({ ...of, vault_ids: ["vlt_000000000000000000000000"] });
  await refused(Anthropic.BadRequestError, vaulted, "vault_ids");
  const stranger = connect({ apiKey: "not-a-key", maxRetries: 0 });
  await refused(Anthropic.AuthenticationError, stranger.beta.sessions.retrieve(session.id));
}

export async function aRefusalIsOneRequest(client) {
  const session = await newSession(client);
  const [counted, sent] = counting();
  await refused(Anthropic.BadRequestError, say(counted, session, ""));
  const [stranger, asked] = counting({ apiKey: "not-a-key" });
  await refused(Anthropic.AuthenticationError, stranger.beta.sessions.retrieve(session.id));
  assert.deepEqual([sent.length, asked.length], [1, 1]);
}

export async function aHostThatIsNotOursIsRefused() {
  // `fetch` sets the host itself, so this goes by node's own client.
  const visiting = connect({ fetch: (url, init) => visit(url, init, { host: "evil.example" }) });
  await refused(Anthropic.PermissionDeniedError, visiting.beta.agents.list(), "evil.example");
}

function visit(url, init, more) {
  return new Promise((resolve, reject) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), ...more };
    const request = http.request(url, { method: init.method, headers }, (answer) => {
      let body = "";
      answer.on("data", (chunk) => (body += chunk));
      answer.on("end", () => resolve(new Response(body, { status: answer.statusCode, headers: answer.headers })));
    });
    request.on("error", reject);
    request.end(init.body);
  });
}

export async function aBodyThatIsTooLargeIsRefused(client) {
  const session = await newSession(client);
  const hurried = client.withOptions({ maxRetries: 0 });
  await refused(Anthropic.ContentTooLargeError, say(hurried, session, "x".repeat(33 << 20)));
  const wordy = client.beta.agents.create({ name: unique("wordy"), model: "script/greeter", system: "x".repeat(100_001) });
  await refused(Anthropic.BadRequestError, wordy, "system");
}

export async function moreInputThanMayWaitIsARateLimit(client) {
  const session = await newSession(client, { model: "script/slow" });
  await streaming(client, session, {}, async (stream) => {
    await say(client, session, "take your time");
    await until(stream, "span.model_request_start");
    const hurried = client.withOptions({ maxRetries: 0 });
    await send(hurried, session, ...Array.from({ length: 1000 }, () => message("more")));
    const error = await refused(Anthropic.RateLimitError, say(hurried, session, "one too many"));
    assert.ok(Number(error.headers.get("retry-after")) > 0);
  });
  await client.post(`/v1/sessions/${session.id}/end`, { body: {} });
}

export async function aKeyComesInEitherHeader() {
  const key = process.env.TENURE_API_KEY;
  const bare = connect();
  for (const headers of [{ "X-Api-Key": key, Authorization: null }, { "X-Api-Key": null, Authorization: `Bearer ${key}` }]) {
    assert.ok((await bare.beta.sessions.list({ limit: 1 }, { headers })).data);
  }
}

export async function answersHaveRequestIds(client) {
  const session = await newSession(client);
  assert.match(session._request_id, /^req_/);
  assert.notEqual((await say(client, session, "one"))._request_id, session._request_id);
}

export async function anIdempotencyKeyMakesARepeatHarmless(client) {
  const session = await newSession(client);
  const options = { headers: { "Idempotency-Key": unique("key") } };
  const once = () => client.beta.sessions.events.send(session.id, { events: [message("once")] }, options);
  assert.equal((await once()).data[0].id, (await once()).data[0].id);
  assert.equal((await all(client.beta.sessions.events.list(session.id, { types: ["user.message"] }))).length, 1);
}

export async function unknownFieldsAreNamed(client) {
  const { response } = await client.beta.agents
    .create({ name: unique("curious"), model: "script/greeter", favourite_colour: "green" })
    .withResponse();
  assert.match(response.headers.get("x-tenure-ignored"), /favourite_colour/);
}
