"""Simulates a set of dialogues: shards as idempotent tasks, then the card, then the index.

Any number of processes, machines and parts may work on one set: a report marks a shard as done,
and the process that finds all reports writes the index. Two processes that do so at the same time
write the same bytes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microturn.configs.files import process_mark
from microturn.configs.load import keys_of, load_config, save_config
from microturn.configs.reading import naming_damage
from microturn.datagen.acoustics import rooms
from microturn.datagen.acoustics.recordings import fingerprints
from microturn.datagen.config import DatagenConfig, part_of
from microturn.datagen.corpora.home import digest_of, folders_of
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.pipeline import Simulator, encode_json, make_tokenizer, open_corpus
from microturn.datagen.report.card import CARD_JSON, CARD_TEXT, card_text, make_card, read_card
from microturn.datagen.report.card_plots import card_plots
from microturn.datagen.report.corpora_use import hopeless, unheard, use_of
from microturn.datagen.report.heard import add_dialogue
from microturn.datagen.report.leakage import MAX_DIALOGUES, measure_leakage
from microturn.datagen.report.leakage_rows import NuisanceRow, nuisance_rows
from microturn.datagen.report.set_statistics import SetStatistics
from microturn.datagen.report.spelling import misspelt
from microturn.datagen.sets import storage
from microturn.datagen.sets.contents import CONTENTS_NAME, Contents, contents_text
from microturn.datagen.sets.shards import (
    CONFIG_NAME,
    FORMAT,
    INDEX_NAME,
    LAYOUT_NAME,
    TOKENIZER_NAME,
    ShardInfo,
    ShardWriter,
    read_index,
)
from microturn.datagen.sets.storage import Place, local_copy, place, write_whole
from microturn.model.streams import Tokenizer

PROGRESS_FOLDER = ".progress"
IDENTITY_NAME = "identity.json"
ROOMS_NAME, ROOMS_KEY = "rooms.npz", "rooms_sha256"
# Keys of folders and execution, which may change between runs of one set.
FREE_KEYS = frozenset({"out", "workers", "json", "cache", "executor", "part", "ray_address"})


def simulate(config: DatagenConfig, *, cache: Path) -> dict[str, Any]:
    """Simulate the set, or its missing shards; returns its data card.

    A part that is not the last to finish returns the number of finished shards instead.
    """
    _check_executor(config)
    out = place(config.out)
    _check_writable(out)
    _check_same_config(config, out)
    if (out / INDEX_NAME).is_file():
        print(f"{out} is finished ({config.n_dialogues} dialogues); nothing to do", file=sys.stderr)
        return _stored_card(out)
    with tempfile.TemporaryDirectory() as scratch:
        identity, bank, corpus = _prepare(config, out, [cache, Path(scratch)])
        task = ShardTask(config=_for_workers(config), rooms=bank, sha256=identity[ROOMS_KEY])
        _make_shards(config, out, task)
    return _finish(config, out, identity, corpus=corpus)


def _for_workers(config: DatagenConfig) -> DatagenConfig:
    """Make paths absolute: workers of a cluster run in another folder."""
    out, corpus = place(config.out), config.corpus
    return replace(
        config,
        out=str(out.absolute()) if isinstance(out, Path) else config.out,
        corpus=",".join(folders_of(corpus)) if corpus else "",
    )


def _make_shards(config: DatagenConfig, out: Place, task: ShardTask) -> None:
    first, step = part_of(config.part)
    shards = range(first, config.n_shards, step)
    pending = [shard for shard in shards if not _is_done(out, shard)]
    if len(pending) < len(shards):
        n_done = len(shards) - len(pending)
        print(f"{out}: {n_done} of {len(shards)} shards are finished", file=sys.stderr)
    started = time.monotonic()
    reports = run_tasks(
        task,
        pending,
        workers=config.workers,
        executor=config.executor,
        ray_address=config.ray_address,
    )
    total = sum(len(indices_of(config, shard)) for shard in shards)
    with tqdm(total=total, unit="dialogue", desc=f"simulate {config.split}") as bar:
        bar.update(total - sum(len(indices_of(config, shard)) for shard in pending))
        for report in reports:
            bar.update(ShardInfo.from_json(report["shard"]).n_dialogues)
    _print_speed(config, pending, time.monotonic() - started)


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Builds a simulator inside a worker, then makes shards with it; picklable."""

    config: DatagenConfig
    rooms: Path
    sha256: str  # of the rooms

    def __call__(self) -> Task:
        out = place(self.config.out)
        with local_copy(out / TOKENIZER_NAME) as path:
            tokenizer = Tokenizer.load(path)
        with self._rooms(out) as path:
            simulator = Simulator(self.config, rooms=path, tokenizer=tokenizer)

        def make(shard: int) -> Report:
            return make_shard(simulator, shard, out=out)

        return make

    def _rooms(self, out: Place) -> AbstractContextManager[Path]:
        """Return the bank of rooms: the local file, or on another machine the copy in the set."""
        if self.rooms.is_file() and rooms.digest(self.rooms) == self.sha256:
            return nullcontext(self.rooms)
        return local_copy(out / PROGRESS_FOLDER / ROOMS_NAME)


