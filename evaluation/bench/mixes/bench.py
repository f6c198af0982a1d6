"""`microturn bench mixes`: how fast mixes are simulated, side by side in one run, and their start.

All mixes are measured in one process with one thread, in turns, in CPU seconds, so that a busy
machine slows all alike. Making a shard is what is counted: planning, sound, labels, lanes, FLAC,
tar, digest. Rounds are made twice: while recordings are decoded when they are first met, as by the
first sets of a corpus, and after all are, as by later ones. The cold start has a process of its
own, on copies of the corpora that nobody opened.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from tqdm import tqdm

from microturn.configs.load import CONFIG_DIR, ConfigError, load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import folders_of
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.simulate import make_shard
from microturn.evaluation.bench.config import BenchMixesConfig
from microturn.evaluation.bench.results import publish

GOALS: Final = {("open", "human"): 0.8}  # dialogues per CPU second of one mix, of another's


def run_bench_mixes(config: BenchMixesConfig) -> int:
    """The command; exit code 1 where a goal is missed."""
    with tempfile.TemporaryDirectory() as folder:
        job = MixesJob(config=config, folder=Path(folder), cache=cache_folder(config.cache))
        job.prepare()
        mixes: dict[str, Report] = {}
        for number in range(len(config.mixes)):
            (cold,) = run_tasks(replace(job, cold=True), [number], workers=1)
            mixes[config.names[number]] = cold
        (warm,) = run_tasks(job, [0], workers=1)
    for name, spent in warm["seconds"].items():
        length = warm["seconds_per_dialogue"][name]
        rate = config.n_dialogues / median(spent)
        mixes[name] |= {
            "dialogues_per_cpu_second": round(rate, 2),
            "seconds_per_cpu_second": round(rate * length, 1),
            "seconds_per_dialogue": length,
            "first_dialogues_per_cpu_second": round(
                config.n_dialogues / median(warm["first_seconds"][name]), 2
            ),
            "decoding_s": warm["decoding_s"][name],
        }
    result: dict[str, Any] = {
        "mixes": mixes,
        "ratios": _ratios(warm["seconds"]),
        "first_ratios": _ratios(warm["first_seconds"]),
        "goals": {"_vs_".join(pair): goal for pair, goal in GOALS.items()},
        "n_dialogues": config.n_dialogues,
        "rounds": config.rounds,
    }
    result["reached"] = all(
        result["ratios"].get(name, goal) >= goal for name, goal in result["goals"].items()
    )
    publish(result, format_mixes(result), config)
    return 0 if result["reached"] else 1


def _ratios(spent: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Dialogues per CPU second of the first mix, of each other's: the median over rounds."""
    first, *others = spent
    return {
        f"{first}_vs_{other}": round(
            median(b / a for a, b in zip(spent[first], spent[other], strict=True)), 3
        )
        for other in others
    }


