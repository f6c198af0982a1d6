"""Statistics of a set, counted by dialogue; the reports of shards add up to that of the set."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microturn.datagen.dialogue import turn_taking
from microturn.datagen.labels.dialogue import (
    LANES,
    DialogueLabels,
    EventLabel,
    WordLabel,
    WordLabels,
)
from microturn.datagen.labels.event_types import (
    BACKGROUND_SPEECH,
    INTERRUPTION,
    PAUSE,
    RESULT,
    TIMED_CUE,
    TURN,
    USER_BACKCHANNEL,
)
from microturn.datagen.labels.setting import ChannelLabel
from microturn.datagen.labels.voice_names import speaker_of, transform_of
from microturn.datagen.report.timing_tally import TimingTally

if TYPE_CHECKING:
    from microturn.datagen.acoustics.render import RenderedAudio

BIN_S = 0.01  # bin width of times
JOIN_S = 0.18  # shorter silences are part of a stretch of speech (Heldner & Edlund 2010)
VOICE_DB = -30.0  # a voice is active above this level, re its loud frames
TRANSFORMED = " (transformed)"  # after the speaker of voices that are counted together
SNR_BIN_DB, RT60_BIN_S = 2.5, 0.05
TURN_TAKING = ("sound", "words")
TIMES = (
    "reply_latency",
    "yield_latency",
    "cue_lateness",
    "result_wait",
    "user_gap",
    "pause",
    "backchannel",
    "interruption",
    "background_speech",
)
COUNTS = (
    "families",
    "events",
    "expected",
    "questions",
    "answers",
    "agent_words",
    "heard_words",
    "voices",
    "speakers",
    "known_agents",
    "licences",
    "noise",
    "rooms",
    "channel",
    "snr_db",
    "rt60_s",
    "word_times",
    "word_times_ms",
)
SUMS = ("dialogues", "seconds", "user_seconds", "agent_seconds", "background_seconds", "overlap")

Report = dict[str, Any]


class SetStatistics:
    """Counts of names, sums of numbers and histograms of times."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in COUNTS}
        self.times: dict[str, Counter[int]] = {name: Counter() for name in TIMES}
        self.sums: dict[str, float] = dict.fromkeys(SUMS, 0.0)
        self.turn_taking = {way: TimingTally() for way in TURN_TAKING}

    def add(
        self,
        labels: DialogueLabels,
        sound: RenderedAudio | None = None,
        *,
        known_agents: Collection[str] = (),
    ) -> None:
        """Count one dialogue by its labels and, if given, its sound.

        `known_agents`: people of training who may be the agents of a test.
        """
        self._add_turn_taking(labels, sound)
        self.sums["dialogues"] += 1
        self.sums["seconds"] += labels.duration_s
        self.counts["families"].update(labels.families)
        self.counts["rooms"][str(labels.room.id)] += 1
        self.counts["rt60_s"][_binned(labels.room.measured_rt60_s, RT60_BIN_S)] += 1
        self.counts["voices"][_voice_name(labels.voice)] += 1
        self._add_channel(labels.channel)
        for item in labels.items:
            self.counts["speakers"][f"{item.lane}: {_voice_name(item.voice)}"] += 1
            self.counts["licences"][item.licence] += 1
        agents = {item.speaker for item in labels.items if item.lane == "agent"}
        self.counts["known_agents"].update(agents.intersection(known_agents))
        self._add_words(labels.words)
        for event in labels.events:
            self._add_event(event, labels.words.agent)

    def _add_turn_taking(self, labels: DialogueLabels, sound: RenderedAudio | None) -> None:
        rate = labels.sample_rate
        measures = {"words": turn_taking.of_words(labels, join_s=JOIN_S)}
        if sound is not None:
            measures["sound"] = turn_taking.of_sound(
                labels,
                sound.stems["user"],
                sound.agent.astype(np.float32),
                threshold_db=VOICE_DB,
                join_s=JOIN_S,
            )
        for way, measured in measures.items():
            self.turn_taking[way].add(measured, rate)

    def _add_channel(self, channel: ChannelLabel) -> None:
        if channel.snr_db is not None:
            self.counts["snr_db"][_binned(channel.snr_db, SNR_BIN_DB)] += 1
        self.counts["noise"][channel.noise or "none"] += 1
        if channel.echo_db is not None:
            self.counts["channel"]["echo"] += 1
        if channel.digital_zero_s:
            self.counts["channel"]["digital zero"] += 1

    def _add_words(self, words: WordLabels) -> None:
        for lane, name in (("agent", "agent_words"), ("user", "heard_words")):
            self.counts[name].update(t for word in words.of(lane) for t in word.text.split())
        for lane in LANES:
            for word in words.of(lane):
                name, length_ms = f"{lane}: {word.times}", round(1000 * (word.end_s - word.start_s))
                self.counts["word_times"][name] += len(word.text.split())
                self.counts["word_times_ms"][name] += length_ms
        spans = {lane: [(w.start_s, w.end_s) for w in words.of(lane)] for lane in LANES}
        for lane, lane_spans in spans.items():
            self.sums[f"{lane}_seconds"] += sum(b - a for a, b in lane_spans)
        self.sums["overlap"] += sum(
            min(b, d) - max(a, c)
            for a, b in spans["user"]
            for c, d in spans["agent"]
            if a < d and c < b
        )
        ends = sorted((end, lane) for lane in ("user", "agent") for _, end in spans[lane])
        for start, _ in spans["user"]:
            last = bisect_right(ends, (start, "user")) - 1
            # The agent was the last to speak before the user begins.
            if last >= 0 and ends[last][1] == "agent":
                self._time("user_gap", start - ends[last][0])

    def _add_event(self, event: EventLabel, agent: Sequence[WordLabel]) -> None:
        kind, expect = event.type, event.expect
        act = expect.act if expect else "nothing"
        self.counts["events"][kind] += 1
        self.counts["expected"][f"{kind}: {act}"] += 1
        length = event.end_s - event.start_s
        if expect and (kind, act) == (TURN, "respond"):
            if expect.text:  # else nobody knows what is right
                self.counts["answers"][expect.text] += 1
            self.counts["questions"][event.text] += 1
            self._after("reply_latency", event.end_s, agent)
        elif (kind, act) == (INTERRUPTION, "stop"):
            self._time("interruption", length)
            ends = [w.end_s for w in agent if w.start_s < event.start_s + 0.6]
            cut = [end for end in ends if end > event.start_s]
            self._time("yield_latency", max(cut, default=event.start_s) - event.start_s)
        elif expect and (kind, act) == (TIMED_CUE, "say"):
            due = expect.window_s[0] + 0.2
            self._after("cue_lateness", due, agent)
        elif kind == RESULT:
            self._after("result_wait", event.end_s, agent)
        elif kind == PAUSE:
            self._time("pause", length)
        elif kind == USER_BACKCHANNEL:
            self._time("backchannel", length)
        elif kind == BACKGROUND_SPEECH:
            self._time("background_speech", length)

    def _after(self, name: str, moment: float, agent: Iterable[WordLabel]) -> None:
        """Add the time from a moment to the agent's next onset."""
        later = [word.start_s - moment for word in agent if word.start_s >= moment - 1e-6]
        if later:
            self._time(name, min(later))

    def _time(self, name: str, seconds: float) -> None:
        self.times[name][round(seconds / BIN_S)] += 1

    # --- adding up ---------------------------------------------------------------------------
    def to_json(self) -> Report:
        return {
            "sums": {name: round(value, 6) for name, value in self.sums.items()},
            "counts": {name: dict(sorted(c.items())) for name, c in self.counts.items()},
            "times": {
                name: {str(b): n for b, n in sorted(c.items())} for name, c in self.times.items()
            },
            "turn_taking": {way: tally.to_json() for way, tally in self.turn_taking.items()},
        }

    def merge(self, report: Report) -> None:
        for name, value in report["sums"].items():
            self.sums[name] += value
        for name, counter in report["counts"].items():
            self.counts[name].update(counter)
        for name, histogram in report["times"].items():
            self.times[name].update({int(b): n for b, n in histogram.items()})
        for way, tally in report["turn_taking"].items():
            self.turn_taking[way].merge(tally)

    def quantile(self, name: str, q: float) -> float | None:
        """Return a quantile of a time in seconds, to a hundredth; None without values."""
        histogram = self.times[name]
        total = sum(histogram.values())
        seen = 0
        for time_bin, n in sorted(histogram.items()):
            seen += n
            if seen >= q * total and n:
                return round(time_bin * BIN_S, 2)
        return None


def _voice_name(voice: str) -> str:
    """Return the name that a voice is counted by: all transformed ones of a speaker are one row."""
    return f"{speaker_of(voice)}{TRANSFORMED}" if transform_of(voice) else voice


def _binned(value: float, width: float) -> str:
    """Return the lower edge of the bin of a value."""
    return f"{value // width * width:.4g}"
