"""A Hugging Face hub on loopback: repositories in memory, over the hub's own HTTP protocol."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

MAIN = "main"


class FakeHub:
    """Files by path, of each revision of each repository; a commit's hash is that of its files."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.url = ""

    def create(self, name: str) -> None:
        self.repositories.setdefault(name, {MAIN: {}})

    def put(self, name: str, revision: str, files: dict[str, bytes]) -> None:
        self.create(name)
        self.repositories[name].setdefault(revision, {}).update(files)

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Hash and files of a revision, which is a branch or such a hash."""
        for branch, files in self.repositories.get(name, {}).items():
            digest = sha256(b"".join(p.encode() + files[p] for p in sorted(files))).hexdigest()[:40]
            if revision in (branch, digest):
                return digest, files
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about.get('organization') or 'someone'}/{about['name']}"
            self.hub.create(name)
            self._json({"url": f"{self.hub.url}/{name}"})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/(.+)", path):
            files = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular"} for one in files]
            self._json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/(.+)", path):
            values = [json.loads(line) for line in body.splitlines()]
            files = [one["value"] for one in values if one["key"] == "file"]
            decoded = {one["path"]: base64.b64decode(one["content"]) for one in files}
            self.hub.put(found[1], found[2], decoded)
            self._json({"commitOid": "0" * 40, "commitUrl": f"{self.hub.url}/{found[1]}/commit/0"})
        else:
            self._missing("EntryNotFound")

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        self._get(with_body=True)

    def _get(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            there = self._there(found[1], found[2] or MAIN)
            if there:
                siblings = [{"rfilename": name} for name in there[1]]
                self._json({"id": found[1], "sha": there[0], "siblings": siblings})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            there = self._there(found[1], found[2])
            if there:
                self._json(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                        for name, data in there[1].items()
                    ]
                )
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            there = self._there(found[1], found[2])
            if there and found[3] in there[1]:
                data = there[1][found[3]]
                headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": there[0]}
                self._answer(200, data, headers, with_body=with_body)
            elif there:
                self._missing("EntryNotFound")
        else:
            self._missing("EntryNotFound")

    def _there(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        there = self.hub.files(name, revision)
        if there is None:
            known = name in self.hub.repositories
            self._missing("RevisionNotFound" if known else "RepoNotFound")
        return there

    def _missing(self, code: str) -> None:
        self._answer(404, b"{}", {"X-Error-Code": code})

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str], *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return sha256(data).hexdigest()[:40]


@contextmanager
def serving(patch: pytest.MonkeyPatch, cache: str) -> Iterator[FakeHub]:
    """Serve a hub that `huggingface_hub` talks to, with a cache of its own and a token."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    constants = "huggingface_hub.constants"
    patch.setattr(f"{constants}.ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(f"{constants}.HF_HUB_CACHE", cache)
    patch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    patch.setenv("HF_TOKEN", "hf_of_nobody")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
