"""Counts who and what is heard in dialogues, by the recordings that their words come from."""

from __future__ import annotations

from microturn.datagen.corpora.manifest import Corpus, Utterance
from microturn.datagen.labels.dialogue import DialogueLabels, ItemLabel, WordLabel
from microturn.datagen.sets.contents import Contents, digest_of
from microturn.datagen.sets.credits import Credit
from microturn.model.streams import normalise

HEARD_LANES = ("user", "background")


def identity_of(utterance: Utterance) -> str:
    """Return a digest of a recording that is the same in every corpus that holds it."""
    times = (utterance.duration_s, utterance.start_s, utterance.end_s)
    return digest_of(normalise(utterance.text), *(f"{t:.3f}" for t in times), utterance.size)


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
