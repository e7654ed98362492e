// The quickstart of `python/quickstart.py`, with the TypeScript SDK.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import Anthropic from "@anthropic-ai/sdk";

const TASK = "write a Fibonacci script to fib.py, run it, tell me the 20th number";
const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;
const text = (event) => (event.content ?? []).map((block) => block.text ?? "").join("");

async function quickstart() {
  const client = new Anthropic({
    baseURL: process.env.TENURE_URL,
    apiKey: process.env.TENURE_API_KEY,
    timeout: 60_000,
  });
  const agent = await client.beta.agents.create({
    name: unique("Coding Assistant"),
    model: "script/fibonacci",
    system: "You are a helpful coding assistant.",
    tools: [{ type: "agent_toolset_20260401" }],
  });
  const environment = await client.beta.environments.create({
    name: unique("quickstart"),
    config: { type: "cloud", networking: { type: "unrestricted" } },
  });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  assert.equal(session.status, "idle");

  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.events.send(session.id, {
    events: [{ type: "user.message", content: [{ type: "text", text: TASK }] }],
  });
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (event.type === "session.status_idle") break;
  }
  const only = (kind) => seen.filter((event) => event.type === kind);
  assert.deepEqual(only("agent.tool_use").map((event) => event.name), ["write", "bash"]);
  assert.equal(text(only("agent.tool_result").at(-1)).trim(), "6765");
  assert.match(text(only("agent.message").at(-1)), /6765/);
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");

  const listed = [];
  for await (const event of client.beta.sessions.events.list(session.id)) listed.push(event.id);
  assert.deepEqual(listed, [...new Set(seen.map((event) => event.id))]);
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle");
}

let failed = 0;
try {
  await quickstart();
} catch (error) {
  failed = 1;
  console.error(error);
}
console.log(`@anthropic-ai/sdk 1.11.0: ${1 - failed} passed, ${failed} failed`);
process.exit(failed);
