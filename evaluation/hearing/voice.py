"""`microturn evaluate voice`: how clearly a checkpoint says the words that it writes.

pocketsphinx hears the agent of the checkpoint and the recorded agent in the same dialogues, each
utterance by itself, with one list of words: all that either of them says there. What it mishears of
the recordings is its own fault, so the ratio of both rates tells of the voice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import ConfigError, save_config
from microturn.configs.paths import cache_folder
from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.evaluate import checkpoint_layout
from microturn.evaluation.hearing.config import VoiceConfig
from microturn.evaluation.hearing.counts import (
    ErrorRate,
    error_rate,
    errors_between,
    ratio_of_rates,
)
from microturn.evaluation.runner import AgentSpec, checkpoint_agent
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, checkpoint_digest
from microturn.evaluation.speech.recogniser import Hear, heard_in, listed_recogniser
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import known_suites, load_suite
from microturn.evaluation.suites.suite import Suite
from microturn.model.config import folder_of
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

CHECKPOINT, RECORDINGS = "checkpoint", "recordings"
_SIDES: Final = (CHECKPOINT, RECORDINGS)


@dataclass(frozen=True, kw_only=True)
class SaidInDialogue:
    """What one side wrote and said in a dialogue, and what was understood of its sound."""

    key: str
    side: str
    written: tuple[str, ...]
    understood: tuple[str, ...]

    @property
    def set_name(self) -> str:
        """The set of its dialogue, up to the number in the key."""
        return self.key.partition("/")[0]

    @property
    def count(self) -> tuple[int, int]:
        """Errors and written words."""
        return errors_between(self.understood, self.written), len(self.written)


@dataclass(frozen=True, kw_only=True)
class SpokenDialogue:
    """Sound of one side of a dialogue, and its words as text."""

    key: str
    side: str
    audio: Audio
    sample_rate: int
    written: tuple[str, ...]


def evaluate_voice(config: VoiceConfig) -> int:
    """Run the command; returns 0."""
    folder = folder_of(config.checkpoint)
    suites = _suites(config)
    layout = checkpoint_layout(folder)
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    samples = list(_samples(config, suites, layout))
    spoken = [*_recorded(samples), *_performed(config, folder, samples)]
    said = understood(spoken)
    result = {
        "checkpoint": config.checkpoint,
        "checkpoint_sha256": checkpoint_digest(folder),
        "suites": list(config.suites),
        "seed": config.seed,
        "n_dialogues": len(samples),
        **measure_voice(said, seed=config.seed),
    }
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in said)
    write_atomically(out / "dialogues.jsonl", "".join(f"{line}\n" for line in lines))
    write_atomically(out / "voice.json", json.dumps(result, indent=2) + "\n")
    write_atomically(out / "voice.md", _markdown(result))
    write_json(result, config.json)
    if config.json != "-":
        print(table(result))
        print(f"see {out / 'voice.md'} and {out / 'dialogues.jsonl'}")
    return 0


def _suites(config: VoiceConfig) -> list[Suite]:
    unknown = [name for name in config.suites if name not in known_suites()]
    if unknown or not config.suites:
        names = ", ".join(known_suites())
        raise ConfigError(f"suites={list(config.suites)} must be one or more of {names}")
    return [load_suite(name) for name in config.suites]


def _samples(
    config: VoiceConfig, suites: Sequence[Suite], layout: StreamLayout
) -> Iterator[tuple[str, HeldOutDialogue]]:
    """Open dialogues in which nobody breaks the agent off, each under a key of its own."""
    for suite in suites:
        dialogues = held_out_set(
            suite,
            cache_folder(config.cache),
            n_dialogues=min(config.n_dialogues, suite.n_dialogues),
            layout=layout,
            workers=config.workers,
        )
        for sample in dialogues.read():
            if not any(event.act == "stop" for event in sample.dialogue.events):
                yield f"{suite.set_name}/{sample.key}", sample


def _recorded(samples: Sequence[tuple[str, HeldOutDialogue]]) -> Iterator[SpokenDialogue]:
    for key, sample in samples:
        yield SpokenDialogue(
            key=key,
            side=RECORDINGS,
            audio=sample.load_agent(),
            sample_rate=sample.sample_rate,
            written=_texts(sample.dialogue.agent_words),
        )


def _performed(
    config: VoiceConfig, folder: str, samples: Sequence[tuple[str, HeldOutDialogue]]
) -> Iterator[SpokenDialogue]:
    spec = AgentSpec(
        checkpoint=folder,
        baselines=(),
        device=config.device,
        seed=config.seed,
        batch_size=config.batch_size,
    )
    outputs = checkpoint_agent(spec).perform([sample for _, sample in samples])
    bar = tqdm(outputs, total=len(samples), desc="voice", unit="dialogue")
    for (key, _), output in zip(samples, bar, strict=True):
        yield SpokenDialogue(
            key=key,
            side=CHECKPOINT,
            audio=output.audio,
            sample_rate=output.sample_rate,
            written=_texts(output.words),
        )


def _texts(words: Sequence[SpokenWord]) -> tuple[str, ...]:
    return tuple(text for word in words for text in word_list(word.text))


def understood(spoken: Sequence[SpokenDialogue]) -> list[SaidInDialogue]:
    """Let pocketsphinx hear the utterances of all, with the list of their words.

    Raises ValueError where nobody says a word.
    """
    hear = listed_recogniser(word for one in spoken for word in one.written)
    return [
        SaidInDialogue(
            key=one.key, side=one.side, written=one.written, understood=tuple(_words(one, hear))
        )
        for one in tqdm(spoken, desc="listening", unit="dialogue")
    ]


def _words(spoken: SpokenDialogue, hear: Hear) -> Iterator[str]:
    activity = Activity.of(spoken.audio, spoken.sample_rate, ActivityConfig())
    heard = heard_in(activity.utterances, spoken.audio, spoken.sample_rate, hear=hear)
    return (word for words in heard for word in words)


def measure_voice(said: Sequence[SaidInDialogue], *, seed: int) -> dict[str, Any]:
    """Return the error rate of each side, and that of the checkpoint over the recordings'."""
    counts = {side: _counts(said, side) for side in _SIDES}
    ratio, ci95 = ratio_of_rates(counts[CHECKPOINT], counts[RECORDINGS], seed=seed)
    words = {side: {w for one in said if one.side == side for w in one.written} for side in _SIDES}
    return {
        "n_listed": len(words[CHECKPOINT] | words[RECORDINGS]),
        "rates": {side: error_rate(counts[side], seed=seed).to_json() for side in _SIDES},
        "by_set": {
            name: {
                side: error_rate(_counts(said, side, name), seed=seed).to_json() for side in _SIDES
            }
            for name in dict.fromkeys(one.set_name for one in said)
        },
        "n_different_words": {side: len(words[side]) for side in _SIDES},
        "ratio": {"value": ratio, "ci95": ci95},
    }


