"""Folders of Full-Duplex-Bench: read, answered, written, scored; made by hand and by us."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from microturn.configs.load import ConfigError
from microturn.evaluation.suites.fdb.folder import evaluate_fdb, table, tasks_of
from microturn.evaluation.suites.fdb.folder_config import FdbConfig
from microturn.evaluation.suites.fdb.folder_files import (
    RATE,
    chunks_json,
    find_items,
    read_chunks,
)
from microturn.evaluation.suites.fdb.folder_score import score_items
from microturn.evaluation.suites.fdb.folder_speech import spans_of, tenths
from microturn.evaluation.suites.fdb.v1_formulas import Chunk

DIALOGUES = {"v1": 12, "v1_5": 16, "v3": 6}  # as many as the tests of the suites make


def wav(path: Path, seconds: float, *spoken: tuple[float, float]) -> None:
    """Silence with bursts of noise."""
    rng = np.random.default_rng(2)
    audio = np.zeros(round(seconds * RATE), np.float32)
    for start, end in spoken:
        first, last = round(start * RATE), round(end * RATE)
        audio[first:last] = 0.1 * rng.standard_normal(last - first)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="PCM_16")


def words(path: Path, *rows: tuple[str, float | None, float | None]) -> None:
    chunks = [{"text": text, "timestamp": [start, end]} for text, start, end in rows]
    path.write_text(json.dumps({"text": " ".join(row[0] for row in rows), "chunks": chunks}))


def recording(root: Path, group: str, name: str, file: str, entry: Any) -> Path:
    folder = root / group / name
    wav(folder / "input.wav", 10.05, (0.5, 2.4))  # no whole number of micro-turns
    if file:
        (folder / file).write_text(json.dumps(entry))
    return folder


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Files with the contents that the benchmark documents."""
    stamp = {"timestamp": [2.4, 2.9]}
    for name in ("1", "2", "10"):
        recording(tmp_path, "candor_turn_taking", name, "turn_taking.json", [stamp])
    recording(
        tmp_path, "synthetic_pause_handling", "1", "pause.json", [stamp | {"text": "[PAUSE]"}]
    )
    recording(tmp_path, "icc_backchannel", "0", "transcription.json", [])
    entry = {"context": "from one", "interrupt": "stop", "timestamp": [2.0, 2.4]}
    recording(tmp_path, "synthetic_user_interruption", "1", "interrupt.json", [entry])
    metadata = {"context_text": "a", "current_turn_text": "b", "timestamps": [1.5, 2.4]}
    folder = recording(tmp_path, "user_backchannel", "1", "metadata.json", metadata)
    wav(folder / "clean_input.wav", 10.05, (0.5, 1.0))
    (tmp_path / "icc_gt_distribution.json").write_text(json.dumps({"0": [0.5, 0.5]}))
    return tmp_path


def config(path: Path, **more: Any) -> FdbConfig:
    return FdbConfig(path=str(path), json="-", **more)


def test_recordings_are_found_by_their_files(benchmark: Path) -> None:
    items = find_items(benchmark)
    assert [(item.group, item.folder.name, item.task) for item in items] == [
        ("candor_turn_taking", "1", "turn"),
        ("candor_turn_taking", "2", "turn"),
        ("candor_turn_taking", "10", "turn"),
        ("icc_backchannel", "0", "backchannel"),
        ("synthetic_pause_handling", "1", "pause"),
        ("synthetic_user_interruption", "1", "interruption"),
        ("user_backchannel", "1", "overlap"),
    ]
    assert [item.end_s for item in items if item.task in ("turn", "interruption")] == [2.4] * 4
    assert len(find_items(benchmark / "candor_turn_taking")) == 3
    assert len(find_items(benchmark / "candor_turn_taking" / "2")) == 1


