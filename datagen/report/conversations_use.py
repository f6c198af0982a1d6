"""How much of the recorded conversations of each corpus is heard in a set."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import RECORDED
from microturn.datagen.sets.contents import Contents, digest_of


def conversations_use(config: DatagenConfig, contents: Contents) -> dict[str, dict[str, Any]]:
    """Count the recorded conversations of each corpus that has some, by the corpus' name.

    `speakers` are shares of the speech of users, as those of recordings.
    """
    conversations = Conversations.open(config.corpus)
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    shares: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    total = sum(contents.seconds.values()) or 1.0
    for number, row in enumerate(conversations.rows):
        if row.kind != RECORDED:
            continue
        name = conversations.rows.place(number)[0].file.parent.name
        found[name]["conversations"] += 1
        recording = digest_of(row.id)
        heard = {who: contents.speakers.get(who, {}).get(recording, 0.0) for who in row.speakers}
        found[name]["conversations_heard"] += any(heard.values())
        for who, seconds in heard.items():
            shares[name][who] += seconds / total
    return {
        name: {
            **counts,
            "share_of_speech": sum(shares[name].values()),
            "speakers": {who: round(share, 4) for who, share in sorted(shares[name].items())},
        }
        for name, counts in found.items()
    }


def unheard_conversations(name: str, n: int, *, is_drawn: bool) -> str:
    """The warning for a corpus of whose recorded conversations nothing is heard."""
    why = "and none was drawn" if is_drawn else "and families.recorded is 0, so none is used"
    return f"corpus {name} has {n} recorded conversation{'s' if n != 1 else ''}, {why}"
