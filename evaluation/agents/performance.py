"""One dialogue while an agent that takes turns plays it: what it has said, and with which sound.

Answers have the words and the sound of the recorded agent, in one piece even where the recorded one
was interrupted. What is said can be broken off; what is left of it can be said later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.dialogue import EventLabel, TextLabel
from microturn.datagen.labels.event_types import RESULT
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, SpokenWord
from microturn.evaluation.scoring.answers import Answer, answers_of
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples
from microturn.evaluation.scoring.moments import SAME_S

HEARD_S: Final = 0.3  # so much of the beginning of a request may be missed
_MAX_GAP_S: Final = 0.8  # between two words of one answer
_STEPS_A_WORD = 3  # micro-turns
_BANK_DIALOGUES = 256  # enough to hold every word of the agent
_FADE_S: Final = 0.02  # of sound that is broken off
_ANSWERED: Final = ("respond", "refuse", "delegate", "say")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A word of an answer with its sound (T,)."""

    text: str
    offset_s: float  # from the beginning of the answer
    sound: NDArray[np.float32]


@dataclass(frozen=True)
class RecordedWords:
    """The longest recording of every word that the recorded agent says."""

    words: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, dialogues: Samples) -> RecordedWords:
        words: dict[str, NDArray[np.float32]] = {}
        for number, held_out in enumerate(dialogues()):
            if number == _BANK_DIALOGUES:
                break
            if not held_out.dialogue.agent_words:
                continue
            audio = held_out.load_agent()
            for word in held_out.dialogue.agent_words:
                if not word.is_known:
                    continue
                piece = _slice(audio, word.start_s, word.end_s, held_out.sample_rate)
                if len(piece) > len(words.get(word.text, ())):
                    words[word.text] = piece.copy()
        return cls(words)


def _slice(
    audio: NDArray[np.float32], start_s: float, end_s: float, rate: int
) -> NDArray[np.float32]:
    return audio[max(round(start_s * rate), 0) : round(end_s * rate)]


