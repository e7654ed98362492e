"""Every behaviour, in one process, some at once."""

import agents
import budgets
import environments
import errors
import events
import quickstart
import sessions
import statuses
import tools
import turns
from testing import run

MODULES = [quickstart, agents, environments, sessions, statuses, events, turns, tools, budgets, errors]

if __name__ == "__main__":
    run({name: test for module in MODULES for name, test in vars(module).items()})
