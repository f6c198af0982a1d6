"""What becomes of the events of an agent: steps for the page, cards, and words for the model."""

from dataclasses import replace

import numpy as np
import pytest

from microturn.inference.agent.agent import AgentEvent, Emit, Job, Status
from microturn.inference.agent.cards import Card, ListCard, TextCard
from microturn.inference.agent.delegation import (
    CardEvent,
    ConversationRecord,
    DelegationEvent,
    ResultEvent,
)
from microturn.inference.agent.delegations import Delegations
from microturn.inference.agent.package import ContextPackage, TypedMessage
from microturn.inference.agent.speakable import Speakable
from microturn.inference.config import AgentConfig
from microturn.inference.transcript import TranscriptWord
from microturn.model.checkpoint import TINY_LAYOUT
from microturn.model.streams import FAILED_RESULT

LAYOUT = TINY_LAYOUT  # one token of text a micro-turn
OPEN = Speakable(count_tokens=lambda words: len(words.split()), can_spell=str.isascii)
CONFIG = AgentConfig(settle_s=0.2, latency_s=0.4, timeout_s=4.0, result_s=2.0)  # 10 tokens


class ToldAgent:
    """An agent that says what the test says."""

    def __init__(self) -> None:
        self.packages: dict[str, ContextPackage] = {}
        self.cancelled: list[str] = []
        self._emits: dict[str, tuple[Emit, int]] = {}

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        self.packages[package.delegation_id] = package
        self._emits[package.delegation_id] = emit, 0
        return _Job(self, package.delegation_id)

    def say(
        self, id: str, status: Status, text: str = "", *cards: Card, supersedes: str = ""
    ) -> None:
        emit, seq = self._emits[id]
        self._emits[id] = emit, seq + 1
        emit(
            AgentEvent(
                delegation_id=id,
                seq=seq,
                status=status,
                text=text,
                cards=cards,
                supersedes=supersedes,
            )
        )

    def close(self) -> None:
        pass


class _Job:
    def __init__(self, agent: ToldAgent, id: str) -> None:
        self._agent, self._id = agent, id

    def cancel(self) -> None:
        self._agent.cancelled.append(self._id)


class Talk:
    """The delegations of a conversation on a clock of the test."""

    def __init__(self, config: AgentConfig = CONFIG, voice: Speakable = OPEN) -> None:
        self.agent, self.record, self.now = ToldAgent(), ConversationRecord(), 0
        self.delegations = Delegations(
            self.agent, config, record=self.record, layout=LAYOUT, voice=voice
        )
        self.cards: list[CardEvent] = []
        self.steps: list[DelegationEvent] = []

    def hear(self, *words: str) -> None:
        self.record.transcript.words += [
            TranscriptWord(side="user", text=word, micro_turn=self.now) for word in words
        ]

    def delegate(self) -> str:
        """Delegate, and let the agent read the conversation."""
        self.delegations.open()
        self.pass_by(1)
        return self.delegations.all[-1].id

    def pass_by(self, n: int = 1) -> list[tuple[str, str]]:
        """Let micro-turns pass; returns what the model was told, as (status, text)."""
        told: list[tuple[str, str]] = []
        for _ in range(n):
            self.now += 1
            self.delegations.advance(self.now)
            for event in self.delegations.pop_events():
                if isinstance(event, ResultEvent):
                    told.append((event.status, event.text))
                elif isinstance(event, CardEvent):
                    self.cards.append(event)
                else:
                    self.steps.append(event)
        return told


def test_a_result_comes_no_sooner_than_its_time_and_the_package_says_all() -> None:
    talk = Talk(voice=replace(OPEN, words=frozenset(("eleven", "nine"))))
    talk.record.instructions = "be brief"
    talk.record.frames = {"video": np.zeros((4, 4, 3), np.uint8)}
    talk.hear("eight", "plus", "three")
    talk.record.typed.append(TypedMessage(text="quickly", micro_turn=0))
    talk.now = 5
    talk.delegations.advance(5)
    first = talk.delegate()
    package = talk.agent.packages[first]
    assert (package.micro_turn, package.asked_after, package.text_budget) == (5, 0, 10)
    assert (package.speakable, package.instructions) == (("eleven", "nine"), "be brief")
    assert [typed.text for typed in package.typed] == ["quickly"]
    assert package.still is not None
    talk.agent.say(first, "progress", "counting")
    talk.agent.say(first, "final", "11")
    assert talk.pass_by() == [("final", "eleven")]
    assert [step.event.text for step in talk.steps] == ["counting", "11"]
    talk.hear("and", "nine")
    second = talk.delegate()
    package = talk.agent.packages[second]
    assert package.asked_after == 6
    assert [(r.delegation_id, r.text) for r in package.results] == [("d1", "eleven")]
    assert package.pending == ()


