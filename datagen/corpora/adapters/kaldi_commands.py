"""The commands of `wav.scp` that only decode a file or take one of its channels.

`sph2pipe -f wav -p -c 1 x.sph |`, `sox x.wav -t wav - remix 2 |`, `flac -c -d -s x.flac |`,
`ffmpeg -i x.mp3 -f wav -ar 16000 - |`, also one after another. They are not run: the file is read.
Anything that cuts, changes or mixes the sound is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

Stage = tuple[str, int | None]  # the file, "-" for the stage before; the channel from 0
_HARMLESS = frozenset(["rate", "dither", "gain", "norm", "vol"])
# Effects that would change the times, the voice or the channels, wherever they stand.
_CHANGES = frozenset(
    ["remix", "trim", "pad", "speed", "tempo", "pitch", "reverse", "silence", "channels", "repeat"]
)


def file_of_command(command: str) -> Stage:
    """Return the file that a command ending in | reads, and its channel; ValueError for others."""
    name, channel = "-", None
    try:
        stages = [shlex.split(stage) for stage in command.strip().rstrip("|").split("|")]
    except ValueError as error:
        raise ValueError(f"the command {command!r} of wav.scp cannot be read ({error})") from error
    for number, stage in enumerate(stages):
        reader = _READERS.get(stage[0].rpartition("/")[2]) if stage else None
        if reader is None:
            raise ValueError(f"wav.scp has the command {command!r}, which is not run; write a file")
        file, picked = reader(stage[1:])
        if (file == "-") != (number > 0) or (picked and channel is not None):
            raise ValueError(f"the command {command!r} of wav.scp cannot be followed; write a file")
        name = name if number else file
        channel = picked if channel is None else channel
    return name, channel


def _refused(program: str, words: Sequence[str]) -> ValueError:
    return ValueError(
        f"wav.scp has {program} with {' '.join(words)!r}, which is not applied; write a file"
    )


def _sph2pipe(words: Sequence[str]) -> Stage:
    options, files = _options(words, with_value=("-f", "-c"), flags=("-p", "-u", "-a"))
    if len(files) not in (1, 2):
        raise _refused("sph2pipe", words)
    return files[0], int(options["-c"]) - 1 if "-c" in options else None


def _sox(words: Sequence[str]) -> Stage:
    _, files = _options(
        words,
        with_value=("-t", "-r", "-b", "-e", "-c", "-v", "--rate", "--bits", "--encoding"),
        flags=("-G", "-R", "-D", "-S", "-q", "-V", "-V0", "-V1", "-V2", "-V3"),
        n_files=2,
    )
    if len(files) < 2 or files[1] != "-":
        raise _refused("sox", words)
    effects, channel = files[2:], None
    if effects[:1] == ["remix"] and effects[1:] and effects[1].isdecimal():
        channel, effects = int(effects[1]) - 1, effects[2:]
    if (effects and effects[0] not in _HARMLESS) or _CHANGES.intersection(effects):
        raise _refused("sox", effects)
    return files[0], channel


def _flac(words: Sequence[str]) -> Stage:
    _, files = _options(words, with_value=(), flags=("-c", "-d", "-s", "-cd", "-dc", "-cds"))
    if len(files) != 1:
        raise _refused("flac", words)
    return files[0], None


def _cat(words: Sequence[str]) -> Stage:
    if len(words) != 1 or words[0].startswith("-"):
        raise _refused("cat", words)
    return words[0], None


def _ffmpeg(words: Sequence[str]) -> Stage:
    options, files = _options(
        words,
        with_value=(
            *("-i", "-f", "-ar", "-acodec", "-c:a", "-codec:a", "-sample_fmt", "-loglevel", "-v"),
            *("-threads", "-map_channel", "-ac"),
        ),
        flags=("-hide_banner", "-nostdin", "-nostats", "-vn", "-y"),
    )
    if files not in (["-"], ["pipe:1"]) or "-i" not in options:
        raise _refused("ffmpeg", words)
    picked = options.get("-map_channel")
    if picked is not None and not re.fullmatch(r"0\.0\.\d+", picked):
        raise _refused("ffmpeg", words)
    return options["-i"], None if picked is None else int(picked.rpartition(".")[2])


def _options(
    words: Sequence[str], *, with_value: Sequence[str], flags: Sequence[str], n_files: int = 99
) -> tuple[dict[str, str], list[str]]:
    """Separate known options from names; after `n_files` names the rest is left as it is."""
    options: dict[str, str] = {}
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if len(others) >= n_files:
            others.append(word)
        elif word in with_value:
            options[word] = next(rest, "")
        elif word.startswith("-") and word != "-" and word not in flags:
            raise _refused("the option", [word])
        elif word not in flags:
            others.append(word)
    return options, others


_READERS: dict[str, Callable[[Sequence[str]], Stage]] = {
    "sph2pipe": _sph2pipe,
    "sox": _sox,
    "flac": _flac,
    "cat": _cat,
    "ffmpeg": _ffmpeg,
}
