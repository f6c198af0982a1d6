"""`microturn evaluate fdb`: an agent answers a folder of Full-Duplex-Bench, and is scored.

Every `input.wav` is streamed through the agent micro-turn by micro-turn. `output.wav` holds the
sound played meanwhile, as long as the input, and `output.json` its words. The benchmark's own
scripts run on the same files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microturn.configs.command import write_json as write_result
from microturn.configs.devices import choose_device
from microturn.configs.files import make_folder, replacing
from microturn.configs.load import ConfigError, save_config
from microturn.evaluation.agents.baselines import Agent, Silent
from microturn.evaluation.config import WindowConfig
from microturn.evaluation.scoring.activity import Activity
from microturn.evaluation.scoring.agent_output import AgentOutput, SpokenWord, Trace
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.saying import is_written
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.shipped_voice import voice_of
from microturn.evaluation.speech.voice import AgentVoice
from microturn.evaluation.suites.fdb.folder_config import FdbConfig
from microturn.evaluation.suites.fdb.folder_export import export_dialogues
from microturn.evaluation.suites.fdb.folder_files import (
    CLEAN,
    INPUT,
    OUTPUT,
    RATE,
    REFERENCE,
    FdbItem,
    Json,
    chunks_json,
    find_items,
    read_json,
    write_json,
)
from microturn.evaluation.suites.fdb.folder_score import (
    RESULT,
    first_turn_end,
    score_items,
)
from microturn.evaluation.suites.fdb.v1 import chunks_of
from microturn.evaluation.suites.fdb.v1_formulas import Chunk, after
from microturn.evaluation.suites.fdb.v3 import call_of
from microturn.inference.audio import read_recording, resample, write_wav
from microturn.model.config import folder_of
from microturn.model.streams.pcm import Audio

MICRO_TURN_S = 0.2  # of a baseline, which has no layout


def evaluate_fdb(config: FdbConfig) -> int:
    """Run the command: export, answer and score; returns 0."""
    if config.baseline == "oracle" and not config.export:
        _check_references(config)
    out = Path(config.out or config.path)
    if config.export:
        n = export_dialogues(config)
        print(f"{config.path}: {n} recordings written", file=sys.stderr)
    items = find_items(config.path)
    make_folder(out)
    save_config(out / "fdb_config.yaml", config)
    if config.checkpoint or config.baseline:
        _answer(items, config)
    elif not any(item.answered for item in items):
        raise ConfigError(
            f"nothing in {config.path} has an answer yet; give checkpoint=DIR or baseline=silent"
        )
    scores = {
        "path": config.path,
        "checkpoint": config.checkpoint,
        "baseline": config.baseline,
        "seed": config.seed,
        "answered": sum(item.answered for item in items),
        "recordings": len(items),
        "simulated": any(item.audio(REFERENCE).is_file() for item in items),
        "tasks": score_items(items, config),
    }
    write_json(out / "scores.json", scores)
    text = table(scores)
    (out / "scores.md").write_text(text, encoding="utf-8")
    write_result(scores, config.json)
    if config.json != "-":
        print(text)
    return 0


def _check_references(config: FdbConfig) -> None:
    for item in find_items(config.path):
        if not item.audio(REFERENCE).is_file():
            raise ConfigError(
                f"baseline=oracle needs {item.audio(REFERENCE)}, which only export= writes"
            )


# --- answering -----------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Task:
    """One input to be answered: the recording of an item, or the clean one beside it."""

    item: FdbItem
    prefix: str  # "" or clean_

    @property
    def source(self) -> Path:
        return self.item.audio(self.prefix + INPUT)

    @property
    def done(self) -> bool:
        name = self.prefix + OUTPUT
        return self.item.audio(name).is_file() and self.item.words(name).is_file()


def tasks_of(items: Sequence[FdbItem], *, again: bool) -> list[Task]:
    """List the inputs that have no answer yet, or all of them."""
    tasks = []
    for item in items:
        for prefix in ("", CLEAN):
            task = Task(item=item, prefix=prefix)
            if task.source.is_file() and (again or not task.done):
                tasks.append(task)
    return tasks


def _answer(items: Sequence[FdbItem], config: FdbConfig) -> None:
    from tqdm import tqdm

    tasks = tasks_of(items, again=config.again)
    n_done = len(tasks_of(items, again=True)) - len(tasks)
    if n_done:
        print(f"{n_done} recordings are answered already; again=true repeats them", file=sys.stderr)
    if config.baseline == "oracle":
        for task in tasks:
            _copy_reference(task)
        return
    agent, micro_turn = _agent(config)
    empty = AgentVoice.of((), config.activity)
    voice = voice_of(config.voice, config.activity) if config.checkpoint else empty
    with tqdm(total=len(tasks), desc="evaluate fdb", unit="recording", leave=False) as bar:
        for first in range(0, len(tasks), config.batch_size):
            batch = tasks[first : first + config.batch_size]
            dialogues = _readable(batch, micro_turn)
            outputs = agent.perform([dialogue for _, dialogue in dialogues]) if dialogues else []
            for (task, _), output in zip(dialogues, outputs, strict=True):
                _write(task, output, voice, config)
            bar.update(len(batch))


def _readable(tasks: Sequence[Task], micro_turn: int) -> list[tuple[Task, HeldOutDialogue]]:
    """Wrap the recordings that can be read; the others stay unanswered, with a sentence each."""
    found = []
    for task in tasks:
        try:
            found.append((task, _dialogue(task, micro_turn)))
        except ValueError as error:
            print(f"not answered: {error}", file=sys.stderr)
    return found


def _agent(config: FdbConfig) -> tuple[Agent, int]:
    """Return the agent, and the samples per micro-turn at 16 kHz."""
    if not config.checkpoint:
        return Silent(), round(MICRO_TURN_S * RATE)
    from microturn.evaluation.agents.streaming import StreamedAgent
    from microturn.inference.rows import RowBatch
    from microturn.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder_of(config.checkpoint), choose_device(config.device))
    layout = checkpoint.layout
    if layout.sample_rate != RATE:
        raise ValueError(
            f"{config.checkpoint} has sound at {layout.sample_rate} Hz; the benchmark needs {RATE}"
        )
    batch = RowBatch(checkpoint, config.batch_size, seed=config.seed)
    return StreamedAgent(batch), layout.samples_per_micro_turn


def _dialogue(task: Task, micro_turn: int) -> HeldOutDialogue:
    """Wrap a recording as a dialogue without labels, padded to a whole micro-turn."""
    audio = read_recording(task.source, sample_rate=RATE).samples
    n = -(-len(audio) // micro_turn)
    padded = np.zeros(n * micro_turn, np.float32)
    padded[: len(audio)] = audio
    dialogue = Dialogue(
        key=str(task.source),
        duration_s=len(padded) / RATE,
        micro_turn_s=micro_turn / RATE,
        events=(),
        agent_words=(),
    )
    return HeldOutDialogue(
        dialogue=dialogue,
        sample_rate=RATE,
        load_user=lambda: padded,
        load_agent=lambda: np.zeros_like(padded),
    )


def _write(task: Task, output: AgentOutput, voice: AgentVoice, config: FdbConfig) -> None:
    """Write the answer beside its input, of the same length."""
    item = task.item
    heard = read_recording(task.source, sample_rate=RATE).samples
    audio = np.zeros(len(heard), np.float32)
    played = output.audio[: len(audio)]
    audio[: len(played)] = played
    duration_s = len(audio) / RATE
    chunks = timed_chunks(output, duration_s, voice, config)
    if item.task == "interruption" and item.end_s is not None:
        chunks = after(chunks, item.end_s)  # the benchmark's recogniser gets the rest only
    _write_sound(item, task.prefix + OUTPUT, audio)
    if item.task == "tools":
        _write_result(item, output, chunks, heard, config)
    if item.task == "overlap" and not item.words(task.prefix + INPUT).is_file():
        words = [Chunk(text=w.text, start_s=w.start_s, end_s=w.end_s) for w in output.heard or ()]
        write_json(item.words(task.prefix + INPUT), chunks_json(words))
    write_json(item.words(task.prefix + OUTPUT), chunks_json(chunks))


def _write_sound(item: FdbItem, name: str, audio: Audio) -> None:
    if item.rate != RATE:
        audio = resample(audio, rate=RATE, new_rate=item.rate)
    with replacing(item.audio(name)) as temporary:
        write_wav(temporary, audio, sample_rate=item.rate)


def timed_chunks(
    output: AgentOutput, duration_s: float, voice: AgentVoice, config: FdbConfig
) -> list[Chunk]:
    """Return the written words that the sound says, timed by it."""
    trace = Trace.of(output, config.activity, sounds=voice.listen(output))
    dialogue = Dialogue(
        key="", duration_s=duration_s, micro_turn_s=MICRO_TURN_S, events=(), agent_words=()
    )
    chunks = chunks_of(ScoredDialogue(dialogue, trace, WindowConfig()))
    return [c for c in chunks if c.start_s < duration_s and is_written(c.text)]


def _write_result(
    item: FdbItem,
    output: AgentOutput,
    chunks: Sequence[Chunk],
    heard: Audio,
    config: FdbConfig,
) -> None:
    """Write the result file of v3: calls, transcript and times."""
    runs = Activity.of(output.audio, output.sample_rate, config.activity).runs
    calls = []
    for time_s in output.delegates_s:
        call = call_of(_texts(output.heard or (), time_s))
        calls.append({"function": call.function, "args": dict(call.args)})
    own_end_s = item.own.get("user_speech_end")
    end_s = first_turn_end(heard, config) if own_end_s is None else float(own_end_s)
    result: Json = {
        "example_id": item.own.get("id", item.folder.name.rpartition("_")[0]),
        "provider": "microturn",
        "actual_tool_calls": calls,
        "tool_call_times": [round(time_s, 3) for time_s in output.delegates_s],
        "transcript": " ".join(chunk.text for chunk in chunks),
        "asr_chunks": chunks_json(chunks)["chunks"],
        "user_speech_end_rel": end_s,
        "audio_agent_speech_start": round(runs[0][0], 3) if runs else None,
    }
    write_json(item.words(RESULT), result)


def _texts(words: Sequence[SpokenWord], until_s: float) -> list[str]:
    return [word.text for word in words if word.start_s < until_s]


def _copy_reference(task: Task) -> None:
    """Write the simulated agent's answer as the answer."""
    item = task.item
    source = item.audio(task.prefix + REFERENCE)
    if not source.is_file():
        return
    audio = read_recording(source, sample_rate=RATE).samples
    _write_sound(item, task.prefix + OUTPUT, audio)
    entry = read_json(item.words(task.prefix + REFERENCE))
    if item.task == "tools":
        write_json(item.words(RESULT), entry.pop("result"))
    write_json(item.words(task.prefix + OUTPUT), entry)


# --- the table -----------------------------------------------------------------------------------
def table(scores: Json) -> str:
    """Format the scores as Markdown, a row for every metric of every group."""
    agent = scores["checkpoint"] or scores["baseline"]
    answers = (
        f"answered by {agent}. Words are the agent's own, timed by its sound."
        if agent
        else "with the answers that were there. Words are those of `output.json`."
    )
    twin = ": closed-domain twin, simulated dialogues" if scores["simulated"] else ""
    rows = list(_rows(scores))
    lines = [
        f"# Full-Duplex-Bench{twin}",
        "",
        f"{scores['answered']} of {scores['recordings']} recordings in {scores['path']}, {answers}",
        "",
        "| group | metric | value | n |",
        "|---|---|---:|---:|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def _rows(scores: Json) -> Iterator[str]:
    shown: Callable[[float | None], str] = lambda v: "-" if v is None else f"{v:.3f}"  # noqa: E731
    for group, entry in scores["tasks"].items():
        for metric, value in entry["metrics"].items():
            yield f"| {group} | {metric} | {shown(value)} | {entry['n']} |"
