// The quickstart: an agent, an environment, a session, a message, and the events while real tools run.

import assert from "node:assert/strict";

import { TOOLSET, all, ids, message, only, send, streaming, text, types, unique, untilIdle } from "./testing.mjs";

const TASK = "write a Fibonacci script to fib.py, run it, tell me the 20th number";

export async function quickstart(client) {
  const agent = await client.beta.agents.create({
    name: unique("Coding Assistant"),
    model: "script/fibonacci",
    system: "You are a helpful coding assistant.",
    tools: [TOOLSET],
  });
  const environment = await client.beta.environments.create({
    name: unique("quickstart"),
    config: { type: "cloud", networking: { type: "unrestricted" } },
  });
  const create = { agent: agent.id, environment_id: environment.id, title: "Quickstart" };
  const session = await client.beta.sessions.create(create);
  assert.equal(session.status, "idle");

  const seen = await streaming(client, session, {}, async (stream) => {
    await send(client, session, message(TASK));
    return untilIdle(stream);
  });
  assert.deepEqual(only(seen, "agent.tool_use").map((event) => event.name), ["write", "bash"]);
  const results = only(seen, "agent.tool_result");
  assert.ok(results.every((result) => !result.is_error));
  assert.equal(text(results.at(-1)).trim(), "6765");
  assert.match(text(only(seen, "agent.message").at(-1)), /6765/);
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");

  const kinds = types(seen);
  for (const [earlier, later] of [
    ["session.status_running", "span.model_request_start"],
    ["span.model_request_start", "agent.tool_use"],
    ["agent.tool_use", "agent.tool_result"],
    ["agent.tool_result", "session.thread_status_idle"],
    ["session.thread_status_idle", "session.status_idle"],
  ]) {
    assert.ok(kinds.indexOf(earlier) < kinds.indexOf(later), `${kinds}`);
  }
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle");
  assert.deepEqual(ids(await all(client.beta.sessions.events.list(session.id))), [...new Set(ids(seen))]);
}
