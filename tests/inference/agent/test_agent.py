import json
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event

import pytest

from microturn.inference.agent.agent import OVER, AgentEvent, ContextPackage, OfflineAgent
from microturn.inference.transcript import TranscriptWord
from microturn.model.streams import StreamLayout

WAIT_S = 10.0


def package(said: str, *, delegation_id: str = "d1") -> ContextPackage:
    words = tuple(
        TranscriptWord(side="user", text=text, micro_turn=index)
        for index, text in enumerate(said.split())
    )
    return ContextPackage(
        delegation_id=delegation_id,
        micro_turn=12,
        micro_turn_ms=StreamLayout().micro_turn_ms,
        words=(*words, TranscriptWord(side="agent", text="moment", micro_turn=13)),
        pending=("d0",),
    )


def events_of(inbox: SimpleQueue[AgentEvent]) -> list[AgentEvent]:
    events = [inbox.get(timeout=WAIT_S)]
    while events[-1].status not in OVER:
        events.append(inbox.get(timeout=WAIT_S))
    return events


@pytest.fixture
def agent() -> Iterator[OfflineAgent]:
    agent = OfflineAgent()
    yield agent
    agent.close()


def test_work_is_accepted_goes_on_and_ends(agent: OfflineAgent) -> None:
    inbox: SimpleQueue[AgentEvent] = SimpleQueue()
    agent.submit(package("eight plus three"), inbox.put)
    events = events_of(inbox)
    assert [event.status for event in events] == ["accepted", "progress", "final"]
    assert [event.seq for event in events] == [0, 1, 2]
    assert {event.delegation_id for event in events} == {"d1"}
    assert events[1].text == "calculator: 8 + 3"
    assert events[2].text == "eleven"


def test_words_of_the_agent_are_no_request(agent: OfflineAgent) -> None:
    inbox: SimpleQueue[AgentEvent] = SimpleQueue()
    agent.submit(package("hello"), inbox.put)
    events = events_of(inbox)
    assert [event.status for event in events] == ["accepted", "failed"]
    assert "asks for a calculation" in events[-1].text


def test_submit_does_not_wait_and_cancelled_work_stays_silent() -> None:
    agent = OfflineAgent(n_workers=1)
    entered, release = Event(), Event()
    inbox: SimpleQueue[AgentEvent] = SimpleQueue()

    def hold(event: AgentEvent) -> None:  # keeps the only worker busy
        if event.status == "progress":
            entered.set()
            release.wait(WAIT_S)

    try:
        agent.submit(package("one plus one"), hold)
        assert entered.wait(WAIT_S)
        job = agent.submit(package("eight plus three", delegation_id="d2"), inbox.put)
        job.cancel()
        job.cancel()
        release.set()
        assert [event.status for event in events_of(inbox)] == ["accepted", "cancelled"]
    finally:
        release.set()
        agent.close()
    assert inbox.empty()


def test_the_package_has_times_in_seconds() -> None:
    values = json.loads(json.dumps(package("eight plus").to_json()))
    assert values == {
        "delegation_id": "d1",
        "time_s": 2.4,
        "words": [
            {"side": "user", "text": "eight", "time_s": 0.0},
            {"side": "user", "text": "plus", "time_s": 0.2},
            {"side": "agent", "text": "moment", "time_s": 2.6},
        ],
        "pending": ["d0"],
    }
