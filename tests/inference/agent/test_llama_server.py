"""The `openai` back end against the server of llama.cpp with a real, very small language model.

docs/agent.md has the command.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from microturn.inference.agent.agent import AgentEvent
from microturn.inference.agent.process import AgentProcess
from microturn.inference.config import AgentConfig, EndpointConfig
from support.back_ends import Inbox, package, submitted

SCRIPT = Path(__file__).resolve().parents[2] / "support" / "frameworks" / "llama_server.py"

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    """Asks the only model that the server lists; a busy machine writes two tokens a second."""
    command = [os.environ["MICROTURN_FRAMEWORKS_PYTHON"], str(SCRIPT)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/v1"
        endpoint = EndpointConfig(url=url, max_tokens=48)
        agent = AgentProcess(AgentConfig(backend="openai", endpoint=endpoint, timeout_s=300.0))
        try:
            yield agent
        finally:
            agent.close()
            server.kill()


def events_of(inbox: Inbox) -> list[AgentEvent]:
    """Wait for the end, for minutes if need be."""
    inbox.wait_s = 300.0
    inbox.until_over()
    return inbox.seen


def test_it_answers_in_words_of_its_own_with_the_tools_offered(agent: AgentProcess) -> None:
    inbox, _ = submitted(agent, package("what is the capital of france", text_budget=40))
    events = events_of(inbox)
    assert events[0].status == "accepted"
    assert events[-1].status == "final"
    text = "".join(event.text for event in events if event.status in ("partial", "final"))
    print(f"SmolLM2: {text!r}")
    assert "france" in text.lower()  # it has read the conversation, if it has not understood it


def test_it_writes_no_more_once_nobody_wants_it(agent: AgentProcess) -> None:
    """It has one slot: the second answer begins when the first is let go."""
    unwanted, job = submitted(agent, package("count to a thousand", text_budget=40))
    unwanted.until("accepted")
    job.cancel()
    inbox, _ = submitted(agent, package("hello", delegation_id="d2", text_budget=40))
    assert events_of(inbox)[-1].status == "final"
    assert unwanted.until_over().status == "cancelled"
