"""The process of the background agent: a real one, with back ends that ships and that misbehave."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microturn.inference.agent.agent import OVER
from microturn.inference.agent.cards import TextCard
from microturn.inference.agent.package import (
    ContextPackage,
    EarlierResult,
    PendingWork,
    Still,
    TypedMessage,
)
from microturn.inference.agent.process import STOPPED, AgentProcess
from microturn.inference.config import AgentConfig
from support.back_ends import end_of, package, submitted, words_of


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    agent = AgentProcess(AgentConfig())
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def unruly() -> Iterator[AgentProcess]:
    """A back end that does what it is told, wrong things too."""
    agent = AgentProcess(unruly_config())
    yield agent
    agent.close()


def unruly_config(**settings: float) -> AgentConfig:
    return AgentConfig(
        backend="support.back_ends:make_unruly",
        options={"greeting": "hello"},
        **settings,  # type: ignore[arg-type]
    )


def test_work_is_accepted_goes_on_and_ends(agent: AgentProcess) -> None:
    inbox, _ = submitted(agent, package("eight plus three"))
    events = inbox.until(*OVER)
    assert [event.status for event in events] == ["accepted", "progress", "final"]
    assert [event.seq for event in events] == [0, 1, 2]
    assert {event.delegation_id for event in events} == {"d1"}
    assert events[1].text == "calculator: 8 + 3"
    assert events[2].text == "eleven"


def test_words_of_the_agent_are_no_request(agent: AgentProcess) -> None:
    inbox, _ = submitted(agent, package("hello"))
    events = inbox.until(*OVER)
    assert [event.status for event in events] == ["accepted", "failed"]
    assert "nothing in the conversation asks" in events[-1].text


def test_an_old_request_is_not_answered_again(agent: AgentProcess) -> None:
    old = package("eight plus three", asked_after=3)
    inbox, _ = submitted(agent, old)
    event = inbox.until(*OVER)[-1]
    assert (event.status, event.text) == ("failed", "nothing was asked since the last delegation")


def test_delegations_are_worked_on_at_once_and_cancelled_alone(unruly: AgentProcess) -> None:
    hanging, job = submitted(unruly, package("hang"))
    hanging.until("accepted")
    assert end_of(unruly, "say hello").text == "hello"
    job.cancel()
    job.cancel()
    assert hanging.until(*OVER)[-1].status == "cancelled"
    assert end_of(unruly, "was cancelled").text == "1"  # the coroutine has ended, too
    assert hanging.is_empty()


def test_partial_results_progress_and_cards_come_while_it_works(unruly: AgentProcess) -> None:
    inbox, _ = submitted(unruly, package("stream"))
    events = inbox.until(*OVER)
    assert [(e.status, e.text) for e in events if not e.cards] == [
        ("accepted", ""),
        ("progress", "1 of 2"),
        ("partial", "first half"),
        ("final", "second half"),
    ]
    assert [event.cards for event in events if event.cards] == [(TextCard(text="a\nb", title="t"),)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("raise", "the background agent failed: RuntimeError: broken"),
        ("refuse", "it cannot be known"),
        ("nonsense", "returns an Reply, not dict"),
    ],
)
def test_what_goes_wrong_is_a_failure_with_a_sentence(
    unruly: AgentProcess, said: str, reason: str
) -> None:
    event = end_of(unruly, said)
    assert event.status == "failed"
    assert reason in event.text
    assert end_of(unruly, "say hello").text == "hello"


def test_a_flood_is_cut_to_size(unruly: AgentProcess) -> None:
    inbox, _ = submitted(unruly, package("flood"))
    events = inbox.until(*OVER)
    assert len(events) < 150
    assert len(events[-1].text) <= 4_000
    assert sum(len(event.cards) for event in events) <= 8 + 8  # before the end, and with it


def test_a_process_that_dies_fails_its_work_and_is_replaced() -> None:
    agent = AgentProcess(unruly_config())
    try:
        waiting, _ = submitted(agent, package("hang"))
        waiting.until("accepted")
        assert end_of(agent, "die").text == STOPPED
        assert waiting.until(*OVER)[-1].text == STOPPED
        assert end_of(agent, "say hello").text == "hello"
    finally:
        agent.close()


def test_a_process_that_takes_no_more_work_is_replaced() -> None:
    agent = AgentProcess(unruly_config(timeout_s=1.0))
    try:
        assert end_of(agent, "say hello").text == "hello"
        blocking, blocked = submitted(agent, package("block"))
        blocking.until("accepted")
        unheard, job = submitted(agent, package("say hello"))
        blocked.cancel()
        subprocess.run(["sleep", "0.6"], check=True)  # longer than half of the time-out
        job.cancel()
        assert unheard.until(*OVER)[-1].status == "cancelled"
        for _ in range(20):  # the old one may still be dying
            if (event := end_of(agent, "say hello")).status == "final":
                break
        assert event.text == "hello"
    finally:
        agent.close()


def test_a_back_end_that_cannot_be_made_says_so_to_every_delegation() -> None:
    agent = AgentProcess(AgentConfig(backend="support.back_ends:nothing"))
    try:
        event = end_of(agent, "eight plus three")
        assert event.status == "failed"
        assert "agent.backend=support.back_ends:nothing cannot be imported" in event.text
    finally:
        agent.close()


def test_the_process_ends_with_its_server(tmp_path: Path) -> None:
    code = (
        "from microturn.inference.agent.process import AgentProcess;"
        "from microturn.inference.config import AgentConfig;"
        "agent = AgentProcess(AgentConfig()); print(agent._worker._process.pid, flush=True);"
        "import time; time.sleep(60)"
    )
    command = [os.sys.executable, "-c", code]  # type: ignore[attr-defined]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        child = int(server.stdout.readline())
        server.send_signal(signal.SIGKILL)
    for _ in range(200):
        if not Path(f"/proc/{child}/status").exists() or _is_gone(child):
            return
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError("the process of the agent outlives its server")


def _is_gone(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_the_package_has_times_in_seconds_and_comes_back_whole() -> None:
    whole = package(
        "eight plus",
        asked_after=1,
        typed=(TypedMessage(text="<bg> three", micro_turn=4),),
        results=(EarlierResult(delegation_id="d0", status="final", text="nine", micro_turn=5),),
        pending=(PendingWork(delegation_id="d2", about="a", progress="1 of 2", micro_turn=6),),
        instructions="be brief",
        speakable=("eight", "nine"),
        text_budget=40,
        still=Still.of("video", np.zeros((2, 3, 3), np.uint8)),
    )
    values = json.loads(json.dumps(whole.to_json()))
    assert values["words"] == [
        {"side": "user", "text": "eight", "time_s": 0.2},
        {"side": "user", "text": "plus", "time_s": 0.4},
        {"side": "agent", "text": "moment", "time_s": 2.6, "played": False},
    ]
    assert values["typed"] == [{"text": "<bg> three", "time_s": 0.8}]
    assert (values["time_s"], values["text_budget"]) == (2.4, 40)
    assert values["speakable"] == ["eight", "nine"]
    assert ContextPackage.from_json(values) == whole
    assert words_of(ContextPackage.from_json(package("").to_json())) == ["moment"]


def test_typed_and_heard_words_are_asked_in_order_of_time() -> None:
    typed = (TypedMessage(text="Plus THREE", micro_turn=1),)
    asked = package("eight minus", typed=typed).asked
    assert [word for word, _ in asked] == ["eight", "plus", "three", "minus"]


def test_a_still_is_a_picture() -> None:
    from io import BytesIO

    from PIL import Image

    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Image.open(BytesIO(Still.of("video", frame).png)) as picture:
        assert np.array_equal(np.asarray(picture), frame)
