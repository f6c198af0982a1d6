"""Talker positions: every talker of a dialogue has its own place and impulse response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microturn.datagen.acoustics.responses import Room, RoomPosition
from microturn.datagen.dialogue.recipe import Channel
from microturn.datagen.dialogue.script import Clip
from microturn.datagen.labels.setting import TalkerLabel

FAR, BESIDE, NEAR = "far", "beside", "near"


@dataclass(frozen=True, kw_only=True)
class TalkerPosition:
    """A place in the bank of rooms, and the clips that sound from it."""

    lane: str
    voice: str
    room: int
    kind: str
    number: int
    clips: tuple[Clip, ...]

    @property
    def key(self) -> tuple[int, str, int]:
        return self.room, self.kind, self.number

    def place(self, rooms: Sequence[Room]) -> RoomPosition:
        room = rooms[self.room]
        return {NEAR: (room.near,), FAR: room.far, BESIDE: room.beside}[self.kind][self.number]

    def label(self, rooms: Sequence[Room], sample_rate: int) -> TalkerLabel:
        place = self.place(rooms)
        return TalkerLabel(
            lane=self.lane,
            voice=self.voice,
            room=self.room,
            place=f"{self.kind}{self.number}",
            distance_m=place.distance_m,
            flight_ms=round(place.delay_samples * 1000 / sample_rate, 4),
            level_db=tuple(round(clip.gain_db, 3) for clip in self.clips),
        )


def talker_positions(
    channel: Channel, clips: Sequence[Clip], *, rooms: Sequence[Room], far_user: bool
) -> list[TalkerPosition]:
    """Return the user's position, then those of other voices in the order of their first clip.

    When all places of the room are taken, further voices sound from another room of the bank.
    """
    room = channel.room % len(rooms)
    taken = {FAR: int(far_user), BESIDE: 0}

    def next_place(kind: str) -> tuple[int, int]:
        of_kind = len(rooms[room].far if kind == FAR else rooms[room].beside)
        count = taken[kind]
        taken[kind] += 1
        if count >= of_kind * len(rooms):
            raise ValueError(
                f"a dialogue has more voices than the bank has places; raise rooms.n_rooms from "
                f"{len(rooms)} or rooms.n_far from {len(rooms[room].far)}"
            )
        first = channel.far_place if kind == FAR else 0
        return (room + count // of_kind) % len(rooms), (first + count) % of_kind

    user = tuple(clip for clip in clips if clip.lane == "user")
    number = channel.far_place % len(rooms[room].far) if far_user else 0
    positions = [
        TalkerPosition(
            lane="user",
            voice=user[0].unit.voice if user else "",
            room=room,
            kind=FAR if far_user else NEAR,
            number=number,
            clips=user,
        )
    ]
    others: dict[tuple[str, str], list[Clip]] = {}
    for clip in sorted(clips, key=lambda item: item.start_sample):
        if clip.lane == "background":
            others.setdefault((clip.unit.voice, clip.place or FAR), []).append(clip)
    for (voice, kind), of_voice in others.items():
        voice_room, number = next_place(kind)
        positions.append(
            TalkerPosition(
                lane="background",
                voice=voice,
                room=voice_room,
                kind=kind,
                number=number,
                clips=tuple(of_voice),
            )
        )
    return positions
