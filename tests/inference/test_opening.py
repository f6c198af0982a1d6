"""A voice and instructions before a conversation: read once, then as if they had been lived."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from microturn.configs.main import main
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.opening import LoadedOpening, read_opening
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport
from microturn.inference.sessions import Sessions
from microturn.inference.tick import OpenedRow
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint
from microturn.model.choice import choose_token
from microturn.model.model import InputTensors
from microturn.model.streams import EOS, IDLE, SYSTEM, Lanes, StreamLayout, pack_user_audio
from microturn.model.streams.opening import MIN_VOICE_S, cut_voice, pack_opening
from microturn.model.streams.pcm import Audio
from support.small_model import SMALL

LAYOUT = StreamLayout()
RATE, STEP = LAYOUT.sample_rate, LAYOUT.samples_per_micro_turn
REWIND, N = 6, 9
CONFIG = replace(SMALL, window=16)
SAYS = "eight plus three"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def small() -> LoadedCheckpoint:
    words = ("read", "and", "listen", *SAYS.split())
    return random_checkpoint(4, config=CONFIG, layout=LAYOUT, words=words)


@pytest.fixture(scope="module")
def speech(recording: Audio) -> Audio:
    """About three seconds of a person's voice."""
    return np.tile(recording, 2)[: 3 * RATE]


@pytest.fixture(scope="module")
def voice_file(speech: Audio, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, speech, RATE, subtype="PCM_16")
    return str(path)


@pytest.fixture(scope="module")
def opening(voice_file: str, small: LoadedCheckpoint) -> Lanes:
    speech, _ = soundfile.read(voice_file, dtype="float32")
    voice = cut_voice(speech, name=voice_file, text=SAYS, layout=LAYOUT)
    return pack_opening(
        voice=voice,
        instructions="Read, and listen!",
        layout=LAYOUT,
        tokenizer=small.tokenizer,
    )


def batch_of(small: LoadedCheckpoint, n_rows: int = 1) -> RowBatch:
    return RowBatch(small, n_rows, seed=3, rewind=REWIND)


def turns_of(seed: int, n: int = N) -> list[MicroTurnIn]:
    rng = np.random.default_rng(seed)
    return [
        MicroTurnIn(audio=(0.1 * rng.standard_normal(STEP)).astype(np.float32)) for _ in range(n)
    ]


def run(
    batch: RowBatch, turns: list[MicroTurnIn], opened: OpenedRow | None = None
) -> list[MicroTurnOut]:
    batch.reset(0, opened)
    return [batch.step_rows({0: turn})[0] for turn in turns]


def same(a: list[MicroTurnOut], b: list[MicroTurnOut]) -> bool:
    return len(a) == len(b) and all(
        x.tokens == y.tokens and np.array_equal(x.audio, y.audio) for x, y in zip(a, b, strict=True)
    )


