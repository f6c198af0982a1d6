"""`microturn evaluate voice`: errors on the sound of an agent over those on its recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.main import main
from microturn.evaluation.hearing.voice import (
    CHECKPOINT,
    RECORDINGS,
    SpokenDialogue,
    measure_voice,
    understood,
)
from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.streams.pcm import Audio
from support.shipped_lines import RATE, in_a_row, recordings_of

N_EACH = 4  # recordings in a dialogue


@pytest.fixture(scope="module")
def dialogues() -> list[tuple[tuple[str, ...], Audio]]:
    """Words and sound of an agent in some dialogues."""
    spoken = recordings_of(24)
    parts = [spoken[first : first + N_EACH] for first in range(0, len(spoken), N_EACH)]
    return [
        (tuple(word for words, _ in part for word in words), in_a_row([audio for _, audio in part]))
        for part in parts
    ]


def measured(
    dialogues: Sequence[tuple[tuple[str, ...], Audio]],
    sounds: Sequence[Audio],
    *,
    written: Sequence[tuple[str, ...]] | None = None,
) -> tuple[float, float, float]:
    """Rates of the checkpoint that makes these sounds and of the recordings, and the ratio."""
    texts = [words for words, _ in dialogues]
    sides = {
        RECORDINGS: list(zip(texts, [audio for _, audio in dialogues], strict=True)),
        CHECKPOINT: list(zip(written or texts, sounds, strict=True)),
    }
    spoken = [
        SpokenDialogue(key=str(i), side=side, audio=audio, sample_rate=RATE, written=words)
        for side, rows in sides.items()
        for i, (words, audio) in enumerate(rows)
    ]
    got = measure_voice(understood(spoken), seed=0)
    rates = got["rates"]
    return rates[CHECKPOINT]["value"], rates[RECORDINGS]["value"], got["ratio"]["value"]


def test_the_recordings_themselves_have_a_ratio_of_one(
    dialogues: list[tuple[tuple[str, ...], Audio]],
) -> None:
    own, recorded, ratio = measured(dialogues, [audio for _, audio in dialogues])
    assert own == recorded
    assert 0 < recorded < 0.35
    assert ratio == 1.0


def test_right_words_over_any_other_sound_are_errors(
    dialogues: list[tuple[tuple[str, ...], Audio]],
) -> None:
    sounds = [audio for _, audio in dialogues]
    silence = [np.zeros_like(audio) for audio in sounds]
    assert measured(dialogues, silence)[0] == 1.0
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(len(audio)).astype(np.float32) * 0.1 for audio in sounds]
    assert measured(dialogues, noise)[0] >= 0.9
    others = [*sounds[1:], sounds[0]]
    assert measured(dialogues, others)[0] >= 0.9


def test_a_hoarse_voice_is_worse_than_its_recordings(
    dialogues: list[tuple[tuple[str, ...], Audio]],
) -> None:
    rng = np.random.default_rng(0)
    hoarse = []
    for _, audio in dialogues:
        noise = rng.standard_normal(len(audio)).astype(np.float32)
        hoarse.append(audio + 1.0 * noise * np.abs(audio))
    own, recorded, ratio = measured(dialogues, hoarse)
    assert own > recorded
    assert ratio == pytest.approx(own / recorded)


def test_words_that_are_not_said_are_missing(
    dialogues: list[tuple[tuple[str, ...], Audio]],
) -> None:
    written = [(*words, *words) for words, _ in dialogues]
    own, recorded, _ = measured(dialogues, [audio for _, audio in dialogues], written=written)
    assert own == pytest.approx(0.5 + recorded / 2, abs=0.1)


def test_the_command_plays_dialogues_without_interruptions(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    loaded = random_checkpoint()
    save_checkpoint(checkpoint, loaded.model, loaded.tokenizer)
    out = tmp_path / "out"
    words = ["suites=[turn]", "n_dialogues=3", "workers=1", "device=cpu"]
    words += [f"cache={tmp_path / 'cache'}", f"checkpoint={checkpoint}", f"out={out}"]
    assert main(["evaluate", "voice", *words]) == 0
    result = json.loads((out / "voice.json").read_text())
    lines = [json.loads(line) for line in (out / "dialogues.jsonl").read_text().split("\n")[:-1]]
    assert 0 < result["n_dialogues"] <= 3
    assert len(lines) == 2 * result["n_dialogues"]
    recorded = result["rates"][RECORDINGS]
    assert recorded["n_words"] == sum(
        len(one["written"]) for one in lines if one["side"] == RECORDINGS
    )
    assert recorded["value"] < 0.5
    assert result["by_set"] == {"events": result["rates"]}
    assert "checkpoint / recordings" in (out / "voice.md").read_text()


def test_a_suite_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "voice", "suites=[turns]", f"out={tmp_path}"]) == 2
    assert "suites=['turns'] must be one or more of fdb_v1" in capsys.readouterr().err
