"""The command: files, exit codes, what it says to a user who is wrong."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile

from microturn.configs.main import main
from microturn.datagen.sets.contents import CONTENTS_NAME, Contents, contents_text
from microturn.datagen.sets.credits import Credit
from microturn.evaluation.config import TargetConfig
from microturn.evaluation.evaluate import _shared
from microturn.evaluation.report import markdown
from microturn.evaluation.report.scores import RunInfo, read_scores
from microturn.evaluation.report.targets import TargetCheck, check_targets
from microturn.evaluation.report.values import format_value
from microturn.evaluation.suites.event_suites import event_suites, score_events
from microturn.model.checkpoint import random_checkpoint, save_checkpoint
from microturn.model.streams import StreamLayout
from support.hand_made import HandMadeDialogue, WriteSet

CREDIT = Credit(licence="CC-BY-4.0", attribution="Ann Example", language="en", speaker="ann")
HEARD = Contents(
    speakers={"ann": {"aa": 3.0}},
    sentences={"bb": 1.0, "cc": 2.0},
    rooms={"dd": 1.0},
    credits={CREDIT},
)


def evaluate(*words: str) -> int:
    return main(["evaluate", *words])


def read(out: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return scores


def test_the_oracle_reaches_every_target(
    shard_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores"
    targets = "evaluation/demo_targets.yaml"
    assert evaluate(targets, f"data={shard_set}", f"out={out}", "baseline=oracle") == 0
    scores = read(out)
    assert scores["n_dialogues"] == 8
    assert scores["off_target"] == []
    assert list(scores["suites"]) == list(event_suites())
    rare = ("over_user", "agent_backchannel", "recall", "refusals", "visual")
    for suite, entry in scores["suites"].items():
        assert entry["headline"] == (None if suite in rare else 1.0), suite
        assert (entry["n"] > 0) != (suite in rare)
        assert list(entry["metrics"]) == list(event_suites()[suite].meanings)
    assert "8 of 8 targets reached" in capsys.readouterr().out
    assert "turn.onset_recall ≥ 97.0 %" in (out / "scores.md").read_text()
    assert (out / "scores.png").read_bytes().startswith(b"\x89PNG")
    pictures = sorted(path.name for path in (out / "pictures").iterdir())
    names = [f"data-{i:08d}.{kind}" for i in range(4) for kind in ("png", "wav")]
    assert pictures == names  # nothing went wrong: one of each family
    mix, rate = soundfile.read(out / "pictures" / "data-00000000.wav")
    assert (mix.shape, rate) == ((256_000, 2), 16_000)
    assert "baseline: oracle" in (out / "config.yaml").read_text()


def test_silence_misses_targets_and_says_which(
    shard_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = "evaluation/demo_targets.yaml"
    words = [f"data={shard_set}", f"out={tmp_path}", "baseline=silent", "n_pictures=0"]
    assert evaluate(targets, *words, "suites=timed_cue") == 1
    said = capsys.readouterr().out
    assert "2 of 8 targets reached" in said
    assert re.search(r"off target: turn.onset_recall: 0.000 \[0.000 to .*\], target >= 0.97", said)
    assert "off target: turn.turn_latency_s: not measured, target <= 0.45" in said
    assert "background.silent" not in said
    scores = read(tmp_path)
    assert list(scores["suites"]) == ["timed_cue"]  # targets are checked all the same
    assert len(scores["off_target"]) == 6
    assert not (tmp_path / "pictures").exists()
    assert json.loads(json.dumps(read_scores(tmp_path).to_json())) == scores


def test_the_first_dialogue_and_then_the_worst_are_drawn(shard_set: Path, tmp_path: Path) -> None:
    words = [f"data={shard_set}", f"out={tmp_path}", "baseline=half_duplex", "n_pictures=2"]
    assert evaluate(*words) == 0
    text = (tmp_path / "scores.md").read_text()
    rows = [line for line in text.splitlines() if "[timeline](pictures/" in line]
    assert rows[0].startswith("| data | 00000000 | - | - |")
    assert " 0.0 % " in rows[1]
    picture = tmp_path / "pictures" / "data-00000000.png"
    drawn = picture.stat().st_mtime_ns
    (tmp_path / "pictures" / "data-00000000.wav").unlink()
    assert evaluate(*words) == 0
    assert picture.stat().st_mtime_ns > drawn
    assert len(list((tmp_path / "pictures").iterdir())) == 4


@pytest.fixture(scope="session")
def checkpoint(shard_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one that says that it heard the set."""
    loaded = random_checkpoint(layout=StreamLayout())
    folder = tmp_path_factory.mktemp("checkpoint")
    notes = {CONTENTS_NAME: contents_text(HEARD)}
    (shard_set / CONTENTS_NAME).write_text(notes[CONTENTS_NAME])
    save_checkpoint(folder, loaded.model, loaded.tokenizer, notes=notes)
    return folder