def format_mixes(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    lines = [
        f"{result['n_dialogues']} dialogues a round, one thread, "
        f"median of {result['rounds']} rounds",
        f"{'':<16}{'dialogues per':>15}{'s of sound per':>16}{'s per':>10}{'dialogues per':>15}"
        f"{'decoding all':>14}{'cold start':>12}{'of it corpus':>14}",
        f"{'':<16}{'CPU second':>15}{'CPU second':>16}{'dialogue':>10}{'s, not decoded':>15}"
        f"{'CPU s':>14}{'CPU s':>12}{'CPU s':>14}",
    ]
    lines += [
        f"{name:<16}{mix['dialogues_per_cpu_second']:>15.2f}{mix['seconds_per_cpu_second']:>16.0f}"
        f"{mix['seconds_per_dialogue']:>10.0f}{mix['first_dialogues_per_cpu_second']:>15.2f}"
        f"{mix['decoding_s']:>14.1f}{mix['cold_start_s']:>12.2f}{mix['corpus_s']:>14.2f}"
        for name, mix in result["mixes"].items()
    ]
    for name, value in result["ratios"].items():
        goal = result["goals"].get(name)
        verdict = "" if goal is None else f" (goal {goal:g})"
        first = result["first_ratios"][name]
        lines.append(f"{name:<31}{value:>16.2f}{verdict}, not decoded {first:.2f}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class MixesJob:
    """Picklable: prepares in the parent, measures in a process with one thread."""

    config: BenchMixesConfig
    folder: Path
    cache: Path
    cold: bool = False

    def configuration(self, number: int) -> DatagenConfig:
        """A mix with as many dialogues as are made of it, a round to a shard."""
        config, path = self.config, Path(self.config.mixes[number])
        mix = path if path.is_file() else CONFIG_DIR / path
        rounds = config.warm_rounds + 2 * config.rounds
        values = [
            "out=bench",
            f"cache={self.folder}",
            f"n_dialogues={rounds * config.n_dialogues}",
            f"dialogues_per_shard={config.n_dialogues}",
        ]
        loaded: DatagenConfig = load_config(DatagenConfig, [mix], values)
        return loaded

    def prepare(self) -> None:
        """Make the rooms of all mixes, once; raises ConfigError for a mix that does not exist."""
        for number, mix in enumerate(self.config.mixes):
            if not (Path(mix).is_file() or (CONFIG_DIR / mix).is_file()):
                raise ConfigError(f"mixes has {mix!r}, which is no file, here or below configs/")
            built = self._rooms(self.configuration(number))
            shutil.copyfile(built, self.folder / f"{number}.npz")

    def _rooms(self, config: DatagenConfig) -> Path:
        rate = config.layout.sample_rate
        return ensure_bank(config.rooms, rate, folders=[self.cache, self.folder])

    def __call__(self) -> Task:
        return self.start if self.cold else self.measure

    def start(self, number: int) -> Report:
        """CPU seconds from corpora that nobody opened to the first dialogue."""
        config = self.configuration(number)
        copies = []
        for source in folders_of(config.corpus):  # some name the files of a neighbour
            copy = self.folder / f"corpora-{number}" / Path(source).name
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".*.index.npz"))
            copies.append(str(copy))
        config = replace(config, corpus=",".join(copies))
        began = time.process_time()
        corpus = open_corpus(config)
        opened = time.process_time()
        tokenizer = make_tokenizer(config, UnitBank(corpus, config))
        rooms = self.folder / f"{number}.npz"
        simulator = Simulator(config, rooms=rooms, tokenizer=tokenizer)
        simulator.members(simulator.dialogue(0))
        tokenizer.save(self.folder / f"{number}.json")
        return {
            "cold_start_s": round(time.process_time() - began, 2),
            "corpus_s": round(opened - began, 2),
        }

    def measure(self, _: int) -> Report:
        """CPU seconds of every round of every mix, after dialogues that warm memories up."""
        from microturn.model.streams import Tokenizer

        config = self.config
        simulators = {
            name: Simulator(
                self.configuration(number),
                rooms=self.folder / f"{number}.npz",
                tokenizer=Tokenizer.load(self.folder / f"{number}.json"),
            )
            for number, name in enumerate(config.names)
        }
        spent: dict[str, list[float]] = {name: [] for name in simulators}
        decoding: dict[str, float] = {}
        first = config.warm_rounds + config.rounds
        rounds = first + config.rounds
        with tqdm(total=rounds * len(spent), desc="bench mixes", unit="round") as bar:
            for shard in range(rounds):
                if shard == first:
                    decoding = {name: _decode(one) for name, one in simulators.items()}
                for name, simulator in simulators.items():
                    began = time.process_time()
                    make_shard(simulator, shard, out=self.folder / name)
                    spent[name].append(time.process_time() - began)
                    shutil.rmtree(self.folder / name)  # or the disk would fill
                    bar.update()
        return {
            "seconds": {name: own[first:] for name, own in spent.items()},
            "first_seconds": {name: own[config.warm_rounds : first] for name, own in spent.items()},
            "decoding_s": decoding,
            "seconds_per_dialogue": {
                name: one.config.n_samples / one.config.layout.sample_rate
                for name, one in simulators.items()
            },
        }


def _decode(simulator: Simulator) -> float:
    """Decode all recordings of a mix that are not yet; returns CPU seconds."""
    began = time.process_time()
    corpus = simulator.bank.corpus
    for utterance in corpus:
        corpus.load(utterance)
    return round(time.process_time() - began, 1)
