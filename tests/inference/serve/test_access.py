"""Who may come in: tokens, pages, names of the machine, and what everybody is told."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from microturn.configs.load import ConfigError
from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.about import about_checkpoint
from microturn.inference.serve.access import Access, read_token
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.routes import model_name
from microturn.inference.serve.server import create_app

BASE = "http://127.0.0.1:8765"
TOKEN = "open sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def served(batch: RowBatch, **settings: Any) -> Iterator[TestClient]:
    config = ServeConfig(**settings)
    with TestClient(create_app(LiveEngine(batch, config), config), base_url=BASE) as client:
        yield client


@pytest.fixture
def client(one_row: RowBatch) -> Iterator[TestClient]:
    with served(one_row) as client:
        yield client


@pytest.fixture
def guarded(one_row: RowBatch) -> Iterator[TestClient]:
    with served(one_row, token=TOKEN, checkpoint="runs/demo/checkpoint") as client:
        yield client


def is_let_in(client: TestClient, path: str, headers: dict[str, str]) -> bool:
    with client.websocket_connect(path, headers=headers) as socket:
        return bool(socket.receive_json()["type"] == "hello")


def denial(client: TestClient, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return status and text of a refused handshake, as a program sees it."""
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect(path, headers=headers),
    ):
        pass
    return caught.value.status_code, caught.value.text


def told_to_a_page(client: TestClient, path: str, headers: dict[str, str]) -> str:
    """Return what a page is told in its own protocol before the socket closes."""
    with client.websocket_connect(path, headers=headers) as socket:
        error, closed = socket.receive_json(), socket.receive_json()
        assert (error["type"], closed["type"]) == ("error", "closed")
        assert error["message"] == closed["reason"]
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert caught.value.code == 1008
        return str(error["message"])


# --- the token -------------------------------------------------------------------------------
def test_a_token_lets_programs_in(guarded: TestClient) -> None:
    needs, wrong = "this server needs its token", "this is not the token of the server"
    for path, headers, sentence in (
        ("/ws", {}, needs),
        ("/ws", {"Authorization": "Basic b3BlbiBzZXNhbWU="}, needs),
        ("/ws?token=wrong", {}, wrong),
        ("/ws?token=é", {}, wrong),
        (f"/ws?token={TOKEN}", {"Authorization": "Bearer wrong"}, wrong),
    ):
        status, said = denial(guarded, path, headers)
        assert status == 401
        assert sentence in said
    assert is_let_in(guarded, f"/ws?token={TOKEN}", {})
    assert is_let_in(guarded, "/ws", BEARER)


def test_a_page_is_told_in_its_own_protocol_what_its_browser_hides(guarded: TestClient) -> None:
    own = {"Origin": BASE, "Host": BASE.removeprefix("http://")}
    assert "needs its token" in told_to_a_page(guarded, "/ws", own)
    assert "not the token" in told_to_a_page(guarded, "/ws?token=wrong", own)
    assert guarded.get("/health", headers=BEARER).json()["sessions"] == 0
    assert is_let_in(guarded, f"/ws?token={TOKEN}", own)


def test_a_token_in_an_address_is_of_no_use_to_pages_from_elsewhere(guarded: TestClient) -> None:
    elsewhere = {"Origin": "https://elsewhere.example"}
    said = told_to_a_page(guarded, f"/ws?token={TOKEN}", elsewhere)
    assert "pages of 'https://elsewhere.example' may not talk to this server" in said
    assert is_let_in(guarded, "/ws", {**elsewhere, **BEARER})  # no page can set this header


def test_behind_a_proxy_the_page_of_the_public_name_may_talk(guarded: TestClient) -> None:
    public = {"Origin": "https://talk.example", "Host": "talk.example"}
    assert is_let_in(guarded, f"/ws?token={TOKEN}", public)
    said = told_to_a_page(guarded, f"/ws?token={TOKEN}", {**public, "Host": "127.0.0.1:8765"})
    assert "let a proxy pass the header Host on unchanged" in said


# --- without a token -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("origin", "host", "sentence"),
    [
        ("http://127.0.0.1:8765", "127.0.0.1:8765", ""),
        ("http://localhost:8765", "localhost:8765", ""),
        ("http://[::1]:8765", "[::1]:8765", ""),
        ("http://LOCALHOST:8765", "localhost:8765", ""),
        ("https://elsewhere.example", "127.0.0.1:8765", "may not talk to this server"),
        ("http://127.0.0.1:9999", "127.0.0.1:8765", "may not talk to this server"),
        ("http://rebound.example:8765", "rebound.example:8765", "its own machine only"),
        ("null", "127.0.0.1:8765", "pages of 'null' may not talk"),
        ("http://[evil", "127.0.0.1:8765", "pages of 'http://[evil' may not talk"),
        ("http://[evil", "[evil", "was asked as '[evil'"),
        ("", "", "was asked as ''"),
    ],
)
def test_only_our_own_page_may_use_the_socket(
    client: TestClient, origin: str, host: str, sentence: str
) -> None:
    headers = {"Origin": origin, "Host": host}
    if sentence:
        assert sentence in told_to_a_page(client, "/ws", headers)
    else:
        assert is_let_in(client, "/ws", headers)


def test_programs_of_this_machine_need_no_origin(client: TestClient) -> None:
    assert is_let_in(client, "/ws", {})


def test_a_page_of_a_rebound_name_reads_no_numbers(client: TestClient) -> None:
    """Its browser sends no Origin when it fetches them."""
    for path in ("/health", "/metrics", "/metrics.json", "/v1/models"):
        refused = client.get(path, headers={"Host": "rebound.example"})
        assert refused.status_code == 403
        assert "MICROTURN_TOKEN or token_file=FILE" in refused.text
        assert client.get(path).status_code == 200


