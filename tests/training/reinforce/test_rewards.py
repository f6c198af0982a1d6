"""What became of events is worth what the table says, and no trick is worth more than the work."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from microturn.configs.main import main
from microturn.evaluation.agents.baselines import Agent, baseline
from microturn.evaluation.agents.panel import FAULTY, TRIVIAL, panel_of
from microturn.evaluation.agents.panel_faults import oracle, without
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.activity import merge
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    StopOutcome,
    TurnOutcome,
)
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.training.reinforce.advantages import by_dialogue, by_event
from microturn.training.reinforce.config import RewardConfig
from microturn.training.reinforce.rewards import Reward, Rewarded, became_of, rewards_of
from support.hand_made import HandMadeDialogue, word

N_DIALOGUES = 16


# --- single outcomes ------------------------------------------------------------------------------
def turn(**changed: Any) -> TurnOutcome:
    usual = {"latency_s": 0.3, "in_window": True, "early": False, "right": True, "said": "five"}
    more = {"n_errors": 0, "n_expected": 1, "after_interruption": False}
    return TurnOutcome(**{**usual, **more, **changed})


def stop(**changed: Any) -> StopOutcome:
    usual = {"speaking": True, "latency_s": 0.4, "in_time": True, "spoke_rightly": True}
    return StopOutcome(**{**usual, **changed})


def resume(*, speaking: bool, went_on: bool) -> ResumeOutcome:
    return ResumeOutcome(
        trigger="noise", speaking=speaking, longest_gap_s=0.0, words_right=True, went_on=went_on
    )


@pytest.mark.parametrize(
    ("outcome", "became"),
    [
        (turn(), "right"),
        (turn(right=None), "right"),  # any words will do
        (turn(in_window=False, latency_s=None, said="", right=False), "missed"),
        (turn(in_window=False, latency_s=2.0), "missed"),
        (turn(right=False, said="six"), "against"),
        (stop(), "right"),
        (stop(in_time=False), "against"),
        (stop(spoke_rightly=False), "missed"),
        (stop(speaking=False, in_time=False), "missed"),
        (resume(speaking=True, went_on=True), "right"),
        (resume(speaking=True, went_on=False), "against"),
        (resume(speaking=False, went_on=False), "missed"),
        (SilenceOutcome(trigger="pause", speech_s=0.0, silent=True), "silent"),
        (SilenceOutcome(trigger="pause", speech_s=0.4, silent=False), "against"),
        (CueOutcome(onset_s=0.1, right=True, in_window=True), "right"),
        (CueOutcome(onset_s=2.0, right=True, in_window=False), "missed"),
        (CueOutcome(onset_s=None, right=False, in_window=False), "missed"),
        (CueOutcome(onset_s=0.1, right=False, in_window=False), "against"),
        (BackchannelOutcome(onset_s=0.1, given=True, right=False), "right"),
        (BackchannelOutcome(onset_s=None, given=False, right=False), "missed"),
        (BackchannelOutcome(onset_s=0.1, given=False, right=False), "against"),
        (DelegationOutcome(latency_s=0.2, delegated=True, acknowledged=None), "right"),
        (DelegationOutcome(latency_s=0.2, delegated=True, acknowledged=False), "missed"),
        (DelegationOutcome(latency_s=None, delegated=False, acknowledged=None), "missed"),
        (ResultOutcome(delivered=True, right=True, latency_s=1, spoken=True, alone=True), "right"),
        (ResultOutcome(delivered=False, right=False, latency_s=None, spoken=False), "missed"),
    ],
)
def test_what_became_of_an_event(outcome: Any, became: str) -> None:
    assert became_of(outcome) == became


# --- a dialogue by hand ---------------------------------------------------------------------------
@pytest.fixture
def question() -> HandMadeDialogue:
    """A question from 2 s to 3 s, answered at 3.3 s with one word."""
    script = HandMadeDialogue(duration_s=8.0)
    script.turn(2.0, 3.0, "five")
    return script


def performed(script: HandMadeDialogue, *spoken: Any) -> Rewarded:
    return rewards_of(script.scene(script.perform(*spoken)), RewardConfig())


def test_a_right_answer_counts_for_the_tokens_of_its_floor(question: HandMadeDialogue) -> None:
    rewarded = performed(question, word("five", 3.3))
    early, answer = rewarded.rewards
    assert (early.kind, early.value, early.first, early.last) == ("early", 0.0, 9, 14)
    # From 3 s to 0.8 s (in time) + 0.36 s (length) + 0.6 s later; decided a micro-turn before.
    assert (answer.kind, answer.value, answer.first, answer.last) == ("turn", 1.0, 14, 23)
    assert rewarded.total == 1.0


def test_a_wrong_word_an_early_one_and_chatter_cost(question: HandMadeDialogue) -> None:
    assert performed(question).total == 0.0
    assert performed(question, word("six", 3.3)).total == -1.0
    chatter = performed(question, word("five", 3.3), word("five", 6.0))
    assert chatter.slips.nonzero()[0].tolist() == [30, 31]
    assert [one.became for one in chatter.rewards] == ["silent", "missed"]  # right, but not alone
    assert chatter.total == pytest.approx(-0.2)
    early = performed(question, word("five", 2.4), word("five", 3.3))
    assert [one.became for one in early.rewards][0] == "against"


def test_a_delegate_that_nobody_asked_for_is_a_slip(question: HandMadeDialogue) -> None:
    output = question.perform(word("five", 3.3), delegates_s=(6.5,))
    rewarded = rewards_of(question.scene(output), RewardConfig())
    assert rewarded.slips.nonzero()[0].tolist() == [32]


# --- advantages -----------------------------------------------------------------------------------
def held(value: float, *, name: str = "turn 1", slips: tuple[int, ...] = ()) -> Rewarded:
    sounds = np.zeros(10, np.float32)
    sounds[list(slips)] = 1
    reward = Reward(kind="turn", name=name, value=value, became="right", first=2, last=4)
    return Rewarded(rewards=(reward,), slips=sounds, price=0.5)


def test_an_event_is_compared_with_the_others_of_its_group() -> None:
    advantages = by_event([held(1.0), held(0.0), held(-1.0)], 10)
    assert advantages[:, 2:4].tolist() == [[1, 1], [0, 0], [-1, -1]]
    assert not advantages[:, :2].any()
    assert not advantages[:, 4:].any()


def test_an_event_that_came_once_teaches_nothing() -> None:
    assert not by_event([held(1.0), held(-1.0, name="turn 2")], 10).any()


def test_a_slip_costs_the_tokens_before_it() -> None:
    advantages = by_event([held(0.0, slips=(7,)), held(0.0)], 10)
    assert advantages[0].tolist() == [0, 0, 0, -0.25, -0.25, -0.25, -0.25, 0, 0, 0]
    assert (advantages[0] == -advantages[1]).all()


def test_a_dialogue_has_one_advantage() -> None:
    advantages = by_dialogue([held(1.0, slips=(7,)), held(0.0)], 10)
    assert (advantages[0] == 0.25).all()
    assert (advantages[1] == -0.25).all()


# --- tricks ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[HeldOutDialogue]:
    out = tmp_path_factory.mktemp("tricks") / "set"
    words = ["simulate", "datagen/demo.yaml", f"out={out}", f"n_dialogues={N_DIALOGUES}"]
    assert main([*words, "workers=1", "split=test"]) == 0
    return list(DialogueSet.open(str(out)).read())


def mean_reward(samples: list[HeldOutDialogue], outputs: Iterable[AgentOutput]) -> float:
    totals = []
    for sample, output in zip(samples, outputs, strict=True):
        trace = Trace.of(output, ActivityConfig())
        scored = ScoredDialogue(sample.dialogue, trace, WindowConfig())
        totals.append(rewards_of(scored, RewardConfig()).total)
    return float(np.mean(totals))


def half_as_good(sample: HeldOutDialogue) -> AgentOutput:
    """The oracle, but each second stretch of its speech is missing: a poor supervised start."""
    played = oracle(sample)
    stretches = merge([(w.start_s, w.end_s) for w in played.words], 1.0)[1::2]
    return without(played, stretches)


def test_no_trick_is_worth_more_than_half_of_the_work(samples: list[HeldOutDialogue]) -> None:
    start = mean_reward(samples, map(half_as_good, samples))
    tricks: dict[str, Agent] = {
        name: baseline(name, lambda: iter(samples), config=ActivityConfig())
        for name in ("silent", "always")
    }
    tricks |= panel_of(tuple(TRIVIAL), lambda: iter(samples))
    worth = {name: mean_reward(samples, one.perform(samples)) for name, one in tricks.items()}
    assert len(worth) == 16
    assert start > 0.8
    assert {name: value for name, value in worth.items() if value > 0.0} == {}


def test_every_fault_costs(samples: list[HeldOutDialogue]) -> None:
    """All but that of a voice that writes right words and hisses: the reward hears no words."""
    best = mean_reward(samples, map(oracle, samples))
    faults = panel_of([name for name in FAULTY if name != "hisser"], lambda: iter(samples))
    worth = {name: mean_reward(samples, one.perform(samples)) for name, one in faults.items()}
    assert {name: value for name, value in worth.items() if value > best - 0.3} == {}
    wrecked = ("chatterer", "delegator", "babbler", "late", "stutterer", "mute")
    assert {name: worth[name] for name in wrecked if worth[name] > 0.0} == {}
