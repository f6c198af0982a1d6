"""Recipe of a lane: an entry in the table of the layout reaches shards, training and sessions."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient, WebSocketTestSession

from microturn.datagen.pipeline import encode_npz
from microturn.datagen.sets import shards
from microturn.datagen.sets.shards import StoredDialogue
from microturn.datagen.sets.storage import place
from microturn.datagen.sets.tar_members import tar_members
from microturn.inference.audio import decode_pcm16
from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.serve.codec import ServedModel
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.protocol import MicroturnCodec
from microturn.inference.serve.server import create_app
from microturn.inference.sessions import Sessions
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import TINY_LAYOUT, LoadedCheckpoint, random_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.losses import compute_losses
from microturn.model.model import InputTensors
from microturn.model.plan.flops import forward_flops
from microturn.model.streams import (
    Lanes,
    LaneSpec,
    LayoutError,
    StreamLayout,
    TimedToken,
    Tokenizer,
    pack_dialogue,
)
from microturn.model.streams.layout import LaneKind

N = 8


@dataclass(frozen=True, kw_only=True)
class ScreenLayout(StreamLayout):
    """The layout with two more lanes: frames of a shared screen, and tokens of pressed keys."""

    screen_rows: int = field(default=0, metadata={"help": "rows of patches", "added": True})
    screen_cols: int = field(default=0, metadata={"help": "columns of patches", "added": True})

    keys_positions: int = field(default=0, metadata={"help": "tokens of keys", "added": True})

    @cached_property
    def declared_lanes(self) -> tuple[LaneSpec, ...]:
        video, *others = super().declared_lanes
        screen = LaneSpec.frames("screen", self.screen_rows, self.screen_cols)
        return (video, screen, LaneSpec.tokens("keys", self.keys_positions, given=True), *others)


OLD = {
    name: getattr(TINY_LAYOUT, name) for name in TINY_LAYOUT.to_dict() if name != "layout_version"
}
ABSENT = ScreenLayout(**OLD)
LAYOUT = ScreenLayout(
    **OLD
    | {"video_rows": 1, "video_cols": 1, "screen_rows": 1, "screen_cols": 2, "keys_positions": 2}
)
KEYS = np.arange(5, 5 + 2 * N, dtype=np.int32).reshape(N, 2)
SMALL = ModelConfig(d_model=48, n_layers=2, n_heads=4, d_ff=64, video_channels=(8, 16, 24))


def frames(lane: str, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, *LAYOUT.lane(lane).shape), dtype=np.uint8)


def dialogue(tokenizer: Tokenizer, given: Mapping[str, np.ndarray], layout: StreamLayout) -> Lanes:
    size = N * layout.samples_per_micro_turn
    audio = (0.1 * np.random.default_rng(1).standard_normal((2, size))).astype(np.float32)
    return pack_dialogue(
        user_audio=audio[0],
        agent_audio=audio[1],
        heard=[TimedToken(text="one", sample=3 * layout.samples_per_micro_turn)],
        say=[TimedToken(text="two", sample=5 * layout.samples_per_micro_turn)],
        text_in=[],
        layout=layout,
        tokenizer=tokenizer,
        given=given,
    )


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return random_checkpoint(3, layout=LAYOUT, config=SMALL)


def test_an_absent_lane_leaves_layout_and_model_as_they_were() -> None:
    assert ABSENT.hash == TINY_LAYOUT.hash
    assert ABSENT.lane_specs == TINY_LAYOUT.lane_specs
    assert replace(LAYOUT, keys_positions=0).hash != LAYOUT.hash
    assert LAYOUT.hash != replace(LAYOUT, screen_rows=0, screen_cols=0).hash
    before = random_checkpoint(1, layout=TINY_LAYOUT, config=SMALL).model.state_dict()
    after = random_checkpoint(1, layout=ABSENT, config=SMALL).model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_layout_is_saved_with_the_lane_and_checked(tmp_path: Path) -> None:
    LAYOUT.save(tmp_path / "layout.json")
    assert ScreenLayout.load(tmp_path / "layout.json") == LAYOUT
    with pytest.raises(LayoutError, match="unknown layout field keys_positions"):
        StreamLayout.load(tmp_path / "layout.json")
    with pytest.raises(LayoutError, match=r"a has layout.screen_rows=1 but b has 0"):
        LAYOUT.check_same(replace(LAYOUT, screen_rows=0, screen_cols=0), "a", "b")
    with pytest.raises(LayoutError, match="screen_rows=1 and layout.screen_cols=0 must both be 0"):
        ScreenLayout(screen_rows=1)


def test_members_of_an_old_set_are_read_by_a_layout_with_absent_lanes(
    checkpoint: LoadedCheckpoint,
) -> None:
    old = dialogue(checkpoint.tokenizer, {}, TINY_LAYOUT)
    new = dialogue(checkpoint.tokenizer, {}, ABSENT)
    read = Lanes.from_members(ABSENT, old.members())
    assert new.named_arrays().keys() == read.named_arrays().keys() == old.named_arrays().keys()
    silent = replace(TINY_LAYOUT, text_in_positions=0, heard_positions=0)
    assert dialogue(checkpoint.tokenizer, {}, silent)["heard"].shape == (N, 0)


@pytest.mark.parametrize(("kind", "lane"), [("dmel", "audio_in"), ("mel", "audio_out")])
def test_a_second_lane_of_sound_is_refused(kind: LaneKind, lane: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class SecondLayout(StreamLayout):
        @cached_property
        def declared_lanes(self) -> tuple[LaneSpec, ...]:
            return (replace(TINY_LAYOUT.lane(lane), name="second"), *super().declared_lanes)

    message = f"lane second is a second lane of kind {kind}, and the model has one, {lane}; make it"
    with pytest.raises(LayoutError, match=message):
        SecondLayout()


def test_a_dialogue_keeps_the_lane_in_a_shard(checkpoint: LoadedCheckpoint, tmp_path: Path) -> None:
    given = {"video": frames("video", N), "screen": frames("screen", N, seed=1), "keys": KEYS}
    lanes = dialogue(checkpoint.tokenizer, given, LAYOUT)
    members = {name: encode_npz(arrays, compress=False) for name, arrays in lanes.members().items()}
    assert members.keys() == {"streams.npz", "features.npz", "video.npz", "screen.npz"}
    writer = shards.ShardWriter(place(str(tmp_path)) / "000000.tar")
    writer.write(0, members)
    writer.close()
    stored = stored_dialogue(tmp_path / "000000.tar")
    for name, array in stored.lanes().named_arrays().items():
        assert np.array_equal(array, lanes.named_arrays()[name]), name
    assert np.array_equal(stored.frames()["screen"], given["screen"])
    assert np.array_equal(stored.given()["keys"], KEYS)


def stored_dialogue(path: Path) -> StoredDialogue:
    with path.open("rb") as file:
        places = {name: (start, size) for name, start, size in tar_members(file)}
        members = {}
        for name, (start, size) in places.items():
            file.seek(start)
            members[name.partition(".")[2]] = file.read(size)
    return StoredDialogue(key="00000000", members=members, source=str(path), layout=LAYOUT)


def test_training_reads_the_lane_and_moves_its_stem(checkpoint: LoadedCheckpoint) -> None:
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    shown = {"video": frames("video", N), "screen": frames("screen", N, seed=1), "keys": KEYS}
    batch = LaneBatch.collate([dialogue(tokenizer, given, LAYOUT) for given in (shown, {})])
    assert batch["screen"].shape == (2, N, 40, 80, 3)
    assert not batch["screen"][1].any()  # without frames a screen is black
    model.train()
    torch.manual_seed(0)
    compute_losses(model, batch)["loss"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert (model.get_parameter("embed.tokens.weight").grad[KEYS.ravel()] != 0).any(1).all()
    stems = {name for name, _ in model.named_parameters() if name.startswith("embed.screen.")}
    assert len(stems) == 10
    assert stems <= moved
    model.eval()
    model.zero_grad()
    flops = forward_flops(model.cfg, LAYOUT, model.vocab_size, N, training=True)
    assert flops["screen"] == 2 * flops["video"]


def test_a_lane_that_the_layout_lacks_and_a_wrong_shape_are_refused(
    checkpoint: LoadedCheckpoint,
) -> None:
    screen = frames("screen", N)
    with pytest.raises(LayoutError, match=r"there are screen frames but layout.screen_rows and"):
        dialogue(checkpoint.tokenizer, {"screen": screen}, ABSENT)
    with pytest.raises(LayoutError, match=r"screen is uint8 .* need uint8 \(8, 40, 80, 3\)"):
        dialogue(checkpoint.tokenizer, {"screen": screen[:, :, :40]}, LAYOUT)
    with pytest.raises(LayoutError, match="there is no lane board; the lanes are video, screen"):
        dialogue(checkpoint.tokenizer, {"board": screen}, LAYOUT)


def streamed(checkpoint: LoadedCheckpoint, lanes: Mapping[str, np.ndarray]) -> list[MicroTurnOut]:
    """The outputs of a session with arrays of lanes, beside a neighbour that sits out."""
    sessions = Sessions(RowBatch(checkpoint, 2))
    _, session = sessions.open(), sessions.open()
    silence = np.zeros(LAYOUT.samples_per_micro_turn, np.float32)
    outputs = []
    for k in range(min([N, *map(len, lanes.values())])):
        given = {name: array[k] for name, array in lanes.items()}
        outputs.append(sessions.step_session(session, MicroTurnIn(audio=silence, given=given)))
    return outputs


def test_a_session_sees_the_lane_and_an_idle_one_is_black(checkpoint: LoadedCheckpoint) -> None:
    screen = frames("screen", N)
    seen, black, idle = (
        streamed(checkpoint, shown)
        for shown in ({"screen": screen}, {"screen": np.zeros_like(screen)}, {})
    )
    assert all(np.array_equal(a.audio, b.audio) for a, b in zip(black, idle, strict=True))
    assert not np.array_equal(seen[0].audio, idle[0].audio)
    assert not np.array_equal(streamed(checkpoint, {"keys": KEYS})[0].audio, idle[0].audio)


def test_a_session_refuses_a_frame_that_does_not_fit(checkpoint: LoadedCheckpoint) -> None:
    silence = np.zeros(LAYOUT.samples_per_micro_turn, np.float32)
    batch = RowBatch(checkpoint, 1)
    for given, message in (
        ({"screen": frames("video")}, "screen is uint8"),
        ({"keys": KEYS}, r"keys is int32 \(1, 8, 2\) but the layout needs int32 \(1, 2\)"),
        ({"board": frames("video")}, "there is no lane board"),
        ({"text_in": np.zeros(1, np.int32)}, "lane text_in is computed from sound or text"),
    ):
        with pytest.raises(ValueError, match=message):
            batch.step_rows({0: MicroTurnIn(audio=silence, given=given)})
    assert batch.micro_turns[0] == 0


def message(socket: WebSocketTestSession) -> dict[str, object] | np.ndarray:
    """The next message of the server: an object, or its audio."""
    received = socket.receive()
    if received.get("bytes") is not None:
        return decode_pcm16(received["bytes"])
    values: dict[str, object] = json.loads(received["text"])
    return values


def next_of(socket: WebSocketTestSession, kind: str) -> dict[str, object]:
    while True:
        values = message(socket)
        if isinstance(values, dict) and values["type"] == kind:
            return values


def shown(lane: object, pixels: np.ndarray) -> dict[str, object]:
    return {"type": "frame", "lane": lane, "data": base64.b64encode(pixels.tobytes()).decode()}


def test_a_client_shows_frames_of_the_lane(checkpoint: LoadedCheckpoint) -> None:
    """No word of the protocol names the lane."""
    frame = frames("screen")
    first = []
    for messages in ([], [shown("screen", frame)]):
        app = create_app(LiveEngine(RowBatch(checkpoint, 1), ServeConfig()), ServeConfig())
        with (
            TestClient(app, base_url="http://127.0.0.1:8765") as client,
            client.websocket_connect("/ws") as socket,
        ):
            assert next_of(socket, "hello")["frames"] == {"video": [40, 40], "screen": [40, 80]}
            socket.send_json({"type": "hello", "protocol": 2})
            for one in messages:
                socket.send_json(one)
            socket.send_bytes(bytes(2 * LAYOUT.samples_per_micro_turn))
            next_of(socket, "micro_turn")
            first.append(message(socket))
    expected = [streamed(checkpoint, lanes)[0].audio for lanes in ({}, {"screen": frame[None]})]
    assert not np.array_equal(expected[0], expected[1])
    for got, want in zip(first, expected, strict=True):
        assert isinstance(got, np.ndarray)
        assert np.allclose(got, want, atol=2e-4)


@pytest.mark.parametrize(
    ("lane", "pixels", "sentence"),
    [
        ("board", frames("video"), 'lane "board" takes no frames; lanes of this model that do: vi'),
        ("keys", KEYS, 'lane "keys" takes no frames; lanes of this model that do: video, screen'),
        (7, KEYS, "lane 7 takes no frames"),
        ("screen", frames("video"), "data of screen has to be base64 of 9600 bytes, 40 x 80 pixel"),
    ],
)
def test_a_frame_that_fits_no_lane_is_one_sentence(
    lane: object, pixels: np.ndarray, sentence: str
) -> None:
    codec = MicroturnCodec(ServedModel(layout=LAYOUT, name="demo"))
    codec.decode('{"type": "hello", "protocol": 2}')
    with pytest.raises(ValueError, match=re.escape(sentence)):
        codec.decode(json.dumps(shown(lane, pixels)))
    for data in ("***", "", 7, None):
        with pytest.raises(ValueError, match="data of video has to be base64 of 4800 bytes"):
            codec.decode(json.dumps({"type": "frame", "lane": "video", "data": data}))


def test_words_of_a_session_are_those_of_the_whole_dialogue(checkpoint: LoadedCheckpoint) -> None:
    """Where the first choice is clear; the screen changes in every micro-turn."""
    model = checkpoint.model
    lanes = dialogue(checkpoint.tokenizer, {"screen": frames("screen", N), "keys": KEYS}, LAYOUT)
    batch = LaneBatch.collate([lanes])
    state, outputs = model.init_state(1), []
    noise = torch.zeros(1, LAYOUT.audio_out_positions, LAYOUT.patch_dim)
    with torch.no_grad():
        for k in range(N):
            given = {spec.name: batch[spec.name][:, k] for spec in LAYOUT.given_lanes}
            output, state = model.step(InputTensors(given, batch.missing_input[:, k]), state, noise)
            outputs.append(output)
        words = {
            name: torch.stack([output.tokens[name] for output in outputs], 1)
            for name in ("heard", "say")
        }
        patches = torch.stack([output.patches for output in outputs], 1)
        hidden = model(replace(batch, lanes={**batch.lanes, **words}), patches)
        for name, ids in words.items():
            top = model.unembed(hidden[name]).topk(2, dim=-1)
            clear = top.values[..., 0] - top.values[..., 1] > 1e-3
            assert clear.float().mean() > 0.9
            assert torch.equal(top.indices[..., 0][clear], ids[clear]), name
