"""Where processes die in the crash table, who dies there, and what follows."""

# Who dies. The first is killed while the second stands at the place, or the one at the place dies by itself.
SERVER, SUPERVISOR, KEEPER = "server", "supervisor", "keeper"
BOTH, WITH_KEEPER = "server and supervisor", "server and keeper"
VICTIMS = (SERVER, SUPERVISOR, KEEPER, BOTH, WITH_KEEPER)

# What may be seen afterwards. In all cases each call has exactly one result, and nothing is done twice.
ONCE = "once"
INTERRUPTED = "interrupted"
EITHER = "either"
OUTCOMES = {
    ONCE: "every call was carried out exactly once and has its result",
    INTERRUPTED: "the call at the place is reported once as interrupted, outcome unknown, and was carried out at most once; "
    "every other call exactly once",
    EITHER: "one or the other, by whether an order had reached the keeper (where a result is acknowledged, that of the next call)",
}


def everywhere(outcome, **others):
    return {victim: others.get(victim.replace(" ", "_"), outcome) for victim in VICTIMS}


def without_server(outcome):
    """A place in the keeper: the keeper itself, or the supervisor with it, dies, or only the server does."""
    return {SERVER: ONCE, SUPERVISOR: outcome, KEEPER: outcome, BOTH: outcome, WITH_KEEPER: outcome}


ALL_ONCE = everywhere(ONCE)
ONLY_SERVER = {SERVER: ONCE}
SUPERVISORS = {SERVER: ONCE, SUPERVISOR: ONCE, BOTH: ONCE}
WITHOUT_KEEPER = {SERVER: ONCE, BOTH: ONCE}
SUPERVISOR_ALONE = {SUPERVISOR: ONCE, BOTH: ONCE}
NO_KEEPER = {SERVER: ONCE, SUPERVISOR: ONCE, BOTH: ONCE}
IN_FLIGHT = everywhere(EITHER, server=ONCE)

