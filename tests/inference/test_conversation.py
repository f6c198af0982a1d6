"""The layer between token ids and the words of a conversation.

A tiny untrained model cannot be made to say `<delegate>`, so here, and only here, the tokens of a
real `RowBatch` are replaced by a script; its audio, its text input and its clock are real.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from microturn.inference.agent.agent import AgentEvent, BackgroundAgent, Emit, Job
from microturn.inference.agent.delegation import DelegationEvent, ResultEvent
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.process import AgentProcess
from microturn.inference.answered_recording import AnsweredRecording, answer_recording
from microturn.inference.config import AgentConfig
from microturn.inference.conversation import Conversation, UtteranceEndEvent, WordEvent
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.talk import words_json
from microturn.inference.transcript import WordStream
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import (
    BG,
    BG_END,
    CANCEL,
    DELEGATE,
    EOS,
    FAILED_RESULT,
    IDLE,
    USER,
    StreamLayout,
    Tokenizer,
)
from microturn.model.streams.pcm import Audio
from support.scripted import scripted_ids

Script = dict[int, str]


class ScriptedBatch(RowBatch):
    """A session whose `heard` and `say` come from a script, by micro-turn."""

    def __init__(self, checkpoint: LoadedCheckpoint, *, heard: Script, say: Script) -> None:
        super().__init__(checkpoint, 1)
        self.script = heard, say
        self.text_seen: list[list[int]] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        k = len(self.text_seen)
        self.text_seen.append(list(inputs[0].text_in))
        real = super().step_rows(inputs)[0]
        heard, say = (scripted_ids(self.tokenizer, lane.get(k, "")) for lane in self.script)
        return {0: MicroTurnOut(audio=real.audio, tokens={"heard": heard, "say": say})}


class SlowAgent:
    """Accepts work and never ends it by itself."""

    def __init__(self) -> None:
        self.packages: list[ContextPackage] = []

    def submit(self, package: ContextPackage, emit: Emit) -> Job:
        self.packages.append(package)
        emit(AgentEvent(delegation_id=package.delegation_id, seq=0, status="accepted"))
        return _SlowJob(package, emit)

    def close(self) -> None:
        pass


class _SlowJob:
    def __init__(self, package: ContextPackage, emit: Emit) -> None:
        self._id, self._emit = package.delegation_id, emit

    def cancel(self) -> None:
        self._emit(AgentEvent(delegation_id=self._id, seq=1, status="cancelled"))


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    agent = AgentProcess(AgentConfig())
    yield agent
    agent.close()


def conversation_of(
    checkpoint: LoadedCheckpoint, agent: BackgroundAgent | None, **settings: float
) -> Conversation:
    return Conversation(
        checkpoint.layout,
        checkpoint.tokenizer,
        agent=agent,
        config=AgentConfig(**settings),  # type: ignore[arg-type]
        wait_for_agent=isinstance(agent, AgentProcess),
    )


def output_of(heard: list[int], say: list[int]) -> MicroTurnOut:
    return MicroTurnOut(audio=np.zeros(0, np.float32), tokens={"heard": heard, "say": say})


def play(
    checkpoint: LoadedCheckpoint, conversation: Conversation, n: int, *, heard: Script, say: Script
) -> tuple[AnsweredRecording, ScriptedBatch]:
    batch = ScriptedBatch(checkpoint, heard=heard, say=say)
    samples: Audio = np.zeros(n * checkpoint.layout.samples_per_micro_turn, np.float32)
    talk = answer_recording(batch, samples, conversation=conversation, progress=False)
    return talk, batch


def told(batch: ScriptedBatch) -> list[int]:
    """Everything that the model has read."""
    return [token_id for ids in batch.text_seen for token_id in ids]


def failure(checkpoint: LoadedCheckpoint) -> list[int]:
    return [BG, *checkpoint.tokenizer.encode(FAILED_RESULT), BG_END]


ASKED = {2: "eight", 4: "plus", 6: "three"}
DELEGATED = {8: "<delegate>", 9: "one", 10: "moment"}


def test_delegation_reaches_the_calculator_and_its_result_returns_on_text_in(
    checkpoint: LoadedCheckpoint, agent: AgentProcess
) -> None:
    conversation = conversation_of(checkpoint, agent, latency_s=1.0)
    talk, batch = play(checkpoint, conversation, 30, heard=ASKED, say=DELEGATED)
    arrived = told(batch)
    assert arrived == [BG, *checkpoint.tokenizer.encode("eleven"), BG_END]
    assert (arrived[0], arrived[-1]) == (BG, BG_END)
    first = next(k for k, ids in enumerate(batch.text_seen) if ids)
    assert first == 8 + 5  # a second after <delegate>
    positions = checkpoint.layout.text_in_positions
    assert all(len(ids) <= positions for ids in batch.text_seen)

    words = words_json(talk)
    assert [word["text"] for word in words["heard"]] == ["eight", "plus", "three"]
    assert [word["time_s"] for word in words["heard"]] == [0.6, 1.0, 1.4]
    assert [word["text"] for word in words["said"]] == ["one", "moment"]
    assert [word["time_s"] for word in words["said"]] == [2.0, 2.2]
    result = {"id": "d1", "status": "final", "text": "eleven", "time_s": 2.6}
    assert words["results"] == [result]
    (delegation,) = words["delegations"]
    assert delegation["time_s"] == 1.8
    assert [s["status"] for s in delegation["steps"]] == ["accepted", "progress", "final"]


def test_the_agent_reads_words_heard_just_after_the_delegation(
    checkpoint: LoadedCheckpoint, agent: AgentProcess
) -> None:
    conversation = conversation_of(checkpoint, agent, settle_s=0.6, latency_s=1.0)
    asked = {2: "eight", 4: "plus", 9: "three"}
    talk, _ = play(checkpoint, conversation, 30, heard=asked, say=DELEGATED)
    assert words_json(talk)["results"][0]["text"] == "eleven"


def test_the_agent_gets_the_whole_conversation(checkpoint: LoadedCheckpoint) -> None:
    agent = SlowAgent()
    conversation = conversation_of(checkpoint, agent)
    say = {1: "hello", 8: "<delegate>", 12: "<delegate>"}
    play(checkpoint, conversation, 20, heard=ASKED, say=say)
    first, second = agent.packages
    assert [(w.side, w.text) for w in first.words] == [
        ("agent", "hello"),
        ("user", "eight"),
        ("user", "plus"),
        ("user", "three"),
    ]
    assert [w.micro_turn for w in first.words] == [2, 3, 5, 7]
    assert (first.micro_turn, first.pending) == (8, ())
    assert second.micro_turn == 12
    assert [(p.delegation_id, p.about) for p in second.pending] == [("d1", "eight plus three")]


def test_cancel_token_and_cancel_call_end_the_work(checkpoint: LoadedCheckpoint) -> None:
    conversation = conversation_of(checkpoint, SlowAgent())
    say = {2: "<delegate>", 6: "<cancel>", 8: "<delegate>"}
    play(checkpoint, conversation, 12, heard={}, say=say)
    assert [d.status for d in conversation.delegations] == ["cancelled", "cancelled"]
    with pytest.raises(ValueError, match="no delegation 'd1' is under way"):
        conversation.cancel("d1")


def test_work_that_takes_too_long_fails_and_the_model_is_told(
    checkpoint: LoadedCheckpoint,
) -> None:
    conversation = conversation_of(checkpoint, SlowAgent(), timeout_s=1.0)
    _, batch = play(checkpoint, conversation, 30, heard={}, say={2: "<delegate>"})
    (delegation,) = conversation.delegations
    assert told(batch) == failure(checkpoint)
    assert delegation.status == "failed"
    assert delegation.events[-1].event.text == "no answer within 1 s"
    assert delegation.events[-1].micro_turn == 2 + 8  # never sooner than latency_s


def test_too_many_at_once_and_no_agent_at_all_fail_at_once(checkpoint: LoadedCheckpoint) -> None:
    say = dict.fromkeys(range(4), "<delegate>")
    conversation = conversation_of(checkpoint, SlowAgent(), max_pending=2, latency_s=1.0)
    _, batch = play(checkpoint, conversation, 40, heard={}, say=say)
    assert told(batch) == 2 * failure(checkpoint)
    assert [d.status for d in conversation.delegations] == [
        "cancelled",
        "cancelled",
        "failed",
        "failed",
    ]
    alone = conversation_of(checkpoint, None)
    _, batch = play(checkpoint, alone, 40, heard={}, say={1: "<delegate>"})
    assert told(batch) == failure(checkpoint)
    assert alone.delegations[0].events[0].event.text == "no background agent is switched on"


def test_a_request_that_cannot_be_answered_reaches_the_model_as_a_failure(
    checkpoint: LoadedCheckpoint, agent: AgentProcess
) -> None:
    conversation = conversation_of(checkpoint, agent)
    _, batch = play(checkpoint, conversation, 40, heard={1: "eight"}, say={2: "<delegate>"})
    assert conversation.delegations[0].status == "failed"
    assert told(batch) == failure(checkpoint)


def test_events_tell_words_steps_and_results_in_order(
    checkpoint: LoadedCheckpoint, agent: AgentProcess
) -> None:
    conversation = conversation_of(checkpoint, agent, latency_s=1.0)
    happened = []
    for k in range(20):
        conversation.next_text()
        heard, say = (scripted_ids(checkpoint.tokenizer, x.get(k, "")) for x in (ASKED, DELEGATED))
        happened += conversation.read_output(output_of(heard, say))
    names = [
        event.word.text
        if isinstance(event, WordEvent)
        else event.event.status
        if isinstance(event, DelegationEvent)
        else f"result {event.text}"
        for event in happened
    ]
    work = [name for name in names if name in ("accepted", "progress", "final")]
    assert work == ["accepted", "progress", "final"]
    assert names.index("three") < names.index("accepted") < names.index("result eleven")
    assert [e.micro_turn for e in happened if isinstance(e, ResultEvent)] == [13]


def test_the_end_of_an_utterance_is_an_event(checkpoint: LoadedCheckpoint) -> None:
    conversation = conversation_of(checkpoint, None)
    events = []
    for k in range(4):
        say = [*checkpoint.tokenizer.encode("three"), EOS] if k == 2 else []
        events += conversation.read_output(output_of([], say))
    ends = [event for event in events if isinstance(event, UtteranceEndEvent)]
    assert ends == [UtteranceEndEvent(micro_turn=3)]  # what is made in one is played in the next


def test_typed_text_goes_in_first_in_first_out(checkpoint: LoadedCheckpoint) -> None:
    conversation = conversation_of(checkpoint, None)
    conversation.type_text("eight plus")
    conversation.type_text("three")
    arrived: list[int] = []
    while ids := conversation.next_text():
        assert len(ids) <= checkpoint.layout.text_in_positions
        arrived += ids
        conversation.read_output(output_of([], []))
    encode = checkpoint.tokenizer.encode
    assert arrived == [USER, *encode("eight plus"), USER, *encode("three")]
    with pytest.raises(ValueError, match="text tokens wait already"):
        conversation.type_text("three " * 1_000)


def test_a_layout_without_text_input_says_so(checkpoint: LoadedCheckpoint) -> None:
    deaf = LoadedCheckpoint(
        checkpoint.model, StreamLayout(text_in_positions=0), checkpoint.tokenizer
    )
    with pytest.raises(ValueError, match="text_in_positions=0"):
        conversation_of(deaf, None).type_text("hello")


# --- words out of ids ------------------------------------------------------------------------
def pieces_of(tokenizer: Tokenizer, word: str) -> list[int]:
    ids = tokenizer.encode(word)
    assert len(ids) > 1, "a word that the tokenizer keeps whole shows nothing here"
    return ids


def test_a_word_in_pieces_has_the_time_of_its_first_piece(checkpoint: LoadedCheckpoint) -> None:
    words = WordStream(checkpoint.tokenizer, "agent")
    pieces = pieces_of(checkpoint.tokenizer, "eighteleven")
    found = []
    for k, piece in enumerate(pieces):
        found += words.add_ids([IDLE, piece], k)
    assert found == []  # its next piece might still come
    found = words.add_ids([IDLE, IDLE], len(pieces))
    assert [(w.text, w.micro_turn) for w in found] == [("eighteleven", 1)]


def test_control_tokens_end_words_and_are_none(checkpoint: LoadedCheckpoint) -> None:
    encode = checkpoint.tokenizer.encode
    words = WordStream(checkpoint.tokenizer, "agent")
    found = words.add_ids([*encode("eight"), EOS, DELEGATE, CANCEL, *encode("three")], 0)
    found += words.flush()
    assert [w.text for w in found] == ["eight", "three"]


def test_a_word_without_an_end_is_returned_after_a_while(checkpoint: LoadedCheckpoint) -> None:
    words = WordStream(checkpoint.tokenizer, "user")
    piece = pieces_of(checkpoint.tokenizer, "eighteleven")[-1]
    found = [word for k in range(500) for word in words.add_ids([piece], k)]
    assert len(found) > 10