@dataclass(kw_only=True)
class Performance:
    """The agent's sound of one dialogue (T,), its words, and what it waits for."""

    held_out: HeldOutDialogue
    voice: RecordedWords
    recorded: NDArray[np.float32]
    answers: list[Answer]
    audio: NDArray[np.float32]
    words: list[SpokenWord] = field(default_factory=list)
    delegates_s: list[float] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    waiting: list[tuple[float, Answer]] = field(default_factory=list)  # by arrival, not spoken
    answered: set[int] = field(default_factory=set)  # numbers of requests
    talks_until_s: float = 0.0

    @classmethod
    def of(cls, held_out: HeldOutDialogue, voice: RecordedWords) -> Performance:
        dialogue = held_out.dialogue
        answers = answers_of(dialogue, _scripted(dialogue), WindowConfig())
        typed = [answer for answer in answers if _is_typed(answer.event, dialogue)]
        return cls(
            held_out=held_out,
            voice=voice,
            recorded=held_out.load_agent(),
            answers=[answer for answer in answers if answer not in typed],
            audio=np.zeros(round(dialogue.duration_s * held_out.sample_rate), np.float32),
            waiting=[(answer.event.end_s, answer) for answer in typed],
        )

    def asked(self, *, from_s: float, until_s: float) -> Answer | None:
        """Take the last spoken request that begins in a span; those before it are given up."""
        found = [
            (number, answer)
            for number, answer in enumerate(self.answers)
            if number not in self.answered
            and is_request(answer.event)
            and from_s <= answer.event.start_s < until_s
        ]
        if not found:
            return None
        self.answered |= {number for number, _ in found}
        return max(found, key=lambda item: item[1].event.start_s)[1]

    def arrived(self, now_s: float) -> Answer | None:
        """Take the answer to the first result or typed request that is there."""
        if self.waiting and self.waiting[0][0] <= now_s:
            return self.waiting.pop(0)[1]
        return None

    def output(self, *, heard: tuple[SpokenWord, ...]) -> AgentOutput:
        """Return all that was played and written down."""
        return AgentOutput(
            audio=self.audio,
            sample_rate=self.held_out.sample_rate,
            words=tuple(self.words),
            delegates_s=tuple(self.delegates_s),
            deliveries=tuple(self.deliveries),
            heard=heard,
        )

    def delegate(self, event: EventLabel, now_s: float) -> None:
        """Deliver the result with the delay of the script, never earlier than there."""
        dialogue = self.held_out.dialogue
        used = {delivery.scripted_s for delivery in self.deliveries}
        self.delegates_s.append(now_s)
        for message in dialogue.messages:
            if not message.is_result or message.time_s < event.end_s or message.time_s in used:
                continue
            asked = [t for t in dialogue.delegates_s if t <= message.time_s]
            arrives_s = max(message.time_s, now_s + message.time_s - max(asked, default=now_s))
            if arrives_s < dialogue.duration_s:
                self.deliveries.append(
                    Delivery(time_s=arrives_s, scripted_s=message.time_s, text=message.text)
                )
                self.waiting += [
                    (arrives_s, a) for a in self.answers if _is_result_of(a.event, message)
                ]
                self.waiting.sort(key=lambda item: item[0])
            return

    def say(self, pieces: Sequence[Piece], at_s: float) -> None:
        """Play an answer; what is said over an earlier one replaces it."""
        rate = self.held_out.sample_rate
        for piece in pieces:
            first = round((at_s + piece.offset_s) * rate)
            part = piece.sound[: max(len(self.audio) - first, 0)]
            if not len(part):
                break
            self.audio[first : first + len(part)] = part
            start_s = first / rate
            end_s = start_s + len(part) / rate
            self.words.append(SpokenWord(text=piece.text, start_s=start_s, end_s=end_s))
            self.talks_until_s = end_s

    def break_off(self, now_s: float) -> None:
        """Fall silent at once."""
        rate = self.held_out.sample_rate
        now, n_fade = round(now_s * rate), round(_FADE_S * rate)
        fade = np.linspace(1.0, 0.0, n_fade, dtype=np.float32)
        tail = self.audio[now : now + n_fade]
        tail *= fade[: len(tail)]
        self.audio[now + n_fade :] = 0.0
        self.words = [
            replace(word, end_s=min(word.end_s, now_s))
            for word in self.words
            if word.start_s < now_s
        ]
        self.talks_until_s = now_s

    def rest(self, pieces: Sequence[Piece], at_s: float, now_s: float) -> list[Piece]:
        """Return what was not said to its end by now of pieces that were begun at a time."""
        rate = self.held_out.sample_rate
        left = [
            piece for piece in pieces if at_s + piece.offset_s + len(piece.sound) / rate > now_s
        ]
        return [replace(one, offset_s=one.offset_s - left[0].offset_s) for one in left]

    def pieces(self, answer: Answer) -> list[Piece]:
        """Return words and sounds of the intended answer, even where the recording was cut off."""
        words = list(answer.recorded)
        if answer.cut_s is not None and words:
            words = self._intended(answer)
        if not words:  # there is no recording
            step_s = self.held_out.dialogue.micro_turn_s * _STEPS_A_WORD
            words = [
                SpokenWord(text=text, start_s=i * step_s, end_s=(i + 1) * step_s)
                for i, text in enumerate(answer.expected)
            ]
        whole = set(answer.recorded if answer.cut_s is None else answer.recorded[:-1])
        pieces = []
        for word in words:
            sound = self._sound(word) if word in whole else self.voice.words.get(word.text)
            if sound is not None:
                offset_s = word.start_s - words[0].start_s
                pieces.append(Piece(text=word.text, offset_s=offset_s, sound=sound))
        return pieces

    def _intended(self, answer: Answer) -> list[SpokenWord]:
        """Words that were meant to follow one another from the answer's first one on."""
        others = {word for other in self.answers if other is not answer for word in other.recorded}
        meant: list[SpokenWord] = [*answer.recorded[:-1]]
        planned = self.held_out.dialogue.intended_words
        for word in planned or answer.recorded:
            if word.start_s < answer.recorded[-1].start_s or word in others:
                continue
            if meant and word.start_s - meant[-1].end_s > _MAX_GAP_S:
                break
            meant.append(word)
        return meant

    def _sound(self, word: SpokenWord) -> NDArray[np.float32]:
        return _slice(self.recorded, word.start_s, word.end_s, self.held_out.sample_rate)


def is_request(event: EventLabel) -> bool:
    """Whether the user asks for an answer, and not a result that arrives."""
    return event.act in _ANSWERED and event.speaker == "user" and event.type != RESULT


def _is_result_of(event: EventLabel, message: TextLabel) -> bool:
    return event.type == RESULT and abs(event.start_s - message.time_s) < HEARD_S


def _is_typed(event: EventLabel, dialogue: Dialogue) -> bool:
    return is_request(event) and any(
        message.read.is_typed and abs(message.time_s - event.start_s) < SAME_S
        for message in dialogue.messages
    )


def _scripted(dialogue: Dialogue) -> list[Delivery]:
    return [
        Delivery(time_s=m.time_s, scripted_s=m.time_s, text=m.text)
        for m in dialogue.messages
        if m.is_result
    ]
