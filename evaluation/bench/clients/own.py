"""Our own client of the socket in the place of somebody else's program."""

from __future__ import annotations

import base64
from typing import Any, Final

from scipy.signal import resample_poly

from microturn.evaluation.bench.clients.conversation import RATE, ClientTalk, RecordedQuestion, Told
from microturn.inference.audio import encode_pcm16
from microturn.inference.serve.client import talk_to_server
from microturn.model.streams import StreamLayout

OWN_CLIENT: Final = "microturn"
_SIDES: Final = {"user": "heard", "agent": "said"}


async def talk_through_our_own(url: str, question: RecordedQuestion) -> ClientTalk:
    """Talk over the socket at `url` in real time; times are those of the conversation's clock."""
    layout = StreamLayout()
    samples = resample_poly(question.samples, layout.sample_rate, RATE)
    talk = ClientTalk(interrupted_s=question.interrupted_s)
    try:
        answer = await talk_to_server(url, samples, real_time=True)
    except OSError as error:
        talk.fault = str(error)
        return talk
    talk.told.append(Told(time_s=0.0, kind="connected", value=""))
    talk.told += [told for event in answer.events for told in _told(event)]
    for micro_turn, piece in answer.pieces.items():
        sound = base64.b64encode(encode_pcm16(piece)).decode()
        # It is played in the next micro-turn, and over at its end.
        ends_s = (micro_turn + 2) * layout.micro_turn_s
        talk.told.append(Told(time_s=ends_s, kind="audio", value=sound))
    return talk


def _told(event: dict[str, Any]) -> list[Told]:
    if event["type"] != "word":
        return []
    return [Told(time_s=event["time_s"], kind=_SIDES[event["side"]], value=event["text"])]
