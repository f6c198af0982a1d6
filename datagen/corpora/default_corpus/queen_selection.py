"""The selection of lines of Flight of the Amazon Queen that ship, and the held-out speakers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from microturn.datagen.corpora.default_corpus.amazon_queen import (
    ALIASES,
    OBJECTS,
    VoicedLine,
    pairs,
)
from microturn.datagen.corpora.tags import tags_of
from microturn.model.streams import normalise

# About a fifth of the speakers; a character that may go by two tags stays on one side.
HELD_OUT = frozenset(
    ["guardian", "henry", "lola", "man", "naomi", "rico", "skip", "tam", "wedgewood"]
)
_UNKNOWN = "NARRATOR"
_MAX_BYTES = 16_000  # 8 s of 16 kbit/s

_NOISE = re.compile(
    r"<|\b(\w*rr+[rg]+\w*|w+a+r+k|s?qu?w?a+r?w?k|woof|aroof|gsrh|mm+\w*ft|\w*blt)\b"
)


@dataclass(frozen=True, kw_only=True)
class SelectedLine:
    """A clip that ships, with its speaker's name, its tags and its side of the split."""

    clip: VoicedLine
    speaker: str
    tags: frozenset[str]
    split: str


def speaker_name(tag: str) -> str:
    """Return the name of a character by any of its tags; empty if the speaker is unknown."""
    if tag in OBJECTS or tag == _UNKNOWN:
        return ""
    return ALIASES.get(tag, tag).lower().replace(" ", "-")


def usable(clip: VoicedLine) -> bool:
    """Tell whether a clip is short, has a known speaker, and words instead of noises or figures."""
    return (
        clip.size <= _MAX_BYTES
        and bool(speaker_name(clip.speaker))
        and bool(normalise(clip.text))
        and not re.search(r"\d", clip.text)
        and not _NOISE.search(clip.text.lower())
    )


_ALWAYS = frozenset(["backchannel", "greeting", "interruption", "imperative", "letter", "digit"])


def select(clips: list[VoicedLine], n_bytes: int) -> list[SelectedLine]:
    """Select all lines of the required kinds, then one item per speaker in rotation.

    An item is a line-and-reply pair or one line, questions and cut-off lines first. The order is
    a hash of the clips' names, so that it is the same everywhere.
    """
    usable_clips = {clip.id: clip for clip in clips if usable(clip)}
    tags = {name: tags_of(clip.text) for name, clip in usable_clips.items()}
    replies = {
        node: pair
        for node, pair in pairs(clips).items()
        if pair[0] in usable_clips and pair[1] in usable_clips
    }
    chosen = {name for name in usable_clips if tags[name] & _ALWAYS}
    left = n_bytes - sum(usable_clips[name].size for name in chosen)
    for names in _rotation(usable_clips, tags, replies):
        fresh = [name for name in names if name not in chosen]
        left -= sum(usable_clips[name].size for name in fresh)
        if left < 0:
            break
        chosen.update(fresh)
    paired: dict[str, set[str]] = {}
    for node, (line, reply) in replies.items():
        if line in chosen and reply in chosen:
            for name in (line, reply):
                paired.setdefault(name, set()).add(f"pair:{node}")
    return [line_of(usable_clips[n], tags[n] | paired.get(n, set())) for n in sorted(chosen)]


def _rotation(
    clips: dict[str, VoicedLine],
    tags: dict[str, frozenset[str]],
    replies: dict[str, tuple[str, str]],
) -> Iterator[tuple[str, ...]]:
    queues: dict[str, list[tuple[str, ...]]] = {}
    for line, reply in replies.values():
        queues.setdefault(speaker_name(clips[reply].speaker), []).append((line, reply))
    for name, clip in clips.items():
        queues.setdefault(speaker_name(clip.speaker), []).append((name,))

    def order(names: tuple[str, ...]) -> tuple[bool, str]:
        plain = not any(tags[name] & {"question", "trailing"} for name in names)
        return plain, sha256(" ".join(names).encode()).hexdigest()

    for queue in queues.values():
        queue.sort(key=order)
    for turn in range(max(map(len, queues.values()))):
        for speaker in sorted(queues):
            if turn < len(queues[speaker]):
                yield queues[speaker][turn]


def line_of(clip: VoicedLine, tags: frozenset[str] | set[str]) -> SelectedLine:
    """Return a clip with the name of its speaker and the side of the split."""
    speaker = speaker_name(clip.speaker)
    split = "test" if speaker in HELD_OUT else "train"
    return SelectedLine(clip=clip, speaker=speaker, tags=frozenset(tags), split=split)
