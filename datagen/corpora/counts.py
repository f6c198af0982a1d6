"""Counts of a corpus as tables: `python datagen/corpora/counts.py [FOLDER]`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME, SCRIPTED
from microturn.datagen.corpora.index.packed_lines import lines_file
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.sets.storage import names, size_of

_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "hello"),
    *("goodbye", "thanks", "sorry", "yes", "no", "okay", "yeah", "hey", "stop", "wait", "time"),
)


def counts_markdown(corpus: Corpus) -> str:
    """Format minutes, speakers, tags, splits, size, cuts and dialogues as Markdown tables."""
    parts = [_sources(corpus), _tags(corpus), _speakers(corpus), _digits(corpus)]
    if lines_file(corpus.folder, CONVERSATIONS_NAME).is_file():
        parts.append(_dialogues(corpus))
    return "\n\n".join(parts)


def _sources(corpus: Corpus) -> str:
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in corpus:
        groups.setdefault((utterance.tar, utterance.language), []).append(utterance)
    sizes = {name: size_of(corpus.folder / name) for name in names(corpus.folder, "*.tar")}
    rows = []
    for (tar, language), members in sorted(groups.items()):
        speakers = len({utterance.speaker for utterance in members} - {""})
        seconds = sum(utterance.duration_s for utterance in members)
        rows.append([tar, language or "-", speakers, len(members), f"{seconds / 60:.1f}"])
    sources = table(["file", "language", "speakers", "recordings", "minutes"], rows)
    size = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sorted(sizes.items()))
    return f"{sources}\n\n{size}."


def _tags(corpus: Corpus) -> str:
    counts: dict[str, Counter[str]] = {}
    for utterance in corpus.filter(language="en"):
        for tag in {tag.split(":")[0] for tag in utterance.tags}:
            counts.setdefault(tag, Counter())[utterance.split] += 1
    rows = [[tag, *(counts[tag][split] for split in _SPLITS)] for tag in sorted(counts)]
    return table(["English recordings by tag", "train", "test", "any (prompts)"], rows)


_SPLITS = ("train", "test", "any")


def _speakers(corpus: Corpus) -> str:
    rows = []
    people = corpus.filter(source="amazon-queen")
    for split in ("train", "test"):
        lines = [utterance for utterance in people if utterance.split == split]
        minutes = Counter[str]()
        for utterance in lines:
            minutes[utterance.speaker] += round(utterance.duration_s * 1000)
        names = ", ".join(f"{name} {ms / 60_000:.1f}" for name, ms in minutes.most_common())
        total = f"{sum(minutes.values()) / 60_000:.1f}"
        rows.append([split, len(minutes), len(lines), total, names])
    return table(["split", "speakers", "lines", "minutes", "minutes of each speaker"], rows)


def _digits(corpus: Corpus) -> str:
    rows = []
    for word in _WORDS:
        cells = []
        for split in _SPLITS:
            clean = _by_speaker(corpus, word, split, "clean")
            both = _by_speaker(corpus, word, split, "usable")
            names = [f"{name} {clean[name]}+{n - clean[name]}" for name, n in sorted(both.items())]
            cells.append(", ".join(names) or "none")
        rows.append([word, *cells])
    return table(["clean+usable cuts of", "train", "test", "any (prompts)"], rows)


def _by_speaker(corpus: Corpus, word: str, split: str, at_least: str) -> Counter[str]:
    return Counter(
        utterance.speaker
        for utterance, _ in corpus.find_words(word, at_least=at_least)
        if utterance.language == "en" and utterance.split == split
    )


def _dialogues(corpus: Corpus) -> str:
    """Count scripted dialogues by the first word of their names."""
    groups: dict[tuple[str, str], list[list[Utterance]]] = {}
    for found in Conversations([corpus.folder]):
        if found.kind == SCRIPTED:
            kind = found.id.removeprefix(f"{found.source}/").partition("-")[0]
            turns = [corpus[turn.utterance] for turn in found.turns]
            groups.setdefault((kind, found.split), []).append(turns)
    rows = []
    for (kind, split), members in sorted(groups.items()):
        people = [len({utterance.speaker for utterance in turns}) for turns in members]
        lines = {utterance.id: utterance for turns in members for utterance in turns}.values()
        rows.append(
            [
                *(kind, split, len(members), sum(n > 2 for n in people), sum(map(len, members))),
                sum(changes_of_speaker(turns) for turns in members),
                len({utterance.speaker for utterance in lines}),
                f"{sum(utterance.duration_s for utterance in lines) / 60:.1f}",
            ]
        )
    head = ["dialogues", "split", "number", "of three or more people", "turns"]
    return table([*head, "changes of speaker", "speakers", "minutes"], rows)


def changes_of_speaker(turns: Sequence[Utterance]) -> int:
    return sum(a.speaker != b.speaker for a, b in pairwise(turns))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    print(counts_markdown(Corpus.open(Path(sys.argv[1]) if sys.argv[1:] else DEFAULT_FOLDER)))
