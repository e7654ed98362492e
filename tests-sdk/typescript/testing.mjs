// A runner of a few lines, so that nothing but the SDK need be installed; and what the tests share: as `python/testing.py`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import Anthropic from "@anthropic-ai/sdk";
import { VERSION } from "@anthropic-ai/sdk/version";

export const TOOLSET = { type: "agent_toolset_20260401" };
export const ASK_FIRST = { ...TOOLSET, default_config: { permission_policy: { type: "always_ask" } } };
export const WEATHER = {
  type: "custom",
  name: "weather",
  description: "tells the weather",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
export const INTERRUPT = { type: "user.interrupt" };

// Tests that run at once: most of a test is waiting.
const AT_ONCE = 6;

/** The SDK as anybody would make it. */
export function connect(options = {}) {
  return new Anthropic({
    baseURL: process.env.TENURE_URL,
    apiKey: process.env.TENURE_API_KEY,
    timeout: 60_000,
    ...options,
  });
}

/** A client, and the list of requests it has sent, its own repeats included. */
export function counting(options = {}) {
  const sent = [];
  const counted = (url, init) => {
    sent.push(String(url));
    return fetch(url, init);
  };
  return [connect({ fetch: counted, ...options }), sent];
}

export const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;

export async function newSession(client, { model = "script/greeter", tools = [], ...more } = {}) {
  const agent = await client.beta.agents.create({ name: unique("agent"), model, tools });
  const environment = await client.beta.environments.create({ name: unique("environment"), config: { type: "cloud" } });
  return client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, ...more });
}

export const message = (words) => ({ type: "user.message", content: [{ type: "text", text: words }] });

export const send = (client, session, ...events) => client.beta.sessions.events.send(session.id, { events });

export const say = (client, session, words) => send(client, session, message(words));

/** Sends the events and gives what the stream says until the session is idle. */
export async function turn(client, session, events, query = {}) {
  return streaming(client, session, query, async (stream) => {
    await send(client, session, ...[events].flat());
    return untilIdle(stream);
  });
}

/** Opens a stream for as long as `use` takes. Reading on continues where one left off, as in Python. */
export async function streaming(client, session, query, use, options) {
  const stream = await client.beta.sessions.events.stream(session.id, query, options);
  try {
    return await use(stream[Symbol.asyncIterator]());
  } finally {
    stream.controller.abort();
  }
}

/** What the stream says up to the first event that is wanted: one of a type, or one that a function likes. */
export async function until(events, wanted) {
  const likes = typeof wanted === "string" ? (event) => event.type === wanted : wanted;
  const seen = [];
  for (;;) {
    const { value, done } = await events.next();
    assert.ok(!done, `the stream ended before ${wanted}; saw ${types(seen)}`);
    seen.push(value);
    if (likes(value)) return seen;
  }
}

export const untilIdle = (events) => until(events, "session.status_idle");

export const types = (events) => events.map((event) => event.type);

export const ids = (things) => things.map((thing) => thing.id);

export const only = (events, kind) => events.filter((event) => event.type === kind);

export const text = (event) =>
  (event.content ?? []).filter((block) => block.type === "text").map((block) => block.text).join("");

/** All of a list, page by page. */
export async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

/** Expects an error of the SDK whose message has these words; gives it. */
export async function refused(kind, request, ...words) {
  const error = await request.then(
    () => assert.fail(`expected ${kind.name}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, `expected ${kind.name}, got ${error}`);
  assert.ok(error.requestID, `no request id: ${error}`);
  for (const word of words) assert.ok(error.message.includes(word), `expected ${word} in: ${error.message}`);
  return error;
}

/** The peer's name for what was wrong. */
export const code = (error) => error.error.error.details.error_code;

/** Fails after a minute, so that what hangs has a name. */
const late = () => new Promise((_, reject) => setTimeout(() => reject(new Error("it took a minute")), 60_000).unref());

/** Runs every behaviour, or those whose names hold a word of the command line; the last line counts them. */
export async function run(tests) {
  const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
  const chosen = Object.entries(tests).filter(([name]) => !words.length || words.some((word) => name.includes(word)));
  const waiting = [...chosen];
  const took = [];
  let failed = 0;
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, test] = next;
      const began = performance.now();
      try {
        await Promise.race([test(connect()), late()]);
      } catch (error) {
        failed += 1;
        console.error(`--- ${name} failed`, error);
      }
      took.push([performance.now() - began, name]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (process.argv.includes("--times")) {
    for (const [ms, name] of took.sort(([one], [other]) => one - other)) console.log(`${Math.round(ms)} ms  ${name}`);
  }
  console.log(`@anthropic-ai/sdk ${VERSION}: ${chosen.length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
