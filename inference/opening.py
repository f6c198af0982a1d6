"""Read a voice and instructions into the state that sessions begin with."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.inference.audio import read_recording
from microturn.inference.rows import RowBatch
from microturn.inference.tick import OpenedRow
from microturn.model.streams import instructions_text
from microturn.model.streams.opening import (
    MAX_VOICE_S,
    VoicePrompt,
    cut_voice,
    pack_opening,
    text_micro_turns,
)


@dataclass(frozen=True, kw_only=True)
class LoadedOpening:
    """The state that sessions begin with, and notes on the conversions of the recording."""

    row: OpenedRow | None = None  # None: nothing stands before the conversation
    notes: tuple[str, ...] = ()
    voice: VoicePrompt | None = None

    def instructed(self, batch: RowBatch, instructions: str) -> OpenedRow:
        """Return the row of the same voice with other instructions; raises ValueError for them.

        Any thread may call it while another one steps the batch.
        """
        return _read(batch, self.voice, instructions)


def read_opening(
    batch: RowBatch, *, voice: str = "", voice_text: str = "", instructions: str = ""
) -> LoadedOpening:
    """Read what stands before a conversation: a voice, instructions, both or nothing.

    voice: a recording of the voice that the agent shall have; voice_text: what is said in it.
    Raises ValueError for a recording that is no voice prompt, and for instructions that the model
    cannot read.
    """
    if voice_text and not voice:
        raise ValueError("voice_text says what is said in voice=FILE; give voice too")
    if voice_text:
        batch.tokenizer.check_words(voice_text, name="voice_text")
    if not voice and not instructions:
        return LoadedOpening()
    layout, prompt = batch.layout, None
    notes: tuple[str, ...] = ()
    if voice:
        recording = read_recording(voice, sample_rate=layout.sample_rate, one_voice=True)
        seconds, notes = len(recording.samples) / layout.sample_rate, recording.notes
        if seconds > MAX_VOICE_S:
            notes = (*notes, f"{voice}: of {seconds:.1f} s the first {MAX_VOICE_S:g} s of sound")
        prompt = cut_voice(recording.samples, name=voice, text=voice_text, layout=layout)
    return LoadedOpening(row=_read(batch, prompt, instructions), notes=notes, voice=prompt)


def _read(batch: RowBatch, voice: VoicePrompt | None, instructions: str) -> OpenedRow:
    if instructions:
        _check_instructions(instructions, batch)
    lanes = pack_opening(
        voice=voice, instructions=instructions, layout=batch.layout, tokenizer=batch.tokenizer
    )
    return batch.read(lanes)


def _check_instructions(instructions: str, batch: RowBatch) -> None:
    layout, window = batch.layout, batch.model.cfg.window
    if not layout.text_in_positions:
        raise ValueError(
            "instructions need a model that reads text, and this one has "
            "layout.text_in_positions=0; leave them out"
        )
    batch.tokenizer.check_words(instructions, name="instructions")
    n_ids = len(batch.tokenizer.encode_lane_text(instructions_text(instructions)))
    if text_micro_turns(n_ids, layout) > window:
        raise ValueError(
            f"instructions have {n_ids} tokens, and this model sees at most "
            f"{window * layout.text_in_positions} at once; shorten them"
        )
