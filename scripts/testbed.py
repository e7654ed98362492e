"""A Tenure server for a test: started on a free port in a directory of its own, killed, restarted, and cleaned away.

Needs nothing but Python's standard library.
"""

import contextlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TENURE = os.environ.get("TENURE_BIN") or str(ROOT / "target/debug/tenure")
KEY = "test-key-0123456789abcdef"

# What the caller's shell may have set and a test must not see.
FOREIGN = ("TENURE_", "ANTHROPIC_", "OPENAI_", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class Failed(Exception):
    """A test's expectation that didn't hold."""


class Refused(Exception):
    """An answer of the server with a status of 400 or more."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def expect(condition, what):
    if not condition:
        raise Failed(what)


def reserved_port():
    """A socket on a free port that nobody else is given while it is open, but on which a server may listen."""
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    # Only now: two with this option are given the same port.
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return place


def wait_for(what, condition, seconds=30):
    """Waits until the condition gives something true, and gives that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise Failed(f"waited {seconds} s in vain: {what}")


class Server:
    """A server with its data. Use it as a context: at the end everything it started is gone."""

    def __init__(self, scripts=None, env=None, config=None, prices=None):
        # Beside the build: sandboxes can't have their files on every file system, /tmp among them.
        places = ROOT / "target" / "testbed"
        places.mkdir(parents=True, exist_ok=True)
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="t", dir=places))
        self.data = self.home / "data"
        (self.data / "scripts").mkdir(parents=True)
        os.chmod(self.data, 0o700)
        for name, text in (scripts or {}).items():
            (self.data / "scripts" / f"{name}.yaml").write_text(text)
        if config:
            (self.data / "config.toml").write_text(config)
        if prices:
            (self.data / "models.toml").write_text(prices)
        # Also between a kill and the next start.
        self.place = reserved_port()
        self.port = self.place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.env |= {"HOME": str(self.home), "TENURE_API_KEY": KEY, "NO_PROXY": "*"}
        self.env |= {"TENURE_LOG": "info,tenure_server::guard=warn"} | (env or {})
        self.process = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __exit__(self, kind, *_):
        if kind is not None and kind is not SystemExit:
            self.show_log()
        self.stop()
        ended = self.end_leftovers()
        self.place.close()
        shutil.rmtree(self.home, ignore_errors=True)
        if ended and kind is None:
            raise Failed(f"still there after `tenure down`: {', '.join(ended)}")

    def start(self):
        with open(self.home / "server.log", "ab") as log:
            command = [TENURE, "up", "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.data)]
            self.process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the server is ready", self.is_ready)
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failed(f"the server ended with code {self.process.returncode} while it started")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self):
        """As a crash does: no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """As an operator does; sandboxes end too."""
        if self.process is None:
            return
        self.run("down", check=False)
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def run(self, *arguments, check=True, **options):
        """A command of the binary against this server's data."""
        command = [TENURE, *arguments, "--data-dir", str(self.data)]
        ran = subprocess.run(
            command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **options
        )
        expect(not check or ran.returncode == 0, f"`tenure {' '.join(arguments)}`: {ran.returncode}: {ran.stderr}")
        return ran

    def processes(self):
        """The processes that know our directory: the server, the supervisor and the keepers."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                    if bytes(self.home) in line + environment:
                        found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def pids(self, role):
        """The processes that play a role: `server`, `supervisor`, or `keeper`, which is PID 1 of its sandbox."""
        if role == "server":
            return [self.process.pid] if self.process.poll() is None else []
        found = []
        family = {pid for pid, line in self.processes().items() if line.startswith("tenure-sandbox-supervisor")}
        for pid in family:
            numbers = status(pid, "NSpid").split()
            # What keepers are forked from is a supervisor's child, as they are.
            is_supervisor = len(numbers) == 1 and int(status(pid, "PPid") or 0) not in family
            if role == ("supervisor" if is_supervisor else "keeper" if numbers[1:] == ["1"] else None):
                found.append(pid)
        return found

    def end(self, role):
        """Kills who plays a role, and waits until they and those who can't live without them are gone."""
        if role == "server":
            return self.kill()
        gone = self.pids(role) + (self.pids("keeper") if role == "supervisor" else [])
        for pid in self.pids(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(f"the {role} is gone", lambda: not any(is_alive(pid) for pid in gone))

    def end_leftovers(self):
        """Ends what `tenure down` left of ours. Gives what it was; that's a failure of the test."""
        with contextlib.suppress(Failed):
            wait_for("processes to end", lambda: not self.processes(), 10)
        left = self.processes()
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return [f"{pid} {line[:80]}" for pid, line in left.items()]

    def show_log(self):
        with contextlib.suppress(OSError):
            lines = (self.home / "server.log").read_text(errors="replace").splitlines()[-40:]
            print("--- the server's log ends:", *lines, "---", sep="\n", file=sys.stderr)

    # What a client does.

    def ask(self, method, path, body=None, headers=None, timeout=60):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        for name, value in {"X-Api-Key": KEY, "Content-Type": "application/json", **(headers or {})}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from None

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body=None, **options):
        return self.ask("POST", path, body, **options)

    def agent(self, model, tools=True):
        toolset = [{"type": "agent_toolset_20260401"}] if tools else []
        return self.post("/v1/agents", {"name": "tester", "model": model, "tools": toolset})["id"]

    def environment(self, name="testbed"):
        return self.post("/v1/environments", {"name": name, "config": {"type": "cloud"}})["id"]

    def session(self, agent, environment):
        return self.post("/v1/sessions", {"agent": agent, "environment_id": environment})["id"]

    def say(self, session, text, **options):
        events = [{"type": "user.message", "content": [{"type": "text", "text": text}]}]
        return self.post(f"/v1/sessions/{session}/events", {"events": events}, **options)["data"]

    def events(self, session, query=""):
        """The whole list, page by page."""
        found, page = [], ""
        while page is not None:
            answer = self.get(f"/v1/sessions/{session}/events?limit=200{query}{page}")
            found += answer["data"]
            following = answer.get("next_page")
            page = f"&page={urllib.parse.quote(following)}" if following else None
        return found

    def stream(self, session, after=0, query="", timeout=60):
        """Live events from a cursor on, as (cursor, event). Ends when the connection does, and fails when nothing
        came for so long."""
        path = f"/v1/sessions/{session}/events/stream?after={after}{query}"
        request = urllib.request.Request(self.url + path, headers={"X-Api-Key": KEY})
        return frames(urllib.request.urlopen(request, timeout=timeout), timeout)

    def archive(self, session):
        """The files of a session's workspace, with what they hold, as they are downloaded."""
        path = f"/v1/sessions/{session}/workspace/archive?format=tar"
        request = urllib.request.Request(self.url + path, headers={"X-Api-Key": KEY})

        def answered():
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                # Of a sandbox that dies meanwhile: clients ask again.
                if error.code not in (429, 503):
                    raise Refused(error.code, error.read().decode(errors="replace")) from None
            except http.client.IncompleteRead:
                # It died later.
                return None

        with tarfile.open(fileobj=io.BytesIO(wait_for("the files are given", answered))) as packed:
            files = [entry for entry in packed if entry.isfile() or entry.islnk()]
            return {entry.name.removeprefix("./"): packed.extractfile(entry).read() for entry in files}

    def sandbox(self, session):
        """How a session's sandbox is."""
        return self.get(f"/v1/sessions/{session}")["tenure"]["sandbox"]

    def cursor(self, session):
        """The newest cursor of a session that was never restored: a plain number."""
        return int(self.get(f"/v1/sessions/{session}")["tenure"]["cursor"])

    def until_cursor(self, session, cursor, query=""):
        """All events up to the one at a cursor."""
        seen = []
        with contextlib.closing(self.stream(session, 0, query)) as stream:
            for frame in stream:
                seen.append(frame)
                if frame[0] == cursor:
                    return seen
        raise Failed(f"the stream ended before {cursor}")

    def until(self, session, wanted, after=0, query="", seconds=60):
        """Events from a cursor up to the first that is wanted."""
        seen = []
        end = time.monotonic() + seconds
        with contextlib.closing(self.stream(session, after, query, timeout=seconds)) as stream:
            try:
                for cursor, event in stream:
                    seen.append((cursor, event))
                    if wanted(event):
                        return seen
                    expect(time.monotonic() < end, f"waited {seconds} s")
            except (Failed, TimeoutError) as failure:
                raise Failed(f"{failure}; saw {[event['type'] for _, event in seen]}") from None
        raise Failed(f"the stream ended too early; saw {[event['type'] for _, event in seen]}")


