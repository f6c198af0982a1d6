"""The agent of a half-duplex voice assistant: waits for a pause, answers, is deaf while it talks.

It finds speech with Silero VAD on the microphone; a request ends after half a second of silence.
Its answers are the expected ones in the recorded voice, without time to think, so every loss comes
from taking turns: it answers into hesitations, cannot be interrupted, says nothing over the user or
at a time of its own, and misses all speech while it talks. It never answers where no answer is due,
which flatters it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.dialogue import EventLabel, TextLabel
from microturn.datagen.labels.event_types import RESULT
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import overlap
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, SpokenWord
from microturn.evaluation.scoring.answers import Answer, answers_of
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples

ENDPOINT_S: Final = 0.5
_SPEECH, _SILENCE = 0.5, 0.35  # probabilities at which speech begins and ends: Silero's defaults
_MIN_LENGTH_S = 0.1  # of speech; less is a click
_HEARD_S = 0.3  # so much of the beginning of a request may be missed
_MAX_GAP_S = 0.8  # between two words of one answer
_STEPS_A_WORD = 3  # micro-turns
_BANK_DIALOGUES = 256  # enough to hold every word of the agent
_ANSWERED: Final = ("respond", "refuse", "delegate", "say")


_Piece = tuple[str, float, NDArray[np.float32]]  # a word, seconds into the answer, its sound


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
class _Talk:
    """The state of one dialogue while it is played."""

    held_out: HeldOutDialogue
    recorded: NDArray[np.float32]
    answers: list[Answer]
    audio: NDArray[np.float32]
    words: list[SpokenWord] = field(default_factory=list)
    delegates_s: list[float] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    waiting: list[tuple[float, Answer]] = field(default_factory=list)  # results, by arrival
    answered: set[int] = field(default_factory=set)
    deaf: list[tuple[float, float]] = field(default_factory=list)
    deaf_until_s: float = 0.0


@dataclass(frozen=True)
class HalfDuplex:
    """Endpointing at 500 ms, then the expected answer."""

    voice: RecordedWords

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            yield self._perform(held_out)

    def _perform(self, held_out: HeldOutDialogue) -> AgentOutput:
        dialogue, rate = held_out.dialogue, held_out.sample_rate
        talk = _Talk(
            held_out=held_out,
            recorded=held_out.load_agent(),
            answers=answers_of(dialogue, _scripted(dialogue), WindowConfig()),
            audio=np.zeros(round(dialogue.duration_s * rate), np.float32),
        )
        probabilities, frame_s = _probabilities(held_out)
        began_s, quiet_s = None, 0.0
        for number, probability in enumerate(probabilities):
            now_s = (number + 1) * frame_s
            if now_s <= talk.deaf_until_s:
                began_s, quiet_s = None, 0.0
                continue
            if probability >= _SPEECH:
                began_s, quiet_s = now_s - frame_s if began_s is None else began_s, 0.0
            elif began_s is not None:
                quiet_s = quiet_s + frame_s if probability < _SILENCE or quiet_s else 0.0
                if quiet_s >= ENDPOINT_S:
                    if now_s - quiet_s - began_s >= _MIN_LENGTH_S:
                        self._answer(talk, now_s)
                    began_s, quiet_s = None, 0.0
            if began_s is None and talk.waiting and talk.waiting[0][0] <= now_s:
                self._say(talk, talk.waiting.pop(0)[1], max(now_s, talk.deaf_until_s))
        return AgentOutput(
            audio=talk.audio,
            sample_rate=rate,
            words=tuple(talk.words),
            delegates_s=tuple(talk.delegates_s),
            deliveries=tuple(talk.deliveries),
            heard=tuple(word for word in dialogue.user_words if not _missed(word, talk)),
        )

    def _answer(self, talk: _Talk, now_s: float) -> None:
        """Answer the last request that was begun and heard from its beginning."""
        heard = [
            (number, answer)
            for number, answer in enumerate(talk.answers)
            if number not in talk.answered
            and _is_request(answer.event)
            and talk.deaf_until_s - _HEARD_S <= answer.event.start_s < now_s
        ]
        if not heard:
            return
        number, answer = max(heard, key=lambda item: item[1].event.start_s)
        talk.answered |= {other for other, _ in heard}
        if answer.event.act == "delegate":
            self._delegate(talk, answer.event, now_s)
        self._say(talk, answer, now_s)

    def _delegate(self, talk: _Talk, event: EventLabel, now_s: float) -> None:
        """Deliver the result with the delay of the script, never earlier than there."""
        dialogue = talk.held_out.dialogue
        used = {delivery.scripted_s for delivery in talk.deliveries}
        talk.delegates_s.append(now_s)
        for message in dialogue.messages:
            if not message.is_result or message.time_s < event.end_s or message.time_s in used:
                continue
            asked = [t for t in dialogue.delegates_s if t <= message.time_s]
            arrives_s = max(message.time_s, now_s + message.time_s - max(asked, default=now_s))
            if arrives_s < dialogue.duration_s:
                talk.deliveries.append(
                    Delivery(time_s=arrives_s, scripted_s=message.time_s, text=message.text)
                )
                talk.waiting += [
                    (arrives_s, a) for a in talk.answers if _is_result_of(a.event, message)
                ]
                talk.waiting.sort(key=lambda item: item[0])
            return

    def _say(self, talk: _Talk, answer: Answer, at_s: float) -> None:
        """Play the answer; what is said over an earlier answer replaces it."""
        rate = talk.held_out.sample_rate
        pieces = self._pieces(talk, answer)
        for text, offset_s, sound in pieces:
            first = round((at_s + offset_s) * rate)
            part = sound[: max(len(talk.audio) - first, 0)]
            if not len(part):
                break
            talk.audio[first : first + len(part)] = part
            start_s = first / rate
            end_s = start_s + len(part) / rate
            talk.words.append(SpokenWord(text=text, start_s=start_s, end_s=end_s))
            talk.deaf_until_s = end_s
        talk.deaf.append((at_s, talk.deaf_until_s))

    def _pieces(self, talk: _Talk, answer: Answer) -> list[_Piece]:
        """Return words and sounds of the intended answer, even where the recording was cut off."""
        words = list(answer.recorded)
        if answer.cut_s is not None and words:
            words = _intended(talk, answer)
        if not words:  # there is no recording
            step_s = talk.held_out.dialogue.micro_turn_s * _STEPS_A_WORD
            words = [
                SpokenWord(text=text, start_s=i * step_s, end_s=(i + 1) * step_s)
                for i, text in enumerate(answer.expected)
            ]
        whole = set(answer.recorded if answer.cut_s is None else answer.recorded[:-1])
        pieces = []
        for word in words:
            sound = _sound(talk, word) if word in whole else self.voice.words.get(word.text)
            if sound is not None:
                pieces.append((word.text, word.start_s - words[0].start_s, sound))
        return pieces


def _intended(talk: _Talk, answer: Answer) -> list[SpokenWord]:
    """Words that were meant to follow one another from the answer's first one on."""
    others = {word for other in talk.answers if other is not answer for word in other.recorded}
    meant: list[SpokenWord] = [*answer.recorded[:-1]]
    planned = talk.held_out.dialogue.intended_words
    for word in planned or answer.recorded:
        if word.start_s < answer.recorded[-1].start_s or word in others:
            continue
        if meant and word.start_s - meant[-1].end_s > _MAX_GAP_S:
            break
        meant.append(word)
    return meant


