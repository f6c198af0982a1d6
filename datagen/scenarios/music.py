"""Music plays in the room: the agent stays silent, goes on, or answers all the same."""

from __future__ import annotations

from microturn.datagen.scenarios.base import Span, Stage, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.interruption import first_turn
from microturn.datagen.timeline import Event, Expect

KINDS = ("silent", "counting", "question")
LEAD_S = (0.3, 1.0)


@register
class Music:
    name = "music"

    def build(self, stage: Stage, start: int) -> None:
        getattr(self, KINDS[stage.choose(KINDS)])(stage, start)

    def silent(self, stage: Stage, start: int) -> None:
        """While nobody talks."""
        span = _play(stage, start)
        window = (span.start, span.end + stage.rules.samples(stage.timing.background_tail))
        _music_event(stage, span, Expect(act="stay_silent", window=window))
        stage.end = max(stage.end, window[1])

    def counting(self, stage: Stage, start: int) -> None:
        """While the agent counts."""
        count = ask_to_count(stage, start, shortest=4)
        onset = count.inside(stage, 0, len(count.planned) - 2)
        span = _play(stage, onset)
        first_turn(stage, count)
        last = max(min(span.end, count.end), onset + 1)
        _music_event(stage, span, Expect(act="resume", window=(onset, last)))

    def question(self, stage: Stage, start: int) -> None:
        """Under a question, which is answered all the same."""
        question = stage.questions.turn(stage.rng)
        span = _play(stage, start)
        asked = stage.ask(question, start + stage.draw(LEAD_S))
        stage.answer(question, asked)
        _music_event(stage, span, None)


def _play(stage: Stage, start: int) -> Span:
    pieces = stage.bank.music()
    if not pieces:
        raise ValueError(
            f"{stage.bank.corpus.folder} has no recording tagged `music`; set families.music=0"
        )
    options = stage.cast.config.scenarios
    piece = pieces[stage.choose(pieces)]
    n = stage.draw(options.music_s)
    unit = stage.bank.music_from(piece, float(stage.rng.random()), n)
    gain = float(stage.rng.uniform(*options.music_db))
    return stage.place(unit, start, lane="background", gain_db=gain)


def _music_event(stage: Stage, span: Span, expect: Expect | None) -> None:
    stage.event(
        Event(type="music", start=span.start, end=span.end, speaker="background", expect=expect)
    )
