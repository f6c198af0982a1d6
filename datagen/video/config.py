"""Configuration of simulated video; used when the layout has a video lane. See docs/video.md."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option

MAX_DISTRACTORS = 8


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """Scenes and the requests about them; ranges are uniform."""

    count_words: tuple[str, ...] = option(
        ("record", "number"), "visual_count: the user's request to count repetitions"
    )
    span_words: tuple[str, ...] = option(
        ("playback", "pause"), "visual_span: the user's request to report an action"
    )
    span_answers: tuple[str, str] = option(
        ("playback", "pause"), "visual_span: the agent's words at the start and the end"
    )
    number_words: tuple[str, ...] = option(
        ("new", "number"), "visual_question: the user's request for the next number"
    )
    letter_words: tuple[str, ...] = option(
        ("new", "uppercase"), "visual_question: the user's request for the next letter"
    )
    delay_s: tuple[float, float] = option((0.7, 2.2), "from a request to the first movement")
    period_s: tuple[float, float] = option((1.05, 2.2), "length of a repetition and its rest")
    pause_s: tuple[float, float] = option((0.8, 2.0), "a longer rest between two repetitions")
    pause_probability: float = option(0.15, "probability of a longer rest before a repetition")
    hold_probability: float = option(0.15, "probability that a repetition is held in the middle")
    false_start_probability: float = option(0.25, "probability of a false start of a repetition")
    false_start_depth: tuple[float, float] = option(
        (0.2, 0.45), "depth of a false start, as a share of a repetition"
    )
    span_s: tuple[float, float] = option((1.2, 4.5), "length of an action")
    appears_s: tuple[float, float] = option((1.0, 4.5), "from a question to its answer")
    decoy_probability: float = option(0.5, "probability of another sign before the answer")
    unasked_probability: float = option(
        0.35, "probability of a movement or sign that the user has not asked about"
    )
    off_probability: float = option(
        0.15, "probability that the camera is off in a dialogue without visual requests"
    )
    distractors: tuple[int, int] = option((0, 3), "smallest and largest number of distractors")
    camera_motion: float = option(0.05, "largest sway of the camera, in frame heights")
    light: float = option(0.35, "largest relative change of the light")
    noise: tuple[float, float] = option((0.0, 8.0), "noise of the camera, in levels of 255")

    def __post_init__(self) -> None:
        low, high = self.distractors
        if not 0 <= low <= high <= MAX_DISTRACTORS:
            raise ValueError(
                f"video.distractors={[low, high]} must be two numbers in order between 0 and "
                f"{MAX_DISTRACTORS}"
            )
        if len(self.span_answers) != 2 or len(set(self.span_answers)) != 2:
            raise ValueError(
                f"video.span_answers={list(self.span_answers)} must be two different words"
            )
        if self.period_s[0] < 0.8:
            raise ValueError(
                f"video.period_s={list(self.period_s)} must begin at 0.8 s or more: at one frame "
                "per micro-turn faster repetitions cannot be told apart"
            )
