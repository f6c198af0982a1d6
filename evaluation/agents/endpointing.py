"""The agent that knows of turns what a half-duplex voice assistant knows: speech and silence.

Every stretch of speech that half a second of silence ends is a turn to it, so it answers then, into
pauses and to voices that do not address it; speech that begins while it talks breaks it off, were
it an "uh-huh". What it says is flattered: it understands every word, the answer is the recorded one
without time to think, and it says nothing after a phrase that stops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from microturn.evaluation.agents.performance import Performance, Piece, RecordedWords
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import Span, overlap
from microturn.evaluation.scoring.agent_output import AgentOutput
from microturn.evaluation.scoring.answers import Answer, answers_of
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples
from microturn.evaluation.speech.endpointer import Endpointer, speech_frames

_LINE_DIALOGUES: Final = 64  # enough to hold a long answer


@dataclass(frozen=True, kw_only=True)
class Endpointing:
    """Answers each end of speech, falls silent at each beginning of it."""

    voice: RecordedWords
    line: tuple[Piece, ...]  # said where the recorded agent has nothing to say
    silence_s: float

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            yield self._perform(held_out)

    def _perform(self, held_out: HeldOutDialogue) -> AgentOutput:
        talk = _Talk(played=Performance.of(held_out, self.voice), line=self.line)
        ear = Endpointer(silence_s=self.silence_s)
        for probability, now_s, frame_s in speech_frames(held_out):
            span = ear.hear(probability, now_s, frame_s)
            if ear.is_speech(now_s):
                talk.interrupted(now_s)
            if span is not None:
                talk.reply(span, now_s)
            elif ear.began_s is None:
                talk.answer_arrived(now_s)
        return talk.played.output(heard=held_out.dialogue.user_words)


@dataclass(kw_only=True)
class _Talk:
    """What it says, and what is left of it after a break."""

    played: Performance
    line: Sequence[Piece]
    _said: tuple[Answer, Sequence[Piece]] | None = None  # under way; None: the line
    _left: tuple[Answer, Sequence[Piece]] | None = None  # of an answer that was broken off
    _at_s: float = 0.0

    def interrupted(self, now_s: float) -> None:
        """Fall silent; an answer that began before the request was over is to be said anew."""
        if now_s >= self.played.talks_until_s:
            return
        self.played.break_off(now_s)
        if self._said is not None:
            answer, pieces = self._said
            too_early = self._at_s < answer.event.end_s
            rest = pieces if too_early else self.played.rest(pieces, self._at_s, now_s)
            self._left = answer, rest

    def reply(self, span: Span, now_s: float) -> None:
        """Say something at the end of a stretch of speech, unless it was told to stop."""
        answer = self.played.asked(from_s=0.0, until_s=now_s)
        if answer is not None:
            if answer.event.act == "delegate":
                self.played.delegate(answer.event, now_s)
            self._say((answer, self.played.pieces(answer)), now_s)
        elif self._told_to_stop(span):
            self._left = None
        else:
            self._say(self._left, now_s)

    def answer_arrived(self, now_s: float) -> None:
        """Say a result, or the answer to a typed request, once nobody talks."""
        if now_s >= self.played.talks_until_s:
            answer = self.played.arrived(now_s)
            if answer is not None:
                self._say((answer, self.played.pieces(answer)), now_s)

    def _say(self, said: tuple[Answer, Sequence[Piece]] | None, at_s: float) -> None:
        self._said, self._left, self._at_s = said, None, at_s
        self.played.say(self.line if said is None else said[1], at_s)

    def _told_to_stop(self, span: Span) -> bool:
        return any(
            event.act == "stop" and overlap((event.start_s, event.end_s), span) > 0
            for event in self.played.held_out.dialogue.events
        )


def longest_answer(dialogues: Samples, voice: RecordedWords) -> tuple[Piece, ...]:
    """Return the longest answer of the recorded agent in a set; nothing where it has none."""
    found: tuple[float, HeldOutDialogue, int] | None = None
    for held_out in islice(dialogues(), _LINE_DIALOGUES):
        for number, answer in enumerate(answers_of(held_out.dialogue, (), WindowConfig())):
            if answer.recorded and (found is None or answer.length_s > found[0]):
                found = answer.length_s, held_out, number
    if found is None:
        return ()
    _, held_out, number = found
    answer = answers_of(held_out.dialogue, (), WindowConfig())[number]
    return tuple(Performance.of(held_out, voice).pieces(answer))
