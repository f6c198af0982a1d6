"""Who speaks when, and how two speakers take turns: measured from sound or from word times.

Speech is joined over silences shorter than a pause. A change of speaker has an offset, from the end
of one speaker's last stretch to the start of the other's first: positive for a gap, negative for an
overlap. Backchannels take no turn; which stretches they are is known from the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from microturn.datagen.corpora.waveform import Span, joined, voice_spans
from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel, WordLabel
from microturn.datagen.labels.event_types import event_type
from microturn.model.streams.pcm import Audio


@dataclass(kw_only=True)
class TurnTaking:
    """What was measured in one dialogue; times in samples."""

    n_samples: int
    offsets: list[int] = field(default_factory=list)
    takers: list[int] = field(default_factory=list)  # who then speaks: 0 the user, 1 the agent
    pauses: list[int] = field(default_factory=list)
    overlap: int = 0
    silence: int = 0
    turns: int = 0
    backchannels: int = 0


def measure(
    user: Sequence[Span], agent: Sequence[Span], *, backchannels: Sequence[Span], n_samples: int
) -> TurnTaking:
    """How two speakers take turns, from the joined spans of their speech."""
    found = TurnTaking(n_samples=n_samples)
    stretches: list[tuple[int, int, int]] = []
    heard = set()
    for lane, spans in enumerate((user, agent)):
        for start, end in spans:
            label = _label_of(start, end, backchannels)
            if label is None:
                stretches.append((start, end, lane))
            else:
                heard.add(label)
    found.overlap = _common(user, agent)
    speech = sum(end - start for start, end in (*user, *agent)) - found.overlap
    found.silence = n_samples - speech
    found.backchannels = len(heard)
    _walk(sorted(stretches), found)
    return found


def _common(first: Sequence[Span], second: Sequence[Span]) -> int:
    """Samples that two lists of spans share; no span of a list overlaps another of it."""
    total = place = 0
    for start, end in first:
        while place < len(second) and second[place][1] <= start:
            place += 1
        for other_start, other_end in second[place:]:
            if other_start >= end:
                break
            total += min(end, other_end) - max(start, other_start)
    return total


def _label_of(start: int, end: int, labels: Sequence[Span]) -> int | None:
    """The backchannel that a stretch is: it covers most of the stretch."""
    for number, (a, b) in enumerate(labels):
        if 2 * (min(end, b) - max(start, a)) > end - start:
            return number
    return None


def _walk(stretches: Sequence[tuple[int, int, int]], found: TurnTaking) -> None:
    """Count turns, pauses inside them and offsets between them."""
    holder, holder_end = -1, 0
    for start, end, lane in stretches:
        if lane == holder:
            found.pauses.append(start - holder_end)
            holder_end = end
        elif holder >= 0 and end <= holder_end:
            continue  # said into the other's turn, which goes on
        else:
            if holder >= 0:
                found.offsets.append(start - holder_end)
                found.takers.append(lane)
            found.turns += 1
            holder, holder_end = lane, end


def of_words(labels: DialogueLabels, *, join_s: float) -> TurnTaking:
    """Measure by the word times of the labels."""
    rate = labels.sample_rate
    user, agent = (
        joined([_span(word, rate) for word in words], round(join_s * rate))
        for words in (labels.words.user, labels.words.agent)
    )
    backchannels = backchannels_of(labels)
    return measure(user, agent, backchannels=backchannels, n_samples=labels.n_samples)


def of_sound(
    labels: DialogueLabels, user: Audio, agent: Audio, *, threshold_db: float, join_s: float
) -> TurnTaking:
    """Measure by the user's voice in the microphone and the agent's voice."""
    rate = labels.sample_rate
    lanes = [
        voice_spans(audio, rate, threshold_db=threshold_db, join=round(join_s * rate))
        for audio in (user, agent)
    ]
    backchannels = backchannels_of(labels)
    return measure(lanes[0], lanes[1], backchannels=backchannels, n_samples=len(agent))


def backchannels_of(labels: DialogueLabels) -> list[Span]:
    """The spans of the labelled backchannels."""
    rate = labels.sample_rate
    return [_span(e, rate) for e in labels.events if not event_type(e.type).takes_turn]


def _span(item: WordLabel | EventLabel, rate: int) -> Span:
    return round(item.start_s * rate), round(item.end_s * rate)