def _counts(said: Sequence[SaidInDialogue], side: str, set_name: str = "") -> list[tuple[int, int]]:
    return [one.count for one in said if one.side == side and set_name in ("", one.set_name)]


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table: word errors of both sides, of each set too, and the ratio below."""
    lines = ["| | words | different words | word errors |", "|---|---:|---:|---:|"]
    for side in _SIDES:
        rate = ErrorRate(**result["rates"][side])
        lines.append(
            f"| {side} | {rate.n_words:,} | {result['n_different_words'][side]} | {rate} |"
        )
    for name, rates in result["by_set"].items():
        for side in _SIDES:
            rate = ErrorRate(**rates[side])
            lines.append(f"| {side}, {name} | {rate.n_words:,} | | {rate} |")
    ratio, ci95 = result["ratio"]["value"], result["ratio"]["ci95"]
    interval = "" if ci95 is None else f" [{ci95[0]:.2f} to {ci95[1]:.2f}]"
    shown = "-" if ratio is None else f"{ratio:.2f}{interval}"
    return "\n".join([*lines, f"| checkpoint / recordings | | | {shown} |"])


def _markdown(result: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "# Voice",
            "",
            f"What pocketsphinx understands of the sound of `{result['checkpoint']}` "
            f"({result['checkpoint_sha256'][:12]}) and of the recordings of its voice, in the same "
            f"{result['n_dialogues']} dialogues of {', '.join(result['suites'])} without "
            f"interruptions, seed {result['seed']}. It knows the {result['n_listed']} words that "
            "either side says, each as likely as any other. Errors are counted against the words "
            "that each side writes, right or wrong answers alike; words that sound alike are the "
            "same. In brackets: 95 % interval over dialogues. Silence makes 100 %.",
            "",
            table(result),
            "",
        ]
    )
