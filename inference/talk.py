"""`microturn talk`: a recording goes through the engine as fast as it can, the answer is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from microturn.configs.files import write_atomically
from microturn.configs.load import save_config
from microturn.inference.agent.agent import OfflineAgent
from microturn.inference.audio import read_recording, write_wav
from microturn.inference.config import TalkConfig
from microturn.inference.conversation import AnsweredRecording, Conversation
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.notes import check_notes
from microturn.inference.rows import RowBatch
from microturn.inference.serve import protocol
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

WORDS_FORMAT: Final = 1


def stream(
    batch: RowBatch, samples: Audio, conversation: Conversation, *, progress: bool = True
) -> AnsweredRecording:
    """Let the first row of a batch listen to a recording; the output has the same length."""
    layout = conversation.layout
    spm, n = layout.samples_per_micro_turn, layout.n_micro_turns(len(samples))
    padded = np.zeros(n * spm, np.float32)
    padded[: len(samples)] = samples
    output = np.zeros((n + 1) * spm, np.float32)  # the last micro-turn would play after the end
    for k in tqdm(range(n), "talk", unit="micro-turn", file=sys.stderr, disable=not progress):
        micro_turn = MicroTurnIn(
            audio=padded[k * spm : (k + 1) * spm], text_in=conversation.text_in() or ()
        )
        made = batch.step_rows({0: micro_turn})[0]
        output[(k + 1) * spm : (k + 2) * spm] = made.audio
        conversation.take(made.heard, made.say)
    conversation.finish()
    return AnsweredRecording(
        input=samples, output=output[: len(samples)], conversation=conversation
    )


def words_of(talk: AnsweredRecording, layout: StreamLayout) -> protocol.Json:
    """What `words.json` holds: both sides with times in seconds, delegations and results."""
    transcript = talk.conversation.transcript

    def side(name: str) -> list[protocol.Json]:
        return [
            {"text": word.text, "time": protocol.seconds(word.micro_turn, layout)}
            for word in transcript.words
            if word.side == name
        ]

    delegations = talk.conversation.delegations
    return {
        "format": WORDS_FORMAT,
        "sample_rate": layout.sample_rate,
        "micro_turn_ms": layout.micro_turn_ms,
        "seconds": round(len(talk.input) / layout.sample_rate, 6),
        "heard": side("user"),
        "said": side("agent"),
        "delegations": [
            {
                "id": delegation.id,
                "time": protocol.seconds(delegation.micro_turn + 1, layout),
                "status": delegation.status,
                "steps": [
                    {
                        "status": step.event.status,
                        "text": step.event.text,
                        "time": protocol.seconds(step.micro_turn, layout),
                    }
                    for step in delegation.events
                ],
            }
            for delegation in delegations
        ],
        "results": [
            {
                "id": delegation.id,
                "text": delegation.result,
                "time": protocol.seconds(delegation.result_micro_turn, layout),
            }
            for delegation in delegations
            if delegation.result_micro_turn is not None
        ],
    }


def run(config: TalkConfig) -> int:
    """The command: read, stream, write; says on stderr what it did to the file."""
    from microturn.inference.load import device_name, load_rows
    from microturn.inference.picture import draw

    batch = load_rows(
        config.checkpoint, 1, seed=config.seed, threads=config.threads, device=config.device
    )
    layout = batch.layout
    check_notes(config.notes, layout)
    recording = read_recording(config.input, sample_rate=layout.sample_rate)
    for note in (*recording.notes, f"{config.checkpoint} runs on {device_name(batch.device)}"):
        sys.stderr.write(f"{note}\n")
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be is said now
    agent = OfflineAgent(clock=config.agent.clock) if config.agent.enabled else None
    conversation = Conversation(
        layout=layout,
        tokenizer=batch.tokenizer,
        agent=agent,
        config=config.agent,
        wait_for_agent=True,
        notes=config.notes,
        window=batch.model.cfg.window,
    )
    try:
        talk = stream(batch, recording.samples, conversation)
    finally:
        if agent is not None:
            agent.close()
    words = {
        "input": config.input,
        "checkpoint": config.checkpoint,
        **words_of(talk, layout),
    }
    write_wav(out / "output.wav", talk.output, sample_rate=layout.sample_rate)
    write_atomically(out / "words.json", json.dumps(words, indent=2, ensure_ascii=False) + "\n")
    draw(out / "timeline.png", talk, layout)
    save_config(out / "config.yaml", config)
    sys.stdout.write(_summary(words, out))
    return 0


def _summary(words: protocol.Json, out: Path) -> str:
    heard = " ".join(word["text"] for word in words["heard"]) or "nothing"
    said = " ".join(word["text"] for word in words["said"]) or "nothing"
    lines = [f"heard: {heard}", f"said:  {said}"]
    lines += [f"background: {result['text']}" for result in words["results"]]
    return "\n".join([*lines, f"written to {out}/: output.wav words.json timeline.png"]) + "\n"
