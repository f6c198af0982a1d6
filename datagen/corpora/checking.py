"""One recording at a time: decode it, see whether it can be used, find its words, encode it.

Runs in a worker. A recording that cannot be used comes back with the reason instead of an error.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from difflib import SequenceMatcher
from hashlib import sha256
from pathlib import Path

import numpy as np
import soundfile

from microturn.datagen.corpora.aligned_cache import CachedAligner
from microturn.datagen.corpora.alignment import UNSCORED, words_of
from microturn.datagen.corpora.cutting import RATE, cut_word, levels_db, voiced_span
from microturn.datagen.corpora.default_corpus.build import RIVALS, UNITS
from microturn.datagen.corpora.default_corpus.queen_selection import tags_of
from microturn.datagen.corpora.manifest import AlignedWord, Cut, Utterance, resample
from microturn.datagen.corpora.recordings import Decoded, FileSound, Recording, SoundError
from microturn.datagen.corpora.word_times import WordTimes, spoken
from microturn.model.streams import normalise
from microturn.model.streams.pcm import Audio

KEPT_AS_THEY_ARE = (".flac", ".mp3", ".ogg", ".opus")
NO_LICENCE = "LicenseRef-Unknown"
SILENT_DB = -55.0  # loudest 10 ms of a recording in which nobody speaks
MIN_LENGTH_S = 0.05
SHORT_LINE_WORDS, SHORT_LINE_DB = 2, 20.0  # the shorter a line, the less its score tells
SAME_WORDS = 0.8  # likeness of the words with times and those of the transcript
FASTEST = 40.0  # letters per second; people do not speak half as fast
LATE_S = 0.1  # times may lie this far behind the end of the sound


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the checks of all recordings share."""

    name: str
    prefixed: bool  # whether speakers get the corpus' name before theirs
    language: str
    licence: str
    alignments: str
    align: bool
    fit: float
    sample_rate: int
    longest_s: float
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A recording as it is stored, and where its word times come from."""

    utterance: Utterance
    data: bytes
    digest: str  # of the sound
    times: str  # corpus, aligned or none
    place: str


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A recording that cannot be used, and why."""

    id: str
    place: str
    kind: str
    reason: str


