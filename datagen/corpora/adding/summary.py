"""The summary of a corpus, `corpus.json`: counted, and said on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from microturn.datagen.corpora.adding.conversation_writer import ConversationWriter
from microturn.datagen.corpora.adding.writer import SKIPPED_NAME, CorpusWriter
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import LAYOUT, least_certain
from microturn.datagen.labels.time_classes import TIME_CLASSES

SUMMARY_NAME: Final = "corpus.json"


def summary_of(name: str, form: str, writer: CorpusWriter, corpus: Corpus) -> dict[str, Any]:
    skipped = Counter(recording.kind for recording in writer.skipped)
    return {
        **count(corpus),
        "name": name,
        "format": form,
        "skipped": dict(sorted(skipped.items())),
        "mended": dict(sorted(writer.mended.items())),
    }


def summary_of_conversations(
    turns: dict[str, Any], conversations: ConversationWriter
) -> dict[str, Any]:
    """Return the summary of a corpus of conversations, from that of the turns of its dialogues."""
    found = conversations.counts
    licences = {*turns["licences"], *found.licences}
    mended = Counter(turns["mended"]) + conversations.mended
    return {
        **turns,
        "speakers": {split: len(names) for split, names in sorted(found.speakers.items())},
        "languages": sorted({*turns["languages"], *found.languages}),
        "licences": sorted(licences),
        "licence_from": found.licence_from,
        "mended": dict(sorted(mended.items())),
        "conversations": found.to_json(),
    }


def count(corpus: Corpus) -> dict[str, Any]:
    """Count recordings, hours and speakers of each split of one folder; list what they have."""
    everything, catalogue = corpus.utterances, corpus.catalogue
    named = everything.where(~everything.is_one_of("speaker", ("",)))
    speakers = {
        split: len(own.distinct("speaker")) for split, own in named.by_text("split").items()
    }
    return {
        "recordings": len(corpus),
        "hours": round(sum(everything.numbers("duration_s").tolist()) / 3600, 4),
        "speakers": dict(sorted(speakers.items())),
        "unnamed": len(everything) - len(named),
        "languages": [name for name in catalogue.table("language") if name],
        "licences": list(catalogue.table("licence")),
        "licence_from": least_certain(everything.distinct("licence_from")),
        "word_times": {
            times: {"words": n, "seconds": round(seconds, 2)}
            for times, n, seconds in zip(
                TIME_CLASSES,
                catalogue["times_words"].tolist(),
                catalogue["times_seconds"].tolist(),
                strict=True,
            )
            if n
        },
    }


def say_summary(summary: dict[str, Any], out: Path) -> None:
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["skipped"].items()) or "nothing"
    n, hours = summary["recordings"], summary["hours"]
    of_conversations = summary.get("conversations")
    if of_conversations:
        print(f"{out}: {_conversations_text(of_conversations)}", file=sys.stderr)
    print(f"{out}: {n} recordings, {hours:.2f} h; skipped: {kinds}", file=sys.stderr)
    sides = ", ".join(f"{n} {split}" for split, n in summary["speakers"].items()) or "none known"
    print(f"speakers, each whole on one side: {sides}", file=sys.stderr)
    if summary["unnamed"]:
        print(
            f"{summary['unnamed']} recordings name no speaker: they are trained on unless the "
            "corpus says otherwise, since held out means people; columns.speaker=NAME names them",
            file=sys.stderr,
        )
    if of_conversations and of_conversations["unnamed"]:
        print(
            f"{of_conversations['unnamed']} sides name no speaker: each counts as one person of "
            "its conversation, which is trained on unless the corpus says otherwise",
            file=sys.stderr,
        )
    if summary["licence_from"] == LAYOUT:
        names = ", ".join(summary["licences"])
        print(
            f"licence: {names}, assumed from the layout {summary['format']} and stated nowhere; "
            "give licence=NAME if it is another",
            file=sys.stderr,
        )
    for counted in (summary["word_times"], (of_conversations or {}).get("word_times")):
        if counted:
            total = sum(times["words"] for times in counted.values())
            parts = [f"{counted[t]['words'] / total:.1%} {t}" for t in TIME_CLASSES if t in counted]
            print(f"word times: {', '.join(parts)}", file=sys.stderr)
    if scripted := summary.get("scripted"):
        print(
            f"dialogues: {scripted['dialogues']}, {scripted['turns']} turns; left out: "
            f"{scripted['left_out']} turns that are skipped or mix both sides of the split",
            file=sys.stderr,
        )
    if summary["mended"]:
        mended = ", ".join(f"{fault} ({n})" for fault, n in summary["mended"].items())
        print(f"mended files: {mended}", file=sys.stderr)
    if summary["skipped"]:
        print(f"reasons: {out / SKIPPED_NAME}", file=sys.stderr)


def _conversations_text(counted: dict[str, Any]) -> str:
    """Format the counts of conversations."""
    parts = []
    if counted["recorded"]:
        parts.append(
            f"{counted['recorded']} recorded conversations, {counted['hours']:.2f} h, "
            f"{counted['sides_with_word_times']} of {counted['sides']} sides with word times"
        )
    if counted["scripted"]:
        parts.append(f"{counted['scripted']} scripted dialogues")
    return "; ".join(parts)
