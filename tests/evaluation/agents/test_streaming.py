"""Streaming dialogues to sessions: what is read when, and where what was made ends up."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from microturn.datagen.labels.dialogue import TextLabel
from microturn.evaluation.agents.streaming import StreamedAgent, scripted_results
from microturn.evaluation.scoring.agent_output import AgentOutput, words_of_lane
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import DelegationOutcome, ResultOutcome
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import random_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.streams import BG, BG_END, EOS, IDLE, StreamLayout, Tokenizer
from support.hand_made import HandMadeDialogue
from support.scripted import scripted_ids

LAYOUT = StreamLayout()
N = LAYOUT.samples_per_micro_turn
TOKENIZER = Tokenizer.train(
    ["one two three four five six seven eight nine ten eleven monday moment"] * 20, vocab_size=300
)


@dataclass
class Scripted:
    """Sessions that emit given tokens in given micro-turns and remember what they read."""

    n_rows: int
    say: dict[int, str]  # by micro-turn
    read: list[dict[int, list[int]]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    heard_audio: list[list[np.ndarray]] = field(default_factory=list)
    layout: StreamLayout = LAYOUT
    tokenizer: Tokenizer = TOKENIZER

    def __post_init__(self) -> None:
        self.steps = [0] * self.n_rows

    def reset(self, row: int) -> None:
        self.steps[row] = 0

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        outputs = {}
        for row, micro_turn in inputs.items():
            k = self.steps[row]
            if k == 0:
                self.read.append({})
                self.heard_audio.append([])
            if micro_turn.text_in:
                self.read[-1 if self.n_rows == 1 else row][k] = list(micro_turn.text_in)
            ids = scripted_ids(TOKENIZER, self.say.get(k, ""))
            # The level of a micro-turn tells which one made it, and what it heard.
            level = np.full(N, (k + 1) / 100 + float(micro_turn.audio[0]), np.float32)
            outputs[row] = MicroTurnOut(audio=level, tokens={"heard": list(ids), "say": list(ids)})
            self.steps[row] += 1
        return outputs


def stream(script: HandMadeDialogue, say: dict[int, str], **more: Any) -> tuple[Any, Scripted]:
    sessions = Scripted(n_rows=1, say=say)
    agent = StreamedAgent(sessions, **more)
    (performance,) = agent.perform([script.sample()])
    return performance, sessions


def test_what_is_made_in_a_micro_turn_is_played_in_the_next(script: HandMadeDialogue) -> None:
    performance, _ = stream(script, {3: "five", 79: "six"})
    assert len(performance.audio) == 80 * N
    assert not performance.audio[:N].any()
    for k in range(1, 80):
        assert performance.audio[k * N] == pytest.approx(k / 100)
    (word,) = performance.words  # what was made last would be played after the end
    assert (word.text, word.start_s) == ("five", pytest.approx(0.8))
    assert [w.start_s for w in performance.heard] == pytest.approx([0.6, 15.8])


def test_the_microphone_arrives_in_order(script: HandMadeDialogue) -> None:
    sample = script.sample()
    ramp = np.repeat(np.arange(80, dtype=np.float32), N)
    object.__setattr__(sample, "load_user", lambda: ramp)
    agent = StreamedAgent(Scripted(n_rows=1, say={}))
    (performance,) = agent.perform([sample])
    for k in range(1, 80):
        assert performance.audio[k * N] == pytest.approx(k / 100 + k - 1)


def delegating(script: HandMadeDialogue) -> HandMadeDialogue:
    # asked until 2.0, recorded <delegate> played from 2.2 (made in micro-turn 10), result in 21
    script.delegation(1.0, 2.0, arrives_s=4.3, result="eleven")
    return script


def test_a_result_arrives_as_long_after_delegation_as_scripted(script: HandMadeDialogue) -> None:
    (result,) = scripted_results(delegating(script).dialogue(), LAYOUT)
    assert (result.asked_micro_turn, result.delay_micro_turns) == (9, 11)
    for made_in, arrives in ((10, 21), (13, 24)):
        performance, sessions = stream(script, {made_in: "<delegate> one"})
        (delivery,) = performance.deliveries
        assert delivery.time_s == pytest.approx(4.3 + 0.2 * (arrives - 21))
        assert delivery.scripted_s == 4.3
        assert min(sessions.read[0]) == arrives
        assert performance.delegates_s == pytest.approx([0.2 * (made_in + 1)])


def test_a_result_arrives_token_by_token_in_order(script: HandMadeDialogue) -> None:
    _, sessions = stream(delegating(script), {10: "<delegate>"})
    read = [token for k in sorted(sessions.read[0]) for token in sessions.read[0][k]]
    assert read == [BG, *TOKENIZER.encode("eleven"), BG_END]
    assert all(len(ids) <= LAYOUT.text_in_positions for ids in sessions.read[0].values())
    assert sorted(sessions.read[0]) == list(range(21, 21 + len(sessions.read[0])))


def test_without_delegation_nothing_arrives(script: HandMadeDialogue) -> None:
    performance, sessions = stream(delegating(script), {})
    assert performance.deliveries == ()
    assert sessions.read == [{}]


def test_delegating_before_anybody_asked_brings_nothing(script: HandMadeDialogue) -> None:
    performance, sessions = stream(delegating(script), {4: "<delegate>"})
    assert performance.deliveries == ()
    assert sessions.read == [{}]


def test_a_second_delegate_to_one_request_brings_nothing_more(script: HandMadeDialogue) -> None:
    performance, _ = stream(delegating(script), {10: "<delegate>", 12: "<delegate>"})
    assert len(performance.deliveries) == 1
    assert len(performance.delegates_s) == 2


def test_a_result_that_would_arrive_after_the_end_never_does(script: HandMadeDialogue) -> None:
    performance, _ = stream(delegating(script), {75: "<delegate>"})
    assert performance.deliveries == ()


def test_other_text_arrives_without_being_asked_for(script: HandMadeDialogue) -> None:
    script.messages.append(TextLabel(time_s=1.0, text="<user> two three"))
    _, sessions = stream(script, {})
    assert min(sessions.read[0]) == 5


def test_a_streamed_delegation_is_scored_like_the_recorded_one(script: HandMadeDialogue) -> None:
    delegating(script)
    say = {10: "<delegate> one", 12: "moment", 22: "eleven"}
    agent = StreamedAgent(Scripted(n_rows=1, say=say))
    (performance,) = agent.perform([script.sample()])
    outcomes = score(script.scene(performance))
    (asked,) = (o for o in outcomes if isinstance(o, DelegationOutcome))
    (result,) = (o for o in outcomes if isinstance(o, ResultOutcome))
    assert asked.delegated
    assert asked.acknowledged
    assert result.spoken


def test_dialogues_of_other_lengths_share_a_batch(script: HandMadeDialogue) -> None:
    short = replace(script, duration_s=4.0)
    sessions = Scripted(n_rows=3, say={3: "five"})
    agent = StreamedAgent(sessions)
    samples = [script.sample("0"), short.sample("1"), script.sample("2"), short.sample("3")]
    performances = list(agent.perform(samples))
    assert [len(p.audio) // N for p in performances] == [80, 20, 80, 20]
    assert all(p.audio.max() < 1.0 for p in performances)  # nothing of rows that rest
    assert all(p.delegates_s == () for p in performances)
    assert [[w.text for w in p.words] for p in performances] == [["five"]] * 4


def test_words_span_tokens_and_micro_turns() -> None:
    ids = TOKENIZER.encode("nineteen")  # not learned, so several tokens
    assert len(ids) > 1
    rows = [[], ids[:1], ids[1:], [EOS], [IDLE, *TOKENIZER.encode("five")]]
    words = words_of_lane(rows, TOKENIZER, LAYOUT, shift=1)
    assert [(w.text, w.start_s) for w in words] == [("nineteen", 0.4), ("five", 1.0)]


def test_what_a_checkpoint_says_depends_on_no_neighbour(script: HandMadeDialogue) -> None:
    # Without experts: those see rows of other dialogues, in groups whose size changes rounding.
    dense = ModelConfig(
        d_model=48, n_layers=2, n_heads=4, d_ff=64, window=8,
        moe=MoEConfig(n_experts=0), flow=FlowConfig(width=32, depth=2, steps=2),
    )  # fmt: skip
    checkpoint = random_checkpoint(config=dense)
    rng = np.random.default_rng(0)
    samples = []
    for i in range(5):
        n = 10 + 2 * i
        audio = (0.1 * rng.standard_normal(n * N)).astype(np.float32)
        empty = Dialogue(
            key=str(i), duration_s=0.2 * n, micro_turn_s=0.2, events=(), agent_words=()
        )
        sample = replace(script.sample(), dialogue=empty, load_user=lambda audio=audio: audio)
        samples.append(sample)

    def play(order: list[int]) -> dict[int, AgentOutput]:
        sessions = RowBatch(checkpoint, 4, seed=3)
        agent = StreamedAgent(sessions)
        chosen = [samples[i] for i in order]
        return dict(zip(order, agent.perform(chosen), strict=True))

    one, other = play([0, 1, 2, 3, 4]), play([3, 0, 4, 1, 2])
    for i in range(5):
        assert one[i].words == other[i].words
        assert one[i].heard == other[i].heard
        np.testing.assert_array_equal(one[i].audio, other[i].audio)
