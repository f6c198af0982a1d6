"""The search for tiles of the expert kernels: every tile of a list by number of tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from microturn.evaluation.bench.kernels_measure import Experts, Sets, time_layer
from microturn.kernels.experts_tiles import Streams, Tile
from microturn.kernels.experts_triton import (
    down_decode,
    down_token_decode,
    experts_decode,
    up_decode,
)

Ranking = list[tuple[tuple[int, ...], float]]  # tiles with microseconds, best first

UP_TILES: Final = [
    *(Tile(16, 128, w, s) for w, s in ((2, 5), (4, 5), (4, 7))),
    Tile(16, 256, 4, 4),
    *(Tile(32, 64, w, s) for w, s in ((2, 6), (4, 6))),
    *(Tile(32, 128, w, s) for w, s in ((2, 4), (4, 4), (4, 6))),
    Tile(32, 256, 4, 3),
    *(Tile(64, 64, w, s) for w, s in ((4, 4), (4, 6), (8, 4))),
    *(Tile(64, 128, w, s) for w, s in ((4, 3), (4, 4), (8, 4))),
    *(Tile(128, 64, w, s) for w, s in ((4, 4), (8, 4))),
]
DOWN_TILES: Final = [
    *(Tile(16, 128, w, s) for w, s in ((2, 5), (4, 5), (4, 8))),
    Tile(16, 256, 4, 4),
    *(Tile(32, 128, w, s) for w, s in ((2, 4), (4, 4), (4, 6))),
    Tile(32, 256, 4, 3),
    *(Tile(64, 64, w, s) for w, s in ((4, 4), (4, 6))),
    *(Tile(64, 128, w, s) for w, s in ((4, 3), (4, 4), (8, 4))),
    *(Tile(128, 64, w, s) for w, s in ((4, 4), (4, 6), (8, 4))),
    Tile(128, 128, 8, 3),
]


class TileSearch:
    """Times tiles until `is_over_time` says so; the tiles left then count as slow."""

    def __init__(self, sets: Sets, *, is_over_time: Callable[[], bool]) -> None:
        self.sets, self.is_over_time = sets, is_over_time

    def run(self) -> dict[str, dict[str, Ranking]]:
        """Rank the tiles of each kernel, by mapping and number of tokens."""
        rankings: dict[str, dict[str, Ranking]] = {}
        for by_pair in (True, False):
            for n in (1, 2, 4, 8) if by_pair else (2, 4, 8, 16, 32):
                cases = self.sets.cases("random", n)
                hiddens = [self._hidden(case, by_pair) for case in cases]
                ups = {t: self._time_up(cases, t, by_pair) for t in UP_TILES}
                downs = {t: self._time_down(cases, hiddens, t, by_pair) for t in DOWN_TILES}
                rankings[f"{'pair' if by_pair else 'expert'} T={n}"] = {
                    "up": _ranked(ups),
                    "down": _ranked(downs),
                }
        return rankings

    @staticmethod
    def _hidden(case: tuple[Tensor, ...], by_pair: bool) -> Tensor:
        x, ids, _, up, down = case
        return up_decode(x, ids, up, down, UP_TILES[0], by_pair=by_pair, streams=Streams())

    def _time_up(self, cases: list[tuple[Tensor, ...]], tile: Tile, by_pair: bool) -> float:
        def run_up(x: Tensor, ids: Tensor, w: Tensor, up: Tensor, down: Tensor) -> Tensor:
            return up_decode(x, ids, up, down, tile, by_pair=by_pair, streams=Streams())

        return self._time(f"up {tile}", run_up, cases)

    def _time_down(
        self, cases: list[tuple[Tensor, ...]], hiddens: list[Tensor], tile: Tile, by_pair: bool
    ) -> float:
        mix = down_token_decode if by_pair else down_decode

        def run_down(hidden: Tensor, ids: Tensor, w: Tensor, up: Tensor, down: Tensor) -> Tensor:
            return mix(hidden, ids, w, down, tile, torch.bfloat16)

        calls = [(h, *case[1:]) for h, case in zip(hiddens, cases, strict=True)]
        return self._time(f"down {tile}", run_down, calls)

    def _time(self, name: str, run: Experts, cases: list[tuple[Tensor, ...]]) -> float:
        """Microseconds; infinite for a tile that does not fit or when the time is over."""
        if self.is_over_time():
            return float("inf")
        try:
            return 1e6 * time_layer(run, cases)
        except Exception as error:  # a tile that does not fit is expected
            print(f"{name}: {error}"[:200], file=sys.stderr)
            return float("inf")


def best_experts(rankings: Mapping[str, Any], n_tokens: int) -> tuple[str, Experts]:
    """Return the fastest mapping and tiles for about this many tokens, and their name."""
    if not rankings:
        return "built in", experts_decode
    choices = []
    for by_pair in (True, False):
        kind = "pair" if by_pair else "expert"
        known = [int(k.split("=")[1]) for k in rankings if k.startswith(kind)]
        nearest = min(known, key=lambda t: abs(t - n_tokens))
        if by_pair and n_tokens > max(known):
            continue
        ranking = rankings[f"{kind} T={nearest}"]
        total = ranking["up"][0][1] + ranking["down"][0][1]
        tiles = Tile(*ranking["up"][0][0]), Tile(*ranking["down"][0][0])
        choices.append((total, kind, by_pair, tiles))
    _, kind, by_pair, tiles = min(choices)
    name = f"{kind} {tuple(tiles[0])} {tuple(tiles[1])}"
    return name, partial(experts_decode, tiles=tiles, by_pair=by_pair)


def _ranked(times: dict[Tile, float]) -> Ranking:
    """Best first."""
    ranked = sorted(times.items(), key=lambda item: item[1])
    return [(tuple(tile), round(us, 2)) for tile, us in ranked]