def test_pending_work_is_known_by_what_it_is_about_and_how_far_it_is() -> None:
    talk = Talk()
    talk.now = 1
    talk.hear("search", "for", "boats")
    first = talk.delegate()
    talk.agent.say(first, "progress", "40 of 80 files")
    talk.pass_by()
    talk.hear("how", "far", "are", "you")
    package = talk.agent.packages[talk.delegate()]
    (pending,) = package.pending
    assert (pending.about, pending.progress) == ("search for boats", "40 of 80 files")


def test_partial_results_are_told_at_once_and_the_rest_follows() -> None:
    talk = Talk()
    one = talk.delegate()
    talk.agent.say(one, "partial", "First half.")
    assert talk.pass_by() == [("partial", "first half")]
    talk.agent.say(one, "partial", "Second half.")
    talk.agent.say(one, "final", "")
    assert talk.pass_by() == [("partial", "second half")]
    assert talk.delegations.all[0].is_over
    assert talk.cards == []


def test_a_result_has_a_budget_and_the_whole_goes_on_a_card() -> None:
    talk = Talk()
    talk.now = 1
    talk.hear("weather")
    one = talk.delegate()
    talk.agent.say(one, "partial", "It is warm and the sun shines.")
    talk.agent.say(one, "partial", "Tomorrow there will be rain.")
    talk.agent.say(one, "final", "Take an umbrella.")
    assert talk.pass_by() == [
        ("partial", "it is warm and the sun shines"),
        ("final", "take an umbrella"),
    ]
    (shown,) = talk.cards
    assert shown.card == TextCard(
        title="weather", text="Tomorrow there will be rain.\nTake an umbrella."
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("screen",), [("final", "screen")]),
        (("eleven", "i'm", "sorry"), [("failed", FAILED_RESULT)]),
        (("eleven",), []),  # it has not learnt what to do with a failure
    ],
)
def test_what_the_voice_cannot_say_is_shown(
    words: tuple[str, ...], told: list[tuple[str, str]]
) -> None:
    talk = Talk(voice=replace(OPEN, words=frozenset(words)))
    one = talk.delegate()
    talk.agent.say(one, "final", "18 degrees")
    assert talk.pass_by() == told
    assert [event.card for event in talk.cards] == [TextCard(text="18 degrees")]


def test_cards_alone_are_pointed_to_and_nothing_at_all_is_a_failure() -> None:
    talk = Talk()
    one = talk.delegate()
    talk.agent.say(one, "final", "", ListCard(items=("a", "b")))
    assert talk.pass_by() == [("final", "it is on your screen")]
    two = talk.delegate()
    talk.agent.say(two, "final", "…")
    assert talk.pass_by() == [("failed", FAILED_RESULT)]
    assert [(event.delegation_id, event.number) for event in talk.cards] == [("d1", 0)]


def test_progress_reaches_a_model_that_was_trained_with_it() -> None:
    assert not Talk().pass_by(3)
    talk = Talk(replace(CONFIG, progress=True))
    one = talk.delegate()
    talk.agent.say(one, "progress", "2 of 8 files")
    assert talk.pass_by() == [("progress", "two of eight files")]


def test_a_newer_delegation_takes_the_place_of_an_older_one() -> None:
    talk = Talk()
    old, new = talk.delegate(), talk.delegate()
    talk.agent.say(new, "progress", "searching", supersedes=old)
    talk.agent.say(old, "final", "nine")
    talk.agent.say(new, "final", "ten")
    assert talk.pass_by(2) == [("final", "ten")]
    assert talk.agent.cancelled == [old]
    assert talk.delegations.all[0].events[-1].event.text == "d2 takes its place"


def test_nothing_of_a_cancelled_delegation_is_said() -> None:
    talk = Talk(replace(CONFIG, latency_s=2.0))
    one = talk.delegate()
    talk.agent.say(one, "final", "nine")
    talk.pass_by()
    talk.delegations.cancel(one)
    assert talk.pass_by(20) == []
    with pytest.raises(ValueError, match="no delegation 'd1' is under way"):
        talk.delegations.cancel(one)


def test_an_agent_that_tells_too_much_costs_bounded_memory() -> None:
    talk = Talk()
    one = talk.delegate()
    for _ in range(5_000):
        talk.agent.say(one, "progress", "x", TextCard(text="x"))
    talk.agent.say(one, "final", "nine")
    assert talk.pass_by() == [("final", "nine")]
    assert len(talk.delegations.all[0].events) <= 1_002
    assert len(talk.cards) == 8
