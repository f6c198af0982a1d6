"""The loss raises what earned more, stops where enough has changed, and measures how far it is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from microturn.model.checkpoint import load_checkpoint
from microturn.model.model import InteractionModel
from microturn.training.reinforce.environment import RecordedUsers
from microturn.training.reinforce.policy_loss import (
    PolicyTerms,
    of_chosen,
    policy_terms,
    say_log_probs,
)
from microturn.training.reinforce.rollout import Rollout, roll_out


@pytest.fixture
def model(checkpoint: Path) -> InteractionModel:
    return load_checkpoint(checkpoint).model.train()


@pytest.fixture
def rollout(model: InteractionModel, data: Path) -> Rollout:
    users = RecordedUsers.open(str(data))
    held = [users.begin(0), users.begin(0)]
    return roll_out(model, held, seeds=[1, 2], temperature=1.0, max_micro_turns=12)


def terms_of(
    model: InteractionModel, rollout: Rollout, *, before: Tensor, advantages: Tensor
) -> PolicyTerms:
    log_probs = say_log_probs(model, rollout, 1.0)
    return policy_terms(
        log_probs,
        log_probs.detach().roll(1, 0),
        rollout,
        before=before,
        advantages=advantages,
        clip=0.2,
    )


def chosen_by(model: InteractionModel, rollout: Rollout) -> Tensor:
    with torch.no_grad():
        return of_chosen(say_log_probs(model, rollout, 1.0), rollout)


def test_a_step_makes_what_earned_more_more_likely(
    model: InteractionModel, rollout: Rollout
) -> None:
    before = chosen_by(model, rollout)
    advantages = torch.zeros_like(before)
    advantages[0, 3], advantages[1, 5] = 1.0, -1.0
    terms_of(model, rollout, before=before, advantages=advantages).policy.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    after = chosen_by(model, rollout)
    assert after[0, 3] > before[0, 3]
    assert after[1, 5] < before[1, 5]


@pytest.mark.parametrize(("advantage", "moved", "clipped"), [(1.0, -1.0, 1.0), (1.0, 1.0, 0.0)])
def test_what_has_changed_enough_is_left_alone(
    model: InteractionModel, rollout: Rollout, advantage: float, moved: float, clipped: float
) -> None:
    """`before` is lower than now by e: what earned more is likely enough already."""
    before = chosen_by(model, rollout) + moved
    terms = terms_of(model, rollout, before=before, advantages=torch.full_like(before, advantage))
    assert float(terms.clipped) == clipped
    terms.policy.backward()
    assert model.unembed.weight.grad is not None
    assert bool(model.unembed.weight.grad.any()) == (clipped == 0.0)


def test_conversations_that_went_alike_do_not_weaken_the_others(
    model: InteractionModel, rollout: Rollout
) -> None:
    before = chosen_by(model, rollout)
    advantages = torch.zeros_like(before)
    advantages[0, :6] = 1.0
    terms = terms_of(model, rollout, before=before, advantages=advantages)
    assert float(terms.policy.detach()) == pytest.approx(-6 / before.shape[1], rel=1e-4)


def test_divergence_and_entropy_are_those_of_the_distributions(
    model: InteractionModel, rollout: Rollout
) -> None:
    before = chosen_by(model, rollout)
    terms = terms_of(model, rollout, before=before, advantages=torch.zeros_like(before))
    log_probs = say_log_probs(model, rollout, 1.0).detach()
    policy = torch.distributions.Categorical(logits=log_probs)
    frozen = torch.distributions.Categorical(logits=log_probs.roll(1, 0))
    expected = torch.distributions.kl_divergence(policy, frozen).mean()
    torch.testing.assert_close(terms.kl.detach(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(terms.entropy, policy.entropy().mean(), atol=1e-5, rtol=1e-4)
