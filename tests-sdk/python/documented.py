"""The examples of the documentation, run as they are printed there. A block of code that nothing runs says why here."""

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys

from testing import TOOLSET, message, new_session, only, run, text, turn, types, unique

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
GUIDE = "docs/managed-agents.md"
REFERENCE = "docs/managed-agents-reference.md"

# What stands in the examples, and what stands for it here.
HERE = [
    ("http://127.0.0.1:7717", os.environ["TENURE_URL"]),
    ("~/.local/share/tenure/root.key", os.path.join(os.environ["TENURE_DATA_DIR"], "root.key")),
]

# Blocks by their page and a word in them: which test runs them, or why none does.
ACCOUNTED = [
    ("README.md", "import anthropic", "test_the_snippet_of_the_readme"),
    ("README.md", "git clone", "scripts/bare-debian does it from an archive of the sources"),
    ("README.md", "tenure run assistant", "a release build and a terminal; crates/cli/tests runs these commands"),
    ("docs/cli.md", "tenure", "generated from the binary; scripts/pages compares"),
    ("docs/models.md", "11434", "wants Ollama"),
    ("docs/models.md", "(?i)hello", "test_the_script_of_the_page_on_models"),
    ("docs/models.md", "running_hour", "scripts/sdk-tests starts its server with it"),
    ("docs/operations.md", "--listen", "one server per data directory; scripts/testbed.py starts its own so"),
    ("docs/operations.md", "tenure backup", "crates/cli/tests/it/backup.rs runs these commands"),
    ("docs/sandbox.md", "limits", "test_the_limits_of_the_page_on_the_sandbox"),
    ("docs/sandbox.md", '"root"', "wants a registry; crates/sandbox/tests/it/roots.rs has one of its own"),
    ("docs/sandbox.md", '"packages"', "wants archives; crates/sandbox/tests/it/packages.rs makes its own"),
    ("docs/security.md", "apparmor_parser", "wants AppArmor"),
    ("docs/security.md", "podman", "wants Podman, and a package of Tenure"),
    ("docs/workspace.md", "tenure sessions", "crates/cli/tests/it/documented.rs runs these commands"),
    ("docs/workspace.md", "curl", "crates/cli/tests/it/documented.rs runs these commands"),
    ("docs/sandbox.md", "post fork", "crates/cli/tests/it/documented.rs runs these requests"),
    ("docs/workspace.md", "exec_result", "crates/server/tests/it/exec.rs looks at such answers"),
    (REFERENCE, "session.thread_status_running", "test_the_order_of_the_reference"),
    (REFERENCE, "lifetimes", "test_the_lifetimes_of_the_reference"),
    (GUIDE, "", "test_the_guide_…"),
]

# What the guide shows in every language, in this order.
SHOWN = [
    "write", "bash", "The 20th Fibonacci number is 6765.", "The 30th is 832040.", "agent.message", "user.message",
    "Once upon a time there was a server that nobody could kill for long. The end.", "The 40th is 102334155.",
    "Here it is.", "1\n2\n3\n5\n8", "I asked: It is sunny in Zurich.", "bash", "There is enough.",
    "bash", "Then I leave it.", "How large is it?", "Then four beds and a tree.", "One, two, three.", "budget_reached", "1000", "2",
]


def blocks(page, language=None):
    """The blocks of code of a page, as they stand for here."""
    found = [(kind, here(code)) for kind, code in BLOCK.findall((ROOT / page).read_text())]
    return [code for kind, code in found if language in (None, kind)]


def here(code, model="script/guide"):
    for printed, meant in [*HERE, ("claude-sonnet-5", model)]:
        code = code.replace(printed, meant)
    return code


