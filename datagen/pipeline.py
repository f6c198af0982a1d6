"""Simulates one dialogue by its index: recipe, script, audio, lanes, and its stored members."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from microturn.configs.paths import cache_folder
from microturn.datagen.acoustics.conditions import AcousticConditions, draw_conditions
from microturn.datagen.acoustics.noise import NoiseBeds
from microturn.datagen.acoustics.render import RenderedAudio, Renderer
from microturn.datagen.compose import write_script
from microturn.datagen.config import SPLITS, DatagenConfig
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.dialogue.expectations import expect_nothing_without_loss
from microturn.datagen.dialogue.human_timing import Pace
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.recipe import Recipe, draw_recipe
from microturn.datagen.dialogue.rules import Rules
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.dialogue.voice_mixture import VoiceMixture
from microturn.datagen.labels.dialogue import DialogueLabels, ItemLabel, word_list
from microturn.datagen.labels.event_types import plugin_types
from microturn.datagen.labels.voice_names import speaker_of, transform_of
from microturn.datagen.pack import pack
from microturn.datagen.scenarios import (
    DialogueContext,
    Questions,
    Script,
    is_open,
    require_words,
    scenarios_of,
    words_of,
)
from microturn.datagen.scenarios.open.casting import Casting, has_open
from microturn.datagen.scenarios.transplants.requests import require_requests
from microturn.datagen.sets.flac import FrameStore, encode_flac
from microturn.datagen.video.film import films
from microturn.datagen.video.unasked import add_unasked
from microturn.model.streams import FineMelCache, Lanes, Tokenizer
from microturn.model.streams.layout import FEATURES
from microturn.model.streams.pcm import to_pcm16

VOCABULARY_REPEATS = 1000  # makes every word of the vocabulary one token first


class ComposedDialogue(NamedTuple):
    """A dialogue before it is rendered."""

    script: Script
    families: list[str]  # of its segments, in order
    conditions: AcousticConditions


@dataclass(frozen=True, kw_only=True)
class RenderedDialogue:
    """One dialogue as it sounds: script and audio."""

    recipe: Recipe
    script: Script
    families: list[str]
    conditions: AcousticConditions
    sound: RenderedAudio

    @property
    def timeline(self) -> Timeline:
        return self.script.timeline


@dataclass(frozen=True, kw_only=True)
class SimulatedDialogue(RenderedDialogue):
    """One simulated dialogue with its lanes."""

    lanes: Lanes


def open_corpus(config: DatagenConfig) -> Corpus:
    cache = cache_folder(config.cache)
    return open_corpora(config.corpus, sample_rate=config.layout.sample_rate, cache=cache)


def make_tokenizer(config: DatagenConfig, bank: UnitBank) -> Tokenizer:
    """Train or load the tokenizer of a set; it is the same for all splits."""
    if config.tokenizer.path:
        return Tokenizer.load(config.tokenizer.path)
    transcribed = bank.corpus.filter(language=None if has_open(config) else "en")
    transcripts = transcribed.distinct("canonical")
    if all(is_open(scenario) for scenario in scenarios_of(config)):
        return Tokenizer.train(transcripts, config.tokenizer.vocab_size)
    questions = Questions(config.vocabulary)
    said = (*config.vocabulary.stop_phrases, *config.vocabulary.backchannels)
    phrases = {text for split in SPLITS for text in bank.phrases(said, split=split).texts}
    more = words_of(config, bank)
    vocabulary = sorted(
        {*questions.agent_words(), *questions.user_words(), *phrases}
        | {*more.agent, *more.user, *more.texts}
    )
    return Tokenizer.train(
        vocabulary * VOCABULARY_REPEATS + transcripts, config.tokenizer.vocab_size
    )


class Simulator:
    """Simulates any dialogue of a set, as a function of configuration and index."""

    def __init__(self, config: DatagenConfig, *, rooms: Path, tokenizer: Tokenizer) -> None:
        scenarios_of(config)  # refuses unknown names before anything is read
        self.config = config
        self.tokenizer = tokenizer
        self._layout_hash = config.layout.hash
        self.bank = UnitBank(open_corpus(config), config)
        self.questions = Questions(config.vocabulary)
        require_words(config, self.bank)
        self.beds = NoiseBeds.of(config, self.bank)
        self.sources = OpenSources(self.bank, config) if has_open(config) else None
        self._casting = None if self.sources is None else Casting(config, self.sources)
        if self.sources is not None:
            require_requests(config, self.sources)
        self._mixture = VoiceMixture(self.bank, config)
        # Audio repeats often if the agent's words start on micro-turns, and hardly otherwise.
        self._mel_cache = FineMelCache(config.layout) if config.timing.agent_on_grid else None
        self._frames = FrameStore() if config.timing.agent_on_grid else None
        self.renderer = Renderer(config, rooms, beds=self.beds)
        self._rules = Rules(config.layout, agent_on_grid=config.timing.agent_on_grid)

    @cached_property
    def agent_words(self) -> set[str] | None:
        """The words that the agent may say; None where scenarios of open speech let it say any."""
        if has_open(self.config):
            return None
        texts = words_of(self.config, self.bank).agent
        return {word for text in texts for word in word_list(text)}

    @property
    def known_agents(self) -> Collection[str]:
        """People of training who may be the agents of a test."""
        return () if self.sources is None else self.sources.speech.known_agents.keys()

    def recipe(self, index: int, *, only: str = "") -> Recipe:
        """Return the recipe of a dialogue; `only` makes one family play all of it."""
        bank, kinds = self.bank, self.beds.kinds
        recipe = draw_recipe(
            self.config, index, voices=bank.user_voices, variants=bank.variants, noise_kinds=kinds
        )
        if only:
            recipe = replace(recipe, families=(only,) * len(recipe.families))
        if self._casting is None:
            return recipe
        return self._casting.cast(recipe, bank.variants)

    def script(self, recipe: Recipe) -> ComposedDialogue:
        context = DialogueContext(
            config=self.config,
            bank=self.bank,
            questions=self.questions,
            rules=self._rules,
            tokenizer=self.tokenizer,
            voice=recipe.voice,
            mixture=self._mixture,
            pace=Pace.of(recipe, self.config.timing.human),
            sources=self.sources,
            cast=recipe.cast,
        )
        script, families = write_script(recipe, context)
        timeline, kinds = script.timeline, self.beds.stretch_kinds
        conditions = draw_conditions(self.config, recipe, timeline=timeline, kinds=kinds)
        add_unasked(self.config, recipe, script=script)
        if timeline.without_loss:
            expect_nothing_without_loss(timeline)
        timeline.sort()
        return ComposedDialogue(script, families, conditions)

    def rendered(self, index: int) -> RenderedDialogue:
        """Simulate a dialogue without its lanes."""
        recipe = self.recipe(index)
        script, families, conditions = self.script(recipe)
        if recipe.cast is not None:
            recipe = replace(recipe, voice=_main_voice(script) or recipe.voice)
        sound = self.sound(recipe, script, conditions=conditions)
        return RenderedDialogue(
            recipe=recipe, script=script, families=families, conditions=conditions, sound=sound
        )

    def dialogue(self, index: int) -> SimulatedDialogue:
        rendered = self.rendered(index)
        layout = self.config.layout
        lanes = pack(
            rendered.timeline,
            rendered.sound,
            layout=layout,
            tokenizer=self.tokenizer,
            with_audio_in=self.config.features,
            given=self.films(rendered),
            mel_cache=self._mel_cache,
        )
        return SimulatedDialogue(**vars(rendered), lanes=lanes)

    def films(self, dialogue: RenderedDialogue) -> dict[str, NDArray[np.uint8]]:
        """Draw the frames (N, H, W, 3) of each lane of frames."""
        return films(
            dialogue.recipe,
            self.config.video,
            acts=dialogue.script.acts,
            n_micro_turns=self.config.n_micro_turns,
            layout=self.config.layout,
        )

    def sound(
        self, recipe: Recipe, script: Script, *, conditions: AcousticConditions
    ) -> RenderedAudio:
        """Render a dialogue without its lanes."""
        return self.renderer.render(recipe, script, conditions=conditions)

    def members(
        self, dialogue: SimulatedDialogue, labels: DialogueLabels | None = None
    ) -> dict[str, bytes]:
        """Encode the members of a dialogue in a shard, by extension."""
        rate = self.config.layout.sample_rate
        files = {
            "user.flac": encode_flac(dialogue.sound.user, rate),
            "agent.flac": encode_flac(dialogue.sound.agent, rate, store=self._frames),
            "json": encode_json((labels or self.labels(dialogue)).to_json()),
        }
        for name, arrays in dialogue.lanes.members().items():
            if name != FEATURES or self.config.features:
                files[name] = encode_npz(arrays, compress=name != FEATURES)
        if self.config.stems:
            for name, stem in dialogue.sound.stems.items():
                files[f"stem_{name}.flac"] = encode_flac(to_pcm16(stem), rate)
        return files

    def labels(self, dialogue: RenderedDialogue) -> DialogueLabels:
        """Return the labels of a dialogue."""
        recipe, layout = dialogue.recipe, self.config.layout
        timeline = dialogue.timeline.labels(layout.sample_rate)
        scene = None
        if any(spec.kind == "frames" for spec in layout.given_lanes):
            scene = dialogue.script.acts.label(layout.sample_rate)
        return DialogueLabels(
            seed=recipe.seed,
            index=recipe.index,
            split=recipe.split,
            layout_hash=self._layout_hash,
            sample_rate=layout.sample_rate,
            n_micro_turns=self.config.n_micro_turns,
            micro_turn_s=layout.micro_turn_s,
            families=tuple(dialogue.families),
            voice=recipe.voice,
            items=_items(dialogue.script, self.bank.corpus),
            words=timeline.words,
            intended_agent_words=timeline.intended_agent_words,
            events=timeline.events,
            controls=timeline.controls,
            text_in=timeline.text_in,
            without_loss=timeline.without_loss,
            room=dialogue.sound.room,
            channel=dialogue.sound.channel,
            scene=scene,
            event_types=plugin_types({event.type for event in timeline.events}),
        )


def _main_voice(script: Script) -> str:
    """The voice that most of what is heard of users is said in."""
    seconds: Counter[str] = Counter()
    for clip in script.clips:
        if clip.lane == "user":
            seconds[clip.unit.voice] += clip.n_samples
    return max(sorted(seconds), key=lambda voice: seconds[voice], default="")


def _items(script: Script, corpus: Corpus) -> tuple[ItemLabel, ...]:
    """List the recordings that a dialogue uses, each once."""
    items: dict[tuple[str, str], ItemLabel] = {}
    for clip in script.clips:
        unit = clip.unit
        if unit.licence:
            is_listed = unit.source in corpus  # windows of recorded conversations are not
            recording = corpus[unit.source] if is_listed else None
            speaker = speaker_of(unit.voice) if recording is None else recording.speaker
            items[(unit.source, unit.voice)] = ItemLabel(
                id=unit.source,
                speaker=speaker,
                voice=unit.voice,
                perturbed=unit.voice != speaker,
                lane=clip.lane,
                licence=unit.licence,
                language=unit.language if recording is None else recording.language,
                transform=transform_of(unit.voice),
            )
    return tuple(items[key] for key in sorted(items))


def encode_npz(arrays: dict[str, Any], *, compress: bool) -> bytes:
    """Encode an .npz; numpy dates its members with a constant, so equal arrays give equal bytes."""
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def encode_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