def test_silence_is_an_answer(benchmark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_fdb(config(benchmark, baseline="silent")) == 0
    scores = json.loads(capsys.readouterr().out)
    for item in find_items(benchmark):
        given_wav, answer = (soundfile.info(item.audio(name)) for name in ("input", "output"))
        assert (answer.samplerate, answer.channels, answer.subtype) == (16_000, 1, "PCM_16")
        assert answer.frames == given_wav.frames  # same length, to the sample
        assert json.loads(item.words("output").read_text()) == {"text": "", "chunks": []}
    overlap = benchmark / "user_backchannel" / "1"
    assert (overlap / "clean_output.wav").is_file()
    assert {"latency_stop_list", "latency_resp_list"} == set(
        json.loads((overlap / "latency_intervals.json").read_text())
    )
    metrics = {name: entry["metrics"] for name, entry in scores["tasks"].items()}
    assert metrics["candor_turn_taking"] == {"tor": 0.0, "latency_s": None}
    assert metrics["synthetic_pause_handling"] == {"tor": 0.0}
    assert metrics["icc_backchannel"] == {"tor": 0.0, "frequency": 0.0, "jsd": 1.0}
    assert json.loads((benchmark / "scores.json").read_text()) == scores
    assert "| candor_turn_taking | tor | 0.000 | 3 |" in (benchmark / "scores.md").read_text()


def test_a_recording_that_cannot_be_read_stays_unanswered_and_is_counted(
    benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = benchmark / "candor_turn_taking" / "2" / "input.wav"
    torn.write_bytes(torn.read_bytes()[:9000])
    assert evaluate_fdb(config(benchmark, baseline="silent")) == 0
    printed = capsys.readouterr()
    scores = json.loads(printed.out)
    assert scores["answered"] == scores["recordings"] - 1
    assert f"not answered: {torn} is not a recording that can be read (it is torn" in printed.err


def test_answers_of_other_systems_are_scored(
    benchmark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three turns are answered: in time, and with a latency below zero."""
    replies = {
        "1": [("so", 3.0, 3.4), ("yes", 3.5, 4.2)],
        "2": [("well", 2.0, 2.4), ("I", 2.5, 2.6), ("think", 2.7, None)],
        "10": [("yes", 1.0, 1.4), ("of", 1.5, 1.6), ("course", 1.7, 2.1), ("not", 5.0, 5.2)],
    }
    for name, rows in replies.items():
        folder = benchmark / "candor_turn_taking" / name
        wav(folder / "output.wav", 10.05)
        words(folder / "output.json", *rows)
    assert evaluate_fdb(config(benchmark)) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["answered"] == 3
    assert set(scores["tasks"]) == {"candor_turn_taking"}
    # The second ends with a word without an end: 0.7 s and three words are no turn.
    got = scores["tasks"]["candor_turn_taking"]["metrics"]
    assert got["tor"] == pytest.approx(2 / 3)
    assert got["latency_s"] == pytest.approx((0.6 + 0.0) / 2)


def test_overlaps_of_other_systems_are_timed_without_a_judge(benchmark: Path) -> None:
    folder = benchmark / "user_backchannel" / "1"
    wav(folder / "output.wav", 10.05)
    words(folder / "output.json", ("yes", 1.0, 1.2))
    (item,) = find_items(folder)
    (entry,) = score_items([item], config(benchmark)).values()
    assert entry["metrics"]["C_RESUME"] is None  # nobody knows what would be right
    assert not (folder / "content_tag.json").exists()


@pytest.mark.parametrize("version", DIALOGUES)
def test_what_we_write_is_what_we_read_and_the_oracle_is_right(
    version: str, tmp_path: Path, suite_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / version
    more: dict[str, Any] = {"version": version, "cache": str(suite_cache), "workers": 1}
    assert evaluate_fdb(config(root, export=DIALOGUES[version], baseline="oracle", **more)) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["answered"] == scores["recordings"] >= DIALOGUES[version]
    metrics = {name: entry["metrics"] for name, entry in scores["tasks"].items()}
    if version == "v1":
        assert metrics["candor_turn_taking"]["tor"] == 1.0
        assert 0.2 <= metrics["candor_turn_taking"]["latency_s"] <= 0.45
        assert metrics["synthetic_user_interruption"]["tor"] == 1.0
        assert metrics["icc_backchannel"]["tor"] == 0.0
        assert metrics["icc_backchannel"]["jsd"] < 0.5
        histograms = json.loads((root / "icc_gt_distribution.json").read_text())
        assert all(sum(one) == pytest.approx(1.0) for one in histograms.values())
        assert all(name.isdigit() for name in histograms)
    elif version == "v1_5":
        for name, found in metrics.items():
            wanted = "C_RESPOND" if name == "user_interruption" else "C_RESUME"
            assert found[wanted] == 1.0, name
    else:
        (found,) = metrics.values()
        assert found["pass_at_1"] == found["tool_f1"] == found["turn_taken"] == 1.0
        assert soundfile.info(next(root.glob("*/output.wav"))).samplerate == 24_000
        scenarios = json.loads((root / "benchmark_data_v2.json").read_text())["scenarios"]
        assert {one["id"] for one in scenarios} == {
            json.loads(path.read_text())["example_id"]
            for path in root.glob("*/result_microturn.json")
        }
    assert not any(path.suffix == ".tmp" for path in root.rglob("*"))
    title, *_ = (root / "scores.md").read_text(encoding="utf-8").splitlines()
    assert title == "# Full-Duplex-Bench: closed-domain twin, simulated dialogues"


def test_answers_are_kept_unless_asked_again(benchmark: Path) -> None:
    evaluate_fdb(config(benchmark, baseline="silent"))
    items = find_items(benchmark)
    assert tasks_of(items, again=False) == []
    assert len(tasks_of(items, again=True)) == 8  # seven, and a clean one
    items[0].words("output").unlink()  # as a killed run leaves it
    assert [task.item for task in tasks_of(items, again=False)] == [items[0]]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("turn_taking.json", "{", "is no JSON file"),
        ("turn_taking.json", "[]", "timestamp must be two numbers"),
        ("turn_taking.json", '[{"timestamp": ["a", 1]}]', "timestamp must be two numbers"),
        ("output.json", "[]", "must hold an object with a list `chunks`"),
        ("output.json", '{"chunks": [{"text": "a"}]}', "is no word with text and timestamp"),
    ],
)
def test_a_damaged_file_is_named(benchmark: Path, file: str, text: str, message: str) -> None:
    folder = benchmark / "candor_turn_taking" / "1"
    wav(folder / "output.wav", 10.05)
    words(folder / "output.json")
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        evaluate_fdb(config(folder))
    assert str(folder / file) in str(raised.value)


def test_what_cannot_be_done_is_said_in_one_sentence(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder"):
        evaluate_fdb(config(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no input\.wav"):
        evaluate_fdb(config(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="nothing in .* has an answer yet"):
        evaluate_fdb(config(benchmark))
    with pytest.raises(ConfigError, match="which only export= writes"):
        evaluate_fdb(config(benchmark, baseline="oracle"))
    shutil.rmtree(benchmark / "candor_turn_taking")
    (benchmark / "synthetic_pause_handling" / "1" / "pause.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has none of pause\.json"):
        find_items(benchmark)
    with pytest.raises(ValueError, match="not both"):
        FdbConfig(path="x", checkpoint="a", baseline="silent")
    with pytest.raises(FileNotFoundError, match="is no file"):
        score_items([], replace(config(benchmark), backchannel_reference=str(tmp_path / "no.json")))


@given(
    st.lists(
        st.tuples(st.text("abc'", min_size=1, max_size=5), st.floats(0, 60), st.floats(0, 2)),
        max_size=6,
    )
)
def test_words_survive_a_round_trip(tmp_path_factory: Any, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("words") / "output.json"
    chunks = [Chunk(text=text, start_s=a, end_s=a + n) for text, a, n in rows]
    path.write_text(json.dumps(chunks_json(chunks)))
    back = read_chunks(path)
    assert [chunk.text for chunk in back] == [chunk.text for chunk in chunks]
    for ours, theirs in zip(chunks, back, strict=True):
        assert theirs.start_s == pytest.approx(ours.start_s, abs=6e-4)
        assert theirs.end_s == pytest.approx(ours.end_s, abs=6e-4)


def test_a_table_without_numbers() -> None:
    scores = {"path": "x", "checkpoint": "", "baseline": "", "answered": 0, "recordings": 1}
    text = table(scores | {"tasks": {}, "simulated": False})
    assert text.startswith("# Full-Duplex-Bench\n")
    assert "0 of 1 recordings in x, with the answers that were there" in text


PROBABILITIES = st.lists(st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.95]), max_size=120)


@given(PROBABILITIES)
def test_speech_is_found_as_silero_finds_it(probabilities: list[float]) -> None:
    helper = pytest.importorskip("silero_vad.utils_vad").get_speech_timestamps_from_probs
    theirs = helper(list(probabilities))
    ours = spans_of(probabilities, 512 / 16_000, len(probabilities) * 512 / 16_000)
    assert len(ours) == len(theirs)
    for (start, end), span in zip(ours, theirs, strict=True):
        assert start == pytest.approx(span["start"] / 16_000, abs=2e-4)
        assert end == pytest.approx(span["end"] / 16_000, abs=2e-4)


def test_the_backchannel_script_gets_tenths_of_a_second() -> None:
    assert tenths([(1.04, 2.26)]) == [(1.0, 2.3)]
