"""`microturn talk`: a recording goes through a model as fast as it runs; the answer is written."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import save_config
from microturn.inference.agent.cards import card_to_json
from microturn.inference.agent.delegation import Delegation
from microturn.inference.agent.process import start_agent
from microturn.inference.answered_recording import AnsweredRecording, answer_recording
from microturn.inference.audio import read_recording, write_wav
from microturn.inference.config import TalkConfig
from microturn.inference.conversation import Conversation
from microturn.inference.notes import check_notes, make_notes
from microturn.inference.opening import read_opening
from microturn.inference.transcript import Side, micro_turns_to_s
from microturn.model.config import folder_of
from microturn.model.streams import StreamLayout

WORDS_FORMAT: Final = 1


def words_json(talk: AnsweredRecording) -> dict[str, Any]:
    """Make `words.json`: both sides with times in seconds, delegations and results."""
    transcript, delegations = talk.conversation.transcript, talk.conversation.delegations
    layout = talk.conversation.layout

    def side(name: Side) -> list[dict[str, Any]]:
        return [
            {"text": word.text, "time_s": micro_turns_to_s(word.micro_turn, layout)}
            for word in transcript.words_of(name)
        ]

    return {
        "format": WORDS_FORMAT,
        "sample_rate": layout.sample_rate,
        "micro_turn_ms": layout.micro_turn_ms,
        "seconds": round(len(talk.input) / layout.sample_rate, 6),
        "heard": side("user"),
        "said": side("agent"),
        "delegations": [_delegation_json(delegation, layout) for delegation in delegations],
        "results": [
            {
                "id": result.delegation_id,
                "status": result.status,
                "text": result.text,
                "time_s": micro_turns_to_s(result.micro_turn, layout),
            }
            for delegation in delegations
            for result in delegation.results
        ],
    }


def _delegation_json(delegation: Delegation, layout: StreamLayout) -> dict[str, Any]:
    return {
        "id": delegation.id,
        "time_s": micro_turns_to_s(delegation.micro_turn + 1, layout),
        "status": delegation.status,
        "about": delegation.about,
        "cards": [card_to_json(card) for card in delegation.cards],
        "steps": [
            {
                "status": step.event.status,
                "text": step.event.text,
                "time_s": micro_turns_to_s(step.micro_turn, layout),
            }
            for step in delegation.events
        ],
    }


def write_answer(config: TalkConfig) -> int:
    """Read a recording, stream it, and write the answer; reports changes of the file on stderr."""
    from microturn.inference.load import device_name, load_rows
    from microturn.inference.picture import draw

    config = replace(config, checkpoint=folder_of(config.checkpoint))
    batch = load_rows(
        config.checkpoint, 1, seed=config.seed, threads=config.threads, device=config.device
    )
    layout = batch.layout
    check_notes(config.notes, layout)
    recording = read_recording(config.input, sample_rate=layout.sample_rate)
    opening = read_opening(
        batch,
        voice=config.voice,
        voice_text=config.voice_text,
        instructions=config.instructions,
    )
    batch.reset(0, opening.row)
    device = f"{config.checkpoint} runs on {device_name(batch.device)}"
    for note in (*recording.notes, *opening.notes, device):
        sys.stderr.write(f"{note}\n")
    out = Path(config.out)
    make_folder(out)  # before the work, so that it fails early
    agent = start_agent(config.agent)
    window = batch.model.cfg.window
    conversation = Conversation(
        layout,
        batch.tokenizer,
        agent=agent,
        config=config.agent,
        wait_for_agent=True,
        notes=make_notes(config.notes, tokenizer=batch.tokenizer, layout=layout, window=window),
        speakable=batch.said,
        instructions=config.instructions,
    )
    try:
        talk = answer_recording(batch, recording.samples, conversation=conversation)
    finally:
        if agent is not None:
            agent.close()
    words = {
        "input": config.input,
        "checkpoint": config.checkpoint,
        **words_json(talk),
    }
    write_wav(out / "output.wav", talk.output, sample_rate=layout.sample_rate)
    write_atomically(out / "words.json", json.dumps(words, indent=2, ensure_ascii=False) + "\n")
    draw(out / "timeline.png", talk)
    save_config(out / "config.yaml", config)
    sys.stdout.write(_summary(words, out))
    return 0


def _summary(words: dict[str, Any], out: Path) -> str:
    heard = " ".join(word["text"] for word in words["heard"]) or "nothing"
    said = " ".join(word["text"] for word in words["said"]) or "nothing"
    lines = [f"heard: {heard}", f"said:  {said}"]
    lines += [f"background: {result['text']}" for result in words["results"]]
    return "\n".join([*lines, f"written to {out}/: output.wav words.json timeline.png"]) + "\n"
