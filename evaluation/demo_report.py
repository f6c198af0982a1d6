"""Report of the demo: the targets beside the baselines, one dialogue, and the next commands."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from microturn.configs.files import write_atomically
from microturn.evaluation.report.scores import Scores, read_scores
from microturn.evaluation.report.values import format_value


def write_report(out: Path, seconds: Mapping[str, float]) -> int:
    """Write report.md and the timeline of one dialogue, print both; 1 when a target was missed."""
    scores = read_scores(out / "scores")
    picture = copy_timeline(out)
    write_atomically(out / "report.md", markdown(scores, seconds, picture))
    print("\n" + "\n".join(table(scores)))
    print(f"\nReport  {out / 'report.md'}")
    if picture:
        print(f"Look    {picture}\nListen  {picture.with_suffix('.wav')} (user left, agent right)")
    print("\nNext")
    commands = list(next_commands(out))
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        print(f"  {command:<{width}}   {meaning}")
    if scores.off_target:
        print(f"\nmicroturn demo: off target: {'; '.join(scores.off_target)}", file=sys.stderr)
    return 1 if scores.off_target else 0


def table(scores: Scores) -> list[str]:
    """Format every target beside the model and the baselines, as Markdown that reads as text."""
    _, *baselines = scores.agents
    rows = [["", "target", "microturn", *baselines, ""]]
    for target in scores.targets:
        suite, metric = target.suite, target.metric
        values = [
            format_value(metric, agent.suites[suite].metrics[metric].value)
            for agent in scores.agents.values()
        ]
        limit = f"{'≥' if target.at_least else '≤'} {format_value(metric, target.limit)}"
        name = metric if metric.startswith(suite) else f"{suite}: {metric}"
        name = name.removesuffix("_s").replace("_", " ")
        rows.append([name, limit, *values, "" if target.met else "off target"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def markdown(scores: Scores, seconds: Mapping[str, float], picture: Path | None) -> str:
    """Format the report as a page."""
    lines = [
        "# microturn demo",
        "",
        f"{scores.info.n_dialogues} held-out dialogues of held-out voices, streamed in "
        "micro-turns. All metrics with their intervals: [scores/scores.md](scores/scores.md).",
        "",
        *table(scores),
        "",
    ]
    if picture:
        name = picture.name
        lines += [f"![one dialogue]({name})", "", f"[Listen]({picture.stem}.wav): user left.", ""]
    lines += ["| stage | minutes |", "|---|---:|"]
    lines += [f"| {title} | {value / 60:.1f} |" for title, value in seconds.items()]
    return "\n".join(lines) + "\n"


def copy_timeline(out: Path) -> Path | None:
    """Copy the first dialogue that was drawn to a name that is easy to find."""
    for picture in sorted((out / "scores" / "pictures").glob("*.png")):
        sound = picture.with_suffix(".wav")
        if sound.is_file():
            shutil.copyfile(sound, out / "timeline.wav")
            return Path(shutil.copyfile(picture, out / "timeline.png"))
    return None


def next_commands(out: Path) -> Iterator[tuple[str, str]]:
    """Commands to type next, with the program as it was called."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "microturn" else "microturn"
    program = _short(Path(program))
    checkpoint = shlex.quote(f"checkpoint={out / 'checkpoint'}")
    yield f"{program} serve {checkpoint}", "talk to it in the browser"
    yield f"{program} talk YOUR.wav out=runs/talk {checkpoint}", "let it answer a recording"
    yield f"{program} inspect {shlex.quote(str(out / 'data' / 'test'))} index=0", "see a dialogue"


def _short(program: Path) -> str:
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        return str(program.relative_to(Path.cwd()))
    return str(program)


def _line(row: list[str], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return f"| {' | '.join(cells)} |"
