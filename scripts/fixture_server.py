"""A server that answers each operation of docs/openapi/v1.json with what the document says comes: every alternative of every
schema in turn, so that whoever validates the answers validates the document.

It keeps nothing and refuses nothing. What the document doesn't have is a 501.
"""

import collections
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse

from re import _parser as patterns

TIME = "2026-03-18T10:00:00Z"
ABSENT = object()


class FixtureServer(http.server.ThreadingHTTPServer):
    """Serves a document on a free port until it is closed."""

    daemon_threads = True

    def __init__(self, document):
        super().__init__(("127.0.0.1", 0), Handler)
        self.document = document
        self.samples = Samples(document)
        self.turns = collections.defaultdict(itertools.count)
        self.undescribed = collections.Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        # Clients that have what they want hang up; anything else is a fault, and printed.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def operation(self, method, path):
        parts = path.strip("/").split("/")
        for template, operations in sorted(self.document["paths"].items(), key=lambda item: item[0].count("{")):
            wanted = template.strip("/").split("/")
            if len(wanted) == len(parts) and all(want == part or want.startswith("{") for want, part in zip(wanted, parts)):
                return operations.get(method.lower())
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else the end of an answer waits for the client to acknowledge its beginning.
    wbufsize = -1

    def answer(self):
        path = urllib.parse.urlsplit(self.path).path
        self.rfile.read(int(self.headers.get("content-length") or 0))
        operation = self.server.operation(self.command, path)
        if operation is None:
            self.server.undescribed[f"{self.command} {path}"] += 1
            return self.send(501, "application/json", b"{}")
        (kind, content), = operation["responses"]["200"]["content"].items()
        if kind == "text/event-stream":
            schema = content["x-itemSchema"]["properties"]["data"]["contentSchema"]
            events = self.server.samples.of(schema)
            return self.send(200, kind, b"".join(map(frame, [event for event in events if event["type"] != "error"])))
        samples = self.server.samples.of(content["schema"])
        turn = next(self.server.turns[operation["operationId"]])
        self.send(200, kind, json.dumps(samples[turn % len(samples)]).encode())

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("request-id", "req_1111111111111111111111")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def frame(event):
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class Samples:
    """Samples of schemas: every alternative and every word comes at least once, and each field that may be absent is so once.

    What is Tenure's own as a whole, as its events are, comes only to those who ask for it, and isn't made.
    """

    def __init__(self, document):
        self.document = document
        self.made = {}

    def of(self, schema):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.made:
            self.made[key] = list(self.make(schema))
        return self.made[key]

    def make(self, schema):
        if schema is True:
            return [{"type": "object", "anything": True}]
        if "$ref" in schema:
            target = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return self.of(target)
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return schema["enum"]
        for name in ("anyOf", "oneOf"):
            if name in schema:
                rest = {key: value for key, value in schema.items() if key not in (name, "discriminator", "description")}
                parts = [part for part in schema[name] if not self.is_ours(part)]
                return [sample for part in parts for sample in self.of(merged(rest, part))]
        kinds = schema.get("type", "object" if "properties" in schema else [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not kinds:
            # Anything may be there.
            return [{"type": "object", "anything": True}]
        return [sample for kind in kinds for sample in getattr(self, f"make_{kind}")(schema)]

    def is_ours(self, schema):
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.document["components"]["schemas"].get(name, schema).get("x-tenure", False)

    def make_object(self, schema):
        fields = {}
        for name, part in schema.get("properties", {}).items():
            optional = [] if name in schema.get("required", []) else [ABSENT]
            fields[name] = self.of(part) + optional
        count = max(map(len, fields.values()), default=1)
        for turn in range(count):
            chosen = {name: samples[turn % len(samples)] for name, samples in fields.items()}
            made = {name: value for name, value in chosen.items() if value is not ABSENT}
            more = schema.get("additionalProperties")
            if isinstance(more, dict) and more:
                made |= {f"key_{number}": sample for number, sample in enumerate(self.of(more))}
            yield made

    def make_array(self, schema):
        items = [] if schema.get("maxItems") == 0 else self.of(schema["items"])
        return [items, []] if items else [[]]

    def make_string(self, schema):
        if schema.get("format") == "date-time":
            return [TIME, "2026-03-18T10:00:00.123456Z"]
        if "pattern" in schema:
            return [text_like(schema["pattern"])]
        return ["text"]

    def make_integer(self, schema):
        return [schema.get("minimum", 0), max(7, schema.get("minimum", 0))]

    def make_number(self, schema):
        return [0, 1.5]

    def make_boolean(self, schema):
        return [True, False]

    def make_null(self, schema):
        return [None]


def merged(rest, part):
    """What holds beside the alternatives holds for each of them."""
    if not rest:
        return part
    if "$ref" in part:
        return part
    properties = {**rest.get("properties", {}), **part.get("properties", {})}
    required = rest.get("required", []) + part.get("required", [])
    return {**rest, **part, **({"properties": properties} if properties else {}), **({"required": required} if required else {})}


def text_like(pattern):
    """A text that a simple pattern matches."""

    def write(parsed):
        text = ""
        for operation, argument in parsed:
            name = str(operation)
            if name == "LITERAL":
                text += chr(argument)
            elif name in ("MAX_REPEAT", "MIN_REPEAT"):
                least, _, inner = argument
                text += write(inner) * max(least, 1)
            elif name == "SUBPATTERN":
                text += write(argument[3])
            elif name == "BRANCH":
                text += write(argument[1][0])
            elif name == "IN":
                (kind, value), *_ = argument
                text += chr(value[0] if str(kind) == "RANGE" else value)
            elif name != "AT":
                raise ValueError(f"{pattern}: no text for {name}")
        return text

    text = write(patterns.parse(pattern))
    if not re.search(pattern, text):
        raise ValueError(f"{pattern}: `{text}` doesn't match")
    return text
