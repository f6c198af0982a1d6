"""Weights of two blocks that find an agreed word again, made and not learnt.

Block 0 writes into each position of `heard` which word came last, which one two before, and whether
the word before was `means`. In block 1 each position asks with its last word for an answer whose
word two before is the same, and writes that answer; without one it reads its own idle position and
writes nothing. Learnt by chance this takes more dialogues than a small model ever sees
(docs/model.md). D width, K head size, S micro-turn in positions.

Rotary pairs that turn show distances, those that hardly turn compare words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.attention import Attention
from microturn.model.backbone import Block
from microturn.model.streams import IDLE
from microturn.training.matching.vectors import Agreements, Vectors, least_squares

SHARPNESS = 28.0  # largest score of a key
# Radians a micro-turn of pairs, and their shares of a key's square. Words come 3 to 5 micro-turns
# apart: a fast pair picks the place, slower ones tell it from those a turn away.
ANY_WORD: Mapping[float, float] = {0.6: 0.25, 0.19: 0.2, 0.06: 0.15, 0.019: 0.4}
NOT_MEANS: Mapping[float, float] = {0.337: 0.35, 0.107: 0.2, 0.0337: 0.2, 0.0107: 0.25}
LAST, BEFORE, TWO_BEFORE = 1.0, 4.0, 7.0  # micro-turns back at which heads of block 0 look
CODE_PAIRS = (0.0107, 0.006, 0.0034, 0.0019)  # compare words
FLAG_PAIR = 0.00107
OWN_PAIRS = (1.9, 0.6, 0.337, 0.19)  # find the own position again
TRACE = 2.0  # length of what block 0 writes of a word; a vector that enters has sqrt(D)
ANSWER = 12.0  # length of what block 1 writes: the old blocks learn from a weak one slowly
SPREAD_STEPS = 400


class Pairs:
    """Where the rotary pairs of a head are."""

    def __init__(self, head_dim: int, base: float, n_positions: int) -> None:
        index = torch.arange(0, head_dim, 2, dtype=torch.float64)
        self.rates = base ** (-index / head_dim) * n_positions  # radians a micro-turn
        self.half = head_dim // 2
        wanted = {*ANY_WORD, *NOT_MEANS, *CODE_PAIRS, FLAG_PAIR, *OWN_PAIRS}
        if len({self.at(rate) for rate in wanted}) < len(wanted):
            raise ValueError(
                f"init= has heads of {head_dim} numbers and rope_base={base:g}, too few rotary "
                "pairs of different speed for a match; give a checkpoint with heads of 32 or more"
            )

    def at(self, rate: float) -> int:
        """Return the number of the pair that turns about so fast."""
        return int((self.rates.log() - math.log(rate)).abs().argmin())

    def both(self, rates: tuple[float, ...]) -> list[int]:
        """Return the numbers of a head that form pairs."""
        first = [self.at(rate) for rate in rates]
        return [*first, *(pair + self.half for pair in first)]


class Readings:
    """Linear readings of a vector that enters a block, (D,) each."""

    def __init__(self, vectors: Vectors, agreed: Agreements) -> None:
        heard, means = vectors.heard, agreed.means
        often = [*agreed.cues, *agreed.answers, means]
        words = sorted({*vectors.words.tolist(), *often} - {means})
        self.often = heard[[*agreed.cues, *agreed.answers]]
        self.idle, self.answers = heard[IDLE], heard[[*agreed.answers]]
        self.cues, self.fixed = heard[[*agreed.cues]], heard[[IDLE, means, *agreed.answers]]
        any_word = vectors.linear(yes=[*words, means], no=[IDLE], often=often)
        not_means = vectors.linear(yes=words, no=[means, IDLE], often=[*often, IDLE])
        self.any_word = any_word / (self.often @ any_word).median()
        self.not_means = not_means / (self.often @ not_means).median()
        self.is_idle = vectors.linear(yes=[IDLE], no=[*words, means], often=often, separate=False)
        every = heard[[*words, means, IDLE]]
        weight = torch.ones(len(every))
        weight[-2:] = 100.0
        self.one = least_squares(every, torch.ones(len(every)), weight)  # always 1
        flag = -torch.ones(len(words) + 1)
        flag[-1] = 1.0
        weight = torch.ones(len(flag))
        weight[-1] = 700.0
        self.is_means = least_squares(heard[[*words, means]], flag, weight)
        self._mean = heard[words].mean(0)
        centred = heard[words] - self._mean
        spread, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        self._even = axes @ torch.diag((spread + 0.1 * spread.mean()).rsqrt()) @ axes.T

    def codes(self, n: int, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a map (n, D) to codes that tell words apart, of length 1 for words `like`."""
        drawn = torch.randn(len(self.one), n, generator=generator)
        codes = torch.linalg.qr(drawn)[0].T @ self._even
        codes = codes - torch.outer(codes @ self._mean, self.one)
        return codes / (like @ codes.T).norm(dim=-1).mean()


