"""The user says something to somebody else: the agent stays silent, or goes on."""

from __future__ import annotations

from collections.abc import Sequence

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Utterance
from microturn.datagen.scenarios.background import voice_at
from microturn.datagen.scenarios.base import DoesNotFit, Span, Stage, Words, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.interruption import first_turn
from microturn.datagen.timeline import Event
from microturn.datagen.units import UnitBank, canonical
from microturn.model.streams import normalise

KINDS = ("silent", "silent", "counting")
SHORTEST_S, LONGEST_S = 0.9, 3.5
FEWEST_WORDS = 3  # shorter lines could be meant for the agent
OWN_VOICE_SHARE = 0.6
ANSWER_SHARE = 0.5  # how often somebody far away answers
ANSWER_GAP_S = (0.1, 0.6)
WORDS_LEFT = 2
TRIES = 20


@register
class SideTalk:
    name = "side_talk"

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=bank.recorded(config.scenarios.side_talk_phrases))

    def build(self, stage: Stage, start: int) -> None:
        getattr(self, KINDS[stage.choose(KINDS)])(stage, start)

    def silent(self, stage: Stage, start: int) -> None:
        """While the agent says nothing."""
        talk = _aside(stage, start)
        end = talk.end
        if stage.chance(ANSWER_SHARE):
            end = _answered(stage, end + stage.draw(ANSWER_GAP_S))
        window = (start, end + stage.rules.samples(stage.timing.background_tail))
        stage.user_event(self.name, talk, "stay_silent", window)
        stage.end = max(stage.end, window[1])

    def counting(self, stage: Stage, start: int) -> None:
        """While the agent counts."""
        count = ask_to_count(stage, start, shortest=5)
        onset = count.inside(stage, 1, len(count.planned) - WORDS_LEFT)
        talk = _aside(stage, onset)
        first_turn(stage, count)
        window = (onset, max(min(talk.end, count.end), onset + 1))
        stage.user_event(self.name, talk, "resume", window)


def _aside(stage: Stage, start: int) -> Span:
    options = stage.cast.config.scenarios
    gain = float(stage.rng.uniform(*options.side_talk_db))
    phrases = stage.bank.recorded(options.side_talk_phrases)
    lines = stage.bank.lines(shortest_s=SHORTEST_S, longest_s=LONGEST_S)
    if not phrases and not lines:
        raise ValueError(
            f"{stage.bank.corpus.folder} has nothing to be said aside in split "
            f"{stage.bank.split!r}; set families.side_talk=0 or give scenarios.side_talk_phrases "
            "that are recorded"
        )
    if phrases and (not lines or stage.chance(OWN_VOICE_SHARE)):
        unit = stage.bank.user(phrases[stage.choose(phrases)], stage.cast.voice)
    else:
        unit = stage.bank.line(_line(stage, lines), stage.factor())
    return stage.place(unit, start, lane="user", gain_db=gain)


def _line(stage: Stage, lines: Sequence[Utterance]) -> Utterance:
    """A line that could not be meant for the agent."""
    vocabulary = stage.questions.vocabulary
    phrases = (*vocabulary.stop_phrases, *vocabulary.backchannels, *vocabulary.greetings)
    meant = {canonical(text) for text in phrases}
    for _ in range(TRIES):
        line = lines[stage.choose(lines)]
        if len(line.words) >= FEWEST_WORDS and canonical(line.text) not in meant:
            return line
    raise DoesNotFit


def _answered(stage: Stage, start: int) -> int:
    """Somebody far away answers, where there is still time; returns when all is said."""
    try:
        span = voice_at(stage, start)
    except DoesNotFit:
        return start
    stage.event(
        Event(
            type="background_speech",
            start=span.start,
            end=span.end,
            speaker="background",
            text=normalise(span.text),
        )
    )
    return span.end
