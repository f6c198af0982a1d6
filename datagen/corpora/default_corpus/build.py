"""Build the corpus that ships with microturn from Debian packages (needs `av`, `pocketsphinx`).

    python datagen/corpora/default_corpus/build.py [root=DIR] [out=DIR]

`root` is a folder into which the packages are already unpacked; without it they are fetched by
name with `apt-get download` and unpacked with `dpkg -x`, which needs no rights and installs
nothing. The same packages and libraries give the same bytes. About ten minutes on one core.
"""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import soundfile
from tqdm import tqdm

from microturn.datagen.corpora.alignment import UNSCORED, Aligned, Aligner, words_of
from microturn.datagen.corpora.counts import counts_markdown
from microturn.datagen.corpora.cutting import RATE, cut_word, voiced_span
from microturn.datagen.corpora.default_corpus.amazon_queen import Archive
from microturn.datagen.corpora.default_corpus.asterisk import (
    MUSIC,
    SOUNDS,
    VOICES,
    SoundPackage,
    decode_g722,
    tags_of,
    texts,
)
from microturn.datagen.corpora.default_corpus.queen_selection import Pick, select
from microturn.datagen.corpora.manifest import (
    DEFAULT_FOLDER,
    MANIFEST_NAME,
    AlignedWord,
    Corpus,
    Cut,
    Utterance,
    resample,
)
from microturn.model.streams.pcm import Audio

QUEEN = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
DOC = "usr/share/doc"
PACKAGES = (
    *(f"asterisk-core-sounds-{voice.language}-g722" for voice in VOICES),
    "asterisk-moh-opsound-g722",
    "flight-of-the-amazon-queen",
)
QUEEN_BYTES = 10_500_000  # about 87 minutes
MAX_PROMPT_S = 6.0
QUEEN_LICENCE = "LicenseRef-Flight-of-the-Amazon-Queen"
MUSIC_FROM_S, MUSIC_S = 30, 24  # of each track

# Words that are useful by themselves, wherever they stand in a line.
DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RIVALS = (*DIGITS, "okay", "hello", "goodbye", "thanks", "sorry", "what")
UNITS = frozenset(
    [
        *RIVALS,
        *("hi", "hey", "bye", "yes", "yeah", "no", "stop", "wait", "please", "right", "sure"),
        *("well", "huh", "oh", "maybe", "exactly", "really", "good", "great", "excellent"),
        *("time", "too", "listen", "look", "never", "now"),
    ]
)

# A prompt whose transcript is not certain from its name verifies when it fits this well.
PROMPT_MEAN, PROMPT_WORST, PROMPT_HEARD = -30.0, -65.0, 0.6
# Lines of the game are acted and 11 kHz: only what does not fit at all is left out, and the shorter
# a line, the less its mean tells.
LINE_MEAN, SHORT_LINE_MEAN, SHORT_LINE_WORDS = -45.0, -65.0, 2


@dataclass(frozen=True)
class Stored:
    """An utterance and the bytes of its audio file."""

    utterance: Utterance
    data: bytes


def main(arguments: list[str]) -> int:
    try:
        options = _options(arguments)
        out = Path(options.get("out", DEFAULT_FOLDER))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(options["root"]) if "root" in options else fetch(Path(folder))
            build(root, out)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str]) -> dict[str, str]:
    options = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in ("root", "out") or not equals:
            raise ValueError(f"{argument} is no option; there are root=DIR and out=DIR.")
        options[name] = value
    return options


def fetch(folder: Path) -> Path:
    """Download the packages with apt-get and unpack them."""
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
    return folder / "root"