def spread_out(codes: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Find a map (n, K) of codes (W, K) that leaves them as far apart in n numbers as can be."""
    points = torch.randn(len(codes), n, generator=generator).requires_grad_(True)
    optimizer = torch.optim.Adam([points], lr=0.05)
    itself = 2 * torch.eye(len(codes))
    with torch.enable_grad():
        for _ in range(SPREAD_STEPS):
            apart = F.normalize(points, dim=-1)
            loss = (12 * (apart @ apart.T - itself)).flatten().logsumexp(0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    other = 2 * torch.linalg.qr(torch.randn(codes.shape[1], n, generator=generator))[0]
    apart = F.normalize(points.detach(), dim=-1)
    exact = torch.linalg.lstsq(codes, apart - codes @ other, driver="gelsd").solution
    return (other + exact).T


@torch.no_grad()
def make_blocks_(
    blocks: Sequence[Block], readings: Readings, pairs: Pairs, generator: torch.Generator
) -> None:
    """Give two blocks their weights, in place; where no cue was heard they write little."""
    traces = Traces.drawn(readings, blocks[0].attention.head_dim, generator)
    _trace_(blocks[0].attention, readings, pairs, traces)
    _match_(blocks[1].attention, readings, pairs, traces, generator)


@dataclass(frozen=True)
class Traces:
    """What block 0 writes of words, and where: orthonormal columns without a part of any answer."""

    codes: Tensor  # (K - 1, D) map of a word to its code
    last: Tensor  # (D, K - 1) where the code of the last word is written
    two_before: Tensor  # (D, K - 1)
    after_means: Tensor  # (D, 1)
    answer: Tensor  # (D, K) where block 1 writes

    @classmethod
    def drawn(cls, readings: Readings, head_dim: int, generator: torch.Generator) -> Traces:
        n, width = head_dim - 1, len(readings.one)
        known = torch.linalg.qr(readings.fixed.T)[0]
        sizes = [n, n, 1, head_dim]
        if known.shape[1] + sum(sizes) > width:
            raise ValueError(
                f"the model of init= is {width} wide, and {known.shape[1]} known words with two "
                f"codes of heads of {head_dim} numbers take {known.shape[1] + sum(sizes)}; give a "
                "wider one"
            )
        drawn = torch.randn(width, sum(sizes), generator=generator)
        free = torch.linalg.qr(drawn - known @ (known.T @ drawn))[0]
        return cls(readings.codes(n, readings.often, generator), *free.split(sizes, dim=1))


def _trace_(attention: Attention, readings: Readings, pairs: Pairs, traces: Traces) -> None:
    """Block 0: three heads read the last word, that two before, and whether `means` was before."""
    H, K, D = attention.n_heads, attention.head_dim, len(readings.one)
    query, key = torch.zeros(H, K, D), torch.zeros(K, D)
    value, out = torch.zeros(K, D), torch.zeros(D, H, K)
    for shares, reading in ((ANY_WORD, readings.any_word), (NOT_MEANS, readings.not_means)):
        for rate, share in shares.items():
            key[pairs.at(rate)] = share**0.5 * reading
    looks = ((ANY_WORD, LAST), (NOT_MEANS, TWO_BEFORE), (ANY_WORD, BEFORE))
    for head, (shares, back) in enumerate(looks):
        for rate, share in shares.items():
            pair = pairs.at(rate)
            angle = float(pairs.rates[pair]) * back
            query[head, pair] = share**0.5 * math.cos(angle) * readings.one
            query[head, pair + pairs.half] = -(share**0.5) * math.sin(angle) * readings.one
    value[:-1], value[-1] = traces.codes, readings.is_means
    out[:, 0, :-1], out[:, 1, :-1] = TRACE * traces.last, TRACE * traces.two_before
    out[:, 2, -1:] = TRACE / 2 * traces.after_means
    _give_(attention, query, key, value, out)


def _match_(
    attention: Attention,
    readings: Readings,
    pairs: Pairs,
    traces: Traces,
    generator: torch.Generator,
) -> None:
    """Block 1: a position looks for an answer two after the word that it heard last."""
    H, K, D = attention.n_heads, attention.head_dim, len(readings.one)
    length = (1 + 2 * TRACE**2 / D) ** 0.5 / TRACE  # the norm shortens what block 0 wrote
    places, flag = pairs.both(CODE_PAIRS), pairs.at(FLAG_PAIR)
    compare = spread_out(readings.cues @ traces.codes.T, len(places), generator)
    query, key = torch.zeros(K, D), torch.zeros(K, D)
    query[places] = length * compare @ traces.last.T
    key[places] = length * compare @ traces.two_before.T
    query[flag], key[flag] = 0.6 * readings.one, 1.4 * length * traces.after_means[:, 0]
    word = flag + pairs.half
    query[word], key[word] = 0.4 * readings.one, 0.4 * readings.any_word
    for rate in OWN_PAIRS:
        query[pairs.at(rate)], key[pairs.at(rate)] = 0.45 * readings.one, 1.2 * readings.is_idle
    value, out = torch.zeros(K, D), torch.zeros(D, H, K)
    value[:-1] = readings.codes(K - 1, readings.answers, generator)
    value[-1] = (readings.any_word + readings.one) / 2  # that there is an answer
    value -= torch.outer(value @ readings.idle, readings.is_idle) / (
        readings.idle @ readings.is_idle
    )
    out[:, 0] = ANSWER * traces.answer
    _give_(attention, query.expand(H, K, D), key, value, out)


def _give_(attention: Attention, query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Set weights: queries (H, K, D), the one key and value (K, D) of all heads, out (D, H, K)."""
    groups = (attention.n_kv_heads, *key.shape)
    parts = (query, key.expand(groups), value.expand(groups))
    attention.qkv.weight.copy_(torch.cat([part.flatten(0, 1) for part in parts]))
    attention.out.weight.copy_(out.flatten(1))
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_((SHARPNESS / attention.head_dim**0.5) ** 0.5)
