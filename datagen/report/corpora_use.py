"""How much of each corpus is heard in a set, and why the rest is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import DEFAULT_NAME, Corpora
from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.datagen.corpora.utterance import LAYOUT, least_certain
from microturn.datagen.dialogue.sides import matching, on_side
from microturn.datagen.report.conversations_use import conversations_use, unheard_conversations
from microturn.datagen.report.heard import identities_of
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
    contents = contents or Contents()
    heard = Heard(contents)
    reasons = Reasons(corpus, config)
    use = {
        name: _use_of(reasons, utterances, heard) for name, utterances in _by_corpus(corpus).items()
    }
    is_drawn = "recorded" in config.weights
    for name, found in conversations_use(config, contents).items():
        row = use[name]
        share = round(row["share_of_speech"] + found["share_of_speech"], 4)
        speakers = {**row["speakers"], **found["speakers"]}
        row |= {**found, "share_of_speech": share, "speakers": speakers, "is_drawn": is_drawn}
    return use


def unheard(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for every corpus of which nothing is heard, nor spoken by the agent."""
    warnings = []
    for name, row in use.items():
        reasons = row["unused"]
        if row["share_of_speech"] == 0 and not reasons.get(AGENT) and row["recordings"]:
            counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
            warnings.append(f"corpus {name} is 0 % of the speech; unused recordings: {counts}")
        if row.get("conversations") and not row["conversations_heard"]:
            n, is_drawn = row["conversations"], row["is_drawn"]
            warnings.append(unheard_conversations(name, n, is_drawn=is_drawn))
    return warnings


def hopeless(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for every corpus that no dialogue of the configuration can use."""
    possible = (AGENT, NOT_DRAWN)
    return unheard(
        {
            name: row
            for name, row in use.items()
            if not any(row["unused"].get(reason) for reason in possible) and not row.get("is_drawn")
        }
    )


def use_lines(use: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Format the section of the card."""
    lines = ["| corpus | recordings | heard | share of speech | unused, by reason |"]
    lines.append("|---|---:|---:|---:|---|")
    for name, row in use.items():
        reasons = ", ".join(f"{n} {reason}" for reason, n in row["unused"].items()) or "none"
        share = f"{row['share_of_speech']:.1%}" if row["share_of_speech"] else "**0 %**"
        counts = [str(row["recordings"]), str(row["heard"])]
        if "conversations" in row:
            counts[0] += f", {row['conversations']} conversations"
            counts[1] += f", {row['conversations_heard']} conversations"
        lines.append(f"| {name} | {' | '.join(counts)} | {share} | {reasons} |")
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


def _by_corpus(corpus: Corpus) -> dict[str, Utterances]:
    """Return the recordings of each corpus, by the name that `corpus=` has for it."""
    if not isinstance(corpus, Corpora):
        return {_name(corpus): corpus.utterances}
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for number, part in enumerate(corpus.parts):
        numbers[_name(part)].append(number)
    return {name: corpus.of_parts(own) for name, own in numbers.items()}


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

    def shares_of(self, utterances: Utterances) -> dict[int, float]:
        """Return the shares, not counted yet, of those that are heard, by their place."""
        places = np.flatnonzero(utterances.is_one_of("speaker", self._speakers))
        known = utterances.at(utterances.rows[places])
        facts = zip(places.tolist(), known.texts("speaker"), identities_of(known), strict=True)
        return {
            place: self._left[speaker].pop(identity, 0.0) / self._total
            for place, speaker, identity in facts
            if identity in self._speakers[speaker]
        }


def _use_of(reasons: Reasons, utterances: Utterances, heard: Heard) -> dict[str, Any]:
    speakers = utterances.texts("speaker")
    shares = dict.fromkeys(speakers, 0.0)
    found = heard.shares_of(utterances)
    for place, share in found.items():
        shares[speakers[place]] += share
    silent = np.ones(len(utterances), np.bool_)
    silent[list(found)] = False
    unused = Counter(reasons.of(utterances.where(silent)))
    return {
        "recordings": len(utterances),
        "heard": len(found),
        "share_of_speech": round(sum(shares.values()), 4),
        "unused": dict(unused.most_common()),
        "speakers": {name: round(share, 4) for name, share in sorted(shares.items())},
        "licence_from": least_certain(utterances.distinct("licence_from")),
    }


class Reasons:
    """Says why a recording is not in a set of a configuration."""

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        voices, vocabulary = config.voices, config.vocabulary
        self._config = config
        self._keys = set(corpus.filter(speaker=voices.agent).distinct("key")) - {""}
        said = (*vocabulary.stop_phrases, *vocabulary.backchannels, *vocabulary.greetings)
        self._phrases = {canonical(text) for text in said}
        self._open = has_open(config)

    def of(self, utterances: Utterances) -> list[str]:
        """Return a reason of MEANINGS for each, with the language if that is it."""
        voices = self._config.voices
        reasons = self._open_reasons(utterances) if self._open else self._closed_reasons(utterances)
        reasons[~on_side(utterances, self._config.split, unseen=voices.unseen)] = SPLIT
        reasons[utterances.n_words() == 0] = NO_WORDS
        reasons[utterances.has("tag", "music")] = NOT_DRAWN
        reasons[utterances.is_one_of("speaker", (voices.user,))] = NOT_DRAWN
        reasons[utterances.is_one_of("speaker", (voices.agent,))] = AGENT
        return list(map(str, reasons))

    def _open_reasons(self, utterances: Utterances) -> NDArray[np.object_]:
        agents = matching(self._config.voices.agent, utterances.distinct("speaker"))
        return np.where(utterances.is_one_of("speaker", agents), AGENT, NOT_DRAWN).astype(object)

    def _closed_reasons(self, utterances: Utterances) -> NDArray[np.object_]:
        fits = utterances.is_between("duration_s", MIN_LENGTH_S, MAX_LENGTH_S)
        fits |= utterances.is_one_of("canonical", self._phrases)
        reasons = np.where(fits, NOT_DRAWN, LENGTH).astype(object)
        foreign = ~utterances.is_one_of("language", ("en",))
        languages = utterances.where(foreign).texts("language")
        reasons[foreign] = [f"{LANGUAGE} {name or 'unknown'}" for name in languages]
        reasons[foreign & utterances.is_one_of("key", self._keys)] = NOT_DRAWN
        return reasons
