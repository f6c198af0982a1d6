"""Metrics of answered recordings of Full-Duplex-Bench, by the formulas of its scripts.

Like its scripts it writes `latency_intervals.json` beside a recording and, where the right words
are known, `content_tag.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.suites.fdb.folder_config import FdbConfig
from microturn.evaluation.suites.fdb.folder_files import (
    INPUT,
    OUTPUT,
    RATE,
    REFERENCE_HISTOGRAMS,
    FdbItem,
    Json,
    read_chunks,
    read_json,
    write_json,
)
from microturn.evaluation.suites.fdb.folder_speech import speech, tenths
from microturn.evaluation.suites.fdb.v1_5_formulas import (
    BEHAVIOURS,
    MODEL_GAP_S,
    USER_GAP_S,
    behaviour,
    joined,
    replies,
    stops,
    touching,
)
from microturn.evaluation.suites.fdb.v1_formulas import (
    Chunk,
    backchannels,
    divergence,
    latency,
    takes_turn,
)
from microturn.evaluation.suites.fdb.v3_formulas import (
    Call,
    argument_accuracy,
    passed,
    tool_f1,
)
from microturn.evaluation.suites.statistics import mean, share
from microturn.inference.audio import read_recording
from microturn.model.streams.pcm import Audio

Numbers = dict[str, float | None]
Histograms = Mapping[str, Sequence[float]]
RESULT = "result_microturn"  # what v3 calls result_PROVIDER.json


def score_items(items: Sequence[FdbItem], config: FdbConfig) -> dict[str, Json]:
    """Compute `n` and `metrics` of every group of answered recordings."""
    groups: dict[str, list[FdbItem]] = {}
    for item in items:
        if item.answered:
            groups.setdefault(item.group, []).append(item)
    reference = _histograms(config)
    scored = {}
    for name, members in groups.items():
        rows = [_OBSERVERS[item.task](item, config, reference) for item in members]
        scored[name] = {
            "task": members[0].task,
            "n": len(members),
            "metrics": _MEASURES[members[0].task](rows),
        }
    return scored


def _histograms(config: FdbConfig) -> Histograms:
    """Read histograms of human backchannels by recording; empty without a reference file."""
    if config.backchannel_reference:
        path = Path(config.backchannel_reference)
        if not path.is_file():
            raise FileNotFoundError(f"backchannel_reference={path} is no file")
    else:
        near = (Path(config.path), Path(config.path).parent)
        found = [f for f in (p / REFERENCE_HISTOGRAMS for p in near) if f.is_file()]
        if not found:
            return {}
        path = found[0]
    entry = read_json(path)
    if not isinstance(entry, dict):
        raise ValueError(f"{path} must hold an object: a list of numbers by recording")
    return {str(key): [float(one) for one in value] for key, value in entry.items()}


def _sound(item: FdbItem, name: str) -> Audio:
    return read_recording(item.audio(name), sample_rate=RATE).samples


# --- v1 ------------------------------------------------------------------------------------------
def _pause(item: FdbItem, config: FdbConfig, reference: Histograms) -> Json:
    return {"tor": takes_turn(read_chunks(item.words(OUTPUT)))}


def _reply(item: FdbItem, config: FdbConfig, reference: Histograms) -> Json:
    """Score the reply to a turn or to an interruption, which is all that `output.json` holds."""
    chunks = read_chunks(item.words(OUTPUT))
    assert item.end_s is not None, item
    return {"tor": takes_turn(chunks), "latency_s": latency(chunks, item.end_s, config.quirks)}


def _backchannel(item: FdbItem, config: FdbConfig, reference: Histograms) -> Json:
    audio = _sound(item, OUTPUT)
    spans = tenths(speech(audio, RATE, config.activity))
    found = backchannels(spans, read_chunks(item.words(OUTPUT)), config.quirks)
    seconds = len(audio) / RATE
    histogram = reference.get(item.folder.name)
    jsd = None
    if histogram is not None:
        jsd = divergence(found.spans, histogram, seconds, config.quirks)
    return {"tor": found.takes_turn, "per_s": len(found.spans) / seconds, "jsd": jsd}


def _measure_turns(rows: Sequence[Json]) -> Numbers:
    latencies = [row["latency_s"] for row in rows if row.get("latency_s") is not None]
    numbers: Numbers = {"tor": share([row["tor"] for row in rows])}
    if any("latency_s" in row for row in rows):
        numbers["latency_s"] = mean(latencies)
    return numbers


def _measure_backchannels(rows: Sequence[Json]) -> Numbers:
    return {
        "tor": share([row["tor"] for row in rows]),
        "frequency": mean([row["per_s"] for row in rows]),
        "jsd": mean([row["jsd"] for row in rows if row["jsd"] is not None]),
    }


# --- v1.5 ----------------------------------------------------------------------------------------
def _overlap(item: FdbItem, config: FdbConfig, reference: Histograms) -> Json:
    """Measure the latencies of an overlap, and its behaviour where the right words are known."""
    assert item.event is not None, item
    user = joined(speech(_sound(item, INPUT), RATE, config.activity), USER_GAP_S)
    model = joined(speech(_sound(item, OUTPUT), RATE, config.activity), MODEL_GAP_S)
    stopped, replied = stops(user, model), replies(user, model)
    intervals = {
        "latency_stop_list": [list(span) for span in stopped],
        "latency_resp_list": [list(span) for span in replied],
    }
    write_json(item.words("latency_intervals"), intervals)
    return {
        "stop_s": [end - start for start, end in touching(stopped, item.event)][:1],
        "reply_s": [end - start for start, end in touching(replied, item.event)][:1],
        "behaviour": _behaviour(item),
    }


def _behaviour(item: FdbItem) -> str | None:
    if "continuation" not in item.own:
        return None
    assert item.event is not None, item
    said = _said_after(read_chunks(item.words(OUTPUT)), item.event[0])
    before = _said_before(read_chunks(item.words(OUTPUT)), item.event[0])
    meant = word_list(str(item.own["continuation"]))
    reached = max((meant.index(text) + 1 for text in before if text in meant), default=0)
    tag = behaviour(said, word_list(str(item.own.get("answer", ""))), [meant[reached:]])
    write_json(item.words("content_tag"), {"behaviour": [tag]})
    return tag


def _said_after(chunks: Sequence[Chunk], moment_s: float) -> list[str]:
    return [text for c in chunks if c.start_s >= moment_s for text in word_list(c.text)]


def _said_before(chunks: Sequence[Chunk], moment_s: float) -> list[str]:
    return [text for c in chunks if c.start_s < moment_s for text in word_list(c.text)]


def _measure_overlaps(rows: Sequence[Json]) -> Numbers:
    tags = [row["behaviour"] for row in rows if row["behaviour"] is not None]
    numbers: Numbers = {tag: share([one == tag for one in tags]) for tag in BEHAVIOURS}
    for name, key in (("stop_latency_s", "stop_s"), ("response_latency_s", "reply_s")):
        numbers[name] = mean([seconds for row in rows for seconds in row[key]])
    return numbers


# --- v3 ------------------------------------------------------------------------------------------
def _tools(item: FdbItem, config: FdbConfig, reference: Histograms) -> Json:
    path = item.words(RESULT)
    entry = read_json(path) if path.is_file() else {}
    actual = tuple(
        Call(function=str(call["function"]), args=call.get("args") or {})
        for call in entry.get("actual_tool_calls", ())
    )
    end_s, onset_s = entry.get("user_speech_end_rel"), entry.get("audio_agent_speech_start")
    late_s = None if end_s is None or onset_s is None else float(onset_s) - float(end_s)
    call_s = [float(one) - float(end_s) for one in entry.get("tool_call_times", ()) if end_s]
    return {
        "passed": passed(item.calls, actual),
        "f1": tool_f1(item.calls, actual),
        "arguments": argument_accuracy(item.calls, actual),
        "taken": bool(str(entry.get("transcript", "")).strip()),
        "late_s": late_s,
        "call_s": call_s[:1],
    }


def _measure_tools(rows: Sequence[Json]) -> Numbers:
    late = [row["late_s"] for row in rows if row["late_s"] is not None]
    return {
        "pass_at_1": share([row["passed"] for row in rows]),
        "tool_f1": mean([row["f1"] for row in rows]),
        "argument_accuracy": mean([row["arguments"] for row in rows]),
        "turn_taken": share([row["taken"] for row in rows]),
        "interrupted": share([seconds < 0 for seconds in late]),  # of those with speech
        "interrupted_of_all": sum(seconds < 0 for seconds in late) / len(rows) if rows else None,
        "first_response_latency_s": mean([seconds for seconds in late if seconds >= 0]),
        "tool_call_latency_s": mean([seconds for row in rows for seconds in row["call_s"]]),
    }


def first_turn_end(audio: Audio, config: FdbConfig) -> float | None:
    """v3: where the user's first turn ends: before a silence of more than two seconds."""
    spans = speech(np.asarray(audio, np.float32), RATE, config.activity)
    for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
        if start - end > FIRST_TURN_GAP_S:
            return end
    return spans[-1][1] if spans else None


FIRST_TURN_GAP_S = 2.0
_OBSERVERS: dict[str, Any] = {
    "pause": _pause,
    "turn": _reply,
    "interruption": _reply,
    "backchannel": _backchannel,
    "overlap": _overlap,
    "tools": _tools,
}
_MEASURES: dict[str, Any] = {
    "pause": _measure_turns,
    "turn": _measure_turns,
    "interruption": _measure_turns,
    "backchannel": _measure_backchannels,
    "overlap": _measure_overlaps,
    "tools": _measure_tools,
}
