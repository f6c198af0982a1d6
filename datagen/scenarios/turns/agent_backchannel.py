"""The user dictates a message with pauses; at each the agent shows that it listens."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import LISTEN_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import TURN
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

OPENING, CLOSING, REPLY = "message", "thank you", "saved"
GAP_S = (0.05, 0.15)  # no listening point: the opening, and before the closing


@register
class AgentBackchannelScenario:
    """A pause after a phrase asks for a backchannel; the end of the message for a reply."""

    name = "agent_backchannel"
    asks = ()

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        phrases = bank.recorded(config.scenarios.message_phrases)
        if not phrases:
            raise ValueError(
                f"{bank.corpus.name} has none of scenarios.message_phrases by voices.user; set "
                "families.agent_backchannel=0 or give phrases that are recorded"
            )
        return Words(
            agent=(REPLY, *config.scenarios.agent_backchannels), user=(OPENING, CLOSING, *phrases)
        )

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options = segment.context.config.scenarios
        phrases = segment.bank.recorded(options.message_phrases)
        n = min(segment.whole(options.n_message_phrases), len(phrases))
        chosen = [phrases[i] for i in segment.rng.permutation(len(phrases))[:n]]
        at = segment.recite((OPENING,), start)[0].end_sample + segment.draw(GAP_S)
        spoken_until = 0
        for number, text in enumerate(chosen):
            phrase = segment.recite((text,), at)[0]
            if number + 1 < n:
                at = phrase.end_sample + segment.draw(options.listening_pause_s)
                spoken_until = self._listen(segment, phrase, at, spoken_until)
            else:
                at = phrase.end_sample + segment.draw(GAP_S)
        closing = segment.recite((CLOSING,), at)[0]
        segment.react(closing, (REPLY,), event=TURN)

    def _listen(self, segment: SegmentBuilder, phrase: Span, until: int, spoken_until: int) -> int:
        """One listening point; returns when the agent has finished its backchannel."""
        texts = segment.context.config.scenarios.agent_backchannels
        text = texts[segment.choose(texts)]
        spoken = segment.say((text,), segment.rules.follow(phrase.end_sample, spoken_until))
        window = (phrase.end_sample, phrase.end_sample + segment.rules.samples(LISTEN_S))
        point = Span(start_sample=phrase.end_sample, end_sample=until, text="")
        segment.user_event(self.name, point, "backchannel", window, text)
        return spoken.end_sample