def build(root: Path, out: Path) -> None:
    missing = [package for package in PACKAGES if not (root / DOC / package).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{root} lacks the packages {', '.join(missing)}; unpack them there or leave root= out."
        )
    aligner = Aligner()
    out.mkdir(parents=True, exist_ok=True)
    english, *others = VOICES
    utterances: list[Utterance] = []
    utterances += write_tar(out / "asterisk-en.tar", english_prompts(aligner, root, english))
    utterances += write_tar(
        out / "asterisk-xx.tar", (stored for voice in others for stored in words(root, voice))
    )
    utterances += whole_pairs(write_tar(out / "amazon-queen.tar", lines(aligner, root)))
    utterances += write_tar(out / "music.tar", music(root))
    with (out / MANIFEST_NAME).open("w", encoding="utf-8") as file:
        for utterance in utterances:
            file.write(json.dumps(utterance.to_json(), ensure_ascii=False) + "\n")
    copy_licences(root, out / "LICENCES")
    counts = counts_markdown(Corpus.open(out))
    readme = Path(__file__).with_name("default_readme.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(readme.replace("{counts}", counts), encoding="utf-8")
    print(counts)


def english_prompts(aligner: Aligner, root: Path, voice: SoundPackage) -> Iterator[Stored]:
    """Every English prompt in the table whose sound agrees with its text."""
    for key, text in tqdm(sorted(texts(voice.language).items()), desc=voice.speaker):
        audio = decode_g722(root / SOUNDS / voice.folder / f"{key}.g722")
        if len(audio) > MAX_PROMPT_S * RATE:
            continue
        aligned = aligner.align(audio, RATE, text)
        if aligned is None or not verifies(aligner, aligned, audio, text):
            print(f"left out, does not verify: {voice.speaker} {key}: {text}", file=sys.stderr)
            continue
        cuts = cuts_of(aligner, audio, aligned)
        yield prompt(voice, key, text, audio, aligned.words, cuts)


def verifies(aligner: Aligner, aligned: Aligned, audio: Audio, text: str) -> bool:
    """Good alignment; for sentences the free recogniser has to hear something close as well."""
    said = words_of(text)
    if len(said) == 1:
        return aligned.worst >= PROMPT_WORST
    if aligned.mean < PROMPT_MEAN or aligned.worst < PROMPT_WORST:
        return False
    if len(said) < 5:  # too short for its language model
        return True
    heard = aligner.recognise(audio, RATE)
    return SequenceMatcher(None, " ".join(said), heard).ratio() >= PROMPT_HEARD


def words(root: Path, voice: SoundPackage) -> Iterator[Stored]:
    """Words of the other languages, whose texts are certain from the file names."""
    for key, text in sorted(texts(voice.language).items()):
        audio = decode_g722(root / SOUNDS / voice.folder / f"{key}.g722")
        start, end = voiced_span(audio)
        word = AlignedWord(text=text, start=start, end=end)
        cut = Cut(word=0, start=start, end=end, score=0.0, quality="clean")
        yield prompt(voice, key, text, audio, (word,), (cut,))


def prompt(
    voice: SoundPackage,
    key: str,
    text: str,
    audio: Audio,
    said: tuple[AlignedWord, ...],
    cuts: tuple[Cut, ...],
) -> Stored:
    start, end = voiced_span(audio)
    data = flac(audio)
    utterance = Utterance(
        id=f"{voice.speaker}/{key}",
        source="asterisk",
        speaker=voice.speaker,
        language=voice.language,
        text=text,
        key=key,
        words=said,
        cuts=cuts,
        duration=round(len(audio) / RATE, 4),
        start=start,
        end=end,
        sample_rate=RATE,
        tar="",
        member=f"{voice.speaker}/{key}.flac",
        offset=0,
        size=len(data),
        licence=voice.licence,
        tags=tags_of(key, text),
        split="any",
    )
    return Stored(utterance, data)


def lines(aligner: Aligner, root: Path) -> Iterator[Stored]:
    """The selected lines of Flight of the Amazon Queen, their MP3 frames untouched."""
    archive = Archive(root / QUEEN)
    for pick in tqdm(select(archive.clips(), QUEEN_BYTES), desc="amazon-queen"):
        data = archive.read(f"{pick.clip.id}.SB")
        decoded, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        audio = resample(decoded, rate, RATE)
        aligned = aligner.align(audio, RATE, pick.clip.text)
        if aligned is None or not fits(aligned):
            print(f"left out, does not fit: {pick.clip.id}: {pick.clip.text}", file=sys.stderr)
            continue
        yield line(aligner, pick, data, audio, rate, aligned)


def fits(aligned: Aligned) -> bool:
    """Whether a line's sound may be its text; a line without scores is believed."""
    short = len(aligned.words) <= SHORT_LINE_WORDS
    return aligned.mean == UNSCORED or aligned.mean >= (SHORT_LINE_MEAN if short else LINE_MEAN)


def whole_pairs(utterances: list[Utterance]) -> list[Utterance]:
    """Take the pair tag off a line whose other half was left out."""
    sides = Counter(tag for utterance in utterances for tag in utterance.tags)
    single = {tag for tag, n in sides.items() if tag.startswith("pair:") and n != 2}
    return [replace(utterance, tags=utterance.tags - single) for utterance in utterances]


def line(
    aligner: Aligner, pick: Pick, data: bytes, audio: Audio, rate: int, aligned: Aligned
) -> Stored:
    start, end = voiced_span(audio)
    utterance = Utterance(
        id=f"amazon-queen/{pick.clip.id}",
        source="amazon-queen",
        speaker=pick.speaker,
        language="en",
        text=pick.clip.text,
        key="",
        words=aligned.words,
        cuts=cuts_of(aligner, audio, aligned),
        duration=round(len(audio) / RATE, 4),
        start=start,
        end=end,
        sample_rate=rate,
        tar="",
        member=f"{pick.clip.id}.mp3",
        offset=0,
        size=len(data),
        licence=QUEEN_LICENCE,
        tags=pick.tags,
        split=pick.split,
    )
    return Stored(utterance, data)


def cuts_of(aligner: Aligner, audio: Audio, aligned: Aligned) -> tuple[Cut, ...]:
    """Cuts of the words of interest; a good one also has to be likelier than its rivals."""
    cuts = []
    for index, (word, score) in enumerate(zip(aligned.words, aligned.scores, strict=True)):
        if len(aligned.words) > 1 and word.text not in UNITS:
            continue
        cut = cut_word(audio, aligned.words, index, score)
        if cut.quality != "poor" and len(aligned.words) > 1:
            alone = audio[round(cut.start * RATE) : round(cut.end * RATE)]
            if not aligner.prefers(alone, RATE, word.text, RIVALS):
                cut = replace(cut, quality="poor")
        cuts.append(cut)
    return tuple(cuts)


def music(root: Path) -> Iterator[Stored]:
    """A piece from each track of the music on hold."""
    for path in sorted((root / MUSIC).glob("*.g722")):
        audio = decode_g722(path)[MUSIC_FROM_S * RATE : (MUSIC_FROM_S + MUSIC_S) * RATE]
        data = flac(audio)
        utterance = Utterance(
            id=f"music/{path.stem}",
            source="music",
            speaker="",
            language="",
            text="",
            key="",
            words=(),
            cuts=(),
            duration=round(len(audio) / RATE, 4),
            start=0.0,
            end=round(len(audio) / RATE, 4),
            sample_rate=RATE,
            tar="",
            member=f"{path.stem}.flac",
            offset=0,
            size=len(data),
            licence="CC-BY-SA-3.0",
            tags=frozenset({"music"}),
            split="any",
        )
        yield Stored(utterance, data)


def flac(audio: Audio) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return out.getvalue()


def write_tar(path: Path, stored: Iterator[Stored]) -> list[Utterance]:
    """Write the files sorted by name, with no dates or owners; returns where each one lies."""
    placed = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for item in sorted(stored, key=lambda item: item.utterance.member):
            info = tarfile.TarInfo(item.utterance.member)
            info.size = len(item.data)
            offset = tar.offset + tarfile.BLOCKSIZE
            tar.addfile(info, io.BytesIO(item.data))
            placed.append(replace(item.utterance, tar=path.name, offset=offset))
    return placed


def copy_licences(root: Path, folder: Path) -> None:
    """The copyright files, and the readme that has to stay with the game's recordings."""
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        text = (root / DOC / package / "copyright").read_bytes()
        (folder / f"{package}.copyright").write_bytes(text)
    readme = (root / DOC / PACKAGES[-1] / "readme.txt.gz").read_bytes()
    (folder / f"{PACKAGES[-1]}.readme.txt").write_bytes(gzip.decompress(readme))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
