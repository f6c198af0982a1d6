"""Builds the corpus that ships with microturn from Debian packages (needs `av`, `pocketsphinx`).

    python datagen/corpora/default_corpus/build.py [root=DIR] [out=DIR]

`root` is a folder into which the packages are already unpacked; without it they are downloaded
with `apt-get download` and unpacked with `dpkg -x`, which needs no privileges and installs
nothing. Equal packages and libraries give equal bytes. About ten minutes on one core.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import soundfile
from tqdm import tqdm

from microturn.datagen.corpora.alignment.aligner import UNSCORED, Aligned, Aligner
from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.conversations.record import CorpusConversation
from microturn.datagen.corpora.counts import counts_markdown
from microturn.datagen.corpora.cut_selection import cuts_of
from microturn.datagen.corpora.cutting import RATE, voiced_span
from microturn.datagen.corpora.default_corpus.amazon_queen import (
    ARCHIVE_PATH,
    LICENCE,
    Archive,
)
from microturn.datagen.corpora.default_corpus.asterisk import (
    MUSIC,
    SOUNDS,
    VOICES,
    SoundPackage,
    decode_g722,
    tags_of,
    texts,
)
from microturn.datagen.corpora.default_corpus.opus import opus
from microturn.datagen.corpora.default_corpus.queen_selection import SelectedLine, select
from microturn.datagen.corpora.index.packed_lines import write_packed
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME, Corpus, resample
from microturn.datagen.corpora.packages import DOC, download
from microturn.datagen.corpora.utterance import AlignedWord, Cut, Utterance
from microturn.model.streams.pcm import Audio

GAME = "flight-of-the-amazon-queen"
PACKAGES = (
    *(f"asterisk-core-sounds-{voice.language}-g722" for voice in VOICES),
    "asterisk-moh-opsound-g722",
    GAME,
)
QUEEN_BYTES = 10_500_000  # about 87 minutes
MAX_PROMPT_S = 6.0
MUSIC_FROM_S, MUSIC_S = 30, 24  # of each track

# Thresholds of the alignment scores and of the recognition of a prompt.
MIN_PROMPT_MEAN, MIN_PROMPT_WORST, MIN_PROMPT_SIMILARITY = -30.0, -65.0, 0.6
# Lines of the game are acted and 11 kHz: only clear mismatches are rejected, and scores of short
# lines are less reliable.
MIN_LINE_MEAN, MIN_SHORT_LINE_MEAN, SHORT_LINE_WORDS = -45.0, -65.0, 2


@dataclass(frozen=True)
class StoredUtterance:
    """An utterance and the bytes of its audio file."""

    utterance: Utterance
    data: bytes


def main(arguments: list[str]) -> int:
    return run_build(arguments, packages=PACKAGES, out=DEFAULT_FOLDER, build=build)


def run_build(
    arguments: list[str],
    *,
    packages: Sequence[str],
    out: Path,
    build: Callable[[Path, Path], None],
) -> int:
    """Build a corpus from packages, downloaded unless root=DIR holds them; prints errors."""
    try:
        options = _options(arguments)
        out = Path(options.get("out", out))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(options["root"]) if "root" in options else download(packages, Path(folder))
            missing = [package for package in packages if not (root / DOC / package).is_dir()]
            if missing:
                raise FileNotFoundError(
                    f"{root} lacks the packages {', '.join(missing)}; unpack them there or omit "
                    "root=."
                )
            out.mkdir(parents=True, exist_ok=True)
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
            raise ValueError(f"{argument} is not an option; the options are root=DIR and out=DIR.")
        options[name] = value
    return options


def build(root: Path, out: Path) -> None:
    aligner = Aligner()
    english, *others = VOICES
    utterances: list[Utterance] = []
    utterances += write_tar(out / "asterisk-en.tar", english_prompts(aligner, root, voice=english))
    utterances += write_tar(
        out / "asterisk-xx.tar",
        (stored for voice in others for stored in word_prompts(root, voice)),
    )
    archive = Archive(root / ARCHIVE_PATH)
    picks = select(archive.clips(), QUEEN_BYTES)
    utterances += whole_pairs(write_tar(out / "amazon-queen.tar", lines(aligner, archive, picks)))
    utterances += write_tar(out / "music.tar", music(root))
    write_lines(out / MANIFEST_NAME, utterances)
    copy_licences(root, out / "LICENCES", PACKAGES)
    counts = counts_markdown(Corpus.open(out))
    readme = Path(__file__).with_name("default_readme.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(readme.replace("{counts}", counts), encoding="utf-8")
    print(counts)


def english_prompts(
    aligner: Aligner, root: Path, *, voice: SoundPackage
) -> Iterator[StoredUtterance]:
    """Yield every English prompt in the table whose audio agrees with its text."""
    for key, text in tqdm(sorted(texts(voice.language).items()), desc=voice.speaker):
        audio = decode_g722(root / SOUNDS / voice.folder / f"{key}.g722")
        if len(audio) > MAX_PROMPT_S * RATE:
            continue
        aligned = aligner.align(audio, RATE, text=text)
        if aligned is None or not verifies(aligner, aligned, audio=audio, text=text):
            print(
                f"rejected, does not match its text: {voice.speaker} {key}: {text}", file=sys.stderr
            )
            continue
        cuts = cuts_of(audio, aligned.words, scores=aligned.scores, chooser=aligner)
        words = aligned.words
        yield prompt(voice, key, text=text, audio=audio, words=words, cuts=cuts, codec="flac")


def verifies(aligner: Aligner, aligned: Aligned, *, audio: Audio, text: str) -> bool:
    """Tell whether a prompt aligns well; sentences must also be recognised approximately."""
    words = words_of(text)
    if len(words) == 1:
        return aligned.worst >= MIN_PROMPT_WORST
    if aligned.mean < MIN_PROMPT_MEAN or aligned.worst < MIN_PROMPT_WORST:
        return False
    if len(words) < 5:  # too short for the language model
        return True
    recognised = aligner.recognise(audio, RATE)
    return SequenceMatcher(None, " ".join(words), recognised).ratio() >= MIN_PROMPT_SIMILARITY


def word_prompts(root: Path, voice: SoundPackage) -> Iterator[StoredUtterance]:
    """Yield words of the other languages, whose texts are certain from the file names."""
    for key, text in sorted(texts(voice.language).items()):
        audio = decode_g722(root / SOUNDS / voice.folder / f"{key}.g722")
        start_s, end_s = voiced_span(audio)
        word = AlignedWord(text=text, start_s=start_s, end_s=end_s)
        cut = Cut(word=0, start_s=start_s, end_s=end_s, score=0.0, quality="clean")
        yield prompt(voice, key, text=text, audio=audio, words=(word,), cuts=(cut,), codec="opus")


def prompt(
    voice: SoundPackage,
    key: str,
    *,
    text: str,
    audio: Audio,
    words: tuple[AlignedWord, ...],
    cuts: tuple[Cut, ...],
    codec: str,
) -> StoredUtterance:
    start_s, end_s = voiced_span(audio)
    data = flac(audio) if codec == "flac" else opus(audio, RATE)
    utterance = Utterance(
        id=f"{voice.speaker}/{key}",
        source="asterisk",
        speaker=voice.speaker,
        language=voice.language,
        text=text,
        key=key,
        words=words,
        cuts=cuts,
        duration_s=round(len(audio) / RATE, 4),
        start_s=start_s,
        end_s=end_s,
        sample_rate=RATE,
        tar="",
        member=f"{voice.speaker}/{key}.{codec}",
        offset=0,
        size=len(data),
        licence=voice.licence,
        tags=tags_of(key, text),
        split="any",
    )
    return StoredUtterance(utterance, data)


def lines(
    aligner: Aligner | CachedAligner, archive: Archive, picks: Sequence[SelectedLine]
) -> Iterator[StoredUtterance]:
    """Yield the selected lines of Flight of the Amazon Queen with their MP3 frames unchanged."""
    for pick in tqdm(picks, desc="amazon-queen"):
        data = archive.read(f"{pick.clip.id}.SB")
        decoded, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        audio = resample(decoded, rate, new_rate=RATE)
        aligned = aligner.align(audio, RATE, text=pick.clip.text)
        if aligned is None or not fits(aligned):
            print(
                f"rejected, does not match its text: {pick.clip.id}: {pick.clip.text}",
                file=sys.stderr,
            )
            continue
        yield line(pick, aligned, aligner=aligner, data=data, audio=audio, rate=rate)


def fits(aligned: Aligned) -> bool:
    """Tell whether a line may match its text; a line without scores is accepted."""
    short = len(aligned.words) <= SHORT_LINE_WORDS
    return aligned.mean == UNSCORED or aligned.mean >= (
        MIN_SHORT_LINE_MEAN if short else MIN_LINE_MEAN
    )


def whole_pairs(utterances: list[Utterance]) -> list[Utterance]:
    """Remove the pair tag of lines whose other half was rejected."""
    sides = Counter(tag for utterance in utterances for tag in utterance.tags)
    single = {tag for tag, n in sides.items() if tag.startswith("pair:") and n != 2}
    return [replace(utterance, tags=utterance.tags - single) for utterance in utterances]


def line(
    pick: SelectedLine,
    aligned: Aligned,
    *,
    aligner: Aligner | CachedAligner,
    data: bytes,
    audio: Audio,
    rate: int,
) -> StoredUtterance:
    start_s, end_s = voiced_span(audio)
    utterance = Utterance(
        id=f"amazon-queen/{pick.clip.id}",
        source="amazon-queen",
        speaker=pick.speaker,
        language="en",
        text=pick.clip.text,
        key="",
        words=aligned.words,
        cuts=cuts_of(audio, aligned.words, scores=aligned.scores, chooser=aligner),
        duration_s=round(len(audio) / RATE, 4),
        start_s=start_s,
        end_s=end_s,
        sample_rate=rate,
        tar="",
        member=f"{pick.clip.id}.mp3",
        offset=0,
        size=len(data),
        licence=LICENCE,
        tags=pick.tags,
        split=pick.split,
    )
    return StoredUtterance(utterance, data)


def music(root: Path) -> Iterator[StoredUtterance]:
    """Yield an excerpt of each track of the music on hold."""
    for path in sorted((root / MUSIC).glob("*.g722")):
        audio = decode_g722(path)[MUSIC_FROM_S * RATE : (MUSIC_FROM_S + MUSIC_S) * RATE]
        data = opus(audio, RATE)
        utterance = Utterance(
            id=f"music/{path.stem}",
            source="music",
            speaker="",
            language="",
            text="",
            key="",
            words=(),
            cuts=(),
            duration_s=round(len(audio) / RATE, 4),
            start_s=0.0,
            end_s=round(len(audio) / RATE, 4),
            sample_rate=RATE,
            tar="",
            member=f"{path.stem}.opus",
            offset=0,
            size=len(data),
            licence="CC-BY-SA-3.0",
            tags=frozenset({"music"}),
            split="any",
        )
        yield StoredUtterance(utterance, data)


def flac(audio: Audio) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return out.getvalue()


def write_lines(path: Path, entries: Sequence[Utterance] | Sequence[CorpusConversation]) -> None:
    """Write a manifest, or a list of conversations, gzipped."""
    lines = (json.dumps(entry.to_json(), ensure_ascii=False) + "\n" for entry in entries)
    write_packed(path, "".join(lines).encode())


def write_tar(path: Path, stored: Iterator[StoredUtterance]) -> list[Utterance]:
    """Write the files sorted by name, without dates and owners; returns their positions."""
    placed = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for item in sorted(stored, key=lambda item: item.utterance.member):
            info = tarfile.TarInfo(item.utterance.member)
            info.size = len(item.data)
            offset = tar.offset + tarfile.BLOCKSIZE
            tar.addfile(info, io.BytesIO(item.data))
            placed.append(replace(item.utterance, tar=path.name, offset=offset))
    return placed


def copy_licences(root: Path, folder: Path, packages: Sequence[str]) -> None:
    """Copy the copyright files, equal ones once, and the readme that must accompany the game."""
    folder.mkdir(exist_ok=True)
    texts = {
        (root / DOC / package / "copyright").read_bytes(): package for package in packages[::-1]
    }
    for text, package in texts.items():
        (folder / f"{package}.copyright").write_bytes(text)
    readme = (root / DOC / GAME / "readme.txt.gz").read_bytes()
    (folder / f"{GAME}.readme.txt").write_bytes(gzip.decompress(readme))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
