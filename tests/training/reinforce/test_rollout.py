"""A rollout is a session, and one teacher-forced pass computes its probabilities again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import load_checkpoint
from microturn.model.choice import sample_token
from microturn.model.model import InteractionModel
from microturn.training.reinforce.environment import RecordedUsers
from microturn.training.reinforce.policy_loss import of_chosen, say_log_probs
from microturn.training.reinforce.rollout import SAMPLED, Rollout, roll_out

TEMPERATURE = 1.3


@pytest.fixture(scope="module")
def users(data: Path) -> RecordedUsers:
    return RecordedUsers.open(str(data))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> InteractionModel:
    return load_checkpoint(checkpoint).model


def hold(
    model: InteractionModel, users: RecordedUsers, seeds: list[int], temperature: float | None
) -> Rollout:
    held = [users.begin(number % 2) for number in range(len(seeds))]
    return roll_out(model, held, seeds=seeds, temperature=temperature, max_micro_turns=99)


@pytest.fixture(scope="module")
def rollout(model: InteractionModel, users: RecordedUsers) -> Rollout:
    return hold(model, users, [5, 6, 7], TEMPERATURE)


@torch.no_grad()
def test_probabilities_of_one_pass_are_those_of_the_session(
    model: InteractionModel, rollout: Rollout
) -> None:
    """`prefill` has the arithmetic of `step`; the numbers drawn tell what was sampled from."""
    whole = say_log_probs(model, rollout, TEMPERATURE)
    state = model.init_state(rollout.lanes.shape[0])
    voice = (model.layout.audio_out_positions, model.layout.patch_dim)
    for k in range(rollout.lanes.shape[1]):
        lanes, patches = rollout.lanes.window(k, k + 1), rollout.patches[:, k : k + 1]
        hidden, state = model.prefill(lanes, patches, state)
        logits = model.unembed(hidden[SAMPLED][:, 0])
        stepped = (logits / TEMPERATURE).log_softmax(-1)
        torch.testing.assert_close(whole[:, k], stepped, atol=2e-5, rtol=0)
        philox = [np.random.Philox(key=np.array((seed, k), np.uint64)) for seed in (5, 6, 7)]
        generators = [np.random.Generator(each) for each in philox]
        for generator in generators:
            generator.standard_normal(voice, dtype=np.float32)
        uniform = torch.tensor(np.stack([g.random(1, dtype=np.float32) for g in generators]))
        drawn = sample_token(logits, uniform, TEMPERATURE)
        assert torch.equal(drawn, rollout.lanes[SAMPLED][:, k])


def test_without_chance_it_is_a_session(
    model: InteractionModel, users: RecordedUsers, checkpoint: Path
) -> None:
    sample = users.dialogues.at(0)
    batch = RowBatch(load_checkpoint(checkpoint), 1, seed=3)
    output = next(StreamedAgent(batch).perform([sample]))
    user = users.begin(0)
    roll_out(model, [user], seeds=[3], temperature=None, max_micro_turns=99)
    played = user.stream.output()
    assert played.words == output.words
    assert np.array_equal(played.audio, output.audio)


def test_equal_seeds_are_equal_conversations_and_others_are_not(
    model: InteractionModel, users: RecordedUsers, rollout: Rollout
) -> None:
    again = hold(model, users, [5, 6, 7], TEMPERATURE)
    assert torch.equal(again.patches, rollout.patches)
    assert torch.equal(again.lanes[SAMPLED], rollout.lanes[SAMPLED])
    other = hold(model, users, [5, 6, 8], TEMPERATURE)
    assert not torch.equal(other.lanes[SAMPLED][2], rollout.lanes[SAMPLED][2])
    torch.testing.assert_close(other.patches[:2], rollout.patches[:2])


def test_the_last_micro_turn_is_not_answered(rollout: Rollout, users: RecordedUsers) -> None:
    assert rollout.lanes.shape == (3, users.dialogues.reader.n_micro_turns - 1)
    assert rollout.lanes.real is None


def test_samples_follow_the_probabilities() -> None:
    logits = torch.tensor([0.1, 0.5, 0.4]).log()
    uniform = torch.tensor([0.0, 0.09, 0.11, 0.59, 0.61, 0.99999997])
    drawn = sample_token(logits.expand(6, 3), uniform, 1.0)
    assert drawn.tolist() == [0, 0, 1, 1, 2, 2]
    sharp = sample_token(logits.expand(5, 3), uniform[1:], 0.05)
    assert sharp.tolist() == [1, 1, 1, 1, 2]  # 0.4 against 0.5, to the power of twenty


def test_a_log_probability_of_a_micro_turn_is_the_sum_of_its_tokens(rollout: Rollout) -> None:
    B, N = rollout.lanes.shape
    log_probs = torch.full((B, N, 1, 1000), -2.0)
    assert torch.equal(of_chosen(log_probs, rollout), torch.full((B, N), -2.0))
