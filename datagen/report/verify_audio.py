"""`microturn verify-audio`: checks the audio of every scenario against its labels.

In every dialogue the agent must be silent outside its words and wherever silence is expected,
every word must sound at its time, nothing may clip, and nothing may click where recordings are
joined. In some dialogues forced alignment, which knows the words but not their times, must find
them at their labelled times; perturbed voices are resampled to their own speed before that.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.load import load_config
from microturn.configs.paths import cache_folder
from microturn.datagen.acoustics.render import RenderedAudio
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.waveform import perturb
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.timeline import Timeline, Word
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.time_classes import KNOWN
from microturn.datagen.labels.voice_names import resampling_of
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.report.config import VerifyAudioConfig
from microturn.datagen.scenarios import Script
from microturn.model.streams.pcm import from_pcm16

MAX_PCM: Final = 32_766  # a larger sample has clipped
MIN_WORD_DB: Final = -70.0  # level of a word in its lane, dB re full scale; the floor is at -88
MAX_STEP: Final = 0.02  # between two samples where a recording begins or ends, of full scale
MIN_RECOGNISED: Final = {"agent": 0.9, "user": 0.8}
MIN_ALIGNED: Final = 20  # the share of fewer words is shown but not judged
MARGIN_S: Final = 0.05
MAX_OFFSET_S: Final = 0.15  # between the aligned and the labelled onset of a recognised word
MAX_GROUP_S: Final = 8.0  # of words that are aligned at once
MAX_GAP_S: Final = 1.0  # between two of them
ENGLISH: Final = ("asterisk-en",)  # the voices that the aligner recognises well
MAX_FAULTS: Final = 20


@dataclass(frozen=True, kw_only=True)
class ScenarioDialogue:
    """One dialogue of a single scenario with its audio."""

    recipe: Recipe
    script: Script
    n_segments: int
    sound: RenderedAudio

    @property
    def timeline(self) -> Timeline:
        return self.script.timeline


@dataclass(kw_only=True)
class AudioFindings:
    """The findings in the dialogues of one scenario."""

    n_dialogues: int = 0
    n_segments: int = 0
    words: Counter[str] = field(default_factory=Counter)  # by lane
    word_times: Counter[str] = field(default_factory=Counter)  # words by how their times are known
    silences: int = 0  # windows in which the agent had to be silent
    joins: int = 0
    largest_step: float = 0.0
    quietest_word_db: float = 0.0
    recognised: Counter[str] = field(default_factory=Counter)
    aligned: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def share(self, lane: str) -> float | None:
        return self.recognised[lane] / self.aligned[lane] if self.aligned[lane] else None

    def to_json(self) -> dict[str, Any]:
        return {
            "dialogues": self.n_dialogues,
            "segments": self.n_segments,
            "words": dict(self.words),
            "word_times": dict(self.word_times),
            "silences": self.silences,
            "joins": self.joins,
            "largest_step": round(self.largest_step, 5),
            "quietest_word_db": round(self.quietest_word_db, 1),
            "recognised": {lane: self.share(lane) for lane in ("agent", "user")},
            "aligned": dict(self.aligned),
            "faults": self.faults,
        }


class AudioVerifier:
    """Checks the audio of dialogues at one sample rate."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._aligner: Any = None

    def verify(self, dialogue: ScenarioDialogue, findings: AudioFindings, *, align: bool) -> None:
        """Add the counts of a dialogue, and a sentence for every fault."""
        findings.n_dialogues += 1
        findings.n_segments += dialogue.n_segments
        checks = (self._clipping, self._silence, self._words, self._joins)
        for check in checks:
            for fault in check(dialogue, findings):
                findings.faults.append(f"dialogue {dialogue.recipe.index}: {fault}")
        if align:
            self._align(dialogue, findings)

    def _clipping(self, dialogue: ScenarioDialogue, findings: AudioFindings) -> Iterator[str]:
        for name in ("user", "agent"):
            pcm = getattr(dialogue.sound, name)
            if int(np.abs(pcm.astype(np.int32)).max(initial=0)) > MAX_PCM:
                yield f"the {name} clips"

    def _silence(self, dialogue: ScenarioDialogue, findings: AudioFindings) -> Iterator[str]:
        """Yield sound of the agent outside its words, or where silence is expected.

        Between two words of one recording it may breathe.
        """
        agent, timeline = dialogue.sound.agent, dialogue.timeline
        outside = np.ones(len(agent), np.bool_)
        for start, end in timeline.stretches("agent", join=round(MARGIN_S * self._rate)):
            outside[start:end] = False
        for start, end in _inside_recordings(dialogue.script):
            outside[start:end] = False
        stray = np.flatnonzero(agent.astype(bool) & outside)
        if len(stray):
            yield f"the agent sounds at {stray[0] / self._rate:.2f} s without a word"
        for event in timeline.events:
            if event.expect is None or event.expect.act != "stay_silent":
                continue
            findings.silences += 1
            start, end = event.expect.window_samples
            if agent[start:end].any():
                start_s = event.start_sample / self._rate
                yield f"the agent sounds in the {event.type} at {start_s:.2f} s"

    def _words(self, dialogue: ScenarioDialogue, findings: AudioFindings) -> Iterator[str]:
        zeroed = dialogue.sound.channel.digital_zero_s
        for lane, audio in _lanes(dialogue).items():
            for word in dialogue.timeline.words(lane):
                if any(
                    a * self._rate < word.end_sample and word.start_sample < b * self._rate
                    for a, b in zeroed
                ):
                    continue
                findings.words[lane] += 1
                findings.word_times[word.times] += len(word.text.split())
                level = _level_db(audio[word.start_sample : word.end_sample])
                findings.quietest_word_db = min(findings.quietest_word_db, level)
                if level < MIN_WORD_DB:
                    at = word.start_sample / self._rate
                    yield f"{lane} says {word.text!r} at {at:.2f} s, but at {level:.0f} dB"

    def _joins(self, dialogue: ScenarioDialogue, findings: AudioFindings) -> Iterator[str]:
        agent = from_pcm16(dialogue.sound.agent)
        for clip in dialogue.script.clips:
            findings.joins += 1
            if clip.lane == "agent":
                edges = (clip.start_sample, clip.end_sample)
                step = max(_step(agent, edge) for edge in edges)
            else:  # before the room response, which smooths edges
                gain = 10 ** (clip.gain_db / 20)
                step = gain * float(max(abs(clip.unit.audio[0]), abs(clip.unit.audio[-1])))
            findings.largest_step = max(findings.largest_step, step)
            if step > MAX_STEP:
                at = clip.start_sample / self._rate
                yield f"{clip.lane} clicks by {step:.3f} around {clip.unit.text!r} at {at:.2f} s"

    def _align(self, dialogue: ScenarioDialogue, findings: AudioFindings) -> None:
        """Count the words that forced alignment finds at their labelled times."""
        from microturn.datagen.corpora.alignment.aligner import Aligner  # an optional dependency

        self._aligner = self._aligner or Aligner()
        margin = round(MARGIN_S * self._rate)
        for lane, audio in _lanes(dialogue).items():
            for words in _groups(dialogue.timeline.words(lane), self._rate):
                first = max(words[0].start_sample - margin, 0)
                factor = resampling_of(words[0].voice)
                sound = perturb(audio[first : words[-1].end_sample + margin], 1 / factor, tilt=0.0)
                text = " ".join(word.text for word in words)
                aligned = self._aligner.align(sound, self._rate, text=text)
                findings.aligned[lane] += len(words)
                if aligned is not None and len(aligned.words) == len(words):
                    offset_s = first / self._rate
                    findings.recognised[lane] += sum(
                        abs(offset_s + match.start_s / factor - word.start_sample / self._rate)
                        <= MAX_OFFSET_S
                        for match, word in zip(aligned.words, words, strict=True)
                    )


