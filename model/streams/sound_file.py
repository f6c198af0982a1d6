"""Sound files of any origin: pieces of them as float32, without trusting their headers.

A header may state no length (FLAC from a pipe), more than the file holds (torn), or a full scale
that is not 1 (float samples of 16-bit size). Only the piece asked for is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from microturn.model.streams.pcm import Audio

if TYPE_CHECKING:
    from soundfile import SoundFile

SCALED: Final = "scale of whole numbers"  # notes on what was mended
LIMITED: Final = "beyond full scale"
NO_LENGTH: Final = "no length in the header"
ONE_CHANNEL: Final = "channels that cancel"
NO_OFFSET: Final = "offset"

_BLOCK: Final = 2**22  # frames that are read at once, 16 MiB of each channel
_TOLERANCE_S: Final = 0.1  # by which a piece, or the length in a header, may exceed the sound
_UNKNOWN_BYTES: Final = 0x7FFF_F000  # a length of this or more was written before it was known
_UNKNOWN_FRAMES: Final = 2**60
_SCALES: Final = (2.0**15, 2.0**23, 2.0**31)
_MAX_OVERSHOOT: Final = 8.0  # of float samples whose full scale is 1
_MIN_WHOLE: Final = 64.0  # smallest peak of samples in the scale of whole numbers
_MIN_COHERENCE: Final = 0.25  # power of the mean of the channels, re the mean of their powers
_OFFSET_DB: Final = -40.0  # re the loudest 10 ms: as loud as the quietest sound that counts
_OFFSET_HZ: Final = (4.0, 10.0)  # what is below is offset, what is above is sound


class SoundError(ValueError):
    """A recording that cannot be read; the text is the reason, without its name."""


class SoundTooLong(SoundError):
    """A recording, or the piece of it that was asked for, longer than allowed."""


@dataclass(frozen=True, kw_only=True)
class SoundPiece:
    """Samples (n, channels) of a file, and notes on what was mended to get them."""

    samples: Audio
    rate: int
    mended: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SoundHeader:
    """What the header of a file states; the length may be wrong where the file is torn."""

    n_channels: int
    rate: int
    n_frames: int


@contextmanager
def decoding() -> Iterator[None]:
    """Turn any failure of a decoder into SoundError: strange bytes may break it anywhere."""
    try:
        yield
    except SoundError:
        raise
    except OSError as error:
        raise SoundError(f"the file cannot be read ({error.strerror or error})") from error
    except Exception as error:  # decoders raise whatever their headers made them try
        raise SoundError(f"the file cannot be decoded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    text = text.partition("\n")[0]
    if "Format not recognised" in text:
        return "none of the known formats; convert it to WAV or FLAC"
    return text or f"error {getattr(error, 'code', type(error).__name__)}"


def read_sound(
    source: Path | bytes,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    at_most_s: float = inf,
    longest_s: float = inf,
) -> SoundPiece:
    """Decode a file, or the piece from `start_s` to `end_s`; raises SoundError.

    `at_most_s` leaves the rest away; a piece that is longer than `longest_s` raises SoundTooLong.
    """
    with decoding(), ExitStack() as stack:
        file = stack.enter_context(_opened(source, stack))
        first, n = round(start_s * file.samplerate), _UNKNOWN_FRAMES
        if end_s is not None:
            n = round(end_s * file.samplerate) - first
        longest = longest_s * file.samplerate
        claimed = min(n, file.frames - first)
        if longest < claimed < _UNKNOWN_FRAMES:
            raise SoundTooLong(f"it lasts {claimed / file.samplerate:.1f} s")
        most = _UNKNOWN_FRAMES if at_most_s == inf else round(at_most_s * file.samplerate)
        samples = _frames(file, first, min(n, most), longest)
        if len(samples) == most:
            pass
        elif end_s is None:
            _check_whole(file, source, first + len(samples))
        elif n - len(samples) > _TOLERANCE_S * file.samplerate:
            ends_s = (min(first, file.frames) + len(samples)) / file.samplerate
            raise SoundError(f"its piece ends at {end_s:g} s, and the file at {ends_s:.2f} s")
        mended: tuple[str, ...] = ()
        if file.subtype in ("FLOAT", "DOUBLE"):
            samples, mended = _in_full_scale(samples)
        if file.frames > _UNKNOWN_FRAMES:
            mended += (NO_LENGTH,)
        return SoundPiece(samples=samples, rate=file.samplerate, mended=mended)


def sound_header(path: Path) -> SoundHeader:
    """Read the header of a file; raises SoundError."""
    with decoding(), ExitStack() as stack:
        file = stack.enter_context(_opened(path, stack))
        return SoundHeader(n_channels=file.channels, rate=file.samplerate, n_frames=file.frames)


def sound_blocks(
    source: Path | BinaryIO,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    block_s: float,
) -> Iterator[SoundPiece]:
    """Decode a file, or a piece of it, in blocks of some seconds: no length fills memory.

    Float samples keep the scale of the file: `full_scale` finds it, once their peak is known.
    Raises SoundError as `read_sound` does, also after the last block, if the header states more.
    """
    with decoding(), ExitStack() as stack:
        file = stack.enter_context(_opened(source, stack))
        rate, first = file.samplerate, round(start_s * file.samplerate)
        left = _UNKNOWN_FRAMES if end_s is None else round(end_s * rate) - first
        file.seek(min(first, file.frames))
        left, done = min(left, file.frames - first), 0
        notes = (NO_LENGTH,) if file.frames > _UNKNOWN_FRAMES else ()
        while left > 0:
            block = _next_block(file, min(left, round(block_s * rate)))
            if not len(block):
                break
            left, done = left - len(block), done + len(block)
            yield SoundPiece(samples=block, rate=rate, mended=notes)
        if end_s is None and isinstance(source, Path):
            _check_whole(file, source, first + done)
        elif end_s is not None and round(end_s * rate) - first - done > _TOLERANCE_S * rate:
            ends_s = (min(first, file.frames) + done) / rate
            raise SoundError(f"its piece ends at {end_s:g} s, and the file at {ends_s:.2f} s")


def _opened(source: Path | bytes | BinaryIO, stack: ExitStack) -> SoundFile:
    """Open by content: a name such as `x.raw` makes the library ask for the format."""
    import soundfile

    if isinstance(source, bytes):
        if not source:
            raise SoundError("the file is empty")
        return soundfile.SoundFile(BytesIO(source))
    if not isinstance(source, Path):
        return soundfile.SoundFile(source)
    if not source.is_file():
        raise SoundError("the file is missing")
    if not source.stat().st_size:
        raise SoundError("the file is empty")
    file = stack.enter_context(source.open("rb"))
    try:
        return soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        if coding := _sphere_coding(source):
            raise SoundError(
                f"its sound is compressed as {coding}, which is not read; convert it with "
                "`sph2pipe -f wav`"
            ) from error
        raise


def _sphere_coding(path: Path) -> str:
    """Return the coding of a compressed NIST SPHERE file, such as ulaw,embedded-shorten-v2.00."""
    stated = re.search(rb"sample_coding -s\d+ (\S*embedded\S*)", _part(path, 0, 1024))
    return stated[1].decode("ascii", "replace") if stated else ""


def _frames(file: SoundFile, first: int, n: int, longest: float) -> Audio:
    """Read up to `n` frames in blocks, so that no header decides how much memory is asked for."""
    file.seek(min(first, file.frames))  # also to 0: MP3 is then decoded as after any other seek
    blocks, left, done = [], min(n, file.frames - first), 0
    while left > 0:
        block = _next_block(file, min(left, _BLOCK))
        if not len(block):
            break
        blocks.append(block)
        left, done = left - len(block), done + len(block)
        if done > longest:
            raise SoundTooLong(f"it lasts more than {longest / file.samplerate:g} s")
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)


def _next_block(file: SoundFile, n: int) -> Audio:
    """Read up to `n` frames; what was decoded before an error counts.

    Of a FLAC file without a length the last read fails after it has filled its buffer.
    """
    block = np.full((n, file.channels), np.nan, np.float32)
    try:
        return np.asarray(file.read(out=block, always_2d=True))
    except RuntimeError:
        filled = ~np.isnan(block).all(axis=1)
        n = int(filled.argmin()) if not filled.all() else n
        if not n and not file.tell():
            raise
        return block[:n]


def _check_whole(file: SoundFile, source: Path | bytes, n_frames: int) -> None:
    """Raise SoundError if the header states more sound than the file holds."""
    claimed = _claimed_frames(file, source, n_frames)
    if claimed - n_frames > _TOLERANCE_S * file.samplerate:
        held_s, claimed_s = n_frames / file.samplerate, claimed / file.samplerate
        raise SoundError(f"it is torn: its header says {claimed_s:.2f} s, it holds {held_s:.2f} s")
    if file.format == "OGG" and _is_cut_ogg(source):
        raise SoundError("it is torn: its last page is incomplete")


def _claimed_frames(file: SoundFile, source: Path | bytes, n_frames: int) -> float:
    """Return the length that the header states; the library corrects it silently, but logs it."""
    if file.format == "NIST":
        stated = re.search(rb"sample_count -i (\d+)", _part(source, 0, 1024))
        return int(stated[1]) if stated else n_frames
    log = file.extra_info
    frames = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", log)
    if frames:
        return int(frames[2])
    for said, found in re.findall(r"(?:data|SSND|Data Size|riff) *: *(\d+) \(should be (\d+)", log):
        if int(found) < int(said) < _UNKNOWN_BYTES:
            return n_frames * int(said) / max(int(found), 1)
    return file.frames if file.frames < _UNKNOWN_FRAMES else n_frames


def _is_cut_ogg(source: Path | bytes) -> bool:
    """Tell whether the last page of an Ogg file is longer than the file."""
    tail = _part(source, -2 * 65_307, 2 * 65_307)  # a page has at most 65,307 bytes
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    n_segments = page[26] if len(page) > 26 else 0
    return len(page) < 27 + n_segments + sum(page[27 : 27 + n_segments])


def _part(source: Path | bytes, start: int, size: int) -> bytes:
    if isinstance(source, bytes):
        return source[start:][:size]
    with source.open("rb") as file:
        file.seek(max(start, -source.stat().st_size), 0 if start >= 0 else 2)
        return file.read(size)


def _in_full_scale(samples: Audio) -> tuple[Audio, tuple[str, ...]]:
    """Bring float samples to a full scale of 1: some hold whole numbers, some overshoot."""
    scale, mended = full_scale(float(np.abs(samples).max(initial=0.0)))
    if SCALED in mended:
        return np.clip(samples / np.float32(scale), -1.0, 1.0), mended
    return (samples / np.float32(scale) if mended else samples), mended


def full_scale(peak: float) -> tuple[float, tuple[str, ...]]:
    """Return what a sample of full scale is in a file that reaches this peak; raises SoundError."""
    if peak <= 1.0 or not np.isfinite(peak):
        return 1.0, ()
    if peak <= _MAX_OVERSHOOT:
        return peak, (LIMITED,)
    scale = next((scale for scale in _SCALES if _MIN_WHOLE < peak <= 1.01 * scale), None)
    if scale is None:
        raise SoundError(f"its samples reach {peak:.4g}, which is in no known scale; write PCM")
    return scale, (SCALED,)


def to_mono(samples: Audio) -> tuple[Audio, tuple[str, ...]]:
    """Return the mean of the channels, or the loudest one where the mean would cancel."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0]), ()
    mean: Audio = samples.mean(axis=1, dtype=np.float32)
    powers = np.square(samples, dtype=np.float64).mean(axis=0)
    if np.square(mean, dtype=np.float64).mean() < _MIN_COHERENCE * powers.mean():
        return np.ascontiguousarray(samples[:, int(powers.argmax())]), (ONE_CHANNEL,)
    return mean, ()


def without_offset(audio: Audio, rate: int) -> tuple[Audio, tuple[str, ...]]:
    """Remove a constant or slow offset that is strong enough to hide where sound begins."""
    if len(audio) < rate // 50 or not np.isfinite(audio).all():
        return audio, ()
    spectrum = np.fft.rfft(audio.astype(np.float64))
    low_hz, high_hz = _OFFSET_HZ
    hz = np.fft.rfftfreq(len(audio), 1 / rate)
    below = np.clip((high_hz - hz) / (high_hz - low_hz), 0.0, 1.0)
    offset = np.fft.irfft(spectrum * below, len(audio))
    clean = (audio - offset).astype(np.float32)
    if np.square(offset).mean() <= 10 ** (_OFFSET_DB / 10) * _loudest(clean, rate):
        return audio, ()
    return clean, (NO_OFFSET,)


def _loudest(audio: Audio, rate: int) -> float:
    """Return the power of the loudest 10 ms."""
    n = max(rate // 100, 1)
    whole = audio[: len(audio) // n * n].reshape(-1, n)
    return float(np.square(whole, dtype=np.float64).mean(axis=1).max(initial=0.0))
