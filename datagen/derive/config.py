"""Thresholds of derived events, with their sources: one block."""

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class DeriveConfig:
    """What makes a turn, a pause, a backchannel or an interruption of recorded speech."""

    # Heldner & Edlund 2010 (J. Phonetics 38:555), Roberts et al. 2015: silences up to 180 ms may
    # be the closure of a stop.
    join_s: float = option(0.18, "a shorter silence belongs to the stretch of speech around it")
    # Ekstedt & Skantze 2022 (Voice Activity Projection): isolated speech of at most 1 s, own
    # silence of at least 1 s on both sides. That is a rule for activity alone. Words of the list
    # are evidence of their own, so less silence will do: half of it, our choice by `bench derive`.
    max_backchannel_s: float = option(1.0, "longest backchannel")
    own_silence_s: float = option(
        1.0, "its speaker is silent this long before and after, where its words are not known"
    )
    listed_silence_s: float = option(0.5, "the same, where its words are in the list of forms")
    after_turn_s: float = option(
        0.5, "a backchannel begins at most this long after the other's words"
    )
    answered_s: float = option(
        1.0, "where the other is silent longer around it, a sound without words was an answer"
    )
    more_backchannels: tuple[str, ...] = option(
        (), "backchannels of this corpus beside those of datagen/derive/backchannel_forms.py"
    )
    # Levinson & Torreira 2015; 0.3 s is above the stops and breaths inside a phrase (0.25 to 0.5 s
    # is a typical pause, Lundholm Fors 2015).
    pause_s: float = option(0.3, "shortest silence inside a turn that is a pause")
    # Lundholm Fors 2015: 4 s feel odd; timing.human.longest_gap_s has the same value.
    longest_pause_s: float = option(
        3.0, "after a longer silence the same speaker begins a new turn"
    )
    # Longer than nine of ten overlaps at a change of speaker (Levinson & Torreira 2015: median
    # 205 ms); timing.human.interruption_s has the same value.
    interruption_s: float = option(0.4, "shortest overlap of an interruption")
    # Systems yield within 0.1 to 1.04 s: SALM-Duplex 0.64 s, 13 frames of 80 ms in NeMo.
    yield_s: float = option(
        1.0, "who falls silent later than this after a word of the other went on by choice"
    )
    stop_margin_s: float = option(0.3, "the agent may stop this much later than the recorded one")
    # Windows around the recorded answer: two micro-turns late, one early.
    early_answer_s: float = option(0.2, "the agent may answer this much earlier than recorded")
    late_answer_s: float = option(0.4, "the agent may answer this much later than recorded")
    answer_s: float = option(0.8, "and up to this long after a turn in any case")
    # Greedy matching of backchannels within 0.5 s.
    backchannel_window_s: float = option(
        0.5, "the agent's backchannel may come this much earlier or later than recorded"
    )
    resume_s: float = option(
        1.0, "after a backchannel or a failed interruption the agent goes on for this long"
    )
    words_confidence: float = option(0.95, "largest confidence where the times of words are known")
    activity_confidence: float = option(0.8, "largest confidence where only activity is known")

    def __post_init__(self) -> None:
        for name in (
            *("join_s", "max_backchannel_s", "own_silence_s", "listed_silence_s", "pause_s"),
            *(
                "answered_s",
                "interruption_s",
                "yield_s",
                "answer_s",
                "resume_s",
                "backchannel_window_s",
            ),
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"derive.{name}={getattr(self, name)} must be positive")
        for name in ("after_turn_s", "stop_margin_s", "early_answer_s", "late_answer_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"derive.{name}={getattr(self, name)} must not be negative")
        if not self.join_s <= self.pause_s <= self.longest_pause_s:
            raise ValueError(
                f"derive.join_s={self.join_s}, derive.pause_s={self.pause_s} and "
                f"derive.longest_pause_s={self.longest_pause_s} must rise in this order"
            )
        for name in ("words_confidence", "activity_confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"derive.{name}={getattr(self, name)} must be between 0 and 1: only a placed "
                    "event is certain"
                )
