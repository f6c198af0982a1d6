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
        strangers, voice = segment.bank.strangers, segment.context.voice
        person = speaker_of(voice)
        texts = strangers.texts(person)
        text = texts[segment.choose(texts)]
        takes = strangers.takes(person, text)
        if takes:
            take = takes[segment.choose(takes)]
            unit = segment.bank.request(take, text, variant_of(voice))
            asked = segment.place(unit, start, lane="user")
        else:
            (asked,) = segment.recite((text,), start)
        if text not in segment.context.config.vocabulary.unanswered:
            segment.answer(segment.questions.one_word(text), asked)
