"""Builds the corpus of whole dialogues that ships with microturn (needs `pocketsphinx`).

    python datagen/corpora/default_corpus/scenes.py [root=DIR] [out=DIR]

Options as of `build.py`, whose corpus must be there: recordings that it holds are named here and
not stored again. Alignments are kept in the user's cache folder, so that a broken build goes on.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from microturn.configs.paths import cache_folder
from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.conversations.parts import DialogueParts, DialogueRun, whole_runs
from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME
from microturn.datagen.corpora.counts import counts_markdown, table
from microturn.datagen.corpora.default_corpus.amazon_queen import ARCHIVE_PATH, Archive, VoicedLine
from microturn.datagen.corpora.default_corpus.build import (
    GAME,
    StoredUtterance,
    copy_licences,
    lines,
    run_build,
    write_lines,
    write_tar,
)
from microturn.datagen.corpora.default_corpus.queen_dialogues import dialogues
from microturn.datagen.corpora.default_corpus.queen_selection import (
    HELD_OUT,
    line_of,
    speaker_name,
    usable,
)
from microturn.datagen.corpora.home import SCENES_FOLDER
from microturn.datagen.corpora.manifest import (
    ATTRIBUTION_NAME,
    DEFAULT_FOLDER,
    MANIFEST_NAME,
    Corpus,
)
from microturn.datagen.corpora.tags import tags_of
from microturn.datagen.corpora.utterance import Utterance

SOURCE: Final = "amazon-queen"
TAR: Final = "amazon-queen-scenes.tar"
SCENES_BYTES: Final = 12_000_000  # of the sound and of the lines of both files
LINE_BYTES, TURN_BYTES, TAR_BYTES = 600, 60, 768  # about: a manifest line, a turn, a tar's share
HERO: Final = "joe"  # who speaks in nearly every dialogue


def main(arguments: list[str]) -> int:
    return run_build(arguments, packages=[GAME], out=SCENES_FOLDER, build=build)


def build(root: Path, out: Path) -> None:
    archive = Archive(root / ARCHIVE_PATH)
    clips = {clip.id: clip for clip in archive.clips()}
    found = dialogues(archive.trees(), list(clips.values()))
    there = Path(os.path.relpath(DEFAULT_FOLDER, out)).as_posix()
    default = Corpus.open(DEFAULT_FOLDER)
    ships = {
        _clip(utterance): replace(utterance, tar=f"{there}/{utterance.tar}")
        for utterance in default.filter(source=SOURCE)
    }
    aligner = CachedAligner(cache_folder(""))
    names = {name for dialogue in found for part in dialogue.parts for name in part}
    fresh = [clips[name] for name in sorted(names - ships.keys()) if _may_train(clips[name])]
    picks = [line_of(clip, tags_of(clip.text)) for clip in fresh]
    stored = {_clip(line.utterance): line for line in lines(aligner, archive, picks)}
    known = ships | {name: line.utterance for name, line in stored.items()}
    runs = [run for dialogue in found for run in whole_runs(dialogue, known)]
    chosen = select_runs(runs, stored, SCENES_BYTES)
    used = {_clip(utterance) for run in chosen for utterance in run.utterances}
    placed = write_tar(out / TAR, (stored[name] for name in used & stored.keys()))
    utterances = [*placed, *(ships[name] for name in used - stored.keys())]
    write_lines(out / MANIFEST_NAME, sorted(utterances, key=lambda utterance: utterance.id))
    write_lines(out / CONVERSATIONS_NAME, [run.conversation(SOURCE) for run in chosen])
    copy_licences(root, out / "LICENCES", [GAME])
    authors = {SOURCE: default.attribution_of(utterances[0])}
    (out / ATTRIBUTION_NAME).write_text(json.dumps(authors, indent=1) + "\n", encoding="utf-8")
    counts = f"{_kept(found, clips, known, runs, chosen)}\n\n{counts_markdown(Corpus.open(out))}"
    readme = Path(__file__).with_name("scenes_readme.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(readme.replace("{counts}", counts), encoding="utf-8")
    print(counts)


def select_runs(
    runs: Sequence[DialogueRun], fresh: Mapping[str, StoredUtterance], n_bytes: int
) -> list[DialogueRun]:
    """Select dialogues within a number of bytes, one for each person in rotation.

    A dialogue is that of the first of its people who is not Joe. First come those whose sound is
    there already, by its share in tenths; the order of the others is a hash of their names. One
    that is too large is passed over. `fresh` are the recordings that would be stored, by clip.
    """
    left, taken, chosen = n_bytes, set[str](), []
    for found in _rotation(runs, fresh):
        names = {_clip(utterance) for utterance in found.utterances} - taken
        sound = sum(len(fresh[name].data) + TAR_BYTES for name in names & fresh.keys())
        size = sound + LINE_BYTES * len(names) + TURN_BYTES * len(found.utterances)
        if size <= left:
            left -= size
            taken |= names
            chosen.append(found)
    return sorted(chosen, key=lambda found: found.id)


def _rotation(
    runs: Sequence[DialogueRun], fresh: Mapping[str, StoredUtterance]
) -> Iterator[DialogueRun]:
    queues: defaultdict[str, list[DialogueRun]] = defaultdict(list)
    for found in runs:
        queues[next(u.speaker for u in found.utterances if u.speaker != HERO)].append(found)
    for queue in queues.values():
        queue.sort(key=lambda found: (-_share_there(found, fresh), _hash(found)))
    for turn in range(max(map(len, queues.values()), default=0)):
        for person in sorted(queues):
            if turn < len(queues[person]):
                yield queues[person][turn]


def _share_there(found: DialogueRun, fresh: Mapping[str, StoredUtterance]) -> int:
    there = sum(u.size for u in found.utterances if _clip(u) not in fresh)
    return round(10 * there / sum(u.size for u in found.utterances))


def _hash(found: DialogueRun) -> str:
    return sha256(found.id.encode()).hexdigest()


def _clip(utterance: Utterance) -> str:
    return utterance.id.removeprefix(f"{SOURCE}/")


def _may_train(clip: VoicedLine) -> bool:
    return usable(clip) and speaker_name(clip.speaker) not in HELD_OUT


def _kept(
    found: Sequence[DialogueParts],
    clips: Mapping[str, VoicedLine],
    known: Mapping[str, Utterance],
    runs: Sequence[DialogueRun],
    chosen: Sequence[DialogueRun],
) -> str:
    """Count what became of every exchange of the trees and every turn of the scenes."""
    in_run, in_chosen = _names(runs), _names(chosen)

    def fate(part: tuple[str, ...]) -> str:
        if not all(usable(clips[name]) for name in part):
            return _FATES[1]
        if any(speaker_name(clips[name].speaker) in HELD_OUT for name in part):
            return _FATES[2]
        if not known.keys() >= set(part):
            return _FATES[3]
        if part[0] not in in_run:
            return _FATES[4]
        return _FATES[6] if part[0] in in_chosen else _FATES[5]

    counts: dict[str, Counter[str]] = {kind: Counter() for kind in _KINDS}
    for dialogue in found:
        counter = counts[dialogue.id.partition("-")[0]]
        counter[_FATES[0]] += len(dialogue.parts)
        counter.update(map(fate, dialogue.parts))
    rows = [[name, *(counts[kind][name] for kind in _KINDS)] for name in _FATES]
    return table(["in the game", "exchanges of dialogue trees", "turns of cut-scenes"], rows)


_KINDS: Final = ("talk", "scene")
_FATES: Final = (
    "all",
    "a line is above 8 s, has figures or noises, or nobody known says it",
    "held-out people take part",
    "a line does not fit its sound",
    "nobody else is left to talk with",
    "no room",
    "ships here",
)


def _names(runs: Sequence[DialogueRun]) -> set[str]:
    return {_clip(utterance) for found in runs for utterance in found.utterances}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
