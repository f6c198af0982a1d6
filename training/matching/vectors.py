"""What the first block reads of words and of other lanes, and linear readings of it.

W words, V pieces, M vectors, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from microturn.model.batch import LaneBatch
from microturn.model.model import InteractionModel
from microturn.model.streams import IDLE, Lanes, Tokenizer

OFTEN = 20.0  # weight of a word that the dialogues have, beside other words
SEPARATE_STEPS = 300


@dataclass(frozen=True)
class Agreements:
    """Ids of pieces in `heard` of dialogues with agreements."""

    means: int
    cues: tuple[int, ...]  # words that are agreed on or may be mistaken for one
    answers: tuple[int, ...]

    @classmethod
    def of(cls, dialogues: Sequence[Lanes], means: int) -> Agreements:
        """Find them: an answer follows `means`, all other words are cues."""
        answers: set[int] = set()
        heard: set[int] = set()
        for lanes in dialogues:
            words = words_of(lanes)
            heard |= {word for _, word in words}
            answers |= {
                answer for (_, a), (_, answer) in zip(words, words[1:], strict=False) if a == means
            }
        cues = heard - answers - {means}
        if not answers or not cues:
            raise ValueError("no agreement is heard in the dialogues that data= begins with")
        return cls(means, tuple(sorted(cues)), tuple(sorted(answers)))


def words_of(lanes: Lanes) -> list[tuple[int, int]]:
    """List micro-turn and piece of all that is heard."""
    lane = lanes.arrays["heard"]
    heard = lane.nonzero()
    return [(int(turn), int(piece)) for turn, piece in zip(heard[0], lane[heard], strict=True)]


@dataclass(frozen=True)
class Vectors:
    """Normed vectors that enter the first attention."""

    heard: Tensor  # (V, D) a piece in `heard`
    others: Tensor  # (M, D) of other lanes
    words: Tensor  # (W,) ids of pieces that begin a word

    @classmethod
    @torch.no_grad()
    def of(
        cls, model: InteractionModel, tokenizer: Tokenizer, dialogues: Sequence[Lanes]
    ) -> Vectors:
        """Collect them; those of other lanes from `dialogues`."""
        embed, layout = model.embed, model.layout
        every = torch.arange(len(tokenizer))
        heard = model.backbone.norm_in(embed.tokens(every) + embed.marks("heard"))
        said = model.backbone.norm_in(embed.tokens(every) + embed.marks("say"))
        place = layout.lanes["heard"]
        others = [said]
        for lanes in dialogues:
            batch = LaneBatch.collate([lanes])
            x = model.embed_dialogues(batch, model.patches(batch["audio_out"]))
            x = model.backbone.norm_in(x).view(-1, layout.n_positions, x.shape[-1])
            others += [x[:, : place.start].flatten(0, 1), x[:, place.stop :].flatten(0, 1)]
        pieces = enumerate(tokenizer.pieces)
        words = [i for i, piece in pieces if piece[:1] == "▁" and piece[1:].isalpha() and piece[2:]]
        return cls(normed(heard), normed(torch.cat(others)), torch.tensor(words))

    def linear(
        self, *, yes: Sequence[int], no: Sequence[int], often: Sequence[int], separate: bool = True
    ) -> Tensor:
        """Fit a linear reading (D,): 1 at pieces `yes`, -1 at `no` and in other lanes.

        separate: move apart what lies on the wrong side; else the least squares, 0 in place of -1.
        """
        below = -1.0 if separate else 0.0
        x = torch.cat([self.heard[[*yes]], self.heard[[*no]], self.others])
        y = torch.full((len(x),), below)
        y[: len(yes)] = 1.0
        weight = torch.ones(len(x))
        common = torch.isin(torch.tensor([*yes, *no]), torch.tensor([*often]))
        weight[: len(common)] = torch.where(common, OFTEN, 1.0)
        idle = [i for i, piece in enumerate((*yes, *no)) if piece == IDLE]
        weight[idle] = 1000.0
        reading = least_squares(x, y, weight)
        return _separated(reading, x, y, weight) if separate else reading


def normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def least_squares(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Solve for a reading (D,) of x (M, D) that is y (M,), slightly damped."""
    weighted = x * weight[:, None]
    return torch.linalg.solve(x.T @ weighted + torch.eye(x.shape[1]), weighted.T @ y)


def _separated(reading: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Move a reading until as few vectors as can be lie on the wrong side."""
    reading = reading.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([reading], lr=0.05 * float(reading.detach().abs().mean()))
    with torch.enable_grad():
        for _ in range(SEPARATE_STEPS):
            wrong = F.softplus(4 * (1 - y * (x @ reading))) * weight
            loss = wrong.sum() / (4 * weight.sum()) + 1e-4 * reading.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return reading.detach()
