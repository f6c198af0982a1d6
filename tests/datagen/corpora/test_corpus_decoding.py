"""Sound and text of other people's files: what is mended, what is skipped, and the reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.add import SKIPPED_NAME, add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.model.streams.pcm import Audio

RATE = 16_000


@pytest.fixture(scope="module")
def voice(shipped: Corpus, line: Utterance) -> Audio:
    """The line between half a second of silence on both sides."""
    silence = np.zeros(RATE // 2, np.float32)
    return np.concatenate([silence, shipped.trimmed(line), silence])


def write(path: Path, audio: Audio, text: str, **keys: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, **keys)
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def add(source: Path, out: Path, **keys: Any) -> tuple[Corpus, dict[str, Any], dict[str, str]]:
    """Add a corpus without aligning; returns it, its summary, and reasons by id."""
    settings = {"workers": 1, "cache": str(out.with_name("cache")), "align": False, **keys}
    summary = add_corpus(CorpusAddConfig(source=str(source), out=str(out), **settings))
    rows = (out / SKIPPED_NAME).read_text(encoding="utf-8").split("\n")
    skipped = [json.loads(row) for row in rows if row]
    return Corpus.open(out), summary, {row["id"]: row["reason"] for row in skipped}


@pytest.mark.parametrize("fault", ["clean", "no length", "scale", "offset", "rumble", "antiphase"])
def test_a_fault_of_the_file_moves_no_time_and_no_level(
    fault: str, tmp_path: Path, voice: Audio, line: Utterance, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in" / "ann" / "a.flac"
    if fault == "no length":
        data = bytearray(write(path, voice, line.text).read_bytes())
        data[21] &= 0xF0
        data[22:26] = bytes(4)
        path.write_bytes(data)
    elif fault == "scale":
        write(path.with_suffix(".wav"), voice * 32768, line.text, subtype="FLOAT")
    elif fault == "offset":
        write(path, voice + np.float32(0.01), line.text)
    elif fault == "rumble":
        seconds = np.arange(len(voice)) / RATE
        write(path, voice + 0.01 * np.sin(2 * np.pi * seconds).astype(np.float32), line.text)
    elif fault == "antiphase":
        write(path, np.stack([voice, -voice], axis=1), line.text)
    else:
        write(path, voice, line.text)
    corpus, summary, _ = add(tmp_path / "in", tmp_path / "out")
    (taken,) = corpus
    assert taken.start_s == pytest.approx(0.5, abs=0.02)
    assert taken.end_s == pytest.approx(len(voice) / RATE - 0.5, abs=0.03)
    assert np.abs(corpus.load(taken) - voice).max() < 2e-3
    notes = {"scale": "scale of whole numbers", "no length": "no length in the header"}
    notes |= {"offset": "offset", "rumble": "offset"}
    assert summary["mended"] == ({notes[fault]: 1} if fault in notes else {})
    said = capsys.readouterr().err
    assert ("mended files" in said) == (fault in notes)


def test_torn_and_headerless_files_are_skipped_with_the_reason(
    tmp_path: Path, voice: Audio, line: Utterance
) -> None:
    folder = tmp_path / "in"
    write(folder / "good.wav", voice, line.text)
    for name in ("torn.wav", "torn.flac", "torn.mp3"):
        data = write(folder / name, voice[100:], line.text).read_bytes()
        (folder / name).write_bytes(data[: int(0.7 * len(data))])
    (folder / "bare.raw").write_bytes((voice * 32767).astype("<i2").tobytes())
    names = ["good.wav", "torn.wav", "torn.flac", "torn.mp3", "bare.raw", "none.wav"]
    rows = [{"id": n, "audio_filepath": n, "text": line.text, "speaker": "ann"} for n in names]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus, summary, reasons = add(folder, tmp_path / "out", format="jsonl")
    assert [utterance.id for utterance in corpus] == ["in/good.wav"]
    assert summary["skipped"] == {"unreadable": 5}
    for name in names[1:4]:
        assert reasons[name].startswith("it is torn: its header says "), reasons[name]
    assert "none of the known formats; convert it to WAV or FLAC" in reasons["bare.raw"]
    assert reasons["none.wav"] == "the file is missing"


def test_a_broken_decoder_costs_its_recording_only(
    tmp_path: Path, voice: Audio, line: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in" / "a.wav", voice, line.text)
    write(tmp_path / "in" / "b.flac", voice[200:], line.text)
    whole = soundfile.SoundFile.read

    def read(self: soundfile.SoundFile, *args: Any, **keys: Any) -> Any:
        if self.format == "FLAC":
            raise ValueError("array is too big")
        return whole(self, *args, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(soundfile.SoundFile, "read", read)
        patch.setattr(Corpus, "load", lambda *_: None)
        _, summary, reasons = add(tmp_path / "in", tmp_path / "out")
    assert summary["recordings"] == 1
    assert reasons == {"b": "the file cannot be decoded (array is too big)"}


def test_segments_of_a_torn_recording_are_taken_up_to_the_tear(
    tmp_path: Path, voice: Audio, line: Utterance
) -> None:
    folder = tmp_path / "in"
    three = np.concatenate([voice, voice, voice])
    data = write(folder / "long.wav", three, "").read_bytes()
    (folder / "long.wav").write_bytes(data[: int(0.5 * len(data))])
    seconds = len(voice) / RATE
    rows = [
        {"audio_filepath": "long.wav", "text": line.text, "offset": i * seconds, "id": f"{i}"}
        | {"duration": seconds, "speaker": "ann"}
        for i in range(3)
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus, _, reasons = add(folder, tmp_path / "out", format="jsonl")
    assert [utterance.id for utterance in corpus] == ["in/0"]
    assert sorted(reasons) == ["1", "2"]
    assert all("its piece ends at" in reason for reason in reasons.values())


def test_texts_in_any_spelling_of_unicode_give_the_same_words(tmp_path: Path, voice: Audio) -> None:
    spellings = {
        "can\u2019t stop the caf\u00e9": "can't stop the caf\u00e9",
        "Can't stop the cafe\u0301": "can't stop the caf\u00e9",
        "मैं हिन्दी": "मैं हिन्दी",
    }
    for i, text in enumerate(spellings):
        write(tmp_path / "in" / f"{i}.wav", voice[i * 80 :], text)
    corpus, _, _ = add(tmp_path / "in", tmp_path / "out")
    found = [" ".join(word.text for word in utterance.words) for utterance in corpus]
    assert found == list(spellings.values())
    assert corpus["in/1"].text.endswith("caf\u00e9"), "texts are stored composed"


def test_other_alphabets_are_not_aligned_as_if_they_were_english(
    tmp_path: Path, voice: Audio
) -> None:
    write(tmp_path / "in" / "a.wav", voice, "привет мир")
    _, summary, _ = add(tmp_path / "in", tmp_path / "out", align=True)
    assert list(summary["word_times"]) == ["unknown"]


def test_a_text_in_another_encoding_is_named_with_its_file(
    tmp_path: Path, voice: Audio, line: Utterance
) -> None:
    folder = tmp_path / "in"
    write(folder / "a.wav", voice, line.text)
    write(folder / "b.wav", voice[80:], line.text)
    (folder / "b.txt").write_bytes("la ma\u00f1ana\n".encode("latin-1"))
    write(folder / "c.wav", voice[160:], line.text)
    (folder / "c.txt").write_bytes("one two".encode("utf-16-le"))
    for i, mark in enumerate(("utf-16", "utf-32", "utf-8-sig")):
        write(folder / f"{mark}.wav", voice[240 + 80 * i :], line.text)
        (folder / f"{mark}.txt").write_bytes(line.text.encode(mark))
    corpus, _, reasons = add(folder, tmp_path / "out")
    assert len(corpus) == 4
    assert len({utterance.text for utterance in corpus}) == 1
    assert (
        "b.txt, line 1, is not in UTF-8 (in ISO-8859-1 it would be 'ma\u00f1ana')" in reasons["b"]
    )
    assert "iconv -f ISO-8859-1 -t UTF-8" in reasons["b"]
    assert "is no text, or UTF-16 without its mark" in reasons["c"]


@pytest.mark.parametrize("form", ["ljspeech", "jsonl"])
def test_a_table_in_another_encoding_is_refused_with_the_line(
    form: str, tmp_path: Path, voice: Audio
) -> None:
    (tmp_path / "in" / "wavs").mkdir(parents=True)
    name = "metadata.csv" if form == "ljspeech" else "m.jsonl"
    rows = ['{"text": "one"}', '{"text": "\u201cdos\u201d ma\u00f1ana"}']
    (tmp_path / "in" / name).write_bytes("\n".join(rows).encode("cp1252"))
    reason = rf"{name}, line 2, is not in UTF-8 \(in WINDOWS-1252"
    with pytest.raises(ValueError, match=reason):
        add(tmp_path / "in", tmp_path / "out", format=form)


def test_names_that_are_not_in_utf8_are_escaped(
    tmp_path: Path, voice: Audio, line: Utterance
) -> None:
    folder = write(tmp_path / "in" / "jose" / "a.wav", voice, line.text).parent
    folder = folder.rename(folder.with_name("jos\udce9"))  # named in Latin-1
    rows = [{"audio_filepath": str(folder / "a.wav"), "text": "half \ud83d", "speaker": "b\ud83d"}]
    (tmp_path / "in" / "m.json").write_text(json.dumps(rows[0]))
    corpus, _, _ = add(tmp_path / "in", tmp_path / "out", format="files")
    (taken,) = corpus
    assert taken.speaker == "in-jos\\xe9"
    with pytest.raises(ValueError, match="its text has half of a character"):
        add(tmp_path / "in" / "m.json", tmp_path / "out2", format="jsonl")
