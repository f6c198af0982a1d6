"""Who and what is heard in a shard set, in a form that two sets can be compared by.

`contents.json` beside the index names the people whom the agent hears, as users or in the
background, with digests of their recordings, and digests of the users' sentences and of the rooms;
and, for whoever passes on what is learned from it, the licences of all recordings (credits.py).
It counts what users typed, so that typing is offered only for a model that has seen it.
For whoever talks to what is learned from it: the words that the agent says, where they are few.
A word at another speed or cut out of a sentence belongs to the person and the recording it was made
of. A large set lists a sample: the smallest digests, which are the same choice in every set.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeVar

from microturn.configs.reading import naming_damage
from microturn.datagen.sets.credits import Credit, credits_from_json, credits_to_json
from microturn.datagen.sets.storage import Place

CONTENTS_NAME: Final = "contents.json"
FORMAT: Final = 1
MAX_LISTED: Final = 20_000  # recordings or sentences in the file
WEIGHTED_BY: Final = {  # what is compared, and what its share is weighted by
    "speakers": "speech",
    "recordings": "speech",
    "sentences": "uses",
    "rooms": "dialogues",
}
_DIGEST_DIGITS: Final = 12
_ALL: Final = "~"  # after every digest
_REST: Final = ""  # key of the seconds of recordings that the file does not list
_DIGITS: Final = 3  # of seconds

T = TypeVar("T")
Weights = dict[str, float]  # by digest
Shared = dict[str, dict[str, float]]  # by kind


def digest_of(*parts: object) -> str:
    """Return a short digest of what identifies something."""
    return sha256("|".join(map(str, parts)).encode()).hexdigest()[:_DIGEST_DIGITS]


@dataclass(kw_only=True)
class Contents:
    """People with seconds of speech by recording; sentences by uses, rooms by dialogues.

    Recordings whose speaker nobody knows stand under the name "".
    """

    speakers: dict[str, Weights] = field(default_factory=dict)
    sentences: Weights = field(default_factory=dict)
    rooms: Weights = field(default_factory=dict)
    n_typed: int = 0  # texts that a user typed
    listed_to: str = _ALL  # the last digest of the sample
    # Of all recordings, the agent's too; None where a set of a former version is part of it.
    credits: set[Credit] | None = field(default_factory=set)
    said: set[str] | None = field(default_factory=set)  # by the agent; None: any word may be

    def hear(self, speaker: str, recording: str, seconds: float) -> None:
        """Add speech of a recording, by its digest."""
        recordings = self.speakers.setdefault(speaker, {})
        recordings[recording] = recordings.get(recording, 0.0) + seconds

    def add(self, other: Contents) -> None:
        """Add up with other dialogues."""
        self.listed_to = min(self.listed_to, other.listed_to)
        self.n_typed += other.n_typed
        self.credits = _together(self.credits, other.credits)
        self.said = _together(self.said, other.said)
        for speaker, recordings in other.speakers.items():
            for recording, seconds in recordings.items():
                self.hear(speaker, recording, seconds)
        for mine, theirs in ((self.sentences, other.sentences), (self.rooms, other.rooms)):
            for digest, n in theirs.items():
                mine[digest] = mine.get(digest, 0) + n

    def united(self, other: Contents) -> Contents:
        """Return what either holds; uniting something with itself changes nothing."""
        names = self.speakers.keys() | other.speakers.keys()
        both = Contents(
            speakers={
                name: _largest(self.speakers.get(name, {}), other.speakers.get(name, {}))
                for name in names
            },
            sentences=_largest(self.sentences, other.sentences),
            rooms=_largest(self.rooms, other.rooms),
            n_typed=max(self.n_typed, other.n_typed),
            credits=_together(self.credits, other.credits),
            said=_together(self.said, other.said),
        )
        return both.sample(min(self.listed_to, other.listed_to))

    @property
    def recordings(self) -> Weights:
        """Seconds of every recording that is listed, whoever speaks."""
        found: Weights = {}
        for recordings in self.speakers.values():
            found |= recordings
        found.pop(_REST, None)
        return found

    @property
    def seconds(self) -> Weights:
        """Seconds of every speaker."""
        return {name: sum(recordings.values()) for name, recordings in self.speakers.items()}

    def sample(self, last: str) -> Contents:
        """Return the same with no digest after `last`; speakers keep all their seconds."""
        return Contents(
            speakers={name: _sampled(found, last) for name, found in self.speakers.items()},
            sentences=_up_to(self.sentences, last),
            rooms=self.rooms,
            n_typed=self.n_typed,
            listed_to=last,
            credits=self.credits,
            said=self.said,
        )

    def of_limited_size(self, most: int = MAX_LISTED) -> Contents:
        """Return a sample of at most so many recordings and sentences, or all of fewer."""
        lasts = [
            sorted(digests)[most - 1] if len(digests) > most else _ALL
            for digests in (self.recordings, self.sentences)
        ]
        return self.sample(min(self.listed_to, *lasts))

    def counts(self) -> dict[str, int]:
        """Return how many there are of each kind."""
        return {
            "speakers": len(self.speakers.keys() - {""}),
            "recordings": len(self.recordings),
            "sentences": len(self.sentences),
            "rooms": len(self.rooms),
        }

    def to_json(self) -> dict[str, Any]:
        known = self.credits is not None
        return {
            "format": FORMAT,
            "listed_to": self.listed_to,
            "speakers": {
                name: {digest: round(s, _DIGITS) for digest, s in sorted(recordings.items())}
                for name, recordings in sorted(self.speakers.items())
            },
            "sentences": dict(sorted(self.sentences.items())),
            "rooms": dict(sorted(self.rooms.items())),
            **({"n_typed": self.n_typed} if self.n_typed else {}),
            **({"credits": credits_to_json(self.credits or ())} if known else {}),
            **({} if self.said is None else {"said": sorted(self.said)}),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], *, where: str) -> Contents:
        """Read the file; raises ValueError that begins with `where` for another format."""
        if entry.get("format") != FORMAT:
            raise ValueError(
                f"{where}: contents of format {entry.get('format')}, but this code reads format "
                f"{FORMAT}; simulate the set again"
            )
        return cls(
            speakers={name: dict(recordings) for name, recordings in entry["speakers"].items()},
            sentences=dict(entry["sentences"]),
            rooms=dict(entry["rooms"]),
            n_typed=entry.get("n_typed", 0),
            listed_to=entry["listed_to"],
            credits=credits_from_json(entry["credits"]) if "credits" in entry else None,
            said=set(entry["said"]) if "said" in entry else None,
        )


def read_contents(folder: Place) -> Contents | None:
    """Read the contents of a set or checkpoint; None for one that does not record them.

    Raises ValueError that names the file where it is damaged.
    """
    path = folder / CONTENTS_NAME
    if not path.is_file():
        return None
    with naming_damage(path, "copy it again, or simulate or train anew"):
        return Contents.from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))


def contents_text(contents: Contents) -> str:
    """Format the file, of limited size."""
    return json.dumps(contents.of_limited_size().to_json(), ensure_ascii=False, indent=1) + "\n"


def shared_with(test: Contents, train: Contents) -> Shared:
    """Count what two sets have in common: of each kind, and as shares of the first set.

    A person is the same by name, or by a recording that is in both sets under any name. Of samples
    those digests are compared that both would list.
    """
    last = min(test.listed_to, train.listed_to)
    heard, trained = _up_to(test.recordings, last), _up_to(train.recordings, last)
    same = heard.keys() & trained.keys()
    seconds = test.seconds
    named = {name: s for name, s in seconds.items() if name}
    known = {name for name in named if name in train.speakers or test.speakers[name].keys() & same}
    unknown = _share(seconds.get("", 0.0), sum(seconds.values()))
    asked, learnt = _up_to(test.sentences, last), _up_to(train.sentences, last)
    return {
        "speakers": {
            **_row(named, train.speakers.keys() - {""}, known, weight="speech"),
            "share_of_speech": _share(sum(named[n] for n in known), sum(seconds.values())),
            "unknown_share_of_speech": unknown,
        },
        "recordings": _row(heard, trained, same, weight="speech"),
        "sentences": _row(asked, learnt, asked.keys() & learnt.keys(), weight="uses"),
        "rooms": _row(
            test.rooms, train.rooms, test.rooms.keys() & train.rooms.keys(), weight="dialogues"
        ),
    }


def shared_line(shared: Shared) -> str:
    """Say in one sentence what a set shares with the training set, and what is new in it."""
    counts = ", ".join(
        f"{row['shared']:.0f} of {row['test']:.0f} {kind} ({row[f'share_of_{weight}']:.0%} of the "
        f"{weight})"
        for kind, weight in WEIGHTED_BY.items()
        if (row := shared[kind])["test"] and row["train"]
    )
    people, recordings = shared["speakers"], shared["recordings"]
    line = (
        f"shared with training: {counts or 'nothing'}; "
        f"new people: {_how_much(new_people(shared))}; "
        f"new recordings: {_how_much(1 - recordings['share_of_speech'])}"
    )
    if people["unknown_share_of_speech"]:
        line += f"; unknown people: {_how_much(people['unknown_share_of_speech'])}"
    return line


def new_people(shared: Shared) -> float:
    """Return the share of speech by people who are known, and were not heard in training."""
    people = shared["speakers"]
    return max(1 - people["share_of_speech"] - people["unknown_share_of_speech"], 0.0)


def shared_table(shared: Shared) -> list[str]:
    """Format the counts as a Markdown table."""
    lines = ["| | in this set | in training | shared | share | weighted |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for kind, weight in WEIGHTED_BY.items():
        row = shared[kind]
        counts = " | ".join(f"{row[name]:.0f}" for name in ("test", "train", "shared"))
        weighted = f"{row[f'share_of_{weight}']:.1%} of the {weight}"
        lines.append(f"| {kind} | {counts} | {row['share']:.1%} | {weighted} |")
    return lines


def _together(first: set[T] | None, second: set[T] | None) -> set[T] | None:
    return None if first is None or second is None else first | second


def _row(
    test: Mapping[str, float], train: Collection[str], same: Collection[str], *, weight: str
) -> dict[str, float]:
    part = sum(test[name] for name in same)
    return {
        "test": len(test),
        "train": len(train),
        "shared": len(same),
        "share": _share(len(same), len(test)),
        f"share_of_{weight}": _share(part, sum(test.values())),
    }


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _how_much(share: float) -> str:
    return f"{share:.1%} of the speech" if share >= 0.0005 else "none"


def _largest(first: Weights, second: Weights) -> Weights:
    names = first.keys() | second.keys()
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in names}


def _up_to(weights: Weights, last: str) -> Weights:
    return {digest: weight for digest, weight in weights.items() if digest <= last}


def _sampled(recordings: Weights, last: str) -> Weights:
    listed = {digest: s for digest, s in recordings.items() if _REST < digest <= last}
    rest = round(sum(recordings.values()) - sum(listed.values()), _DIGITS)
    return listed | ({_REST: rest} if rest > 0 else {})
