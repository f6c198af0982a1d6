"""Names and sizes that keep the tree readable: unique class names, small folders, small files."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = ("configs", "datagen", "evaluation", "inference", "kernels", "model", "training", "tests")
MAX_FILES = 21  # Python files of one folder
MAX_LINES = 420


def python_files(*, tests: bool) -> list[Path]:
    tops = [top for top in TOP if tests or top != "tests"]
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def test_a_class_name_stands_in_one_file() -> None:
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for path in python_files(tests=False):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(path.relative_to(ROOT).as_posix())
    shared = {name: sorted(files) for name, files in homes.items() if len(files) > 1}
    assert not shared, f"give each of these classes a name of its own: {shared}"


def test_folders_hold_few_files() -> None:
    folders: defaultdict[str, int] = defaultdict(int)
    for path in python_files(tests=True):
        folders[path.parent.relative_to(ROOT).as_posix()] += 1
    crowded = {folder: n for folder, n in folders.items() if n > MAX_FILES}
    assert not crowded, f"regroup by subject, at most {MAX_FILES} files in a folder: {crowded}"


def test_files_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): n
        for path in python_files(tests=False)
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"split by noun, at most {MAX_LINES} lines in a file: {long}"


def _opens_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the locale has."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keys = {key.arg: key.value for key in call.keywords}
    if "encoding" in keys:
        return False
    if name in ("read_text", "write_text"):
        return not (name == "read_text" and call.args)  # ours, by path, is UTF-8
    if name == "open" and "newline" in keys:
        return True
    modes = [arg.value for arg in (*call.args, *keys.values()) if isinstance(arg, ast.Constant)]
    if getattr(getattr(call.func, "value", None), "id", "") in ("tarfile", "soundfile", "av"):
        return False
    if name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        return any(mode in ("r", "w", "a", "x", "rt", "wt", "at", "r+", "w+") for mode in modes)
    of_text = ("text", "universal_newlines")
    return any(isinstance(keys.get(key), ast.Constant) for key in of_text) and name in (
        *("run", "Popen", "check_output"),
    )


def test_utf8_is_named_wherever_text_is_opened() -> None:
    """Else a machine in Latin-1 or C writes other files, and cannot read those of others."""
    places = [
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
        for path in python_files(tests=False)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens_text_without_encoding(node)
    ]
    assert not places, f'name encoding="utf-8" in {places}'