def status(pid, field):
    """A field of a process's status; empty if there is none."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
    return ""


def is_alive(pid):
    return status(pid, "State")[:1] not in ("", "Z", "X")


def stands(pid):
    """Whether a process stands at a failpoint. PID 1 of a namespace can't be stopped; it waits, under this name."""
    return status(pid, "State")[:1] == "T" or status(pid, "Name") == "tenure-paused"


def frames(answer, seconds=float("inf")):
    """The frames of an open event stream. It fails when none came for so long, whatever keeps the connection alive."""
    cursor, data = None, []
    end = time.monotonic() + seconds
    with contextlib.closing(answer):
        for line in answer:
            if time.monotonic() > end:
                raise Failed(f"no event for {seconds} s")
            line = line.decode().rstrip("\r\n")
            if line.startswith("id:"):
                cursor = line[3:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].strip())
            elif not line:
                if data:
                    yield cursor, json.loads("\n".join(data))
                    end = time.monotonic() + seconds
                cursor, data = None, []


def is_idle(event):
    return event["type"] == "session.status_idle"


def text_of(event):
    return "".join(block.get("text", "") for block in event.get("content", []))


def run(main):
    """Runs a script and turns what it raises into a line and an exit code."""
    name = pathlib.Path(sys.argv[0]).name
    # `timeout` and CI end a script with TERM; what it started has to go then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not os.access(TENURE, os.X_OK):
        sys.exit(f"{name}: no {TENURE}: build it first (`cargo build`), or set TENURE_BIN")
    began = time.monotonic()
    try:
        said = main()
    except (Failed, Refused) as failure:
        sys.exit(f"{name}: FAILED: {failure}")
    if said is None:
        return
    print(f"{name}: passed in {time.monotonic() - began:.0f} s: {said}")


def needs_sandbox():
    """Sandboxes can be had by root alone. Elsewhere a script says so and ends, except in CI, where it fails."""
    if os.geteuid() != 0:
        name = pathlib.Path(sys.argv[0]).name
        print(f"{name}: SKIPPED: sandboxes need root", flush=True)
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
