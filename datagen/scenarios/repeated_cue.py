"""`repeat three seconds monday`: the agent says a word every so many seconds until told to stop."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.scenarios.base import DoesNotFit, Span, Stage, Words, register
from microturn.datagen.timeline import Event, Expect
from microturn.datagen.units import Phrase, UnitBank

OPENING = "repeat"
EVENT = "timed_cue"
CLEAR_S = (0.15, 0.6)  # from the agent's last word to the user's stop
MARGIN_S = 0.6  # from the end of that to the next time at which the word would be due


@register
class RepeatedCue:
    name = "repeated_cue"

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        low, high = config.scenarios.repeat_seconds
        if high > len(config.vocabulary.numbers):
            raise ValueError(
                f"scenarios.repeat_seconds={[low, high]} goes beyond the "
                f"{len(config.vocabulary.numbers)} words of vocabulary.numbers"
            )
        return Words(user=(OPENING,))

    def build(self, stage: Stage, start: int) -> None:
        options, rules, vocabulary = (
            stage.cast.config.scenarios,
            stage.rules,
            stage.questions.vocabulary,
        )
        seconds = stage.whole(options.repeat_seconds)
        word = vocabulary.cue_words[stage.choose(vocabulary.cue_words)]
        texts = (OPENING, vocabulary.numbers[seconds - 1], "seconds", word)
        spans = stage.recite(texts, start)
        asked = Span(start=start, end=spans[-1].end, text=" ".join(texts))
        said = asked
        for number in range(1, stage.whole(options.repeat_times) + 1):
            due = asked.end + rules.samples(number * seconds)
            said = stage.say((word,), rules.next_boundary(due))
            told = asked if number == 1 else Span(start=due, end=due, text=word)
            self._cue(stage, told, due, word)
        self._stop(stage, said.end, due + rules.samples(seconds), rules.samples(seconds))

    def _cue(self, stage: Stage, told: Span, due: int, word: str) -> None:
        early, late = stage.rules.samples(CUE_EARLY_S), stage.rules.samples(CUE_LATE_S)
        stage.user_event(EVENT, told, "say", (due - early, due + late), word)

    def _stop(self, stage: Stage, said_end: int, due: int, period: int) -> None:
        """The user says stop between two times; the agent says nothing at the next one."""
        start = said_end + stage.draw(CLEAR_S)
        last = due - stage.rules.samples(MARGIN_S)
        phrases = _fitting(stage, last - start)
        spoken = stage.utter(phrases[stage.choose(phrases)], start)
        if spoken.end > last:  # the drawn voice is slower than the recording
            raise DoesNotFit
        window = (spoken.end, due + period // 2)
        expect = Expect(act="stay_silent", window=window)
        stage.event(
            Event(
                type=EVENT,
                start=spoken.start,
                end=spoken.end,
                speaker="user",
                text=spoken.text,
                expect=expect,
            )
        )
        stage.end = max(stage.end, window[1])


def _fitting(stage: Stage, n_samples: int) -> list[Phrase]:
    phrases = [
        phrase
        for phrase in stage.bank.phrases(stage.questions.vocabulary.stop_phrases)
        if phrase.utterance.duration * stage.rules.rate <= n_samples
    ]
    if not phrases:
        raise DoesNotFit
    return phrases