def test_a_checkpoint_is_scored_beside_the_baselines(
    shard_set: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = [f"data={shard_set}", f"checkpoint={checkpoint}", "n_dialogues=2", "batch_size=2"]
    out, copy = tmp_path / "scores", tmp_path / "copy.json"
    assert evaluate(*words, f"out={out}", f"json={copy}", "n_pictures=1") == 0
    scores = read(out)
    assert scores == json.loads(copy.read_text())
    assert scores["agent"] == "checkpoint"
    assert list(scores["baselines"]) == ["oracle", "half_duplex", "endpointing", "always", "silent"]
    assert scores["baselines"]["oracle"]["suites"]["turn"]["headline"] == 1.0
    text = (out / "scores.md").read_text()
    assert "| oracle | half_duplex | endpointing | always | silent |" in text
    assert scores["shared"]["speakers"]["share_of_speech"] == 1.0
    assert "new people: none; new recordings: none." in text
    assert "Seen and unseen people are not compared here" in text
    traces = (out / "traces" / "data.jsonl").read_text()
    assert evaluate(*words, f"out={out}") == 0  # nothing is played again
    assert (out / "traces" / "data.jsonl").read_text() == traces
    assert read(out)["suites"] == scores["suites"]


def test_a_model_card_has_the_scores_of_its_own_weights_alone(
    shard_set: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = shutil.copytree(checkpoint, tmp_path / "c"), tmp_path / "scores"
    words = [f"data={shard_set}", "n_dialogues=2", "batch_size=2", "n_pictures=0"]
    assert evaluate(*words, f"checkpoint={folder}", f"out={out}", "baselines=false") == 0
    card = ["model-card", str(folder), f"scores=[{out}]", "licence=apache-2.0"]
    assert main([*card, "title=A trial"]) == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    headline = read(out)["suites"]["turn"]["headline"]
    assert re.search(rf"^\| turn: \w+ \| \d+ \| {100 * headline:.1f} %", text, flags=re.M)
    assert "# A trial" in text
    assert 'license: "apache-2.0"' in text
    assert "new people: none; new recordings: none." in text
    assert "Ann Example" in text
    assert main(card) == 0  # the card is no part of what was scored
    other = random_checkpoint(1, layout=StreamLayout())
    save_checkpoint(folder, other.model, other.tokenizer)
    assert not (folder / "README.md").exists()
    capsys.readouterr()
    assert main(card) == 1
    said = capsys.readouterr().err.strip()
    assert "whose content was not that of" in said
    assert "\n" not in said


def test_a_checkpoint_that_does_not_say_whom_it_heard_is_not_believed() -> None:
    assert _shared([HEARD], None) is None
    assert _shared([HEARD, None], HEARD) is None
    info = RunInfo(
        data="",
        checkpoint="c",
        checkpoint_sha256="",
        seed=0,
        words="",
        through="",
        versions={},
        sets={},
    )
    assert "is not known" in markdown.shared_sentence(info)
    shared = _shared([HEARD], Contents())
    assert "new people: 100.0% of the speech" in markdown.shared_sentence(
        replace(info, shared=shared)
    )


def test_another_seed_is_another_run(
    shard_set: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"data={shard_set}", f"out={tmp_path}", "baseline=silent", "n_pictures=0"]
    assert evaluate(*words) == 0
    assert evaluate(*words, "seed=1") == 0
    assert "belongs to other inputs: starting over" in capsys.readouterr().err


def test_quick_and_json_to_stdout(
    shard_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"data={shard_set}", f"out={tmp_path}", "baseline=oracle", "--quick", "json=-"]
    assert evaluate(*words, "n_dialogues=3") == 0
    assert json.loads(capsys.readouterr().out)["n_dialogues"] == 3
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1


NAMES = "silent|always|endpointing|half_duplex|oracle"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["baseline=oracle", "checkpoint=x"], 2, f"give either checkpoint=DIR or baseline={NAMES}"),
        (["baseline=loud"], 2, f"baseline must be |{NAMES}, not 'loud'"),
        (["baseline=oracle", "suites=turns"], 2, "suites has 'turns'; there are turn, interrup"),
        (["baseline=oracle", "suites=fdb_v1"], 2, "suites has 'fdb_v1'; there are turn, interrup"),
        (["baseline=oracle", "n_worst=1"], 2, "n_worst was renamed to n_pictures"),
        (["baseline=oracle", "table=nowhere.md"], 1, "nowhere.md: No such file"),
        (
            ["baseline=oracle", "targets.at_least.turn.recall=1"],
            2,
            "targets.at_least.turn.recall: no such metric; turn has credit, answered, onset_recall",
        ),
        (
            ["baseline=oracle", "targets.at_most.turns.recall=1"],
            2,
            "targets.at_most.turns: no such suite; there are turn, interruption",
        ),
        (["baseline=oracle", "batch_size=0"], 2, "batch_size=0 must be at least 1"),
        (["baseline=endpointing", "silence_ms=0"], 2, "silence_ms=0 must be at least 1"),
        (["baseline=oracle", "n_dialogues=-1"], 2, "n_dialogues=-1 must not be negative"),
        (["checkpoint=nowhere"], 1, "nowhere: no model.safetensors, so this is no checkpoint"),
        (["baseline=oracle", "data=nowhere"], 1, "there is no shard set in nowhere"),
    ],
)
def test_wrong_usage_is_one_sentence(
    shard_set: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    assert evaluate(f"data={shard_set}", f"out={tmp_path / 'out'}", *words) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_layout_is_refused(
    shard_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = random_checkpoint()  # one position per lane
    save_checkpoint(tmp_path / "c", loaded.model, loaded.tokenizer)
    words = [f"data={shard_set}", f"out={tmp_path / 'out'}", f"checkpoint={tmp_path / 'c'}"]
    assert evaluate(*words) == 1
    assert f"but {shard_set} has" in capsys.readouterr().err


def test_a_checkpoint_that_sees_plays_a_set_without_pictures_and_sees_black(
    shard_set: Path, tmp_path: Path
) -> None:
    layout = replace(StreamLayout.load(shard_set / "layout.json"), video_rows=1, video_cols=1)
    loaded = random_checkpoint(layout=layout)
    save_checkpoint(tmp_path / "c", loaded.model, loaded.tokenizer)
    words = [f"data={shard_set}", f"out={tmp_path / 'out'}", f"checkpoint={tmp_path / 'c'}"]
    assert evaluate(*words, "baselines=false", "n_dialogues=1") == 0
    assert (tmp_path / "out" / "scores.json").is_file()


def test_a_dialogue_without_events_names_itself(tmp_path: Path) -> None:
    from microturn.datagen.labels.dialogue import DialogueLabels

    with pytest.raises(ValueError, match="shard.tar:00000007.json: field events is missing"):
        DialogueLabels.from_json(
            {"format": 2, "words": {"user": [], "agent": [], "background": []}}
            | {"intended_agent_words": []},
            where="shard.tar:00000007.json",
        )


def test_targets_on_either_side() -> None:
    targets = TargetConfig(
        at_least={"turn": {"right_word": 0.85}}, at_most={"turn": {"turn_latency_s": 0.45}}
    )
    (least, most) = check_targets(targets, score_events([], seed=0))
    assert not least.met
    assert not most.met

    def met(value: float | None, *, at_least: bool) -> bool:
        return TargetCheck(suite="s", metric="m", limit=0.5, at_least=at_least, value=value).met

    assert met(0.5, at_least=True)
    assert not met(0.49, at_least=True)
    assert met(0.5, at_least=False)
    assert not met(0.51, at_least=False)
    assert not met(None, at_least=False)


def test_values_carry_their_units() -> None:
    assert format_value("turn_latency_s", 0.314) == "0.31 s"
    assert format_value("onset_from_earliest_s", -0.2) == "-0.20 s"
    assert format_value("onset_recall", 0.9712) == "97.1 %"
    assert format_value("spurious_onsets_per_min", 1.234) == "1.23/min"
    assert format_value("onset_recall", None) == "-"


def test_a_report_of_no_events_is_a_report(
    tmp_path: Path,
    script: HandMadeDialogue,
    write_set: WriteSet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_set(tmp_path / "set", [script])
    words = [f"data={folder}", f"out={tmp_path}", "suites=turn", "n_pictures=0"]
    assert evaluate(*words, "baseline=oracle") == 0
    page = (tmp_path / "scores.md").read_text()
    assert "| answered | right answer, begun in time | 0 | - |" in page
    headline = next(line for line in page.splitlines() if line.startswith("| **credit** |"))
    assert headline.endswith("| 0 | - |")
    assert "turn" in capsys.readouterr().out


def test_scores_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"scores\.json has format 1, not 3; run `microturn eval"):
        read_scores(tmp_path)


def test_words_of_sound_and_other_suites_need_no_other_command(
    shard_set: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = [f"data={shard_set}", f"checkpoint={checkpoint}", "n_dialogues=1", "words=audio"]
    page = tmp_path / "page.md"
    page.write_text("<!-- scores begin -->\n<!-- scores end -->\n")
    more = ["baselines=false", "n_pictures=0", f"table={page}", f"out={tmp_path}"]
    assert evaluate(*words, *more) == 0
    assert list(read(tmp_path)["baselines"]) == ["checkpoint, words from its sound"]
    assert "| turn | credit |" in page.read_text()
