"""A dialogue whose user reacts: one micro-turn of an agent in, one micro-turn of microphone out.

    environment = Environment(LiveSource.open("live:datagen/demo.yaml"), index=3)
    heard = environment.reset()
    while not done:
        heard, occurrences, done = environment.step(agent(heard))
    environment.timeline()  # what happened, which the scorers read

It is a pure function of source, index, seed and of what the agent does. The output that an agent
makes of micro-turn k is played in micro-turn k + 1, as in a session.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.acoustics.conditions import channel_events
from microturn.datagen.acoustics.echo import active_steps
from microturn.datagen.closed_loop.draws import Draws
from microturn.datagen.closed_loop.history import history
from microturn.datagen.closed_loop.micro_turn import (
    Episode,
    MicroTurn,
    Occurrence,
    Output,
    Played,
)
from microturn.datagen.closed_loop.microphone import Microphone
from microturn.datagen.closed_loop.plan import DialoguePlan, plan_dialogue
from microturn.datagen.closed_loop.user import SimulatedUser
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.labels.event_types import ECHO
from microturn.datagen.live import LiveSource
from microturn.datagen.pack import say_tokens
from microturn.datagen.pipeline import RenderedDialogue
from microturn.model.streams import DELEGATE
from microturn.model.streams.pcm import from_pcm16

FAMILIES: Final = frozenset(
    {
        *("turn", "self_correction", "interruption", "user_backchannel", "agent_backchannel"),
        *("side_talk", "background", "music", "vocal_tic", "interjection", "timed_cue"),
        *(
            "repeated_cue",
            "spoken_cue",
            "translation",
            "delegation",
            "errand",
            "recall",
            "forbidden",
        ),
        *("one_word", "overlap", "count", "recount", "conversation"),
        *("hush", "long_memory"),
        *("scripted", "narration", "listening", "read_aloud", "repeat_after"),
    }
)


class Environment:
    """One episode; `reset` begins it, and begins it anew."""

    def __init__(self, source: LiveSource, index: int, *, seed: int = 0) -> None:
        """`seed` is of what a user draws beyond the planned dialogue `index` of the source.

        Raises ValueError for a source with a scenario that cannot be played in a closed loop.
        """
        unknown = sorted(set(source.config.weights) - FAMILIES)
        if unknown:
            raise ValueError(
                f"families.{unknown[0]} has no user that reacts; set it to 0, or give only= some "
                f"of {', '.join(sorted(FAMILIES))}"
            )
        if source.config.voices.voice_prompt_s[1] > 0:
            raise ValueError("voices.voice_prompt_s cannot be played in a closed loop; set it to 0")
        self.source, self.index, self.seed = source, index, seed
        self.layout = source.layout
        self._say: list[tuple[int, ...]] = []
        self._occurrences: list[Occurrence] = []
        self._user: SimulatedUser | None = None

    # --- an episode --------------------------------------------------------------------------
    def reset(self) -> MicroTurn:
        """Begin, and return what is heard in the first micro-turn."""
        n = self.source.config.n_samples
        self._agent = np.zeros(n, np.float32)
        self._say, self._occurrences = [], []
        self._user = SimulatedUser(self.plan, self._draws)
        self._microphone = self._new_microphone()
        self._unread: deque[int] = deque()
        self._n_texts = 0
        self._k = -1
        return self._hear(np.zeros(self.layout.samples_per_micro_turn, np.float32))

    def step(self, agent: Output) -> tuple[MicroTurn, tuple[Occurrence, ...], bool]:
        """Play what the agent made of the last micro-turn, and return the next.

        Also returns what became of planned events, and whether this was the last micro-turn: what
        an agent makes of it would sound after the end. Raises ValueError for sound of another
        length and after the end.
        """
        user = self._open()
        last = self.source.n_micro_turns - 1
        if self._k >= last:
            raise ValueError("the dialogue is over; reset() begins it anew")
        block = self.layout.samples_per_micro_turn
        if agent.audio.shape != (block,):
            raise ValueError(
                f"the agent's sound is {agent.audio.shape}, but a micro-turn is ({block},) samples"
            )
        self._say.append(tuple(int(token) for token in agent.say))
        played = self._k + 1
        if DELEGATE in self._say[-1]:
            user.delegated(played * block)
        sound = np.asarray(agent.audio, np.float32)
        self._agent[played * block : (played + 1) * block] = sound
        heard = self._hear(sound)
        done = self._k >= last
        if done:
            user.close()
        occurrences = tuple(user.occurrences)
        user.occurrences.clear()
        self._occurrences += occurrences
        return heard, occurrences, done

    @property
    def micro_turn(self) -> int:
        """Number of the micro-turn that was heard last."""
        return self._k

    def _hear(self, sound: NDArray[np.float32]) -> MicroTurn:
        """Go on by one micro-turn in which the agent sounds like this."""
        user = self._open()
        for sounds in active_steps(sound).tolist():
            for one in user.speak():
                if one.stop is None:
                    self._microphone.place(one.clip, one.start)
                else:
                    self._microphone.break_off(one.clip, one.start, one.stop)
            user.hear(sounds)
        audio = self._microphone.block(sound)
        self._k += 1
        dialogue = self._planned
        return MicroTurn(
            audio=audio,
            text_in=self._read(),
            missing_input=bool(dialogue.sound.missing_input[self._k]),
            given={name: frames[self._k] for name, frames in self._given.items()},
        )

    def _read(self) -> tuple[int, ...]:
        """Return the next ids of the texts that have arrived, as many as there are positions."""
        user = self._open()
        block = self.layout.samples_per_micro_turn
        first, last = self._k * block, (self._k + 1) * block
        for arrival in sorted(user.arrivals, key=lambda item: item.sample):
            if first <= arrival.sample < last:
                self._unread.extend(self.source.tokenizer.encode_lane_text(arrival.text))
        n = min(len(self._unread), self.layout.text_in_positions)
        return tuple(self._unread.popleft() for _ in range(n))

    def _open(self) -> SimulatedUser:
        if self._user is None:
            raise ValueError("reset() has to begin the dialogue")
        return self._user

    # --- what happened -----------------------------------------------------------------------
    def timeline(self) -> Timeline:
        """Return what has happened so far; its agent is the right one, not the one that played."""
        user, config = self._open(), self.source.config
        now = (self._k + 1) * self.layout.samples_per_micro_turn
        tail = round(config.timing.background_tail_s * self.layout.sample_rate)
        timeline = history(user, now=now, tail=tail)
        dialogue = self._planned
        timeline.events += [
            event
            for event in channel_events(config, dialogue.recipe, timeline, dialogue.conditions)
            if event.start_sample < now
            and (event.type != ECHO or self._agent[event.start_sample : event.end_sample].any())
        ]
        timeline.sort()
        return timeline

    def labels(self) -> DialogueLabels:
        """Return the labels of what has happened so far."""
        labels = self.source.simulator.labels(self._planned)
        seconds = self.timeline().labels(self.layout.sample_rate)
        return replace(
            labels,
            words=seconds.words,
            intended_agent_words=seconds.intended_agent_words,
            events=seconds.events,
            controls=seconds.controls,
            text_in=seconds.text_in,
            without_loss=seconds.without_loss,
        )

    @property
    def never(self) -> tuple[Occurrence, ...]:
        """What was planned and will not happen: without a reason it cannot be right or wrong."""
        return tuple(one for one in self._occurrences if one.kind == "never")

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """What has become of planned events so far."""
        return tuple(self._occurrences)

    def episode(self) -> Episode:
        """Return all that scores need, which can be sent to another process."""
        now = (self._k + 1) * self.layout.samples_per_micro_turn
        return Episode(
            index=self.index,
            labels=self.labels(),
            agent_audio=self.agent_audio(),
            say=self.say,
            results=tuple(one for one in self._open().results if one.sample < now),
            never=self.never,
        )

    def agent_audio(self) -> NDArray[np.float32]:
        """Return what the agent has played so far (T,)."""
        return self._agent[: (self._k + 1) * self.layout.samples_per_micro_turn].copy()

    @property
    def say(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of the agent by the micro-turn in which it decided on them."""
        return tuple(self._say)

    # --- the plan ----------------------------------------------------------------------------
    @cached_property
    def _planned(self) -> RenderedDialogue:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # as in the workers of `microturn simulate`
            return self.source.simulator.rendered(self.index)

    @cached_property
    def _given(self) -> dict[str, NDArray[Any]]:
        return {**self.source.simulator.films(self._planned)}

    def _new_microphone(self) -> Microphone:
        dialogue = self._planned
        return Microphone(
            self.source.config,
            self.source.simulator.renderer,
            dialogue.recipe,
            dialogue.script,
            dialogue.conditions,
            rendered=dialogue.sound,
        )

    @cached_property
    def plan(self) -> DialoguePlan:
        """The planned dialogue in acts and utterances."""
        dialogue = self._planned
        return plan_dialogue(
            dialogue.script,
            dialogue.sound,
            rate=self.layout.sample_rate,
            ahead=self._new_microphone().ahead,
        )

    @property
    def _draws(self) -> Draws:
        return Draws(
            timing=self.source.config.timing,
            seed=self.seed,
            index=self.index,
            rate=self.layout.sample_rate,
            micro_turn=self.layout.samples_per_micro_turn,
        )

    def recorded(self) -> list[Played]:
        """Return what the planned agent plays, by the micro-turn in which it decides on it."""
        dialogue, block = self._planned, self.layout.samples_per_micro_turn
        sound = from_pcm16(dialogue.sound.agent).reshape(-1, block)
        say: list[list[int]] = [[] for _ in sound]
        for token in say_tokens(dialogue.timeline, self.layout):
            decided = self.layout.micro_turn_of(token.sample) - 1
            if decided >= 0:
                say[decided] += token.ids(self.source.tokenizer)
        return [Played(audio=sound[k + 1], say=say[k]) for k in range(len(sound) - 1)]
