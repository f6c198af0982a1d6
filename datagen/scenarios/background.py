"""Voices and sounds that are not for the agent: it stays silent, or goes on as if alone."""

from __future__ import annotations

import numpy as np

from microturn.datagen.corpora.manifest import Utterance
from microturn.datagen.scenarios.base import Span, Stage, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.interruption import first_turn
from microturn.datagen.timeline import Event, Expect
from microturn.datagen.units import Unit
from microturn.model.streams import normalise

SHORTEST_S, LONGEST_S = 0.8, 4.5
BURST_S = (0.2, 1.2)
WORDS_LEFT = 2
KINDS = ("silent", "silent", "counting", "question", "noise", "silence")


@register
class Background:
    name = "background"

    def build(self, stage: Stage, start: int) -> None:
        kind = KINDS[stage.choose(KINDS)]
        getattr(self, kind)(stage, start)

    def silent(self, stage: Stage, start: int) -> None:
        """A voice while nobody talks."""
        voice_alone(stage, voice_at(stage, start))

    def counting(self, stage: Stage, start: int) -> None:
        """A voice while the agent counts."""
        count = ask_to_count(stage, start, shortest=4)
        onset = count.inside(stage, 0, len(count.planned) - WORDS_LEFT)
        span = voice_at(stage, onset)
        first_turn(stage, count)
        last = max(min(span.end, count.end), onset + 1)
        _voice_event(stage, span, Expect(act="resume", window=(onset, last)))

    def question(self, stage: Stage, start: int) -> None:
        """A voice under a question, which is answered all the same."""
        question = stage.questions.turn(stage.rng)
        lead = stage.draw((0.0, 1.0))
        span = voice_at(stage, start)
        asked = stage.ask(question, start + lead)
        stage.answer(question, asked)
        _voice_event(stage, span, None)

    def noise(self, stage: Stage, start: int) -> None:
        """A burst of noise while nobody talks."""
        burst = _burst(stage.rng, stage.draw(BURST_S), stage.rules.rate)
        span = stage.place(burst, start, lane="background", gain_db=_level(stage))
        window = (span.start, span.end + stage.rules.samples(stage.timing.background_tail))
        stage.event(
            Event(
                type="noise",
                start=span.start,
                end=span.end,
                speaker="background",
                expect=Expect(act="stay_silent", window=window),
            )
        )
        stage.end = window[1]

    def silence(self, stage: Stage, start: int) -> None:
        """Nothing at all for a while."""
        stage.end = start + stage.draw(stage.timing.silence)
        stage.must_end_by(stage.end)


def voice_at(stage: Stage, start: int) -> Span:
    """A line of somebody far away."""
    unit = stage.bank.line(_line(stage), stage.factor())
    return stage.place(unit, start, lane="background", gain_db=_level(stage))


def voice_alone(stage: Stage, span: Span) -> None:
    """A far voice to which the agent says nothing, nor shortly after it."""
    window = (span.start, span.end + stage.rules.samples(stage.timing.background_tail))
    _voice_event(stage, span, Expect(act="stay_silent", window=window))
    stage.end = max(stage.end, window[1])


def _voice_event(stage: Stage, span: Span, expect: Expect | None) -> None:
    stage.event(
        Event(
            type="background_speech",
            start=span.start,
            end=span.end,
            speaker="background",
            text=normalise(span.text),
            expect=expect,
        )
    )


def _line(stage: Stage) -> Utterance:
    lines = stage.bank.lines(shortest_s=SHORTEST_S, longest_s=LONGEST_S)
    if not lines:
        raise ValueError(
            f"no voice of split {stage.bank.split!r} can be put into the background; set "
            "families.background=0 and channel.overlay_probability=0 or add a corpus"
        )
    return lines[stage.choose(lines)]


def _level(stage: Stage) -> float:
    return float(stage.rng.uniform(*stage.cast.config.channel.background_db))


def _burst(rng: np.random.Generator, n: int, rate: int) -> Unit:
    """Noise that swells and dies away, coloured by a drawn first-order filter."""
    white = rng.standard_normal(n, dtype=np.float32)
    colour = np.float32(rng.uniform(-0.9, 0.9))
    burst = white.copy()
    burst[1:] += colour * white[:-1]
    burst *= np.sin(np.pi * (np.arange(n, dtype=np.float32) + 0.5) / n)
    burst *= np.float32(10 ** (-26 / 20) / np.sqrt(np.mean(np.square(burst))))
    return Unit(source="noise", voice="", text="", audio=burst, words=(), licence="")
