"""Agents that need no model: what the scores look like at their ends.

`oracle` plays what was recorded for the dialogue, `silent` never speaks, and `always` loops a
recorded utterance without a gap. A score on which `silent` or `always` does well says little.
`half_duplex` (half_duplex.py) takes turns: what it loses, full duplex is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples

BASELINES: Final[tuple[str, ...]] = ("silent", "always", "half_duplex", "oracle")


class Agent(Protocol):
    """Whoever plays the agent's part; dialogues given together must not influence each other."""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]: ...


class Silent:
    """Never says a word."""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for sample in samples:
            n = round(sample.dialogue.duration_s * sample.sample_rate)
            yield AgentOutput(audio=np.zeros(n, np.float32), sample_rate=sample.sample_rate)


class Oracle:
    """The recorded agent: answers right, on time, and hears everything."""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for sample in samples:
            dialogue = sample.dialogue
            yield AgentOutput(
                audio=sample.load_agent(),
                sample_rate=sample.sample_rate,
                words=dialogue.agent_words,
                delegates_s=dialogue.delegates_s,
                deliveries=tuple(
                    Delivery(time_s=m.time_s, scripted_s=m.time_s, text=m.text)
                    for m in dialogue.messages
                    if m.is_result
                ),
                heard=dialogue.user_words,
            )


@dataclass(frozen=True, kw_only=True)
class AlwaysTalking:
    """Says one recorded utterance over and over."""

    loop: NDArray[np.float32]
    words: tuple[SpokenWord, ...]  # of one round

    @classmethod
    def from_samples(cls, samples: Samples, config: ActivityConfig) -> AlwaysTalking:
        """Cut the loop from the first dialogue in which the agent speaks, or make bursts of noise.

        Raises ValueError for a set without dialogues.
        """
        rate = 0
        for sample in samples():
            rate = sample.sample_rate
            audio = sample.load_agent()
            activity = Activity.of(audio, sample.sample_rate, config)
            if activity.runs:
                return cls._of_longest_utterance(sample, audio, activity)
        if not rate:
            raise ValueError("baseline always: there are no dialogues in this set")
        n = round(_BURST_S * rate)
        burst = 0.1 * np.random.default_rng(0).standard_normal(n).astype(np.float32)
        return cls(loop=burst, words=(SpokenWord(text="oh", start_s=0.0, end_s=_BURST_S),))

    @classmethod
    def _of_longest_utterance(
        cls, sample: HeldOutDialogue, audio: NDArray[np.float32], activity: Activity
    ) -> AlwaysTalking:
        """The longest utterance with the gaps between its words cut out."""
        start, end = max(activity.utterances, key=lambda span: span[1] - span[0])
        pieces, words, length_s = [], [], 0.0
        for run_start, run_end in activity.runs:
            if not start <= run_start < end:
                continue
            first, last = (round(t * sample.sample_rate) for t in (run_start, run_end))
            pieces.append(audio[first:last])
            words += [
                SpokenWord(
                    text=word.text,
                    start_s=max(word.start_s - run_start, 0.0) + length_s,
                    end_s=word.end_s - run_start + length_s,
                )
                for word in sample.dialogue.agent_words
                if run_start - _BEFORE_SOUND_S <= word.start_s < run_end
            ]
            length_s += len(pieces[-1]) / sample.sample_rate
        return cls(loop=np.concatenate(pieces), words=tuple(words))

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for sample in samples:
            n = round(sample.dialogue.duration_s * sample.sample_rate)
            rounds = -(-n // len(self.loop))
            round_s = len(self.loop) / sample.sample_rate
            yield AgentOutput(
                audio=np.tile(self.loop, rounds)[:n],
                sample_rate=sample.sample_rate,
                words=tuple(
                    SpokenWord(
                        text=word.text,
                        start_s=word.start_s + i * round_s,
                        end_s=word.end_s + i * round_s,
                    )
                    for i in range(rounds)
                    for word in self.words
                    if word.start_s + i * round_s < sample.dialogue.duration_s
                ),
            )


_BURST_S = 0.4
# A recorded word may begin a little before its energy does.
_BEFORE_SOUND_S = 0.1


def baseline(name: str, samples: Samples, config: ActivityConfig) -> Agent:
    """The baseline of that name; raises ValueError for an unknown one."""
    if name == "silent":
        return Silent()
    if name == "oracle":
        return Oracle()
    if name == "always":
        return AlwaysTalking.from_samples(samples, config)
    if name == "half_duplex":
        from microturn.evaluation.agents.half_duplex import HalfDuplex, RecordedWords

        return HalfDuplex(RecordedWords.of(samples))
    raise ValueError(f"baseline={name!r} is not one of {', '.join(BASELINES)}")
