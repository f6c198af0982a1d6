"""The recipes of CONTRIBUTING.md: a forgotten file of an extension fails here."""

import re
import runpy
from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.adapters import FORMATS
from microturn.datagen.corpora.config import FORMAT_NAMES
from microturn.datagen.corpora.conversations.layouts import LAYOUTS
from microturn.datagen.labels.event_types import SHIPPED
from microturn.datagen.scenarios import REGISTRY, is_open
from microturn.evaluation.suites.event_suites import event_suites
from microturn.evaluation.suites.registry import MODULES, WITH_MODULE, known_suites, load_suite
from microturn.model.vocoders.registry import VOCODERS

ROOT = Path(__file__).resolve().parent.parent
SCENARIO_PAGES = ("scenarios.md", "open_speech.md", "video.md", "simulation.md", "suites.md")
FOR_SUITES = {"one_word", "count", "recount", "overlap", "hush", "long_memory"}
OWN_MIX = {"conversation", "visual_count", "visual_span", "visual_question"}  # not in everything
OPEN = load_config(DatagenConfig, ["datagen/open.yaml"], ["out=unused"])
OPEN_FAMILIES = {name for name, scenario in REGISTRY.items() if is_open(scenario)}
NEEDS_CONVERSATIONS = OPEN_FAMILIES - set(OPEN.weights)  # the corpus that ships has none
KERNELS = sorted(
    path.stem
    for path in (ROOT / "kernels").glob("*.py")
    if "@triton.jit" in path.read_text(encoding="utf-8")
)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_scenario_is_described_and_drawn(name: str) -> None:
    """Recipe of a scenario: a page, and a weight in datagen/everything.yaml."""
    assert any(f"`{name}`" in page(file) for file in SCENARIO_PAGES), f"describe {name} in docs/"
    everything = load_config(DatagenConfig, ["datagen/everything.yaml"], ["out=unused"])
    drawn = set(everything.families) | FOR_SUITES | OWN_MIX | (OPEN_FAMILIES & set(OPEN.families))
    assert name in drawn, f"give {name} a weight in configs/datagen/everything.yaml"


def test_every_picture_of_a_scenario_can_be_drawn_again() -> None:
    """Recipe of a scenario: an entry of SHOWN in docs/make_pictures.py."""
    both = page("scenarios.md") + page("open_speech.md")
    pictures = set(re.findall(r"\]\(pictures/(\w+)\.webp\)", both))
    shown = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))["SHOWN"]
    assert pictures == set(shown), "one entry of SHOWN per picture of these pages"
    without = set(REGISTRY) - pictures - FOR_SUITES - OWN_MIX - NEEDS_CONVERSATIONS
    assert not without, f"draw in docs/scenarios.md: {sorted(without)}"


def test_every_scenario_file_is_imported() -> None:
    """Recipe of a scenario: a line in datagen/scenarios/__init__.py."""
    modules = {type(scenario).__module__ for scenario in REGISTRY.values()}
    rooms = [path for path in (ROOT / "datagen" / "scenarios").iterdir() if path.is_dir()]
    files = [path for room in rooms for path in room.glob("*.py")]
    classes = [path for path in files if "@register" in path.read_text(encoding="utf-8")]
    assert classes
    names = {
        f"microturn.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}"
        for path in classes
    }
    assert names <= modules, f"import in datagen/scenarios/__init__.py: {sorted(names - modules)}"


@pytest.mark.parametrize("name", known_suites())
def test_suite_has_its_files(name: str) -> None:
    """Recipe of a suite: dialogues, a description, a row in the table that is written."""
    suite = load_suite(name)
    assert suite.data_path.is_file(), f"write configs/{suite.data}"
    assert f"`{name}`" in page("suites.md"), f"describe {name} in docs/suites.md"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_suite_is_in_the_table(name: str) -> None:
    tables = [ROOT / "configs" / "evaluation" / f"{one}.yaml" for one in ("table", "open_table")]
    listed = "".join(table.read_text(encoding="utf-8") for table in tables)
    assert f"- {name}\n" in listed, f"add {name} to configs/evaluation/table.yaml"


@pytest.mark.parametrize("name", sorted(WITH_MODULE))
def test_suite_has_tests(name: str) -> None:
    tests = list((ROOT / "tests" / "evaluation" / "suites").rglob(f"test_{name}.py"))
    assert tests, f"write tests/evaluation/suites/test_{name}.py"


def test_every_suite_file_is_in_the_registry() -> None:
    """Recipe of a suite: a line in evaluation/suites/registry.py."""
    folder = ROOT / "evaluation" / "suites"
    modules = {
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in folder.rglob("*.py")
        if re.search(r"^SUITE\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert modules == set(WITH_MODULE.values()), (
        "one line per suite in evaluation/suites/registry.py"
    )


def test_event_types_are_scored_by_a_suite_that_exists() -> None:
    """Recipe of an event suite: a headline for every suite that event types name."""
    unknown = {kind.suite for kind in SHIPPED} - set(event_suites(added=False))
    assert not unknown, f"add to evaluation/suites/event_suites.py: {sorted(unknown)}"


def test_corpus_formats_are_described() -> None:
    """Recipe of a corpus adapter."""
    assert {form.name for form in (*FORMATS, *LAYOUTS)} | {"auto"} == set(FORMAT_NAMES)
    missing = [form.name for form in FORMATS if f"| `{form.name}` |" not in page("corpora.md")]
    assert not missing, f"describe in docs/corpora.md: {missing}"
    rows = page("conversations.md")
    missing = [layout.name for layout in LAYOUTS if f"| `{layout.name}` |" not in rows]
    assert not missing, f"describe in docs/conversations.md: {missing}"


@pytest.mark.parametrize("name", sorted(VOCODERS))
def test_vocoder_is_described(name: str) -> None:
    """Recipe of a vocoder: a row, and tests of its own properties."""
    rows = [row for row in page("vocoder.md").splitlines() if row.startswith(f"| `{name}`")]
    assert rows, f"describe {name} in docs/vocoder.md"
    assert f"model/vocoders/{name}.py" in rows[0]
    tests = ROOT / "tests" / "model" / "vocoders" / f"test_{name}.py"
    assert tests.is_file(), f"write tests/model/vocoders/test_{name}.py"


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_is_compared_with_its_reference(name: str) -> None:
    """Recipe of a kernel: a parity test of the same name."""
    tests = ROOT / "tests" / "kernels"
    sources = "".join(path.read_text(encoding="utf-8") for path in tests.glob("test_*.py"))
    assert f"microturn.kernels.{name}" in sources, f"write tests/kernels/test_{name}.py"