def _inside_recordings(script: Script) -> Iterator[tuple[int, int]]:
    """Yield the spans from the first to the last word of each recording that the agent says."""
    for clip in script.clips:
        words = [
            word
            for word in (script.timeline.agent if clip.lane == "agent" else ())
            if clip.start_sample <= word.start_sample < clip.end_sample
        ]
        if words:
            yield words[0].start_sample, max(word.end_sample for word in words)


def _groups(words: Sequence[Word], rate: int) -> Iterator[list[Word]]:
    """Yield groups of two or more whole English words of one voice, close to one another.

    Words of interpolated or unknown times end a group: they cannot be at a labelled time.
    """
    group: list[Word] = []
    for word in sorted(words, key=lambda item: item.start_sample):
        usable = not word.cut and word.times in KNOWN
        usable = usable and word.text.isascii() and word.voice.startswith(ENGLISH)
        if group and (
            not usable
            or word.voice != group[0].voice
            or not 0 <= word.start_sample - group[-1].end_sample <= MAX_GAP_S * rate
            or word.end_sample - group[0].start_sample > MAX_GROUP_S * rate
        ):
            if len(group) > 1:
                yield group
            group = []
        if usable:
            group.append(word)
    if len(group) > 1:
        yield group


def _lanes(dialogue: ScenarioDialogue) -> dict[str, npt.NDArray[np.float32]]:
    """Return the agent's channel as it is stored, and the user's stem of the microphone."""
    return {"agent": from_pcm16(dialogue.sound.agent), "user": dialogue.sound.stems["user"]}


