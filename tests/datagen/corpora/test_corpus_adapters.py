"""Every layout of a corpus, built from recorded speech exactly as it comes, is taken in whole."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.adapters import FORMATS, format_of
from microturn.datagen.corpora.add import SKIPPED_NAME, add_corpus
from microturn.datagen.corpora.alignment.aligner import Aligner
from microturn.datagen.corpora.config import FORMAT_NAMES, CorpusAddConfig
from microturn.datagen.corpora.conversations.layouts import LAYOUTS
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import AlignedWord, Utterance

RATE = 16_000
Lines = dict[str, list[Utterance]]  # by speaker


@pytest.fixture(scope="module")
def lines(shipped: Corpus) -> Lines:
    """Three lines of each of four speakers, 1 to 4 s."""
    found: Lines = {}
    for utterance in shipped.filter(source="amazon-queen"):
        scores = [cut.score for cut in utterance.cuts]
        if (
            1 < utterance.duration_s < 4
            and len(utterance.words) >= 4
            and min(scores, default=0) > -40
        ):
            found.setdefault(utterance.speaker, []).append(utterance)
    return {name: found[name][:3] for name in sorted(found, key=lambda n: -len(found[n]))[:4]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Alignments, so that each line is aligned once in this file."""
    return str(tmp_path_factory.mktemp("cache"))


Take = Callable[..., tuple[Corpus, dict[str, Any]]]


@pytest.fixture
def take(tmp_path: Path, cache: str) -> Take:
    """`microturn corpus add SOURCE`, and the corpus that it makes."""

    def call(source: Path | str, **keys: Any) -> tuple[Corpus, dict[str, Any]]:
        out = tmp_path / "taken"
        config = CorpusAddConfig(
            **{"source": str(source), "out": str(out), "workers": 1, "cache": cache, **keys}
        )
        facts = add_corpus(config)
        return Corpus.open(config.out), facts

    return call