def test_names_of_the_same_origin_differ_in_case_only() -> None:
    scope = {"type": "http", "headers": [(b"host", b"Talk.Example"), (b"origin", b"https://x")]}
    refusal = Access("t").refusal(HTTPConnection({**scope, "query_string": b"token=t"}))
    assert refusal is not None
    assert refusal.status == 403


# --- what is answered over HTTP --------------------------------------------------------------
def test_all_numbers_ask_for_the_token_and_a_sign_of_life_does_not(guarded: TestClient) -> None:
    assert guarded.get("/healthz").json() == {"status": "ok"}
    for path in ("/health", "/metrics", "/metrics.json", "/v1/models", "/v1/models/demo"):
        refused = guarded.get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "needs its token" in refused.text
        assert guarded.get(path, headers=BEARER).status_code == 200
        assert guarded.get(path, params={"token": TOKEN}).status_code == 200


def test_the_sign_of_life_is_that_of_the_engine(one_row: RowBatch) -> None:
    engine = LiveEngine(one_row, ServeConfig())
    client = TestClient(create_app(engine, ServeConfig()), base_url=BASE)
    assert client.get("/healthz").status_code == 503  # nobody has started it
    with client:
        assert client.get("/healthz").status_code == 200


def test_models_are_listed_as_clients_of_that_interface_read_them(guarded: TestClient) -> None:
    listed = guarded.get("/v1/models", headers=BEARER).json()
    (model,) = listed["data"]
    assert listed["object"] == "list"
    assert (model["id"], model["object"], model["owned_by"]) == ("demo", "model", "microturn")
    assert isinstance(model["created"], int)
    assert guarded.get("/v1/models/demo", headers=BEARER).json() == model
    missing = guarded.get("/v1/models/gpt", headers=BEARER)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
    assert "'demo' is the one" in missing.json()["error"]["message"]
    error = guarded.get("/v1/models").json()["error"]
    assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")


def test_a_model_has_the_name_of_its_run() -> None:
    assert model_name("runs/demo/checkpoint") == "demo"
    assert model_name("models/small/") == "small"


def test_metrics_are_text_that_prometheus_reads(client: TestClient) -> None:
    metrics = client.get("/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE microturn_sessions gauge\nmicroturn_sessions 0\n" in metrics.text


def test_every_answer_says_what_a_browser_may_do_with_it(client: TestClient) -> None:
    for path in ("/", "/app.js", "/nothing", "/health", "/v1/models"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy
        for name in ("object-src", "base-uri", "form-action", "frame-ancestors"):
            assert f"{name} 'none'" in policy
        assert not any("ws:" in rule or "http" in rule or "*" in rule for rule in policy)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


# --- where the token comes from --------------------------------------------------------------
def test_a_token_comes_from_the_configuration_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    environment = {"MICROTURN_TOKEN": "of the environment "}
    assert read_token(ServeConfig(), {}) == ""
    assert read_token(ServeConfig(), environment) == "of the environment"
    assert read_token(ServeConfig(host="0.0.0.0"), environment) == "of the environment"
    assert read_token(ServeConfig(token_file=str(file)), environment) == TOKEN
    assert read_token(ServeConfig(token="typed"), environment) == "typed"


@pytest.mark.parametrize("content", [b"", b" \n", b"two\nlines", b"\xff\x00"])
def test_a_file_without_a_token_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no token; it has to be one line of text"):
        read_token(ServeConfig(token_file=str(file)), {})


# --- what the page is told before a conversation ----------------------------------------------
def test_a_checkpoint_tells_whose_voices_it_knows_and_plays_examples(
    one_row: RowBatch, tmp_path: Path
) -> None:
    speakers = {"ann": {"a": 2.0, "b": 1.0}, "bob": {"c": 9.0}, "": {"d": 3.0}}
    (tmp_path / "contents.json").write_text(json.dumps({"speakers": speakers, "n_typed": 4}))
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "0.flac").write_bytes(b"fLaC")
    row = {"file": "0.flac", "title": "eight plus three", "seconds": 15.8}
    (tmp_path / "examples" / "examples.json").write_text(json.dumps([row]))
    (tmp_path / "examples" / "secret.txt").write_text("secret")
    with served(one_row, token=TOKEN, checkpoint=str(tmp_path)) as client:
        about = client.get("/about.json", headers=BEARER).json()
        assert about["voices"] == [{"name": "bob", "share": 0.6}, {"name": "ann", "share": 0.2}]
        assert about["typed"] is True
        assert about["examples"] == [row]
        assert client.get("/examples/0.flac", headers=BEARER).content == b"fLaC"
        assert client.get("/examples/0.flac").status_code == 401
        for other in ("secret.txt", "examples.json", "..%2Fcontents.json", "1.flac"):
            assert client.get(f"/examples/{other}", headers=BEARER).status_code == 404


def test_a_checkpoint_that_records_nothing_offers_nothing(client: TestClient) -> None:
    nothing = {"voices": [], "typed": False, "examples": [], "frames": {}}
    assert client.get("/about.json").json() == nothing


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not JSON"),
        ('[{"file": "0.flac"}]', "each example needs file, title and seconds"),
        ('[{"file": "../a", "title": "", "seconds": 1}]', "'../a' is no recording beside it"),
        ('[{"file": "0.flac", "title": "", "seconds": 1}]', "'0.flac' is no recording beside it"),
    ],
)
def test_a_damaged_list_of_examples_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "examples.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        about_checkpoint(tmp_path)
