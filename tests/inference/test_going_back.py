"""A conversation goes back to an earlier copy of itself, or has a twin: its words and its work."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from microturn.inference.agent.agent import AgentEvent, Emit, Job, Status
from microturn.inference.agent.delegation import DelegationEvent, ResultEvent
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import AgentConfig, NotesConfig
from microturn.inference.conversation import Conversation, ConversationEvent
from microturn.inference.micro_turn import MicroTurnOut
from microturn.inference.notes import make_notes
from microturn.model.checkpoint import LoadedCheckpoint
from support.scripted import scripted_ids

Step = tuple[str, str]  # what is heard and said in a micro-turn
PROMPT = AgentConfig(settle_s=0.0, latency_s=0.0)


@dataclass
class WaitingAgent:
    """An agent that says what the test says, when it says so."""

    emits: dict[str, Emit] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        self.emits[package.delegation_id] = emit
        return _WaitingJob(self, package.delegation_id)

    def say(self, name: str, status: Status, text: str) -> None:
        self.emits[name](AgentEvent(delegation_id=name, seq=0, status=status, text=text))

    def close(self) -> None:
        pass


@dataclass
class _WaitingJob:
    agent: WaitingAgent
    name: str

    def cancel(self) -> None:
        self.agent.cancelled.append(self.name)
        self.agent.say(self.name, "cancelled", "")


@pytest.fixture
def agent() -> WaitingAgent:
    return WaitingAgent()


@pytest.fixture
def conversation(checkpoint: LoadedCheckpoint, agent: WaitingAgent) -> Conversation:
    layout, tokenizer = checkpoint.layout, checkpoint.tokenizer
    notes = make_notes(NotesConfig(enabled=True), tokenizer=tokenizer, layout=layout, window=3)
    return Conversation(layout, tokenizer, agent=agent, config=PROMPT, name="s1-", notes=notes)


def live(
    conversation: Conversation, checkpoint: LoadedCheckpoint, *steps: Step
) -> list[tuple[list[int], list[ConversationEvent]]]:
    """Let micro-turns pass; returns the text that the model read in each, and the events."""
    told = []
    for heard, said in steps:
        ids = conversation.next_text()
        tokens = {
            "heard": scripted_ids(checkpoint.tokenizer, heard),
            "say": scripted_ids(checkpoint.tokenizer, said),
        }
        output = MicroTurnOut(audio=np.zeros(0, np.float32), tokens=tokens)
        told.append((ids, conversation.read_output(output)))
    return told


def results_of(told: list[tuple[list[int], list[ConversationEvent]]]) -> list[str]:
    return [e.text for _, events in told for e in events if isinstance(e, ResultEvent)]


def steps_of(told: list[tuple[list[int], list[ConversationEvent]]]) -> list[tuple[str, Status]]:
    return [
        (e.event.delegation_id, e.event.status)
        for _, events in told
        for e in events
        if isinstance(e, DelegationEvent)
    ]


QUIET: Step = ("", "")


def test_words_notes_and_typed_text_are_those_of_before(
    conversation: Conversation, checkpoint: LoadedCheckpoint
) -> None:
    before = [("one", ""), ("eight", "three"), QUIET, QUIET, QUIET, ("four", "five")]
    after = [("six", ""), *[QUIET] * 20, ("", "nine"), QUIET]
    conversation.type_text("one")
    live(conversation, checkpoint, *before)
    kept, expected = conversation.copy(), conversation.copy()
    conversation.type_text("five")
    live(conversation, checkpoint, ("seven", "nine"), *[QUIET] * 6)
    conversation.go_back_to(kept)
    assert live(kept, checkpoint, *after) == live(expected, checkpoint, *after)
    assert [word.text for word in kept.transcript.words][:3] == ["one", "eight", "three"]
    assert [typed.text for typed in kept.record.typed] == ["one"]
    assert kept.notes is not None
    assert kept.notes.lines == expected.notes.lines  # type: ignore[union-attr]
    assert any("four" in line for line in kept.notes.lines)
    assert not any("seven" in line for line in kept.notes.lines)


def test_work_that_was_begun_since_then_ends_and_its_name_is_not_used_again(
    conversation: Conversation, checkpoint: LoadedCheckpoint, agent: WaitingAgent
) -> None:
    kept = conversation.copy()
    told = live(conversation, checkpoint, ("one", "<delegate>"), QUIET)
    assert list(agent.emits) == ["s1-d1"]
    assert told
    conversation.go_back_to(kept)
    assert agent.cancelled == ["s1-d1"]
    told = live(kept, checkpoint, ("", "<delegate>"), QUIET)
    assert list(agent.emits) == ["s1-d1", "s1-d2"]
    agent.say("s1-d1", "final", "one")
    agent.say("s1-d2", "final", "five")
    assert results_of(live(kept, checkpoint, QUIET)) == ["five"]


def test_a_result_that_was_told_since_then_is_told_again(
    conversation: Conversation, checkpoint: LoadedCheckpoint, agent: WaitingAgent
) -> None:
    live(conversation, checkpoint, ("", "<delegate>"), QUIET)
    kept = conversation.copy()
    agent.say("s1-d1", "final", "five")
    told = live(conversation, checkpoint, *[QUIET] * 4)
    assert results_of(told) == ["five"]
    conversation.go_back_to(kept)
    assert live(kept, checkpoint, *[QUIET] * 4) == told
    assert agent.cancelled == []


def test_twins_hear_of_the_same_work_and_end_it_only_together(
    conversation: Conversation, checkpoint: LoadedCheckpoint, agent: WaitingAgent
) -> None:
    live(conversation, checkpoint, ("one", "<delegate>"), QUIET)
    twin, third = conversation.twin("s2-"), conversation.twin("s3-")
    third.cancel("s1-d1")
    assert agent.cancelled == []
    agent.say("s1-d1", "partial", "four")
    again = [("two", "<delegate>"), QUIET, QUIET]
    told, told_twin = live(conversation, checkpoint, *again), live(twin, checkpoint, *again)
    assert results_of(told) == results_of(told_twin) == ["four"]
    assert [ids for ids, _ in told] == [ids for ids, _ in told_twin]
    assert list(agent.emits) == ["s1-d1", "s1-d2", "s2-d2"]  # work of each has its own name
    conversation.finish()
    assert agent.cancelled == ["s1-d2"]
    agent.say("s1-d1", "final", "five")
    assert results_of(live(twin, checkpoint, QUIET)) == ["five"]
    twin.finish()
    assert agent.cancelled == ["s1-d2", "s2-d2"]


def test_the_client_of_a_twin_is_asked_again(
    conversation: Conversation, checkpoint: LoadedCheckpoint, agent: WaitingAgent
) -> None:
    conversation.delegate_to_client()
    told = live(conversation, checkpoint, ("one", "<delegate>"), QUIET)
    assert steps_of(told) == [("s1-d1", "accepted")]
    twin = conversation.twin("s2-")
    conversation.add_context("commentary", "five", delegation_id="s1-d1")
    assert results_of(live(conversation, checkpoint, QUIET)) == ["five"]
    told = live(twin, checkpoint, QUIET)
    assert steps_of(told) == [("s1-d1", "accepted")]
    assert results_of(told) == []
    twin.add_context("commentary", "nine", delegation_id="s1-d1")
    assert results_of(live(twin, checkpoint, QUIET)) == ["nine"]
