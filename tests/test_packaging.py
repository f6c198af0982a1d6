"""What is installed: every folder, every data file, every package that our files import."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = ("configs", "datagen", "evaluation", "inference", "kernels", "model", "training")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DISTRIBUTION = {
    "pyworld": "pyworld-prebuilt",
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "yaml": "omegaconf",
}


def python_files() -> list[Path]:
    return [path for top in TOP for path in sorted((ROOT / top).rglob("*.py"))]


def test_pyproject_lists_every_package() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    present = {
        ".".join(["microturn", *path.parent.relative_to(ROOT).parts]) for path in python_files()
    }
    assert present <= listed, f"add to [tool.setuptools] packages: {sorted(present - listed)}"
    gone = {name for name in listed if not (ROOT / name[10:].replace(".", "/")).is_dir()}
    assert not gone, f"remove from [tool.setuptools] packages: {sorted(gone)}"


def test_a_wheel_holds_every_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*.index.npz")
    for top in TOP:
        shutil.copytree(ROOT / top, source / top, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    files = {path.relative_to(source).as_posix() for path in source.glob("*/**/*.*")}
    command = [*(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")]
    command += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("microturn-*.whl")
    inside = {name.removeprefix("microturn/") for name in zipfile.ZipFile(wheel).namelist()}
    assert files <= inside, f"not in the wheel, see package-data: {sorted(files - inside)[:5]}"
    assert any(name.endswith("licenses/NOTICE") for name in inside)


def test_every_folder_is_seen_by_the_type_checker() -> None:
    for top in TOP:
        link = ROOT / ".typing" / "microturn" / top
        assert link.is_symlink(), f"missing link: ln -s ../../{top} .typing/microturn/{top}"
        assert link.resolve() == ROOT / top
        assert (ROOT / top / "py.typed").exists()


# Each is run by the interpreter of an environment that has its package.
PROGRAMS = ROOT / "evaluation" / "bench" / "clients" / "programs"


def test_every_import_is_a_declared_dependency() -> None:
    project = PYPROJECT["project"]
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    declared = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("_", "-") for line in lines}
    missing: dict[str, str] = {}
    for path in python_files():
        if path.parent == PROGRAMS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in (name.split(".")[0] for name in names):
                if name == "microturn" or name in sys.stdlib_module_names:
                    continue
                if DISTRIBUTION.get(name, name).lower() not in declared:
                    missing[name] = path.relative_to(ROOT).as_posix()
    assert not missing, f"declare in pyproject.toml: {missing}"


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

ABSENT = {"pocketsphinx", "av", "pyarrow", "ray", "lhotse", "torch", "lightning"}

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from microturn.configs.main import main
sys.exit(main())
"""


def test_a_set_is_simulated_without_the_packages_of_other_jobs(tmp_path: Path) -> None:
    asked = ["simulate", "datagen/smoke.yaml", f"out={tmp_path}/set", "n_dialogues=2", "workers=1"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *asked], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "set").rglob("*.tar"))


def test_lock_pins_every_dependency_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    project = PYPROJECT["project"]
    for line in project["dependencies"] + sum(project["optional-dependencies"].values(), []):
        name = re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("_", "-")
        assert name == "microturn" or name in pinned, f"{name} is not in requirements.lock"
    assert pinned["torch"].startswith("2.11.")
    assert pinned["torchaudio"].startswith("2.11.")
    assert pinned["triton"].startswith("3.6.")
    assert "://" not in text
    assert "--" not in text, "options of one machine's installer do not belong into the lock"
