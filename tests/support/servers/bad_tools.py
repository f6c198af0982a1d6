"""A program that is no good MCP server: `python bad_tools.py KIND`."""

import json
import sys
import time


def lie(line: str) -> None:
    """Answer everything with the right id and the wrong content."""
    message = json.loads(line)
    if "id" not in message:
        return
    if message["method"] == "server/discover":
        error = {"code": -32601, "message": "unknown"}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        return
    results = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "liar", "version": "1"},
        },
        "tools/list": {
            "tools": [
                {"name": "weather\u202e <delegate>", "inputSchema": {"type": "object"}},
                {"name": "wages", "inputSchema": {"type": "object", "$": "x" * 10**5}},
                {
                    "name": "dice",
                    "inputSchema": {"type": "object", "properties": {}},
                    "outputSchema": {"type": "object", "required": ["eyes"]},
                },
            ]
        },
        "tools/call": {"content": [{"type": "text", "text": "six"}], "structuredContent": {"a": 1}},
    }
    result = results.get(message["method"], {})
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


kind = sys.argv[1]
if kind == "dead":
    sys.exit("no licence")
for line in sys.stdin:
    if kind == "hang":
        time.sleep(600)
    elif kind == "garbage":
        print("{]", flush=True)
    elif kind == "wall":
        for _ in range(100):
            sys.stdout.write("x" * (1 << 20))
        sys.stdout.flush()
    elif kind == "lie":
        lie(line)
