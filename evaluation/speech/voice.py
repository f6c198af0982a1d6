"""What an agent's sound says, judged by the recordings of its voice.

The agent of a set has one voice and few words. Each recording of a word is a template, taken from
what the recorded agent says in the set; `spotting.py` finds them in any sound. Sound that is none
of them is speech all the same, without a word. A word that an agent wrote may have been broken
off: then its sound is compared with the beginning of the word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity, Span, merge, subtract
from microturn.evaluation.scoring.agent_output import AgentOutput, HeardWord, SpokenWord
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.speech.spotting import NULL_DISTANCE, Frames, Spotter, beginning
from microturn.model.streams import StreamLayout, fine_mel
from microturn.model.streams.mel import LOG_MIN

_LAYOUT: Final = StreamLayout()  # of the analysis; any recording is brought to its rate
_BANDS_POOLED: Final = 4
_FRAMES_POOLED: Final = 2
_FRAME_S: Final = _LAYOUT.micro_turn_s * _FRAMES_POOLED / _LAYOUT.fine_frames_per_micro_turn
_RANGE: Final = np.float32(2.25)  # log10 magnitude below the loud frames; less is silence
_LOUD_PERCENTILE: Final = 90.0
_MARGIN_S: Final = 0.1  # around an utterance
_TAIL_S: Final = 0.05  # of the analysis window after a word, where no other word follows
_DIALOGUES: Final = 256  # more than enough to hear every word of the agent
_MAX_TAKES: Final = 16  # recordings of one word
_SAME_S: Final = 0.02  # takes of one length are one recording
CLEAR_DISTANCE: Final = 0.18  # up to which a word needs no text that says the same
_FAVOUR: Final = 0.04  # log10 magnitude by which a written word may be farther than another
_MIN_SPEECH_S: Final = 0.12  # less that no word explains is its edge, or a click
_MIN_BEGINNING_S: Final = 0.05  # of a word that was broken off
_EDGE_S: Final = 0.08  # by which a word may sound beyond its recording
_WRITTEN_BEFORE_S, _WRITTEN_AFTER_S = 0.8, 0.15  # a token comes so long before its sound, or after


@dataclass(frozen=True, kw_only=True)
class AgentVoice:
    """Recordings of the words of one voice."""

    texts: tuple[str, ...]  # of each recording
    recordings: tuple[Frames, ...]
    activity: ActivityConfig

    @classmethod
    def of(
        cls,
        dialogues: Iterable[HeldOutDialogue],
        activity: ActivityConfig,
        *,
        needed: Collection[str] | None = None,
    ) -> AgentVoice:
        """Take every recording of a word.

        With `needed`, only until each of these words was said, of long sets.
        """
        takes: dict[tuple[str, int], Frames] = {}
        broken: dict[str, Frames] = {}  # the longest beginning of words that are never whole
        for number, held_out in enumerate(dialogues):
            known = {text for text, _ in takes}
            if needed is not None and number >= _DIALOGUES and known.issuperset(needed):
                break
            _collect(held_out, takes, broken)
        found = [(text, frames) for (text, _), frames in takes.items()]
        whole = {text for text, _ in found}
        found += [(text, frames) for text, frames in broken.items() if text not in whole]
        found.sort(key=lambda take: (take[0], len(take[1])))
        return cls(
            texts=tuple(text for text, _ in found),
            recordings=tuple(frames for _, frames in found),
            activity=activity,
        )

    def listen(self, output: AgentOutput) -> tuple[HeardWord, ...]:
        """Return the words of the sound in order, and speech that is none of them."""
        activity = Activity.of(output.audio, output.sample_rate, self.activity)
        if not activity.utterances:
            return ()
        frames = _frames_of(output.audio, output.sample_rate)
        favour = self._favour(len(frames), output.words)
        words = [
            word for span in activity.utterances for word in self._words_in(frames, favour, span)
        ]
        said = [(word.start_s - _EDGE_S, word.end_s + _EDGE_S) for word in words]
        for span in merge(subtract(activity.runs, said), activity.utterance_gap_s):
            broken = self._broken_off(frames, span, activity, output.words)
            if broken is not None:
                words.append(broken)
            elif activity.seconds_in(*span) >= _MIN_SPEECH_S:
                words.append(HeardWord(text="", start_s=span[0], end_s=span[1]))
        return tuple(sorted(words, key=lambda word: word.start_s))

    def recognise(self, output: AgentOutput) -> tuple[SpokenWord, ...]:
        """Return the words that the sound tells by itself, whatever was written."""
        return tuple(
            SpokenWord(text=word.text, start_s=word.start_s, end_s=word.end_s)
            for word in self.listen(replace(output, words=()))
            if word.text and word.distance <= CLEAR_DISTANCE
        )

    @cached_property
    def _spotter(self) -> Spotter:
        return Spotter(self.recordings)

    def _favour(self, n_frames: int, written: Sequence[SpokenWord]) -> Frames:
        """Give each written word a head start where it may begin: text decides a close run."""
        favour = np.zeros((n_frames, len(self.texts)), np.float32)
        for word in written:
            for number in self._numbers.get(word.text, ()):
                first = max(_frame(word.start_s - _WRITTEN_AFTER_S), 0)
                end = _frame(word.start_s + _WRITTEN_BEFORE_S)
                favour[first:end, number] = _FAVOUR * len(self.recordings[number])
        return favour

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for number, text in enumerate(self.texts):
            numbers.setdefault(text, []).append(number)
        return numbers

    def _words_in(self, frames: Frames, favour: Frames, span: Span) -> Iterator[HeardWord]:
        first = _frame(max(span[0] - _MARGIN_S, 0.0))
        end = _frame(span[1] + _MARGIN_S)
        for found in self._spotter.spot(frames[first:end], favour[first:end]):
            yield HeardWord(
                text=self.texts[found.number],
                start_s=(first + found.first) * _FRAME_S,
                end_s=(first + found.end) * _FRAME_S,
                distance=found.distance,
            )

    def _broken_off(
        self, frames: Frames, span: Span, activity: Activity, written: Sequence[SpokenWord]
    ) -> HeardWord | None:
        """Return the written word that the last sound of an utterance begins to say."""
        ends = any(abs(span[1] - end) < _EDGE_S for _, end in activity.utterances)
        if not ends or span[1] - span[0] < _MIN_BEGINNING_S:
            return None
        part = frames[_frame(span[0]) : _frame(span[1]) + 1]
        texts = {
            word.text
            for word in written
            if -_WRITTEN_AFTER_S <= span[0] - word.start_s <= _WRITTEN_BEFORE_S
        }
        best, word = NULL_DISTANCE, None
        for text, recording in zip(self.texts, self.recordings, strict=True):
            if text in texts:
                distance, share = beginning(part, recording)
                if distance < best:
                    best = distance
                    word = HeardWord(
                        text=text,
                        start_s=span[0],
                        end_s=span[1],
                        distance=distance,
                        share=share,
                    )
        return word


def words_needed(dialogues: Iterable[Dialogue]) -> set[str]:
    """Return the words that the recorded agent says or that are expected of an agent."""
    needed: set[str] = set()
    for dialogue in dialogues:
        needed |= {word.text for word in dialogue.agent_words}
        needed |= {text for event in dialogue.events for text in event.expected}
    return needed


def _collect(
    held_out: HeldOutDialogue,
    takes: dict[tuple[str, int], Frames],
    broken: dict[str, Frames],
) -> None:
    """Add the words of a dialogue that are not known yet."""
    words = held_out.dialogue.agent_words
    whole = _whole(held_out.dialogue)
    new = [
        (word, after_s)
        for word, after_s in zip(words, _silence_after(words), strict=True)
        if _is_new(word, whole, takes, broken)
    ]
    if not new:
        return
    frames = _frames_of(held_out.load_agent(), held_out.sample_rate)
    for word, after_s in new:
        end_s = word.end_s + min(after_s, _TAIL_S)
        part = frames[_frame(word.start_s) : _frame(end_s)]
        if len(part) < 2:
            continue
        if word in whole:
            takes.setdefault(_take(word), part)
        elif len(part) > len(broken.get(word.text, ())):
            broken[word.text] = part


def _is_new(
    word: SpokenWord,
    whole: Collection[SpokenWord],
    takes: dict[tuple[str, int], Frames],
    broken: dict[str, Frames],
) -> bool:
    if not word.is_known or word not in whole:
        return word.is_known
    n_takes = sum(text == word.text for text, _ in takes)
    return _take(word) not in takes and n_takes < _MAX_TAKES


def _take(word: SpokenWord) -> tuple[str, int]:
    return word.text, round((word.end_s - word.start_s) / _SAME_S)


def _whole(dialogue: Dialogue) -> list[SpokenWord]:
    """Words of the recorded agent that were said to their end."""
    meant = {(word.text, round(word.start_s, 2)): word.end_s for word in dialogue.intended_words}
    return [
        word
        for word in dialogue.agent_words
        if word.end_s >= meant.get((word.text, round(word.start_s, 2)), word.end_s) - _SAME_S
    ]


def _silence_after(words: Sequence[SpokenWord]) -> list[float]:
    starts = [*(word.start_s for word in words[1:]), float("inf")]
    return [max(start - word.end_s, 0.0) for word, start in zip(words, starts, strict=False)]


def _frames_of(audio: NDArray[np.float32], sample_rate: int) -> Frames:
    """Pooled log-mel frames below the level of the channel's loud frames; frame k begins at k."""
    if sample_rate != _LAYOUT.sample_rate:
        from scipy.signal import resample_poly

        audio = resample_poly(audio, _LAYOUT.sample_rate, sample_rate).astype(np.float32)
    missing = -len(audio) % _LAYOUT.samples_per_micro_turn
    mel = fine_mel(np.pad(audio, (0, missing)), _LAYOUT)
    frames = mel.reshape(-1, mel.shape[-1] // _BANDS_POOLED, _BANDS_POOLED).mean(axis=-1)
    # The window of a frame reaches back: as it stands, its middle is one frame early.
    frames = np.concatenate([frames[1:], frames[-1:]])
    pooled = frames.reshape(-1, _FRAMES_POOLED, frames.shape[-1]).mean(axis=1)
    loudest = pooled.max(axis=1)
    audible = loudest[loudest > loudest.max(initial=LOG_MIN) - _RANGE]
    level = np.percentile(audible, _LOUD_PERCENTILE) if len(audible) else 0.0
    below: Frames = np.maximum(pooled - level, -_RANGE).astype(np.float32)
    return below


def _frame(time_s: float) -> int:
    return round(time_s / _FRAME_S)
