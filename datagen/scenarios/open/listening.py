"""The user talks at length and hesitates; the agent listens, and says so between two lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.open.speech import weights_of
from microturn.datagen.dialogue.rules import LISTEN_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.unit_pieces import divided, gaps_of
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import AGENT_BACKCHANNEL
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import Floor

MAX_HESITATIONS: Final = 2  # in one line


@register
class ListeningScenario:
    name = "listening"
    asks = ()
    needs = "an agent, and another speaker of the same language who has something to tell"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        speech = sources.speech
        return weights_of(speech, [name for name in speech.agents if speech.has_partners(name)])

    def build(self, segment: SegmentBuilder, start: int) -> None:
        Listening(segment, start).fill()


class Listening:
    """A long turn of the user."""

    def __init__(self, segment: SegmentBuilder, start: int) -> None:
        self.segment = segment
        self.floor = Floor(segment, start)
        self.start = start
        self.agent_end = 0

    def fill(self) -> None:
        floor, segment = self.floor, self.segment
        last = segment.draw(segment.context.config.scenarios.listening_s) + self.start
        lines = self._lines()
        first = next(lines)
        at = floor.begins("user", first)
        self.agent_end = floor.agent_end
        for number, unit in enumerate(chain((first,), lines)):
            pieces = self._pieces(unit)
            longest = MAX_HESITATIONS * floor.samples(floor.human.longest_gap_s)
            room = unit.n_samples + (longest if len(pieces) > 1 else 0)
            after = self._after(at, room) if number else at
            if after is None:
                break
            at = self._line(pieces, after)
            if at > last:
                break
        if not segment.end_sample:
            raise DoesNotFit
        floor.close()

    def _lines(self) -> Iterator[Unit]:
        """Lines of the user that follow one another, from a drawn one on, read when asked for.

        Where bare words are lines, all lines of a speaker come in any order: words have none, and
        takes of one word lie side by side.
        """
        floor, segment = self.floor, self.segment
        speaker = floor.speech.speakers[floor.cast.user]
        if segment.context.config.scenarios.line_words == 1:
            drawn = [speaker.told[i] for i in segment.rng.permutation(len(speaker.told))]
            chapters = [drawn]
        else:
            chapters = [[line for line in chapter if line.is_told] for chapter in speaker.chapters]
        starts = [(number, at) for number, lines in enumerate(chapters) for at in range(len(lines))]
        number, first = starts[segment.choose(starts)]
        limit = segment.context.config.scenarios.listening_s[1]
        total = 0.0
        for line in (*chapters[number][first:], *chapters[number][:first]):
            if total > limit:
                break
            yield floor.user_unit(line.id)
            total += line.duration_s

    def _pieces(self, unit: Unit) -> list[Unit]:
        """A line, divided where the user hesitates."""
        segment, config = self.segment, self.segment.context.config
        rate = segment.rules.rate
        gaps = [
            word for word in gaps_of(unit, rate) if segment.chance(config.scenarios.hesitations)
        ]
        chosen = sorted(int(i) for i in segment.rng.permutation(gaps)[:MAX_HESITATIONS])
        return divided(unit, chosen, rate=rate, trim_db=config.voices.trim_db) if chosen else [unit]

    def _line(self, pieces: list[Unit], at: int) -> int:
        """The user says a line, with a hesitation between its pieces; returns its end."""
        for number, piece in enumerate(pieces):
            if number:
                after = at + self.floor.pause_length()
                self._hesitates(at, after)
                at = after
            at = self.segment.place(piece, at, lane="user").end_sample
        return at

    def _hesitates(self, start: int, end: int) -> None:
        if start >= self.agent_end:
            self.floor.pause(start, end)

    def _after(self, at: int, n_samples: int) -> int | None:
        """Where the next line begins, with or without a word of the agent; None if none fits."""
        floor, segment = self.floor, self.segment
        own = floor.speech.speakers[floor.cast.agent].backchannels
        listens = bool(own) and segment.chance(segment.context.config.scenarios.listening_share)
        pause_s = segment.context.config.scenarios.listening_pause_s
        after = at + segment.draw(pause_s) if listens else floor.joint(at)
        if after + n_samples > segment.n_samples:
            return None
        if listens:
            self._listen(floor.speech.agent_unit(own[segment.choose(own)]), at, after)
        elif after - at >= floor.samples(floor.human.min_pause_s):
            self._hesitates(at, after)
        return after

    def _listen(self, unit: Unit, at: int, until: int) -> None:
        """The agent says that it listens, and leaves the floor."""
        segment, rules = self.segment, self.segment.rules
        begin = rules.boundary(rules.follow(at, self.agent_end))
        if begin + unit.n_samples > segment.n_samples:
            return
        spoken = segment.sound([(unit, begin)])
        point = Span(start_sample=at, end_sample=until, text="")
        window = (at, at + rules.samples(LISTEN_S))
        segment.user_event(AGENT_BACKCHANNEL, point, "backchannel", window, spoken.text)
        self.agent_end = spoken.end_sample