def make_shard(simulator: Simulator, shard: int, *, out: Place) -> Report:
    """Write one tar, then the report that marks it as done."""
    config = simulator.config
    writer = ShardWriter(out / shard_name(shard))
    statistics, contents = SetStatistics(), Contents(said=simulator.agent_words)
    rows: list[Any] = []  # what the leakage probe sees
    try:
        for index in indices_of(config, shard):
            dialogue = simulator.dialogue(index)
            labels = simulator.labels(dialogue)
            writer.write(index, simulator.members(dialogue, labels))
            statistics.add(labels, dialogue.sound, known_agents=simulator.known_agents)
            add_dialogue(contents, labels, simulator.bank.corpus)
            if index < MAX_DIALOGUES:
                rows += [r.to_json() for r in nuisance_rows(labels, dialogue.sound.stems["user"])]
        info = writer.close()
    except BaseException:
        writer.abandon()
        raise
    report = {
        "shard": info.to_json(),
        "statistics": statistics.to_json(),
        "contents": contents.to_json(),
        "nuisance": rows,
    }
    write_whole(_report_path(out, shard), encode_json(report) + b"\n")
    return report


def shard_name(shard: int) -> str:
    return f"shard-{shard:06d}.tar"


def indices_of(config: DatagenConfig, shard: int) -> range:
    """Return the indices of the dialogues of a shard."""
    first = shard * config.dialogues_per_shard
    return range(first, min(first + config.dialogues_per_shard, config.n_dialogues))


def _report_path(out: Place, shard: int) -> Place:
    return out / PROGRESS_FOLDER / f"{shard_name(shard)}.json"