def test_every_block_of_code_is_accounted_for(_client):
    pages = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
    unknown, used = [], set()
    for page in pages:
        for code in blocks(page):
            about = [entry for entry in ACCOUNTED if entry[0] == page and entry[1] in code]
            used.update(about)
            if not about:
                unknown.append(f"{page}: {code.splitlines()[0]}")
    assert not unknown, f"neither run nor said why not: {unknown}"
    assert used == set(ACCOUNTED), f"there is no such block any more: {set(ACCOUNTED) - used}"
    named = {entry[2] for entry in ACCOUNTED if re.fullmatch(r"test_\w+", entry[2])}
    assert named <= set(globals()), named - set(globals())


def follows(language, command, name, folder=None):
    """Runs all blocks of the guide in a language as one program, in a shell that has done what `Connecting` says."""
    connecting, *shell = blocks(GUIDE, "bash")
    assert connecting.startswith("export ")
    program = "\n".join(shell if language == "bash" else blocks(GUIDE, language))
    place = pathlib.Path(folder or os.environ["TENURE_DATA_DIR"]) / name
    place.write_text(program)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TENURE_", "ANTHROPIC_"))}
    line = f'set -eu\n{connecting}\nexec {" ".join(command)} "{place}"'
    ran = subprocess.run(
        ["bash", "-c", line], env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120
    )
    place.unlink()
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    rest = ran.stdout
    for expected in SHOWN:
        before, found, rest = rest.partition(expected)
        assert found, f"no {expected!r} at its place in what it printed:\n{ran.stdout}"


def test_the_guide_in_python(_client):
    follows("python", [sys.executable, "-B"], "guide.py")


def test_the_guide_in_typescript(_client):
    follows("typescript", ["node"], "guide.mjs", os.environ["SDK_TYPESCRIPT"])


def test_the_guide_in_curl(_client):
    follows("bash", ["bash", "-eu"], "guide.sh")


def test_the_snippet_of_the_readme(_client):
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert 'api_key="…"' in snippet and "claude-sonnet-5" in snippet and "environments.create" in snippet
    snippet = here(snippet, "script/fibonacci").replace("…", os.environ["TENURE_API_KEY"])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet, "README.md", "exec"), {})
    lines = printed.getvalue().split()
    assert lines.count("agent.tool_result") == 2 and lines[-1] == "session.status_idle", lines


def test_the_script_of_the_page_on_models(client):
    """`scripts/sdk-tests` puts the page's example where the server finds it."""
    session = new_session(client, model="script/documented", tools=[TOOLSET])
    turn(client, session, message("nothing of the kind"))
    seen = turn(client, session, message("Hello there"))
    assert [event.name for event in only(seen, "agent.tool_use")] == ["bash"]
    assert text(only(seen, "agent.message")[-1]).startswith("You have:")


def test_the_limits_of_the_page_on_the_sandbox(client):
    (config,) = [config for config in blocks("docs/sandbox.md", "json") if "limits" in config]
    made = client.beta.environments.create(name=unique("limited"), config=json.loads(config))
    assert made.to_dict()["config"]["limits"] == json.loads(config)["limits"]


def test_the_lifetimes_of_the_reference(client):
    (body,) = (block for block in blocks(REFERENCE, "json") if "lifetimes" in block)
    session = new_session(client)
    wanted = {**json.loads(body), "agent": session.agent.id, "environment_id": session.environment_id}
    made = client.post("/v1/sessions", cast_to=object, body=wanted)
    asked = json.loads(body)["lifetimes"]
    assert asked.items() <= made["tenure"]["lifetimes"].items()


def test_the_order_of_the_reference(client):
    (order,) = (block for block in blocks(REFERENCE) if block.startswith("user.message "))
    told = [line.split()[0].rstrip(",") for line in order.splitlines() if not line.startswith("event_")]
    told = [kind for kind in told if kind.startswith(("user.", "session.", "span.", "agent."))]
    session = new_session(client, model="script/documented", tools=[TOOLSET])
    seen = types(turn(client, session, message("Hello there")))
    rest = iter(seen)
    assert all(kind in rest for kind in told if kind != "user.message"), f"{told} isn't the order of {seen}"


if __name__ == "__main__":
    run(dict(globals()))
