"""Small conversations as corpora have them on disk, made from recordings that ship.

`talk` makes one of two to four people on one clock; `write_...` writes it in a layout; the faults
that real sets have are functions of a talk, or of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from microturn.datagen.corpora.manifest import Corpus, resample
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.model.streams.pcm import Audio

PEOPLE = ("asterisk-en", "joe", "faye", "trader-bob")
RATE = 16_000
GAP_S, OVERLAP_S = 0.3, 0.4  # after most turns; before the last turn of all


@dataclass(frozen=True, kw_only=True)
class SpokenTurn:
    """A line of one person: its text and times, and its words with theirs."""

    person: int
    text: str
    start_s: float
    end_s: float
    words: tuple[AlignedWord, ...]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A conversation: one sound and one name for each person, and the turns in order."""

    rate: int
    sounds: tuple[Audio, ...]  # (n,) each, of one length
    turns: tuple[SpokenTurn, ...]
    people: tuple[str, ...] = PEOPLE

    @property
    def duration_s(self) -> float:
        return len(self.sounds[0]) / self.rate

    def words(self, person: int) -> list[AlignedWord]:
        return [word for turn in self.turns if turn.person == person for word in turn.words]

    def turns_of(self, person: int) -> list[SpokenTurn]:
        return [turn for turn in self.turns if turn.person == person]


