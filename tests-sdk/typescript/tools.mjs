// Tools: approvals, tools of the client's own, and the SDK's runner for them.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import {
  ASK_FIRST, INTERRUPT, TOOLSET, WEATHER, all, message, newSession, only, refused, send, text, turn, types, unique,
} from "./testing.mjs";

const confirmation = (call, result, more = {}) => ({
  type: "user.tool_confirmation",
  tool_use_id: call.id,
  result,
  ...more,
});

const resultOf = (call, words, more = {}) => ({
  type: "user.custom_tool_result",
  custom_tool_use_id: call.id,
  content: [{ type: "text", text: words }],
  ...more,
});

const asking = (client) => newSession(client, { model: "script/caller", tools: [ASK_FIRST] });
const ofTheClient = (client) => newSession(client, { model: "script/caller", tools: [WEATHER] });

export async function aCallWaitsForApproval(client) {
  const session = await asking(client);
  let seen = await turn(client, session, message("run it"));
  let [call] = only(seen, "agent.tool_use");
  assert.equal(call.evaluated_permission, "ask");
  assert.deepEqual(seen.at(-1).stop_reason, { type: "requires_action", event_ids: [call.id] });
  seen = await turn(client, session, confirmation(call, "allow"));
  assert.equal(text(only(seen, "agent.message")[0]), "The shell: it ran");

  [call] = only(await turn(client, session, message("run it again")), "agent.tool_use");
  const no = confirmation(call, "deny", { deny_message: "not today" });
  const [result] = only(await turn(client, session, no), "agent.tool_result");
  assert.ok(result.is_error && result.tool_use_id === call.id && text(result).includes("not today"));
  await refused(Anthropic.BadRequestError, send(client, session, no));
}

export async function someCallsAreAllowedAndOthersDenied(client) {
  const session = await asking(client);
  let seen = await turn(client, session, message("run both"));
  const [first, second] = only(seen, "agent.tool_use");
  assert.deepEqual(seen.at(-1).stop_reason.event_ids, [first.id, second.id]);
  seen = await turn(client, session, confirmation(first, "allow"));
  assert.deepEqual(seen.at(-1).stop_reason, { type: "requires_action", event_ids: [second.id] });
  assert.ok(!types(seen).includes("agent.message"), "the model isn't asked before all is answered");
  seen = await turn(client, session, confirmation(second, "deny", { deny_message: "once is enough" }));
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
  const results = await all(client.beta.sessions.events.list(session.id, { types: ["agent.tool_result"] }));
  const of = (call) => results.find((result) => result.tool_use_id === call.id);
  assert.deepEqual([of(first).is_error, text(of(first)).trim()], [false, "one"]);
  assert.ok(of(second).is_error && text(of(second)).includes("once is enough"));
}

export async function severalCallsAreAnsweredInOneRequest(client) {
  const session = await asking(client);
  const [first, second] = only(await turn(client, session, message("run both")), "agent.tool_use");
  const seen = await turn(client, session, [confirmation(second, "deny"), confirmation(first, "allow")]);
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
  assert.equal(only(seen, "agent.tool_result").length, 2);
}

export async function aMessageWaitsBehindAnApproval(client) {
  const session = await asking(client);
  const [call] = only(await turn(client, session, message("run it")), "agent.tool_use");
  const [queued] = (await send(client, session, message("run both"))).data;
  assert.equal(queued.processed_at, null);
  assert.equal((await client.beta.sessions.retrieve(session.id)).status, "idle");
  const seen = await turn(client, session, confirmation(call, "allow"));
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
  assert.equal(text(only(seen, "agent.message")[0]), "The shell: it ran");
}

export async function anInterruptEndsTheWaitForAnApproval(client) {
  const session = await asking(client);
  const [call] = only(await turn(client, session, message("run it")), "agent.tool_use");
  const seen = await turn(client, session, INTERRUPT);
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
  await refused(Anthropic.BadRequestError, send(client, session, confirmation(call, "allow")));
}

export async function aToolOfTheClient(client) {
  const session = await ofTheClient(client);
  let seen = await turn(client, session, message("the weather?"));
  const [call] = only(seen, "agent.custom_tool_use");
  assert.deepEqual([call.name, call.input], ["weather", { city: "Zurich" }]);
  assert.deepEqual(seen.at(-1).stop_reason.event_ids, [call.id]);
  seen = await turn(client, session, resultOf(call, "sunny"));
  assert.equal(text(only(seen, "agent.message")[0]), "The weather: sunny");
}

export async function toolsOfTheClientAreAnsweredOneByOne(client) {
  const session = await ofTheClient(client);
  let seen = await turn(client, session, message("the weather in both cities?"));
  const [zurich, oslo] = only(seen, "agent.custom_tool_use");
  assert.deepEqual([zurich.input, oslo.input], [{ city: "Zurich" }, { city: "Oslo" }]);
  seen = await turn(client, session, resultOf(oslo, "snow"));
  assert.deepEqual(seen.at(-1).stop_reason, { type: "requires_action", event_ids: [zurich.id] });
  seen = await turn(client, session, resultOf(zurich, "no signal", { is_error: true }));
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
  const answers = await all(client.beta.sessions.events.list(session.id, { types: ["user.custom_tool_result"] }));
  const told = answers.map((answer) => [answer.custom_tool_use_id, answer.is_error]);
  assert.deepEqual(told, [[oslo.id, false], [zurich.id, true]]);
  await refused(Anthropic.BadRequestError, send(client, session, resultOf(zurich, "sunny after all")));
}

