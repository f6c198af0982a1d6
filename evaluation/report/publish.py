"""The last lines of an evaluation: its text, the tables of pages, the summary, the exit code."""

from __future__ import annotations

from pathlib import Path

from microturn.configs.command import write_json
from microturn.configs.files import write_atomically
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report import markdown, panel
from microturn.evaluation.report.scores import Scores


def check_pages(config: EvaluateConfig) -> None:
    """Raise ValueError or OSError for a page that a table cannot be put into."""
    if config.table:
        markdown.check_page(Path(config.table))
    if config.panel_table:
        markdown.check_page(Path(config.panel_table), marks=panel.MARKS)


def publish(config: EvaluateConfig, scores: Scores, *, text: str, tables: str) -> int:
    """Write `text` as scores.md, and `tables` into the page; 0, or 1 where a target was missed."""
    out = Path(config.out)
    write_atomically(out / "scores.md", text)
    if config.table:
        markdown.put_into(Path(config.table), tables)
    if config.panel:
        members = panel.markdown(scores)
        write_atomically(out / "panel.md", members + "\n")
        if config.panel_table:
            markdown.put_into(Path(config.panel_table), members, marks=panel.MARKS)
    write_json(scores.to_json(), config.json)
    if config.json != "-":
        print(markdown.summary(scores))
        for sentence in panel.crossed(scores):
            print(f"the adversarial panel crosses a line: {sentence}")
        print(f"see {out / 'scores.md'} and {out / 'pictures'}")
    return 1 if any(one.missed for one in scores.targets) else 0
