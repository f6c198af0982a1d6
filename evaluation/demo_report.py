"""Report of the demo: the targets beside the baselines, one dialogue, and the next commands."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from microturn.configs.files import write_atomically
from microturn.evaluation.report.scores import Scores, read_scores
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.report.values import format_interval, format_value
from microturn.evaluation.suites.conditions import people
from microturn.evaluation.suites.intervals import Interval


def write_report(out: Path, seconds: Mapping[str, float], *, steps: int) -> None:
    """Write report.md and the timeline of one dialogue, and print what a reader wants first."""
    scores = read_scores(out / "scores")
    rows = [
        *target_rows(scores, read_scores(out / "shipped")),
        *people_rows(out / "people", read_scores(out / "shipped-people")),
    ]
    picture = copy_picture(out / "scores", out / "timeline")
    page = markdown(scores, seconds, rows=table(rows), picture=picture, steps=steps)
    write_atomically(out / "report.md", page)
    print("\n" + "\n".join(table(rows)))
    print(f"\n{verdict(scores, steps=steps)}")
    print(f"\nReport  {out / 'report.md'}")
    if picture:
        print(f"Look    {picture}\nListen  {picture.with_suffix('.wav')} (user left, agent right)")
    print("\nNext")
    commands = list(next_commands(out))
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        print(f"  {command:<{width}}   {meaning}")


def print_heard(out: Path) -> None:
    """Print where the first dialogue of the checkpoint that ships is, and how to talk with it."""
    picture = copy_picture(out / "hear", out / "hear")
    if picture:
        print(
            f"\nListen  {picture.with_suffix('.wav')} (user left, agent right): the checkpoint "
            f"that ships, with somebody whom it never heard\nLook    {picture}"
        )
    print(f"Talk    {_program()} serve   and open http://127.0.0.1:8765", flush=True)


def verdict(scores: Scores, *, steps: int) -> str:
    """Say in a sentence which targets the run reached and which not."""
    near = [check for check in scores.targets if not (check.met or check.missed)]
    missed = [check for check in scores.targets if check.missed]
    n_met = len(scores.targets) - len(near) - len(missed)
    parts = [f"After {steps:,} steps the model reached {n_met} of {len(scores.targets)} targets"]
    if near:
        parts.append(f"off target, but within the interval: {_names(near)}")
    if missed:
        parts.append(f"off target beyond the interval: {_names(missed)}")
    return "; ".join(parts) + "."


def _names(checks: list[TargetCheck]) -> str:
    return ", ".join(
        f"{_name(check)} {format_value(check.metric, check.value)} ({_limit(check)})"
        for check in checks
    )


def _name(check: TargetCheck) -> str:
    suite, metric = check.suite, check.metric
    name = metric if metric.startswith(suite) else f"{suite}: {metric}"
    return name.removesuffix("_s").replace("_", " ")


def _limit(check: TargetCheck) -> str:
    return f"{'≥' if check.at_least else '≤'} {format_value(check.metric, check.limit)}"


def target_rows(scores: Scores, shipped: Scores) -> list[list[str]]:
    """Format every target beside the models and the baselines, with a line of heads."""
    _, *baselines = scores.agents
    rows = [["", "target", "microturn", "95 % interval", "shipped", *baselines, ""]]
    for target in scores.targets:
        state = "" if target.met else "off target" if target.missed else "within interval"
        row = _row(scores, shipped, target.suite, target.metric, ci95=target.ci95)
        rows.append([_name(target), _limit(target), *row, state])
    return rows


def people_rows(folder: Path, shipped: Scores) -> list[list[str]]:
    """Format right answers to the person whom training heard, and to people whom it did not."""
    scores = read_scores(folder)
    suite = people.SUITE.name
    metrics = scores.first.suites[suite].metrics
    return [
        [
            f"{name.replace('_', ' ')}: answered",
            "",
            *_row(scores, shipped, suite, name, ci95=metrics[name].ci95),
            "",
        ]
        for name in people.ROWS
    ]


def _row(
    scores: Scores, shipped: Scores, suite: str, metric: str, *, ci95: Interval | None
) -> list[str]:
    """Values of the model, of its interval, of the one that ships, and of the baselines."""
    first, *rest = (
        format_value(metric, agent.suites[suite].metrics[metric].value)
        for agent in (*scores.agents.values(), shipped.first)
    )
    return [first, format_interval(metric, ci95) if ci95 else "-", rest.pop(), *rest]


def table(rows: list[list[str]]) -> list[str]:
    """Format rows as Markdown that reads as text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def markdown(
    scores: Scores,
    seconds: Mapping[str, float],
    *,
    rows: list[str],
    picture: Path | None,
    steps: int,
) -> str:
    """Format the report as a page."""
    lines = [
        "# microturn demo",
        "",
        f"{scores.info.n_dialogues} dialogues that it was not trained on, streamed in micro-turns "
        "(new recordings of the training voice: none; new people: none). The last rows ask letters "
        "and greetings, of that voice and of people in no training set. All metrics with their "
        "intervals: [scores/scores.md](scores/scores.md), [people/scores.md](people/scores.md). "
        "`microturn` is the model that was trained here, `shipped` the one that comes with the "
        "package ([shipped/scores.md](shipped/scores.md), "
        "[shipped-people/scores.md](shipped-people/scores.md)); [hear.wav](hear.wav) is a dialogue "
        "of that one.",
        "",
        *rows,
        "",
        verdict(scores, steps=steps),
        "",
    ]
    if picture:
        name = picture.name
        lines += [f"![one dialogue]({name})", "", f"[Listen]({picture.stem}.wav): user left.", ""]
    lines += ["| stage | minutes |", "|---|---:|"]
    lines += [f"| {title} | {value / 60:.1f} |" for title, value in seconds.items()]
    return "\n".join(lines) + "\n"


def copy_picture(scores: Path, target: Path) -> Path | None:
    """Copy the first dialogue that was drawn, and its sound, to a name that is easy to find."""
    for picture in sorted((scores / "pictures").glob("*.png")):
        sound = picture.with_suffix(".wav")
        if sound.is_file():
            shutil.copyfile(sound, target.with_suffix(".wav"))
            return Path(shutil.copyfile(picture, target.with_suffix(".png")))
    return None


def next_commands(out: Path) -> Iterator[tuple[str, str]]:
    """Commands to type next, with the program as it was called."""
    program = _program()
    checkpoint = shlex.quote(f"checkpoint={out / 'checkpoint'}")
    yield f"{program} serve {checkpoint}", "talk to it in the browser"
    yield f"{program} talk YOUR.wav out=runs/talk {checkpoint}", "let it answer a recording"
    yield f"{program} inspect {shlex.quote(str(out / 'data' / 'test'))} index=0", "see a dialogue"


def _program() -> str:
    """Return the program as it was called, for lines to type."""
    program = Path(sys.argv[0] if Path(sys.argv[0]).name == "microturn" else "microturn")
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        return str(program.relative_to(Path.cwd()))
    return str(program)


def _line(row: list[str], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return f"| {' | '.join(cells)} |"
