"""Real clients, unmodified, talk to the server with recorded speech, over a real socket.

Those of marker `frameworks` need an environment of their own; docs/clients.md has the commands.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microturn.configs.reading import lines_of
from microturn.evaluation.bench.clients.bench import (
    blame_the_machine,
    format_clients,
    row_of_client,
    row_of_talk,
)
from microturn.evaluation.bench.clients.catalogue import CLIENTS, RealClient, python_of
from microturn.evaluation.bench.clients.conversation import (
    ClientTalk,
    RecordedQuestion,
    Told,
    recorded_question,
    talk_through,
)
from microturn.evaluation.bench.clients.served import RULES, ServedTalker
from microturn.evaluation.bench.serving.server import running
from microturn.inference.config import ServeConfig

ROOT = Path(__file__).resolve().parents[3]
CONSOLE = ROOT / "tests" / "support" / "frameworks" / "livekit_console.py"
ENVIRONMENT = Path(os.environ.get("MICROTURN_FRAMEWORKS", "frameworks"))
BY_NAME = {client.name: client for client in CLIENTS}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a server that plays by the rules, for clients of OpenAI's interface."""
    serve = ServeConfig(checkpoint=RULES, max_sessions=1, admit_share=0.0)
    with running(ServedTalker(serve=serve)) as server:
        yield server.openai_url


@pytest.fixture(scope="module")
def question() -> RecordedQuestion:
    return recorded_question()


@pytest.mark.clients
def test_openai_talks_and_its_row_says_so(url: str, question: RecordedQuestion) -> None:
    row = row_of_client(BY_NAME["openai, GPT-Live"], ENVIRONMENT, url, question)
    assert row["faults"] == []
    assert row["heard"].startswith("eight plus three")
    assert row["said"].startswith("one moment please twelve twelve")
    assert row["stopped_s"] < 1.5
    table = format_clients({"rows": [row], "checkpoint": RULES})
    assert re.search(r"openai, GPT-Live +\S+ +yes +yes +0\.\d s +the client\n", table)


@pytest.mark.frameworks
@pytest.mark.parametrize("client", [c for c in CLIENTS if c.home != "ours"], ids=lambda c: c.name)
def test_a_client_talks(client: RealClient, url: str, question: RecordedQuestion) -> None:
    row = row_of_client(client, ENVIRONMENT, url, question)
    assert "missing" not in row, row
    assert row["faults"] == []


@pytest.mark.frameworks
def test_the_agent_of_the_readme_talks_in_the_console_of_livekit(
    url: str, question: RecordedQuestion, tmp_path: Path
) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    (snippet,) = (block for block in blocks if "livekit" in block)
    assert len(list(filter(None, lines_of(snippet)))) <= 12
    address = "http://127.0.0.1:8765/v1"
    assert address in snippet
    file = tmp_path / "agent.py"
    file.write_text(snippet.replace(address, url), "utf-8")
    command = [str(python_of(ENVIRONMENT)), str(CONSOLE), str(file)]
    talk = asyncio.run(talk_through(command, question, folder=tmp_path))
    assert row_of_talk("LiveKit", "", talk, talks=True)["faults"] == []


def test_a_client_that_is_not_installed_is_a_row_with_the_command(tmp_path: Path) -> None:
    question = recorded_question()
    of_pip = row_of_client(BY_NAME["pipecat, GPT-Live"], tmp_path, "http://unused", question)
    assert of_pip["missing"] == f"not installed: {tmp_path}/bin/pip install pipecat-ai==1.14.0"
    assert of_pip["faults"] == []
    of_npm = row_of_client(BY_NAME["Vercel AI SDK, Realtime"], tmp_path, "http://unused", question)
    assert re.fullmatch(
        rf"not installed: {tmp_path}/bin/npm install --prefix {tmp_path} @ai-sdk/openai@\S+ ws@\S+",
        of_npm["missing"],
    )
    table = format_clients({"rows": [of_pip, of_npm], "checkpoint": RULES})
    assert of_pip["missing"] in table


def test_a_program_that_fails_is_a_row_with_its_own_words() -> None:
    program = "import sys; sys.stderr.write('note\\n'); raise OSError('no server answers')"
    talk = asyncio.run(
        talk_through([sys.executable, "-c", program], recorded_question(), folder=Path.cwd())
    )
    row = row_of_talk("x", "1", talk, talks=True)
    assert row["faults"] == ["OSError: no server answers", "did not connect"]


def test_what_a_talk_lacks_is_said() -> None:
    def told(kind: str, value: str) -> Told:
        return Told(time_s=0.0, kind=kind, value=value)

    talk = ClientTalk(interrupted_s=4.0)
    talk.told += [told("connected", ""), told("heard", "eight plus"), told("said", "one moment")]
    talk.told.append(told("error", "no such parameter"))
    assert row_of_talk("x", "1", talk, talks=True)["faults"] == [
        "error: no such parameter",
        "heard 'eight plus'",
        "said 'one moment'",
        "no result came back",
        "nothing was there to interrupt",
    ]


def test_a_slow_machine_is_a_reason_where_something_failed() -> None:
    late = blame_the_machine({"faults": ["heard 'eight'"]}, n_dropped=3)
    assert late["faults"] == [
        "heard 'eight'",
        "the machine is too slow: 3 micro-turns of sound were not answered",
    ]
    assert blame_the_machine({"faults": []}, n_dropped=3)["faults"] == []
    assert blame_the_machine({"faults": ["x"]}, n_dropped=0)["faults"] == ["x"]


def test_the_page_of_clients_has_the_commands_that_install_what_is_run() -> None:
    page = (ROOT / "docs" / "clients.md").read_text("utf-8")
    for client in CLIENTS:
        for name, version in client.packages:
            word = f"{name}@{version}" if client.home == "npm" else f"{name}=={version}"
            assert word in page or client.home == "ours", f"docs/clients.md lacks {word}"
