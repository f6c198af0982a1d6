"""`microturn reconstruct`: resynthesises, measures, writes table, pictures and sounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import make_folder, write_atomically
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
from microturn.model.vocoders.registry import VOCODERS, build_vocoder

_NAMES: Final = {"original": "recording"} | {k: v.label for k, v in VOCODERS.items()}
_BASELINE: Final = VocoderConfig(kind="griffin_lim")
_DRAWN_S: Final = 2.5
_MARGIN_S: Final = 0.2


def reconstruct(config: ReconstructConfig) -> int:
    """Run `microturn reconstruct`; returns 0."""
    reader = ShardReader(config.data)
    vocoders = open_vocoders(config, reader)
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    count = min(config.n_dialogues or len(reader), len(reader))
    watches = {name: Stopwatch() for name in vocoders}
    pairs = list(_voice_pairs(reader, count, vocoders, watches))
    if not pairs:
        raise ValueError(
            f"the agent says nothing in the first {count} dialogues of {config.data}; "
            "ask for more with n_dialogues="
        )
    for pair in pairs[: config.n_samples]:
        _draw(out / "pictures" / f"{pair.key}.png", pair, reader.layout)
        _write_sounds(out / "sounds", pair, reader.layout.sample_rate)
    result = _measure(config, pairs, watches, reader.layout)
    result["lag_samples"] = max(vocoder.lag for vocoder in vocoders.values())
    write_atomically(out / "reconstruction.json", json.dumps(result, indent=2) + "\n")
    text = _markdown(result, [pair.key for pair in pairs[: config.n_samples]])
    write_atomically(out / "reconstruction.md", text)
    write_json(result, config.json)
    if config.json != "-":
        print(_table(result))
        print(f"see {out / 'reconstruction.md'}, {out / 'pictures'} and {out / 'sounds'}")
    return 0


def open_vocoders(config: ReconstructConfig, reader: ShardReader) -> dict[str, Vocoder]:
    """Open Griffin-Lim and, with `checkpoint=`, that of the checkpoint, by kind.

    Raises ValueError for a checkpoint that uses Griffin-Lim too, or one with another layout.
    """
    vocoders: dict[str, Vocoder] = {_BASELINE.kind: build_vocoder(_BASELINE, reader.layout)}
    if config.checkpoint:
        loaded = load_checkpoint(config.checkpoint)
        loaded.layout.check_same(reader.layout, config.checkpoint, config.data)
        vocoder = loaded.model.vocoder
        if vocoder.cfg.kind in vocoders:
            others = " or ".join(kind for kind in VOCODERS if kind not in vocoders)
            raise ValueError(
                f"{config.checkpoint} has no vocoder but {vocoder.label}; train one with "
                f"model.vocoder.kind={others}, or leave checkpoint= out to hear {vocoder.label}"
            )
        vocoders[vocoder.cfg.kind] = vocoder
    return vocoders


def _voice_pairs(
    reader: ShardReader,
    count: int,
    vocoders: Mapping[str, Vocoder],
    watches: Mapping[str, Stopwatch],
) -> Iterator[VoicePair]:
    """Resynthesise dialogues in which the agent speaks."""
    seconds = reader.layout.duration_s(count * reader.n_micro_turns)
    with tqdm(total=round(seconds), desc="reconstruct", unit="s of dialogue") as bar:
        for position in range(count):
            stored = reader[position]
            pair = _voice_pair(stored, reader.layout, vocoders, watches)
            bar.update(round(seconds / count))
            if pair is not None:
                yield pair


def _voice_pair(
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
    resynthesised = {
        name: resynthesise(vocoder, lane, watch=watches[name]) for name, vocoder in vocoders.items()
    }
    # No lane holds sound before the first decision.
    recorded[: layout.samples_per_micro_turn] = 0.0
    return VoicePair(key=stored.key, words=words, recorded=recorded, resynthesised=resynthesised)


def _measure(
    config: ReconstructConfig,
    pairs: list[VoicePair],
    watches: Mapping[str, Stopwatch],
    layout: StreamLayout,
) -> dict[str, Any]:
    """Compute all numbers; `word_error` is null with words=false."""
    errors = {}
    if config.words:
        from microturn.evaluation.reconstruct.words import WordRecogniser, count_errors

        recogniser = WordRecogniser(word.text for pair in pairs for word in pair.words)
        errors = count_errors(tqdm(pairs, desc="words"), recogniser, rate=layout.sample_rate)
    versions: dict[str, Any] = {}
    for name in pairs[0].sounds():
        error = distance([(pair.recorded, pair.sounds()[name]) for pair in pairs], layout)
        versions[name] = {
            **asdict(error),
            "seconds_per_second": watches[name].share if name in watches else None,
            "word_error": errors[name].rate if name in errors else None,
            "words_wrong": errors[name].errors if name in errors else None,
        }
    return {
        "data": config.data,
        "checkpoint": config.checkpoint,
        "n_dialogues": len(pairs),
        "n_words": errors["original"].words if errors else None,
        "versions": versions,
    }


def _table(result: Mapping[str, Any]) -> str:
    rows = [
        "| | log-mel error, dB | spectrum error, dB | periodicity | word error | s per s |",
        "|---|---|---|---|---|---|",
    ]
    for name, version in result["versions"].items():
        words = "-" if version["word_error"] is None else f"{version['word_error']:.1%}"
        seconds = version["seconds_per_second"]
        rows.append(
            f"| {_NAMES[name]} | {version['log_mel_db']:.2f} | {version['spectrum_db']:.2f} "
            f"| {_number(version['periodicity'])} | {words} | {_number(seconds)} |"
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
        "12.5 ms, as in the lane; spectrum: bins of a window of 2,048 samples, which resolves "
        "harmonics; periodicity: autocorrelation at the pitch period where the recording is "
        "voiced, 1 is a perfectly steady tone; word error: words, each cut out of the sound, that "
        "pocketsphinx mistakes for another of these dialogues' words, or misses. "
        "`s per s`: seconds of computing per second of sound. "
        f"Sound comes at most {result['lag_samples']} samples after its micro-turn begins to play, "
        "because windows overlap.",
        "",
    ]
    for key in keys:
        sounds = " · ".join(
            f"[{_NAMES[name]}](sounds/{key}.{name}.wav)" for name in result["versions"]
        )
        lines += [f"## Dialogue {key}", "", sounds, "", f"![spectrograms](pictures/{key}.png)", ""]
    return "\n".join(lines)


def _draw(path: Path, pair: VoicePair, layout: StreamLayout) -> None:
    """Draw narrow-band spectrograms of all versions, one below the other, at the first words."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    rate, sounds = layout.sample_rate, pair.sounds()
    first = max(0.0, pair.words[0].start_s - _MARGIN_S)
    last = min(len(pair.recorded) / rate, first + _DRAWN_S)
    faint = np.random.default_rng(0).standard_normal(len(pair.recorded)) * 1e-6
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
            axis.axvline(layout.duration_s(k), color="white", linewidth=0.3, alpha=0.5)
    rows[-1].set_xlabel("seconds; thin lines: micro-turns")
    words = " ".join(word.text for word in pair.words if word.start_s < last)
    figure.suptitle(f"dialogue {pair.key}: {words}", fontsize=10)
    save_figure(figure, path)


def _write_sounds(folder: Path, pair: VoicePair, rate: int) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in pair.sounds().items():
        clipped = np.clip(audio, -1.0, 1.0)
        soundfile.write(folder / f"{pair.key}.{name}.wav", clipped, rate, subtype="PCM_16")
