// Every behaviour, in one process, some at once.

import * as agents from "./agents.mjs";
import * as budgets from "./budgets.mjs";
import * as environments from "./environments.mjs";
import * as errors from "./errors.mjs";
import * as events from "./events.mjs";
import * as quickstart from "./quickstart.mjs";
import * as sessions from "./sessions.mjs";
import * as statuses from "./statuses.mjs";
import { run } from "./testing.mjs";
import * as tools from "./tools.mjs";
import * as turns from "./turns.mjs";

await run({
  ...quickstart, ...agents, ...environments, ...sessions, ...statuses, ...events, ...turns, ...tools, ...budgets, ...errors,
});
