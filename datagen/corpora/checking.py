"""Checks one recording at a time: decodes it, validates it, finds its word times, encodes it.

Runs in a worker. An unusable recording is returned with the reason instead of raising an error.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import soundfile

from microturn.datagen.corpora.alignment.aligner import UNSCORED
from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.alignment.length import fault_of_length, fault_of_words
from microturn.datagen.corpora.alignment.matching import (
    StatedWord,
    found_share,
    match_words,
    stated_words,
    unknown_line,
    words_of,
)
from microturn.datagen.corpora.cut_selection import cuts_of
from microturn.datagen.corpora.cutting import RATE, levels_db, voiced_span
from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.corpora.pronunciations import without_marks
from microturn.datagen.corpora.recordings import Decoded, FileSound, Recording, escape
from microturn.datagen.corpora.tags import tags_of
from microturn.datagen.corpora.utterance import STATED, UNKNOWN_LICENCE, AlignedWord, Cut, Utterance
from microturn.datagen.corpora.word_times import words_beside, words_of_file
from microturn.datagen.labels.time_classes import ALIGNED
from microturn.model.streams.pcm import Audio
from microturn.model.streams.sound_file import SoundError, SoundTooLong, decoding

NO_LICENCE = "LicenseRef-Unknown"
SILENT_DB = -55.0  # level of the loudest 10 ms of a recording without speech
MIN_LENGTH_S = 0.05
SHORT_LINE_WORDS, SHORT_LINE_MARGIN = 2, 20.0  # scores of short lines are less reliable
MIN_FOUND = 0.8  # share of the words with times that stand in the transcript
TOLERANCE_S = 0.1  # by which times may exceed the end of the audio


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """The settings shared by the checks of all recordings."""

    name: str
    prefixed: bool  # whether speakers get the corpus' name as a prefix
    language: str
    licence: str
    licence_from: str
    align: bool
    fit: float
    sample_rate: int
    longest_s: float
    cache: Path

    def origin_of(self, licence: str) -> str:
        """Return how the licence is known that holds where a corpus states this one."""
        if licence:
            return STATED
        return self.licence_from if self.licence else UNKNOWN_LICENCE


@dataclass(frozen=True, kw_only=True)
class AcceptedRecording:
    """A recording as it is stored."""

    utterance: Utterance
    data: bytes
    digest: str  # of the audio
    place: str
    mended: tuple[str, ...] = ()  # faults of its file


@dataclass(frozen=True, kw_only=True)
class SkippedRecording:
    """A recording that cannot be used, and the reason."""

    id: str
    place: str
    kind: str
    reason: str


class Unusable(ValueError):
    """The fault of a recording: its kind and a sentence."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Checker:
    """Checks recordings; loads the model of the aligner when the first one is aligned."""

    def __init__(self, settings: CheckSettings) -> None:
        self._settings = settings
        self._aligner = CachedAligner(settings.cache)

    def check(self, recording: Recording) -> AcceptedRecording | SkippedRecording:
        try:
            return self._accept(recording)
        except Unusable as error:
            kind, reason = error.kind, str(error)
        except SoundError as error:
            kind, reason = "unreadable", str(error)
        place = escape(recording.sound.place)
        return SkippedRecording(id=recording.id, place=place, kind=kind, reason=escape(reason))

    def _accept(self, recording: Recording) -> AcceptedRecording:
        if recording.problem:
            raise Unusable("entry", recording.problem)
        language = language_tag(recording.language) or language_tag(self._settings.language)
        text = unicodedata.normalize("NFC", recording.text.strip())
        text = text.lower() if text.isupper() else text  # some corpora are all upper case
        if not words_of(text):
            raise Unusable("no_text", "it has no transcript")
        decoded = self._decoded(recording)
        audio = self._audible(decoded)
        start_s, end_s = voiced_span(audio)
        if fault := fault_of_length(text, (start_s, end_s), levels_db(audio)):
            raise Unusable("mislabelled", fault)
        words, scores = self._words(recording, audio, text, language)
        if fault := fault_of_words(words, levels_db(audio)):
            raise Unusable("mislabelled", fault)
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
            cuts=self._cuts(audio, words, scores),
            duration_s=round(len(audio) / RATE, 4),
            start_s=start_s,
            end_s=end_s,
            sample_rate=rate,
            tar="",
            member=suffix,
            offset=0,
            size=len(data),
            licence=recording.licence or self._settings.licence or NO_LICENCE,
            licence_from=self._settings.origin_of(recording.licence),
            tags=recording.tags or _tags(text, language),
            split=recording.split,
        )
        digest = sha256(decoded.audio.tobytes()).hexdigest()
        return AcceptedRecording(
            utterance=utterance,
            data=data,
            digest=digest,
            place=escape(recording.sound.place),
            mended=decoded.mended,
        )

    def _decoded(self, recording: Recording) -> Decoded:
        longest_s = self._settings.longest_s
        try:
            with decoding():
                decoded = recording.sound.decode(longest_s=longest_s)
            seconds = len(decoded.audio) / decoded.rate
            if seconds > longest_s:
                raise SoundTooLong(f"it lasts {seconds:.1f} s")
            return decoded
        except SoundTooLong as error:
            raise Unusable("too_long", f"{error}, above longest_s={longest_s:g}") from error

    def _audible(self, decoded: Decoded) -> Audio:
        """Return the audio at 16 kHz; raises Unusable if it is silent."""
        if len(decoded.audio) / decoded.rate < MIN_LENGTH_S:
            raise Unusable("empty", f"it has {len(decoded.audio)} samples")
        if not np.isfinite(decoded.audio).all():
            raise Unusable("unreadable", "it has samples that are not finite")
        audio = resample(decoded.audio, decoded.rate, new_rate=RATE)
        if levels_db(audio).max() < SILENT_DB:
            raise Unusable("silent", "it is silent")
        return audio

    def _words(
        self, recording: Recording, audio: Audio, text: str, language: str
    ) -> tuple[tuple[AlignedWord, ...], tuple[float, ...]]:
        """Return words, their times as far as known, and their scores."""
        stated = self._stated(recording, text, duration_s=len(audio) / RATE)
        span_s, texts = voiced_span(audio), words_of(text)
        words = match_words(stated, texts, span_s=span_s, levels=levels_db(audio))
        alignable = language == "en" and all(map(is_in_latin_letters, texts))
        if words is None and not (self._settings.align and alignable):
            words = unknown_line(texts, *span_s)
        if words is not None:
            return words, (0.0,) * len(words)
        aligned = self._aligner.align(audio, RATE, text=text)
        if aligned is None:
            raise Unusable("mislabelled", "its text cannot be aligned with its sound")
        fit = self._settings.fit
        fit -= SHORT_LINE_MARGIN if len(aligned.words) <= SHORT_LINE_WORDS else 0.0
        if aligned.mean != UNSCORED and aligned.mean < fit:
            score = f"score {aligned.mean:.0f}, below {fit:.0f}"
            raise Unusable("mislabelled", f"its sound does not fit its text ({score})")
        return aligned.words, aligned.scores

    def _times_beside(self, recording: Recording) -> tuple[AlignedWord, ...]:
        """Read the words from the file that is given for a recording, or lies beside its sound."""
        sound, speaker = recording.sound, recording.speaker
        channel = sound.channel if isinstance(sound, FileSound) else None
        try:
            if recording.times is not None:
                return words_of_file(
                    recording.times, recording.id, speaker=speaker, channel=channel
                )
            # A file beside a long recording does not describe a part of it.
            if isinstance(sound, FileSound) and sound.end_s is None and not sound.start_s:
                return words_beside(sound.path, speaker=speaker, channel=channel)
        except ValueError as error:
            raise Unusable("bad_times", str(error)) from error
        return ()

    def _stated(self, recording: Recording, text: str, *, duration_s: float) -> list[StatedWord]:
        """Return the word times that the corpus states, checked against its text."""
        stated = stated_words(recording.words or self._times_beside(recording))
        _check_order(stated, duration_s)
        if found_share(stated, words_of(text)) < MIN_FOUND:
            first = " ".join(text for entry in stated[:6] for text in entry.texts)
            reason = f"its words with times ({first!r}...) are not its text"
            raise Unusable("mislabelled", reason)
        return [
            replace(entry, end_s=min(entry.end_s, duration_s))
            for entry in stated
            if entry.start_s < duration_s
        ]

    def _cuts(
        self, audio: Audio, words: tuple[AlignedWord, ...], scores: tuple[float, ...]
    ) -> tuple[Cut, ...]:
        """Cut the words of interest; the times of the aligner must also beat their rivals."""
        by_aligner = all(word.times == ALIGNED for word in words)
        return cuts_of(audio, words, scores=scores, chooser=self._aligner if by_aligner else None)

    def _stored(self, decoded: Decoded) -> tuple[bytes, str, int]:
        """Return the bytes to store: those of the file if it is compressed, else FLAC."""
        max_rate = self._settings.sample_rate or decoded.rate
        if decoded.data and decoded.rate <= max_rate:
            return decoded.data, decoded.suffix, decoded.rate
        rate = min(decoded.rate, max_rate)
        out = io.BytesIO()
        soundfile.write(
            out,
            np.clip(resample(decoded.audio, decoded.rate, new_rate=rate), -1.0, 1.0),
            rate,
            format="FLAC",
            subtype="PCM_16",
        )
        return out.getvalue(), ".flac", rate


def is_in_latin_letters(word: str) -> bool:
    """Tell whether a word has letters only, that the aligner can pronounce; figures have many."""
    return without_marks(word).isascii() and not any(sign.isdigit() for sign in word)


def _check_order(stated: Sequence[StatedWord], duration_s: float) -> None:
    """Check that word times are in order and inside the recording."""
    for before, word in zip((None, *stated), stated, strict=False):
        unordered = before is not None and word.start_s < before.start_s
        if unordered or not 0 <= word.start_s < word.end_s <= duration_s + TOLERANCE_S:
            raise Unusable(
                "bad_times",
                f"its word {' '.join(word.texts)!r} at {word.start_s:g} to {word.end_s:g} s is "
                f"out of order or outside its {duration_s:.2f} s",
            )


def _tags(text: str, language: str) -> frozenset[str]:
    """Tag a recording by its text; other languages than English get `speech` only."""
    kinds = tags_of(text) - {"dialogue"} if language == "en" else frozenset[str]()
    return kinds | {"speech"}
