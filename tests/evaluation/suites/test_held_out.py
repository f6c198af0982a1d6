"""Sets of the suites in the cache folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from microturn.evaluation.suites import held_out
from microturn.evaluation.suites.registry import load_suite


def test_labels_of_another_format_are_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "simulate", lambda config, cache: None)
    monkeypatch.setattr(held_out, "DialogueSet", SimpleNamespace(open=lambda folder: folder))
    suite = load_suite("turn")
    folder = held_out.held_out_set(suite, tmp_path)
    assert held_out.held_out_set(suite, tmp_path) == folder
    monkeypatch.setattr(held_out, "LABEL_FORMAT", -1)
    assert held_out.held_out_set(suite, tmp_path) != folder
