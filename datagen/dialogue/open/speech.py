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
from functools import cached_property
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.catalogue import Mask, Utterances
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.sides import matching, on_side
from microturn.datagen.dialogue.units import Unit, UnitBank
from microturn.datagen.dialogue.voice_mixture import ASIDE_S, MAX_BACKCHANNEL_S, MAX_STOP_S

MAX_LINE_S: Final = 20.0  # longer recordings are not used as one line
MIN_CHAPTER: Final = 3  # lines; shorter chapters of a speaker are read as one
KEPT_SAMPLES: Final = 16_000 * 600  # of units that are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class SpokenLine:
    """What is known of a recording without reading it."""

    id: str
    duration_s: float
    is_told: bool  # long enough to be told, read or asked


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """The recordings of one person on the side of a split; their lines are listed when asked for.

    Masks are (n,), of the recordings.
    """

    name: str
    language: str
    recordings: Utterances
    is_told: Mask
    is_stop: Mask
    is_backchannel: Mask
    is_go_on: Mask

    @cached_property
    def n_told(self) -> int:
        return int(self.is_told.sum())

    @cached_property
    def chapters(self) -> tuple[tuple[SpokenLine, ...], ...]:
        names, told = self.recordings.texts("id"), self.is_told.tolist()
        facts = zip(names, self.recordings.numbers("duration_s").tolist(), told, strict=True)
        return _chapters(
            [SpokenLine(id=name, duration_s=s, is_told=is_told) for name, s, is_told in facts]
        )

    @cached_property
    def told(self) -> tuple[SpokenLine, ...]:
        return tuple(line for chapter in self.chapters for line in chapter if line.is_told)

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """Ids of phrases that stop the agent."""
        return tuple(self.recordings.where(self.is_stop).texts("id"))

    @cached_property
    def backchannels(self) -> tuple[str, ...]:
        """Ids of backchannels."""
        return tuple(self.recordings.where(self.is_backchannel).texts("id"))

    @cached_property
    def go_ons(self) -> tuple[str, ...]:
        """Ids of phrases that ask the agent to go on."""
        return tuple(self.recordings.where(self.is_go_on).texts("id"))

    @cached_property
    def has_asides(self) -> bool:
        """Whether one of the told lines has the length of an aside."""
        fits = self.recordings.is_between("duration_s", *ASIDE_S)
        return bool((fits & self.is_told).any())


class OpenSpeech:
    """The speakers of a corpus on the side of a split, and units of their recordings."""

    def __init__(self, bank: UnitBank, config: DatagenConfig) -> None:
        self.bank = bank
        self._kept: OrderedDict[tuple[str, str, bool], Unit] = OrderedDict()
        self._n_kept = 0
        self.speakers = _speakers(bank.corpus, config, split=config.split)
        self.agents = tuple(matching(config.voices.agent, self.speakers))
        # Agents of `voices.known_agents`, with their recordings on the side of training.
        self.known_agents: dict[str, Speaker] = {}
        if config.voices.known_agents:
            trained = _speakers(bank.corpus, config, split="train")
            names = matching(config.voices.agent, trained.keys() - self.speakers.keys())
            self.known_agents = {name: trained[name] for name in names}
        self._with_something_to_tell: dict[str, tuple[str, ...]] = {
            language: tuple(
                name
                for name, speaker in sorted(self.speakers.items())
                if speaker.language == language and speaker.n_told
            )
            for language in {speaker.language for speaker in self.speakers.values()}
        }
        self._interjectors = {
            name
            for name, speaker in self.speakers.items()
            if speaker.is_stop.any() and speaker.is_backchannel.any()
        }

    def agent(self, name: str) -> Speaker | None:
        """The speaker of an agent; None for one of a recorded conversation alone."""
        return self.speakers.get(name) or self.known_agents.get(name)

    def agent_unit(self, line_id: str) -> Unit:
        """A recording as the agent says it: unaltered, at the agent's level."""
        return self._unit(line_id, "", as_agent=True)

    def user_unit(self, line_id: str, variant: str) -> Unit:
        """A recording as a user says it, in a variant."""
        return self._unit(line_id, variant, as_agent=False)

    def partners(self, agent: str) -> tuple[str, ...]:
        """Everybody else with something to tell in the language of an agent."""
        return tuple(name for name in self._peers(agent) if name != agent)

    def has_partners(self, agent: str) -> bool:
        """Whether there is one."""
        return self._peers(agent) not in ((), (agent,))

    def _peers(self, agent: str) -> tuple[str, ...]:
        """Those with something to tell in the language of an agent, who may be one of them."""
        speaker = self.agent(agent)
        return () if speaker is None else self._with_something_to_tell[speaker.language]

    def interjectors(self, agent: str) -> tuple[str, ...]:
        """Those of them who have recorded both backchannels and phrases that stop the agent."""
        return tuple(name for name in self.partners(agent) if name in self._interjectors)

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


def _speakers(corpus: Corpus, config: DatagenConfig, *, split: str) -> dict[str, Speaker]:
    vocabulary, everything = config.vocabulary, corpus.utterances
    spoken = everything.where(
        ~everything.is_one_of("speaker", ("",))
        & ~everything.is_one_of("text", ("",))
        & (everything.n_words() > 0)
        & ~everything.has("tag", "music")
        & on_side(everything, split, unseen=config.voices.unseen)
        & (everything.numbers("duration_s") <= MAX_LINE_S)
    )
    stops, is_stop = _said(
        spoken, (*vocabulary.stop_phrases, *vocabulary.stop_words), longest_s=MAX_STOP_S
    )
    backchannels, is_backchannel = _said(
        spoken, vocabulary.backchannels, longest_s=MAX_BACKCHANNEL_S
    )
    go_ons, is_go_on = _said(spoken, config.scenarios.go_on_phrases, longest_s=MAX_STOP_S)
    shortest = config.scenarios.line_words
    is_told = spoken.numbers("text_words") >= shortest
    if shortest > 1:
        is_told &= ~(stops | backchannels | go_ons)
    return {
        name: Speaker(
            name=name,
            language=spoken[places[:1]].texts("language")[0],
            recordings=spoken[places],
            is_told=is_told[places],
            is_stop=is_stop[places],
            is_backchannel=is_backchannel[places],
            is_go_on=is_go_on[places],
        )
        for name, places in spoken.places_of("speaker").items()
    }


def _said(spoken: Utterances, phrases: Iterable[str], *, longest_s: float) -> tuple[Mask, Mask]:
    """Return which recordings are one of these phrases, and which of those are not too long."""
    said = spoken.is_one_of("canonical", map(canonical, phrases))
    return said, said & (spoken.numbers("duration_s") <= longest_s)


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
    return {name: speech.speakers[name].n_told ** 0.5 for name in sorted(names)}
