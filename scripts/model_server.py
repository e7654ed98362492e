"""A fake Messages API whose model does what it is told: a user's text `plan 7: [...]` lists the calls it is to make, one by
one, after which it says `done 7`. What it is asked is kept.

A call is `{"name": …, "input": …}`.
"""

import http.server
import json
import threading

START = {
    "type": "message_start",
    "message": {
        "id": "msg_fake", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
    },
}


class ModelServer(http.server.ThreadingHTTPServer):
    """Serves on a free port until it is closed. Use it as a context."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        # The conversations that were sent, by the number of the plan that they end with.
        self.asked = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def settings(self):
        """What a server needs to ask it."""
        return {"TENURE_ANTHROPIC_API_KEY": "fake", "TENURE_ANTHROPIC_BASE_URL": self.url}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = flat(request["messages"])
        number, step = plan_of(said)
        self.server.asked.setdefault(number, []).append(said)
        events = reply(number, step)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())


def flat(messages):
    """A conversation as a list of what was said and done in it, each with who did."""
    said = []
    for message in messages:
        for part in message["content"]:
            who = message["role"]
            match part["type"]:
                case "text":
                    said.append((who, "text", part["text"]))
                case "tool_use":
                    said.append((who, "call", part["id"], part["name"], json.dumps(part["input"], sort_keys=True)))
                case "tool_result":
                    text = "".join(block["text"] for block in part.get("content", []))
                    said.append((who, "result", part["tool_use_id"], text))
                case other:
                    said.append((who, other))
    return said


def plan_of(said):
    """The number of the newest plan, and the call that comes next in it; none if all have been made."""
    at = max((at for at, part in enumerate(said) if part[:2] == ("user", "text") and part[2].startswith("plan ")), default=None)
    if at is None:
        return None, None
    number, _, calls = said[at][2].removeprefix("plan ").partition(": ")
    calls, made = json.loads(calls), sum(part[1] == "call" for part in said[at:])
    return int(number), calls[made] if made < len(calls) else None


def reply(number, call):
    if call is None:
        block, stop = {"type": "text", "text": ""}, "end_turn"
        delta = {"type": "text_delta", "text": f"done {number}"}
    else:
        block, stop = {"type": "tool_use", "id": "toolu_fake", "name": call["name"], "input": {}}, "tool_use"
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
    return [
        START,
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
