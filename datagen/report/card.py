"""The data card of a set: contents, speakers, licences and timing.

Turn-taking is measured twice, from rendered audio and from word times. A set with human timing is
compared with published measurements; `microturn inspect check=true` reads the verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from microturn.configs.reading import naming_damage
from microturn.datagen.config import HumanTimingConfig
from microturn.datagen.report.corpora_use import use_lines
from microturn.datagen.report.leakage import MIN_EVENTS, PAIRS, pairs_of
from microturn.datagen.report.leakage_rows import MEANINGS
from microturn.datagen.report.set_statistics import TIMES, TRANSFORMED, SetStatistics
from microturn.datagen.report.targets import judged
from microturn.datagen.sets.contents import Contents
from microturn.datagen.sets.shards import COPY_AGAIN
from microturn.datagen.sets.storage import Place

CARD_JSON, CARD_TEXT = "card.json", "card.md"
PLOT_TIMING, PLOT_CHANNEL = "card-timing.png", "card-channel.png"
OFFSET_BIN_MS = 50
HISTOGRAMS = ("snr_db", "rt60_s")  # sorted by value, not by count
QUANTILES = (("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("max", 1.0))
TIME_NAMES = {
    "reply_latency": "agent's answer after the end of a turn",
    "yield_latency": "agent's silence after an interruption begins",
    "cue_lateness": "timed word after it was due",
    "result_wait": "background result until it is said",
    "user_gap": "user's next words after the agent's",
    "pause": "hesitation inside a turn",
    "backchannel": "length of a user's backchannel",
    "interruption": "length of an interruption",
    "background_speech": "length of a background voice",
}


def make_card(
    statistics: SetStatistics,
    identity: Mapping[str, Any],
    *,
    contents: Contents | None = None,
    corpora: Mapping[str, Mapping[str, Any]] | None = None,
    human: HumanTimingConfig | None = None,
    leakage: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Build the card as JSON: the identity of the set, its counts, and its targets by `human`.

    `leakage` is what `measure_leakage` found, by pair of events.
    """
    human = human or HumanTimingConfig()
    tallies = statistics.turn_taking
    measures = {way: tally.measures() for way, tally in tallies.items()}
    return {
        **identity,
        "heard": (contents or Contents()).counts(),
        "corpora": dict(corpora or {}),
        "sums": {name: round(value, 3) for name, value in statistics.sums.items()},
        "counts": {
            name: _by_value(c) if name in HISTOGRAMS else dict(c.most_common())
            for name, c in statistics.counts.items()
            if c and not name.startswith("word_times")
        },
        "word_times": {
            name: {"words": n, "seconds": round(statistics.counts["word_times_ms"][name] / 1000, 2)}
            for name, n in sorted(statistics.counts["word_times"].items())
        },
        "times_s": {
            name: {
                "n": sum(statistics.times[name].values()),
                **{label: statistics.quantile(name, q) for label, q in QUANTILES},
            }
            for name in TIMES
            if statistics.times[name]
        },
        "turn_taking": {
            way: {
                "n_changes": tally.offsets.total(),
                "measures": measures[way],
                "offsets_ms": tally.histogram("offsets", bin_ms=OFFSET_BIN_MS),
                "pauses_ms": tally.histogram("pauses", bin_ms=OFFSET_BIN_MS),
            }
            for way, tally in tallies.items()
        },
        "human": {
            "asked_for": human.enabled,
            "tolerance": human.tolerance,
            "targets": judged(human, measures),
        },
        "leakage": (leakage or {}).get(PAIRS[0].name, {}),
        "leakage_by_pair": dict(leakage or {}),
    }


