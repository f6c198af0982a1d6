"""`microturn bench serve`: what the server adds to the model, and what overload costs.

Paced clients on one process, the real server on another. Every chunk has to be answered or named
as lost; none may be lost where the model keeps up.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from microturn.evaluation.bench.config import BenchServeConfig
from microturn.evaluation.bench.results import publish
from microturn.evaluation.bench.serving.clients import PacedTalk, talk_at_once
from microturn.evaluation.bench.serving.server import RunningServer, ServedBatch, running
from microturn.inference.config import ServeConfig
from microturn.model.checkpoint import TINY_LAYOUT

_KEEPS_UP_MS: Final = "100"  # a bound of the histograms of /metrics.json
_KEEPS_UP_SHARE: Final = 0.99


def run_bench_serve(config: BenchServeConfig) -> int:
    """The command: a row for each way to drop; exit 1 for a chunk that should not be lost."""
    ways = product(config.max_behind_ms, config.keep_waiting)
    rows = [_row(config, keep, behind_ms) for behind_ms, keep in ways]
    result = {
        "rows": rows,
        "clients": config.clients,
        "duration_s": config.duration_s,
        "sleep_ms": config.sleep_ms,
        "checkpoint": config.checkpoint or "tiny, random weights",
        "max_waiting": config.max_waiting,
    }
    publish(result, format_serve(result), config)
    faults = [fault for row in rows for fault in faults_of(row, config)]
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


def _row(config: BenchServeConfig, keep_waiting: int, max_behind_ms: float) -> dict[str, Any]:
    serve = ServeConfig(
        admit_share=0.0,
        max_sessions=config.clients,
        max_waiting_micro_turns=config.max_waiting,
        keep_waiting_micro_turns=keep_waiting,
        max_behind_ms=max_behind_ms,
        threads=config.threads,
    )
    served = ServedBatch(
        serve=serve,
        sleep_ms=config.sleep_ms,
        passed_share=config.passed_share,
        checkpoint=config.checkpoint,
    )
    period_s = TINY_LAYOUT.micro_turn_s
    n = max(1, round(config.duration_s / period_s))
    load = [os.getloadavg()[0]]
    with running(served) as server:
        talks = asyncio.run(talk_at_once(server.socket_url, config.clients, n, period_s=period_s))
        row = {**figures(talks), **_ticks(server)}
    way = {"keep_waiting": keep_waiting, "max_behind_ms": max_behind_ms}
    return {**way, **row, "load": [*load, os.getloadavg()[0]]}


def figures(talks: Sequence[PacedTalk]) -> dict[str, Any]:
    """Sum up what became of all chunks."""
    round_trips = [ms for talk in talks for ms in talk.round_trip_ms.values()]
    lags = [ms for talk in talks for ms in talk.lag_ms.values()]
    return {
        "n_sent": sum(len(talk.sent_s) for talk in talks),
        "n_answered": len(round_trips),
        "n_lost": sum(len(talk.lost) for talk in talks),
        "n_unaccounted": sum(talk.n_unaccounted for talk in talks),
        "round_trip": _quantiles(round_trips),
        "lag": _quantiles(lags),
        "over": [talk.over for talk in talks if talk.over],
    }


def _quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    times = np.asarray(times_ms or [np.nan])
    return {
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
    }


def _ticks(server: RunningServer) -> dict[str, Any]:
    """How the model alone kept up, in the same run."""
    ticks = server.metrics()["tick"]
    share = ticks["at_most_ms"][_KEEPS_UP_MS] / max(1, ticks["count"])
    return {"tick_mean_ms": ticks["sum_ms"] / max(1, ticks["count"]), "ticks_below_100_ms": share}


def faults_of(row: dict[str, Any], config: BenchServeConfig) -> list[str]:
    """Say what a row shows that must not be."""
    faults = [f"a client's connection ended: {over}" for over in row["over"]]
    if row["n_unaccounted"]:
        faults.append(f"{row['n_unaccounted']} chunks were neither answered nor named as lost")
    keeps_up = row["ticks_below_100_ms"] >= _KEEPS_UP_SHARE
    if row["n_lost"] and keeps_up:
        faults.append(
            f"{row['n_lost']} chunks were lost, and {row['ticks_below_100_ms']:.1%} of the ticks "
            "took less than 100 ms"
        )
    for name, limit in (("p50", config.limit_p50_ms), ("p99", config.limit_p99_ms)):
        added = row["round_trip"][f"{name}_ms"] - config.sleep_ms
        if limit and added > limit:
            faults.append(
                f"{name} of the time that the server adds is {added:.1f} ms, above "
                f"limit_{name}_ms={limit:g}"
            )
    return faults


# --- for people ------------------------------------------------------------------------------
def format_serve(result: dict[str, Any]) -> str:
    """Format the figures as a text table."""
    model = (
        f"a batch that sleeps {result['sleep_ms']:g} ms"
        if result["sleep_ms"]
        else (result["checkpoint"])
    )
    lines = [
        f"{result['clients']} clients, {result['duration_s']:g} s, {model}; at most "
        f"{result['max_waiting']} waiting; times in ms",
        f"{'keep':>4} {'behind':>6} "
        f"{'round trip p50':>14} {'p99':>7} {'max':>7} {'lag p50':>8} {'p99':>7} "
        f"{'sent':>7} {'lost':>6} {'unaccounted':>11} {'tick':>6} {'< 100 ms':>8} {'load':>11}",
    ]
    for row in result["rows"]:
        trip, lag, load = row["round_trip"], row["lag"], row["load"]
        lines.append(
            f"{row['keep_waiting']:>4} {row['max_behind_ms']:>6g} "
            f"{trip['p50_ms']:>14.1f} {trip['p99_ms']:>7.1f} {trip['max_ms']:>7.1f} "
            f"{lag['p50_ms']:>8.1f} {lag['p99_ms']:>7.1f} "
            f"{row['n_sent']:>7} {row['n_lost']:>6} {row['n_unaccounted']:>11} "
            f"{row['tick_mean_ms']:>6.1f} {row['ticks_below_100_ms']:>8.1%} "
            f"{load[0]:>5.1f}-{load[1]:.1f}"
        )
    return "\n".join(lines) + "\n"
