"""`microturn reconstruct` itself: resynthesise, measure, write table, pictures and sounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import write_atomically
from microturn.configs.load import save_config
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.evaluation.reconstruct.config import ReconstructConfig
from microturn.evaluation.reconstruct.reconstruction import (
    Stopwatch,
    VoicePair,
    distance,
    resynthesise,
)
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.model.checkpoint import load_checkpoint
from microturn.model.streams import StreamLayout
from microturn.model.streams.packing import pack_agent_audio
from microturn.model.vocoders.base import Vocoder
from microturn.model.vocoders.config import VocoderConfig
from microturn.model.vocoders.frames import FrameGrid
from microturn.model.vocoders.registry import VOCODERS, build_vocoder

_NAMES: Final = {"original": "recording"} | {k: v.label for k, v in VOCODERS.items()}
_BASELINE: Final = VocoderConfig(kind="griffin_lim")
_DRAWN_S: Final = 2.5
_MARGIN_S: Final = 0.2


def reconstruct(config: ReconstructConfig) -> int:
    """Run the command; returns 0."""
    reader = ShardReader(config.data)
    vocoders = open_vocoders(config, reader)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    save_config(out / "config.yaml", config)
    count = min(config.n_dialogues or len(reader), len(reader))
    watches = {name: Stopwatch() for name in vocoders}
    takes = list(_takes(reader, count, vocoders, watches))
    if not takes:
        raise ValueError(
            f"the agent says nothing in the first {count} dialogues of {config.data}; "
            "ask for more with n_dialogues="
        )
    for take in takes[: config.n_samples]:
        _draw(out / "pictures" / f"{take.key}.png", take, reader.layout)
        _write_sounds(out / "sounds", take, reader.layout.sample_rate)
    result = _measure(config, takes, watches, reader.layout)
    write_atomically(out / "reconstruction.json", json.dumps(result, indent=2) + "\n")
    text = _markdown(result, [take.key for take in takes[: config.n_samples]])
    write_atomically(out / "reconstruction.md", text)
    write_json(result, config.json)
    if config.json != "-":
        print(_table(result))
        print(f"see {out / 'reconstruction.md'}, {out / 'pictures'} and {out / 'sounds'}")
    return 0


def open_vocoders(config: ReconstructConfig, reader: ShardReader) -> dict[str, Vocoder]:
    """Griffin-Lim, and the vocoder of the checkpoint where one is given, by kind.

    Raises ValueError for a checkpoint that has none or another layout.
    """
    vocoders: dict[str, Vocoder] = {_BASELINE.kind: build_vocoder(_BASELINE, reader.layout)}
    if config.checkpoint:
        loaded = load_checkpoint(config.checkpoint)
        loaded.layout.check_same(reader.layout, config.checkpoint, config.data)
        vocoder = loaded.model.vocoder
        if not vocoder.is_learned:
            raise ValueError(
                f"{config.checkpoint} has no learned vocoder; train it with "
                "model.vocoder.kind=istft, or leave checkpoint= out to hear Griffin-Lim"
            )
        vocoders[vocoder.cfg.kind] = vocoder
    return vocoders


def _takes(
    reader: ShardReader,
    count: int,
    vocoders: Mapping[str, Vocoder],
    watches: Mapping[str, Stopwatch],
) -> Iterator[VoicePair]:
    """Dialogues in which the agent speaks, each with all its versions."""
    seconds = reader.layout.duration_s(count * reader.n_micro_turns)
    with tqdm(total=round(seconds), desc="reconstruct", unit="s of dialogue") as bar:
        for position in range(count):
            stored = reader[position]
            take = _take(stored, reader.layout, vocoders, watches)
            bar.update(round(seconds / count))
            if take is not None:
                yield take


def _take(
    stored: StoredDialogue,
    layout: StreamLayout,
    vocoders: Mapping[str, Vocoder],
    watches: Mapping[str, Stopwatch],
) -> VoicePair | None:
    words = Dialogue.of(stored.key, stored.labels).agent_words
    if not words:
        return None
    recorded = stored.agent()
    has_lane = "features.npz" in stored.members
    lane = stored.lanes()["audio_out"] if has_lane else pack_agent_audio(recorded, layout)[0]
    made = {
        name: resynthesise(vocoder, lane, layout, watches[name])
        for name, vocoder in vocoders.items()
    }
    # What would sound before the first decision is on no lane.
    recorded[: layout.samples_per_micro_turn] = 0.0
    return VoicePair(key=stored.key, words=words, recorded=recorded, made=made)


def _measure(
    config: ReconstructConfig,
    takes: list[VoicePair],
    watches: Mapping[str, Stopwatch],
    layout: StreamLayout,
) -> dict[str, Any]:
    """All numbers; `word_error` is null where words were not asked for."""
    errors = {}
    if config.words:
        from microturn.evaluation.reconstruct.words import WordRecogniser, count_errors

        recogniser = WordRecogniser(word.text for take in takes for word in take.words)
        errors = count_errors(tqdm(takes, desc="words"), recogniser, layout.sample_rate)
    versions: dict[str, Any] = {}
    for name in takes[0].sounds():
        found = distance([(take.recorded, take.sounds()[name]) for take in takes], layout)
        versions[name] = {
            **asdict(found),
            "seconds_per_second": watches[name].share if name in watches else None,
            "word_error": errors[name].rate if name in errors else None,
            "words_wrong": errors[name].errors if name in errors else None,
        }
    return {
        "data": config.data,
        "checkpoint": config.checkpoint,
        "n_dialogues": len(takes),
        "n_words": errors["original"].words if errors else None,
        "lag_samples": FrameGrid(layout).lag,
        "versions": versions,
    }


def _table(result: Mapping[str, Any]) -> str:
    rows = [
        "| | log-mel error, dB | spectrum error, dB | periodicity | word error | s per s |",
        "|---|---|---|---|---|---|",
    ]
    for name, version in result["versions"].items():
        wrong = "-" if version["word_error"] is None else f"{version['word_error']:.1%}"
        spent = version["seconds_per_second"]
        rows.append(
            f"| {_NAMES[name]} | {version['log_mel_db']:.2f} | {version['spectrum_db']:.2f} "
            f"| {_number(version['periodicity'])} | {wrong} | {_number(spent)} |"
        )
    return "\n".join(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _markdown(result: Mapping[str, Any], keys: list[str]) -> str:
    words = f", {result['n_words']} words" if result["n_words"] else ""
    lines = [
        "# Reconstruction",
        "",
        f"The agent's voice of {result['n_dialogues']} dialogues{words} of `{result['data']}`, "
        "turned into its lane and back into sound, micro-turn by micro-turn.",
        "",
        _table(result),
        "",
        "Errors are means over the moments in which the agent speaks. Log-mel: 80 bands every "
        "12.5 ms, what the lane holds; spectrum: bins of a window of 2,048 samples, which tells "
        "harmonics apart; periodicity: autocorrelation at the pitch period where the recording "
        "is voiced, 1 is a perfectly steady tone; word error: words, each cut out where it was "
        "said, that pocketsphinx takes for another of these dialogues' words, or does not hear. "
        "`s per s`: seconds spent per second of sound. "
        f"Sound comes {result['lag_samples']} samples after its micro-turn begins to play, "
        "because windows overlap.",
        "",
    ]
    for key in keys:
        sounds = " · ".join(
            f"[{_NAMES[name]}](sounds/{key}.{name}.wav)" for name in result["versions"]
        )
        lines += [f"## Dialogue {key}", "", sounds, "", f"![spectrograms](pictures/{key}.png)", ""]
    return "\n".join(lines)


def _draw(path: Path, take: VoicePair, layout: StreamLayout) -> None:
    """Narrow-band spectrograms of every version below each other, around the first words."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    rate, sounds = layout.sample_rate, take.sounds()
    first = max(0.0, take.words[0].start_s - _MARGIN_S)
    last = min(len(take.recorded) / rate, first + _DRAWN_S)
    faint = np.random.default_rng(0).standard_normal(len(take.recorded)) * 1e-6
    figure = new_figure(width=10.0, height=2.2 * len(sounds))
    rows = figure.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, audio) in zip(rows, sounds.items(), strict=True):
        # Windows of 40 ms show harmonics; noise far below hearing keeps the logarithm finite.
        axis.specgram(
            audio + faint, NFFT=640, Fs=rate, noverlap=560, cmap="magma", vmin=-120, vmax=-35
        )
        axis.set_ylim(0, 4_000)
        axis.set_ylabel(f"{_NAMES[name]}\nHz")
        axis.set_xlim(first, last)
        for k in range(len(audio) // layout.samples_per_micro_turn):
            border = k * layout.samples_per_micro_turn / rate
            axis.axvline(border, color="white", linewidth=0.3, alpha=0.5)
    rows[-1].set_xlabel("seconds; thin lines: micro-turns")
    said = " ".join(word.text for word in take.words if word.start_s < last)
    figure.suptitle(f"dialogue {take.key}: {said}", fontsize=10)
    save_figure(figure, path)


def _write_sounds(folder: Path, take: VoicePair, rate: int) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in take.sounds().items():
        clipped = np.clip(audio, -1.0, 1.0)
        soundfile.write(folder / f"{take.key}.{name}.wav", clipped, rate, subtype="PCM_16")
