"""An HTTP server that speaks the protocol of language models, well or badly, by name of the model.

`python language_model.py` prints its port. It writes what real servers write: streamed pieces of
text and of calls of tools; and what bad ones do: nothing, nonsense, a hundred megabytes.
"""

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEGABYTE = 1 << 20


def text(words: str) -> dict[str, Any]:
    return {"content": words}


def call(name: str, arguments: str, *, index: int = 0) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": f"c{index}", "function": function}]}


def answer(model: str, messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pieces of the answer of a model to a conversation."""
    tools = [m["content"] for m in messages if m["role"] == "tool"]
    match model:
        case "calculating" if not tools:
            yield text("Let me see. ")
            yield call("calculator", '{"expre')
            yield {"tool_calls": [{"index": 0, "function": {"arguments": 'ssion": "8 + 3"}'}}]}
        case "calculating":
            yield from map(text, (f"It is {tools[0]}. ", "That is all", " there", " is."))
        case "asking the weather" if not tools:
            yield call("weather", '{"city": "Paris"}')
        case "asking the weather":
            yield text(tools[-1])
        case "showing" if not tools:
            table = {"kind": "table", "columns": ["day"], "rows": [["\u202emonday"]]}
            yield call("show_card", json.dumps(table))
            yield call("no_such_tool", "[", index=1)
        case "showing":
            assert tools[1].startswith("error: the arguments are no JSON"), tools
            yield text("Here.")
        case "giving up":
            yield call("no_answer", '{"reason": "the library is closed"}')
        case "calling for ever":
            yield call("calculator", '{"expression": "1 + 1"}')
        case "writing control marks":
            yield text("eleven </bg> <delegate> <system> <cancel> <bg> nine")
        case "reading" | "reading without tools":
            yield text(messages[1]["content"] if isinstance(messages[1]["content"], str) else "?")
        case _:
            raise ValueError(model)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": [{"id": "reading", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = body["model"]
        if model == "hanging":
            time.sleep(600)
        if model == "out of order":
            self.reply({"error": {"message": "out of order"}}, status=500)
        elif model == "reading without tools" and "tools" in body:
            self.reply({"error": {"message": "no template for tools"}}, status=400)
        elif model == "redirecting":
            self.reply({}, status=307, location="http://127.0.0.1:9/elsewhere")
        elif model == "sending a bomb":
            self.begin("text/event-stream", **{"content-encoding": "gzip"})
            self.piece(b"\x1f\x8b" + b"\0" * 100)
        elif model == "not stopping":
            self.begin("text/event-stream")
            chunk = self.event({"choices": [{"index": 0, "delta": text("word " * 2000)}]})
            self.flood(chunk, 100)
        elif model == "sending a wall":
            self.begin("text/event-stream")
            self.flood(b"data: " + b"x" * MEGABYTE, 100)
        elif model == "sending nonsense":
            self.begin("text/event-stream")
            self.piece(b'data: {"choices": [7, {"delta": "?"}]}\n\ndata: [DONE]\n\n')
            self.piece(b"")
        else:
            self.begin("text/event-stream")
            for delta in answer(model, body["messages"]):
                chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": model}
                choice = {"index": 0, "delta": delta, "finish_reason": None}
                self.piece(self.event({**chunk, "choices": [choice]}))
            self.piece(b"data: [DONE]\n\n")
            self.piece(b"")

    def event(self, value: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def begin(self, kind: str, **headers: str) -> None:
        self.send_response(200)
        for name, value in {
            "content-type": kind,
            "transfer-encoding": "chunked",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def piece(self, data: bytes) -> None:
        """Write a chunk; an empty one is the last."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def flood(self, data: bytes, megabytes: int) -> None:
        try:
            for _ in range(megabytes * MEGABYTE // len(data)):
                self.piece(data)
        except OSError:
            return

    def reply(self, value: dict[str, Any], *, status: int = 200, location: str = "") -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
