"""Advantages of groups: what each token's rewards are above the mean of the same dialogue's others.

A group is one dialogue that was held G times by other chance. N micro-turns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.training.reinforce.rewards import Rewarded

# A slip is the work of the tokens of so many micro-turns before it: a word lasts three or four.
SLIP_REACH: Final = 4


def by_event(group: Sequence[Rewarded], n: int) -> NDArray[np.float32]:
    """Return advantages (G, n): each event's reward counts for the tokens of its window.

    An event is compared with the performances in which it came too; one that came once teaches
    nothing. The price of unasked speech counts for the tokens that led to it.
    """
    advantages = np.zeros((len(group), n), np.float32)
    values: defaultdict[str, list[float]] = defaultdict(list)
    for one in group:
        for reward in one.rewards:
            values[reward.name].append(reward.value)
    for row, one in enumerate(group):
        for reward in one.rewards:
            baseline = float(np.mean(values[reward.name]))
            advantages[row, reward.first : reward.last] += reward.value - baseline
    costs = np.stack([_costs(one, n) for one in group])
    return advantages - (costs - costs.mean(axis=0))


def by_dialogue(group: Sequence[Rewarded], n: int) -> NDArray[np.float32]:
    """Return advantages (G, n): the total of a performance counts for all its tokens."""
    totals = np.array([one.total for one in group], np.float32)
    return np.repeat((totals - totals.mean())[:, None], n, axis=1)


def _costs(one: Rewarded, n: int) -> NDArray[np.float32]:
    """Return the price (n,) of the slips within reach of each micro-turn's tokens."""
    slips = np.zeros(n + SLIP_REACH, np.float32)
    heard = one.slips[: n + SLIP_REACH]
    slips[: len(heard)] = heard
    costs = np.zeros(n, np.float32)
    for after in range(1, SLIP_REACH + 1):
        costs += one.price * slips[after : after + n]
    return costs
