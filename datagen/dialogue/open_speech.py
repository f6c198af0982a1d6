"""Whole recordings of many voices, for scenarios of open speech: who has said what, in which order.

Lines are known by the id of their recording; a unit is made when it is asked for, and the last
ones are kept. The lines of a speaker stand in the order of their ids, and are divided into chapters
where ids say so: `1034-121119-0001` and `1034-121119-0002` have the chapter `1034-121119-`.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.sides import is_on_side, matching
from microturn.datagen.dialogue.units import Unit, UnitBank, canonical
from microturn.datagen.dialogue.voice_mixture import MAX_BACKCHANNEL_S, MAX_STOP_S
from microturn.model.streams import normalise

MAX_LINE_S: Final = 20.0  # longer recordings are not used as one line
MIN_LINE_WORDS: Final = 3  # of what is told, read or asked
MIN_CHAPTER: Final = 3  # lines; shorter chapters of a speaker are read as one
KEPT_SAMPLES: Final = 16_000 * 600  # of units that are kept


@dataclass(frozen=True, kw_only=True)
class SpokenLine:
    """What is known of a recording without reading it."""

    id: str
    duration_s: float
    is_told: bool  # long enough to be told, read or asked


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """The recordings of one person on the side of a split."""

    name: str
    language: str
    chapters: tuple[tuple[SpokenLine, ...], ...]
    stops: tuple[str, ...]  # ids of phrases that stop the agent
    backchannels: tuple[str, ...]
    go_ons: tuple[str, ...]  # ids of phrases that ask the agent to go on

    @property
    def told(self) -> tuple[SpokenLine, ...]:
        return tuple(line for chapter in self.chapters for line in chapter if line.is_told)


class OpenSpeech:
    """The speakers of a corpus on the side of a split, and units of their recordings."""

    def __init__(self, bank: UnitBank, config: DatagenConfig) -> None:
        self.bank = bank
        self._kept: OrderedDict[tuple[str, str, bool], Unit] = OrderedDict()
        self._n_kept = 0
        self.speakers = _speakers(bank.corpus, config)
        self.agents = tuple(matching(config.voices.agent, self.speakers))
        if not self.agents:
            raise ValueError(
                f"{bank.corpus.folder} has no speaker {config.voices.agent!r} (voices.agent) with "
                f"recordings for split={config.split}; its speakers are "
                f"{', '.join(sorted(self.speakers)[:8])}, ..."
            )

    def agent_unit(self, line_id: str) -> Unit:
        """A recording as the agent says it: unaltered, at the agent's level."""
        return self._unit(line_id, "", as_agent=True)

    def user_unit(self, line_id: str, variant: str) -> Unit:
        """A recording as a user says it, in a variant."""
        return self._unit(line_id, variant, as_agent=False)

    def partners(self, agent: str) -> tuple[str, ...]:
        """Everybody else with something to tell in the language of an agent."""
        language = self.speakers[agent].language
        return tuple(
            name
            for name, speaker in sorted(self.speakers.items())
            if name != agent and speaker.language == language and speaker.told
        )

    def interjectors(self, agent: str) -> tuple[str, ...]:
        """Those of them who have recorded both backchannels and phrases that stop the agent."""
        return tuple(
            name
            for name in self.partners(agent)
            if self.speakers[name].stops and self.speakers[name].backchannels
        )

    def _unit(self, line_id: str, variant: str, *, as_agent: bool) -> Unit:
        key = (line_id, variant, as_agent)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        utterance = self.bank.corpus[line_id]
        unit = self._kept[key] = self.bank.whole(utterance, variant, as_agent=as_agent)
        self._n_kept += unit.n_samples
        while self._n_kept > KEPT_SAMPLES and len(self._kept) > 1:
            self._n_kept -= self._kept.popitem(last=False)[1].n_samples
        return unit


def _speakers(corpus: Corpus, config: DatagenConfig) -> dict[str, Speaker]:
    vocabulary = config.vocabulary
    phrases = (
        (_texts((*vocabulary.stop_phrases, *vocabulary.stop_words)), MAX_STOP_S),
        (_texts(vocabulary.backchannels), MAX_BACKCHANNEL_S),
        (_texts(config.scenarios.go_on_phrases), MAX_STOP_S),
    )
    lines: defaultdict[str, list[SpokenLine]] = defaultdict(list)
    found: defaultdict[str, tuple[list[str], ...]] = defaultdict(lambda: ([], [], []))
    languages: dict[str, str] = {}
    for utterance in corpus:
        name = utterance.speaker
        text = normalise(utterance.text)
        if not name or not text or not utterance.words or "music" in utterance.tags:
            continue
        if not is_on_side(utterance, config.split, unseen=config.voices.unseen):
            continue
        if utterance.duration_s > MAX_LINE_S:
            continue
        languages.setdefault(name, utterance.language)
        spelled = canonical(text)
        said = False
        for (texts, longest_s), ids in zip(phrases, found[name], strict=True):
            if spelled in texts:
                said = True
                if utterance.duration_s <= longest_s:
                    ids.append(utterance.id)
        told = not said and len(text.split()) >= MIN_LINE_WORDS
        lines[name].append(
            SpokenLine(id=utterance.id, duration_s=utterance.duration_s, is_told=told)
        )
    return {
        name: Speaker(
            name=name,
            language=languages[name],
            chapters=_chapters(of_speaker),
            stops=tuple(found[name][0]),
            backchannels=tuple(found[name][1]),
            go_ons=tuple(found[name][2]),
        )
        for name, of_speaker in lines.items()
    }


def _texts(phrases: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical(phrase) for phrase in phrases)


def _chapters(lines: Sequence[SpokenLine]) -> tuple[tuple[SpokenLine, ...], ...]:
    """Divide lines by what their ids begin with; the shortest are one chapter together."""
    ordered = sorted(lines, key=lambda line: _natural(line.id))
    chapters: defaultdict[str, list[SpokenLine]] = defaultdict(list)
    for line in ordered:
        chapters[re.sub(r"\d+$", "", line.id)].append(line)
    long = [tuple(chapter) for chapter in chapters.values() if len(chapter) >= MIN_CHAPTER]
    kept = {line.id for chapter in long for line in chapter}
    rest = tuple(line for line in ordered if line.id not in kept)
    return (*long, rest) if rest else tuple(long)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def weights_of(speech: OpenSpeech, names: Collection[str]) -> dict[str, float]:
    """How often each of these speakers is drawn: the root keeps one of them from being most."""
    return {name: len(speech.speakers[name].told) ** 0.5 for name in sorted(names)}
