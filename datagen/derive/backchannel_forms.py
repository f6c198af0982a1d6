"""Words of listeners by language: what a backchannel says.

A backchannel is one of these forms or several of them in a row ("oh okay", "yeah right"). Sources:

- `en`: Jurafsky, Shriberg & Biasca 1997, SWBD-DAMSL Coders Manual, tags b (acknowledge), bh
  (backchannel as a question), bk (response acknowledgement) and ba (appreciation).
- `cs`, `it`, `nl`: N. Ward, Common Backchannels (utep.edu/nigel/bc/common-bcs.html), completed by
  their spellings in transcripts.
- `de`, `nl`: Knudsen, Creemers & Meyer 2020, Front. Psychol. 11:593671 (ja, hm, oke/okay, genau).
- `fr`: Prevot, Bigi & Bertrand 2013, SIGDIAL (feedback markers: mh, ouais, oui, d'accord, voila).
- `es`, `ru`: we know of no published count; common forms of the two kinds that Liesenfeld &
  Dingemanse 2022, Interspeech, find in most languages, a nasal `mm` and a fuller `yeah`.

`derive.more_backchannels` adds those of a corpus.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from microturn.datagen.corpora.languages import language_tag
from microturn.datagen.labels.dialogue import word_list

_ANY: Final = "m mm mmm mh mhm mhmm hm hmm hmmm mm-hm mm-hmm uh-huh uhhuh aha ah oh okay ok"
FORMS: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        *("um-hum", "um-hm", "uh-hum", "huh", "huh-uh", "yeah", "yep", "yup", "yes", "no", "nope"),
        *("right", "alright", "all right", "sure", "exactly", "absolutely", "definitely", "indeed"),
        *("true", "correct", "certainly", "of course", "i see", "i know", "i understand"),
        *("i bet", "you bet", "i agree", "got it", "gotcha", "fair enough", "makes sense"),
        *("that's right", "that's true", "that's correct", "that's okay", "that's good"),
        *("that's great", "that's nice", "that's funny", "that's interesting", "really"),
        *("is that right", "oh really", "oh my", "oh boy", "oh no", "oh well", "wow", "gosh"),
        *("gee", "my goodness", "good", "great", "very good", "nice", "neat", "cool", "fine"),
        *("excellent", "wonderful", "perfect", "interesting", "good idea", "well"),
    ),
    "de": (
        *("ja", "jaja", "jo", "nee", "nein", "doch", "genau", "stimmt", "richtig", "klar", "gut"),
        *("na klar", "natürlich", "achso", "ach so", "ach", "aha", "echt", "wirklich", "okay"),
        *("alles klar", "schön", "super", "krass", "ach ja", "ja genau", "na ja", "eben"),
    ),
    "nl": (
        *("ja", "jaja", "jawel", "nee", "nou", "zo", "hela", "oké", "goed", "precies", "inderdaad"),
        *("klopt", "tuurlijk", "natuurlijk", "echt", "leuk", "mooi", "oh ja", "ach", "hè"),
    ),
    "fr": (
        *("ouais", "oui", "mh mh", "d'accord", "voilà", "bon", "ben oui", "ah bon", "ah oui"),
        *("ah ouais", "ok", "non", "c'est ça", "exactement", "bien sûr", "c'est vrai", "je vois"),
        *("tout à fait", "effectivement", "super", "hein", "ah d'accord", "vraiment"),
    ),
    "it": (
        *("sì", "si", "eh", "eh sì", "mh", "no", "certo", "esatto", "vero", "infatti", "già"),
        *("va bene", "bene", "ho capito", "capito", "d'accordo", "ah ecco", "ecco", "ah sì"),
        *("appunto", "davvero", "giusto", "bello"),
    ),
    "es": (
        *("sí", "si", "ya", "claro", "vale", "ajá", "bueno", "bien", "eso", "exacto", "así es"),
        *("no", "ah sí", "de acuerdo", "entiendo", "ya veo", "por supuesto", "cierto", "en serio"),
        *("qué bien", "ah ya", "muy bien", "verdad", "órale", "dale"),
    ),
    "ru": (
        *("угу", "ага", "да", "да да", "ну да", "так", "нет", "ну", "мм", "м", "хм", "ясно"),
        *("понятно", "понял", "поняла", "конечно", "точно", "верно", "хорошо", "ладно", "правда"),
        *("вот", "именно", "здорово", "а", "ах", "ой", "ничего себе", "окей"),
    ),
    "cs": (
        *("jo", "tak jo", "no", "no jo", "ano", "jasně", "jasný", "dobře", "dobrý", "aha", "hm"),
        *("přesně", "fakt", "fakt jo", "vážně", "rozumím", "chápu", "určitě", "samozřejmě", "ne"),
        *("no jasně", "super", "pravda", "že jo", "mhm"),
    ),
}


def is_backchannel(text: str, language: str, more: tuple[str, ...] = ()) -> bool:
    """Whether a text is made of backchannel forms only; of any language where it has no list."""
    words = word_list(text)
    forms = _forms(language_tag(language), more)
    reached = {0}  # numbers of words that whole forms cover
    for at in range(len(words)):
        if at in reached:
            reached |= {at + len(form) for form in forms if words[at : at + len(form)] == form}
    return bool(words) and len(words) in reached


@cache
def _forms(language: str, more: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    lists = (FORMS[language],) if language in FORMS else tuple(FORMS.values())
    texts = (*_ANY.split(), *more, *(text for texts in lists for text in texts))
    return frozenset(word_list(text) for text in texts)
