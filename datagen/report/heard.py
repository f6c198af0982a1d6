"""Counts who and what is heard in dialogues, by the recordings that their words come from."""

from __future__ import annotations

import numpy as np

from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.labels.dialogue import DialogueLabels, ItemLabel, WordLabel
from microturn.datagen.sets.contents import Contents, digest_of
from microturn.datagen.sets.credits import Credit
from microturn.model.streams import normalise

HEARD_LANES = ("user", "background")
_TIMES = ("duration_s", "start_s", "end_s")


def identity_of(utterance: Utterance) -> str:
    """Return a digest of a recording that is the same in every corpus that holds it."""
    times = tuple(getattr(utterance, name) for name in _TIMES)
    return _identity(normalise(utterance.text), times, utterance.size)


def identities_of(utterances: Utterances) -> list[str]:
    """Return `identity_of` each recording, none of which is read."""
    texts, sizes = utterances.texts("text"), utterances.numbers("size").tolist()
    times = zip(*(utterances.numbers(name).tolist() for name in _TIMES), strict=True)
    return [_identity(*facts) for facts in zip(texts, times, sizes, strict=True)]


def _identity(text: str, times: tuple[float, ...], size: int) -> str:
    return digest_of(text, *(f"{t:.3f}" for t in times), size)


def add_dialogue(contents: Contents, labels: DialogueLabels, corpus: Corpus) -> None:
    """Count the voices, recordings, sentences, the room and the licences of one dialogue."""
    if contents.credits is not None:
        # What is synthesised, as noise, has no licence.
        contents.credits.update(_credit(item, corpus) for item in labels.items if item.licence)
    for lane in HEARD_LANES:
        for word in labels.words.of(lane):
            speaker, recording = _origin(word, corpus)
            contents.hear(speaker, recording, word.end_s - word.start_s)
    for event in labels.events:
        if event.speaker == "user" and event.text:
            _count(contents.sentences, digest_of(normalise(event.text)))
    contents.n_typed += sum(text.read.is_typed for text in labels.text_in)
    room = labels.room
    _count(contents.rooms, digest_of(room.size_m, room.near_m))


def credit_of(utterance: Utterance, corpus: Corpus) -> Credit:
    """Return whom a recording is owed to."""
    return Credit(
        licence=utterance.licence,
        attribution=corpus.attribution_of(utterance),
        language=utterance.language,
        speaker=utterance.speaker,
    )


def credits_of(utterances: Utterances, corpus: Corpus) -> set[Credit]:
    """Return `credit_of` all recordings, of which one for each different credit is read."""
    facts = [utterances.numbers(name) for name in ("licence", "language", "speaker", "source")]
    facts.append(corpus.part_of(utterances.rows))
    _, first = np.unique(np.stack(facts), axis=1, return_index=True)
    return {credit_of(one, corpus) for one in utterances.at(utterances.rows[first])}


def _credit(item: ItemLabel, corpus: Corpus) -> Credit:
    if item.id in corpus:
        return credit_of(corpus[item.id], corpus)
    return Credit(
        licence=item.licence, attribution="", language=item.language, speaker=item.speaker
    )


def _origin(word: WordLabel, corpus: Corpus) -> tuple[str, str]:
    """Return the person and the recording of a word; a unit of no corpus has its own names."""
    if word.source in corpus:
        utterance = corpus[word.source]
        return utterance.speaker, identity_of(utterance)
    return word.voice, digest_of(word.source)


def _count(counts: dict[str, float], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
