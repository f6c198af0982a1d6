"""Adds the conversations of a folder: people first, then each conversation in a worker.

No list of all is held: descriptions wait in a file, sound goes through files to the tars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from tqdm import tqdm

from microturn.datagen.corpora.adding.changes import signature_parts, stat_of
from microturn.datagen.corpora.adding.complete import complete_corpus
from microturn.datagen.corpora.adding.conversation_writer import ConversationWriter
from microturn.datagen.corpora.adding.people import Circles, Splits
from microturn.datagen.corpora.adding.spool import DescriptionSpool, read_description
from microturn.datagen.corpora.adding.writer import CorpusWriter
from microturn.datagen.corpora.checking import CheckSettings
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.checking.checker import (
    ConversationChecker,
    ConversationOutcome,
)
from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
)
from microturn.datagen.corpora.recordings import escape, writable
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task

DRAFTS: Final = "drafts"  # the folder of files that are on their way into a tar


def described_conversations(
    config: CorpusAddConfig, form: ConversationFormat
) -> Iterator[DescribedConversation]:
    """Read the conversations of the source, with names that can be written."""
    if config.alignments:
        raise ValueError(
            "alignments= is for recordings; the words of conversations stand in their own files"
        )
    options = dict(config.columns) | {f"sides.{key}": name for key, name in config.sides.items()}
    if options and not form.named_fields:
        key = next(iter(options))
        raise ValueError(
            f"{key if '.' in key else f'columns.{key}'} is set, but sides and fields of the layout "
            f"{form.name} have fixed places; leave it out, or give format=two_files"
        )
    with complete_corpus(config.source, form.name):
        yield from map(_writable, form.read(Path(config.source), options))


def conversation_signatures(config: CorpusAddConfig, form: ConversationFormat) -> dict[str, str]:
    """Return a digest of every description and of the size and date of its files, by id."""
    return {one.id: _signature(one) for one in described_conversations(config, form)}


def add_conversations(
    config: CorpusAddConfig,
    form: ConversationFormat,
    part: Path,
    *,
    settings: CheckSettings,
    workers: int,
) -> tuple[CorpusWriter, ConversationWriter, dict[str, str]]:
    """Write the conversations of a source into a folder; returns writers, and signatures."""
    drafts = part / DRAFTS
    drafts.mkdir()
    circles, found = Circles(), dict[str, str]()
    with closing(DescriptionSpool(drafts / "described")) as spool:
        for described in described_conversations(config, form):
            if described.id in found:
                described = replace(described, problem=described.problem or "its id occurs twice")
            found.setdefault(described.id, _signature(described))
            circles.add(_people(described), described.split)
            spool.add(described)
    starts = _limited(spool.starts, config.limit)
    if not starts:
        raise ValueError(
            f"{config.source} holds no conversation of the layout {form.name}: it needs {form.sign}"
        )
    task = ConversationTask(
        settings=settings,
        spool=spool.path,
        starts=starts,
        splits=circles.splits(test_share=config.test_share),
        drafts=drafts,
    )
    outcomes = _checked(task, workers)
    with (
        closing(CorpusWriter(part)) as writer,
        closing(ConversationWriter(part, writer)) as conversations,
    ):
        for outcome in tqdm(outcomes, total=len(starts), desc=settings.name, unit="conversation"):
            conversations.add(outcome)
            if config.strict and writer.skipped:
                first = writer.skipped[0]
                raise ValueError(
                    f"{first.place}: {first.reason}; without strict=true it is skipped"
                )
    if not (conversations.counts.recorded or conversations.counts.scripted):
        first = writer.skipped[0]
        raise ValueError(
            f"none of the {len(starts)} conversations of {config.source} can be used; the first, "
            f"{first.place}: {first.reason}"
        )
    return writer, conversations, found


@dataclass(frozen=True, kw_only=True)
class ConversationTask:
    """Builds a checker inside a worker, then checks conversations with it; picklable."""

    settings: CheckSettings
    spool: Path
    starts: Sequence[int]
    splits: Splits
    drafts: Path

    def __call__(self) -> Task:
        checker = ConversationChecker(self.settings, self.drafts)

        def check(number: int) -> Report:
            described = read_description(self.spool, self.starts[number])
            described = with_split(described, self.splits)
            return {"number": number, "outcome": checker.check(described, number)}

        return check


def with_split(described: DescribedConversation, splits: Splits) -> DescribedConversation:
    """Return a conversation with its side, which its turns share."""
    split, problem = splits.of(_people(described), described.split)
    return replace(
        described,
        split=split,
        problem=described.problem or problem,
        turns=tuple(replace(turn, split=split) for turn in described.turns),
    )


def _checked(task: ConversationTask, workers: int) -> Iterator[ConversationOutcome]:
    """Yield the outcome of every conversation in order, whatever the number of workers."""
    numbers = range(len(task.starts))
    if min(workers, len(numbers)) == 1:
        reports: Iterator[Report] = map(task(), numbers)
    else:
        reports = run_tasks(task, numbers, workers=workers)
    waiting: dict[int, ConversationOutcome] = {}
    next_number = 0
    for report in reports:
        waiting[report["number"]] = report["outcome"]
        while next_number in waiting:
            yield waiting.pop(next_number)
            next_number += 1


def _people(described: DescribedConversation) -> list[str]:
    people = [side.speaker for side in (*described.sides, *described.others)]
    return people + [turn.speaker for turn in described.turns]


def _limited(starts: list[int], limit: int) -> list[int]:
    """Return at most `limit` positions, spread evenly over the corpus."""
    if not limit or len(starts) <= limit:
        return starts
    return [starts[i * len(starts) // limit] for i in range(limit)]


def _writable(described: DescribedConversation) -> DescribedConversation:
    """Escape names that no file of ours could hold; what follows @ is the speed of a voice."""
    return replace(
        described,
        id=escape(described.id),
        sides=tuple(replace(one, speaker=_name(one.speaker)) for one in described.sides),
        others=tuple(replace(one, speaker=_name(one.speaker)) for one in described.others),
        turns=tuple(
            replace(writable(turn), speaker=_name(turn.speaker)) for turn in described.turns
        ),
        problem=escape(described.problem),
        instructions=escape(described.instructions),
    )


def _name(speaker: str) -> str:
    return escape(speaker).replace("@", "(at)")


def _signature(described: DescribedConversation) -> str:
    digest = sha256()
    for item in fields(described):
        value = getattr(described, item.name)
        if item.name == "turns":
            value = [list(signature_parts(turn)) for turn in value]
        digest.update(f"{value}\0".encode(errors="surrogatepass"))
    for side in (*described.sides, *described.others):
        digest.update(f"{stat_of(side.sound)}\0".encode())
    return digest.hexdigest()[:16]
