"""The actions of a stick figure: its joints at every phase.

Coordinates are in heights of the figure, y upwards from the floor, x from its middle. A repetition
begins and ends at phase 0; phase 1 is its far end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

Joint = tuple[float, float]
Pose = dict[str, Joint]

TORSO, THIGH, SHIN, ARM = 0.32, 0.25, 0.24, 0.17
SHOULDER, HIP, NECK_TO_HEAD = 0.09, 0.06, 0.1
HEAD_RADIUS: Final = 0.075
BONES: Final = (
    ("hip", "neck"),
    ("shoulder_l", "shoulder_r"),
    ("shoulder_l", "elbow_l"),
    ("elbow_l", "hand_l"),
    ("shoulder_r", "elbow_r"),
    ("elbow_r", "hand_r"),
    ("hip", "knee_l"),
    ("knee_l", "foot_l"),
    ("hip", "knee_r"),
    ("knee_r", "foot_r"),
)


def _bent(a: Joint, b: Joint, first: float, second: float, side: float) -> Joint:
    """Return the joint between two bones of these lengths that connect `a` and `b`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    distance = min(max(math.hypot(dx, dy), 1e-6), (first + second) * 0.9999)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    away = side * math.sqrt(max(first**2 - along**2, 0.0))
    ux, uy = dx / distance, dy / distance
    return a[0] + along * ux - away * uy, a[1] + along * uy + away * ux


def _front(
    *,
    hip: Joint = (0.0, 0.48),
    lean: float = 0.0,
    arms: tuple[float, float] = (10.0, 10.0),
    feet: tuple[Joint, Joint] = ((-0.07, 0.0), (0.07, 0.0)),
) -> Pose:
    """Return a pose seen from the front; arms in degrees from hanging down, outwards."""
    turn = math.radians(lean)
    neck = (hip[0] + TORSO * math.sin(turn), hip[1] + TORSO * math.cos(turn))
    pose = {
        "hip": hip,
        "neck": neck,
        "head": (
            neck[0] + NECK_TO_HEAD * math.sin(turn),
            neck[1] + NECK_TO_HEAD * math.cos(turn),
        ),
    }
    for name, side, angle, foot in (("l", -1, arms[0], feet[0]), ("r", 1, arms[1], feet[1])):
        shoulder = (
            neck[0] + side * SHOULDER * math.cos(turn),
            neck[1] - side * SHOULDER * math.sin(turn),
        )
        way = math.radians(angle) - side * turn
        reach = (side * math.sin(way), -math.cos(way))
        pose[f"shoulder_{name}"] = shoulder
        pose[f"elbow_{name}"] = (shoulder[0] + ARM * reach[0], shoulder[1] + ARM * reach[1])
        pose[f"hand_{name}"] = (
            shoulder[0] + 2 * ARM * reach[0],
            shoulder[1] + 2 * ARM * reach[1],
        )
        pose[f"foot_{name}"] = foot
        pose[f"knee_{name}"] = _bent(hip, foot, THIGH, SHIN, side)
    return pose


def _side(hip: Joint, neck: Joint, head: Joint, hand: Joint, knee: Joint, foot: Joint) -> Pose:
    """Return a pose seen from the side: left and right limbs almost coincide."""
    pose = {"hip": hip, "neck": neck, "head": head}
    elbow = _bent(neck, hand, ARM, ARM, -1.0)
    for name, shift in (("l", 0.015), ("r", -0.015)):
        joints = {"shoulder": neck, "elbow": elbow, "hand": hand, "knee": knee, "foot": foot}
        for joint, (x, y) in joints.items():
            pose[f"{joint}_{name}"] = (x + shift, y)
    return pose


def standing(_: float = 0.0) -> Pose:
    return _front()


def jumping_jacks(phase: float) -> Pose:
    spread = 0.07 + 0.17 * phase
    hop = 0.04 * math.sin(math.pi * phase)
    feet = ((-spread, hop), (spread, hop))
    height = hop + math.sqrt((THIGH + SHIN) ** 2 - spread**2) - 0.01
    return _front(hip=(0.0, height), arms=(12 + 150 * phase,) * 2, feet=feet)


def arm_raises(phase: float) -> Pose:
    return _front(arms=(10 + 155 * phase,) * 2)


def squats(phase: float) -> Pose:
    hip = (0.0, 0.47 - 0.22 * phase)
    return _front(hip=hip, arms=(10 + 75 * phase,) * 2, feet=((-0.12, 0.0), (0.12, 0.0)))


def side_bends(phase: float) -> Pose:
    return _front(lean=42 * phase, arms=(10 + 150 * phase, 10.0))


def knee_raises(phase: float) -> Pose:
    left = (-0.07 - 0.03 * phase, 0.3 * phase)
    return _front(arms=(10 + 25 * phase,) * 2, feet=(left, (0.07, 0.0)))


def push_ups(phase: float) -> Pose:
    foot, hand = (-0.5, 0.03), (0.36, 0.0)
    neck = (0.33, 0.33 - 0.24 * phase)
    hip = (foot[0] + 0.58 * (neck[0] - foot[0]), foot[1] + 0.58 * (neck[1] - foot[1]))
    knee = (foot[0] + 0.29 * (neck[0] - foot[0]), foot[1] + 0.29 * (neck[1] - foot[1]))
    return _side(hip, neck, (neck[0] + 0.1, neck[1] + 0.03), hand, knee, foot)


def sit_ups(phase: float) -> Pose:
    turn = math.radians(6 + 74 * phase)
    hip = (0.0, 0.06)
    neck = (hip[0] - TORSO * math.cos(turn), hip[1] + TORSO * math.sin(turn))
    head = (
        neck[0] - NECK_TO_HEAD * math.cos(turn),
        neck[1] + NECK_TO_HEAD * math.sin(turn) + 0.02,
    )
    hand = (neck[0] + 0.2, neck[1] + 0.12)
    return _side(hip, neck, head, hand, (0.19, 0.22), (0.36, 0.02))


def waves(phase: float) -> Pose:
    return _front(arms=(10.0, 105 + 60 * phase))


def marches(phase: float) -> Pose:
    feet = ((-0.07, 0.24 * phase), (0.07, 0.24 * (1 - phase)))
    return _front(arms=(10 + 50 * (1 - phase), 10 + 50 * phase), feet=feet)


REPEATED: Final[dict[str, Callable[[float], Pose]]] = {
    "jumping jacks": jumping_jacks,
    "arm raises": arm_raises,
    "squats": squats,
    "side bends": side_bends,
    "knee raises": knee_raises,
    "push ups": push_ups,
    "sit ups": sit_ups,
}
# Continuous actions; their pose at phase 0 need not be one of rest.
CONTINUED: Final[dict[str, Callable[[float], Pose]]] = {
    "waving": waves,
    "marching": marches,
    "jumping": jumping_jacks,
    "swinging": arm_raises,
}
ACTIONS: Final = {**REPEATED, **CONTINUED}


def blended(a: Pose, b: Pose, *, share: float) -> Pose:
    """Interpolate two poses joint by joint."""
    if share <= 0.0:
        return a
    if share >= 1.0:
        return b
    return {
        name: (x + (b[name][0] - x) * share, y + (b[name][1] - y) * share)
        for name, (x, y) in a.items()
    }