class Unusable(ValueError):
    """What is wrong with a recording: its kind and a reason in words."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Checker:
    """Checks recordings; loads the model of the aligner when the first one is aligned."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aligner = CachedAligner(settings.cache)
        self._times = WordTimes(settings.alignments)

    def check(self, recording: Recording) -> Kept | Skipped:
        try:
            return self._kept(recording)
        except Unusable as error:
            kind, reason = error.kind, str(error)
        except SoundError as error:
            kind, reason = "unreadable", str(error)
        place = recording.sound.place
        return Skipped(id=recording.id, place=place, kind=kind, reason=reason)

    def _kept(self, recording: Recording) -> Kept:
        if recording.problem:
            raise Unusable("entry", recording.problem)
        language = (recording.language or self._settings.language).lower()
        text = recording.text.strip()
        text = text.lower() if text.isupper() else text  # a transcript, not shouting
        if not words_of(text):
            raise Unusable("no_text", "it has no transcript")
        decoded = recording.sound.decode()
        audio = self._sounding(decoded)
        start, end = voiced_span(audio)
        if len(normalise(text)) > FASTEST * (end - start):
            seconds = f"{end - start:.1f} s"
            raise Unusable("mislabelled", f"its text does not fit into {seconds} of sound")
        words, scores, times = self._words(recording, audio, text, language)
        data, suffix, rate = self._stored(decoded)
        name, speaker = self._settings.name, recording.speaker
        if speaker and self._settings.prefixed:
            speaker = f"{name}-{speaker}"
        utterance = Utterance(
            id=f"{name}/{recording.id}",
            source=name,
            speaker=speaker,
            language=language,
            text=text,
            key=recording.key,
            words=words,
            cuts=self._cuts(audio, words, scores, language, times),
            duration=round(len(audio) / RATE, 4),
            start=start,
            end=end,
            sample_rate=rate,
            tar="",
            member=suffix,
            offset=0,
            size=len(data),
            licence=recording.licence or self._settings.licence or NO_LICENCE,
            tags=recording.tags or _tags(text, language),
            split=recording.split,
        )
        digest = sha256(decoded.audio.tobytes()).hexdigest()
        return Kept(
            utterance=utterance,
            data=data,
            digest=digest,
            times=times,
            place=recording.sound.place,
        )

    def _sounding(self, decoded: Decoded) -> Audio:
        """The sound at 16 kHz, if there is any."""
        seconds = len(decoded.audio) / decoded.rate
        if seconds < MIN_LENGTH_S:
            raise Unusable("empty", f"it has {len(decoded.audio)} samples")
        if seconds > self._settings.longest_s:
            limit = f"longest_s={self._settings.longest_s:g}"
            raise Unusable("too_long", f"it lasts {seconds:.1f} s, above {limit}")
        if not np.isfinite(decoded.audio).all():
            raise Unusable("unreadable", "it has samples that are no numbers")
        audio = resample(decoded.audio, decoded.rate, RATE)
        if levels_db(audio).max() < SILENT_DB:
            raise Unusable("silent", "it is silent")
        return audio

    def _words(
        self, recording: Recording, audio: Audio, text: str, language: str
    ) -> tuple[tuple[AlignedWord, ...], tuple[float, ...], str]:
        """Words, their scores, and who says so: the corpus, the aligner, or nobody."""
        given = spoken(recording.words or self._given(recording))
        if given:
            words = _checked_times(given, len(audio) / RATE, text)
            return words, (0.0,) * len(words), "corpus"
        alignable = language.startswith("en") and not any(sign.isdigit() for sign in text)
        if not (self._settings.align and alignable):
            start, end = voiced_span(audio)
            return (AlignedWord(text=normalise(text), start=start, end=end),), (0.0,), "none"
        aligned = self._aligner.align(audio, RATE, text)
        if aligned is None:
            raise Unusable("mislabelled", "its text was not found in its sound")
        fit = self._settings.fit
        fit -= SHORT_LINE_DB if len(aligned.words) <= SHORT_LINE_WORDS else 0.0
        if aligned.mean != UNSCORED and aligned.mean < fit:
            score = f"score {aligned.mean:.0f}, below {fit:.0f}"
            raise Unusable("mislabelled", f"its sound does not fit its text ({score})")
        return aligned.words, aligned.scores, "aligned"

    def _given(self, recording: Recording) -> tuple[AlignedWord, ...]:
        sound = recording.sound
        beside = None  # what lies beside a long file is not about a part of it
        if isinstance(sound, FileSound) and sound.end is None and not sound.start:
            beside = sound.path
        try:
            return self._times.find(recording.id, beside)
        except ValueError as error:
            raise Unusable("bad_times", str(error)) from error

    def _cuts(
        self,
        audio: Audio,
        words: tuple[AlignedWord, ...],
        scores: tuple[float, ...],
        language: str,
        times: str,
    ) -> tuple[Cut, ...]:
        """Cuts of the words of interest; one that an aligner found has to beat its rivals too."""
        if times == "none":
            return ()
        cuts = []
        for index, (word, score) in enumerate(zip(words, scores, strict=True)):
            if len(words) > 1 and word.text not in UNITS:
                continue
            cut = cut_word(audio, words, index, score)
            if cut.quality != "poor" and len(words) > 1 and times == "aligned":
                alone = audio[round(cut.start * RATE) : round(cut.end * RATE)]
                if not self._aligner.prefers(alone, RATE, word.text, RIVALS):
                    cut = Cut(**{**vars(cut), "quality": "poor"})
            cuts.append(cut)
        return tuple(cuts)

    def _stored(self, decoded: Decoded) -> tuple[bytes, str, int]:
        """The bytes to keep: those of the file where they are small, else FLAC."""
        highest = self._settings.sample_rate or decoded.rate
        if decoded.data and decoded.suffix in KEPT_AS_THEY_ARE and decoded.rate <= highest:
            return decoded.data, decoded.suffix, decoded.rate
        rate = min(decoded.rate, highest)
        out = io.BytesIO()
        soundfile.write(
            out,
            np.clip(resample(decoded.audio, decoded.rate, rate), -1.0, 1.0),
            rate,
            format="FLAC",
            subtype="PCM_16",
        )
        return out.getvalue(), ".flac", rate


def _checked_times(
    words: tuple[AlignedWord, ...], duration: float, text: str
) -> tuple[AlignedWord, ...]:
    """Words with times that are inside the recording and in order, and say its text."""
    for before, word in zip((None, *words), words, strict=False):
        early = before is not None and word.start < before.start
        if early or not 0 <= word.start < word.end <= duration + LATE_S:
            raise Unusable(
                "bad_times",
                f"its word {word.text!r} at {word.start:g} to {word.end:g} s is out of order or "
                f"outside its {duration:.2f} s",
            )
    said, written = [word.text for word in words], words_of(text)
    if said != written and SequenceMatcher(None, said, written).ratio() < SAME_WORDS:
        heard = " ".join(said[:6])
        raise Unusable("mislabelled", f"its words with times ({heard!r}...) are not its text")
    return tuple(
        AlignedWord(text=w.text, start=w.start, end=min(w.end, duration))
        for w in words
        if w.start < duration
    )


def _tags(text: str, language: str) -> frozenset[str]:
    """What it is good for, judged by its text; only English texts are judged."""
    kinds = tags_of(text) - {"dialogue"} if language.startswith("en") else frozenset[str]()
    return kinds | {"speech"}