def _level_db(audio: npt.NDArray[np.float32]) -> float:
    power = float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0
    return 10 * float(np.log10(max(power, 1e-20)))


def _step(audio: npt.NDArray[np.float32], edge: int) -> float:
    """Return the largest step between neighbouring samples around an edge."""
    near = audio[max(edge - 2, 0) : edge + 2]
    return float(np.abs(np.diff(near)).max(initial=0.0))


class ScenarioRenderer:
    """Renders dialogues of single scenarios of one configuration."""

    def __init__(self, config: DatagenConfig, cache: Path) -> None:
        bank = UnitBank(open_corpus(config), config)
        rooms = ensure_bank(config.rooms, config.layout.sample_rate, folders=[cache])
        self._simulator = Simulator(config, rooms=rooms, tokenizer=make_tokenizer(config, bank))

    def render(self, scenario: str, index: int) -> ScenarioDialogue:
        """Render dialogue `index` with this scenario as its only family."""
        recipe = self._simulator.recipe(index, only=scenario)
        script, families, conditions = self._simulator.script(recipe)
        sound = self._simulator.sound(recipe, script, conditions=conditions)
        return ScenarioDialogue(recipe=recipe, script=script, n_segments=len(families), sound=sound)


def verify_scenario(
    renderer: ScenarioRenderer,
    verifier: AudioVerifier,
    *,
    scenario: str,
    n_dialogues: int,
    align_every: int,
) -> AudioFindings:
    """Verify dialogues of a single scenario."""
    findings = AudioFindings()
    for index in tqdm(range(n_dialogues), desc=scenario, unit="", file=sys.stderr, disable=None):
        align = bool(align_every) and index % align_every == 0
        verifier.verify(renderer.render(scenario, index), findings, align=align)
    for lane, min_share in MIN_RECOGNISED.items():
        share = findings.share(lane)
        if share is not None and share < min_share and findings.aligned[lane] >= MIN_ALIGNED:
            findings.faults.append(
                f"only {share:.0%} of the {lane}'s words are found at their labelled times"
            )
    return findings


def run_verify_audio(options: VerifyAudioConfig) -> int:
    """Verify the configured scenarios; returns 1 when there is a fault."""
    config = load_config(DatagenConfig, [options.config], ["out=unused"])
    names = options.scenarios or tuple(config.weights)
    known = {*config.families, *config.weights}  # `only` may name a family without a weight
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(
            f"scenarios has {unknown[0]!r}, which {options.config} gives no weight; it has "
            f"{', '.join(sorted(known))}"
        )
    renderer = ScenarioRenderer(config, cache_folder(config.cache))
    verifier = AudioVerifier(config.layout.sample_rate)
    results: dict[str, AudioFindings] = {}
    print(f"{'scenario':<18}{'segments':>9}{'words':>7}{'silences':>9}{'joins':>7}", end="")
    print(f"{'step':>8}{'agent':>7}{'user':>6}{'untimed':>9}  faults")
    for name in names:
        findings = verify_scenario(
            renderer,
            verifier,
            scenario=name,
            n_dialogues=options.n_dialogues,
            align_every=options.align_every,
        )
        results[name] = findings
        print(_row(name, findings), flush=True)
        for fault in findings.faults[:MAX_FAULTS]:
            print(f"    {fault}")
    write_json({name: findings.to_json() for name, findings in results.items()}, options.json)
    return 1 if any(findings.faults for findings in results.values()) else 0


def _row(name: str, findings: AudioFindings) -> str:
    shares = [findings.share(lane) for lane in ("agent", "user")]
    agent, user = ("-" if share is None else f"{share:.0%}" for share in shares)
    untimed = sum(n for times, n in findings.word_times.items() if times not in KNOWN)
    return (
        f"{name:<18}{findings.n_segments:>9}{findings.words.total():>7}{findings.silences:>9}"
        f"{findings.joins:>7}{findings.largest_step:>8.4f}{agent:>7}{user:>6}{untimed:>9}  "
        f"{len(findings.faults)}"
    )
