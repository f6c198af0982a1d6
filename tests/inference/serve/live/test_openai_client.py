"""The `openai` client, unmodified, talks over a real socket; every event passes its own types."""

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from microturn.evaluation.bench.clients.ruled import TONE
from microturn.inference.audio import write_wav
from microturn.model.streams.pcm import Audio
from support.live_talk import RATE, Talk, at_24_khz, checked, silence, talk

pytestmark = pytest.mark.clients


def question(recording: Audio) -> Audio:
    """Ask, wait for the answer, and interrupt it with the same words."""
    asked = at_24_khz(recording)
    return np.concatenate([asked, silence(4), asked, silence(2)])


async def converse(url: str, samples: Audio, *, delegation: dict[str, Any], says: str = "") -> Talk:
    client = AsyncOpenAI(api_key="none", base_url=url)

    async def answer(event: dict[str, Any]) -> None:
        if event["type"] == "session.delegation.created" and says:
            await connection.session.commentary.append(
                content=says, delegation_id=event["delegation"]["id"], event_id="answer"
            )

    async with client.live.connect() as connection:
        await connection.session.start(
            session={"model": "ruled", "delegation": delegation}, event_id="begin"
        )
        return await talk(connection, samples, answer=answer)


def test_words_a_delegation_to_the_client_and_an_interruption(url: str, recording: Audio) -> None:
    samples = question(recording)
    found = asyncio.run(converse(url, samples, delegation={"type": "client"}, says="twelve"))
    assert found.transcript("input") == "eight plus three"
    assert found.transcript("output").startswith("one moment please twelve twelve")
    (delegation,) = found.of_type("session.delegation.created")
    assert delegation["delegation"]["target"] == "client"
    (taken,) = found.of_type("session.commentary.appended")
    assert taken["client_event_id"] == "answer"
    assert taken["start_ms"] >= delegation["offset_ms"]
    # The answer lasts 4 s if nobody interrupts.
    interrupted_at = len(at_24_khz(recording)) + 4 * RATE
    loud = np.flatnonzero(found.audio > TONE / 2)
    assert interrupted_at - RATE < loud[-1] < interrupted_at + RATE
    last = found.of_type("session.output_transcript.delta")[-1]
    assert abs(last["end_ms"] - loud[-1] / RATE * 1000) < 400
    (closed,) = found.of_type("session.closed")
    assert closed["reason"] == "close_requested"
    assert closed["usage"]["seconds"] == int(len(samples) / RATE)
    assert found.of_type("session.usage.updated")[0]["usage"] == {"seconds": 5}


def test_a_delegation_to_responses_is_answered_by_the_agent_of_the_server(
    url: str, recording: Audio
) -> None:
    delegation = {"type": "responses", "responses": {"model": "gpt-5.6-luna", "tools": []}}
    samples = np.concatenate([at_24_khz(recording), silence(12)])  # its process has to start
    found = asyncio.run(converse(url, samples, delegation=delegation))
    assert found.transcript("output").startswith("one moment please eleven")
    (created,) = found.of_type("session.delegation.created")
    name = created["delegation"]["id"]
    nested = found.of_type("response.event")
    assert {event["delegation_id"] for event in nested} == {name}
    kinds = [event["event"]["type"] for event in nested]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    done = next(e["event"] for e in nested if e["event"]["type"] == "response.output_text.done")
    assert done["text"] == "eleven"
    assert created["delegation"]["response_id"] == nested[0]["event"]["response"]["id"]
    assert found.codes == ["backend_replaced"]


def test_what_is_done_otherwise_is_said(url: str) -> None:
    async def meet() -> Talk:
        client = AsyncOpenAI(api_key="none", base_url=url)
        async with client.live.connect() as connection:
            await connection.session.start(
                session={
                    "model": "gpt-live-1",
                    "instructions": "You are 4 people.",
                    "audio": {"output": {"voice": "marin"}},
                    "store": True,
                    "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
                    "delegation": {"type": "client", "acknowledgement_delay_ms": 400},
                }
            )
            return await talk(connection, silence(0.5))

    found = asyncio.run(meet())
    assert found.codes == [
        "model_alias",
        "voice_not_used",
        "input_not_read",
        "not_stored",
        "acknowledgement_delay_not_used",
        "instructions_not_read",
    ]
    session = found.of_type("session.started")[0]["session"]
    assert session["model"] == "ruled"
    assert session["audio"]["format"] == {"type": "audio/pcm", "rate": RATE}


def test_appended_text_is_answered_with_its_place_or_an_error(url: str) -> None:
    async def append() -> Talk:
        client = AsyncOpenAI(api_key="none", base_url=url)
        async with client.live.connect() as connection:
            session, sent = connection.session, False

            async def answer(event: dict[str, Any]) -> None:
                nonlocal sent
                if sent or event["type"] != "session.started":
                    return
                sent = True
                await session.commentary.append(content="eleven", delegation_id=None, event_id="a")
                await session.instructions.append(content="you", delegation_id=None, event_id="b")
                await session.thinking.append(content="eight", delegation_id=None, event_id="c")
                await session.commentary.append(content="three", delegation_id="s9", event_id="d")
                await session.commentary.append(content="§ 5", delegation_id=None, event_id="e")
                await session.input_audio.mute(event_id="f")
                await session.input_audio.unmute(event_id="g")

            await session.start(session={"model": "ruled"})
            return await talk(connection, silence(4), answer=answer)

    found = asyncio.run(append())
    answered = {event.get("client_event_id"): event["type"] for event in found.events}
    assert answered["a"] == "session.commentary.appended"
    assert answered["b"] == "session.instructions.appended"
    assert answered["f"] == "session.input_audio.muted"
    assert answered["g"] == "session.input_audio.unmuted"
    errors = {e["error"]["client_event_id"]: e["error"]["message"] for e in found.of_type("error")}
    assert errors["c"].startswith("thinking is read of a delegation that is under way only")
    assert errors["d"] == "no delegation 's9' was handed to the client"
    assert errors["e"].startswith("the voice of this model cannot say '§ 5' as a whole")
    assert found.transcript("output").startswith("eleven")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("fork", "this session is over or was never here"),
        ("attach", "'attach' of a session is not supported by this server"),
    ],
)
def test_other_sockets_of_a_session_that_cannot_be_say_why(
    url: str, kind: str, sentence: str
) -> None:
    async def refused() -> dict[str, Any]:
        live = AsyncOpenAI(api_key="none", base_url=url).live
        other = live.forks if kind == "fork" else live.sideband
        async with other.connect(session_id="live_x") as connection:  # type: ignore[attr-defined]
            return checked(await connection.recv_bytes())

    error = asyncio.run(refused())["error"]
    assert error["message"].startswith(sentence)


README = Path(__file__).resolve().parents[4] / "README.md"


@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")  # of the client
def test_the_client_of_the_readme_talks(
    url: str, recording: Audio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    (snippet,) = (block for block in blocks if ".live.connect" in block)
    assert len(list(filter(None, snippet.splitlines()))) <= 12
    file = tmp_path / "question.wav"
    write_wav(file, at_24_khz(recording), sample_rate=RATE)
    snippet = snippet.replace("http://127.0.0.1:8765/v1", url).replace("question.wav", str(file))
    exec(compile(snippet, str(README), "exec"), {})
    assert "session.input_transcript.delta eight" in capsys.readouterr().out
