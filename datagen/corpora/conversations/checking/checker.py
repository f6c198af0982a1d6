"""Checks one conversation at a time, and writes its sound as it is stored.

Runs in a worker. A conversation that cannot be used is returned with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

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
    active_frames,
    activity_of,
    frames_of,
    of_length,
    times_of_words,
)
from microturn.datagen.corpora.conversations.checking.clocks import (
    check_file_clocks,
    check_words_clock,
)
from microturn.datagen.corpora.conversations.checking.crosstalk import (
    INAUDIBLE_DB,
    MAX_CROSSTALK_DB,
    NEAR_OWN_S,
    crosstalk_frames,
    crosstalk_on,
)
from microturn.datagen.corpora.conversations.checking.fit import (
    SWAPPED,
    are_swapped,
    check_told,
    check_two_voices,
)
from microturn.datagen.corpora.conversations.checking.measured import (
    FRAMES_PER_S,
    MeasuredSound,
    by_file,
    measured,
)
from microturn.datagen.corpora.conversations.checking.storing import StoredFile, stored_files
from microturn.datagen.corpora.conversations.checking.words import MendedWords, mended_words
from microturn.datagen.corpora.conversations.described import (
    DescribedConversation,
    DescribedSide,
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
from microturn.datagen.corpora.manifest import AlignedWord
from microturn.datagen.corpora.recordings import escape
from microturn.datagen.labels.time_classes import UNKNOWN
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
        for one in said:
            mended.update(one.mended)
        told = [_told(*pair, duration_s) for pair in zip(people, said, strict=True)]
        sounds = _unswapped(sounds, told, duration_s, mended)
        heard = _HeardPeople.of(people, sounds, said, told, duration_s)
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
            **self._common(described, RECORDED, ""),
            duration_s=duration_s,
            sides=tuple(sides[:2]),
            others=tuple(sides[2:]),
            redacted=_inside(redacted, duration_s),
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
        heard: _HeardPeople,
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


@dataclass(frozen=True, kw_only=True)
class _HeardPeople:
    """Everybody in a conversation, with their sound and words."""

    people: Sequence[DescribedSide]
    sounds: Sequence[MeasuredSound]
    said: Sequence[MendedWords]
    told: Sequence[Sequence[TimeSpan]]  # when the corpus says that they speak
    n_frames: int
    duration_s: float

    @staticmethod
    def of(
        people: Sequence[DescribedSide],
        sounds: Sequence[MeasuredSound],
        said: Sequence[MendedWords],
        told: Sequence[Sequence[TimeSpan]],
        duration_s: float,
    ) -> _HeardPeople:
        powers = [of_length(one.power, round(duration_s * FRAMES_PER_S)) for one in sounds]
        heard = _HeardPeople(
            people=people,
            sounds=[replace(o, power=p) for o, p in zip(sounds, powers, strict=True)],
            said=said,
            told=told,
            n_frames=len(powers[0]),
            duration_s=duration_s,
        )
        for number, (person, own) in enumerate(zip(people[:2], said[:2], strict=True)):
            name = person.speaker or "a side"
            if told[number]:
                others = heard.near(number, of_others=True)
                check_told(powers[number], heard.near(number), others, name)
            if own.words:
                check_words_clock(powers[number], own.words, name)
        if len(by_file([one.sound for one in sounds[:2]])) == 2:
            only = [heard.speaks(i) & ~heard.near(1 - i) for i in (0, 1)]
            check_file_clocks(sounds[:2], only)
        return heard

    def near(self, number: int, *, of_others: bool = False) -> Frames:
        """Return the frames around the words of a person, or of all others."""
        frames = frames_of((), self.n_frames)
        for i, spans in enumerate(self.told):
            if (i != number) == of_others:
                frames |= frames_of(spans, self.n_frames, margin_s=NEAR_OWN_S)
        return frames

    def speaks(self, number: int) -> Frames:
        """Return the frames in which a person speaks: as the corpus says, else by their sound."""
        if self.told[number]:
            return frames_of(self.told[number], self.n_frames)
        power = self.sounds[number].power
        louder = [other.power < 0.1 * power for i, other in enumerate(self.sounds) if i != number]
        frames = active_frames(power)
        for mask in louder:
            frames &= mask
        return frames

    def muted(self) -> tuple[list[Frames | None], float | None]:
        """Return where channels hold others only, and the crosstalk between both sides.

        Raises Unusable where there is too much.
        """
        masks: list[Frames | None] = []
        levels: list[float] = []
        for number, sound in enumerate(self.sounds):
            near, silent = self.near(number), frames_of((), self.n_frames)
            for i, other in enumerate(self.sounds):
                if i == number:
                    continue
                only = self.speaks(i) & ~near & ~self.speaks(number)
                found = crosstalk_on(sound.power, other.power, own_words=near, only_other=only)
                if found is None:
                    continue
                if i < 2 and number < 2:
                    levels.append(found.level_db)
                if found.is_heard and found.level_db > MAX_CROSSTALK_DB and number < 2:
                    who = self.people[i].speaker or f"side {'ab'[min(i, 1)]}"
                    raise Unusable(
                        "crosstalk",
                        f"{who} is heard on the channel of "
                        f"{self.people[number].speaker or 'the other side'} at "
                        f"{found.level_db:.1f} dB re their own (at most {MAX_CROSSTALK_DB:g} dB)",
                    )
                if found.is_heard and found.level_db > INAUDIBLE_DB:
                    silent |= crosstalk_frames(sound.power, other.power, found, own_words=near)
            masks.append(silent if silent.any() else None)
        return masks, max(levels, default=None)

    def activity(self, number: int, muted: Frames | None) -> tuple[TimeSpan, ...]:
        """Return when a person sounds, where their words do not say it."""
        words, person = self.said[number].words, self.people[number]
        if words and not any(map(_is_segment, words)):
            return ()
        if person.activity and not words:
            return tuple(self.told[number])
        power = self.sounds[number].power
        return activity_of(power if muted is None else power * ~muted)


def _is_segment(word: AlignedWord) -> bool:
    return word.times == UNKNOWN and " " in word.text


def _told(person: DescribedSide, said: MendedWords, duration_s: float) -> Sequence[TimeSpan]:
    """Return when the corpus says that a person speaks: by words, else by its spans of activity."""
    return times_of_words(said.words) or _inside(person.activity, duration_s)


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


def _inside(spans: Sequence[TimeSpan], duration_s: float) -> tuple[TimeSpan, ...]:
    """Return spans in order, inside the recording."""
    limited = [(max(a, 0.0), min(b, duration_s)) for a, b in spans]
    return tuple(sorted((round(a, 4), round(b, 4)) for a, b in limited if a < b))
