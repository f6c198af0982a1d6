"""A recording streamed through one row, and the answer to it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from microturn.inference.conversation import Conversation
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.streams.pcm import Audio


@dataclass(frozen=True, kw_only=True)
class AnsweredRecording:
    """A recording, the answer on the same clock, and the conversation of both."""

    input: Audio
    output: Audio
    conversation: Conversation


def answer_recording(
    batch: RowBatch, samples: Audio, *, conversation: Conversation, progress: bool = True
) -> AnsweredRecording:
    """Stream a recording through the first row of a batch; the output has the same length.

    The row goes on from where it is: at its start, or after an opening.
    """
    layout = batch.layout
    spm, n = layout.samples_per_micro_turn, layout.n_micro_turns(len(samples))
    padded = np.zeros(n * spm, np.float32)
    padded[: len(samples)] = samples
    audio = np.zeros((n + 1) * spm, np.float32)  # the last micro-turn would play after the end
    for k in tqdm(range(n), "talk", unit="micro-turn", file=sys.stderr, disable=not progress):
        micro_turn = MicroTurnIn(
            audio=padded[k * spm : (k + 1) * spm], text_in=conversation.next_text()
        )
        output = batch.step_rows({0: micro_turn})[0]
        audio[(k + 1) * spm : (k + 2) * spm] = output.audio
        conversation.read_output(output)
    conversation.finish()
    return AnsweredRecording(input=samples, output=audio[: len(samples)], conversation=conversation)
