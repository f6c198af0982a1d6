"""Imports between top-level folders follow the arrows in docs/architecture.md, and nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED: dict[str, set[str]] = {
    "kernels": {"configs"},
    "configs": set(),
    "model": {"kernels", "configs"},
    "model/streams": set(),
    "datagen": {"configs", "model.streams"},
    "training": {"configs", "model", "kernels", "datagen.shards", "datagen.live"},
    "inference": {"configs", "model", "kernels"},
    "evaluation": {"configs", "model", "inference", "datagen"},
}
# Two files close a loop on purpose: a validation that listens, and the demo that runs everything.
MORE: dict[str, set[str]] = {
    "training/listen.py": {"evaluation", "inference.session"},
    "evaluation/demo.py": {"training"},
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
        allowed = ALLOWED[folder] | MORE.get(file, set()) | {own}
        for name in sorted(imported_modules(path)):
            if not any(name == one or name.startswith(f"{one}.") for one in allowed):
                wrong.append(f"{file} imports {name}")
    assert not wrong, f"{wrong}; {folder}/ may import only {sorted(ALLOWED[folder])}"


def test_top_level_folders_are_no_packages_of_their_own() -> None:
    folders = {folder for folder in ALLOWED if "/" not in folder}
    assert not [folder for folder in folders if (ROOT / folder / "__init__.py").exists()]


LIGHT = ["microturn.model.streams"] + [
    f"microturn.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}"
    for name in ("cli.py", "config.py")
    for path in sorted(ROOT.glob(f"*/{name}"))
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
