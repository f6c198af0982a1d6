"""Check and time the kernels on a GPU: `python -m microturn.evaluation.bench.gpu_kernels out=DIR`.

Parity with the reference, the same bits alone and in company, every tile, then whole layers
beside what PyTorch offers. Numbers go to DIR/kernels.json as they come, a short table is last.
`short=true` leaves out the search for tiles and most competitors: under a minute.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from microturn.evaluation.bench.kernels_measure import (
    ROUTINGS,
    Experts,
    RotatingBuffers,
    Sets,
    Shape,
    dense_loop,
    device_facts,
    gather_einsum,
    gather_reduce,
    poisoned,
    relative_error,
    seconds_per_call,
    time_layer,
)
from microturn.kernels.dmel_bag import dmel_bag_reference
from microturn.kernels.dmel_bag_triton import dmel_bag_triton
from microturn.kernels.experts import experts_grouped, experts_reference
from microturn.kernels.experts_triton import (
    Tile,
    down_decode,
    down_token_decode,
    experts_decode,
    experts_decode_reference,
    up_decode,
)
from microturn.kernels.router import route_reference
from microturn.kernels.router_triton import route_triton

SHAPE: Final = Shape()
ODD: Final = Shape(d_model=200, n_experts=7, top_k=3, d_expert=72)
TOKENS: Final = (1, 2, 4, 8, 16, 24, 32)
LIMITS: Final = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
N_SETS: Final = 12  # 12 sets of four experts each already exceed the L2 at one token
RINGS: Final = [  # rows, new positions, how far they reach
    *((n, 1, reach) for reach in (672, 2688) for n in (1, 4, 16, 64)),
    *((n, 6, reach) for reach in (672, 2688) for n in (1, 64)),
]
SECONDS: Final = 165  # after this, what is left is skipped and said to be
SHORT_SECONDS: Final = 40

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

_COLUMNS: Final = (
    "decode",
    "decode again",
    "default",
    "grouped",
    "gather_reduce",
    "gather_einsum",
    "dense loop",
    "expert loop",
)
_HEADS: Final = [("T", 4), ("floor", 8), ("of copy", 9), ("decode", 8), ("again", 8)] + [
    (head, 9) for head in ("default", "grouped", "reduce*", "einsum*", "dense", "loop")
]


def main(words: list[str]) -> int:
    options = dict(word.partition("=")[::2] for word in words)
    if set(options) - {"out", "short"} or not options.get("out"):
        print(
            "usage: python -m microturn.evaluation.bench.gpu_kernels out=DIR [short=true]",
            file=sys.stderr,
        )
        return 2
    if not torch.cuda.is_available():
        print("gpu_check needs a CUDA device; none was found", file=sys.stderr)
        return 1
    check = Check(Path(options["out"]), short=options.get("short", "false") != "false")
    with torch.inference_mode():
        check.run()
    print(check.table())
    return 0 if check.ok else 1


class Check:
    """Runs step by step; every finished step is on disk."""

    def __init__(self, out: Path, *, short: bool) -> None:
        self.out, self.device, self.short = out, torch.device("cuda"), short
        self.started = time.perf_counter()
        self.result: dict[str, Any] = {"failures": []}
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)

    @property
    def ok(self) -> bool:
        return not self.result["failures"]

    def run(self) -> None:
        self._step("facts", lambda: device_facts(self.device))
        self._step("parity", self.parity)
        self._step("bits", self.same_bits)
        self._step("router", self.router)
        sets = Sets.draw(SHAPE, N_SETS, torch.bfloat16, self.device)
        self._step("ring attention", self.ring_attention)
        self._step("dmel bag", self.dmel_bag)
        if not self.short:
            self._step("tiles", lambda: self.tiles(sets))
        self._step("layer", lambda: self.layer(sets))
        self._step("compiled", lambda: self.compiled(sets))

    def _step(self, name: str, work: Callable[[], Any]) -> None:
        before = time.perf_counter()
        try:
            self.result[name] = work()
        except Exception as error:  # the other steps still tell something
            self.result["failures"].append(f"{name}: {type(error).__name__}: {error}"[:600])
        took = time.perf_counter() - before
        print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
        (self.out / "kernels.json").write_text(json.dumps(self.result, indent=1, default=str))

    def _late(self) -> bool:
        return time.perf_counter() - self.started > (SHORT_SECONDS if self.short else SECONDS)

    def parity(self) -> dict[str, float]:
        """Worst relative error per type and number of tokens, over routings and mappings."""
        errors: dict[str, float] = {}
        for dtype, limit in LIMITS.items():
            for shape in (SHAPE, ODD):
                up, down = shape.weights(dtype, self.device)
                for n in TOKENS:
                    name = f"{dtype}"[6:] + f" d={shape.d_model} T={n}"
                    errors[name] = max(
                        self._error(shape.inputs(kind, n, dtype, self.device), up, down, by_pair)
                        for kind in ROUTINGS
                        for by_pair in (False, True)
                    )
                    if not errors[name] < limit:
                        self.result["failures"].append(f"parity {name}: {errors[name]:.1e}")
        return errors

    def _error(
        self, inputs: tuple[Tensor, Tensor, Tensor], up: Tensor, down: Tensor, by_pair: bool
    ) -> float:
        with poisoned():
            out = experts_decode(*inputs, up, down, by_pair=by_pair)
        error = relative_error(out, experts_decode_reference(*inputs, up, down))
        return error if error == error else float("inf")

    def same_bits(self) -> dict[str, bool]:
        """One token alone, in small company, under other tiles: the same bits as among 32."""
        same: dict[str, bool] = {}
        for dtype in LIMITS:
            up, down = SHAPE.weights(dtype, self.device)
            for kind in ROUTINGS:
                x, ids, w = SHAPE.inputs(kind, 32, dtype, self.device)
                full = experts_decode(x, ids, w, up, down)
                for n in (1, 2, 4, 8, 16):
                    parts = [
                        experts_decode(x[i : i + n], ids[i : i + n], w[i : i + n], up, down)
                        for i in range(0, 32, n)
                    ]
                    same[f"{dtype} {kind} {n}"] = torch.equal(full, torch.cat(parts))
                for tile in (Tile(64, 64, 4, 3), Tile(16, 128, 4, 4)):
                    if dtype == torch.bfloat16:
                        other = experts_decode(x, ids, w, up, down, (tile, tile))
                        same[f"{dtype} {kind} {tile}"] = torch.equal(full, other)
        self.result["failures"] += [f"bits differ: {name}" for name, yes in same.items() if not yes]
        return same

    def router(self) -> dict[str, Any]:
        """Parity, bits and time of the router beside the same in PyTorch."""
        E, K, D = SHAPE.n_experts, SHAPE.top_k, SHAPE.d_model
        weight = torch.randn(E + 1, D, device=self.device) * D**-0.5
        bias = torch.randn(E, device=self.device) * 0.01
        rows: dict[str, Any] = {}
        for n in (1, 4, 32):
            x = torch.randn(n, D, dtype=torch.bfloat16, device=self.device)
            args = (weight, bias, K, 5.0)
            with poisoned():
                got = route_triton(x, *args)
            ref = route_reference(x, *args)
            alone = torch.cat([route_triton(x[i : i + 1], *args)[1] for i in range(n)])
            rows[str(n)] = {
                "same_ids": torch.equal(got[0], ref[0]),
                "error": max(relative_error(got[1], ref[1]), relative_error(got[2], ref[2])),
                "same_bits": torch.equal(got[1], alone),
                "us": _us(route_triton, (x, *args)),
                "torch_us": _us(route_reference, (x, *args)),
            }
            bad = not (rows[str(n)]["same_bits"] and rows[str(n)]["error"] < 1e-4)
            if bad:
                self.result["failures"].append(f"router T={n}: {rows[str(n)]}")
        return rows

    def ring_attention(self) -> dict[str, Any]:
        """Parity, bits and time of attention over a full ring beside SDPA with the same mask.

        `small` has a window of 48 micro-turns of 14 positions, its global layers one of 192.
        """
        rows: dict[str, Any] = {}
        for n, new, reach in RINGS:
            ring = RotatingBuffers.draw(n, new, reach, self.device)
            with poisoned():
                got, cache = ring.run(), ring.cache
            expected = ring.reference()
            alone = ring.row(n - 1).run()
            rows[f"B={n} T={new} of {reach}"] = row = {
                "error": relative_error(got, expected),
                "same_bits": torch.equal(got[n - 1 :], alone),
                "us": 1e6 * seconds_per_call([ring.run] * 8, repeats=11, graph=True),
                "sdpa_us": 1e6 * seconds_per_call([ring.sdpa] * 8, repeats=11, graph=True),
                "floor_mb": 2 * cache[0].nbytes / 1e6,
            }
            if not (row["error"] < 1e-4 and row["same_bits"]):
                self.result["failures"].append(f"ring attention {n} {new} {reach}: {row}")
        return rows

    def dmel_bag(self) -> dict[str, Any]:
        """Parity, bits and time of frames of the microphone, four for each session of `small`."""
        rows: dict[str, Any] = {}
        table, weight = (torch.randn(*size, device=self.device) for size in ((1280, 512), (512,)))
        for n in (4, 64, 256):
            ids = torch.randint(16, (n, 80), dtype=torch.uint8, device=self.device)
            args = (ids, table, weight, 1e-6)
            with poisoned():
                got = dmel_bag_triton(*args)
            alone = torch.cat([dmel_bag_triton(ids[i : i + 1], *args[1:]) for i in range(n)])
            rows[str(n)] = row = {
                "error": relative_error(got, dmel_bag_reference(*args)),
                "same_bits": torch.equal(got, alone),
                "us": _us(dmel_bag_triton, args),
                "torch_us": _us(dmel_bag_reference, args),
                "read_mb": n * 80 * table[0].nbytes / 1e6,
            }
            if not (row["error"] < 1e-6 and row["same_bits"]):
                self.result["failures"].append(f"dMel bag N={n}: {row}")
        return rows

    def tiles(self, sets: Sets) -> dict[str, Any]:
        """Microseconds of each kernel under each tile; the best of each is used afterwards."""
        found: dict[str, Any] = {}
        for by_pair in (True, False):
            for n in (1, 2, 4, 8) if by_pair else (2, 4, 8, 16, 32):
                cases = sets.cases("random", n)
                hiddens = [up_decode(c[0], c[1], c[3], UP_TILES[0], by_pair=by_pair) for c in cases]
                ups = {t: self._time_up(cases, t, by_pair) for t in UP_TILES}
                downs = {t: self._time_down(cases, hiddens, t, by_pair) for t in DOWN_TILES}
                found[f"{'pair' if by_pair else 'expert'} T={n}"] = {
                    "up": _ranked(ups),
                    "down": _ranked(downs),
                }
        return found

    def _time_up(self, cases: list[tuple[Tensor, ...]], tile: Tile, by_pair: bool) -> float:
        if self._late():
            return float("inf")
        try:
            return 1e6 * time_layer(
                lambda x, ids, w, up, down: up_decode(x, ids, up, tile, by_pair=by_pair), cases
            )
        except Exception as error:  # a tile that does not fit is no news
            print(f"up {tile}: {error}"[:200], file=sys.stderr)
            return float("inf")

    def _time_down(
        self, cases: list[tuple[Tensor, ...]], hiddens: list[Tensor], tile: Tile, by_pair: bool
    ) -> float:
        if self._late():
            return float("inf")
        mix = down_token_decode if by_pair else down_decode
        calls = [(h, *case[1:]) for h, case in zip(hiddens, cases, strict=True)]
        try:
            return 1e6 * time_layer(
                lambda h, ids, w, up, down: mix(h, ids, w, down, tile, torch.bfloat16), calls
            )
        except Exception as error:
            print(f"down {tile}: {error}"[:200], file=sys.stderr)
            return float("inf")

    def _best(self, n: int) -> tuple[str, Experts]:
        """The fastest mapping and tiles found for about this many tokens."""
        if "tiles" not in self.result:
            return "built in", experts_decode
        choices = []
        for by_pair in (True, False):
            kind = "pair" if by_pair else "expert"
            known = [int(k.split("=")[1]) for k in self.result["tiles"] if k.startswith(kind)]
            nearest = min(known, key=lambda t: abs(t - n))
            if by_pair and n > max(known):
                continue
            found = self.result["tiles"][f"{kind} T={nearest}"]
            total = found["up"][0][1] + found["down"][0][1]
            tiles = Tile(*found["up"][0][0]), Tile(*found["down"][0][0])
            choices.append((total, kind, by_pair, tiles))
        _, kind, by_pair, tiles = min(choices)
        name = f"{kind} {tuple(tiles[0])} {tuple(tiles[1])}"
        return name, partial(experts_decode, tiles=tiles, by_pair=by_pair)

    def layer(self, sets: Sets) -> dict[str, Any]:
        """Microseconds of a whole layer, and the share of the stream's bandwidth at the floor."""
        rows: dict[str, Any] = {}
        stream = self.result["facts"]["stream_gb_s"] * 1e9
        for n in (*TOKENS, 48, 64, 128, 256):
            cases = sets.cases("random", n)
            choice, best = self._best(n)
            floor = sets.floor_bytes(cases)
            us = {"decode": time_layer(best, cases), "default": time_layer(experts_decode, cases)}
            us["decode again"] = time_layer(best, cases)
            us["grouped"] = time_layer(experts_grouped, cases)
            if n <= 32 and not self.short:
                us["dense loop"] = time_layer(dense_loop, cases[:4], repeats=5)
                us["expert loop"] = time_layer(experts_reference, cases, repeats=3, graph=False)
            rows[str(n)] = {
                "choice": choice,
                "floor_mb": floor / 1e6,
                "floor_us": 1e6 * floor / stream,
                "stream_share": floor / us["decode"] / stream,
                "us": {name: 1e6 * seconds for name, seconds in us.items()},
            }
        return rows

    def compiled(self, sets: Sets) -> dict[str, Any]:
        """The gathers under torch.compile, while time is left."""
        rows: dict[str, Any] = {}
        for n in (1, 8, 16, 4, 32, 2, 24):
            for run in (gather_reduce,) if self.short else (gather_reduce, gather_einsum):
                if self._late():
                    return rows
                compiled = torch.compile(run, dynamic=False)
                cases = sets.cases("random", n)
                rows.setdefault(str(n), {})[run.__name__] = 1e6 * time_layer(compiled, cases)
        return rows

    def table(self) -> str:
        """What a person reads."""
        facts, layers = self.result.get("facts", {}), self.result.get("layer", {})
        bits = self.result.get("bits", {})
        lines = [
            f"{facts.get('device')}: copy {facts.get('stream_gb_s', 0):.0f} GB/s, "
            f"bf16 matmul {facts.get('matmul_tflop_s', 0):.0f} TFLOP/s; torch {torch.__version__}",
            f"worst parity error {max(self.result.get('parity', {'': -1.0}).values()):.1e}; "
            f"same bits in {sum(bits.values())} of {len(bits)} comparisons",
        ]
        for n, row in self.result.get("router", {}).items():
            lines.append(f"router T={n}: {row['us']:.1f} us, torch {row['torch_us']:.1f} us")
        for n, row in self.result.get("ring attention", {}).items():
            lines.append(
                f"ring attention {n}: {row['us']:.1f} us, SDPA {row['sdpa_us']:.1f} us, "
                f"{row['floor_mb']:.1f} MB, error {row['error']:.1e}"
            )
        for n, row in self.result.get("dmel bag", {}).items():
            lines.append(
                f"dMel bag N={n}: {row['us']:.1f} us, torch {row['torch_us']:.1f} us, "
                f"{row['read_mb']:.1f} MB, error {row['error']:.1e}"
            )
        for name, found in self.result.get("tiles", {}).items():
            lines.append(f"tiles {name}: up {found['up'][:2]} down {found['down'][:2]}")
        lines.append("".join(f"{head:>{width}}" for head, width in _HEADS))
        for n, row in layers.items():
            us = {**row["us"], **self.result.get("compiled", {}).get(n, {})}
            cells = [n, f"{row['floor_us']:.1f}", f"{row['stream_share']:.0%}"]
            cells += [f"{us[name]:.1f}" if name in us else "-" for name in _COLUMNS]
            pairs = zip(cells, _HEADS, strict=True)
            lines.append("".join(f"{cell:>{width}}" for cell, (_, width) in pairs))
        lines.append("us per layer; decode: best tiles, default: built-in; * under torch.compile")
        lines += [f"FAILED {failure}" for failure in self.result["failures"][:8]]
        return "\n".join(lines)


def _us(run: Callable[..., Any], args: tuple[Any, ...]) -> float:
    return 1e6 * seconds_per_call([lambda: run(*args)] * 8, repeats=11, graph=True)


def _ranked(times: dict[Tile, float]) -> list[tuple[tuple[int, ...], float]]:
    """Best first."""
    ranked = sorted(times.items(), key=lambda item: item[1])
    return [(tuple(tile), round(us, 2)) for tile, us in ranked]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