def _missed(word: SpokenWord, talk: _Talk) -> bool:
    """Whether most of a word fell into a span in which the agent talked and did not listen."""
    covered_s = sum(overlap((word.start_s, word.end_s), span) for span in talk.deaf)
    return covered_s > (word.end_s - word.start_s) / 2


def _sound(talk: _Talk, word: SpokenWord) -> NDArray[np.float32]:
    return _slice(talk.recorded, word.start_s, word.end_s, talk.held_out.sample_rate)


def _is_request(event: EventLabel) -> bool:
    return event.act in _ANSWERED and event.speaker == "user" and event.type != RESULT


def _is_result_of(event: EventLabel, message: TextLabel) -> bool:
    return event.type == RESULT and abs(event.start_s - message.time_s) < _HEARD_S


def _scripted(dialogue: Dialogue) -> list[Delivery]:
    return [
        Delivery(time_s=m.time_s, scripted_s=m.time_s, text=m.text)
        for m in dialogue.messages
        if m.is_result
    ]


def _probabilities(held_out: HeldOutDialogue) -> tuple[NDArray[np.float32], float]:
    """Speech probabilities of the microphone, and seconds from one to the next."""
    from microturn.evaluation.speech import silero

    audio, rate = held_out.load_user(), held_out.sample_rate
    if rate != silero.SAMPLE_RATE:
        from scipy.signal import resample_poly

        audio = resample_poly(audio, silero.SAMPLE_RATE, rate).astype(np.float32)
    return silero.speech_probabilities(audio), silero.FRAME / silero.SAMPLE_RATE
