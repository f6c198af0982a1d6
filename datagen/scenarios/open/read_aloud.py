"""A text arrives, and the agent speaks it; it stops when it is interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.open.speech import weights_of
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import TextArrival
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import Floor
from microturn.datagen.scenarios.open.interjections import Interjections
from microturn.model.streams import typed_text

LINES: Final = (1, 2)  # of a text


@register
class ReadAloudScenario:
    name = "read_aloud"
    asks = ()
    needs = "a line of at least three words"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        speech = sources.speech
        return weights_of(speech, [n for n in speech.agents if speech.speakers[n].n_told])

    def build(self, segment: SegmentBuilder, start: int) -> None:
        floor = Floor(segment, start)
        told = floor.speech.speakers[floor.cast.agent].told
        first, n = segment.choose(told), segment.whole(LINES)
        units = [floor.speech.agent_unit(line.id) for line in told[first : first + n]]
        text = " ".join(unit.text for unit in units)
        known = self._arrives(segment, text, start)
        floor.asks(Span(start_sample=start, end_sample=segment.rules.boundary(known), text=text))
        planned = floor.plan(units, at=segment.rules.boundary(known + 1))
        if len(floor.fitting(planned)) < len(units):
            raise DoesNotFit
        Interjections(floor).hold(planned)
        floor.close()

    def _arrives(self, segment: SegmentBuilder, text: str, sample: int) -> int:
        """Return the first micro-turn that knows all of a text that arrives at a sample."""
        layout = segment.context.config.layout
        message = typed_text(text)
        segment.timeline.text_in.append(TextArrival(text=message, sample=sample))
        n_tokens = len(segment.context.tokenizer.encode_lane_text(message))
        return layout.micro_turn_of(sample) + -(-n_tokens // max(layout.text_in_positions, 1))