def card_text(card: Mapping[str, Any]) -> str:
    """Format the card as Markdown."""
    sums, counts = card["sums"], card["counts"]
    minutes = sums["seconds"] / 60
    lines = [
        f"# {int(sums['dialogues'])} simulated dialogues, {minutes:.1f} minutes ({card['split']})",
        "",
        f"Seed {card['seed']}, layout {card['layout_hash']}, "
        f"{card['n_micro_turns']} micro-turns each. All voices are recordings of people.",
        "",
        _share_line(sums),
        "",
        _heard_line(card["heard"]),
        *_transformed_lines(counts.get("speakers", {})),
        *_known_lines(counts.get("known_agents", {}), n_dialogues=int(sums["dialogues"])),
        "",
        "## Corpora",
        *use_lines(card["corpora"]),
        "",
        "## Families",
        *_table(("family", "segments", "share"), _shares(counts.get("families", {}))),
        "",
        "## Events",
        *_table(("event: expected", "n", "share"), _shares(counts.get("expected", {}))),
        "",
        "## Times in seconds",
        *_time_table(card["times_s"]),
        "",
        "## Word times",
        "Aligned: found in the sound. Given: stated by the corpus. Interpolated: between known "
        "times. Unknown: somewhere in the line; text lanes are not trained there.",
        "",
        *_table(("voice: times", "words", "seconds", "share"), _word_times(card["word_times"])),
        "",
        "## Turn-taking",
        *_human_lines(card["human"]),
        "",
        f"![offsets, pauses and lengths]({PLOT_TIMING})",
        "",
        *_leakage_lines(card),
        "## Users",
        *_table(("voice", "dialogues", "share"), _shares(counts.get("voices", {}))),
        "",
        "## Noise beds",
        *_table(("bed", "dialogues", "share"), _shares(counts.get("noise", {}))),
        "",
        "## Signal to noise and reverberation",
        *_table(("SNR from (dB)", "dialogues", "share"), _shares(counts.get("snr_db", {}))),
        "",
        *_table(
            ("measured RT60 from (s)", "dialogues", "share"), _shares(counts.get("rt60_s", {}))
        ),
        "",
        f"![signal to noise and reverberation]({PLOT_CHANNEL})",
        "",
        "## Answers",
        *_table(("answer", "n", "share"), _shares(counts.get("answers", {}), max_rows=30)),
        "",
        "## Licences of the recordings",
        *_table(("licence", "uses", "share"), _shares(counts.get("licences", {}))),
        "",
    ]
    return "\n".join(lines)


def _by_value(counts: Mapping[str, int]) -> dict[str, int]:
    return {edge: counts[edge] for edge in sorted(counts, key=float)}


def _human_lines(human: Mapping[str, Any]) -> list[str]:
    """Format the measures beside those of people, with a verdict if human timing is enabled."""
    if human["asked_for"]:
        tolerance = f"{human['tolerance']:.0%}"
        lines = [f"Judged by published human timing, with a tolerance of {tolerance}.", ""]
    else:
        lines = [
            "Human timing is disabled (timing.human.enabled=false): the measures are shown beside "
            "published ones and not judged.",
            "",
        ]
    rows = [
        (
            row["description"],
            f"{row['target']:.3g}",
            *("-" if row[way] is None else f"{row[way]:.3g}" for way in ("sound", "words")),
            "-" if row["off"] is None else f"{row['off']:.1%}",
            ("yes" if row["ok"] else "**no**") if human["asked_for"] else "",
            row["people"],
        )
        for row in human["targets"]
    ]
    head = ("measure", "target", "sound", "words", "off by", "within", "people")
    return [*lines, *_table(head, rows)]


def _leakage_lines(card: Mapping[str, Any]) -> list[str]:
    """Format what a small classifier makes of everything but the words."""
    lines = [
        "## Leakage",
        "What a small classifier tells from a feature without the words, on dialogues that it did "
        "not learn from; chance is 50 %. **Bold** is beyond its limit; in brackets is what a model "
        "may use.",
        "",
    ]
    by_pair, families = card.get("leakage_by_pair", {}), card["counts"].get("families", {})
    for pair in pairs_of(conversation="conversation" in families):
        features = by_pair.get(pair.name, {})
        n = next((row["n"] for row in features.values()), 0)
        lines += [f"### {pair.name}"]
        if not n:
            lines += [f"Too few events: {MIN_EVENTS} of each kind are needed.", ""]
            continue
        lines += [f"{n} events. {pair.reason}".strip()]
        rows = [_leakage_row(name, row) for name, row in features.items()]
        lines += [*_table(("feature", "accuracy", "95 %", "limit", "described by"), rows), ""]
    return lines


