"""Forced alignment of shipped recordings."""

from __future__ import annotations

from microturn.datagen.corpora.alignment.aligner import Aligned, Aligner
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance


def test_what_was_aligned_before_changes_nothing() -> None:
    corpus = Corpus.open(sample_rate=16_000)
    lines = [
        line
        for line in corpus.utterances
        if line.language == "en" and 2 < line.duration_s < 4 and len(line.words) > 4
    ][::30][:8]
    assert len(lines) == 8

    def align(aligner: Aligner, line: Utterance) -> Aligned | None:
        return aligner.align(corpus.load(line), 16_000, text=line.text)

    one, other = Aligner(), Aligner()
    forward = [align(one, line) for line in lines]
    backward = [align(other, line) for line in reversed(lines)]
    assert forward == backward[::-1]
    assert any(forward)
