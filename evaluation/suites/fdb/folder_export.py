"""Simulated dialogues in the layout of Full-Duplex-Bench, for its scripts and for other agents.

Recordings are numbered within each group. `reference.wav` and `reference.json` hold the simulated
agent's answer; no script of the benchmark reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from microturn.configs.paths import cache_folder
from microturn.datagen.labels.dialogue import EventLabel, word_list
from microturn.evaluation.agents.baselines import Oracle
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.agent_output import SpokenWord, Trace
from microturn.evaluation.scoring.dialogue import Dialogue, joined_words
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.fdb.folder_config import FdbConfig
from microturn.evaluation.suites.fdb.folder_files import (
    CLEAN,
    INPUT,
    OWN,
    RATE,
    REFERENCE,
    REFERENCE_HISTOGRAMS,
    Json,
    chunks_json,
    write_json,
)
from microturn.evaluation.suites.fdb.v1 import chunks_of
from microturn.evaluation.suites.fdb.v1_5 import SCENARIOS
from microturn.evaluation.suites.fdb.v1_formulas import Chunk, after, histogram
from microturn.evaluation.suites.fdb.v3 import call_of
from microturn.evaluation.suites.held_out import held_out_set
from microturn.evaluation.suites.registry import load_suite
from microturn.inference.audio import write_wav
from microturn.model.streams.pcm import Audio

SUITES: Final = {"v1": "fdb_v1", "v1_5": "fdb_v1_5", "v3": "fdb_v3"}
CLEAR_S: Final = 0.3  # reverberation after an overlap


def export_dialogues(config: FdbConfig) -> int:
    """Write `export` dialogues in the layout of `version`; returns the number of recordings."""
    suite = load_suite(SUITES[config.version])
    cache = cache_folder(config.cache)
    samples = held_out_set(suite, cache, n_dialogues=config.export, workers=config.workers)
    writer = Writer(Path(config.path), config)
    for held_out in samples.read():
        writer.add(held_out, config.version)
    writer.close()
    return sum(writer.counts.values())


class Writer:
    """Writes recordings, numbered within their groups, and the files that all of them share."""

    def __init__(self, root: Path, config: FdbConfig) -> None:
        self._root, self._config = root, config
        self.counts: Counter[str] = Counter()
        self._histograms: dict[str, list[float]] = {}
        self._scenarios: list[Json] = []

    def add(self, held_out: HeldOutDialogue, version: str) -> None:
        """Write every recording of a dialogue."""
        scored = _score_reference(held_out, self._config)
        {"v1": self._v1, "v1_5": self._v1_5, "v3": self._v3}[version](held_out, scored)

    def close(self) -> None:
        if self._histograms:
            write_json(self._root / REFERENCE_HISTOGRAMS, self._histograms)
        if self._scenarios:
            benchmark = {"benchmark_name": "microturn twin", "scenarios": self._scenarios}
            write_json(self._root / "benchmark_data_v2.json", benchmark)

    # --- v1 --------------------------------------------------------------------------------------
    def _v1(self, held_out: HeldOutDialogue, scored: ScoredDialogue) -> None:
        dialogue = held_out.dialogue
        if dialogue.of_type("agent_backchannel"):
            self._backchannel(held_out, scored)
            return
        turns = [event for event in dialogue.of_type("turn") if event.act == "respond"]
        interruptions = dialogue.of_type("interruption")
        if turns and interruptions:
            self._interruption(held_out, scored, turns[0], interruptions[0])
        elif turns:
            self._turn(held_out, scored, turns[0])
            pauses = dialogue.of_type("pause")
            if pauses:
                self._pause(held_out, scored, turns[0], pauses)

    def _turn(self, held_out: HeldOutDialogue, scored: ScoredDialogue, turn: EventLabel) -> None:
        folder = self._recording("candor_turn_taking", held_out.load_user())
        self._reference(folder, held_out, chunks_of(scored))
        stamp = _rounded((turn.end_s, turn.end_s + scored.windows.onset_s))
        write_json(folder / "turn_taking.json", [{"text": "[TURN-TAKING]", "timestamp": stamp}])
        write_json(folder / "transcription.json", _transcription(held_out.dialogue.user_words))

    def _pause(
        self,
        held_out: HeldOutDialogue,
        scored: ScoredDialogue,
        turn: EventLabel,
        pauses: Sequence[EventLabel],
    ) -> None:
        """Write the recording up to the end of the turn: all speech before it is early."""
        n = round(turn.end_s * RATE)
        folder = self._recording("synthetic_pause_handling", held_out.load_user()[:n])
        early = [chunk for chunk in chunks_of(scored) if chunk.start_s < turn.end_s]
        self._reference(folder, held_out, early, n=n)
        marks = [
            {"text": "[PAUSE]", "timestamp": _rounded((pause.start_s, pause.end_s))}
            for pause in pauses
        ]
        write_json(folder / "pause.json", marks)
        write_json(folder / "transcription.json", _transcription(held_out.dialogue.user_words))

    def _interruption(
        self,
        held_out: HeldOutDialogue,
        scored: ScoredDialogue,
        turn: EventLabel,
        interruption: EventLabel,
    ) -> None:
        user = held_out.load_user()
        folder = self._recording("synthetic_user_interruption", user)
        self._reference(folder, held_out, after(chunks_of(scored), interruption.end_s))
        for name, event in (("context", turn), ("interrupt", interruption)):
            first, last = round(event.start_s * RATE), round(event.end_s * RATE)
            write_wav(folder / f"{name}.wav", user[first:last], sample_rate=RATE)
        span = _rounded((interruption.start_s, interruption.end_s))
        entry = {"context": turn.text, "interrupt": interruption.text, "timestamp": span}
        write_json(folder / "interrupt.json", [entry])

    def _backchannel(self, held_out: HeldOutDialogue, scored: ScoredDialogue) -> None:
        """Write the recording up to the end of the dictation, numbered from 0."""
        until_s = held_out.dialogue.of_type("turn")[-1].end_s
        n = round(until_s * RATE)
        folder = self._recording("icc_backchannel", held_out.load_user()[:n], first=0)
        early = [chunk for chunk in chunks_of(scored) if chunk.start_s < until_s]
        self._reference(folder, held_out, early, n=n)
        words = [word for word in held_out.dialogue.agent_words if word.start_s < until_s]
        shares = histogram([(word.start_s, word.end_s) for word in words], until_s)
        self._histograms[folder.name] = [round(float(one), 12) for one in shares]
        write_json(folder / "transcription.json", _transcription(held_out.dialogue.user_words))

    # --- v1.5 ------------------------------------------------------------------------------------
    def _v1_5(self, held_out: HeldOutDialogue, scored: ScoredDialogue) -> None:
        dialogue = held_out.dialogue
        events = [e for e in dialogue.of_type(*SCENARIOS) if e.act in ("stop", "resume")]
        if not events:
            return
        event = events[0]
        user, clean = held_out.load_user(), held_out.load_user().copy()
        first, last = round(event.start_s * RATE), round((event.end_s + CLEAR_S) * RATE)
        clean[first:last] = 0.0
        folder = self._recording(SCENARIOS[event.type][0], user)
        write_wav(folder / f"{CLEAN}{INPUT}.wav", clean, sample_rate=RATE)
        self._reference(folder, held_out, chunks_of(scored))
        if event.act == "resume":  # the right answer is the same without the overlap
            self._reference(folder, held_out, chunks_of(scored), prefix=CLEAN)
        heard = (*dialogue.user_words, *dialogue.background_words)
        before = [word for word in heard if word.end_s <= event.start_s]
        write_json(folder / f"{INPUT}.json", _as_chunks(heard))
        write_json(folder / f"{CLEAN}{INPUT}.json", _as_chunks(before))
        answer = next((e for e in dialogue.of_type("turn") if e.start_s == event.start_s), None)
        metadata = {
            "context_text": dialogue.of_type("turn")[0].text,
            "current_turn_text": event.text,
            "timestamps": _rounded((event.start_s, event.end_s)),
            OWN: {
                "continuation": _intended(dialogue, answer),
                "answer": " ".join(answer.expected) if answer else "",
            },
        }
        write_json(folder / "metadata.json", metadata)

    # --- v3 --------------------------------------------------------------------------------------
    def _v3(self, held_out: HeldOutDialogue, scored: ScoredDialogue) -> None:
        dialogue = held_out.dialogue
        requests = [event for event in dialogue.events if event.act == "delegate"]
        if not requests:
            return
        calls = [call_of(word_list(event.text)) for event in requests]
        expected = [{"function": call.function, "args": dict(call.args)} for call in calls]
        identifier = f"twin_{self.counts['v3']:03d}"
        scenario = {
            "id": identifier,
            "title": requests[0].text,
            "domain": "microturn",
            "difficulty": ("easy", "medium", "hard")[min(len(calls), 3) - 1],
            "disfluency_features": ["PAUSE"] if dialogue.of_type("pause") else [],
            "state_rollback_test": False,
            "dialogue": [{"user": event.text, "ai": ""} for event in requests],
            "expected_tool_calls": expected,
        }
        self._scenarios.append(scenario)
        folder = self._root / f"{identifier}_simulated"
        folder.mkdir(parents=True, exist_ok=True)
        self.counts["v3"] += 1
        write_wav(folder / f"{INPUT}.wav", held_out.load_user(), sample_rate=RATE)
        own = {"id": identifier, "user_speech_end": round(requests[0].end_s, 3)}
        write_json(folder / "metadata.json", scenario | {OWN: own})
        chunks = chunks_of(scored)
        result = {
            "example_id": identifier,
            "provider": "microturn",
            "actual_tool_calls": expected,
            "tool_call_times": [round(t, 3) for t in dialogue.delegates_s],
            "transcript": " ".join(chunk.text for chunk in chunks),
            "asr_chunks": chunks_json(chunks)["chunks"],
            "user_speech_end_rel": own["user_speech_end"],
            "audio_agent_speech_start": round(scored.runs[0][0], 3) if scored.runs else None,
        }
        self._reference(folder, held_out, chunks, result=result)

    # --- files -----------------------------------------------------------------------------------
    def _recording(self, group: str, audio: Audio, *, first: int = 1) -> Path:
        folder = self._root / group / str(self.counts[group] + first)
        self.counts[group] += 1
        folder.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{INPUT}.wav", audio, sample_rate=RATE)
        return folder

    def _reference(
        self,
        folder: Path,
        held_out: HeldOutDialogue,
        chunks: Sequence[Chunk],
        *,
        n: int | None = None,
        prefix: str = "",
        result: Json | None = None,
    ) -> None:
        audio = np.asarray(held_out.load_agent()[:n], np.float32)
        write_wav(folder / f"{prefix}{REFERENCE}.wav", audio, sample_rate=RATE)
        entry = chunks_json(chunks)
        write_json(
            folder / f"{prefix}{REFERENCE}.json",
            entry if result is None else entry | {"result": result},
        )


def _score_reference(held_out: HeldOutDialogue, config: FdbConfig) -> ScoredDialogue:
    """Score the simulated agent's answer."""
    output = next(Oracle().perform([held_out]))
    return ScoredDialogue(held_out.dialogue, Trace.of(output, config.activity), WindowConfig())


def _intended(dialogue: Dialogue, answer: EventLabel | None) -> str:
    """Return the words that the agent intended to say before the overlap."""
    texts = [word.text for word in dialogue.intended_words]
    return " ".join(texts[: len(texts) - len(answer.expected)] if answer else texts)


def _transcription(words: Sequence[SpokenWord]) -> list[Json]:
    items = [
        {"text": w.text, "timestamp": _rounded((w.start_s, w.end_s))} for w in joined_words(words)
    ]
    return [{"speaker": 0, "item": items}]


def _as_chunks(words: Sequence[SpokenWord]) -> Json:
    ordered = sorted(words, key=lambda word: word.start_s)
    return chunks_json(
        [Chunk(text=w.text, start_s=w.start_s, end_s=w.end_s) for w in joined_words(ordered)]
    )


def _rounded(span: Span) -> list[float]:
    return [round(one, 3) for one in span]
