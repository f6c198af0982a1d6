"""`microturn listen`: every scenario, listened to by program.

Of each dialogue it is checked that the agent is silent wherever its transcript says nothing and
wherever silence is expected, that every word sounds where the transcript puts it, that nothing
clips, and that nothing clicks where recordings are joined. In some dialogues an aligner that is
told the words, but not their times, has to find them where the transcript has them; perturbed
voices are brought back to their own speed before.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from microturn.datagen.config import DatagenConfig, VerifyAudioConfig
from microturn.datagen.corpora.waveform import perturb
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.timeline import Timeline, Word
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.datagen.scenarios import Script

LOUDEST_PCM: Final = 32_766  # a sample beyond it has clipped
QUIETEST_WORD_DB: Final = -70.0  # of a word in its lane, dB re full scale; the floor is at -88
MAX_STEP: Final = 0.02  # between two samples where a recording begins or ends, of full scale
MIN_RECOGNISED: Final = {"agent": 0.9, "user": 0.8}
MIN_ALIGNED: Final = 20  # a share of fewer words is shown and not judged
MARGIN_S: Final = 0.05
NEAR_S: Final = 0.15  # an aligned word that begins so near to where it was placed is found
MAX_GROUP_S: Final = 8.0  # of words that are aligned at once
MAX_GAP_S: Final = 1.0  # between two of them
ENGLISH: Final = ("asterisk-en",)  # the voices that the aligner knows well
MAX_FAULTS: Final = 20


@dataclass(frozen=True, kw_only=True)
class RenderedTake:
    """One dialogue of a single scenario, as it sounds."""

    recipe: Recipe
    script: Script
    segments: int
    sound: RenderedAudio

    @property
    def timeline(self) -> Timeline:
        return self.script.timeline


@dataclass(kw_only=True)
class Heard:
    """What was found in the dialogues of one scenario."""

    dialogues: int = 0
    segments: int = 0
    words: Counter[str] = field(default_factory=Counter)  # by lane
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
            "dialogues": self.dialogues,
            "segments": self.segments,
            "words": dict(self.words),
            "silences": self.silences,
            "joins": self.joins,
            "largest_step": round(self.largest_step, 5),
            "quietest_word_db": round(self.quietest_word_db, 1),
            "recognised": {lane: self.share(lane) for lane in ("agent", "user")},
            "aligned": dict(self.aligned),
            "faults": self.faults,
        }


class Listener:
    """Checks dialogues of one sample rate."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._aligner: Any = None

    def listen(self, take: RenderedTake, heard: Heard, *, align: bool) -> None:
        """Add what is to be heard in a dialogue, and a sentence for everything that is wrong."""
        heard.dialogues += 1
        heard.segments += take.segments
        checks = (self._clipping, self._silence, self._words, self._joins)
        for check in checks:
            for fault in check(take, heard):
                heard.faults.append(f"dialogue {take.recipe.index}: {fault}")
        if align:
            self._align(take, heard)

    def _clipping(self, take: RenderedTake, heard: Heard) -> Iterator[str]:
        for name in ("user", "agent"):
            pcm = getattr(take.sound, name)
            if int(np.abs(pcm.astype(np.int32)).max(initial=0)) > LOUDEST_PCM:
                yield f"the {name} clips"

    def _silence(self, take: RenderedTake, heard: Heard) -> Iterator[str]:
        """The agent sounds in its words and nowhere else."""
        agent, timeline = take.sound.agent, take.timeline
        outside = np.ones(len(agent), np.bool_)
        for start, end in timeline.stretches("agent", join=round(MARGIN_S * self._rate)):
            outside[start:end] = False
        stray = np.flatnonzero(agent.astype(bool) & outside)
        if len(stray):
            yield f"the agent sounds at {stray[0] / self._rate:.2f} s without a word"
        for event in timeline.events:
            if event.expect is None or event.expect.act != "stay_silent":
                continue
            heard.silences += 1
            start, end = event.expect.window
            if agent[start:end].any():
                yield f"the agent sounds in the {event.type} at {event.start / self._rate:.2f} s"

    def _words(self, take: RenderedTake, heard: Heard) -> Iterator[str]:
        zeroed = take.sound.channel.get("digital_zero", [])
        for lane, audio in _lanes(take).items():
            for word in getattr(take.timeline, lane):
                if any(
                    a * self._rate < word.end and word.start < b * self._rate for a, b in zeroed
                ):
                    continue
                heard.words[lane] += 1
                level = _level_db(audio[word.start : word.end])
                heard.quietest_word_db = min(heard.quietest_word_db, level)
                if level < QUIETEST_WORD_DB:
                    at = word.start / self._rate
                    yield f"{lane} says {word.text!r} at {at:.2f} s, but at {level:.0f} dB"

    def _joins(self, take: RenderedTake, heard: Heard) -> Iterator[str]:
        agent = _plain(take.sound.agent)
        for clip in take.script.clips:
            heard.joins += 1
            if clip.lane == "agent":
                edges = (clip.start, clip.end)
                step = max(_step(agent, edge) for edge in edges)
            else:  # before the room, which smooths what it hears
                gain = 10 ** (clip.gain_db / 20)
                step = gain * float(max(abs(clip.unit.audio[0]), abs(clip.unit.audio[-1])))
            heard.largest_step = max(heard.largest_step, step)
            if step > MAX_STEP:
                at = clip.start / self._rate
                yield f"{clip.lane} clicks by {step:.3f} around {clip.unit.text!r} at {at:.2f} s"

    def _align(self, take: RenderedTake, heard: Heard) -> None:
        """Whether an aligner that knows the words only finds each where it is said to be."""
        from microturn.datagen.corpora.alignment import Aligner  # only who aligns needs it

        self._aligner = self._aligner or Aligner()
        margin = round(MARGIN_S * self._rate)
        for lane, audio in _lanes(take).items():
            for words in _groups(getattr(take.timeline, lane), self._rate):
                first = max(words[0].start - margin, 0)
                factor = float(words[0].voice.partition("@")[2] or 1.0)
                sound = perturb(audio[first : words[-1].end + margin], 1 / factor, 0.0)
                text = " ".join(word.text for word in words)
                aligned = self._aligner.align(sound, self._rate, text)
                heard.aligned[lane] += len(words)
                if aligned is not None and len(aligned.words) == len(words):
                    heard.recognised[lane] += sum(
                        abs(first / self._rate + found.start / factor - word.start / self._rate)
                        <= NEAR_S
                        for found, word in zip(aligned.words, words, strict=True)
                    )