def _leakage_row(feature: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy = f"{row['accuracy']:.1%}"
    if row["leaks"]:
        accuracy = f"**{accuracy}**"
    low, high = row["ci95"]
    name = f"({feature})" if row["allowed"] else feature
    meaning = MEANINGS.get(feature, "all features but those in brackets")
    return name, accuracy, f"{low:.1%} to {high:.1%}", f"{row['limit']:.1%}", meaning


def read_card(folder: Place) -> dict[str, Any]:
    """Read the card of a set; raises ValueError that names the file where it is damaged."""
    path = folder / CARD_JSON
    with naming_damage(path, COPY_AGAIN):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def missed_targets(card: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every target that a set with human timing misses."""
    human = card.get("human")
    if not human or not human["asked_for"]:
        return []
    return [
        f"{row['name']} is {row['sound']} in the sound and {row['words']} in the words; "
        f"the target is {row['target']}, with a tolerance of {human['tolerance']:.0%}"
        for row in human["targets"]
        if not row["ok"]
    ]


def _share_line(sums: Mapping[str, float]) -> str:
    total = sums["seconds"] or 1.0
    parts = [
        f"{name} {sums[f'{name}_seconds'] / total:.0%}" for name in ("user", "agent", "background")
    ]
    spoken = sums["user_seconds"] + sums["agent_seconds"]
    overlap = sums["overlap"] / spoken if spoken else 0.0
    return (
        f"Share of the time: {', '.join(parts)}; user and agent overlap in {overlap:.1%} of speech."
    )


def _heard_line(heard: Mapping[str, int]) -> str:
    counts = ", ".join(f"{n} {kind}" for kind, n in heard.items())
    return (
        f"Heard, as users or in the background: {counts}; at other speeds, the same people and "
        "recordings. `microturn inspect DIR against=TRAIN` counts what two sets share."
    )


def _transformed_lines(takes: Mapping[str, int]) -> list[str]:
    """Say how many takes of users and background voices are transformed, if any are."""
    heard = {name: n for name, n in takes.items() if not name.startswith("agent: ")}
    transformed = sum(n for name, n in heard.items() if name.endswith(TRANSFORMED))
    if not transformed:
        return []
    total = sum(heard.values())
    return [
        "",
        f"Transformed voices of the same people: {transformed} of {total} takes "
        f"({transformed / total:.1%}); a take is a recording in one voice in one dialogue.",
    ]


def _known_lines(agents: Mapping[str, int], *, n_dialogues: int) -> list[str]:
    """Say in how many dialogues of a test the agent's voice is known, if it is in any."""
    if not agents:
        return []
    by_name = ", ".join(f"{name} {n}" for name, n in agents.items())
    return [
        "",
        f"User unseen, agent known: in {sum(agents.values())} of {n_dialogues} dialogues the "
        f"agent's voice is one of training ({by_name}); whose turns it answers, nobody there is.",
    ]


def _shares(counts: Mapping[str, int], *, max_rows: int = 100) -> list[tuple[str, str, str]]:
    total = sum(counts.values()) or 1
    rows = [(name, str(n), f"{n / total:.1%}") for name, n in counts.items()]
    if len(rows) > max_rows:
        rows = [*rows[:max_rows], (f"({len(rows) - max_rows} more)", "", "")]
    return rows


def _word_times(counts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    total = sum(row["words"] for row in counts.values()) or 1
    return [
        (name, str(row["words"]), f"{row['seconds']:.1f}", f"{row['words'] / total:.1%}")
        for name, row in counts.items()
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [_row(head), _row(("---",) * len(head)), *map(_row, rows)]


def _time_table(times: Mapping[str, Mapping[str, Any]]) -> list[str]:
    labels = [label for label, _ in QUANTILES]
    rows = [
        (TIME_NAMES[name], str(row["n"]), *(f"{row[label]:.2f}" for label in labels))
        for name, row in times.items()
    ]
    return _table(("time", "n", *labels), rows)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"
