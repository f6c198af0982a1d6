"""A request of one word, said by the users' voice or recorded by somebody else."""

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.voice_names import speaker_of, variant_of
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register


@register
class OneWordScenario:
    name = "one_word"
    asks = ("letter", "greeting")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        echoed = config.vocabulary.echoed
        return Words(agent=echoed, user=() if config.voices.people == "unseen" else echoed)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        bank, config = segment.bank, segment.context.config
        strangers, voice = bank.strangers, segment.context.voice
        if config.scenarios.string_share and segment.chance(config.scenarios.string_share):
            said = strangers.strings[segment.choose(strangers.strings)]
            unit = bank.request(said, said.utterance.text, bank.variants.of_other(segment.rng))
            segment.place(unit, start, lane="user")
            return
        person, variant = speaker_of(voice), variant_of(voice)
        share = config.scenarios.another_asks
        if share and segment.chance(share):
            person, text = strangers.requests[segment.choose(strangers.requests)]
            variant = bank.variants.of_other(segment.rng)
        else:
            texts = strangers.texts(person)
            text = texts[segment.choose(texts)]
        takes = strangers.takes(person, text)
        if takes:
            take = takes[segment.choose(takes)]
            asked = segment.place(bank.request(take, text, variant), start, lane="user")
        else:
            (asked,) = segment.recite((text,), start)
        if text not in config.vocabulary.unanswered:
            segment.answer(segment.questions.one_word(text), asked)
