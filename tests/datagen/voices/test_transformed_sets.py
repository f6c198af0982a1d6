"""Sets with transformed voices: who gets one, what labels and card say, and equal bytes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.config import DatagenConfig, TransformConfig, VoicesConfig
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.dialogue.variants import Variants, drawn_transforms
from microturn.datagen.dialogue.voice_mixture import VoiceMixture
from microturn.datagen.labels.voice_names import speaker_of, speed_of, transform_of
from microturn.datagen.pipeline import Simulator
from microturn.datagen.sets.shards import ShardReader
from microturn.datagen.simulate import simulate


@pytest.fixture(scope="module")
def transformed(config: DatagenConfig, tmp_path_factory: pytest.TempPathFactory) -> DatagenConfig:
    voices = VoicesConfig(transform=TransformConfig(share=0.6, n_voices=5))
    return replace(config, voices=voices, cache=str(tmp_path_factory.mktemp("analyses")))


@pytest.fixture(scope="module")
def bank(transformed: DatagenConfig) -> UnitBank:
    return UnitBank(open_corpora(""), transformed)


@pytest.fixture(scope="module")
def small(transformed: DatagenConfig) -> DatagenConfig:
    """Two shards without features, made in this process."""
    return replace(
        transformed, n_dialogues=4, n_micro_turns=60, features=False, executor="serial", workers=1
    )


@pytest.fixture(scope="module")
def small_set(
    small: DatagenConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardReader:
    out = tmp_path_factory.mktemp("sets") / "set"
    simulate(replace(small, out=str(out)), cache=cache)
    return ShardReader(out)


def test_bytes_depend_on_no_dialogue_before(
    small: DatagenConfig,
    small_set: ShardReader,
    simulator_for: Callable[[DatagenConfig], Simulator],
    tmp_path: Path,
) -> None:
    """Neither on what is cached: the last dialogue alone, with everything analysed anew."""
    simulator = simulator_for(replace(small, cache=str(tmp_path)))
    members = simulator.members(simulator.dialogue(3))
    assert {name: members[name] for name in small_set[3].members} == small_set[3].members


@pytest.mark.slow
def test_bytes_are_those_of_any_number_of_workers(
    small: DatagenConfig, small_set: ShardReader, cache: Path, tmp_path: Path
) -> None:
    """Two workers that race for the same analyses."""
    two = replace(small, out=str(tmp_path / "two"), cache=str(tmp_path), executor="processes")
    simulate(replace(two, workers=2), cache=cache)
    shards = [
        [path.read_bytes() for path in sorted(Path(folder).glob("*.tar"))]
        for folder in (two.out, small_set.folder)
    ]
    assert len(shards[0]) == 2
    assert shards[0] == shards[1]


def test_labels_and_card_say_who_is_transformed(small_set: ShardReader) -> None:
    items = [item for dialogue in small_set for item in dialogue.labels.items]
    heard = [item for item in items if item.lane != "agent" and item.transform]
    assert heard
    for item in items:
        assert item.transform == transform_of(item.voice)
        assert item.speaker == speaker_of(item.voice)
        assert item.perturbed == (item.voice != item.speaker)
    assert {item.voice for item in items if item.lane == "agent"} == {"asterisk-en"}
    card = (small_set.folder / "card.md").read_text(encoding="utf-8")
    assert "asterisk-en (transformed)" in card
    assert f"Transformed voices of the same people: {len(heard)} of" in card
    contents = (small_set.folder / "contents.json").read_text(encoding="utf-8")
    assert "~p" not in contents


def test_each_split_and_seed_has_voices_of_its_own(transformed: DatagenConfig) -> None:
    train = drawn_transforms(transformed)
    assert train == drawn_transforms(transformed)
    test = drawn_transforms(replace(transformed, split="test"))
    other = drawn_transforms(replace(transformed, seed=transformed.seed + 1))
    assert len({*train, *test, *other}) == 15
    more = replace(transformed.voices.transform, n_voices=9)
    voices = replace(transformed.voices, transform=more)
    assert drawn_transforms(replace(transformed, voices=voices))[:5] == train


def test_voices_are_drawn_evenly_on_a_logarithmic_scale(config: DatagenConfig) -> None:
    asked = TransformConfig(share=0.5, n_voices=2000)
    drawn = drawn_transforms(replace(config, voices=VoicesConfig(transform=asked)))
    for name in ("pitch_hz", "formants", "tempo", "intonation"):
        low, high = getattr(asked, name)
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low * 1.01
        assert high * 0.99 < values.max() <= high
        assert np.median(values) == pytest.approx((low * high) ** 0.5, rel=0.07)


def test_the_share_is_that_of_users_and_of_others(transformed: DatagenConfig) -> None:
    variants, rng = Variants(transformed), np.random.default_rng(1)
    n = 2000
    users = [variants.of_user("asterisk-en@1.08", lambda purpose: rng) for _ in range(n)]
    others = [variants.of_other(rng) for _ in range(n)]
    for voices in (users, others):
        share = sum(transform_of(voice) is not None for voice in voices) / n
        assert share == pytest.approx(0.6, abs=0.04)
    assert Counter(map(speaker_of, users)) == {"asterisk-en": n}


def test_recordings_of_other_people_are_as_they_are_in_the_test(
    transformed: DatagenConfig,
) -> None:
    variants, rng = Variants(replace(transformed, split="test")), np.random.default_rng(1)
    assert {variants.of_other(rng) for _ in range(50)} == {""}


def test_kinds_of_phrase_have_the_same_voices(transformed: DatagenConfig, bank: UnitBank) -> None:
    """A backchannel and a phrase that stops the agent are transformed as often, and alike."""
    mixture, rng = VoiceMixture(bank, transformed), np.random.default_rng(2)
    speaker = next(name for _ in range(99) if (name := mixture.draw(rng)))
    kinds = {
        "backchannel": lambda: mixture.backchannel(rng, speaker, voice="asterisk-en@1.08"),
        "stop": lambda: mixture.stop(rng, speaker, voice="asterisk-en@1.08"),
    }
    shares = {
        kind: np.mean([transform_of(say().voice) is not None for _ in range(150)])
        for kind, say in kinds.items()
    }
    assert abs(shares["backchannel"] - shares["stop"]) < 3.3 * np.sqrt(2 * 0.24 / 150)


def test_words_of_a_slower_voice_take_as_much_longer(bank: UnitBank) -> None:
    slow, fast = (
        bank.user("one moment please", f"asterisk-en~p150f1t{tempo}i1") for tempo in (0.7, 1.4)
    )
    assert slow.n_samples / fast.n_samples == pytest.approx(2.0, rel=0.05)
    for one, other in zip(slow.words, fast.words, strict=True):
        assert one.text == other.text
        assert one.start_sample == pytest.approx(2 * other.start_sample, abs=400)
    assert speed_of(slow.voice) == 0.7
    level = 10 * np.log10(np.mean(np.square(slow.audio)))
    assert level == pytest.approx(VoicesConfig().user_level_db, abs=0.5)


def test_a_word_within_a_prompt_can_be_transformed(bank: UnitBank) -> None:
    prompt = next(
        u for u in bank.corpus.filter(speaker="asterisk-en") if len(u.words) > 5 and u.cuts
    )
    number = prompt.cuts[0].word
    plain = bank.cut(prompt, number)
    slow = bank.cut(prompt, number, "~p120f1.1t0.7i1")
    assert slow.n_samples == pytest.approx(plain.n_samples / 0.7, rel=0.2)
    assert slow.words[0].end_sample == slow.n_samples


def test_kept_sound_is_bounded(transformed: DatagenConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microturn.datagen.dialogue.units._KEPT_BYTES", 200_000)
    bank = UnitBank(open_corpora(""), transformed)
    first = bank.user("seven", "asterisk-en@1.08").audio
    for number in range(12):
        bank.user("one moment please", f"asterisk-en@1.{number + 10}")
    assert sum(unit.audio.nbytes for unit in bank._units.values()) <= 200_000
    again = bank.user("seven", "asterisk-en@1.08").audio
    assert np.array_equal(first, again)


def test_without_a_share_nobody_is_transformed(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    simulator = simulator_for(config)
    assert simulator.bank.variants.transforms == ()
    assert all("~" not in simulator.recipe(index).voice for index in range(40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 1.5}, r"voices.transform.share=1.5 must be between 0 and 1"),
        ({"n_voices": 0}, r"voices.transform.n_voices=0 must be at least 1"),
        ({"tempo": (1.4, 0.7)}, r"tempo=\[1.4, 0.7\] must be two rising numbers between 0.5 and 2"),
        ({"pitch_hz": (10.0, 300.0)}, r"pitch_hz=\[10.0, 300.0\] must be .* between 50 and 500"),
        ({"pitch_method": "swipe"}, r"pitch_method='swipe' is not one of dio, harvest"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformConfig(**changes)  # type: ignore[arg-type]


def test_a_low_sample_rate_is_refused(transformed: DatagenConfig) -> None:
    layout = replace(transformed.layout, sample_rate=8000)
    with pytest.raises(ValueError, match=r"sample_rate=8000 is too low for voices.transform"):
        replace(transformed, layout=layout)
