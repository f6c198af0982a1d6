"""What ours is measured against: lhotse, and the least that any program must do.

Both get what ours has worked out already: which recording, trimmed and levelled, sounds where.
The floor encodes whole channels by libFLAC at the level that ours uses. lhotse is measured as its
users have it, with `cut.save_audio`, which takes libsndfile's default level, and at ours.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from microturn.datagen.acoustics.mix import Filter
from microturn.datagen.dialogue.script import Clip
from microturn.datagen.pipeline import SimulatedDialogue, Simulator
from microturn.datagen.sets.flac import LEVEL
from microturn.model.streams.pcm import Audio, Pcm16, to_pcm16

LANES = ("user", "agent")
Jobs = dict[str, Callable[[], object]]


def floors(
    dialogues: Sequence[SimulatedDialogue], simulator: Simulator, bank: Path, folder: Path
) -> Jobs:
    """Place the units, convolve, add noise, encode, tar: nothing is planned, labelled or packed.

    The noise is a slice of a bed that has its level already. Without it the encoder would mostly
    see digital silence, which costs it less than any microphone does.
    """
    n, rate = simulator.config.n_samples, simulator.config.layout.sample_rate
    response = Filter(room_response(bank))

    noise = [
        dialogue.sound.stems["noise"] + dialogue.sound.stems["dither"] for dialogue in dialogues
    ]

    def make(name: str, filters: dict[str, Filter]) -> Callable[[], object]:
        def job() -> None:
            with tarfile.open(folder / f"{name}.tar", "w") as tar:
                for index, dialogue in enumerate(dialogues):
                    for lane in LANES:
                        audio = np.zeros(n, np.float32)
                        for clip in dialogue.script.clips:
                            if clip.lane == lane:
                                audio[clip.start_sample : clip.end_sample] += clip.unit.audio[
                                    : clip.n_samples
                                ]
                        if lane in filters:
                            audio = filters[lane](audio)
                            audio += noise[index]
                        data = _flac(to_pcm16(audio), rate)
                        info = tarfile.TarInfo(f"{index:08d}.{lane}.flac")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))

        return job

    return {
        "floor_dry": make("floor_dry", {}),
        "floor_reverb": make("floor_reverb", {"user": response}),
    }


def peers(
    dialogues: Sequence[SimulatedDialogue], simulator: Simulator, bank: Path, folder: Path
) -> Jobs:
    """lhotse mixes the same utterances from WAV files; its own reverberation where asked for.

    Its `reverberate(cuts, *rirs)` fails when impulse responses are given, so its tracks are
    reverberated one by one, as that function means to.
    """
    rate = simulator.config.layout.sample_rate
    seconds = simulator.config.n_samples / rate
    folder = folder / "lhotse"
    folder.mkdir(exist_ok=True)
    response = room_response(bank)
    soundfile.write(folder / "room.wav", response / np.abs(response).max(), rate)
    dry = [
        {lane: _mixed_cut(dialogue.script.clips, lane, seconds, rate, folder) for lane in LANES}
        for dialogue in dialogues
    ]
    rir = _recording(folder / "room.wav")

    def job(wet: tuple[str, ...], *, own_writer: bool = True) -> Callable[[], object]:
        cuts = [
            {
                lane: _reverberated(cut, rir) if lane in wet else cut
                for lane, cut in channels.items()
            }
            for channels in dry
        ]

        def render() -> None:
            for index, channels in enumerate(cuts):
                for lane, cut in channels.items():
                    path = folder / f"{index}-{lane}.flac"
                    if own_writer:
                        cut.save_audio(path)
                    else:
                        path.write_bytes(_flac(to_pcm16(cut.load_audio()[0]), rate))

        return render

    return {
        "lhotse_dry": job(()),
        "lhotse_dry_our_level": job((), own_writer=False),
        "lhotse_reverb": job(LANES),
        "lhotse_reverb_our_level": job(LANES, own_writer=False),
        "lhotse_reverb_user": job(("user",)),
    }


def _flac(pcm: Pcm16, sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, pcm, sample_rate, format="FLAC", subtype="PCM_16", compression_level=LEVEL
    )
    return buffer.getvalue()


def room_response(bank: Path) -> Audio:
    """A near response of the first room, whatever else the bank holds."""
    with np.load(bank) as stored:
        names = [name for name in stored.files if name.startswith(("near0", "0_near"))]
        return np.asarray(stored[names[0]], np.float32)


def _mixed_cut(clips: Sequence[Clip], lane: str, seconds: float, rate: int, folder: Path) -> Any:
    """A lane as lhotse has it: a silent track of the whole length and one track per utterance."""
    from lhotse.cut import MixedCut, MixTrack, PaddingCut

    silence = PaddingCut(
        id="silence",
        duration=seconds,
        sampling_rate=rate,
        feat_value=0.0,
        num_samples=round(seconds * rate),
    )
    tracks = [MixTrack(cut=silence)]
    for clip in clips:
        if clip.lane == lane:
            path = folder / f"{clip.unit.source}-{clip.unit.voice}.wav".replace("/", "-")
            if not path.exists():
                soundfile.write(path, clip.unit.audio, rate, subtype="PCM_16")
            cut = _recording(path).to_cut()
            if clip.n_samples < clip.unit.n_samples:
                cut = cut.truncate(duration=clip.n_samples / rate)
            tracks.append(MixTrack(cut=cut, offset=clip.start_sample / rate))
    return MixedCut(id=f"{lane}-{id(tracks)}", tracks=tracks)


def _recording(path: Path) -> Any:
    from lhotse import Recording

    return Recording.from_file(path)


def _reverberated(cut: Any, rir: Any) -> Any:
    from dataclasses import replace

    tracks = [
        track if track.cut.id == "silence" else replace(track, cut=track.cut.reverb_rir(rir))
        for track in cut.tracks
    ]
    return replace(cut, tracks=tracks)
