"""Making a set of dialogues: shards as idempotent tasks, then the card, then the index."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microturn.configs.load import keys_of, load_config, save_config, write_atomically
from microturn.datagen import executors
from microturn.datagen.acoustics import rooms
from microturn.datagen.card import CARD_JSON, CARD_TEXT, card_text, make_card
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import MANIFEST_NAME
from microturn.datagen.pipeline import Simulator, encode_json, make_tokenizer, open_corpus
from microturn.datagen.shards import (
    CONFIG_NAME,
    FORMAT,
    INDEX_NAME,
    LAYOUT_NAME,
    TOKENIZER_NAME,
    ShardInfo,
    ShardWriter,
    read_index,
)
from microturn.datagen.statistics import Statistics
from microturn.datagen.units import UnitBank
from microturn.model.streams import Tokenizer

PROGRESS_FOLDER = ".progress"
# Keys that say where and how, not what: they may change between runs of one set.
FREE_KEYS = frozenset({"out", "workers", "json", "cache"})


def simulate(config: DatagenConfig, *, cache: Path) -> dict[str, Any]:
    """Make the set, or what is still missing of it; returns its data card."""
    out = Path(config.out)
    _check_writable(out)
    _check_same_config(config, out)
    if (out / INDEX_NAME).is_file():
        read_index(out)
        print(f"{out} is finished ({config.n_dialogues} dialogues); nothing to do", file=sys.stderr)
        return dict(json.loads((out / CARD_JSON).read_text()))
    facts, bank_path = _prepare(config, out, cache)
    todo = [shard for shard in range(config.n_shards) if not _is_done(out, shard)]
    if len(todo) < config.n_shards:
        print(
            f"{out}: {config.n_shards - len(todo)} of {config.n_shards} shards are there",
            file=sys.stderr,
        )
    workers = config.workers or os.cpu_count() or 1
    started = time.monotonic()
    reports = executors.run(ShardTask(config=config, rooms=bank_path), todo, workers=workers)
    with tqdm(total=config.n_dialogues, unit="dialogue", desc=f"simulate {config.split}") as bar:
        bar.update(config.n_dialogues - sum(_samples(config, shard) for shard in todo))
        for report in reports:
            bar.update(report["shard"]["samples"])
    card = _finish(config, out, facts)
    _say_speed(config, len(todo), time.monotonic() - started)
    return card


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Picklable: builds a simulator inside a worker, then makes shards with it."""

    config: DatagenConfig
    rooms: Path

    def __call__(self) -> executors.Task:
        out = Path(self.config.out)
        tokenizer = Tokenizer.load(out / TOKENIZER_NAME)
        simulator = Simulator(self.config, rooms=self.rooms, tokenizer=tokenizer)

        def make(shard: int) -> executors.Report:
            return make_shard(simulator, shard, out)

        return make


def make_shard(simulator: Simulator, shard: int, out: Path) -> executors.Report:
    """One tar and the report that says it is whole."""
    config = simulator.config
    first = shard * config.dialogues_per_shard
    writer = ShardWriter(out / shard_name(shard))
    statistics = Statistics()
    try:
        for index in range(first, first + _samples(config, shard)):
            dialogue = simulator.dialogue(index)
            writer.write(index, simulator.members(dialogue))
            statistics.add(simulator.describe(dialogue))
    except BaseException:
        writer.abandon()
        raise
    info = writer.close()
    report = {"shard": vars(info), "statistics": statistics.to_json()}
    write_atomically(_report_path(out, shard), encode_json(report).decode() + "\n")
    return report


def shard_name(shard: int) -> str:
    return f"shard-{shard:06d}.tar"


def _samples(config: DatagenConfig, shard: int) -> int:
    first = shard * config.dialogues_per_shard
    return min(config.dialogues_per_shard, config.n_dialogues - first)


def _report_path(out: Path, shard: int) -> Path:
    return out / PROGRESS_FOLDER / f"{shard_name(shard)}.json"


