"""Taking a corpus in: every recording is checked, and those that can be used become a corpus.

What comes out is a folder that `Corpus.open` reads: `manifest.jsonl` and tars, with
`skipped.jsonl` (what was left out, and why), `corpus.json` (what is in it) and the configuration.
The folder appears when it is whole; its bytes depend on recordings and configuration alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from gzip import BadGzipFile
from io import BytesIO
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microturn.configs.files import write_atomically
from microturn.configs.load import keys_of, load_config, save_config
from microturn.configs.paths import cache_folder
from microturn.datagen.corpora.adapters import format_of
from microturn.datagen.corpora.checking import Checker, Kept, Settings, Skipped
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.default_corpus.packages import PACKAGES, unpacked
from microturn.datagen.corpora.home import DEFAULT_NAME, corpora_home
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus, Utterance
from microturn.datagen.corpora.recordings import Recording
from microturn.datagen.corpora.splits import with_splits
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task

SKIPPED_NAME, FACTS_NAME, CONFIG_NAME = "skipped.jsonl", "corpus.json", "config.yaml"
TAR_BYTES = 2**30  # a new tar is begun after this many
BATCH = 16  # recordings that a worker is given at once
# Keys that say where and how, not what.
FREE_KEYS = frozenset({"out", "workers", "cache", "json", "root"})


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """Recordings as they were found, under one name."""

    name: str
    form: str
    language: str
    licence: str
    prefixed: bool
    recordings: list[Recording]


def add_corpus(config: CorpusAddConfig) -> dict[str, Any]:
    """Take a corpus in; returns what is in it."""
    # The same from wherever it is said.
    config = replace(
        config, source=_absolute(config.source), alignments=_absolute(config.alignments)
    )
    out = Path(config.out) if config.out else corpora_home() / name_of(config)
    if (out / MANIFEST_NAME).is_file():
        _check_same(config, out)
        print(f"{out} is there already; nothing to do", file=sys.stderr)
        return {**json.loads((out / FACTS_NAME).read_text()), "folder": str(out)}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out} is there and is no corpus; take another out=FOLDER")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    try:
        with unpacked(config.source, config.root, part / "unpacked") as source:
            facts = _write(config, source, part)
        _report(facts, out)
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        write_atomically(part / FACTS_NAME, text)
        save_config(part / CONFIG_NAME, config)
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return {**facts, "folder": str(out)}


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name and Path(name).exists() else name


def name_of(config: CorpusAddConfig) -> str:
    """The name that begins ids and speakers."""
    name = config.name or Path(config.source).absolute().name.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "corpus"
    if name == DEFAULT_NAME:
        raise ValueError(f"the name {DEFAULT_NAME!r} is that of the corpus that ships; give name=X")
    return name


def _write(config: CorpusAddConfig, folder: Path | None, part: Path) -> dict[str, Any]:
    """Everything but the configuration, into a folder; returns what is in it."""
    source = find(config, folder)
    recordings = _limited(source.recordings, config.limit)
    if not recordings:
        raise ValueError(f"{config.source} has the layout {source.form} but no recordings")
    recordings = with_splits(recordings, test_share=config.test_share)
    settings = Settings(
        name=source.name,
        prefixed=source.prefixed,
        language=config.language or source.language,
        licence=config.licence or source.licence,
        alignments=config.alignments,
        align=config.align,
        fit=config.fit,
        sample_rate=config.sample_rate,
        longest_s=config.longest_s,
        cache=cache_folder(config.cache),
    )
    store = Store(part)
    outcomes = _checked(settings, recordings, config.workers or os.cpu_count() or 1)
    for outcome in tqdm(outcomes, total=len(recordings), desc=source.name, unit="recording"):
        store.take(outcome)
        if config.strict and store.skipped:
            first = store.skipped[0]
            raise ValueError(
                f"{first.place}: {first.reason}; leave strict=true out and it is skipped"
            )
    store.close()
    if not store.utterances:
        first = store.skipped[0]
        raise ValueError(
            f"none of the {len(recordings)} recordings of {config.source} can be used; the first, "
            f"{first.place}: {first.reason}"
        )
    Corpus.open(part)  # what we write can be read
    shutil.rmtree(part / "unpacked", ignore_errors=True)
    return _facts(source, store)


def find(config: CorpusAddConfig, folder: Path | None) -> CorpusSource:
    """The recordings of a folder, or of a package that is unpacked there."""
    if config.source in PACKAGES and not Path(config.source).exists():
        package = PACKAGES[config.source]
        assert folder is not None
        return CorpusSource(
            name=name_of(config),
            form=package.package,
            language=package.language,
            licence=package.licence,
            prefixed=False,
            recordings=sorted(package.read(folder), key=lambda recording: recording.id),
        )
    form = format_of(Path(config.source), config.format)
    try:
        recordings = list(form.read(Path(config.source), dict(config.columns)))
    except (KeyError, TypeError, IndexError, EOFError, BadGzipFile, JSONDecodeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{config.source} is no whole {form.name} corpus ({reason})") from error
    return CorpusSource(
        name=name_of(config),
        form=form.name,
        language=form.language,
        licence=form.licence,
        prefixed=True,
        recordings=recordings,
    )


def _limited(recordings: list[Recording], limit: int) -> list[Recording]:
    """At most so many, spread evenly over the corpus."""
    if not limit or len(recordings) <= limit:
        return recordings
    return [recordings[i * len(recordings) // limit] for i in range(limit)]


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """Picklable: builds a checker inside a worker, then checks batches with it."""

    settings: Settings
    batches: Sequence[Sequence[Recording]]

    def __call__(self) -> Task:
        checker = Checker(self.settings)

        def check(number: int) -> Report:
            return {"number": number, "outcomes": [checker.check(r) for r in self.batches[number]]}

        return check


def _checked(
    settings: Settings, recordings: list[Recording], workers: int
) -> Iterator[Kept | Skipped]:
    """What became of every recording, in their order however many workers there are."""
    batches = [recordings[i : i + BATCH] for i in range(0, len(recordings), BATCH)]
    task, numbers = CheckTask(settings=settings, batches=batches), range(len(batches))
    if min(workers, len(batches)) == 1:
        reports: Iterator[Report] = map(task(), numbers)
    else:
        reports = run_tasks(task, numbers, workers=workers)
    early: dict[int, list[Kept | Skipped]] = {}
    turn = 0
    for report in reports:
        early[report["number"]] = report["outcomes"]
        while turn in early:
            yield from early.pop(turn)
            turn += 1


class Store:
    """Writes what is kept into tars, and remembers what is not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tar: tarfile.TarFile | None = None
        self._digests: dict[str, str] = {}
        self._ids: set[str] = set()
        self.utterances: list[Utterance] = []
        self.skipped: list[Skipped] = []
        self.times: Counter[str] = Counter()
        self._n_tars = 0

    def take(self, outcome: Kept | Skipped) -> None:
        if isinstance(outcome, Skipped):
            self.skipped.append(outcome)
            return
        utterance = outcome.utterance
        twin = self._digests.setdefault(outcome.digest, utterance.id)
        reason = f"it is the same sound as {twin}" if twin != utterance.id else ""
        if utterance.id in self._ids:
            reason = "its id is there twice"
        if reason:
            name = utterance.id.partition("/")[2]
            skipped = Skipped(id=name, place=outcome.place, kind="duplicate", reason=reason)
            self.skipped.append(skipped)
            return
        self._ids.add(utterance.id)
        self.times[outcome.times] += 1
        self.utterances.append(self._stored(utterance, outcome.data))

    def _stored(self, utterance: Utterance, data: bytes) -> Utterance:
        """Append a file without date or owner; returns where it lies."""
        if self._tar is None or self._tar.offset > TAR_BYTES:
            self._begin()
        assert self._tar is not None
        info = tarfile.TarInfo(f"{len(self.utterances):08d}{utterance.member}")
        info.size = len(data)
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, BytesIO(data))
        name = f"audio-{self._n_tars - 1:04d}.tar"
        return replace(utterance, tar=name, member=info.name, offset=offset)

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        path = self._folder / f"audio-{self._n_tars:04d}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._n_tars += 1

    def close(self) -> None:
        """Close the last tar and write the lists."""
        if self._tar is not None:
            self._tar.close()
        with (self._folder / SKIPPED_NAME).open("w", encoding="utf-8") as file:
            for skipped in self.skipped:
                file.write(json.dumps(vars(skipped), ensure_ascii=False) + "\n")
        if self.utterances:
            with (self._folder / MANIFEST_NAME).open("w", encoding="utf-8") as file:
                for utterance in self.utterances:
                    file.write(json.dumps(utterance.to_json(), ensure_ascii=False) + "\n")


