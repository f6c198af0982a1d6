"""Hand-made dialogues whose scores are known by construction.

Sound is bursts of noise, for every word of another colour.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile

from microturn.datagen.labels.dialogue import (
    ControlLabel,
    DialogueLabels,
    EventLabel,
    ExpectLabel,
    TextLabel,
    WordLabel,
    WordLabels,
)
from microturn.datagen.labels.setting import ChannelLabel, RoomLabel
from microturn.datagen.sets.shards import ShardWriter
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Delivery, SpokenWord, Trace
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.model.streams import StreamLayout

RATE = 16_000
WORD_S = 0.36
STEP_S = 0.4  # from one counted word to the next


WriteSet = Callable[[Path, list["HandMadeDialogue"]], Path]


def word(text: str, start_s: float, length_s: float = WORD_S) -> SpokenWord:
    return SpokenWord(text=text, start_s=start_s, end_s=start_s + length_s)


def sound_of(spoken: tuple[SpokenWord, ...], duration_s: float) -> np.ndarray:
    """A burst of noise for every word, in a colour of its own."""
    audio = np.zeros(round(duration_s * RATE), np.float32)
    for item in spoken:
        first, last = (round(t * RATE) for t in (max(item.start_s, 0.0), item.end_s))
        audio[first:last] = coloured_noise(item.text, len(audio[first:last]))
    return audio


def coloured_noise(text: str, n: int) -> np.ndarray:
    """Noise in which every tenth of the band has a level that only this text has."""
    levels = np.random.default_rng(crc32(text.encode())).uniform(-1.0, 1.0, 10)
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(n))
    spectrum *= 10.0 ** np.interp(np.linspace(0, 9, len(spectrum)), np.arange(10), levels)
    sound = np.fft.irfft(spectrum, n)
    return (0.1 * sound / max(float(sound.std()), 1e-9)).astype(np.float32)


@dataclass
class HandMadeDialogue:
    """Events and the recorded agent's words, composed as the simulator does."""

    duration_s: float = 16.0
    events: list[EventLabel] = field(default_factory=list)
    agent: list[SpokenWord] = field(default_factory=list)
    user: list[SpokenWord] = field(default_factory=list)
    messages: list[TextLabel] = field(default_factory=list)
    delegates_s: list[float] = field(default_factory=list)

    def event(
        self, type_: str, start_s: float, end_s: float, act: str = "", **more: object
    ) -> None:
        window_s: tuple[float, float] = more.get("window", (start_s, end_s))  # type: ignore[assignment]
        expect = ExpectLabel(act=act, text=str(more.get("answer", "")), window_s=window_s)
        self.events.append(
            EventLabel(
                type=type_,
                start_s=start_s,
                end_s=end_s,
                speaker=str(more.get("speaker", "user")),
                expect=expect if act else None,
            )
        )

    def says(self, text: str, start_s: float, *, until_s: float = 1e9) -> None:
        """The recorded agent says words one after the other, cut off at `until_s`."""
        for i, item in enumerate(text.split()):
            start = start_s + i * STEP_S
            if start < until_s - 1e-6:
                self.agent.append(word(item, start, min(WORD_S, until_s - start)))

    def turn(self, start_s: float, end_s: float, answer: str, *, reply_s: float = 0.3) -> None:
        self.event("turn", start_s, end_s, "respond", answer=answer, window=(end_s, end_s + 0.8))
        self.says(answer, end_s + reply_s)

    def cue(self, start_s: float, end_s: float, answer: str, at_s: float) -> None:
        window = (at_s - 0.2, at_s + 1.0)
        self.event("timed_cue", start_s, end_s, "say", answer=answer, window=window)
        self.says(answer, at_s + 0.1)

    def interrupt(self, onset_s: float, end_s: float, *, stop_s: float = 0.5) -> None:
        """Cut the recorded agent; what it would have said later is gone."""
        window = (onset_s, onset_s + 0.8)
        self.event("interruption", onset_s, end_s, "stop", window=window)
        until_s = onset_s + stop_s
        kept = [item for item in self.agent if item.start_s < until_s - 1e-6]
        self.agent[:] = [replace(w, end_s=min(w.end_s, until_s)) for w in kept]

    def delegation(self, start_s: float, end_s: float, *, arrives_s: float, result: str) -> None:
        window = (end_s, end_s + 0.8)
        self.event("delegation", start_s, end_s, "delegate", answer="one moment", window=window)
        self.delegates_s.append(end_s + 0.2)
        self.says("one moment", end_s + 0.2)
        self.messages.append(TextLabel(time_s=arrives_s, text=f"<bg> {result} </bg>"))
        window = (arrives_s + 0.2, arrives_s + 1.2)
        self.event("result", arrives_s, arrives_s, "say", answer=result, window=window)
        self.says(result, arrives_s + 0.4)

    def dialogue(self, key: str = "00000000") -> Dialogue:
        return Dialogue(
            key=key,
            duration_s=self.duration_s,
            micro_turn_s=0.2,
            events=tuple(sorted(self.events, key=lambda e: (e.start_s, e.end_s))),
            agent_words=tuple(sorted(self.agent, key=lambda w: w.start_s)),
            user_words=tuple(self.user),
            messages=tuple(self.messages),
            delegates_s=tuple(self.delegates_s),
        )

    def recorded(self) -> AgentOutput:
        """The output of the oracle."""
        return self.perform(
            *sorted(self.agent, key=lambda w: w.start_s),
            delegates_s=tuple(self.delegates_s),
            deliveries=tuple(
                Delivery(time_s=m.time_s, scripted_s=m.time_s, text=m.text) for m in self.messages
            ),
        )

    def perform(self, *spoken: SpokenWord, **more: object) -> AgentOutput:
        """The output of an agent that says these words and nothing else."""
        audio = sound_of(spoken, self.duration_s)
        return AgentOutput(audio=audio, sample_rate=RATE, words=tuple(spoken), **more)  # type: ignore[arg-type]

    def scene(self, performance: AgentOutput) -> ScoredDialogue:
        return ScoredDialogue(
            self.dialogue(), Trace.of(performance, ActivityConfig()), WindowConfig()
        )

    def sample(self, key: str = "00000000") -> HeldOutDialogue:
        silence = np.zeros(round(self.duration_s * RATE), np.float32)
        agent = sound_of(tuple(self.agent), self.duration_s)
        return HeldOutDialogue(
            dialogue=self.dialogue(key),
            sample_rate=RATE,
            load_user=lambda: silence,
            load_agent=lambda: agent,
        )


