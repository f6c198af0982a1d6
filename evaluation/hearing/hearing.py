"""`microturn evaluate hearing`: what a checkpoint writes down of people whom it never heard.

Beside it stand pocketsphinx with its own English model and with a list of the words, on the same
sound, and an agent that writes one and the same word of every recording.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import make_folder, write_atomically
from microturn.configs.load import save_config
from microturn.datagen.labels.dialogue import word_list
from microturn.datagen.sets.contents import read_contents
from microturn.evaluation.evaluate import checkpoint_layout
from microturn.evaluation.hearing.config import HearingConfig
from microturn.evaluation.hearing.counts import ErrorRate, error_rate, errors_between
from microturn.evaluation.hearing.kinds import KINDS, LISTED, WITH_LIST
from microturn.evaluation.hearing.people import PersonSession, sessions_of
from microturn.evaluation.runner import AgentSpec, checkpoint_agent
from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.speech.endpointer import speech_spans
from microturn.evaluation.speech.recogniser import (
    Hear,
    english_recogniser,
    heard_in,
    listed_recogniser,
)
from microturn.evaluation.speech.transcripts import SILENCE_S
from microturn.model.config import folder_of

HEARD, LIST, ENGLISH, CONSTANT = "heard", "list_of_words", "english", "one_word"
_COLUMNS: Final = {
    HEARD: "`heard`",
    LIST: f"pocketsphinx, {len(LISTED)} words",
    ENGLISH: "pocketsphinx, English",
    CONSTANT: "one word always",
}


@dataclass(frozen=True, kw_only=True)
class HeardRecording:
    """A recording, and what each listener made of it."""

    id: str
    person: str
    corpus: str
    kind: str
    said: tuple[str, ...]
    words: Mapping[str, Sequence[str]]  # by listener

    def errors(self, listener: str) -> int:
        return errors_between(self.words[listener], self.said)


def evaluate_hearing(config: HearingConfig) -> int:
    """Run the command; returns 0."""
    folder = folder_of(config.checkpoint)
    layout = checkpoint_layout(folder)
    contents = read_contents(Path(folder))
    trained = () if contents is None else tuple(contents.speakers)
    sessions = sessions_of(config, layout, heard=trained)
    out = Path(config.out)
    make_folder(out)
    save_config(out / "config.yaml", config)
    recordings = with_constant(_listened(config, folder, sessions))
    rows = {name: _row(some, seed=config.seed) for name, some in _groups(recordings).items()}
    result = {
        "checkpoint": config.checkpoint,
        "checkpoint_sha256": checkpoint_digest(folder),
        "corpus": config.corpus,
        "seed": config.seed,
        "minutes": sum(one.duration_s for one in sessions) / 60,
        "n_people": len({one.person for one in recordings}),
        "training_is_known": contents is not None,
        "kinds": {name: _row_json(row) for name, row in rows.items()},
    }
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in recordings)
    write_atomically(out / "recordings.jsonl", "".join(f"{line}\n" for line in lines))
    write_atomically(out / "hearing.json", json.dumps(result, indent=2) + "\n")
    write_atomically(out / "hearing.md", _markdown(result, rows))
    write_json(result, config.json)
    if config.json != "-":
        print(table(rows))
        print(f"see {out / 'hearing.md'} and {out / 'recordings.jsonl'}")
    return 0


def _listened(
    config: HearingConfig, folder: str, sessions: Sequence[PersonSession]
) -> list[HeardRecording]:
    """Play the sessions to the checkpoint and to both recognisers."""
    spec = AgentSpec(
        checkpoint=folder,
        baselines=(),
        device=config.device,
        seed=config.seed,
        batch_size=config.batch_size,
    )
    agent = checkpoint_agent(spec)
    listeners = {LIST: listed_recogniser(LISTED), ENGLISH: english_recogniser()}
    ordered = sorted(sessions, key=lambda one: one.duration_s)  # rows of a batch end together
    found: list[HeardRecording] = []
    with tqdm(total=round(sum(one.duration_s for one in ordered)), desc="hearing", unit="s") as bar:
        for first in range(0, len(ordered), config.batch_size):
            some = ordered[first : first + config.batch_size]
            outputs = agent.perform([session.as_dialogue() for session in some])
            for session, output in zip(some, outputs, strict=True):
                heard = [
                    (word.start_s, text)
                    for word in output.heard or ()
                    for text in word_list(word.text)
                ]
                by_listener = {HEARD: session.divided(heard)}
                spans = speech_spans(session.as_dialogue(), silence_s=SILENCE_S)
                by_listener |= {
                    name: session.divided(_recognised(session, spans, hear))
                    for name, hear in listeners.items()
                }
                found += _recordings(session, by_listener)
                bar.update(round(session.duration_s))
    return sorted(found, key=lambda one: one.id)


def _recognised(
    session: PersonSession, spans: Sequence[Span], hear: Hear
) -> list[tuple[float, str]]:
    """Return the words of a recogniser, each with the middle of its stretch of speech."""
    words = heard_in(spans, session.audio, session.layout.sample_rate, hear=hear)
    return [
        ((start_s + end_s) / 2, word)
        for (start_s, end_s), some in zip(spans, words, strict=True)
        for word in some
    ]


def _recordings(
    session: PersonSession, by_listener: Mapping[str, Sequence[Sequence[str]]]
) -> list[HeardRecording]:
    return [
        HeardRecording(
            id=played.utterance.id,
            person=session.person,
            corpus=played.utterance.source,
            kind=played.kind,
            said=played.words,
            words={name: words[number] for name, words in by_listener.items()},
        )
        for number, played in enumerate(session.recordings)
    ]


def with_constant(recordings: Sequence[HeardRecording]) -> list[HeardRecording]:
    """Add the listener who writes the most frequent word of a kind, once for each recording."""
    said: dict[str, Counter[str]] = {}
    for one in recordings:
        said.setdefault(one.kind, Counter()).update(set(one.said))
    constant = {kind: [max(sorted(words), key=words.__getitem__)] for kind, words in said.items()}
    return [
        HeardRecording(
            id=one.id,
            person=one.person,
            corpus=one.corpus,
            kind=one.kind,
            said=one.said,
            words={**one.words, CONSTANT: constant[one.kind]},
        )
        for one in recordings
    ]


def _groups(recordings: Sequence[HeardRecording]) -> dict[str, list[HeardRecording]]:
    """Return the recordings of each kind, and those of open speech of each corpus."""
    groups = {kind: [one for one in recordings if one.kind == kind] for kind in KINDS}
    spoken = groups["open_speech"]
    for corpus in sorted({one.corpus for one in spoken}):
        groups[f"open_speech, {corpus}"] = [one for one in spoken if one.corpus == corpus]
    return {name: some for name, some in groups.items() if some}


@dataclass(frozen=True, kw_only=True)
class HearingRow:
    """A kind of recordings, and the error rate of each listener."""

    n_people: int
    n_recordings: int
    rates: Mapping[str, ErrorRate | None]  # None: its list has not the words


def _row(recordings: Sequence[HeardRecording], *, seed: int) -> HearingRow:
    by_person: dict[str, list[HeardRecording]] = {}
    for one in recordings:
        by_person.setdefault(one.person, []).append(one)
    kind = recordings[0].kind
    rates = {
        name: error_rate(
            [
                (sum(one.errors(name) for one in some), sum(len(one.said) for one in some))
                for some in by_person.values()
            ],
            seed=seed,
        )
        for name in _COLUMNS
        if name != LIST or kind in WITH_LIST
    }
    return HearingRow(
        n_people=len(by_person),
        n_recordings=len(recordings),
        rates={name: rates.get(name) for name in _COLUMNS},
    )


def _row_json(row: HearingRow) -> dict[str, Any]:
    rates = {name: None if rate is None else rate.to_json() for name, rate in row.rates.items()}
    return {"n_people": row.n_people, "n_recordings": row.n_recordings, "rates": rates}


def table(rows: Mapping[str, HearingRow]) -> str:
    """Return a Markdown table of word errors, a row for each kind."""
    lines = [
        f"| | people | recordings | words | {' | '.join(_COLUMNS.values())} |",
        f"|---|---:|---:|---:|{'---:|' * len(_COLUMNS)}",
    ]
    for name, row in rows.items():
        heard = row.rates[HEARD]
        assert heard is not None
        cells = " | ".join("-" if rate is None else str(rate) for rate in row.rates.values())
        counts = f"{row.n_people} | {row.n_recordings} | {heard.n_words:,}"
        lines.append(f"| {name.replace('_', ' ')} | {counts} | {cells} |")
    return "\n".join(lines)


def _markdown(result: Mapping[str, Any], rows: Mapping[str, HearingRow]) -> str:
    whom = "the corpora hold out and who are not in its `contents.json`"
    if not result["training_is_known"]:
        whom = "the corpora hold out (it has no `contents.json`: nobody knows whom it heard)"
    return "\n".join(
        [
            "# Hearing",
            "",
            f"Errors per word that was said, of `{result['checkpoint']}` "
            f"({result['checkpoint_sha256'][:12]}): recordings of {result['n_people']} people whom "
            f"{whom}, {result['minutes']:.0f} minutes, seed {result['seed']}. In brackets: 95 % "
            "interval over people. Who writes nothing makes 100 %; `one word always` writes the "
            "most frequent word of the kind for each recording. Words that sound alike count as "
            f"the same. Corpora: {result['corpus']}.",
            "",
            table(rows),
            "",
            *(f"- {name.replace('_', ' ')}: {meaning}" for name, meaning in KINDS.items()),
            "",
        ]
    )
