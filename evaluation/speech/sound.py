"""Comparison of each spoken word with recordings of the agent's voice.

The agent has one voice, so a word that it says well is nearest, in log-mel, to the recording of
that word. This is no recogniser: it tells words of the set apart, nothing more.
W templates, F frames (80 per second), B bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.model.streams import StreamLayout, fine_mel

_BANDS_POOLED: Final = 4
_FLOOR: Final = np.float32(-3.0)  # log10 magnitude; below this a band is silence
_SHIFTS: Final = range(-4, 9)  # frames by which a word may sit off its template
_REACH_S: Final = 0.8  # a word sounds at most this long after its token
_APART_S: Final = 0.45  # words closer than this run together: the end of one is unknown


@dataclass(frozen=True, kw_only=True)
class WordSounds:
    """A template of every word that the agent may say."""

    texts: tuple[str, ...]
    templates: NDArray[np.float32]  # (W, F, B), silence after the end of a word
    lengths: NDArray[np.int64]  # (W,)
    layout: StreamLayout
    activity: ActivityConfig

    @classmethod
    def of(
        cls, dialogues: Iterable[HeldOutDialogue], layout: StreamLayout, activity: ActivityConfig
    ) -> WordSounds:
        """Take the longest recording of every word, which was not cut off."""
        longest: dict[str, NDArray[np.float32]] = {}
        for held_out in dialogues:
            words = held_out.dialogue.agent_words
            if not words:
                continue
            frames, speech = _analyse(held_out.load_agent(), layout, activity)
            for word, part in zip(words, _parts(words, frames, speech, layout), strict=True):
                last = _frame(word.end_s - word.start_s, layout)
                if (
                    part is not None
                    and word.is_known
                    and len(part[:last]) > len(longest.get(word.text, ()))
                ):
                    longest[word.text] = part[:last]
        texts = tuple(sorted(longest))
        n_frames = max((len(longest[text]) for text in texts), default=0)
        templates = [_padded(longest[text], n_frames) for text in texts]
        return cls(
            texts=texts,
            templates=np.array(templates, np.float32),
            lengths=np.array([len(longest[text]) for text in texts], np.int64),
            layout=layout,
            activity=activity,
        )

    def nearest(
        self, audio: NDArray[np.float32], words: Sequence[SpokenWord]
    ) -> tuple[str | None, ...]:
        """Return the most similar word for each spoken one; None where that is undecided."""
        if not self.texts:
            return (None,) * len(words)
        frames, speech = _analyse(audio, self.layout, self.activity)
        parts = _parts(words, frames, speech, self.layout)
        return tuple(
            None if part is None or word.text not in self.texts else self._nearest(part)
            for word, part in zip(words, parts, strict=True)
        )

    def _nearest(self, part: NDArray[np.float32]) -> str:
        n = self.templates.shape[1]
        part = part[:n]
        reach = np.maximum(self.lengths, len(part))  # beyond it both are silent
        best = np.full(len(self.texts), np.inf, np.float32)
        for shift in _SHIFTS:
            moved = part[shift:] if shift >= 0 else np.pad(part, ((-shift, 0), (0, 0)), mode="edge")
            differences = np.abs(self.templates - _padded(moved[:n], n)).mean(axis=2)  # (W, F)
            best = np.minimum(best, differences.sum(axis=1) / reach)
        return self.texts[int(best.argmin())]


def _analyse(
    audio: NDArray[np.float32], layout: StreamLayout, activity: ActivityConfig
) -> tuple[NDArray[np.float32], Activity]:
    """Pooled log-mel frames of a whole channel, (F, B), and when it speaks."""
    mel = fine_mel(audio, layout)
    frames = mel.reshape(-1, mel.shape[-1] // _BANDS_POOLED, _BANDS_POOLED).mean(axis=-1)
    return np.maximum(frames, _FLOOR), Activity.of(audio, layout.sample_rate, activity)


def _parts(
    words: Sequence[SpokenWord],
    frames: NDArray[np.float32],
    speech: Activity,
    layout: StreamLayout,
) -> list[NDArray[np.float32] | None]:
    """Frames of each word from its onset until the next word or the end of its sound.

    None for a word without sound, or one that runs together with its neighbour.
    """
    starts = [-_APART_S, *(word.start_s for word in words), speech.duration_s + _APART_S]
    utterances = speech.utterances
    parts: list[NDArray[np.float32] | None] = []
    for before_s, start_s, next_s in zip(starts, starts[1:], starts[2:], strict=False):
        onset_s = speech.onset_in(start_s, min(start_s + _REACH_S, next_s))
        if onset_s is None or min(start_s - before_s, next_s - start_s) < _APART_S:
            parts.append(None)
            continue
        end_s = min(next_s, *(end for _, end in utterances if end > onset_s))
        parts.append(frames[_frame(onset_s, layout) : _frame(end_s, layout) + 1])
    return parts


def _frame(time_s: float, layout: StreamLayout) -> int:
    per_second = (
        layout.fine_frames_per_micro_turn * layout.sample_rate / layout.samples_per_micro_turn
    )
    return round(time_s * per_second)


def _padded(part: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return np.pad(part, ((0, n - len(part)), (0, 0)), constant_values=_FLOOR)
