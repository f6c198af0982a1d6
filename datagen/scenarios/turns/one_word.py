"""A request of one word, said by the users' voice or by somebody who is in no training set."""

from microturn.datagen.corpora.index.phrases import Phrase
from microturn.datagen.scenarios.base import SegmentBuilder, register


@register
class OneWordScenario:
    name = "one_word"
    asks = ("letter", "greeting")

    def build(self, segment: SegmentBuilder, start: int) -> None:
        strangers, voice = segment.bank.strangers, segment.context.voice
        texts = strangers.texts(voice)
        text = texts[segment.choose(texts)]
        takes = strangers.takes(voice, text)
        if takes:
            phrase = Phrase(utterance=takes[segment.choose(takes)], text=text)
            asked = segment.utter(phrase, start)
        else:
            (asked,) = segment.recite((text,), start)
        segment.answer(segment.questions.one_word(text), asked)