def all_families() -> list[HandMadeDialogue]:
    """Dialogues that hold every kind of event."""
    turns = HandMadeDialogue()
    turns.turn(1.0, 1.7, "five")
    turns.event("pause", 5.0, 5.6, "stay_silent", window=(5.0, 5.6))
    turns.turn(4.6, 6.1, "tuesday")
    turns.turn(10.0, 10.4, "alpha")

    floor = HandMadeDialogue()
    floor.turn(0.5, 1.1, "three four five six seven eight nine ten", reply_s=0.3)
    floor.interrupt(2.9, 3.9)
    floor.turn(2.9, 3.9, "two")
    floor.turn(6.0, 6.6, "one two three four five six seven eight nine ten", reply_s=0.2)
    floor.event("user_backchannel", 8.1, 8.5, "resume", window=(8.1, 9.5))
    floor.event("background_speech", 13.0, 14.0, "stay_silent", window=(13.0, 14.8))

    through = HandMadeDialogue()
    through.turn(0.5, 1.1, "three four five six seven eight nine ten", reply_s=0.3)
    through.event("background_speech", 2.2, 4.0, "resume", window=(2.2, 4.0))
    through.event("noise", 7.0, 7.5, "stay_silent", window=(7.0, 8.3))
    through.event("background_speech", 9.0, 11.0)
    through.turn(10.0, 10.7, "monday")

    later = HandMadeDialogue()
    later.cue(1.0, 2.0, "monday", 5.0)
    later.delegation(8.0, 9.0, arrives_s=11.3, result="eleven")
    later.cue(13.0, 13.3, "friday", 15.0)
    later.duration_s = 18.0
    return [turns, floor, through, later]