def _is_done(out: Path, shard: int) -> bool:
    """A shard is done when its report is there and it has the size that the report says."""
    report, tar = _report_path(out, shard), out / shard_name(shard)
    if not (report.is_file() and tar.is_file()):
        return False
    return bool(json.loads(report.read_text())["shard"]["bytes"] == tar.stat().st_size)


def _prepare(config: DatagenConfig, out: Path, cache: Path) -> tuple[dict[str, Any], Path]:
    """Everything that workers share, on disk; and the facts that identify the set."""
    for stale in out.glob(".shard-*.tmp"):  # of a run that was killed
        stale.unlink()
    corpus = open_corpus(config)
    bank = UnitBank(corpus, config)
    rate = config.layout.sample_rate
    progress = out / PROGRESS_FOLDER
    rooms_path = rooms.ensure_bank(config.rooms, rate, [cache, progress])
    facts = {
        "format": FORMAT,
        "split": config.split,
        "seed": config.seed,
        "first_index": 0,
        "n_dialogues": config.n_dialogues,
        "n_micro_turns": config.n_micro_turns,
        "layout_hash": config.layout.hash,
        "corpus_sha256": hashlib.sha256((corpus.folder / MANIFEST_NAME).read_bytes()).hexdigest(),
        "rooms_sha256": rooms.digest(rooms_path),
    }
    facts_path = progress / "facts.json"
    if facts_path.is_file():
        _check_same_facts(json.loads(facts_path.read_text()), facts, out)
    save_config(out / CONFIG_NAME, config)
    config.layout.save(out / LAYOUT_NAME)
    tokenizer = make_tokenizer(config, bank)
    tokenizer.save(out / TOKENIZER_NAME)
    # Fail here, with one sentence, rather than in every worker.
    Simulator(config, rooms=rooms_path, tokenizer=tokenizer)
    write_atomically(facts_path, json.dumps(facts))
    return facts, rooms_path


def _finish(config: DatagenConfig, out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Card and index from the reports; the index comes last and says that the set is whole."""
    statistics, shards = Statistics(), []
    for shard in range(config.n_shards):
        report = json.loads(_report_path(out, shard).read_text())
        statistics.merge(report["statistics"])
        shards.append(vars(ShardInfo(**report["shard"])))
    card = make_card(statistics, facts)
    write_atomically(out / CARD_JSON, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    write_atomically(out / CARD_TEXT, card_text(card))
    index = {**facts, "seconds": round(statistics.sums["seconds"], 6), "shards": shards}
    write_atomically(out / INDEX_NAME, json.dumps(index, indent=2) + "\n")
    shutil.rmtree(out / PROGRESS_FOLDER)
    return card


def _check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"out={out} cannot be written to ({error.strerror})") from error


def _check_same_config(config: DatagenConfig, out: Path) -> None:
    """Refuse a folder that holds a set of another configuration."""
    path = out / CONFIG_NAME
    if not path.is_file():
        if any(out.glob("shard-*.tar")):
            raise ValueError(f"{out} holds shards but no {CONFIG_NAME}; take another out=FOLDER")
        return
    stored = load_config(DatagenConfig, [path.resolve()])
    for key in keys_of(DatagenConfig):
        if key.name not in FREE_KEYS:
            theirs, ours = _value(stored, key.name), _value(config, key.name)
            if theirs != ours:
                raise ValueError(
                    f"{out} holds a set with {key.name}={_shown(theirs)}, not {_shown(ours)}; "
                    "take another out=FOLDER or delete this one"
                )


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return tuple(config) if isinstance(config, Sequence) and not isinstance(config, str) else config


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_same_facts(stored: dict[str, Any], facts: dict[str, Any], out: Path) -> None:
    for name, value in facts.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{out} was begun with another {name.removesuffix('_sha256')}, so it cannot be "
                "finished with this one; delete the folder and simulate it again"
            )


def _say_speed(config: DatagenConfig, n_shards: int, wall_s: float) -> None:
    layout = config.layout
    seconds = config.n_samples / layout.sample_rate * config.dialogues_per_shard * n_shards
    seconds = min(seconds, config.n_dialogues * config.n_samples / layout.sample_rate)
    print(f"{seconds:.0f} s of dialogue in {wall_s:.1f} s", file=sys.stderr)