# --- lanes -----------------------------------------------------------------------------------
def test_the_voice_sounds_where_simulation_puts_it(opening: Lanes, speech: Audio) -> None:
    n = opening.n_micro_turns
    sounding = np.flatnonzero(np.abs(speech) > 0.02)
    assert n == 2 + -(-(sounding[-1] - sounding[0]) // STEP) + 1
    loudest = opening["audio_out"].reshape(n, -1).max(axis=1)
    silent = loudest[0]  # what a micro-turn makes is played in the next one
    assert silent == loudest[-1] < 85  # the floor of the model's patches
    assert (loudest[1:-2] > silent).mean() > 0.7  # a word, a silence, a word
    said = [i for i in opening["say"].reshape(-1).tolist() if i != IDLE]
    assert said[-1] == EOS
    assert EOS in opening["say"][n - 2]
    assert not opening["say"][0].any()
    assert not opening["heard"].any()
    silence = pack_user_audio(np.zeros(n * STEP, np.float32), LAYOUT)
    assert np.array_equal(opening["audio_in"], silence)
    given = [i for i in opening["text_in"].reshape(-1).tolist() if i != IDLE]
    assert given[0] == SYSTEM
    assert opening["text_in"].reshape(-1)[: len(given)].tolist() == given


def test_a_long_recording_is_cut_and_so_are_its_words(recording: Audio) -> None:
    long = np.tile(recording, 8)
    voice = cut_voice(long, name="x", text=" ".join(str(k) for k in range(100)), layout=LAYOUT)
    assert len(voice.audio) == 4 * RATE
    n_words = len(voice.text.split())
    assert n_words == pytest.approx(100 * 4 * RATE / len(long), abs=2)
    assert voice.audio[-1] == 0.0  # it fades


# --- bits ------------------------------------------------------------------------------------
def test_a_session_goes_on_as_the_model_does_over_the_same_lanes(
    small: LoadedCheckpoint, opening: Lanes
) -> None:
    """The model steps from the state of the opening; then one forward reads everything at once."""
    model, turns = small.model, turns_of(1)
    batch = batch_of(small)
    outputs = run(batch, turns, batch.read(opening))
    lanes = LaneBatch.collate([opening])
    patches = [model.patches(lanes["audio_out"])]
    dmel = pack_user_audio(np.concatenate([turn.audio for turn in turns]), LAYOUT)
    made: dict[str, list[torch.Tensor]] = {"heard": [], "say": []}
    with torch.inference_mode():
        _, state = model.prefill(lanes, patches[0], model.init_state(1, spare=REWIND))
        for k, output in enumerate(outputs):
            given = {
                "audio_in": torch.from_numpy(dmel[k : k + 1]),
                "text_in": torch.zeros(1, LAYOUT.text_in_positions, dtype=torch.int64),
            }
            key = np.random.Philox(key=[3, k])
            shape = (1, LAYOUT.audio_out_positions, LAYOUT.patch_dim)
            noise = np.random.Generator(key).standard_normal(shape, dtype=np.float32)
            inputs = InputTensors(given, torch.zeros(1, dtype=torch.bool))
            result, state = model.step(inputs, state, torch.from_numpy(noise))
            patches.append(result.patches[:, None])
            for name in made:
                made[name].append(result.tokens[name][:, None])
                ids = [i for i in result.tokens[name][0].tolist() if i != IDLE]
                assert ids == output.tokens[name]
        whole = LaneBatch(
            lanes={
                "audio_in": torch.cat([lanes["audio_in"], torch.from_numpy(dmel)[None]], 1),
                "text_in": _grown(lanes["text_in"], N),
                **{name: torch.cat([lanes[name], *made[name]], 1) for name in made},
            },
            weights={},
            missing_input=torch.zeros(1, opening.n_micro_turns + N, dtype=torch.bool),
        )
        spoken = torch.cat(patches, 1)
        hidden, after = model.prefill(whole, spoken, model.init_state(1, spare=REWIND))
        for name in made:
            logits = model.unembed(hidden[name])[:, opening.n_micro_turns :]
            chosen = choose_token(logits, model.cfg.start_at)
            assert torch.equal(chosen, torch.cat(made[name], 1))
        ours = zip(after.backbone.layers, state.backbone.layers, strict=True)
        assert all(torch.equal(a.k, b.k) and torch.equal(a.v, b.v) for a, b in ours)
        mel = torch.cat([model.log_mel(part) for part in spoken[0].split(1)], 0)
        sound = model.vocoder(mel.flatten(0, 1)[None])[0].numpy()
    mine = np.concatenate([output.audio for output in outputs])
    assert np.array_equal(mine, sound[-len(mine) :])


def _grown(lane: torch.Tensor, n: int) -> torch.Tensor:
    return torch.cat([lane, torch.zeros(1, n, lane.shape[2], dtype=lane.dtype)], 1)


def test_sessions_with_and_without_a_voice_leave_each_others_bits(
    small: LoadedCheckpoint, opening: Lanes
) -> None:
    alone = batch_of(small)
    opened = alone.read(opening)
    plain = [run(alone, turns_of(seed)) for seed in (1, 3)]
    voiced = run(alone, turns_of(2), opened)
    assert not same(run(alone, turns_of(2)), voiced)
    sessions = Sessions(batch_of(small, 3))
    handles = [sessions.open(), sessions.open(opened), sessions.open()]
    ticks = [
        sessions.step_sessions(dict(zip(handles, turns, strict=True)))
        for turns in zip(turns_of(1), turns_of(2), turns_of(3), strict=True)
    ]
    got = [[tick[handle] for tick in ticks] for handle in handles]
    assert same(got[0], plain[0])
    assert same(got[1], voiced)
    assert same(got[2], plain[1])
    assert sessions.micro_turns(handles[1]) == N  # the time of the voice does not count
    # A row that had a voice begins without one.
    sessions.close(handles[1])
    again = sessions.open()
    assert same([sessions.step_session(again, turn) for turn in turns_of(1)], plain[0])


def test_a_session_goes_back_to_the_end_of_its_opening_and_no_further(
    small: LoadedCheckpoint, opening: Lanes
) -> None:
    batch = batch_of(small, 2)
    opened, turns = batch.read(opening), turns_of(5)
    expected = run(batch, turns, opened)
    sessions = Sessions(batch)
    one = sessions.open(opened)
    for turn in turns_of(6)[:4]:
        sessions.step_session(one, turn)
    assert sessions.oldest(one) == 0
    twin = sessions.fork(one)
    for session in (one, twin):
        sessions.rewind(session, to=0)
        with pytest.raises(ValueError, match="cannot rewind to micro-turn -1"):
            sessions.rewind(session, to=-1)
        assert same([sessions.step_session(session, turn) for turn in turns], expected)
    sessions.rewind(twin, to=N - 3)
    assert same([sessions.step_session(twin, turn) for turn in turns[-3:]], expected[-3:])


def test_the_same_files_give_the_same_bits(small: LoadedCheckpoint, voice_file: str) -> None:
    def outputs(**given: str) -> list[MicroTurnOut]:
        batch = batch_of(small)
        return run(batch, turns_of(7), read_opening(batch, **given).row)

    both = outputs(voice=voice_file, voice_text=SAYS, instructions="read")
    assert same(both, outputs(voice=voice_file, voice_text=SAYS, instructions="read"))
    for other in (
        {"voice": voice_file, "voice_text": SAYS},
        {"voice": voice_file, "instructions": "read"},
        {"instructions": "read"},
        {},
    ):
        assert not same(both, outputs(**other))


# --- commands --------------------------------------------------------------------------------
def test_a_live_session_begins_after_the_opening_on_its_own_clock(
    small: LoadedCheckpoint, opening: Lanes
) -> None:
    batch = batch_of(small)
    opened = batch.read(opening)
    expected = run(batch, turns_of(8), opened)
    reports: list[MicroTurnReport] = []
    engine = LiveEngine(batch, ServeConfig(), opening=LoadedOpening(row=opened))
    session = engine.join(lambda message: reports.append(message))  # type: ignore[arg-type]
    for turn in turns_of(8):
        session.push_audio(turn.audio)
        assert engine.step() == 1
    assert [report.micro_turn for report in reports] == list(range(N))
    assert same([report.output for report in reports], expected)


def test_talk_answers_in_the_time_of_the_recording(
    recording_file: Path,
    recording: Audio,
    voice_file: str,
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def talk(name: str, *words: str) -> np.ndarray:
        out = tmp_path / name
        common = [str(recording_file), f"out={out}", f"checkpoint={checkpoint_folder}"]
        assert main(["talk", *common, "device=cpu", "agent.enabled=false", *words]) == 0
        said = json.loads((out / "words.json").read_text())
        assert said["seconds"] == pytest.approx(len(recording) / RATE)
        assert all(0 <= word["time_s"] <= said["seconds"] + 0.2 for word in said["said"])
        return soundfile.read(out / "output.wav")[0]

    opening = [f"voice={voice_file}", f"voice_text={SAYS}"]
    plain, voiced, again = talk("a"), talk("b", *opening), talk("c", *opening)
    assert len(plain) == len(voiced) == len(recording)
    assert not np.array_equal(plain, voiced)
    assert np.array_equal(voiced, again)
    long = tmp_path / "long.flac"
    soundfile.write(long, np.tile(soundfile.read(voice_file)[0], 3), RATE)
    talk("d", f"voice={long}")
    assert f"{long}: of 9.0 s the first 4 s of sound" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["talk", "serve"])
def test_a_command_refuses_what_is_no_voice(
    command: str,
    recording_file: Path,
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"talk": [str(recording_file), f"out={tmp_path / 'out'}"], "serve": ["port=0"]}[command]
    words = [command, *own, f"checkpoint={checkpoint_folder}", "device=cpu"]
    assert main([*words, f"voice={tmp_path / 'none.wav'}"]) == 1
    assert "none.wav: no such file" in capsys.readouterr().err
    assert main([*words, "instructions=..."]) == 1
    error = capsys.readouterr().err.strip()
    assert "there are no words in instructions='...'" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- what is refused -------------------------------------------------------------------------
def refused(small: LoadedCheckpoint, sentence: str, **given: str) -> None:
    with pytest.raises((ValueError, OSError), match=sentence) as caught:
        read_opening(batch_of(small), **given)
    assert "\n" not in str(caught.value)


def test_what_is_no_voice_is_refused_in_one_sentence(
    small: LoadedCheckpoint, speech: Audio, tmp_path: Path
) -> None:
    path = tmp_path / "voice.wav"

    def write(samples: np.ndarray) -> None:
        soundfile.write(path, samples, RATE, subtype="PCM_16")

    refused(small, "no such file", voice=str(path))
    path.write_text("not a recording, whatever its name says")
    refused(small, "is not a recording that can be read", voice=str(path))
    write(np.zeros(3 * RATE, np.float32))
    refused(small, r"voice\.wav is silent; .* at least 2 s of speech", voice=str(path))
    write(np.concatenate([speech[:RATE], np.zeros(5 * RATE, np.float32)]))
    refused(small, r"has [01]\.\d s of sound; .* at least 2 s", voice=str(path))
    assert MIN_VOICE_S == 2.0
    write(np.stack([speech, speech[::-1]], axis=1))
    refused(small, "has 2 channels that differ; give .* one voice alone", voice=str(path))
    write(np.stack([speech, speech], axis=1))
    assert read_opening(batch_of(small), voice=str(path)).row is not None


def test_instructions_that_cannot_be_read_are_refused(small: LoadedCheckpoint) -> None:
    refused(small, "there are no words in instructions=", instructions="<> !?")
    refused(small, r"have \d+ tokens, .* sees at most 32", instructions="read " * 40)
    refused(small, "give voice too", voice_text="eight")
    deaf = random_checkpoint(4, config=CONFIG, layout=replace(LAYOUT, text_in_positions=0))
    refused(deaf, "layout.text_in_positions=0; leave them out", instructions="read")
