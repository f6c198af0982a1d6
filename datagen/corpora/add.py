"""Adds a corpus: checks every recording, and writes the usable ones as a corpus folder.

The folder holds `manifest.jsonl` and tars, as `Corpus.open` reads them, `skipped.jsonl` (skipped
recordings with reasons), `corpus.json` (a summary) and the configuration. It appears when it is
complete; its bytes depend on recordings and configuration only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microturn.configs.files import replacing_folder, write_atomically
from microturn.configs.load import keys_of, load_config, save_config
from microturn.configs.paths import cache_folder
from microturn.configs.reading import naming_damage
from microturn.datagen.corpora.adapters import format_of
from microturn.datagen.corpora.adapters.unique_ids import with_unique_ids
from microturn.datagen.corpora.adding.archive import (
    archive_signatures,
    is_archive,
    name_archive,
    unpack,
)
from microturn.datagen.corpora.adding.changes import (
    SourceChanges,
    changes_since,
    signatures,
    write_signatures,
)
from microturn.datagen.corpora.adding.complete import complete_corpus
from microturn.datagen.corpora.adding.conversations import (
    DRAFTS,
    add_conversations,
    conversation_signatures,
)
from microturn.datagen.corpora.adding.scripted import write_scripted
from microturn.datagen.corpora.adding.summary import (
    SUMMARY_NAME as SUMMARY_NAME,
)
from microturn.datagen.corpora.adding.summary import (
    say_summary,
    summary_of,
    summary_of_conversations,
)
from microturn.datagen.corpora.adding.writer import SKIPPED_NAME as SKIPPED_NAME
from microturn.datagen.corpora.adding.writer import CorpusWriter
from microturn.datagen.corpora.alignment_files import with_alignments
from microturn.datagen.corpora.checking import (
    AcceptedRecording,
    Checker,
    CheckSettings,
    SkippedRecording,
)
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.described import ConversationFormat
from microturn.datagen.corpora.conversations.layouts.choice import layout_of
from microturn.datagen.corpora.conversations.layouts.two_files import why_no_session
from microturn.datagen.corpora.conversations.parts import DialogueParts
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.home import SHIPPED, corpora_home, is_corpus
from microturn.datagen.corpora.manifest import ATTRIBUTION_NAME, Corpus
from microturn.datagen.corpora.packages import PACKAGES, unpacked
from microturn.datagen.corpora.recordings import Recording, writable
from microturn.datagen.corpora.splits import with_splits
from microturn.datagen.corpora.utterance import LAYOUT, STATED
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task

CONFIG_NAME = "config.yaml"
BATCH = 16  # recordings per task of a worker
# Keys of folders and execution, which do not change the corpus.
FREE_KEYS = frozenset({"out", "workers", "cache", "json", "root"})


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """The recordings of a folder or package, under one name."""

    name: str
    form: str
    language: str
    licence: str  # of recordings that state none
    licence_from: str  # whether somebody has stated it, or the layout suggests it
    prefixed: bool
    recordings: list[Recording]
    dialogues: Iterable[DialogueParts] = ()  # of its recordings, in order


def add_corpus(config: CorpusAddConfig) -> dict[str, Any]:
    """Add a corpus; returns its summary."""
    # Relative paths would depend on the working directory.
    config = replace(
        config, source=_absolute(config.source), alignments=_absolute(config.alignments)
    )
    source = Path(config.source)
    if is_corpus(source) and (source / SUMMARY_NAME).is_file():
        raise ValueError(f"{config.source} is a corpus already; simulate with corpus=FOLDER")
    out = Path(config.out) if config.out else corpora_home() / name_of(config)
    exists = is_corpus(out)
    changes = _changes(config, out) if exists else None
    if exists and not changes:
        why = "" if changes is None else ": nothing is new in its source"
        print(f"{out} exists already; nothing to do{why}", file=sys.stderr)
        with naming_damage(out / SUMMARY_NAME, "delete the folder and add the corpus again"):
            summary = json.loads((out / SUMMARY_NAME).read_text(encoding="utf-8"))
            return {**summary, "folder": str(out)}
    if changes:
        print(f"{out}: recordings of its source: {changes}; adding it again", file=sys.stderr)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out} exists and is not a corpus; give another out=FOLDER")
    with replacing_folder(out.resolve() if exists else out, over=exists) as part:
        summary = _write_source(config, part)
        if config.attribution:
            text = json.dumps({"": config.attribution}, ensure_ascii=False) + "\n"
            write_atomically(part / ATTRIBUTION_NAME, text)
        say_summary(summary, out)
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        write_atomically(part / SUMMARY_NAME, text)
        save_config(part / CONFIG_NAME, config)
    return {**summary, **(changes.to_json() if changes else {}), "folder": str(out)}


def _write_source(config: CorpusAddConfig, part: Path) -> dict[str, Any]:
    """Write a corpus from a folder, a package or a tar; returns the summary."""
    folder = part / "unpacked"
    if not is_archive(config.source):
        with unpacked(config.source, config.root, folder=folder) as source:
            return _write(config, source, part)
    content = unpack(config.source, folder)
    try:
        summary = _write(replace(config, source=str(content), name=name_of(config)), None, part)
    except ValueError as error:  # the folder is gone when the sentence is read
        raise ValueError(str(error).replace(str(content), config.source)) from error
    shutil.rmtree(folder, ignore_errors=True)
    write_signatures(part, archive_signatures(config.source))
    name_archive(part / SKIPPED_NAME, content, config.source)
    return summary


def _changes(config: CorpusAddConfig, out: Path) -> SourceChanges | None:
    """Compare the source of a corpus with what is there; None for a source that does not change.

    A package is the same under its name; a folder that is gone has nothing to add.
    """
    _check_same(config, out)
    if not Path(config.source).exists():
        return None
    if is_archive(config.source):
        return changes_since(out, archive_signatures(config.source))
    if form := _conversation_form(config):
        return changes_since(out, conversation_signatures(config, form))
    return changes_since(out, signatures(_listed(config, find_recordings(config, None))))


def _conversation_form(config: CorpusAddConfig) -> ConversationFormat | None:
    """Return the layout of the conversations of the source, if it has any."""
    source = Path(config.source)
    if config.source in PACKAGES and not source.exists():
        return None
    return layout_of(source, config.format, asked=config.conversations)


def _listed(config: CorpusAddConfig, source: CorpusSource) -> list[Recording]:
    """Return the recordings to add, with word times from elsewhere."""
    return _limited(with_alignments(source.recordings, config.alignments), config.limit)


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if name and Path(name).exists() else name


def name_of(config: CorpusAddConfig) -> str:
    """Return the name of the corpus, the prefix of its ids and speakers."""
    name = config.name or Path(config.source).absolute().name.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "corpus"
    if name in SHIPPED:
        raise ValueError(f"the name {name!r} belongs to a corpus that ships; give name=NAME")
    return name


def _write(config: CorpusAddConfig, folder: Path | None, part: Path) -> dict[str, Any]:
    """Write everything but the configuration into a folder; returns the summary."""
    if form := _conversation_form(config):
        return _write_conversations(config, form, part)
    if config.sides:
        raise ValueError("sides.a and sides.b name the files of conversations, and there are none")
    source = find_recordings(config, folder)
    recordings = _listed(config, source)
    if not recordings:
        raise ValueError(f"{config.source} has the layout {source.form} but no recordings")
    write_signatures(part, signatures(recordings))
    recordings = with_splits(recordings, test_share=config.test_share)
    settings = _settings(
        config,
        name=source.name,
        prefixed=source.prefixed,
        language=config.language or source.language,
        licence=source.licence,
        licence_from=source.licence_from,
    )
    outcomes = _checked(settings, recordings, config.workers or os.cpu_count() or 1)
    with closing(CorpusWriter(part)) as writer:
        for outcome in tqdm(outcomes, total=len(recordings), desc=source.name, unit="recording"):
            writer.add(outcome)
            if config.strict and writer.skipped:
                first = writer.skipped[0]
                raise ValueError(
                    f"{first.place}: {first.reason}; without strict=true it is skipped"
                )
    if not writer.n_utterances:
        first = writer.skipped[0]
        raise ValueError(
            f"none of the {len(recordings)} recordings of {config.source} can be used; the first, "
            f"{first.place}: {first.reason}"
        )
    corpus = Corpus.open(part)  # verifies that the folder can be read, and makes its index
    scripted = write_scripted(
        part, source.name, source.dialogues, corpus=corpus, stored=writer.stored
    )
    shutil.rmtree(part / "unpacked", ignore_errors=True)
    summary = summary_of(source.name, source.form, writer, corpus)
    return summary | ({"scripted": scripted} if scripted else {})


def _write_conversations(
    config: CorpusAddConfig, form: ConversationFormat, part: Path
) -> dict[str, Any]:
    """Write a corpus of conversations into a folder; returns its summary."""
    settings = _settings(
        config,
        name=name_of(config),
        prefixed=not form.own_names,
        language=config.language,
        licence=config.licence,
        licence_from=STATED,
    )
    workers = config.workers or os.cpu_count() or 1
    writer, conversations, found = add_conversations(
        config, form, part, settings=settings, workers=workers
    )
    write_signatures(part, found)
    shutil.rmtree(part / DRAFTS)
    corpus = Corpus.open(part)
    Conversations([part])  # verifies that both can be read
    turns = summary_of(settings.name, form.name, writer, corpus)
    return summary_of_conversations(turns, conversations)


def _settings(config: CorpusAddConfig, **source: Any) -> CheckSettings:
    return CheckSettings(
        **source,
        align=config.align,
        fit=config.fit,
        sample_rate=config.sample_rate,
        longest_s=config.longest_s,
        cache=cache_folder(config.cache),
    )


def find_recordings(config: CorpusAddConfig, folder: Path | None) -> CorpusSource:
    """List the recordings of a folder, or of a package that is unpacked in `folder`."""
    if config.source in PACKAGES and not Path(config.source).exists():
        package = PACKAGES[config.source]
        assert folder is not None
        return CorpusSource(
            name=name_of(config),
            form=package.package,
            language=package.language,
            licence=config.licence or package.licence,
            licence_from=STATED,
            prefixed=False,
            recordings=sorted(package.read(folder), key=lambda recording: recording.id),
            dialogues=package.dialogues(folder),
        )
    try:
        form = format_of(Path(config.source), config.format)
    except ValueError as error:
        if problem := why_no_session(Path(config.source)):
            raise ValueError(f"{config.source}: {problem}") from error
        raise
    if config.columns and not form.named_columns:
        raise ValueError(
            f"columns.{next(iter(config.columns))} is set, but the fields of the layout "
            f"{form.name} have fixed places; leave columns out, or give format=jsonl or table"
        )
    with complete_corpus(config.source, form.name):
        recordings = list(map(writable, form.read(Path(config.source), dict(config.columns))))
        recordings = with_unique_ids(recordings)
    if any("@" in recording.speaker for recording in recordings):
        # In the labels of a set what follows @ is the speed of a voice.
        recordings = [replace(r, speaker=r.speaker.replace("@", "(at)")) for r in recordings]
    return CorpusSource(
        name=name_of(config),
        form=form.name,
        language=form.language,
        licence=config.licence or form.licence,
        licence_from=LAYOUT if form.licence and not config.licence else STATED,
        prefixed=True,
        recordings=recordings,
    )


def _limited(recordings: list[Recording], limit: int) -> list[Recording]:
    """Return at most `limit` recordings, spread evenly over the corpus."""
    if not limit or len(recordings) <= limit:
        return recordings
    return [recordings[i * len(recordings) // limit] for i in range(limit)]


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """Builds a checker inside a worker, then checks batches with it; picklable."""

    settings: CheckSettings
    batches: Sequence[Sequence[Recording]]

    def __call__(self) -> Task:
        checker = Checker(self.settings)

        def check(number: int) -> Report:
            return {"number": number, "outcomes": [checker.check(r) for r in self.batches[number]]}

        return check


def _checked(
    settings: CheckSettings, recordings: list[Recording], workers: int
) -> Iterator[AcceptedRecording | SkippedRecording]:
    """Yield the outcome of every recording in order, whatever the number of workers."""
    batches = [recordings[i : i + BATCH] for i in range(0, len(recordings), BATCH)]
    task, numbers = CheckTask(settings=settings, batches=batches), range(len(batches))
    if min(workers, len(batches)) == 1:
        reports: Iterator[Report] = map(task(), numbers)
    else:
        reports = run_tasks(task, numbers, workers=workers)
    waiting: dict[int, list[AcceptedRecording | SkippedRecording]] = {}
    next_number = 0
    for report in reports:
        waiting[report["number"]] = report["outcomes"]
        while next_number in waiting:
            yield from waiting.pop(next_number)
            next_number += 1


def _check_same(config: CorpusAddConfig, out: Path) -> None:
    if not (out / CONFIG_NAME).is_file():
        raise ValueError(
            f"out={out} holds a corpus without a configuration; give another out=FOLDER"
        )
    stored = load_config(CorpusAddConfig, [(out / CONFIG_NAME).resolve()])
    for key in keys_of(CorpusAddConfig):
        old, new = getattr(stored, key.name), getattr(config, key.name)
        if key.name not in FREE_KEYS and old != new:
            raise ValueError(
                f"{out} was added with {key.name}={old!r}, not {new!r}; delete it or give "
                "another out=FOLDER"
            )