# The scenario, what the place is, its name, how many passes of it to try, and the outcome by victim.
# In a turn the model is asked twice, and asks for all six tools at once; they run one after another.
TABLE = [
    ("turn", "a message is stored, unanswered", "input_committed.send", (1,), ALL_ONCE),
    ("turn", "the answer is on its way, unmarked", "before_answer_mark", (1,), ONLY_SERVER),
    ("turn", "the client has its answer", "answered", (1,), {SERVER: ONCE, BOTH: EITHER, WITH_KEEPER: EITHER}),
    ("turn", "before the model is asked", "before_dispatch.call_model", (1, 2), ALL_ONCE),
    ("turn", "the model has been asked", "after_dispatch.call_model", (1, 2), ALL_ONCE),
    ("turn", "before the reply is stored", "before_result_commit.finish_attempt", (1, 2), ALL_ONCE),
    ("turn", "the reply is stored", "after_result_commit.finish_attempt", (1, 2), ALL_ONCE),
    ("cold turn", "before the sandbox is ordered", "before_dispatch.start_sandbox", (1,), ONLY_SERVER),
    ("cold turn", "the sandbox is ordered", "after_dispatch.start_sandbox", (1,), ONLY_SERVER),
    ("cold turn", "supervisor: the cgroups are made", "supervisor.grouped", (1,), SUPERVISORS),
    ("cold turn", "supervisor: the keeper is forked", "supervisor.forked", (1,), SUPERVISORS),
    ("cold turn", "supervisor: the sandbox is made, the server not told", "supervisor.made", (1,), SUPERVISORS),
    ("cold turn", "before `sandbox_running` is stored", "before_result_commit.report_sandbox", (1,), ALL_ONCE),
    ("cold turn", "`sandbox_running` is stored", "after_result_commit.report_sandbox", (1,), ALL_ONCE),
    ("turn", "before the call is ordered", "before_dispatch.run_call", (1, 2, 3), ALL_ONCE),
    ("turn", "the call is ordered", "after_dispatch.run_call", (1, 2, 3), IN_FLIGHT),
    ("turn", "its journal is written, the order not sent", "order_written", (1, 2, 3), ALL_ONCE),
    ("turn", "the order is sent", "order_sent", (1, 2, 3), IN_FLIGHT),
    ("cold turn", "keeper: the order is read", "guest.ordered", (1, 2, 3), without_server(ONCE)),
    ("cold turn", "keeper: `started` is written", "guest.started", (1, 2, 3), without_server(INTERRUPTED)),
    ("cold turn", "keeper: the tool is forked", "guest.forked", (1, 2, 3), without_server(INTERRUPTED)),
    ("cold turn", "keeper: `exited` is written", "guest.exited", (1, 2, 3), without_server(ONCE)),
    ("cold turn", "keeper: the server is told", "guest.told", (1, 2, 3), without_server(ONCE)),
    ("turn", "before the result is stored", "before_result_commit.finish_call", (1, 2, 3), ALL_ONCE),
    ("turn", "the result is stored", "after_result_commit.finish_call", (1, 2, 3), ALL_ONCE),
    ("turn", "the result is acknowledged, its journal gone", "acknowledged", (1, 2, 3), IN_FLIGHT),
    ("turn", "the other tools: before their order", "before_dispatch.run_call", (4, 5, 6), ONLY_SERVER),
    ("turn", "the other tools: their result is stored", "after_result_commit.finish_call", (4, 5, 6), ONLY_SERVER),
    ("kept turn", "the turn is over, the snapshot not asked for", "before_dispatch.take_snapshot", (1,), WITHOUT_KEEPER),
    ("kept turn", "the snapshot is asked for", "after_dispatch.take_snapshot", (1,), WITHOUT_KEEPER),
    ("kept turn", "the snapshot is there, before it is stored", "before_result_commit.report_files", (1,), WITHOUT_KEEPER),
    ("kept turn", "that it is there is stored", "after_result_commit.report_files", (1,), WITHOUT_KEEPER),
    ("kept cold turn", "supervisor: `HEAD` names the layer that is to be", "snapshot.headed", (1,), SUPERVISOR_ALONE),
    ("kept cold turn", "supervisor: the layer is sealed", "snapshot.sealed", (1,), SUPERVISOR_ALONE),
    ("kept cold turn", "supervisor: a root is mounted over it", "snapshot.mounted", (1,), {SUPERVISOR: ONCE}),
    ("kept cold turn", "supervisor: the sandbox has it", "snapshot.swapped", (1,), {SUPERVISOR: ONCE}),
    ("kept cold turn", "supervisor: the snapshot is noted", "snapshot.noted", (1,), SUPERVISOR_ALONE),
    ("fork", "before its files", "fork_before_files", (1,), WITHOUT_KEEPER),
    ("fork", "its files are there, its rows not", "fork_before_rows", (1,), WITHOUT_KEEPER),
    ("cold fork", "supervisor: its `HEAD` is written", "fork.headed", (1,), SUPERVISOR_ALONE),
    ("rewind", "a rewind is stored, unanswered", "input_committed.rewind", (1,), ONLY_SERVER),
    ("rewind", "before the files are put back", "before_dispatch.rewind_files", (1,), WITHOUT_KEEPER),
    ("rewind", "they are back, before that is stored", "before_result_commit.report_files", (2,), WITHOUT_KEEPER),
    ("rewind", "that they are back is stored", "after_result_commit.report_files", (2,), ONLY_SERVER),
    ("cold rewind", "supervisor: the writable layer is gone", "rewind.dropped", (1,), SUPERVISOR_ALONE),
    ("cold rewind", "supervisor: `HEAD` names the old layers", "rewind.headed", (1,), SUPERVISOR_ALONE),
    ("interrupt the model", "an interrupt is stored, unanswered", "input_committed.send", (2,), ALL_ONCE),
    ("interrupt the model", "before the request is cancelled", "before_dispatch.cancel_model", (1,), ONLY_SERVER),
    ("interrupt the model", "the request is cancelled", "after_dispatch.cancel_model", (1,), ONLY_SERVER),
    ("interrupt a call", "an interrupt is stored, unanswered", "input_committed.send", (2,), ALL_ONCE),
    ("interrupt a call", "before the call is cancelled", "before_dispatch.cancel_call", (1,), ALL_ONCE),
    ("interrupt a call", "the call is cancelled", "after_dispatch.cancel_call", (1,), ALL_ONCE),
    ("stop", "a stop is stored, unanswered", "input_committed.hold", (1,), ALL_ONCE),
    ("stop", "before the sandbox is told to stop", "before_dispatch.stop_sandbox", (1,), ALL_ONCE),
    ("stop", "the sandbox is told to stop", "after_dispatch.stop_sandbox", (1,), ALL_ONCE),
    ("stop", "before `sandbox_absent` is stored", "before_result_commit.report_sandbox", (1,), NO_KEEPER),
    ("stop", "`sandbox_absent` is stored", "after_result_commit.report_sandbox", (1,), NO_KEEPER),
    ("end", "an end is stored, unanswered", "input_committed.end", (1,), ONLY_SERVER),
    ("end", "before the files are removed", "before_dispatch.remove_files", (1,), ONLY_SERVER),
    ("end", "the files are being removed", "after_dispatch.remove_files", (1,), ONLY_SERVER),
    ("deadline", "a deadline is reached, nothing stored", "timer_fired", (1,), {SERVER: ONCE, KEEPER: ONCE, BOTH: ONCE}),
    ("checkpoint", "the store writes back its log", "checkpoint", (1, 2), ONLY_SERVER),
]


def markdown():
    """The table as a page has it."""
    head = ("where", "place", *VICTIMS)
    rows = [
        (place_of, f"`{place}`" + (f" × {len(numbers)}" if len(numbers) > 1 else ""), *(outcomes.get(v, "") for v in VICTIMS))
        for _, place_of, place, numbers, outcomes in TABLE
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]
    cells = sum(len(numbers) * len(outcomes) for *_, numbers, outcomes in TABLE)
    said = "\n".join(f"* **{name}**: {what}." for name, what in OUTCOMES.items())
    return f"{said}\n\n{cells} cells:\n\n" + "\n".join(lines) + "\n"
