"""Checks one conversation at a time, and writes its sound as it is stored.

Runs in a worker. A conversation that cannot be used is returned with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.checking import (
    NO_LICENCE,
    AcceptedRecording,
    Checker,
    CheckSettings,
    SkippedRecording,
    Unusable,
)
from microturn.datagen.corpora.conversations.checking.activity import (
    Frames,
    of_length,
)
from microturn.datagen.corpora.conversations.checking.fit import (
    SWAPPED,
    are_swapped,
    check_two_voices,
)
from microturn.datagen.corpora.conversations.checking.heard import HeardPeople, inside, told_spans
from microturn.datagen.corpora.conversations.checking.measured import (
    FRAMES_PER_S,
    MeasuredSound,
    measured,
)
from microturn.datagen.corpora.conversations.checking.storing import StoredFile, stored_files
from microturn.datagen.corpora.conversations.checking.words import mended_words
from microturn.datagen.corpora.conversations.described import (
    DescribedConversation,
)
from microturn.datagen.corpora.conversations.record import (
    RECORDED,
    SCRIPTED,
    CorpusConversation,
    ScriptedTurn,
    Side,
    TimeSpan,
)
from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.corpora.recordings import escape
from microturn.model.streams.sound_file import SoundError

SHORTEST_S: Final = 1.0
OTHER_LENGTH: Final = "files of different length"
LENGTH_S: Final = 1.0  # by which the files of two sides may differ without notice
MUTED: Final = "crosstalk muted"


@dataclass(frozen=True, kw_only=True)
class AcceptedConversation:
    """A conversation as it is stored, but for the places of its files in tars."""

    conversation: CorpusConversation
    files: tuple[StoredFile, ...] = ()
    turns: tuple[AcceptedRecording, ...] = ()
    digest: str = ""  # of its sound
    place: str = ""
    mended: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0  # sides whose speaker nobody names


@dataclass(frozen=True, kw_only=True)
class SkippedConversation:
    """A conversation that cannot be used, with the turns of it that can."""

    skipped: SkippedRecording
    turns: tuple[AcceptedRecording, ...] = ()


ConversationOutcome = AcceptedConversation | SkippedConversation


class ConversationChecker:
    """Checks conversations; sound is written below a folder."""

    def __init__(self, settings: CheckSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._recordings = Checker(settings)
        self._aligner = CachedAligner(settings.cache)

    def check(self, described: DescribedConversation, number: int) -> ConversationOutcome:
        """Check a conversation; its number names the files that are written for it."""
        turns: tuple[AcceptedRecording, ...] = ()
        try:
            if described.problem:
                raise Unusable("entry", described.problem)
            if described.turns:
                outcomes = [self._recordings.check(turn) for turn in described.turns]
                turns = tuple(one for one in outcomes if isinstance(one, AcceptedRecording))
                return self._scripted(described, outcomes)
            return self._recorded(described, number)
        except Unusable as error:
            kind, reason = error.kind, str(error)
        except SoundError as error:
            kind, reason = "unreadable", str(error)
        skipped = SkippedRecording(
            id=described.id, place=escape(place_of(described)), kind=kind, reason=escape(reason)
        )
        return SkippedConversation(skipped=skipped, turns=turns)

    def _scripted(
        self,
        described: DescribedConversation,
        outcomes: Sequence[AcceptedRecording | SkippedRecording],
    ) -> AcceptedConversation:
        accepted = []
        for number, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome, SkippedRecording):
                reason = f"its turn {number}, {outcome.place}: {outcome.reason}"
                raise Unusable(outcome.kind, reason)
            accepted.append(outcome)
        if len(accepted) < 2:
            raise Unusable("entry", f"it has {len(accepted)} turn, and a dialogue needs two")
        roles = described.roles or ("",) * len(accepted)
        turns = tuple(
            ScriptedTurn(utterance=one.utterance.id, speaker=one.utterance.speaker, role=role)
            for one, role in zip(accepted, roles, strict=True)
        )
        first = accepted[0].utterance
        conversation = CorpusConversation(
            **self._common(described, SCRIPTED, first.language), turns=turns
        )
        digest = sha256("".join(one.digest for one in accepted).encode()).hexdigest()
        return AcceptedConversation(
            conversation=conversation,
            turns=tuple(accepted),
            digest=digest,
            place=escape(accepted[0].place),
        )

    def _recorded(self, described: DescribedConversation, number: int) -> AcceptedConversation:
        if len(described.sides) != 2:
            raise Unusable("entry", f"it has {len(described.sides)} sides, and two are needed")
        people = [*described.sides, *described.others]
        sounds = measured([person.sound for person in people])
        mended: Counter[str] = Counter({fault: 1 for one in sounds for fault in one.mended})
        duration_s = round(max(one.duration_s for one in sounds), 4)
        if duration_s < SHORTEST_S:
            raise Unusable("empty", f"it lasts {duration_s:.2f} s")
        if duration_s - min(one.duration_s for one in sounds[:2]) > LENGTH_S:
            mended[OTHER_LENGTH] += 1
        said = [mended_words(person.words, duration_s) for person in people]
        told = [told_spans(*pair, duration_s) for pair in zip(people, said, strict=True)]
        sounds = _unswapped(sounds, told, duration_s, mended)
        heard = HeardPeople.of(people, sounds, said, told, duration_s)
        common = self._common(described, RECORDED, "")
        if self._settings.align and common["language"] == "en":
            heard = heard.aligned(self._aligner, fit=self._settings.fit)
        for one in heard.said:
            mended.update(one.mended)
        muted, crosstalk_db = heard.muted()
        mended[MUTED] += any(mask is not None for mask in muted[:2])
        files = stored_files(
            sounds,
            muted,
            max_rate=self._settings.sample_rate,
            folder=self._folder,
            name=f"{number:08d}",
        )
        sides = [self._side(described, heard, i, muted[i], files) for i in range(len(people))]
        redacted = [*described.redacted, *(span for one in said for span in one.redacted)]
        conversation = CorpusConversation(
            **common,
            duration_s=duration_s,
            sides=tuple(sides[:2]),
            others=tuple(sides[2:]),
            redacted=inside(redacted, duration_s),
            crosstalk_db=crosstalk_db,
        )
        # Of both sides alone: other pairs of a meeting have the same sound among them.
        marks = sorted(
            f"{file.digest} {channel}"
            for file in files
            for number, channel in file.channels.items()
            if number < 2
        )
        return AcceptedConversation(
            conversation=conversation,
            files=tuple(files),
            digest=sha256("".join(marks).encode()).hexdigest(),
            place=escape(place_of(described)),
            mended=+mended,
            unnamed=sum(not side.speaker for side in described.sides),
        )

    def _common(self, described: DescribedConversation, kind: str, language: str) -> dict[str, Any]:
        settings = self._settings
        stated = language_tag(described.language) or language or language_tag(settings.language)
        return {
            "id": f"{settings.name}/{described.id}",
            "kind": kind,
            "source": settings.name,
            "split": described.split,
            "language": stated,
            "licence": described.licence or settings.licence or NO_LICENCE,
            "licence_from": described.licence_from if described.licence else settings.origin_of(""),
            "instructions": described.instructions,
        }

    def _side(
        self,
        described: DescribedConversation,
        heard: HeardPeople,
        number: int,
        muted: Frames | None,
        files: Sequence[StoredFile],
    ) -> Side:
        file = next(file for file in files if number in file.channels)
        person, words = heard.people[number], heard.said[number].words
        speaker = person.speaker
        if not speaker:  # a person that nobody names: of this conversation alone
            speaker = f"{self._settings.name}-{described.id}-{'abcdefgh'[min(number, 7)]}"
        elif self._settings.prefixed:
            speaker = f"{self._settings.name}-{speaker}"
        return Side(
            speaker=speaker,
            tar="",
            member=file.suffix,
            offset=0,
            size=file.size,
            channel=file.channels[number],
            sample_rate=file.rate,
            words=words,
            activity=heard.activity(number, muted),
            role=person.role,
        )


def _unswapped(
    sounds: list[MeasuredSound],
    told: Sequence[Sequence[TimeSpan]],
    duration_s: float,
    mended: Counter[str],
) -> list[MeasuredSound]:
    """Return the sounds in the order of the people whose words lie on them."""
    n_frames = round(duration_s * FRAMES_PER_S)
    powers = [of_length(one.power, n_frames) for one in sounds[:2]]
    check_two_voices(powers)
    if not are_swapped(powers, told[:2]):
        return sounds
    mended[SWAPPED] += 1
    return [sounds[1], sounds[0], *sounds[2:]]


def place_of(described: DescribedConversation) -> str:
    """Return the file of a conversation, for messages."""
    sounds = [side.sound.place for side in described.sides]
    sounds += [turn.sound.place for turn in described.turns]
    return sounds[0] if sounds else described.id