@lru_cache(maxsize=8)
def talk(n_people: int = 2, *, n_turns: int = 6, rate: int = RATE, first: int = 0) -> Talk:
    """Let people speak in turn; lines `first` and on of each, so that another talk has others."""
    corpus, at_s, turns, sounds = Corpus.open(), 0.5, [], []
    for number in range(n_turns):
        person = number % n_people
        lines = [u for u in corpus.filter(speaker=PEOPLE[person]) if 1.0 < u.duration_s < 2.6]
        lines = [u for u in lines if len(u.words) > 2 and all(w.is_known for w in u.words)]
        line = lines[first + number // n_people]
        if number == n_turns - 1:
            at_s -= GAP_S + OVERLAP_S
        sounds.append((person, at_s, corpus.load(line)))
        words = tuple(
            replace(w, start_s=round(at_s + w.start_s, 3), end_s=round(at_s + w.end_s, 3))
            for w in line.words
        )
        end_s = round(at_s + line.duration_s, 3)
        turns.append(
            SpokenTurn(person=person, text=line.text, start_s=at_s, end_s=end_s, words=words)
        )
        at_s = round(end_s + GAP_S, 3)
    n = round((max(turn.end_s for turn in turns) + 0.5) * RATE)
    channels = np.zeros((n_people, n), np.float32)
    for person, start_s, sound in sounds:
        begin = round(start_s * RATE)
        channels[person, begin : begin + len(sound)] += sound
    moved = channels if rate == RATE else [resample(one, RATE, new_rate=rate) for one in channels]
    return Talk(rate=rate, sounds=tuple(moved), turns=tuple(turns), people=PEOPLE[:n_people])


# Faults that real sets have.


def swapped(one: Talk) -> Talk:
    """The words of each person stand on the other's channel."""
    return replace(one, sounds=one.sounds[::-1])


def silenced(one: Talk, person: int) -> Talk:
    sounds = [sound * (number != person) for number, sound in enumerate(one.sounds)]
    return replace(one, sounds=tuple(sounds))


def same_twice(one: Talk) -> Talk:
    """Stereo that is one mono file twice."""
    mix = np.sum(one.sounds, axis=0) / 2
    return replace(one, sounds=(mix,) * len(one.sounds))


def with_crosstalk(one: Talk, level_db: float) -> Talk:
    """Everybody is also heard on the channels of the others."""
    mix = np.sum(one.sounds, axis=0)
    gain = np.float32(10 ** (level_db / 20))
    return replace(one, sounds=tuple(sound + gain * (mix - sound) for sound in one.sounds))


def disordered(one: Talk) -> Talk:
    """In every turn the second word begins before the first, and ends after the third begins."""

    def mixed(turn: SpokenTurn) -> SpokenTurn:
        a, b, c, *rest = turn.words
        moved = replace(b, start_s=round(a.start_s - 0.05, 3), end_s=round(c.start_s + 0.05, 3))
        return replace(turn, words=(a, moved, c, *rest))

    return replace(one, turns=tuple(mixed(turn) for turn in one.turns))


def marked(one: Talk, *marks: str) -> Talk:
    """The first words of the first turns become marks such as `[laughter-yeah]` or `th[at]-`."""
    turns = list(one.turns)
    for number, mark in enumerate(marks):
        head, *rest = turns[number].words
        text = f"{mark} {turns[number].text.partition(' ')[2]}"
        turns[number] = replace(turns[number], text=text, words=(replace(head, text=mark), *rest))
    return replace(one, turns=tuple(turns))


def tear(path: Path) -> Path:
    """Cut a file in the middle, as a broken download is."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


# Layouts.


def put_sound(path: Path, one: Talk, *people: int, subtype: str = "PCM_16") -> Path:
    """Write these people as the channels of one file; `.sph` is NIST SPHERE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "NIST" if path.suffix == ".sph" else None
    samples = np.stack([one.sounds[person] for person in people], axis=1)
    soundfile.write(path, samples, one.rate, format=kind, subtype=subtype)
    return path


def put_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_fisher(
    root: Path, one: Talk, *, call: str = "00001", subtype: str = "ULAW", pins: str = "2602,8817"
) -> Path:
    """One call of Fisher: sound, transcript and table of calls in trees of their own."""
    name, folder = f"fe_03_{call}", call[:3]
    put_sound(root / "fe_03_p1_sph1" / "audio" / folder / f"{name}.sph", one, 0, 1, subtype=subtype)
    lines = (f"{t.start_s:.2f} {t.end_s:.2f} {'AB'[t.person]}: {t.text.lower()}" for t in one.turns)
    put_text(
        root / "fe_03_p1_tran" / "data" / "trans" / folder / f"{name}.txt",
        *(f"# {name}.sph", "# Transcribed at the LDC", "", *lines),
    )
    a, b = pins.split(",")
    put_text(
        root / "fe_03_p1_tran" / "doc" / "fe_03_p1_calldata.tbl",
        "CALL_ID,DATE_TIME,TOPICID,SIG_GRADE,CNV_GRADE,APIN,ASX.DL,APHNUM,APHSET,APHTYP,"
        "BPIN,BSX.DL,BPHNUM,BPHSET,BPHTYP",
        f"{call},20021210-16:44:48,ENG01,3,4,{a},f.a,2125xx,4,3,{b},f.a,9195xx,4,3",
    )
    return root


def write_switchboard(root: Path, one: Talk, *, call: str = "2001", subtype: str = "ULAW") -> Path:
    """One call of Switchboard with its word files, silences included."""
    put_sound(root / "swb1" / f"sw0{call}.sph", one, 0, 1, subtype=subtype)
    for person, side in enumerate("AB"):
        stem, at_s, rows = f"sw{call}{side}-ms98-a", 0.0, []
        for number, turn in enumerate(one.turns_of(person)):
            rows.append(f"{stem}-{2 * number:04d} {at_s:.6f} {turn.start_s:.6f} [silence]")
            rows += (
                f"{stem}-{2 * number + 1:04d} {w.start_s:.6f} {w.end_s:.6f} {w.text}"
                for w in turn.words
            )
            at_s = turn.end_s
        folder = root / "swb_ms98_transcriptions" / call[:2] / call
        put_text(folder / f"{stem}-word.text", *rows)
    put_text(root / "swb1" / "conv_tab.csv", f"{call},Y,1020,1044,303,0,910304,1218,1222, ,")
    return root


def write_seamless(
    root: Path, one: Talk, *, name: str = "V00_S0809_I00000582", with_words: bool = True
) -> Path:
    """One interaction of Seamless Interaction: a sound and a JSON for each person."""
    folder = root / "improvised" / "dev" / "0000" / "0005"
    for person in range(len(one.people)):
        stem = f"{name}_P{947 + person:04d}"
        put_sound(folder / f"{stem}.wav", one, person)
        turns = one.turns_of(person)
        content = {
            "id": stem,
            "metadata:transcript": [_whisper_segment(turn) for turn in turns if with_words],
            "metadata:vad": [{"start": t.start_s, "end": t.end_s} for t in turns],
        }
        put_text(folder / f"{stem}.json", json.dumps(content))
    return root


def _whisper_segment(turn: SpokenTurn) -> dict[str, Any]:
    words = [{"word": w.text, "start": w.start_s, "end": w.end_s, "score": 0.7} for w in turn.words]
    return {
        "words": words,
        "start": turn.start_s,
        "end": turn.end_s,
        "transcript": turn.text,
    }


def write_transcript(path: Path, one: Talk, names: tuple[str, ...]) -> Path:
    """Write who says what in the kind of transcript that the suffix is of."""
    return put_text(path, *_TRANSCRIPTS[path.suffix](one, names))


def _csv(one: Talk, names: tuple[str, ...]) -> list[str]:
    rows = [f'{names[t.person]},{t.start_s},{t.end_s},"{t.text}"' for t in one.turns]
    return ["speaker,start,stop,utterance", *rows]


def _json(one: Talk, names: tuple[str, ...]) -> list[str]:
    return [
        json.dumps(
            {"segments": [{**_whisper_segment(t), "speaker": names[t.person]} for t in one.turns]}
        )
    ]


def _textgrid(one: Talk, names: tuple[str, ...]) -> list[str]:
    """The short form, with silences as empty intervals."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{one.duration_s}"]
    lines += ["<exists>", f"{len(names)}"]
    for person, name in enumerate(names):
        intervals, at_s = [], 0.0
        for word in one.words(person):
            if word.start_s > at_s:
                intervals.append((at_s, word.start_s, ""))
            intervals.append((word.start_s, word.end_s, word.text))
            at_s = word.end_s
        intervals.append((at_s, one.duration_s, ""))
        lines += ['"IntervalTier"', f'"{name}"', "0", f"{one.duration_s}", f"{len(intervals)}"]
        lines += [f'{start}\n{end}\n"{text}"' for start, end, text in intervals]
    return lines


def _stm(one: Talk, names: tuple[str, ...]) -> list[str]:
    rows = [
        f"call {t.person + 1} {names[t.person]} {t.start_s} {t.end_s} <O,en,F> {t.text}"
        for t in one.turns
    ]
    return [";; comment", *rows]


def _ctm(one: Talk, names: tuple[str, ...]) -> list[str]:
    return [
        f"call {'AB'[turn.person]} {w.start_s} {w.end_s - w.start_s:.3f} {w.text}"
        for turn in one.turns
        for w in turn.words
    ]


def _rttm(one: Talk, names: tuple[str, ...]) -> list[str]:
    return [
        f"SPEAKER call 1 {t.start_s} {t.end_s - t.start_s:.3f} <NA> <NA> {names[t.person]} <NA>"
        for t in one.turns
    ]


_TRANSCRIPTS = {
    ".csv": _csv,
    ".json": _json,
    ".TextGrid": _textgrid,
    ".stm": _stm,
    ".ctm": _ctm,
    ".rttm": _rttm,
}


def write_session(
    folder: Path,
    one: Talk,
    *,
    kind: str = ".csv",
    names: tuple[str, str] = ("ann", "ben"),
    stereo: bool = False,
) -> Path:
    """A session: `ann.wav` and `ben.wav`, or `call.wav` of two channels, and `call` as its text."""
    if stereo:
        put_sound(folder / "call.wav", one, 0, 1)
    else:
        for person, name in enumerate(names):
            put_sound(folder / f"{name}.wav", one, person)
    write_transcript(folder / f"call{kind}", one, names)
    return folder


def write_candor(root: Path, one: Talk, *, name: str = "0020a0c5", with_words: bool = True) -> Path:
    """A conversation of CANDOR: stereo, who is on which channel, and several transcripts."""
    people = ("5a73899f", "5fa072f4")
    put_sound(root / name / "processed" / f"{name}.flac", one, 0, 1)
    put_text(
        root / name / "processed" / "channel_map.json",
        json.dumps({"L": people[0], "R": people[1]}),
    )
    put_text(root / name / "metadata.json", '{"speakers": [{"user_id": "5a73899f"}]}')
    put_text(root / name / "survey.csv", "user_id,age", "5a73899f,30")
    for transcript in ("cliffhanger", "audiophile", "backbiter"):
        write_transcript(
            root / name / "transcription" / f"transcript_{transcript}.csv", one, people
        )
    channels = [
        {"channel_label": f"ch_{person}", "items": [_token(w) for w in one.words(person)]}
        for person in (0, 1)
    ]
    if with_words:
        put_text(
            root / name / "transcription" / "transcribe_output.json",
            json.dumps({"results": {"channel_labels": {"channels": channels}}}),
        )
    return root


def _token(word: AlignedWord) -> dict[str, Any]:
    return {
        "start_time": str(word.start_s),
        "end_time": str(word.end_s),
        "alternatives": [{"confidence": "0.9", "content": word.text}],
        "type": "pronunciation",
    }


def write_meeting(
    folder: Path, one: Talk, *, meeting: str = "ES2002a", multichannel: bool = False
) -> Path:
    """A meeting in Kaldi's tables, as of AMI: a recording for each, or channels of one."""
    rows: dict[str, list[str]] = {
        name: [] for name in ("wav.scp", "segments", "text", "utt2spk", "reco2file_and_channel")
    }
    for person in range(len(one.people)):
        recording, speaker = f"AMI_{meeting}_H{person:02d}", f"FEE04{person}"
        if multichannel:
            path = put_sound(folder / "audio" / f"{meeting}.wav", one, *range(len(one.people)))
            rows["reco2file_and_channel"].append(f"{recording} {meeting} {'ABCD'[person]}")
        else:
            path = put_sound(folder / "audio" / f"{meeting}.Headset-{person}.wav", one, person)
            rows["reco2file_and_channel"].append(f"{recording} {recording} A")
        rows["wav.scp"].append(f"{recording} {path.relative_to(folder)}")
        for turn in one.turns_of(person):
            name = f"{recording}_{speaker}_{100 * turn.start_s:07.0f}_{100 * turn.end_s:07.0f}"
            rows["segments"].append(f"{name} {recording} {turn.start_s} {turn.end_s}")
            rows["text"].append(f"{name} {turn.text.upper()}")
            rows["utt2spk"].append(f"{name} {recording}_{speaker}")
    for name, lines in rows.items():
        before = (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else ""
        put_text(folder / name, *before.split("\n")[:-1], *lines)
    return folder
