"""The user speaks another language; the agent says each word in English while the user goes on."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.phrases import Phrases
from microturn.datagen.dialogue.rules import TRANSLATE_S
from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

MIN_LEAD_S = 0.1  # the next word begins at most this long before the agent's translation


@register
class TranslationScenario:
    """Parallel recordings: a word of one language and the agent's word with the same key."""

    name = "translation"
    asks = ()

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        pairs = _pairs(config.scenarios.languages, bank)
        return Words(
            agent=tuple(text for phrases in pairs for text in phrases.texts),
            texts=tuple(text for phrases in pairs for text in phrases.utterances.texts("text")),
        )

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options, rules = segment.context.config.scenarios, segment.rules
        languages = [name for name in options.languages if segment.bank.parallel(name)]
        pairs = segment.bank.parallel(languages[segment.choose(languages)])
        n = min(segment.whole(options.n_translated), len(pairs))
        at, spoken_until = start, 0
        for index in segment.rng.permutation(len(pairs))[:n]:
            phrase = pairs[index]
            heard = segment.place(
                segment.bank.foreign(phrase, segment.context.voice), at, lane="user"
            )
            window = (heard.end_sample, heard.end_sample + rules.samples(TRANSLATE_S))
            spoken = segment.say((phrase.text,), rules.follow(heard.end_sample, spoken_until))
            if not window[0] <= spoken.start_sample < window[1]:
                raise DoesNotFit
            segment.user_event(self.name, heard, "say", window, phrase.text)
            spoken_until = spoken.end_sample
            # A word that ends before the last one was begun to be translated would confuse both.
            earliest = spoken.start_sample - rules.samples(MIN_LEAD_S)
            at = max(heard.end_sample + segment.draw(options.translation_gap_s), earliest)


def _pairs(languages: tuple[str, ...], bank: UnitBank) -> list[Phrases]:
    """Return the words of each language that has any."""
    pairs = [phrases for phrases in map(bank.parallel, languages) if phrases]
    if not pairs:
        raise ValueError(
            f"{bank.corpus.name} has no words of scenarios.languages={list(languages)} that the "
            "agent can say in its own; set families.translation=0 or add a corpus that has them"
        )
    return pairs