def _report(out: Place, shard: int) -> Report | None:
    """Read the report of a shard; None if it is missing or truncated by a power cut."""
    try:
        return dict(json.loads(_report_path(out, shard).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def _is_done(out: Place, shard: int) -> bool:
    """Tell whether a shard has a report and the size that the report states."""
    report = _report(out, shard)
    try:
        size = storage.size_of(out / shard_name(shard))
    except FileNotFoundError:
        return False
    return report is not None and bool(report["shard"]["bytes"] == size)


def n_finished(config: DatagenConfig) -> int:
    """Count the shards that another run of the same command does not make again."""
    out = place(config.out)
    if (out / INDEX_NAME).is_file():
        return config.n_shards
    return sum(_is_done(out, shard) for shard in range(config.n_shards))


def _prepare(
    config: DatagenConfig, out: Place, folders: Sequence[Path]
) -> tuple[dict[str, Any], Path, Corpus]:
    """Write everything that workers share; returns the set's identity, its rooms and its corpus."""
    for stale in storage.stale_drafts(out):  # of a run that was killed
        stale.unlink(missing_ok=True)
    corpus = open_corpus(config)
    bank = UnitBank(corpus, config)
    _warn(hopeless(use_of(corpus, config)))
    rooms_path = _rooms_of(config, out, folders)
    identity = {
        "format": FORMAT,
        "split": config.split,
        "seed": config.seed,
        "first_index": 0,
        "n_dialogues": config.n_dialogues,
        "n_micro_turns": config.n_micro_turns,
        "layout_hash": config.layout.hash,
        "corpus_sha256": digest_of(config.corpus),
        ROOMS_KEY: rooms.digest(rooms_path),
        **fingerprints(config.acoustics.recordings),
    }
    identity_path = out / PROGRESS_FOLDER / IDENTITY_NAME
    if identity_path.is_file():
        with naming_damage(identity_path, "delete the folder and simulate it again"):
            stored = dict(json.loads(identity_path.read_text(encoding="utf-8")))
        _check_same_identity(stored, identity, out)
    tokenizer = make_tokenizer(config, bank)
    # Fails here with one sentence instead of in every worker.
    Simulator(config, rooms=rooms_path, tokenizer=tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        save_config(Path(scratch, CONFIG_NAME), replace(config, part=""))
        config.layout.save(Path(scratch, LAYOUT_NAME))
        tokenizer.save(Path(scratch, TOKENIZER_NAME))
        for name in (CONFIG_NAME, LAYOUT_NAME, TOKENIZER_NAME):
            write_whole(out / name, Path(scratch, name).read_bytes())
    write_whole(identity_path, json.dumps(identity))
    return identity, rooms_path, corpus


def _rooms_of(config: DatagenConfig, out: Place, folders: Sequence[Path]) -> Path:
    """Return the bank on this machine; a set made by several machines shares the first bank."""
    kept = out / PROGRESS_FOLDER / ROOMS_NAME
    if kept.is_file():
        copy = folders[-1] / ROOMS_NAME
        copy.write_bytes(kept.read_bytes())
        return copy
    workers, rate = config.workers or os.cpu_count() or 1, config.layout.sample_rate
    built = rooms.ensure_bank(config.rooms, rate, folders=folders, workers=workers)
    if config.part or config.executor == "ray":
        write_whole(kept, built.read_bytes())
    return built


def _finish(
    config: DatagenConfig, out: Place, identity: dict[str, Any], *, corpus: Corpus
) -> dict[str, Any]:
    """Write card and index from the reports if all are there; the index is last."""
    stored = [_report(out, shard) for shard in range(config.n_shards)]
    reports = [report for report in stored if report is not None]
    if len(reports) < config.n_shards:
        if (out / INDEX_NAME).is_file():  # another part has finished the set and cleaned up
            return _stored_card(out)
        print(
            f"{out}: part {config.part} is finished; {len(reports)} of {config.n_shards} shards "
            "are, and the last part writes the index",
            file=sys.stderr,
        )
        return {"finished": False, "shards": len(reports), "n_shards": config.n_shards}
    statistics, contents = SetStatistics(), Contents()
    for report in reports:
        statistics.merge(report["statistics"])
        contents.add(Contents.from_json(report["contents"], where=str(out)))
    shards = [report["shard"] for report in reports]
    nuisance = [NuisanceRow.from_json(row) for report in reports for row in report["nuisance"]]
    use = use_of(corpus, config, contents)
    known = hopeless(use)  # and said before
    _warn([text for text in unheard(use) if text not in known])
    with local_copy(out / TOKENIZER_NAME) as path:
        words = (statistics.counts[name] for name in ("agent_words", "heard_words"))
        _warn(misspelt(chain(*words), Tokenizer.load(path)))
    card = make_card(
        statistics,
        identity,
        contents=contents,
        corpora=use,
        human=config.timing.human,
        leakage=measure_leakage(nuisance, conversation="conversation" in config.weights),
    )
    write_whole(out / CONTENTS_NAME, contents_text(contents))
    write_whole(out / CARD_JSON, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    write_whole(out / CARD_TEXT, card_text(card))
    for name, picture in card_plots(card).items():
        write_whole(out / name, picture)
    index = {**identity, "seconds": round(statistics.sums["seconds"], 6), "shards": shards}
    write_whole(out / INDEX_NAME, json.dumps(index, indent=2) + "\n")
    storage.remove_folder(out / PROGRESS_FOLDER)
    for stale in storage.stale_drafts(out, "shard-*", only_dead=False):
        stale.unlink(missing_ok=True)
    return card


def _warn(texts: Sequence[str]) -> None:
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def _stored_card(out: Place) -> dict[str, Any]:
    read_index(out)
    return read_card(out)


def _check_executor(config: DatagenConfig) -> None:
    for name in (config.out, *folders_of(config.corpus)):
        item = place(name)
        private = isinstance(item, storage.RemotePath) and item.protocol == storage.PROCESS_ONLY
        if private and config.executor != "serial":
            raise ValueError(
                f"{name} is visible to one process only; give executor=serial, or a folder"
            )


def _check_writable(out: Place) -> None:
    probe = out / f".probe.{process_mark()}"
    if isinstance(out, storage.RemotePath):
        _ = out.target  # an unknown protocol is reported for the folder, not for the probe
    try:
        write_whole(probe, b"")
        storage.remove(probe)
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise OSError(f"out={out} cannot be written to ({cause.strerror or cause})") from error


def _check_same_config(config: DatagenConfig, out: Place) -> None:
    """Refuse a folder that holds a set of another configuration."""
    path = out / CONFIG_NAME
    if not path.is_file():
        if storage.names(out, "shard-*.tar"):
            raise ValueError(f"{out} holds shards but no {CONFIG_NAME}; give another out=FOLDER")
        return
    with local_copy(path) as copy:
        stored = load_config(DatagenConfig, [copy.resolve()])
    for key in keys_of(DatagenConfig):
        if key.name not in FREE_KEYS:
            old, new = _value(stored, key.name), _value(config, key.name)
            if old != new:
                raise ValueError(
                    f"{out} holds a set with {key.name}={_shown(old)}, not {_shown(new)}; "
                    "give another out=FOLDER or delete this one"
                )


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return tuple(config) if isinstance(config, Sequence) and not isinstance(config, str) else config


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_same_identity(stored: dict[str, Any], identity: dict[str, Any], out: Place) -> None:
    for name, value in identity.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{out} was started with another {name.removesuffix('_sha256')}, so it cannot be "
                "finished with this one; delete the folder and simulate it again"
            )


def _print_speed(config: DatagenConfig, shards: Sequence[int], wall_s: float) -> None:
    n = sum(len(indices_of(config, shard)) for shard in shards)
    seconds = n * config.n_samples / config.layout.sample_rate
    print(f"{seconds:.0f} s of dialogue in {wall_s:.1f} s", file=sys.stderr)