def _groups(words: Sequence[Word], rate: int) -> Iterator[list[Word]]:
    """Words close to one another: whole, English, of one voice, and more than one."""
    group: list[Word] = []
    for word in sorted(words, key=lambda item: item.start):
        usable = not word.cut and word.text.isascii() and word.voice.startswith(ENGLISH)
        if group and (
            not usable
            or word.voice != group[0].voice
            or not 0 <= word.start - group[-1].end <= MAX_GAP_S * rate
            or word.end - group[0].start > MAX_GROUP_S * rate
        ):
            if len(group) > 1:
                yield group
            group = []
        if usable:
            group.append(word)
    if len(group) > 1:
        yield group


def _lanes(take: RenderedTake) -> dict[str, npt.NDArray[np.float32]]:
    """The agent as it is stored, and the user's part of the microphone."""
    return {"agent": _plain(take.sound.agent), "user": take.sound.stems["user"]}


def _plain(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    return pcm.astype(np.float32) / np.float32(32_768)


def _level_db(audio: npt.NDArray[np.float32]) -> float:
    power = float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0
    return 10 * float(np.log10(max(power, 1e-20)))


def _step(audio: npt.NDArray[np.float32], edge: int) -> float:
    """The largest step between neighbours around an edge."""
    near = audio[max(edge - 2, 0) : edge + 2]
    return float(np.abs(np.diff(near)).max(initial=0.0))


class Studio:
    """Makes dialogues of single scenarios of one configuration."""

    def __init__(self, config: DatagenConfig, cache: Path) -> None:
        bank = UnitBank(open_corpus(config), config)
        rooms = ensure_bank(config.rooms, config.layout.sample_rate, folders=[cache])
        self._simulator = Simulator(config, rooms=rooms, tokenizer=make_tokenizer(config, bank))

    def take(self, scenario: str, index: int) -> RenderedTake:
        """Dialogue `index` with nothing but this scenario in it."""
        recipe = self._simulator.recipe(index)
        recipe = replace(recipe, families=(scenario,) * len(recipe.families))
        script, families, conditions = self._simulator.script(recipe)
        sound = self._simulator.sound(recipe, script, conditions)
        return RenderedTake(recipe=recipe, script=script, segments=len(families), sound=sound)


def listen_to(
    studio: Studio, listener: Listener, *, scenario: str, dialogues: int, align_every: int
) -> Heard:
    """Listen to dialogues of one scenario only."""
    heard = Heard()
    for index in tqdm(range(dialogues), desc=scenario, unit="", file=sys.stderr, disable=None):
        align = bool(align_every) and index % align_every == 0
        listener.listen(studio.take(scenario, index), heard, align=align)
    for lane, least in MIN_RECOGNISED.items():
        share = heard.share(lane)
        if share is not None and share < least and heard.aligned[lane] >= MIN_ALIGNED:
            heard.faults.append(
                f"only {share:.0%} of the {lane}'s words are found where they should be"
            )
    return heard


def run_listen(options: VerifyAudioConfig) -> int:
    """Listen to what was asked for; 1 when something is wrong."""
    config = load_config(DatagenConfig, [options.config], ["out=unused"])
    names = options.scenarios or tuple(config.weights)
    known = {*config.families, *config.weights}  # `only` may name what has no weight
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(
            f"scenarios has {unknown[0]!r}, which {options.config} gives no weight; it has "
            f"{', '.join(sorted(known))}"
        )
    studio = Studio(config, cache_folder(config.cache))
    listener = Listener(config.layout.sample_rate)
    results: dict[str, Heard] = {}
    print(f"{'scenario':<18}{'segments':>9}{'words':>7}{'silences':>9}{'joins':>7}", end="")
    print(f"{'step':>8}{'agent':>7}{'user':>6}  faults")
    for name in names:
        heard = listen_to(
            studio,
            listener,
            scenario=name,
            dialogues=options.dialogues,
            align_every=options.align_every,
        )
        results[name] = heard
        print(_row(name, heard), flush=True)
        for fault in heard.faults[:MAX_FAULTS]:
            print(f"    {fault}")
    write_json({name: heard.to_json() for name, heard in results.items()}, options.json)
    return 1 if any(heard.faults for heard in results.values()) else 0


def _row(name: str, heard: Heard) -> str:
    shares = [heard.share(lane) for lane in ("agent", "user")]
    agent, user = ("-" if share is None else f"{share:.0%}" for share in shares)
    return (
        f"{name:<18}{heard.segments:>9}{heard.words.total():>7}{heard.silences:>9}"
        f"{heard.joins:>7}{heard.largest_step:>8.4f}{agent:>7}{user:>6}  {len(heard.faults)}"
    )
