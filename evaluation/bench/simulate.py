"""`microturn bench simulate`: what a second of dialogue costs, in one table from one run.

All rows are measured in one process with one thread, in turns, in CPU seconds, on dialogues of the
same utterances at the same places. Both channels are made: the agent's, dry, and the user's.
Making a shard is all that is counted for ours: planning, sound, labels, lanes, FLAC, tar, digest.
No round makes a dialogue that was made before: ours remembers words that it has encoded, and it
shall know as many of them as in any set once some dozens of dialogues are there.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from tqdm import tqdm

from microturn.datagen.acoustics import rooms
from microturn.datagen.acoustics.config import (
    AcousticsConfig,
    EchoConfig,
    LineConfig,
    NetworkConfig,
    PlacesConfig,
    StretchConfig,
)
from microturn.datagen.config import ChannelConfig, DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.pipeline import SimulatedDialogue, Simulator, make_tokenizer, open_corpus
from microturn.datagen.simulate import indices_of, make_shard
from microturn.evaluation.bench.config import BenchSimulateConfig
from microturn.evaluation.bench.results import publish
from microturn.model.streams import Tokenizer

ROWS = {
    "ours_dry": "ours, dry, labels and lanes",
    "ours_reverb": "ours, reverb + noise, labels and lanes",
    "ours_everything": "ours, every effect in every dialogue, features, stems",
    "floor_dry": "floor: place, encode, tar",
    "floor_reverb": "floor: place, convolve, add a bed, encode, tar",
    "lhotse_dry": "lhotse, dry, FLAC",
    "lhotse_dry_our_level": "lhotse, dry, FLAC at our level",
    "lhotse_reverb": "lhotse, both channels convolved, FLAC",
    "lhotse_reverb_our_level": "lhotse, both channels convolved, FLAC at our level",
    "lhotse_reverb_user": "lhotse, user's channel convolved, FLAC",
}
GOALS = {
    "reverb_vs_lhotse": 3.0,
    "dry_vs_lhotse": 1.6,
    "reverb_vs_floor": 0.85,
    "two_vs_one": 1.9,
}
FAMILIES = {"turn": 1.0, "interruption": 1.0, "user_backchannel": 1.0, "timed_cue": 1.0}
Job = Callable[[], object]  # makes the dialogues of a round


def run_bench_simulate(config: BenchSimulateConfig) -> int:
    """The command; every row in a fresh process with one thread."""
    from microturn.configs.paths import cache_folder

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(config=config, folder=Path(folder), cache=cache_folder(config.cache))
        bench.prepare()
        (report,) = run_tasks(bench, [0], workers=1)
        seconds, ratios = report["seconds_per_cpu_second"], report["ratios"]
        scaling = _scaling(bench, config) if config.scaling else {}
        ratios["two_vs_one"] = scaling.get("two_vs_one")
    result = {
        "ratios": ratios,
        "goals": GOALS,
        "seconds_per_cpu_second": seconds,
        "rows": {name: ROWS[name] for name in seconds},
        "scaling": scaling,
        "spoken_share": report["spoken_share"],
        "n_dialogues": config.n_dialogues,
        "seconds_per_dialogue": report["seconds_per_dialogue"],
        "rounds": config.rounds,
    }
    publish(result, format_simulate(result), config)
    return 0


def _ratios(spent: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """How often ours fits into the other row's time: the median over rounds."""

    def ratio(ours: str, theirs: str) -> float | None:
        if theirs not in spent:
            return None
        pairs = zip(spent[theirs], spent[ours], strict=True)
        return round(median(other / own for other, own in pairs), 3)

    return {
        "reverb_vs_lhotse": ratio("ours_reverb", "lhotse_reverb"),
        "reverb_vs_lhotse_our_level": ratio("ours_reverb", "lhotse_reverb_our_level"),
        "reverb_vs_lhotse_user": ratio("ours_reverb", "lhotse_reverb_user"),
        "dry_vs_lhotse": ratio("ours_dry", "lhotse_dry"),
        "dry_vs_lhotse_our_level": ratio("ours_dry", "lhotse_dry_our_level"),
        "reverb_vs_floor": ratio("ours_reverb", "floor_reverb"),
    }