def sound_of(shipped: Corpus, utterance: Utterance, rate: int = RATE) -> np.ndarray:
    audio = np.asarray(shipped.load(utterance))
    return np.repeat(audio, rate // RATE)


def given(utterance: Utterance) -> tuple[AlignedWord, ...]:
    """Its words as of a corpus that states their times."""
    return tuple(replace(word, times="given") for word in utterance.words)


def said(utterance: Utterance) -> str:
    return " ".join(word.text for word in utterance.words)


def same_sound(taken: Corpus, name: str, expected: np.ndarray) -> bool:
    """Sample by sample, to the step of 16-bit files."""
    got = taken.load(taken[name])
    return len(got) == len(expected) and np.abs(got - np.clip(expected, -1, 1)).max() < 2 / 32768


def skipped_of(corpus: Corpus) -> str:
    return (corpus.folder / SKIPPED_NAME).read_text()


def librispeech(root: Path, shipped: Corpus, lines: Lines) -> dict[str, Utterance]:
    """LibriSpeech/SUBSET/SPEAKER/CHAPTER; the last speaker is in dev-clean."""
    made = {}
    for number, utterances in enumerate(lines.values()):
        subset = "dev-clean" if number == len(lines) - 1 else "train-clean-100"
        speaker = 100 + number
        folder = root / "LibriSpeech" / subset / str(speaker) / "7"
        folder.mkdir(parents=True)
        rows = []
        for i, utterance in enumerate(utterances):
            name = f"{speaker}-7-{i:04d}"
            soundfile.write(folder / f"{name}.flac", sound_of(shipped, utterance), RATE)
            rows.append(f"{name} {said(utterance).upper()}\n")
            made[name] = utterance
        (folder / f"{speaker}-7.trans.txt").write_text("".join(rows))
    (root / "LibriSpeech" / "README.TXT").write_text("...")
    return made


def test_librispeech_keeps_its_split_its_files_and_gets_word_times(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    made = librispeech(tmp_path, shipped, lines)
    corpus, facts = take(tmp_path / "LibriSpeech")
    fresh, apart_s = Aligner(), list[float]()
    assert facts["format"] == "librispeech"
    assert facts["recordings"] == len(made) == 12
    assert set(facts["word_times"]) == {"aligned"}
    assert facts["speakers"] == {"test": 1, "train": 3}
    for name, original in made.items():
        utterance = corpus[f"librispeech/{name}"]
        assert utterance.text == said(original)
        assert utterance.speaker == f"librispeech-{name.split('-')[0]}"
        assert utterance.split == ("test" if name.startswith("103") else "train")
        assert utterance.licence == "CC-BY-4.0"
        assert same_sound(corpus, utterance.id, sound_of(shipped, original))
        for word, expected in zip(utterance.words, original.words, strict=True):
            assert word.text == expected.text
            apart_s.append(abs(word.start_s - expected.start_s))
        again = fresh.align(corpus.load(utterance), RATE, text=utterance.text)
        assert again is not None
        for word, expected in zip(utterance.words, again.words, strict=True):
            assert word == expected
    assert np.median(apart_s) <= 0.01
    assert np.mean(np.array(apart_s) <= 0.08) > 0.95
    stored = next((tmp_path / "LibriSpeech").glob("**/100-7-0000.flac")).read_bytes()
    one = corpus["librispeech/100-7-0000"]
    with (tmp_path / "taken" / one.tar).open("rb") as file:
        file.seek(one.offset)
        assert file.read(one.size) == stored, "a FLAC file goes in as it is"


def test_alignment_files_of_librispeech_are_believed(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    made = librispeech(tmp_path, shipped, lines)
    for transcript in (tmp_path / "LibriSpeech").glob("**/*.trans.txt"):
        rows = []
        for line in transcript.read_text().splitlines():
            name = line.split()[0]
            texts, ends, last = [], [], 0.0
            for word in made[name].words:
                if word.start_s > last:
                    texts.append("")
                    ends.append(word.start_s)
                texts.append(word.text.upper())
                ends.append(word.end_s)
                last = word.end_s
            texts, ends = [*texts, ""], [*ends, made[name].duration_s]
            rows.append(f'{name} "{",".join(texts)}" "{",".join(map(str, ends))}"\n')
        transcript.with_name(transcript.name.replace("trans", "alignment")).write_text(
            "".join(rows)
        )
    corpus, facts = take(tmp_path / "LibriSpeech", align=False)
    assert set(facts["word_times"]) == {"given"}
    for name, original in made.items():
        assert corpus[f"librispeech/{name}"].words == given(original)


def test_ljspeech(tmp_path: Path, shipped: Corpus, lines: Lines, take: Take) -> None:
    root = tmp_path / "LJSpeech-1.1"
    (root / "wavs").mkdir(parents=True)
    utterances = next(iter(lines.values()))
    rows = []
    for i, utterance in enumerate(utterances):
        name = f"LJ001-{i:04d}"
        audio = sound_of(shipped, utterance)
        soundfile.write(root / "wavs" / f"{name}.wav", audio, 22_050, subtype="PCM_16")
        rows.append(f'{name}|"{utterance.text}" 2.|{said(utterance)}\n')
    (root / "metadata.csv").write_text("".join(rows))
    corpus, facts = take(root, align=False)
    assert facts["format"] == "ljspeech"
    assert facts["speakers"] == {"train": 1}
    assert facts["licences"] == ["LicenseRef-Public-Domain"]
    one = corpus["ljspeech-1/LJ001-0000"]
    assert one.text == said(utterances[0])
    assert one.sample_rate == 16_000, "brought down from 22.05 kHz"
    assert one.duration_s == pytest.approx(utterances[0].duration_s * 16_000 / 22_050, abs=0.001)


def test_common_voice(tmp_path: Path, shipped: Corpus, lines: Lines, take: Take) -> None:
    root = tmp_path / "cv-corpus-17.0" / "en"
    (root / "clips").mkdir(parents=True)
    tables: dict[str, list[list[str]]] = {"train": [], "dev": [], "test": [], "validated": []}
    made, clients = {}, []
    for number, utterances in enumerate(lines.values()):
        client = f"{number}{'ab' * 63}c"
        clients.append(client)
        for i, utterance in enumerate(utterances):
            name = f"common_voice_en_{number}{i:03d}"
            audio = sound_of(shipped, utterance)
            soundfile.write(root / "clips" / f"{name}.mp3", audio, RATE, format="MP3")
            row = [client, f"{name}.mp3", utterance.text, "2", "0", "", "male", "", "en", ""]
            # Of the first two speakers one recording is in no table of the official split.
            official = ("train", "test", "dev", "")[number]
            if official and i:
                tables[official].append(row)
            tables["validated"].append(row)
            made[name] = utterance
    head = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents"]
    head += ["locale", "segment"]
    for table, rows in tables.items():
        with (root / f"{table}.tsv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(
                file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar=None, quotechar=None
            )
            writer.writerows([head, *rows])
    corpus, facts = take(tmp_path / "cv-corpus-17.0", align=False, name="cv")
    assert facts["format"] == "common_voice"
    assert facts["recordings"] == len(made)
    assert facts["licences"] == ["CC0-1.0"]
    sides = {
        client: {u.split for u in corpus if u.speaker == f"cv-{client[:16]}"} for client in clients
    }
    assert [sides[client] for client in clients[:3]] == [{"train"}, {"test"}, {"test"}]
    assert len(sides[clients[3]]) == 1
    one = corpus["cv/common_voice_en_0000"]
    assert one.language == "en"
    original, got = sound_of(shipped, made["common_voice_en_0000"]), corpus.load(one)
    n = min(len(original), len(got))
    assert np.corrcoef(got[:n], original[:n])[0, 1] > 0.98, "an MP3 goes in as it is"


@pytest.mark.parametrize("release", ["0.80", "0.92"])
def test_vctk(release: str, tmp_path: Path, shipped: Corpus, lines: Lines, take: Take) -> None:
    root, rate = tmp_path / "VCTK-Corpus", 48_000
    new = release == "0.92"
    audio_folder = "wav48_silence_trimmed" if new else "wav48"
    for number, utterances in enumerate(lines.values()):
        speaker = f"p{225 + number}"
        (root / audio_folder / speaker).mkdir(parents=True)
        (root / "txt" / speaker).mkdir(parents=True)
        for i, utterance in enumerate(utterances, start=1):
            stem = root / audio_folder / speaker / f"{speaker}_{i:03d}"
            for mic in ("_mic1.flac", "_mic2.flac") if new else (".wav",):
                gain = 0.5 if "mic2" in mic else 1.0
                audio = gain * sound_of(shipped, utterance, rate)
                soundfile.write(f"{stem}{mic}", audio, rate, subtype="PCM_16")
            text = root / "txt" / speaker / f"{speaker}_{i:03d}.txt"
            if (number, i) != (1, 2):  # as with p315, a text is lost
                text.write_text(f"{utterance.text}\n")
    corpus, facts = take(root, align=False)
    assert facts["format"] == "vctk"
    assert facts["recordings"] == 11
    assert facts["skipped"] == {"no_text": 1}
    assert sum(facts["speakers"].values()) == 4
    assert facts["speakers"]["test"] == 1, "one of four speakers is held out"
    first = next(iter(lines.values()))[0]
    got = corpus.load(corpus["vctk-corpus/p225_001"])
    assert np.corrcoef(got, sound_of(shipped, first))[0, 1] > 0.95
    level = np.abs(got).max() / np.abs(sound_of(shipped, first)).max()
    assert level == pytest.approx(1.0, abs=0.1), "the first microphone, not the second"


def test_a_jsonl_manifest_with_parts_of_files_words_and_languages(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    root = tmp_path / "mine"
    (root / "audio").mkdir(parents=True)
    first, second, third = next(iter(lines.values()))
    long = np.concatenate([sound_of(shipped, first), sound_of(shipped, second)])
    soundfile.write(root / "audio" / "long.wav", long, RATE, subtype="PCM_16")
    alone = sound_of(shipped, third)
    sides = np.stack([0 * alone, alone], axis=1)
    soundfile.write(root / "audio" / "stereo.flac", sides, RATE, subtype="PCM_16")
    rows: list[dict[str, Any]] = [
        {
            "audio_filepath": "audio/long.wav",
            "offset": 0.0,
            "duration": len(sound_of(shipped, first)) / RATE,
            "text": first.text,
            "speaker": "ann",
            "split": "train",
            "words": [{"word": w.text, "start": w.start_s, "end": w.end_s} for w in first.words],
        },
        {
            "id": "two",
            "audio": "audio/long.wav",
            "offset": len(sound_of(shipped, first)) / RATE,
            "duration": len(sound_of(shipped, second)) / RATE,
            "transcript": second.text,
            "speaker_id": "bob",
            "subset": "validation",
            "license": "CC0-1.0",
        },
        {
            "path": "audio/stereo.flac",
            "channel": 1,
            "text": third.text,
            "lang": "cs",
            "id": "three",
        },
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "manifest.jsonl").write_text(text + "{broken\n" + '{"text": "no file"}\n')
    corpus, facts = take(root / "manifest.jsonl", name="mine")
    assert facts["format"] == "jsonl"
    assert [*facts["word_times"]] == ["aligned", "given", "unknown"]
    assert facts["skipped"] == {"entry": 2}
    one, two, three = corpus.utterances
    assert (one.speaker, one.split, one.words) == ("mine-ann", "train", given(first))
    assert one.licence == "LicenseRef-Unknown"
    assert (two.id, two.speaker, two.split, two.licence) == (
        "mine/two",
        "mine-bob",
        "test",
        "CC0-1.0",
    )
    assert said(two) == said(second)
    assert same_sound(corpus, one.id, sound_of(shipped, first))
    assert same_sound(corpus, two.id, sound_of(shipped, second))
    assert same_sound(corpus, three.id, sound_of(shipped, third))
    assert (three.language, three.speaker) == ("cs", "")
    assert len(three.words) == 1, "nobody knows its word times: one piece from first to last sound"
    skipped = [json.loads(line) for line in skipped_of(corpus).splitlines()]
    assert [row["reason"].split(":")[0] for row in skipped] == ["line 4", "line 5"]


def kaldi(root: Path, shipped: Corpus, lines: Lines) -> dict[str, Utterance]:
    """A meeting as AMI comes: one long file, segments of two speakers, words in a CTM."""
    root.mkdir()
    made, spans, pieces, place = {}, {}, [], 0
    for speaker, utterances in list(lines.items())[:2]:
        for i, utterance in enumerate(utterances):
            audio = sound_of(shipped, utterance)
            name = f"AMI_EN2001a_{speaker}_{i:07d}"
            spans[name] = (place / RATE, (place + len(audio)) / RATE)
            made[name] = utterance
            pieces += [audio, np.zeros(RATE // 2, np.float32)]
            place += len(audio) + RATE // 2
    soundfile.write(root / "EN2001a.wav", np.concatenate(pieces), RATE, subtype="PCM_16")
    tables = {
        "wav.scp": ["EN2001a EN2001a.wav", "EN2001b lame --decode x.mp3 - |"],
        "segments": [f"{name} EN2001a {a:.6f} {b:.6f}" for name, (a, b) in spans.items()],
        "text": [f"{name} {said(made[name]).upper()}" for name in made],
        "utt2spk": [f"{name} {name.split('_')[2]}" for name in made],
    }
    tables["segments"].append("AMI_EN2001b_x_0000000 EN2001b 0.0 1.0")
    tables["text"] += ["AMI_EN2001b_x_0000000 HELLO", "AMI_EN2001b_x_0000001 HELLO"]
    for table, rows in tables.items():
        (root / table).write_text("".join(f"{row}\n" for row in rows))
    ctm = [
        f"{name} 1 {word.start_s:.4f} {word.end_s - word.start_s:.4f} {word.text} 1.00\n"
        for name, utterance in made.items()
        for word in utterance.words
    ]
    (root / "words.ctm").write_text("".join(ctm))
    return made


def test_segments_of_meetings_with_a_ctm(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    made = kaldi(tmp_path / "ami", shipped, lines)
    corpus, facts = take(tmp_path / "ami", alignments=str(tmp_path / "ami" / "words.ctm"))
    assert facts["format"] == "segments"
    assert set(facts["word_times"]) == {"given"}
    assert facts["skipped"] == {"entry": 2}
    reasons = skipped_of(corpus)
    assert "the command 'lame --decode x.mp3 - |', which is not run" in reasons
    assert "segments has no file, start and end for it" in reasons
    for name, original in made.items():
        utterance = corpus[f"ami/{name}"]
        assert same_sound(corpus, utterance.id, sound_of(shipped, original))
        assert [word.text for word in utterance.words] == [word.text for word in original.words]
        assert utterance.words[1].start_s == pytest.approx(original.words[1].start_s, abs=0.001)
        assert utterance.speaker == f"ami-{original.speaker}"


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {duration}
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = {duration}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {duration}
            text = "AH0"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = {duration}
        intervals: size = {n}
{intervals}"""


def textgrid(utterance: Utterance, *, short: bool) -> str:
    """What the Montreal forced aligner writes, or Praat's short form of it."""
    rows, last = [], 0.0
    for word in utterance.words:
        if word.start_s > last:
            rows.append((last, word.start_s, ""))
        rows.append((word.start_s, word.end_s, word.text))
        last = word.end_s
    duration = utterance.duration_s
    if short:
        values = "".join(f'{a}\n{b}\n"{text}"\n' for a, b, text in rows)
        head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        tiers = f'"IntervalTier"\n"words"\n0\n{duration}\n{len(rows)}\n{values}'
        return f"{head}0\n{duration}\n<exists>\n1\n{tiers}"
    intervals = "".join(
        f"        intervals [{i}]:\n            xmin = {a}\n            xmax = {b}\n"
        f'            text = "{text}"\n'
        for i, (a, b, text) in enumerate(rows, start=1)
    )
    return TEXTGRID.format(duration=duration, n=len(rows), intervals=intervals)


def test_files_with_texts_and_word_times_beside_them(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    root, made = tmp_path / "prompts", {}
    for number, (speaker, utterances) in enumerate(lines.items()):
        folder = root / ("test" if number == 0 else "train") / speaker
        folder.mkdir(parents=True)
        for utterance, how in zip(utterances, ("long", "short", "json"), strict=True):
            soundfile.write(folder / f"{how}.wav", sound_of(shipped, utterance), RATE)
            (folder / f"{how}.{'lab' if how == 'long' else 'txt'}").write_text(utterance.text)
            if how == "json":
                moshi = {
                    "alignments": [[w.text, [w.start_s, w.end_s], "X"] for w in utterance.words]
                }
                (folder / "json.json").write_text(json.dumps(moshi))
            else:
                data = textgrid(utterance, short=how == "short")
                code = "utf-16" if how == "short" else "utf-8"
                (folder / f"{how}.TextGrid").write_bytes(data.encode(code))
            made[folder.relative_to(root) / how] = utterance
    corpus, facts = take(root)
    assert facts["format"] == "files"
    assert set(facts["word_times"]) == {"given"}
    for place, original in made.items():
        utterance = corpus[f"prompts/{place.as_posix()}"]
        assert utterance.words == given(original)
        assert utterance.speaker == f"prompts-{original.speaker}"
        assert utterance.split == place.parts[0]


def test_lhotse_manifests_and_cuts_written_by_lhotse(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    lhotse = pytest.importorskip("lhotse")
    from lhotse.supervision import AlignmentItem

    made, recordings, supervisions = {}, [], []
    for number, utterances in enumerate(list(lines.values())[:2]):
        audio = np.concatenate([sound_of(shipped, utterance) for utterance in utterances])
        path = tmp_path / f"rec{number}.flac"
        soundfile.write(path, audio, RATE)
        recordings.append(lhotse.Recording.from_file(path))
        start = 0.0
        for i, utterance in enumerate(utterances):
            name, duration = f"rec{number}-{i}", len(shipped.load(utterance)) / RATE
            words = [
                AlignmentItem(w.text, round(start + w.start_s, 4), round(w.end_s - w.start_s, 4))
                for w in utterance.words
            ]
            supervisions.append(
                lhotse.SupervisionSegment(
                    id=name,
                    recording_id=f"rec{number}",
                    start=start,
                    duration=duration,
                    text=utterance.text,
                    speaker=f"s{number}",
                    language="English",
                    alignment={"word": words},
                )
            )
            made[name] = utterance
            start += duration
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    recording_set = lhotse.RecordingSet.from_recordings(recordings)
    supervision_set = lhotse.SupervisionSet.from_segments(supervisions)
    recording_set.to_file(manifests / "mine_recordings_train.jsonl.gz")
    supervision_set.to_file(manifests / "mine_supervisions_train.jsonl.gz")
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    lhotse.CutSet.from_manifests(
        recordings=recording_set, supervisions=supervision_set
    ).trim_to_supervisions(keep_overlapping=False).to_file(cuts / "mine_cuts_train.jsonl.gz")
    for root in (manifests, cuts):
        corpus, facts = take(root, name="mine", out=str(tmp_path / f"{root.name}-taken"))
        assert facts["format"] == "lhotse"
        assert set(facts["word_times"]) == {"given"}
        assert facts["speakers"] == {"train": 2}
        for utterance, original in zip(corpus, made.values(), strict=True):
            assert utterance.language == "en"
            assert same_sound(corpus, utterance.id, sound_of(shipped, original))
            for word, expected in zip(utterance.words, original.words, strict=True):
                assert word.text == expected.text
                assert word.start_s == pytest.approx(expected.start_s, abs=0.001)


@pytest.mark.parametrize("kind", ["save_to_disk", "parquet"])
def test_folders_of_hugging_face_datasets(
    kind: str, tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    datasets = pytest.importorskip("datasets")
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    made = {}
    for number, utterances in enumerate(lines.values()):
        for i, utterance in enumerate(utterances):
            path = tmp_path / f"{number}-{i}.flac"
            soundfile.write(path, sound_of(shipped, utterance), RATE)
            row = {
                "audio": {"path": path.name, "bytes": path.read_bytes()},
                "utterance": utterance.text,
                "speaker_id": number,
            }
            rows["test" if number == 0 else "train"].append(row)
            made[path.stem] = utterance
    parts = {
        name: datasets.Dataset.from_list(part).cast_column("audio", datasets.Audio(decode=False))
        for name, part in rows.items()
    }
    root = tmp_path / "hub"
    if kind == "parquet":
        (root / "data").mkdir(parents=True)
        for name, part in parts.items():
            part.to_parquet(root / "data" / f"{name}-00000-of-00001.parquet", batch_size=4)
    else:
        datasets.DatasetDict(parts).save_to_disk(root)
    corpus, facts = take(root, columns={"text": "utterance"}, align=False)
    assert facts["format"] == "huggingface"
    assert facts["recordings"] == len(made)
    assert facts["speakers"] == {"test": 1, "train": 3}
    for name, original in made.items():
        utterance = corpus[f"hub/{name}"]
        assert utterance.text == original.text
        assert utterance.speaker == f"hub-{name[0]}"
        assert same_sound(corpus, utterance.id, sound_of(shipped, original))


def test_formats_are_found_by_what_they_hold_and_listed_in_the_help(tmp_path: Path) -> None:
    assert {form.name for form in (*FORMATS, *LAYOUTS)} | {"auto"} == set(FORMAT_NAMES)
    with pytest.raises(ValueError, match=r"has none of the known layouts .*docs/corpora\.md"):
        format_of(tmp_path, "auto")
    with pytest.raises(ValueError, match="does not have the layout vctk: it needs txt/ and wav48"):
        format_of(tmp_path, "vctk")
    with gzip.open(tmp_path / "x_cuts.jsonl.gz", "wt") as file:
        file.write("{}\n")
    assert format_of(tmp_path, "auto").name == "lhotse"


def test_two_workers_make_the_same_bytes(
    tmp_path: Path, shipped: Corpus, lines: Lines, take: Take
) -> None:
    librispeech(tmp_path, shipped, {name: [*some, *some] for name, some in lines.items()})
    take(tmp_path / "LibriSpeech")
    alone = {p.name: p.read_bytes() for p in (tmp_path / "taken").iterdir()}
    take(tmp_path / "LibriSpeech", workers=2, out=str(tmp_path / "by-two"))
    both = {p.name: p.read_bytes() for p in (tmp_path / "by-two").iterdir()}
    del alone["config.yaml"], both["config.yaml"]
    assert alone == both
