"""`microturn bench corpus`: what opening a corpus costs, against the number of its utterances.

Every row is measured in a process of its own that has imported everything before: in CPU seconds,
with files in the page cache, so that a busy machine changes little. Memory is the growth of what is
resident, pages of mapped files included, which workers of one machine share: at its highest, so
what is only needed for a moment counts too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig, RoomsConfig
from microturn.datagen.corpora.adding.writer import CorpusWriter
from microturn.datagen.corpora.checking import AcceptedRecording
from microturn.datagen.corpora.index.manifest_columns import utterance_of
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.report.corpora_use import use_of
from microturn.evaluation.bench.config import BenchCorpusConfig
from microturn.evaluation.bench.corpora.many_lines import write_corpus
from microturn.evaluation.bench.corpora.peers import PEERS
from microturn.evaluation.bench.results import publish
from microturn.model.streams import Tokenizer

ROWS: Final = {
    "floor": "floor: the bytes of the manifest",
    "objects": "every line as an object",
    "index": "ours: first opening, which makes the index",
    "open": "ours: open and choose one speaker",
    "worker": "ours: a worker of `simulate`, ready for its first dialogue",
    "drawn": "ours: the same worker, 10,000 utterances read",
    "prepare": "ours: tokenizer and use of the corpus, once for a set",
    "added": "ours: what `corpus add` writes, without reading sound",
    "lhotse": "lhotse: lazy manifest, choose one speaker",
    "arrow": "pyarrow: read_json, choose one speaker",
    "datasets_index": "datasets: first opening, which makes Arrow files",
    "datasets": "datasets: open and choose one speaker",
}
GOALS: Final = {"seconds": 5.0, "mib": 300.0}  # of a worker, with any number of utterances
SPEAKER: Final = "rita"
N_DRAWN: Final = 10_000
Work = Callable[[], object]


def run_bench_corpus(config: BenchCorpusConfig) -> int:
    """The command; exit code 1 where a worker misses a goal."""
    result = measure(config)
    publish(result, format_corpus(result), config)
    return 0 if result["reached"] else 1


def measure(config: BenchCorpusConfig) -> dict[str, Any]:
    """Return seconds and MiB of every row and number of utterances."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        plain = DatagenConfig(out="unused", rooms=RoomsConfig(n_rooms=2, method="tail"))
        rooms = ensure_bank(plain.rooms, plain.layout.sample_rate, folders=[base])
        make_tokenizer(plain, UnitBank(open_corpus(plain), plain)).save(base / "tokenizer.json")
        rows = [row for row in ROWS if config.peers or row not in PEERS]
        sizes: dict[int, dict[str, Report]] = {}
        with tqdm(total=len(rows) * len(config.utterances), desc="bench corpus", unit="row") as bar:
            for n in config.utterances:
                folder = base / str(n)
                write_corpus(folder, n)
                job = CorpusJob(folder=folder, rooms=rooms, tokenizer=base / "tokenizer.json")
                sizes[n] = {}
                for row in rows:
                    (sizes[n][row],) = run_tasks(replace(job, row=row), [0], workers=1)
                    bar.update()
    worst = {goal: max(found["drawn"][goal] for found in sizes.values()) for goal in GOALS}
    return {
        "utterances": {str(n): found for n, found in sizes.items()},
        "goals": GOALS,
        "reached": all(worst[goal] <= limit for goal, limit in GOALS.items()),
        "rows": {row: ROWS[row] for row in rows},
    }


def format_corpus(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    sizes = result["utterances"]
    lines = [f"{'':<62}" + "".join(f"{int(n):>20,}" for n in sizes)]
    lines.append(f"{'utterances':<62}" + f"{'CPU s      MiB':>20}" * len(sizes))
    for row, text in result["rows"].items():
        cells = (sizes[n][row] for n in sizes)
        lines.append(
            f"{text:<62}"
            + "".join(f"{cell['seconds']:>11.2f}{cell['mib']:>9.0f}" for cell in cells)
        )
    goals = result["goals"]
    lines.append(
        f"goal of a worker: {goals['seconds']:g} s and {goals['mib']:g} MiB; "
        f"{'reached' if result['reached'] else 'MISSED'}"
    )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class CorpusJob:
    """Measures a row in the process that it is called in; picklable."""

    folder: Path
    rooms: Path
    tokenizer: Path
    row: str = ""

    def __call__(self) -> Task:
        work = self._work()

        def timed(_: int) -> Report:
            _forget_peak()
            before, began = _resident_bytes("VmRSS"), time.process_time()
            kept = work()
            seconds = time.process_time() - began
            grown = _resident_bytes("VmHWM") - before
            del kept
            return {"seconds": round(seconds, 4), "mib": round(grown / 2**20, 1)}

        return timed

    def _work(self) -> Work:
        manifest = self.folder / MANIFEST_NAME
        if self.row in PEERS:
            return PEERS[self.row](manifest, SPEAKER)
        works: dict[str, Work] = {
            "floor": partial(_read_bytes, manifest),
            "objects": partial(_objects, manifest),
            "index": partial(Corpus.open, self.folder),
            "open": partial(_one_speaker, self.folder),
            "worker": self._worker,
            "drawn": self._drawn,
            "prepare": self._prepare,
            "added": self._added,
        }
        return works[self.row]

    @property
    def _config(self) -> DatagenConfig:
        rooms = RoomsConfig(n_rooms=2, method="tail")
        return DatagenConfig(out="unused", corpus=str(self.folder), rooms=rooms)

    def _worker(self) -> Simulator:
        return Simulator(self._config, rooms=self.rooms, tokenizer=Tokenizer.load(self.tokenizer))

    def _drawn(self) -> Simulator:
        simulator = self._worker()
        corpus = simulator.bank.corpus
        for row in np.random.default_rng(0).integers(len(corpus), size=N_DRAWN).tolist():
            corpus.utterance(row)
        return simulator

    def _prepare(self) -> object:
        corpus = open_corpus(self._config)
        use_of(corpus, self._config)
        return make_tokenizer(self._config, UnitBank(corpus, self._config))

    def _added(self) -> CorpusWriter:
        """Write every utterance of the manifest, each with another sound of one byte."""
        folder = self.folder / "added"
        folder.mkdir()
        manifest = (self.folder / MANIFEST_NAME).open("rb")
        with manifest, closing(CorpusWriter(folder)) as writer:
            for line in manifest:
                utterance = utterance_of(line)
                digest = sha256(utterance.id.encode()).hexdigest()
                place = utterance.member
                writer.add(
                    AcceptedRecording(utterance=utterance, data=b"0", digest=digest, place=place)
                )
        return writer


def _read_bytes(manifest: Path) -> int:
    """Read a file into one buffer: no program can do with less."""
    buffer, total = bytearray(1 << 20), 0
    with manifest.open("rb", buffering=0) as file:
        while n := file.readinto(buffer):
            total += n
    return total


def _objects(manifest: Path) -> Sequence[object]:
    with manifest.open("rb") as file:
        return [utterance_of(line) for line in file]


def _one_speaker(folder: Path) -> Sequence[object]:
    return list(Corpus.open(folder).filter(speaker=SPEAKER))


def _forget_peak() -> None:
    """Make what is resident now the highest so far (proc(5), clear_refs); Linux only."""
    refs = Path("/proc/self/clear_refs")
    if not refs.is_file():
        raise OSError(f"there is no {refs}: `microturn bench corpus` needs Linux")
    refs.write_text("5", encoding="ascii")


def _resident_bytes(name: str) -> int:
    """Return what is resident now (VmRSS), or was at its highest (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) * 1024