def format_simulate(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [
        f"{result['n_dialogues']} dialogues of {result['seconds_per_dialogue']:g} s, two channels, "
        f"one thread, median of {result['rounds']} rounds",
        f"{'':<48} {'s per CPU second':>17} {'ms per minute':>14}",
    ]
    for name, value in result["seconds_per_cpu_second"].items():
        lines.append(f"{ROWS[name]:<48} {value:>17.0f} {60_000 / value:>14.1f}")
    for name, value in result["ratios"].items():
        goal = result["goals"].get(name)
        aim = f"  (goal {goal:g})" if goal else ""
        lines.append(f"{name:<48} {'-' if value is None else f'{value:.2f}':>17}{aim}")
    return "\n".join(lines) + "\n"


def configurations(config: BenchSimulateConfig) -> dict[str, DatagenConfig]:
    """What ours makes in each row; the same dialogues, and more around them in the last."""
    quiet = ChannelConfig(
        low_pass_hz=(8000.0, 8000.0),
        noise_probability=0.0,
        overlay_probability=0.0,
        echo_probability=0.0,
        zero_probability=0.0,
        dither_db=-200.0,
    )
    shards = max(config.rounds + 1, config.scaling_shards)
    dry = DatagenConfig(
        out="bench",
        n_dialogues=(config.warm_shards + shards) * config.n_dialogues,
        dialogues_per_shard=config.n_dialogues,
        n_micro_turns=config.n_micro_turns,
        seed=config.seed,
        features=False,
        families=FAMILIES,
        channel=quiet,
    )
    loud = replace(quiet, low_pass_hz=(3400.0, 8000.0), noise_probability=1.0, dither_db=-88.0)
    every = replace(loud, overlay_probability=1.0, echo_probability=1.0, zero_probability=1.0)
    around = AcousticsConfig(
        places=PlacesConfig(third_voice_probability=1.0),
        stretch=StretchConfig(probability=1.0),
        echo=EchoConfig(room_probability=1.0, cancel_probability=1.0),
        line=LineConfig(clip_probability=1.0, drift_probability=1.0, telephone_probability=1.0),
        network=NetworkConfig(loss_probability=1.0, stall_probability=1.0),
    )
    return {
        "ours_dry": dry,
        "ours_reverb": replace(dry, channel=loud),
        "ours_everything": replace(dry, channel=every, acoustics=around, features=True, stems=True),
    }


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Picklable: prepares in the parent, measures in a process with one thread."""

    config: BenchSimulateConfig
    folder: Path
    cache: Path

    @property
    def bank(self) -> Path:
        return self.folder / "rooms.npz"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def prepare(self) -> None:
        """Rooms and tokenizer, once; a bank without rooms for the dry rows."""
        config = configurations(self.config)["ours_reverb"]
        built = rooms.ensure_bank(
            config.rooms, config.layout.sample_rate, folders=[self.cache, self.folder]
        )
        self.bank.write_bytes(built.read_bytes())
        with np.load(self.bank) as stored:
            unit = {
                name: stored[name] if name == "facts" else np.ones(1, np.float32)
                for name in stored.files
            }
        buffer = io.BytesIO()
        np.savez(buffer, **unit)  # type: ignore[arg-type]
        self.dry_bank.write_bytes(buffer.getvalue())
        make_tokenizer(config, UnitBank(open_corpus(config), config)).save(self.tokenizer)

    @property
    def dry_bank(self) -> Path:
        return self.folder / "no-rooms.npz"

    def simulator(self, name: str, **changes: Any) -> Simulator:
        return Simulator(
            replace(configurations(self.config)[name], **changes),
            rooms=self.dry_bank if name == "ours_dry" else self.bank,
            tokenizer=Tokenizer.load(self.tokenizer),
        )

    def __call__(self) -> Task:
        return self.measure

    def measure(self, _: int) -> Report:
        """Seconds of dialogue per CPU second of every row."""
        config, folder = self.config, self.folder
        simulators = {name: self.simulator(name) for name in configurations(config)}
        scene = self.simulator("ours_reverb", stems=True)
        spent: dict[str, list[float]] = {name: [] for name in ROWS}
        shares = []
        n_rounds = config.warm_shards + 1 + config.rounds
        with tqdm(total=n_rounds, desc="bench simulate", unit="round") as bar:
            for shard in range(config.warm_shards):
                for name, simulator in simulators.items():
                    make_shard(simulator, shard, out=folder / name)
                bar.update()
            for shard in range(config.warm_shards, n_rounds):
                dialogues = [scene.dialogue(index) for index in indices_of(scene.config, shard)]
                jobs = {
                    name: _shard(simulator, shard, folder / name)
                    for name, simulator in simulators.items()
                }
                for name, seconds in _round(jobs | self._others(dialogues, scene), folder).items():
                    spent[name].append(seconds)
                shares.append(_spoken_share(dialogues))
                bar.update()
        spent = {name: seconds[1:] for name, seconds in spent.items() if seconds}
        length = scene.config.n_samples / scene.config.layout.sample_rate
        total = length * config.n_dialogues
        return {
            "seconds_per_cpu_second": {
                name: round(total / median(seconds), 1) for name, seconds in spent.items()
            },
            "ratios": _ratios(spent),
            "seconds_per_dialogue": length,
            "spoken_share": {
                lane: round(fmean(share[lane] for share in shares[1:]), 3) for lane in shares[0]
            },
        }

    def _others(self, dialogues: list[SimulatedDialogue], scene: Simulator) -> dict[str, Job]:
        """The floor and, where it is asked for, lhotse."""
        from microturn.evaluation.bench.simulate_peers import floors, peers

        jobs = floors(dialogues, scene, self.bank, self.folder)
        if self.config.peers:
            jobs |= peers(dialogues, scene, self.bank, self.folder)
        return jobs


def _round(jobs: Mapping[str, Job], folder: Path) -> dict[str, float]:
    """CPU seconds of every job, in the order of the rows."""
    spent = {}
    for name in ROWS:
        if name not in jobs:
            continue
        for old in folder.glob("**/*.tar"):
            old.unlink()  # or writing over it would be counted
        started = time.process_time()
        jobs[name]()
        spent[name] = time.process_time() - started
    return spent


def _shard(simulator: Simulator, shard: int, folder: Path) -> Job:
    return lambda: make_shard(simulator, shard, out=folder)


def _spoken_share(dialogues: list[SimulatedDialogue]) -> dict[str, float]:
    n = sum(dialogue.timeline.n_samples for dialogue in dialogues)
    return {
        lane: round(
            sum(w.end_sample - w.start_sample for d in dialogues for w in d.timeline.words(lane))
            / n,
            3,
        )
        for lane in ("user", "agent")
    }


@dataclass(frozen=True, kw_only=True)
class _ScalingTask:
    """Makes shards and says from when to when; the clock is that of the machine."""

    bench: Bench
    folder: Path  # empty
    workers: int

    def __call__(self) -> Task:
        simulator, n_warm = self.bench.simulator("ours_reverb"), self.bench.config.warm_shards
        for shard in range(n_warm):  # what fills memories is start-up, too
            for index in indices_of(simulator.config, shard):
                simulator.members(simulator.dialogue(index))
        self._wait_for_others()

        def make(shard: int) -> Report:
            began, cpu = time.monotonic(), time.process_time()
            make_shard(simulator, n_warm + shard, out=self.folder)
            return {"from": began, "to": time.monotonic(), "cpu": time.process_time() - cpu}

        return make

    def _wait_for_others(self) -> None:
        (self.folder / f"{os.getpid()}.ready").touch()
        while len(list(self.folder.glob("*.ready"))) < self.workers:
            time.sleep(0.005)


def _scaling(bench: Bench, config: BenchSimulateConfig) -> dict[str, float]:
    """Wall-clock seconds for the same shards by one process and by two, start-up left out."""
    wall, cpu = {1: float("inf"), 2: float("inf")}, {1: float("inf"), 2: float("inf")}
    for number in range(min(config.rounds, 2)):
        for workers in wall:
            folder = bench.folder / f"scaling-{number}-{workers}"
            folder.mkdir()
            task = _ScalingTask(bench=bench, folder=folder, workers=workers)
            reports = list(run_tasks(task, range(config.scaling_shards), workers=workers))
            span = max(r["to"] for r in reports) - min(r["from"] for r in reports)
            wall[workers] = min(wall[workers], span)
            cpu[workers] = min(cpu[workers], sum(r["cpu"] for r in reports))
    return {
        "two_vs_one": round(wall[1] / wall[2], 3),
        "two_vs_one_cpu": round(2 * cpu[1] / cpu[2], 3),  # if two cores had been free
        "wall_s_one": round(wall[1], 3),
        "wall_s_two": round(wall[2], 3),
    }
