"""The agent of a half-duplex voice assistant: waits for a pause, answers, is deaf while it talks.

It finds speech with Silero VAD on the microphone; a request ends after half a second of silence.
Its answers are the expected ones in the recorded voice, without time to think, so every loss comes
from taking turns: it answers into hesitations, cannot be interrupted, says nothing over the user or
at a time of its own, and misses all speech while it talks. It never answers where no answer is due,
which flatters it: `endpointing.py` is the agent that does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from microturn.evaluation.agents.performance import HEARD_S, Performance, RecordedWords
from microturn.evaluation.scoring.activity import Span, overlap
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord
from microturn.evaluation.scoring.answers import Answer
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.speech.endpointer import Endpointer, speech_frames


@dataclass(frozen=True, kw_only=True)
class HalfDuplex:
    """An end of silence, then the expected answer."""

    voice: RecordedWords
    silence_s: float

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            yield self._perform(held_out)

    def _perform(self, held_out: HeldOutDialogue) -> AgentOutput:
        played = Performance.of(held_out, self.voice)
        ear, deaf = Endpointer(silence_s=self.silence_s), list[Span]()
        for probability, now_s, frame_s in speech_frames(held_out):
            if now_s <= played.talks_until_s:
                ear.forget()
                continue
            if ear.hear(probability, now_s, frame_s):
                # Of a request whose beginning it did not hear it knows nothing.
                from_s = played.talks_until_s - HEARD_S
                answer = played.asked(from_s=from_s, until_s=now_s)
                if answer is not None and answer.event.act == "delegate":
                    played.delegate(answer.event, now_s)
                _say(played, answer, now_s, deaf)
            if ear.began_s is None:
                at_s = max(now_s, played.talks_until_s)
                _say(played, played.arrived(now_s), at_s, deaf)
        heard = (word for word in held_out.dialogue.user_words if not _missed(word, deaf))
        return played.output(heard=tuple(heard))


def _say(played: Performance, answer: Answer | None, at_s: float, deaf: list[Span]) -> None:
    if answer is not None:
        played.say(played.pieces(answer), at_s)
        deaf.append((at_s, played.talks_until_s))


def _missed(word: SpokenWord, deaf: Sequence[Span]) -> bool:
    """Whether most of a word fell into a span in which the agent talked and did not listen."""
    covered_s = sum(overlap((word.start_s, word.end_s), span) for span in deaf)
    return covered_s > (word.end_s - word.start_s) / 2
