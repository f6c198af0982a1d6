"""Our own shard sets: the dialogues with their exact words, the user's voice dry if it is stored.

Speakers are those of the recordings that the set was made of, under their own names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from microturn.datagen.corpora.conversations.described import (
    ConversationFormat,
    DescribedConversation,
    DescribedSide,
)
from microturn.datagen.corpora.recordings import FileSound
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.sets.shards import INDEX_NAME, LAYOUT_NAME, ShardReader

DRY_USER: Final = "stem_user.flac"


def _matches(root: Path) -> bool:
    return (root / INDEX_NAME).is_file() and (root / LAYOUT_NAME).is_file()


def _read(root: Path, options: dict[str, str]) -> Iterator[DescribedConversation]:
    reader = ShardReader(root)
    for position in range(len(reader)):
        tar, places = reader.location(position)
        dialogue = reader.without_sound(position)
        labels = dialogue.labels
        user = DRY_USER if DRY_USER in places else "user.flac"
        sides = (
            DescribedSide(
                speaker=_speaker(labels, lane),
                sound=_sound(Path(str(tar)), f"{dialogue.key}.{member}", places[member]),
                words=tuple(
                    AlignedWord(
                        text=word.text, start_s=word.start_s, end_s=word.end_s, times=word.times
                    )
                    for word in labels.words.of(lane)
                ),
                role=lane,
            )
            for lane, member in (("user", user), ("agent", "agent.flac"))
        )
        languages = Counter(item.language for item in labels.items if item.lane != "background")
        licences = sorted({item.licence for item in labels.items})
        yield DescribedConversation(
            id=dialogue.key,
            sides=tuple(sides),
            split=labels.split if labels.split in ("train", "test") else "",
            language=languages.most_common(1)[0][0] if languages else "",
            licence=" AND ".join(licences),
        )


def _speaker(labels: DialogueLabels, lane: str) -> str:
    """Return who says most in a lane."""
    speakers = {item.id: item.speaker for item in labels.items if item.lane == lane}
    said = Counter(speakers.get(word.source, "") for word in labels.words.of(lane))
    names = [name for name, _ in said.most_common() if name]
    return next(iter([*names, *speakers.values()]), "")


def _sound(tar: Path, member: str, place: tuple[int, int]) -> FileSound:
    offset, size = place
    return FileSound(path=tar, member=member, offset=offset, size=size, channel=0)


SHARDS = ConversationFormat(
    name="shards",
    sign=f"a shard set: {INDEX_NAME} and {LAYOUT_NAME}",
    matches=_matches,
    read=_read,
    own_names=True,
)
