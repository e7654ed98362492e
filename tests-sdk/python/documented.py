"""The examples of the documentation, run as they are printed there."""

import contextlib
import io
import os
import pathlib
import re

from testing import TOOLSET, message, new_session, only, run, text, turn

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_snippet_of_the_readme(client):
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    for printed, here in [
        ("http://127.0.0.1:7717", os.environ["TENURE_URL"]),
        ('api_key="…"', f'api_key="{os.environ["TENURE_API_KEY"]}"'),
        ("claude-sonnet-5", "script/fibonacci"),
    ]:
        assert printed in snippet, f"the snippet has no {printed}"
        snippet = snippet.replace(printed, here)
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


if __name__ == "__main__":
    run(dict(globals()))
