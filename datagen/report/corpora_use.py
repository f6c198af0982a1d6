"""How much of each corpus is heard in a set, and why the rest is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.adding.summary import licence_origin
from microturn.datagen.corpora.home import DEFAULT_NAME, Corpora
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, LAYOUT, Corpus, Utterance
from microturn.datagen.dialogue.sides import is_on_side, matching
from microturn.datagen.dialogue.units import canonical
from microturn.datagen.report.heard import identity_of
from microturn.datagen.scenarios.background.background import MAX_LENGTH_S, MIN_LENGTH_S
from microturn.datagen.scenarios.open.casting import has_open
from microturn.datagen.sets.contents import Contents

# Why a recording is not heard. All but the last two hold for every dialogue of the configuration.
LANGUAGE, NO_WORDS, SPLIT, LENGTH = "language", "no_words", "split", "length"
AGENT, NOT_DRAWN = "agent", "not_drawn"
MEANINGS: Final = {
    LANGUAGE: "its language is neither English nor one of a translation",
    NO_WORDS: "it has no words",
    SPLIT: "its speaker is on the other side of the split, or in `voices.unseen`",
    LENGTH: f"it is no phrase of the vocabulary, and no line of {MIN_LENGTH_S} to {MAX_LENGTH_S} s",
    AGENT: "it is the agent's voice, which is not heard but spoken",
    NOT_DRAWN: "it may be heard, and was not drawn",
}
_SHOWN: Final = 20  # speakers in the text


def use_of(
    corpus: Corpus, config: DatagenConfig, contents: Contents | None = None
) -> dict[str, dict[str, Any]]:
    """Count the recordings of each corpus: heard, and unused by reason, with shares of speech.

    Without contents nothing is drawn yet: `unused` then counts what cannot be heard.
    """
    heard = Heard(contents or Contents())
    reasons = Reasons(corpus, config)
    return {
        name: _use_of(reasons, utterances, heard) for name, utterances in _by_corpus(corpus).items()
    }


def unheard(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for every corpus of which nothing is heard, nor spoken by the agent."""
    warnings = []
    for name, row in use.items():
        reasons = row["unused"]
        if row["share_of_speech"] == 0 and not reasons.get(AGENT) and row["recordings"]:
            counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
            warnings.append(f"corpus {name} is 0 % of the speech; unused recordings: {counts}")
    return warnings


def hopeless(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for every corpus that no dialogue of the configuration can use."""
    possible = (AGENT, NOT_DRAWN)
    return unheard(
        {
            name: row
            for name, row in use.items()
            if not any(row["unused"].get(reason) for reason in possible)
        }
    )


def use_lines(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Format the section of the card."""
    lines = ["| corpus | recordings | heard | share of speech | unused, by reason |"]
    lines.append("|---|---:|---:|---:|---|")
    for name, row in use.items():
        reasons = ", ".join(f"{n} {reason}" for reason, n in row["unused"].items()) or "none"
        share = f"{row['share_of_speech']:.1%}" if row["share_of_speech"] else "**0 %**"
        lines.append(f"| {name} | {row['recordings']} | {row['heard']} | {share} | {reasons} |")
    found = {reason.split(" ")[0] for row in use.values() for reason in row["unused"]}
    lines += ["", *(f"- `{name}`: {text}" for name, text in MEANINGS.items() if name in found)]
    people = sorted(
        (
            (share, who, name)
            for name, row in use.items()
            for who, share in row["speakers"].items()
            if share
        ),
        key=lambda item: (-item[0], item[1]),
    )
    lines += ["", "| speaker | corpus | share of speech |", "|---|---|---:|"]
    lines += [f"| {who or '(unknown)'} | {name} | {s:.1%} |" for s, who, name in people[:_SHOWN]]
    if len(people) > _SHOWN:
        lines.append(f"| ({len(people) - _SHOWN} more) | | |")
    assumed = [name for name, row in use.items() if row["licence_from"] == LAYOUT]
    if assumed:
        names = ", ".join(assumed)
        lines += ["", f"Licences of {names} are assumed from the layout of the files, not stated."]
    return lines


def _by_corpus(corpus: Corpus) -> dict[str, Sequence[Utterance]]:
    """Return the recordings of each corpus, by the name that `corpus=` has for it."""
    if not isinstance(corpus, Corpora):
        return {_name(corpus): corpus.utterances}
    members: defaultdict[str, list[Utterance]] = defaultdict(list)
    for part in corpus.parts:
        members[_name(part)] = []
    for utterance in corpus:
        members[_name(corpus.owner(utterance))].append(utterance)
    return dict(members)


def _name(corpus: Corpus) -> str:
    folder = corpus.folder
    is_default = isinstance(folder, Path) and folder.absolute() == DEFAULT_FOLDER
    return DEFAULT_NAME if is_default else folder.name


class Heard:
    """Shares of the speech by recording; one that a corpus holds twice counts once."""

    def __init__(self, contents: Contents) -> None:
        self._left = {name: dict(found) for name, found in contents.speakers.items()}
        self._speakers = contents.speakers
        self._total = sum(contents.seconds.values()) or 1.0

    def share_of(self, utterance: Utterance) -> float | None:
        """Return the share of a recording that is not counted yet; None for one not heard."""
        identity, speaker = identity_of(utterance), utterance.speaker
        if identity not in self._speakers.get(speaker, {}):
            return None
        return self._left[speaker].pop(identity, 0.0) / self._total


def _use_of(reasons: Reasons, utterances: Sequence[Utterance], heard: Heard) -> dict[str, Any]:
    shares: defaultdict[str, float] = defaultdict(float)
    unused: Counter[str] = Counter()
    n_heard = 0
    for utterance in utterances:
        share = heard.share_of(utterance)
        shares[utterance.speaker] += share or 0.0
        if share is None:
            unused[reasons.of(utterance)] += 1
        else:
            n_heard += 1
    return {
        "recordings": len(utterances),
        "heard": n_heard,
        "share_of_speech": round(sum(shares.values()), 4),
        "unused": dict(unused.most_common()),
        "speakers": {name: round(share, 4) for name, share in sorted(shares.items())},
        "licence_from": licence_origin(utterances),
    }


class Reasons:
    """Says why a recording is not in a set of a configuration."""

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        voices, vocabulary = config.voices, config.vocabulary
        self._config = config
        self._keys = {u.key for u in corpus.filter(speaker=voices.agent)} - {""}
        said = (*vocabulary.stop_phrases, *vocabulary.backchannels, *vocabulary.greetings)
        self._phrases = {canonical(text) for text in said}
        self._open = has_open(config)

    def of(self, utterance: Utterance) -> str:
        """Return a reason of MEANINGS, with the language if that is it."""
        if utterance.speaker == self._config.voices.agent:
            return AGENT
        if utterance.speaker == self._config.voices.user or "music" in utterance.tags:
            return NOT_DRAWN
        if not utterance.words:
            return NO_WORDS
        if not is_on_side(utterance, self._config.split, unseen=self._config.voices.unseen):
            return SPLIT
        if self._open:
            is_agent = bool(matching(self._config.voices.agent, (utterance.speaker,)))
            return AGENT if is_agent else NOT_DRAWN
        if utterance.language != "en":
            translated = utterance.key in self._keys
            return NOT_DRAWN if translated else f"{LANGUAGE} {utterance.language or 'unknown'}"
        fits = MIN_LENGTH_S <= utterance.duration_s <= MAX_LENGTH_S
        return NOT_DRAWN if fits or canonical(utterance.text) in self._phrases else LENGTH