def rarer() -> HandMadeDialogue:
    """Events of the scenarios that the demo does not have."""
    seen = HandMadeDialogue()
    seen.event("forbidden", 0.5, 1.0, "refuse", answer="no", window=(1.0, 1.8))
    seen.says("no", 1.3)
    seen.event("forbidden", 3.0, 3.5, "respond", answer="two", window=(3.5, 4.3))
    seen.says("two", 3.8)
    seen.event("recall", 5.0, 5.5, "respond", answer="seven four", window=(5.5, 6.3))
    seen.says("seven four", 5.8)
    seen.event("agent_backchannel", 8.0, 9.0, "backchannel", answer="okay", window=(8.0, 9.0))
    seen.says("okay", 8.3)
    seen.event("spoken_cue", 10.0, 10.4, "say", answer="nine", window=(10.4, 11.9))
    seen.says("nine", 10.7)
    seen.event("interjection", 12.5, 13.5, "stay_silent", window=(12.5, 13.6))
    seen.event("timed_cue", 14.0, 14.3, "stay_silent", window=(14.3, 15.0))
    seen.event("visual_count", 15.0, 15.5, "say", answer="one", window=(15.4, 16.4))
    seen.says("one", 15.6)
    seen.event("visual_count", 17.0, 17.6, "stay_silent", window=(17.0, 18.0))
    seen.event("delegation", 19.0, 19.0, "say", answer="patience", window=(18.8, 20.0))
    seen.says("patience", 19.1)
    seen.duration_s = 20.0
    return seen


# --- a shard set of hand-made dialogues ----------------------------------------------------------
ROOM = RoomLabel(
    id=0, size_m=(4.0, 3.0, 2.5), rt60_s=0.3, measured_rt60_s=0.3, near_m=0.5, far_m=2.0
)


def labels_of(script: HandMadeDialogue, families: list[str]) -> DialogueLabels:
    """The labels of a hand-made dialogue."""

    def words(spoken: list[SpokenWord]) -> tuple[WordLabel, ...]:
        return tuple(WordLabel(text=w.text, start_s=w.start_s, end_s=w.end_s) for w in spoken)

    return DialogueLabels(
        seed=0,
        index=0,
        split="test",
        layout_hash=StreamLayout().hash,
        sample_rate=RATE,
        n_micro_turns=round(script.duration_s / 0.2),
        micro_turn_s=0.2,
        families=tuple(families),
        voice="",
        items=(),
        words=WordLabels(user=words(script.user), agent=words(script.agent)),
        events=tuple(script.events),
        controls=tuple(ControlLabel(token="<delegate>", time_s=t) for t in script.delegates_s),
        text_in=tuple(script.messages),
        room=ROOM,
        channel=ChannelLabel(),
    )


def flac(audio: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, audio, RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def write_shard_set(folder: Path, scripts: list[HandMadeDialogue]) -> Path:
    folder.mkdir(parents=True)
    writer = ShardWriter(folder / "shard-000000.tar")
    for i, script in enumerate(scripts):
        silence = np.zeros(round(script.duration_s * RATE), np.float32)
        members = {
            "user.flac": flac(silence),
            "agent.flac": flac(sound_of(tuple(script.agent), script.duration_s)),
            "json": json.dumps(labels_of(script, [f"family{i}"]).to_json()).encode(),
        }
        writer.write(i, members)
    shard = writer.close().to_json()
    StreamLayout().save(folder / "layout.json")
    index = {"format": 1, "split": "test", "first_index": 0, "n_micro_turns": 80, "shards": [shard]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder
