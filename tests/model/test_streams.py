"""The micro-turn contract: packing, prefix stability, streaming = whole clip, bit for bit."""

import json
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.model.streams import (
    BG,
    BG_END,
    IDLE,
    Lanes,
    LayoutError,
    MelStream,
    StreamLayout,
    TimedToken,
    Tokenizer,
    dequantise_fine,
    dmel,
    fine_mel,
    normalise,
    pack_dialogue,
    pack_heard,
    pack_say,
    quantise_fine,
    result_text,
)
from microturn.model.streams.mel import dmel_rows

LAYOUT = StreamLayout()
TINY = StreamLayout(
    audio_in_group=4, text_in_positions=1, heard_positions=1, say_positions=1, audio_out_group=4
)
WORDS = ["one", "two", "three", "four", "monday", "number"]
SPM = LAYOUT.samples_per_micro_turn


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)] * 50, vocab_size=200)


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(n_samples)).astype(np.float32)


def test_default_layout_is_the_published_one() -> None:
    assert SPM == 3200
    assert LAYOUT.lane_sizes == {
        "video": 0,
        "audio_in": 4,
        "text_in": 2,
        "heard": 2,
        "say": 2,
        "audio_out": 4,
    }
    assert LAYOUT.patch_dim == 320
    assert TINY.n_positions == 5
    assert TINY.patch_dim == 1280


def test_lanes_are_contiguous_and_in_order() -> None:
    layout = StreamLayout(video_rows=2, video_cols=3)
    slices = list(layout.lanes.values())
    assert slices[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(slices))
    assert slices[-1].stop == layout.n_positions


def test_layout_round_trip_and_mismatch(tmp_path: Path) -> None:
    LAYOUT.save(tmp_path / "layout.json")
    assert StreamLayout.load(tmp_path / "layout.json") == LAYOUT
    with pytest.raises(
        LayoutError, match=r"shards has layout.audio_in_group=1 but the model has 4"
    ):
        LAYOUT.check_same(TINY, "shards", "the model")
    old = json.loads((tmp_path / "layout.json").read_text()) | {"layout_version": 0}
    (tmp_path / "layout.json").write_text(json.dumps(old))
    with pytest.raises(LayoutError, match="layout version 0"):
        StreamLayout.load(tmp_path / "layout.json")
    with pytest.raises(LayoutError, match="must divide"):
        StreamLayout(audio_in_group=3)


@pytest.mark.parametrize("fine", [False, True])
@given(cuts=st.lists(st.integers(0, 7), max_size=5), seed=st.integers(0, 99))
def test_streaming_mel_equals_whole_clip(fine: bool, cuts: list[int], seed: int) -> None:
    audio = noise(7 * SPM, seed)
    whole = (fine_mel if fine else lambda a, _: MelStream(LAYOUT, fine=False).push(a))(
        audio, LAYOUT
    )
    stream = MelStream(LAYOUT, fine=fine)
    edges = [0, *sorted(cuts), 7]
    parts = [stream.push(audio[a * SPM : b * SPM]) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), whole)


@given(channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_dmel_of_several_channels_is_that_of_each(channels: int, seed: int) -> None:
    sounds = [noise(3 * SPM, 10 * seed + channel) for channel in range(channels)]
    sounds[0][:] = 0.0
    alone = [dmel(sound, LAYOUT) for sound in sounds]
    padded = np.stack([np.pad(sound, (LAYOUT.samples_per_frame, 0)) for sound in sounds])
    for k in range(3):
        heard = padded[:, k * SPM : (k + 1) * SPM + LAYOUT.samples_per_frame]
        assert np.array_equal(dmel_rows(heard, LAYOUT), [ids[k] for ids in alone])


def test_mel_filters_match_torchaudio() -> None:
    torchaudio = pytest.importorskip("torchaudio")
    from microturn.model.streams.mel import mel_filters

    theirs = torchaudio.functional.melscale_fbanks(801, 0, 8000, 80, 16000, "slaney", "slaney")
    np.testing.assert_allclose(mel_filters(16000, 1600), theirs.numpy(), atol=1e-6)


def test_quantised_mel_is_within_half_a_step() -> None:
    log_mel = fine_mel(noise(5 * SPM), LAYOUT)
    error = np.abs(dequantise_fine(quantise_fine(log_mel)) - log_mel)
    assert error.max() <= 0.5 * 9 / 255 + 1e-5


@given(
    n=st.integers(4, 12),
    k=st.integers(1, 12),
    say=st.lists(st.integers(1, 11), unique=True, max_size=5),
    heard=st.lists(st.integers(1, 12 * SPM), max_size=5),
)
def test_packing_a_prefix_is_a_prefix_of_packing_all(
    tokenizer: Tokenizer, n: int, k: int, say: list[int], heard: list[int]
) -> None:
    k = min(k, n)
    said = [TimedToken(text="one", sample=m * SPM) for m in say]
    words = [TimedToken(text="two", sample=s) for s in heard]
    user, agent = noise(n * SPM, 1), noise(n * SPM, 2)

    def packed(micro_turns: int) -> Lanes:
        return pack_dialogue(
            user_audio=user[: micro_turns * SPM],
            agent_audio=agent[: micro_turns * SPM],
            heard=words,
            say=said,
            text_in=[],
            layout=TINY,
            tokenizer=tokenizer,
        )

    whole, part = packed(n), packed(k)
    for name in ("audio_in", "text_in", "heard", "heard_weight", "say"):
        arrays = (lanes.named_arrays()[name] for lanes in (part, whole.head(k)))
        assert np.array_equal(*arrays), name
    # the last micro-turn of a dialogue plays after its end and carries no target
    assert np.array_equal(part["audio_out"][: k - 1], whole["audio_out"][: k - 1])
    assert part.weights["audio_out"][-1].sum() == 0


def test_say_leads_and_heard_follows(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("monday")) == 1
    say = pack_say([TimedToken(text="monday", sample=5 * SPM + 10)], 9, TINY, tokenizer)
    assert say[4, 0] == tokenizer.encode("monday")[0]  # made in 4, played in 5
    heard = pack_heard([TimedToken(text="one two", sample=5 * SPM)], 9, TINY, tokenizer)
    assert [int(i != IDLE) for i in heard[:, 0]] == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="before the dialogue begins"):
        pack_say([TimedToken(text="one", sample=0)], 9, TINY, tokenizer)


def test_crowded_say_tokens_lead(tokenizer: Tokenizer) -> None:
    tokens = [TimedToken(text=t, sample=5 * SPM) for t in ("one", "two")]
    lane = pack_say(tokens, 9, TINY, tokenizer)[:, 0]
    assert tokenizer.decode(lane) == "one two"
    assert np.flatnonzero(lane).tolist() == [3, 4]


def test_lanes_survive_storage(tokenizer: Tokenizer) -> None:
    lanes = pack_dialogue(
        user_audio=noise(6 * SPM),
        agent_audio=noise(6 * SPM, 3),
        heard=[TimedToken(text="four", sample=SPM)],
        say=[TimedToken(text="four", sample=3 * SPM)],
        text_in=[TimedToken(text=result_text("two"), sample=SPM)],
        layout=LAYOUT,
        tokenizer=tokenizer,
    )
    back = Lanes.from_members(LAYOUT, lanes.members())
    for name, array in lanes.named_arrays().items():
        assert np.array_equal(back.named_arrays()[name], array), name


def test_tokenizer_is_repeatable_and_round_trips(tmp_path: Path, tokenizer: Tokenizer) -> None:
    again = Tokenizer.train([" ".join(WORDS)] * 50, vocab_size=200)
    tokenizer.save(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    loaded = Tokenizer.load(tmp_path / "a.json")
    ids = loaded.encode_lane_text(result_text("number four"))
    assert (ids[0], ids[-1]) == (BG, BG_END)
    assert loaded.decode(ids) == "number four"
    assert [w for w, _ in loaded.words(ids)] == ["<bg>", "number", "four", "</bg>"]
    (tmp_path / "c.json").write_text("garbage")
    with pytest.raises(ValueError, match=r"c\.json: not a tokenizer file"):
        Tokenizer.load(tmp_path / "c.json")


def test_silence_is_weighed_less_than_speech(tokenizer: Tokenizer) -> None:
    agent = np.zeros(8 * SPM, np.float32)
    agent[3 * SPM : 5 * SPM] = noise(2 * SPM)
    lanes = pack_dialogue(
        user_audio=agent,
        agent_audio=agent,
        heard=[],
        say=[],
        text_in=[],
        layout=TINY,
        tokenizer=tokenizer,
    )
    weight = lanes.weights["audio_out"][:, 0].tolist()
    assert weight[:2] == pytest.approx([0.2, 0.2])
    assert weight[2:5] == pytest.approx([1.0, 1.0, 1.0])  # two spoken, then the tail of the window
    assert weight[-1] == 0


def test_layouts_of_existing_sets_keep_their_hash() -> None:
    """A lane that is added later must not make shards and checkpoints of older layouts unusable."""
    assert StreamLayout().hash == "033ce6c4cbc16dec"
    assert StreamLayout(video_rows=2, video_cols=2).hash == "9d9b99fecb45bee3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don\u2019t, l\u02bc\u00e9t\u00e9", "don't l'\u00e9t\u00e9"),
        ("cafe\u0301 _na\u00ef\u00adve_", "caf\u00e9 na\u00efve"),
        ("हिन्दी हूँ।", "हिन्दी हूँ"),
        ("สวัสดี", "สวัสดี"),
        ("می\u200cخواهم", "میخواهم"),
        ("\u2764\ufe0f hi 1\ufe0f\u20e3 \u2066x\u2069 \u0301", "hi 1 x"),
    ],
)
def test_words_are_the_same_in_every_spelling_of_unicode(text: str, words: str) -> None:
    assert normalise(text) == words
    assert normalise(unicodedata.normalize("NFD", text)) == words
    assert normalise(words) == words