export async function theToolRunnerOfTheSdkAnswersForTheClient(client) {
  const session = await ofTheClient(client);
  const asked = [];
  const weather = betaTool({
    name: "weather",
    description: "Tells the weather.",
    inputSchema: WEATHER.input_schema,
    run: ({ city }) => {
      asked.push(city);
      return `sunny in ${city}`;
    },
  });
  await send(client, session, message("the weather in both cities?"));
  const calls = await all(client.beta.sessions.events.toolRunner(session.id, { tools: [weather], maxIdleMs: 500 }));
  assert.deepEqual(calls.map((call) => [call.name, call.posted, call.isError]), [
    ["weather", true, false],
    ["weather", true, false],
  ]);
  assert.deepEqual(asked, ["Zurich", "Oslo"]);
  const said = await all(client.beta.sessions.events.list(session.id, { types: ["agent.message"] }));
  assert.equal(text(said.at(-1)), "The weather: sunny in Oslo");
}

export async function aToolThatIsSwitchedOffIsNotRun(client) {
  const off = { ...TOOLSET, configs: [{ name: "bash", enabled: false }] };
  const session = await newSession(client, { model: "script/caller", tools: [off] });
  assert.equal(session.agent.tools[0].configs[0].enabled, false);
  const seen = await turn(client, session, message("run it"));
  assert.equal(only(seen, "agent.tool_use")[0].evaluated_permission, "deny");
  assert.ok(only(seen, "agent.tool_result")[0].is_error);
  assert.equal(seen.at(-1).stop_reason.type, "end_turn");
}

export async function aQuestionIsAnsweredAsACallOrByAMessage(client) {
  const asking = { ...TOOLSET, configs: [{ name: "ask", enabled: true }] };
  const session = await newSession(client, { model: "script/caller", tools: [asking] });
  assert.equal(session.agent.tools[0].configs[0].name, "ask");
  let seen = await turn(client, session, message("which way?"));
  let [call] = only(seen, "agent.custom_tool_use");
  assert.deepEqual([call.name, call.input.question, call.question], ["ask", "Left or right?", true]);
  assert.deepEqual(seen.at(-1).stop_reason.event_ids, [call.id]);
  seen = await turn(client, session, resultOf(call, "left"));
  assert.equal(text(only(seen, "agent.message")[0]), "You said: left");

  [call] = only(await turn(client, session, message("and which way now?")), "agent.custom_tool_use");
  seen = await turn(client, session, message("right"));
  assert.equal(only(seen, "user.message")[0].answers, call.id);
  assert.equal(only(seen, "user.custom_tool_result")[0].custom_tool_use_id, call.id);
  assert.equal(text(only(seen, "agent.message")[0]), "You said: right");
}

export async function aPageIsFetchedByTheServer(client) {
  const session = await newSession(client, { model: "script/caller", tools: [TOOLSET] });
  const page = process.env.SDK_PAGE;
  const seen = await turn(client, session, message(page));
  const [call] = only(seen, "agent.tool_use");
  assert.deepEqual([call.name, call.input, call.evaluated_permission], ["web_fetch", { url: page }, "allow"]);
  let [result] = only(seen, "agent.tool_result");
  assert.ok(!result.is_error && text(result).includes("Title: A page") && text(result).includes("Welcome"), text(result));
  const elsewhere = message("http://169.254.169.254/latest/meta-data");
  [result] = only(await turn(client, session, elsewhere), "agent.tool_result");
  assert.ok(result.is_error && text(result).startsWith("url_not_allowed"), text(result));
  assert.equal((await client.beta.sessions.retrieve(session.id)).tenure.sandbox, "not_yet");
}

export async function aToolsetIsConfiguredToolByTool(client) {
  const configured = async (config) => {
    const tools = [{ ...TOOLSET, configs: [{ name: "web_fetch", ...config }] }];
    return (await client.beta.agents.create({ name: unique("reader"), model: "script/caller", tools })).tools[0];
  };
  const url_sources = { user_input: { type: "all" } };
  const allowed_domains = ["docs.example.com"];
  const [fetch] = (await configured({ allowed_domains, max_content_tokens: 2000, url_sources })).configs;
  assert.deepEqual([fetch.allowed_domains, fetch.max_content_tokens], [allowed_domains, 2000]);
  assert.deepEqual([fetch.blocked_domains, fetch.url_sources.user_input], [null, { type: "all" }]);
  for (const [wrong, words] of [
    [{ allowed_domains: [] }, "Empty list of domains is ambiguous"],
    [{ allowed_domains: ["a.com"], blocked_domains: ["b.com"] }, "Only one of"],
    [{ allowed_domains: ["10.0.0.1"] }, "IP addresses are not supported"],
    [{ permission_policy: { type: "auto" } }, "judge"],
  ]) {
    await refused(Anthropic.BadRequestError, configured(wrong), words);
  }
}

export async function longOutputIsKeptInAFile(client) {
  const session = await newSession(client, { model: "script/caller", tools: [TOOLSET] });
  const seen = await turn(client, session, message("count"));
  const shown = text(only(seen, "agent.tool_result")[0]);
  assert.ok(shown.includes("/workspace/.tenure/outputs/") && shown.length > 1000 && shown.length < 101_000);
  assert.equal(text(only(seen, "agent.message")[0]), "In the middle: 150000");
}
