"""What the camera sees; used where the layout has a video lane. See docs/video.md."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option

MAX_DISTRACTORS = 8


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """Scenes and what is asked about them; seconds are drawn evenly between two numbers."""

    count_words: tuple[str, ...] = option(
        ("record", "number"), "visual_count: what a user says to have repetitions counted"
    )
    span_words: tuple[str, ...] = option(
        ("playback", "pause"), "visual_span: what a user says to have an action's start and end"
    )
    span_answers: tuple[str, str] = option(
        ("playback", "pause"), "visual_span: what the agent says at the start and at the end"
    )
    number_words: tuple[str, ...] = option(
        ("new", "number"), "visual_question: what a user says to be told the next number"
    )
    letter_words: tuple[str, ...] = option(
        ("new", "uppercase"), "visual_question: what a user says to be told the next letter"
    )
    delay: tuple[float, float] = option((0.7, 2.2), "from a request to the first movement")
    period: tuple[float, float] = option((1.05, 2.2), "one repetition, its rest included")
    pause: tuple[float, float] = option((0.8, 2.0), "a rest between two repetitions")
    pause_probability: float = option(0.15, "how often a repetition is preceded by such a rest")
    hold_probability: float = option(0.15, "how often one is held in the middle for a while")
    false_start_probability: float = option(0.25, "how often one is begun and given up before")
    false_start_depth: tuple[float, float] = option(
        (0.2, 0.45), "how far of a repetition a false start goes"
    )
    span: tuple[float, float] = option((1.2, 4.5), "length of an action")
    appears: tuple[float, float] = option((1.0, 4.5), "from a question to its answer")
    decoy_probability: float = option(
        0.5, "how often something else appears before the answer does"
    )
    unasked_probability: float = option(
        0.35, "how often something moves or appears about which nobody has asked"
    )
    off_probability: float = option(
        0.15, "how often the camera is off in a dialogue that asks nothing about it"
    )
    distractors: tuple[int, int] = option((0, 3), "fewest and most other things that move")
    camera_motion: float = option(0.05, "largest sway of the camera, in frame heights")
    light: float = option(0.35, "largest change of the light")
    noise: tuple[float, float] = option((0.0, 8.0), "noise of the camera, in levels of 255")

    def __post_init__(self) -> None:
        low, high = self.distractors
        if not 0 <= low <= high <= MAX_DISTRACTORS:
            raise ValueError(
                f"video.distractors={[low, high]} must be two rising numbers between 0 and "
                f"{MAX_DISTRACTORS}"
            )
        if len(self.span_answers) != 2 or len(set(self.span_answers)) != 2:
            raise ValueError(
                f"video.span_answers={list(self.span_answers)} must be two different words"
            )
        if self.period[0] < 0.8:
            raise ValueError(
                f"video.period={list(self.period)} must begin at 0.8 s or more: at one frame per "
                "micro-turn faster repetitions cannot be told apart"
            )
