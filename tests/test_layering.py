"""Imports between top-level folders follow the arrows in docs/architecture.md, and nothing else."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED: dict[str, set[str]] = {
    "kernels": set(),
    "configs": set(),
    "model": {"kernels", "configs"},
    "model/streams": set(),
    "datagen": {"configs", "model.streams"},
    "training": {
        "configs",
        "model",
        "kernels",
        "datagen.sets",
        "datagen.live",
        "datagen.live_on_ray",
    },
    "inference": {"configs", "model", "kernels"},
    "evaluation": {"configs", "model", "inference", "datagen"},
}
# Places that close a loop on purpose: the validation that streams, the training that converses, the
# stem that learns from drawn worlds, and the benches that time all.
MORE: dict[str, set[str]] = {
    "training/streaming_validation.py": {"evaluation", "inference.micro_turn", "inference.rows"},
    "training/reinforce": {"evaluation", "datagen", "inference.micro_turn"},
    "training/seeing": {"datagen.video"},
    "evaluation/bench": {"training", "kernels"},
}
# Rooms of the large folders, from the bottom up: a file imports from its own line or from lines
# above it. `config` stands for every config.py, whose room does not matter.
ROOMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "datagen": (
        ("config", "scenario_config", "voices_config"),
        ("labels",),
        ("executors", "sets"),
        ("corpora",),
        ("voices",),
        ("dialogue",),
        ("derive",),
        ("acoustics",),
        ("video",),
        ("scenarios",),
        ("compose",),
        ("pack",),
        ("pipeline",),
        ("report",),
        ("simulate", "live", "export", "fit"),
        ("live_on_ray",),
        ("closed_loop",),
        ("cli",),
    ),
    "inference": (
        ("config",),
        ("audio", "micro_turn", "tick", "transcript"),
        ("agent", "notes", "rows"),
        ("conversation", "load", "opening", "sessions"),
        ("answered_recording",),
        ("picture", "serve"),
        ("talk",),
        ("cli",),
    ),
    "evaluation": (
        ("config",),
        ("scoring",),
        ("speech",),
        ("agents",),
        ("suites",),
        ("traces",),
        ("runner",),
        ("records",),
        ("report",),
        ("closed_loop",),
        (
            *("validation", "evaluate", "compare", "model_card", "ship", "examples", "reconstruct"),
            *("demo_estimate", "demo_report"),
        ),
        ("change", "hearing"),
        ("stages",),
        ("demo", "recipe"),
        ("ablations", "bench"),
        ("cli",),
    ),
}


def imported_modules(path: Path) -> set[str]:
    """Dotted names below `microturn` that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import with the full name, `from microturn...`"
            module = node.module or ""
            inside = {f"{module}.{alias.name}" for alias in node.names}
            names |= inside if module == "microturn" else {module}
    return {name.removeprefix("microturn.") for name in names if name.startswith("microturn.")}


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_folders_import_only_what_the_picture_allows(folder: str) -> None:
    own = folder.replace("/", ".")
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        more = {name for place, names in MORE.items() if file.startswith(place) for name in names}
        allowed = ALLOWED[folder] | more | {own}
        for name in sorted(imported_modules(path)):
            if not any(name == one or name.startswith(f"{one}.") for one in allowed):
                wrong.append(f"{file} imports {name}")
    assert not wrong, f"{wrong}; {folder}/ may import only {sorted(ALLOWED[folder])}"


def module_graph() -> dict[str, set[str]]:
    """Every module of ours and the modules of ours that it imports, functions included."""
    tops = sorted({folder.split("/")[0] for folder in ALLOWED})
    paths = [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in paths
    }
    known = {name.removesuffix(".__init__") for name in files}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("microturn."):
                module = (node.module or "").removeprefix("microturn.")
                inside = {f"{module}.{alias.name}" for alias in node.names} & known
                targets |= inside or {module}
        own = name.removesuffix(".__init__")
        graph[own] = (targets & known) - {own}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in stack:
                lowest[name] = min(lowest[name], order[target])
        if lowest[name] == order[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(sorted(component))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(module_graph()) == []


def room_of(module: str) -> str:
    parts = module.split(".")
    return "config" if parts[-1] == "config" else parts[1]


@pytest.mark.parametrize("folder", sorted(ROOMS))
def test_rooms_import_only_downwards(folder: str) -> None:
    level = {room: number for number, rooms in enumerate(ROOMS[folder]) for room in rooms}
    graph = module_graph()
    own = {module: targets for module, targets in graph.items() if module.startswith(f"{folder}.")}
    unplaced = sorted({room_of(module) for module in own} - set(level))
    assert not unplaced, f"give these rooms of {folder}/ a place in ROOMS: {unplaced}"
    upward = [
        f"{module} imports {target}"
        for module, targets in own.items()
        for target in sorted(targets)
        if target.startswith(f"{folder}.") and level[room_of(target)] > level[room_of(module)]
    ]
    assert not upward, f"{upward}; the order of rooms is in {Path(__file__).name}"


def names_in_table(folder: str) -> list[list[str]]:
    """Names in backticks, cell by cell, of the first column of a room table of the page."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition(f"| `{folder}` | holds |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()]
    return [re.findall(r"`(\w+)(?:\.py)?`", cell) for cell in cells]


@pytest.mark.parametrize("folder", sorted(ROOMS))
def test_the_page_shows_the_order_of_rooms(folder: str) -> None:
    rooms = [sorted(names) for names in ROOMS[folder]]
    assert [sorted(names) for names in names_in_table(folder)] == rooms


def test_the_page_shows_what_folders_may_import() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| folder | may import |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w/]+)` \| (.*) \|$", table, re.MULTILINE))
    for folder, allowed in ALLOWED.items():
        more = {name for place, names in MORE.items() if place.startswith(folder) for name in names}
        own = {place.removeprefix(f"{folder}/") for place in MORE} | {f"{folder}.streams"}
        names = {name.rstrip("/") for name in re.findall(r"`([\w./]+)`", rows[folder])}
        assert names - own == allowed | more, f"docs/architecture.md, row of {folder}"


def test_top_level_folders_are_no_packages_of_their_own() -> None:
    """But training, whose names scripts import from the folder itself."""
    folders = {folder for folder in ALLOWED if "/" not in folder} - {"training"}
    assert not [folder for folder in folders if (ROOT / folder / "__init__.py").exists()]


LIGHT = ["microturn.model.streams", "microturn.training"] + [
    f"microturn.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}"
    for name in ("cli.py", "config.py")
    for top in sorted({folder.split("/")[0] for folder in ALLOWED})
    for path in sorted((ROOT / top).rglob(name))
]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_what_commands_need_first_is_light(module: str) -> None:
    code = (
        f"import sys, {module};"
        "heavy = {'torch', 'lightning', 'matplotlib', 'pyroomacoustics', 'scipy', 'starlette'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"importing {module} imports {done.stderr}"
