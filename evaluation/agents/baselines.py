"""Agents without a model: the ends of every scale.

`oracle` plays what was recorded for the dialogue, `silent` never speaks, and `always` loops a
recorded utterance without a gap. A metric on which `silent` or `always` does well says little.
`half_duplex` (half_duplex.py) takes turns: what it loses is the worth of full duplex. `endpointing`
(endpointing.py) takes turns without being told where they end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.config import SILENCE_MS, ActivityConfig
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples

BASELINES: Final[tuple[str, ...]] = ("silent", "always", "endpointing", "half_duplex", "oracle")


class Agent(Protocol):
    """A player of the agent's part; dialogues of one call must not influence each other."""

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]: ...


class Silent:
    """Never says a word."""

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            n = round(held_out.dialogue.duration_s * held_out.sample_rate)
            yield AgentOutput(audio=np.zeros(n, np.float32), sample_rate=held_out.sample_rate)


class Oracle:
    """The recorded agent: right, on time, with a perfect transcript."""

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            dialogue = held_out.dialogue
            yield AgentOutput(
                audio=held_out.load_agent(),
                sample_rate=held_out.sample_rate,
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
    def from_dialogues(cls, dialogues: Samples, config: ActivityConfig) -> AlwaysTalking:
        """Cut the loop from the first dialogue in which the agent speaks, or make bursts of noise.

        Raises ValueError for a set without dialogues.
        """
        rate = 0
        for held_out in dialogues():
            rate = held_out.sample_rate
            audio = held_out.load_agent()
            activity = Activity.of(audio, held_out.sample_rate, config)
            if activity.runs:
                return cls._of_longest_utterance(held_out, audio, activity)
        if not rate:
            raise ValueError("baseline always: there are no dialogues in this set")
        n = round(_BURST_S * rate)
        burst = 0.1 * np.random.default_rng(0).standard_normal(n).astype(np.float32)
        return cls(loop=burst, words=(SpokenWord(text="oh", start_s=0.0, end_s=_BURST_S),))

    @classmethod
    def _of_longest_utterance(
        cls, held_out: HeldOutDialogue, audio: NDArray[np.float32], activity: Activity
    ) -> AlwaysTalking:
        """Cut the gaps between the words out of the longest utterance."""
        start, end = max(activity.utterances, key=lambda span: span[1] - span[0])
        pieces, words, length_s = [], [], 0.0
        for run_start, run_end in activity.runs:
            if not start <= run_start < end:
                continue
            first, last = (round(t * held_out.sample_rate) for t in (run_start, run_end))
            pieces.append(audio[first:last])
            words += [
                SpokenWord(
                    text=word.text,
                    start_s=max(word.start_s - run_start, 0.0) + length_s,
                    end_s=word.end_s - run_start + length_s,
                )
                for word in held_out.dialogue.agent_words
                if run_start - _BEFORE_SOUND_S <= word.start_s < run_end
            ]
            length_s += len(pieces[-1]) / held_out.sample_rate
        return cls(loop=np.concatenate(pieces), words=tuple(words))

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            n = round(held_out.dialogue.duration_s * held_out.sample_rate)
            rounds = -(-n // len(self.loop))
            round_s = len(self.loop) / held_out.sample_rate
            yield AgentOutput(
                audio=np.tile(self.loop, rounds)[:n],
                sample_rate=held_out.sample_rate,
                words=tuple(
                    SpokenWord(
                        text=word.text,
                        start_s=word.start_s + i * round_s,
                        end_s=word.end_s + i * round_s,
                    )
                    for i in range(rounds)
                    for word in self.words
                    if word.start_s + i * round_s < held_out.dialogue.duration_s
                ),
            )


_BURST_S = 0.4
# A recorded word may begin a little before its energy does.
_BEFORE_SOUND_S = 0.1


def baseline(
    name: str, dialogues: Samples, *, config: ActivityConfig, silence_ms: int = SILENCE_MS
) -> Agent:
    """Return the baseline of that name; raises ValueError for an unknown one.

    So much silence ends a turn to those that wait for it.
    """
    if name == "silent":
        return Silent()
    if name == "oracle":
        return Oracle()
    if name == "always":
        return AlwaysTalking.from_dialogues(dialogues, config)
    if name == "half_duplex":
        from microturn.evaluation.agents.half_duplex import HalfDuplex

        return HalfDuplex(voice=RecordedWords.of(dialogues), silence_s=silence_ms / 1000)
    if name == "endpointing":
        from microturn.evaluation.agents.endpointing import Endpointing, longest_answer

        voice = RecordedWords.of(dialogues)
        line = longest_answer(dialogues, voice)
        return Endpointing(voice=voice, line=line, silence_s=silence_ms / 1000)
    raise ValueError(f"baseline={name!r} is not one of {', '.join(BASELINES)}")
