"""Everybody who is heard in a conversation: who speaks when, and what else is on a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.checking import Unusable
from microturn.datagen.corpora.conversations.checking.activity import (
    Frames,
    active_frames,
    activity_of,
    frames_of,
    of_length,
    smoothed,
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
from microturn.datagen.corpora.conversations.checking.fit import check_told
from microturn.datagen.corpora.conversations.checking.measured import (
    FRAMES_PER_S,
    MeasuredSound,
    Power,
    by_file,
)
from microturn.datagen.corpora.conversations.checking.segments import aligned_segments
from microturn.datagen.corpora.conversations.checking.words import MendedWords
from microturn.datagen.corpora.conversations.described import DescribedSide
from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.waveform import LOUD_SHARE
from microturn.datagen.labels.time_classes import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class HeardPeople:
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
    ) -> HeardPeople:
        powers = [of_length(one.power, round(duration_s * FRAMES_PER_S)) for one in sounds]
        heard = HeardPeople(
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

    def aligned(self, aligner: CachedAligner, *, fit: float) -> HeardPeople:
        """Return the same with the words of segments one by one, where they fit the sound."""
        pairs = zip(self.said, self.sounds, strict=True)
        said = [aligned_segments(own, sound, aligner, fit=fit) for own, sound in pairs]
        both = zip(self.people, said, strict=True)
        told = [told_spans(*pair, self.duration_s) for pair in both]
        return replace(self, said=said, told=told)

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
        own, frames = self._level(number), active_frames(self.sounds[number].power)
        for i in range(len(self.sounds)):
            if i != number:
                frames &= self._level(i) < own
        return frames

    def _level(self, number: int) -> Power:
        """Return the power of a channel re its loud frames: microphones have different gains."""
        level = smoothed(self.sounds[number].power)
        heard = level[level > 0]
        return level / np.float32(np.quantile(heard, LOUD_SHARE)) if len(heard) else level

    def muted(self) -> tuple[list[Frames | None], float | None]:
        """Return where channels hold others only, and the crosstalk between both sides.

        Raises Unusable where there is too much.
        """
        masks: list[Frames | None] = []
        levels: list[float] = []
        for number, sound in enumerate(self.sounds):
            near, silent = self.near(number), frames_of((), self.n_frames)
            for i, other in enumerate(self.sounds):
                if i == number or other.sound == sound.sound:  # two people at one microphone
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


def told_spans(person: DescribedSide, said: MendedWords, duration_s: float) -> Sequence[TimeSpan]:
    """Return when the corpus says that a person speaks: by words, else by its spans of activity."""
    return times_of_words(said.words) or inside(person.activity, duration_s)


def inside(spans: Sequence[TimeSpan], duration_s: float) -> tuple[TimeSpan, ...]:
    """Return spans in order, inside the recording."""
    limited = [(max(a, 0.0), min(b, duration_s)) for a, b in spans]
    return tuple(sorted((round(a, 4), round(b, 4)) for a, b in limited if a < b))
