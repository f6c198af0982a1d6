"""Counts who and what is heard in dialogues, by the recordings that their words come from."""

from __future__ import annotations

from microturn.datagen.corpora.manifest import Corpus, Utterance
from microturn.datagen.labels.dialogue import DialogueLabels, WordLabel
from microturn.datagen.sets.contents import Contents, digest_of
from microturn.model.streams import normalise

HEARD_LANES = ("user", "background")


def identity_of(utterance: Utterance) -> str:
    """Return a digest of a recording that is the same in every corpus that holds it."""
    times = (utterance.duration_s, utterance.start_s, utterance.end_s)
    return digest_of(normalise(utterance.text), *(f"{t:.3f}" for t in times), utterance.size)


def add_dialogue(contents: Contents, labels: DialogueLabels, corpus: Corpus) -> None:
    """Count the voices, recordings, sentences and the room of one dialogue."""
    for lane in HEARD_LANES:
        for word in labels.words.of(lane):
            speaker, recording = _origin(word, corpus)
            contents.hear(speaker, recording, word.end_s - word.start_s)
    for event in labels.events:
        if event.speaker == "user" and event.text:
            _count(contents.sentences, digest_of(normalise(event.text)))
    room = labels.room
    _count(contents.rooms, digest_of(room.size_m, room.near_m))


def _origin(word: WordLabel, corpus: Corpus) -> tuple[str, str]:
    """Return the person and the recording of a word; a unit of no corpus has its own names."""
    if word.source in corpus:
        utterance = corpus[word.source]
        return utterance.speaker, identity_of(utterance)
    return word.voice, digest_of(word.source)


def _count(counts: dict[str, float], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
