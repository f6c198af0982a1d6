"""A rank that is killed, stopped, stuck or failed ends the run, which names it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.main import RANK_LOST
from microturn.training.config import TrainingConfig
from microturn.training.fleet.beat import Beat, Verdict
from microturn.training.fleet.place import BACKWARD, BETWEEN, FORWARD, START, Place
from microturn.training.fleet.roster import CUT_OFF_S, GRACE_S, Roster
from microturn.training.state import load, saved_states

LIMIT_S = 60.0
BEAT = Beat(number=1, host="node7", process=123, marks=40, step=4, label=BACKWARD)


def words_of(data: Path, out: Path, *more: str) -> list[str]:
    where = [f"data={data}", f"out={out}", "threads=1", "accelerator=cpu", "log_steps=1"]
    fixed = ["batch_size=4", "max_steps=100000", "checkpoint_steps=1"]
    return ["training/smoke.yaml", *where, *fixed, *more]


# --- the judgement -------------------------------------------------------------------------------
def roster_of(*beats: Beat, limit_s: float = LIMIT_S) -> Roster:
    roster = Roster(limit_s)
    for rank, beat in enumerate(beats):
        roster.hear(rank, beat, 0.0)
    return roster


def go_on(roster: Roster, seconds: float, *beats: Beat | None) -> Verdict | None:
    """Hear these ranks once a second, from the first second on; None: a rank that is silent."""
    for now_s in range(1, int(seconds) + 1):
        for rank, beat in enumerate(beats):
            if beat is not None:
                roster.hear(rank, replace(beat, number=1 + now_s), float(now_s))
        verdict = roster.verdict(float(now_s))
        if verdict is not None:
            return verdict
    return None


def test_a_silent_rank_is_named_after_the_limit_and_at_once_where_a_connection_broke() -> None:
    moving = replace(BEAT, marks=41)
    assert go_on(roster_of(BEAT, BEAT, BEAT), LIMIT_S, moving, moving, None) is None
    lost = go_on(roster_of(BEAT, BEAT, BEAT), LIMIT_S + 2, moving, moving, None)
    assert lost is not None
    assert (lost.ranks, lost.code) == ((2,), RANK_LOST)
    assert lost.text.startswith(
        "rank 2 (node7, process 123) gives no sign of life for 61 s, since the backward pass of "
        "step 5: "
    )
    cut_off = replace(BEAT, cut_off="Connection closed by peer")
    lost = go_on(roster_of(BEAT, BEAT, BEAT, BEAT), CUT_OFF_S + 2, BEAT, None, None, cut_off)
    assert lost is not None
    assert lost.ranks == (1, 2)
    assert lost.text.startswith("ranks 1 to 2 (node7) give no sign of life for 6 s")


def test_a_rank_that_stands_still_is_named_once_the_others_have_waited() -> None:
    waits = replace(BEAT, marks=42)
    stuck = go_on(roster_of(BEAT, BEAT, BEAT), LIMIT_S + 3, waits, BEAT, waits)
    assert stuck is not None
    assert stuck.ranks == (1,)
    assert "rank 1 (node7, process 123) stood still for " in stuck.text
    assert "in the backward pass of step 5, while the others waited" in stuck.text


def test_no_run_ends_whose_steps_or_savings_take_long() -> None:
    waits = replace(BEAT, marks=42)
    saves = replace(BEAT, label=BETWEEN, may_take_long=True)
    assert go_on(roster_of(saves, BEAT), 9 * LIMIT_S, saves, waits) is None
    assert go_on(roster_of(saves, BEAT), 11 * LIMIT_S, saves, waits) is not None
    slow = replace(BEAT, longest_s=LIMIT_S)
    assert go_on(roster_of(slow, slow), 2.9 * LIMIT_S, slow, waits) is None
    opens = replace(BEAT, label=START, may_take_long=True)
    assert go_on(roster_of(opens, opens), 99 * LIMIT_S, opens, opens) is None
    ended = replace(BEAT, ends=True)
    assert go_on(roster_of(BEAT, BEAT), 2 * LIMIT_S, ended, ended) is None


def test_all_ranks_that_stand_still_end_without_a_name() -> None:
    still = go_on(roster_of(BEAT, BEAT), LIMIT_S + 2, BEAT, BEAT)
    assert still is not None
    assert still.ranks == ()
    assert "all ranks stood still for 61 s in the backward pass of step 5" in still.text


def test_a_failure_of_one_rank_is_that_of_the_run() -> None:
    failed = replace(BEAT, failure=Verdict(text="rank 1: no memory", code=1, ranks=(1,)))
    assert go_on(roster_of(BEAT, BEAT), GRACE_S, BEAT, failed) is None
    assert go_on(roster_of(BEAT, BEAT), GRACE_S + 2, BEAT, failed) == failed.failure


def test_a_beat_survives_the_store() -> None:
    verdict = Verdict(text="rank 3 …", code=RANK_LOST, ranks=(3,))
    beat = replace(BEAT, verdict=verdict, longest_s=0.5)
    assert Beat.from_json(beat.to_json().encode()) == beat
    with pytest.raises(ValueError, match="no sign of life of a rank: "):
        Beat.from_json("[]")


def test_a_place_counts_marks_and_the_longest_pause_of_its_own() -> None:
    place = Place()
    place.at(FORWARD, step=0)
    with place.meeting():
        time.sleep(0.03)
    place.at(BETWEEN, step=1)
    assert place.marks == 4
    assert place.waited_s >= 0.03
    assert place.longest_s < place.waited_s
    assert place.may_take_long


# --- real ranks ----------------------------------------------------------------------------------
def wait_for_state(out: Path) -> None:
    end = time.monotonic() + 120
    while not saved_states(out):
        assert time.monotonic() < end, "no state"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "rank"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 1), (signal.SIGKILL, 0)]
)
def test_a_rank_that_is_killed_or_stopped_is_named_by_the_other(
    number: signal.Signals, rank: int, server: Any, data: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors"
    pids = server.start_ranks(words_of(data, out, "silence_s=5"), errors)
    wait_for_state(out)
    os.kill(pids[rank], number)
    assert server.wait(pids[1 - rank]) == RANK_LOST
    os.kill(pids[rank], signal.SIGKILL)
    assert server.wait(pids[rank]) == -signal.SIGKILL
    said = (tmp_path / f"errors{1 - rank}").read_text().strip().splitlines()[-1]
    assert f"microturn train: rank {rank} (" in said
    assert f"process {pids[rank]}) gives no sign of life for" in said
    last = saved_states(out)[-1]
    assert said.endswith(f"; the same command goes on from {last}")
    assert load(last).step > 0


def test_what_one_rank_alone_cannot_open_ends_all_with_one_sentence(
    server: Any, data: Path, tmp_path: Path
) -> None:
    errors = tmp_path / "errors"
    nowhere = {1: [f"data={tmp_path / 'nowhere'}"]}
    pids = server.start_ranks(words_of(data, tmp_path / "run"), errors, more=nowhere)
    server.wait_for_ranks(pids, errors, code=1)
    said = (tmp_path / "errors0").read_text().strip().splitlines()[-1]
    assert "microturn train: rank 1 (" in said
    assert "nowhere" in said
    assert (tmp_path / "errors1").read_text() == ""


def test_a_limit_below_the_noise_of_a_busy_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="silence_s=2 must be at least 5, or 0 for no watch"):
        TrainingConfig(data="d", out="o", silence_s=2)


def test_another_number_of_ranks_is_refused(server: Any, data: Path, tmp_path: Path) -> None:
    errors, out = tmp_path / "errors", tmp_path / "run"
    one = {0: ["devices=1"], 1: ["devices=1"]}
    pids = server.start_ranks(words_of(data, out), errors, more=one)
    server.wait_for_ranks(pids, errors, code=1)
    assert "the launcher started 2 ranks, but devices=1 x nodes=1 is 1; give devices=" in (
        (tmp_path / "errors0").read_text()
    )
    assert not out.exists()
