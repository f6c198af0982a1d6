"""The sound of recordings in a variant: trimmed to where it sounds, levelled, faded."""

from __future__ import annotations

from functools import cached_property, lru_cache

from microturn.configs.paths import cache_folder
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.corpora.waveform import perturb, quietest_near
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.labels.voice_names import resampling_of, transform_of
from microturn.datagen.voices.analyses import VoiceAnalyses
from microturn.datagen.voices.world import resynthesise
from microturn.model.streams.levels import AGENT_FADE_S, energy_edges, fade, level_gain
from microturn.model.streams.pcm import Audio

USER_FADE_S = 0.015  # of all others, also cut out of connected speech: an edge tells nothing


class Takes:
    """Makes the sound of recordings of a corpus."""

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        self._corpus = corpus
        self._voices = config.voices
        self._rate = config.layout.sample_rate
        self._cache = config.cache

    def whole(self, utterance: Utterance, variant: str, *, as_agent: bool) -> tuple[Audio, int]:
        """Return a recording, and the number of samples that were cut before its sound."""
        return self._levelled(self._varied(utterance, 0, None, variant), as_agent=as_agent)

    def words(
        self, utterance: Utterance, first: int, last: int, variant: str, *, as_agent: bool
    ) -> tuple[Audio, int, int]:
        """Return words of a recording, the last included, cut where there is little sound.

        Also the sample of the recording at which they were cut, and the number of samples that
        were cut before their sound then.
        """
        audio = self._corpus.load(utterance)
        begins = utterance.cut(first) or utterance.words[first]
        ends = utterance.cut(last) or utterance.words[last]
        edges = [round(edge_s * self._rate) for edge_s in (begins.start_s, ends.end_s)]
        start, end = (quietest_near(audio, edge, rate=self._rate) for edge in edges)
        if end - start < (edges[1] - edges[0]) / 2:  # both moved into one dip of a short word
            start, end = edges
        levelled = self._levelled(self._varied(utterance, start, end, variant), as_agent=as_agent)
        return levelled[0], start, levelled[1]

    def _levelled(self, audio: Audio, *, as_agent: bool) -> tuple[Audio, int]:
        first, last = energy_edges(audio, self._rate, threshold_db=self._voices.trim_db)
        trimmed = audio[first:last].copy()
        level = self._voices.agent_level_db if as_agent else self._voices.user_level_db
        trimmed *= level_gain(trimmed, level)
        fade(trimmed, round((AGENT_FADE_S if as_agent else USER_FADE_S) * self._rate))
        trimmed.setflags(write=False)
        return trimmed, first

    def _varied(self, utterance: Utterance, start: int, end: int | None, variant: str) -> Audio:
        whole = self._corpus.load(utterance)
        transform = transform_of(variant)
        if transform is not None:
            analysis = self._analyses.of(whole, self._rate)
            return resynthesise(analysis, transform, start_sample=start, end_sample=end)
        audio = whole[start:end]
        if not variant:
            return audio
        return perturb(audio, resampling_of(variant), tilt=_tilt(variant, self._voices.tilt))

    @cached_property
    def _analyses(self) -> VoiceAnalyses:
        method = self._voices.transform.pitch_method
        return VoiceAnalyses(cache_folder(self._cache), pitch_method=method)


@lru_cache
def _tilt(variant: str, largest: float) -> float:
    """Every speed has its own colour, always the same."""
    factor = variant.removeprefix("@")
    return float(rng_for(0, 0, f"tilt/{factor}").uniform(-largest, largest))