def _facts(source: CorpusSource, store: Store) -> dict[str, Any]:
    skipped = Counter(one.kind for one in store.skipped)
    return {
        **count(store.utterances),
        "name": source.name,
        "format": source.form,
        "skipped": dict(sorted(skipped.items())),
        "word_times": dict(sorted(store.times.items())),
    }


def count(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Recordings, hours, speakers of each side, languages and licences."""
    speakers: dict[str, set[str]] = {}
    for utterance in utterances:
        if utterance.speaker:
            speakers.setdefault(utterance.split, set()).add(utterance.speaker)
    seconds = sum(utterance.duration for utterance in utterances)
    return {
        "recordings": len(utterances),
        "hours": round(seconds / 3600, 4),
        "speakers": {split: len(names) for split, names in sorted(speakers.items())},
        "languages": sorted({u.language for u in utterances} - {""}),
        "licences": sorted({u.licence for u in utterances}),
    }


def _report(facts: dict[str, Any], out: Path) -> None:
    kinds = ", ".join(f"{n} {kind}" for kind, n in facts["skipped"].items()) or "nothing"
    n, hours = facts["recordings"], facts["hours"]
    print(f"{out}: {n} recordings, {hours:.2f} h; skipped: {kinds}", file=sys.stderr)
    if facts["skipped"]:
        print(f"why is in {out / SKIPPED_NAME}", file=sys.stderr)


def _check_same(config: CorpusAddConfig, out: Path) -> None:
    if not (out / CONFIG_NAME).is_file():
        raise ValueError(f"out={out} holds a corpus that was not taken in; take another out=FOLDER")
    stored = load_config(CorpusAddConfig, [(out / CONFIG_NAME).resolve()])
    for key in keys_of(CorpusAddConfig):
        theirs, ours = getattr(stored, key.name), getattr(config, key.name)
        if key.name not in FREE_KEYS and theirs != ours:
            raise ValueError(
                f"{out} was taken in with {key.name}={theirs!r}, not {ours!r}; delete it or take "
                "another out=FOLDER"
            )
