"""Build the corpus that ships with microturn from Debian packages (needs `av`, `pocketsphinx`).

    python datagen/corpora/build_default.py [root=DIR] [out=DIR]

`root` is a folder into which the packages are already unpacked; without it they are fetched by
name with `apt-get download` and unpacked with `dpkg -x`. The same packages give the same bytes.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from pathlib import Path

import av
import numpy as np
import soundfile

from microturn.datagen.corpora.alignment import RATE, Aligner, single_cut, words_of
from microturn.datagen.corpora.amazon_queen import ALIASES, OBJECTS, Archive
from microturn.datagen.corpora.asterisk import english_texts
from microturn.datagen.corpora.manifest import Audio, Utterance

SOUNDS = "usr/share/asterisk/sounds"


def decode_g722(path: Path) -> Audio:
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32) / 32768


def flac(audio: Audio) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return out.getvalue()


class Tar:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = path
        self.members: dict[str, bytes] = {}

    def add(self, member: str, data: bytes) -> None:
        self.members[member] = data

    def write(self) -> dict[str, tuple[int, int]]:
        places = {}
        with tarfile.open(self.path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in sorted(self.members.items()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                places[name] = (tar.offset + 512, len(data))
                tar.addfile(info, io.BytesIO(data))
        return places


BACK = set(
    "okay,yes,yeah,oh yeah,what,uh huh,oh okay,hmmm,oh,no,maybe,um,ah,ahem,that's right,of course,huh,"
    "great,exactly,wow,sure,really,i see,right,good,why,hey,sorry,thanks,hello,excuse me,good idea,ummm,"
    "umm,hmmmm,hmm,goodbye,hi,bye,ah yeah,yeah sure,oh really,excellent,certainly,yep,nope,oh sorry".split(
        ","
    )
)


def main() -> int:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    root = Path(options["root"])
    out = Path(options.get("out", Path(__file__).parent / "default"))
    out.mkdir(parents=True, exist_ok=True)
    aligner = Aligner()
    rows = []
    english = Tar(out / "asterisk-en.tar")
    for name, text in sorted(english_texts().items()):
        path = root / SOUNDS / "en_US_f_Allison" / f"{name}.g722"
        if not path.is_file():
            print("missing", name)
            continue
        audio = decode_g722(path)
        found = aligner.align(audio, RATE, text)
        if found is None:
            print("not aligned", name, text)
            continue
        print(name, text, found.scores)
        member = f"{name}.flac"
        english.add(member, flac(audio))
        tags = {"prompt"}
        if "letters/" in name and len(text) == 1:
            tags.add("letter")
        if re.fullmatch(r"digits/\d+", name):
            tags.add("digit")
        if "phonetic/" in name:
            tags.add("icao")
        if "day-" in name:
            tags.add("day")
        if text in ("hello", "goodbye"):
            tags.add("greeting")
        cuts = (single_cut(audio, found.worst),) if len(found.words) == 1 else ()
        rows.append(
            dict(
                id=f"asterisk-en/{name}",
                source="asterisk",
                speaker="asterisk-en",
                language="en",
                text=text,
                key=name,
                words=found.words,
                cuts=cuts,
                duration=len(audio) / RATE,
                sample_rate=RATE,
                tar=english.name,
                member=member,
                licence="CC-BY-SA-3.0",
                tags=frozenset(tags),
                split="any",
            )
        )
    queen = Tar(out / "amazon-queen.tar")
    archive = Archive(root / "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c")
    held = ("SPARKY", "TRADER BOB", "CHIEF", "KLUNK", "LARIS", "ANDERSON", "GUARDIAN", "LOLA")
    for clip in archive.clips():
        if clip.speaker in OBJECTS or clip.speaker == "NARRATOR":
            continue
        plain = " ".join(words_of(clip.text))
        if plain not in BACK:
            continue
        speaker = ALIASES.get(clip.speaker, clip.speaker).lower().replace(" ", "-")
        data = archive._data[clip.offset : clip.offset + clip.size]
        audio, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        found = aligner.align(audio, rate, clip.text)
        if found is None:
            continue
        member = f"{clip.id}.mp3"
        queen.add(member, data)
        cuts = ()
        if len(found.words) == 1:
            from microturn.datagen.corpora.manifest import resample

            cuts = (single_cut(resample(audio, rate, RATE), found.worst),)
        rows.append(
            dict(
                id=f"amazon-queen/{clip.id}",
                source="amazon-queen",
                speaker=speaker,
                language="en",
                text=clip.text,
                key="",
                words=found.words,
                cuts=cuts,
                duration=len(audio) / rate,
                sample_rate=rate,
                tar=queen.name,
                member=member,
                licence="FOTAQ",
                tags=frozenset({"backchannel"}),
                split="test" if speaker.upper().replace("-", " ") in held else "train",
            )
        )
    places = {tar.name: tar.write() for tar in (english, queen)}
    with (out / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            offset, size = places[row["tar"]][row["member"]]
            line = Utterance(offset=offset, size=size, **row).to_json()
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(len(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
