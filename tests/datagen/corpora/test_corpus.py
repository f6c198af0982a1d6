"""The shipped recordings: every line of the manifest is what it says, and errors say what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME, Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.model.streams import normalise

SAMPLE = 150
SPOKEN_FLOOR = 0.01  # peak of the quietest recording that still counts as sound
MUST_HAVE = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred first second third monday tuesday wednesday thursday friday saturday sunday january "
    "december plus minus equals hello goodbye seconds minutes hours time number from for is with "
    "o'clock alpha bravo charlie zulu a z"
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.open()


def sample(corpus: Corpus) -> list[Utterance]:
    order = np.random.default_rng(0).permutation(len(corpus))[:SAMPLE]
    return [corpus.utterances[i] for i in order]


def test_sampled_recordings_decode_and_sound(corpus: Corpus) -> None:
    for utterance in sample(corpus):
        audio = corpus.load(utterance)
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert abs(len(audio) / corpus.sample_rate - utterance.duration_s) < 0.001, utterance.id
        assert np.isfinite(audio).all()
        assert np.abs(corpus.trimmed(utterance)).max() > SPOKEN_FLOOR, utterance.id


def test_words_lie_inside_in_order_and_sound(corpus: Corpus) -> None:
    for utterance in corpus:
        starts = [word.start_s for word in utterance.words]
        assert starts == sorted(starts), utterance.id
        for part in (*utterance.words, *utterance.cuts):
            assert 0 <= part.start_s < part.end_s <= utterance.duration_s + 0.01, utterance.id
    for utterance in sample(corpus):
        for cut in utterance.cuts:
            assert np.abs(corpus.word(utterance, cut.word)).max() > SPOKEN_FLOOR, utterance.id


def test_words_say_the_text(corpus: Corpus) -> None:
    for utterance in corpus.filter(language="en"):
        said = " ".join(word.text for word in utterance.words)
        assert said.split() == [w for w in normalise(utterance.text).split() if w.strip("'")]


def test_the_agents_voice_has_the_words_it_needs(corpus: Corpus) -> None:
    texts = {utterance.text for utterance in corpus.filter(speaker="asterisk-en", tag="word")}
    assert set(MUST_HAVE.split()) <= texts
    phrases = {normalise(u.text) for u in corpus.filter(speaker="asterisk-en", tag="phrase")}
    assert {"one moment please", "thank you", "i'm sorry", "a m", "p m"} <= phrases


def test_digits_and_letters_are_parallel_in_five_languages(corpus: Corpus) -> None:
    for tag in ("digit", "letter"):
        english = {u.key for u in corpus.filter(speaker="asterisk-en", tag=tag)}
        for language in ("es", "fr", "it", "ru"):
            assert english - {"letters/zed"} == {
                u.key for u in corpus.filter(language=language, tag=tag)
            }


def test_splits_share_no_speaker_and_both_have_what_a_dialogue_needs(corpus: Corpus) -> None:
    lines = corpus.filter(source="amazon-queen")
    train = {u.speaker for u in lines if u.split == "train"}
    test = {u.speaker for u in lines if u.split == "test"}
    assert not train & test
    assert len(train | test) >= 40
    assert {u.split for u in corpus.filter(source="asterisk")} == {"any"}
    for split in ("train", "test"):
        for tag in ("backchannel", "interruption", "greeting", "digit", "question", "imperative"):
            assert any(u.split == split and tag in u.tags for u in lines), (split, tag)
    assert len(corpus.filter(split="train")) + len(corpus.filter(split="test")) > len(corpus)


def test_pairs_have_two_sides(corpus: Corpus) -> None:
    pairs: dict[str, set[str]] = {}
    for utterance in corpus.filter(source="amazon-queen"):
        for tag in utterance.tags:
            if tag.startswith("pair:"):
                pairs.setdefault(tag, set()).add(utterance.speaker)
    assert len(pairs) > 200
    assert all(len(speakers) == 2 for speakers in pairs.values())


def test_clean_cuts_of_a_word_have_a_plausible_length(corpus: Corpus) -> None:
    found = corpus.find_words("one", at_least="usable")
    assert len({utterance.speaker for utterance, _ in found}) >= 3
    for utterance, index in found:
        assert 0.08 <= len(corpus.word(utterance, index)) / corpus.sample_rate <= 1.5


def test_every_licence_travels_with_the_recordings(corpus: Corpus) -> None:
    folder = DEFAULT_FOLDER / "LICENCES"
    text = _read(folder, "asterisk-core-sounds-en-g722")  # of all five languages
    assert "License: CC-BY-SA-3.0" in text
    assert "License: CC-BY-3.0" in text
    assert "Attribution-ShareAlike" in _read(folder, "asterisk-moh-opsound-g722")
    assert "prominent notice" in _read(folder, "flight-of-the-amazon-queen")
    readme = (folder / "flight-of-the-amazon-queen.readme.txt").read_text(encoding="latin1")
    assert "provided this readme" in " ".join(readme.lower().split())
    assert "modified selection" in (DEFAULT_FOLDER / "README.md").read_text(encoding="utf-8")
    assert {utterance.licence for utterance in corpus} == {
        "CC-BY-SA-3.0",
        "CC-BY-3.0",
        "LicenseRef-Flight-of-the-Amazon-Queen",
    }


def _read(folder: Path, package: str) -> str:
    return (folder / f"{package}.copyright").read_text(encoding="utf-8")


def test_the_folder_stays_small() -> None:
    files = [path for path in DEFAULT_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 38 * 2**20


def test_decoded_audio_is_shared_and_cannot_be_changed(corpus: Corpus) -> None:
    utterance = corpus["asterisk-en/digits/1"]
    audio = corpus.load(utterance)
    assert corpus.load(utterance) is audio
    with pytest.raises(ValueError, match="read-only"):
        audio[0] = 1.0


def test_another_sample_rate_keeps_the_length_in_seconds(corpus: Corpus) -> None:
    slow = Corpus.open(sample_rate=8_000)
    utterance = slow["asterisk-en/digits/1"]
    assert abs(len(slow.load(utterance)) / 8_000 - utterance.duration_s) < 0.001


def test_a_manifest_line_survives_json(corpus: Corpus) -> None:
    for utterance in sample(corpus):
        assert Utterance.from_json(json.loads(json.dumps(utterance.to_json()))) == utterance


def small_copy(folder: Path, corpus: Corpus) -> Path:
    """A folder whose manifest has one line, and the tar that it names."""
    utterance = corpus["music/reno_project-system"]
    shutil.copy(DEFAULT_FOLDER / utterance.tar, folder)
    (folder / MANIFEST_NAME).write_text(json.dumps(utterance.to_json()) + "\n", encoding="utf-8")
    return folder


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="There is no corpus folder .*default_corpus/build.py"
    ):
        Corpus.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no manifest.jsonl; rebuild it"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('{"id"', "{id", "line 1: .*rebuild it"),
        ('"split"', '"splat"', "line 1: field 'split' is missing; rebuild it"),
        ('"any"', '"both"', "line 1: field 'split' is 'both', not one of train, test, any"),
        ('"sample_rate": 16000', '"sample_rate": "16k"', "'sample_rate' is '16k', not int"),
        ('"end": 24.0', '"end": 99.0', "times 0.0 to 99.0 s are not inside the recording"),
    ],
)
def test_a_garbled_manifest_names_line_and_fault(
    tmp_path: Path, corpus: Corpus, old: str, new: str, sentence: str
) -> None:
    manifest = small_copy(tmp_path, corpus) / MANIFEST_NAME
    text = manifest.read_text(encoding="utf-8")
    assert old in text
    manifest.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        Corpus.open(tmp_path)


def test_an_empty_or_doubled_manifest_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    manifest = small_copy(tmp_path, corpus) / MANIFEST_NAME
    manifest.write_text(manifest.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(ValueError, match="has the id 'music/reno_project-system' twice"):
        Corpus.open(tmp_path)
    manifest.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="manifest.jsonl is empty"):
        Corpus.open(tmp_path)


def test_missing_and_short_tars_are_named(tmp_path: Path, corpus: Corpus) -> None:
    tar = small_copy(tmp_path, corpus) / "music.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(ValueError, match="music.tar is shorter than its manifest says"):
        Corpus.open(tmp_path)
    tar.unlink()
    with pytest.raises(FileNotFoundError, match="lacks music.tar, named in its manifest"):
        Corpus.open(tmp_path)


def test_bytes_that_are_no_sound_are_named(tmp_path: Path, corpus: Corpus) -> None:
    tar = small_copy(tmp_path, corpus) / "music.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    broken = Corpus.open(tmp_path)
    with pytest.raises(ValueError, match="reno_project-system.opus: the file cannot be decoded"):
        broken.load(broken.utterances[0])
