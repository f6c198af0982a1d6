"""Paths, modules, commands, keys and links in README, CONTRIBUTING and docs/ exist."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from microturn.configs import main as cli
from microturn.configs.load import keys_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "configs|model|kernels|datagen|training|inference|evaluation|tests|docs"
PATH = re.compile(rf"(?<![\w/.:-])(?:{FOLDERS}|ablations|bench)/[\w/.-]*\w/?")
FILE = re.compile(r".*\.(flac|json|jsonl|npz|png|py|safetensors|tar|wav|webp|yaml)")
PLACEHOLDER = re.compile(r"[A-Z]{4,}|<\w+>")
GROUPS = {f"{name.split()[0]} ..." for name in cli.COMMANDS if " " in name}  # `bench ...`
PYTHON_FILES = {path.name for top in FOLDERS.split("|") for path in (ROOT / top).rglob("*.py")}


def text_of(page: Path) -> str:
    """The page without its generated tables, which no author edits."""
    return re.sub(r"<!-- \w+ begin -->.*?<!-- \w+ end -->", "", page.read_text(), flags=re.S)


def code_of(page: Path) -> list[str]:
    """Lines of fenced or indented blocks, and inline code."""
    text = text_of(page)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    indented = [line.strip() for line in re.findall(r"^ {4}\S.*$", text, flags=re.M)]
    prose = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)
    inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose)]
    return lines + indented + inline


def commands_of(page: Path) -> list[str]:
    return [code for code in code_of(page) if code.startswith("microturn ")]


def slugs_of(page: Path) -> set[str]:
    """Anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    missing = []
    for name in sorted(set(PATH.findall(text_of(page)))):
        places = (ROOT / name, ROOT / "configs" / name, ROOT / f"{name}.py")
        if not PLACEHOLDER.search(name) and not any(place.exists() for place in places):
            missing.append(name)
    files = {code for code in code_of(page) if re.fullmatch(r"[a-z]\w*\.py", code)}
    missing += sorted(files - PYTHON_FILES)
    assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_exist(page: Path) -> None:
    missing = []
    for name in sorted(set(re.findall(r'(?<!")\bmicroturn((?:\.[a-z]\w*)+)', text_of(page)))):
        path = ROOT / name[1:].replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").exists()):
            missing.append(f"microturn{name}")
    assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_keys_exist(page: Path) -> None:
    for code in commands_of(page):
        words = shlex.split(code, comments=True)[1:]
        two = " ".join(words[:2])
        if words[0].startswith("-") or PLACEHOLDER.search(words[0]) or two in GROUPS:
            continue
        name = two if two in cli.COMMANDS else words[0]
        assert name in cli.COMMANDS, f"{page.name} names `microturn {name}`"
        given = {word.split("=")[0] for word in words if re.match(r"[a-z][\w.]*=", word)}
        known = {key.name for key in keys_of(cli._import_command(name).schema)}
        sections = {key.rsplit(".", count)[0] for key in known for count in (1, 2)}
        given -= {key for key in given if key.rpartition(".")[0] in known}  # of a mapping: sides.a
        assert given <= known | sections, f"{page.name}: `{code}`: {sorted(given - known)}"


@cache
def all_keys() -> set[str]:
    """Keys of every command, and the sections above them."""
    schemas = {cli._import_command(name).schema for name in cli.COMMANDS}
    names = [key.name.split(".") for schema in schemas for key in keys_of(schema)]
    return {".".join(parts[:n]) for parts in names for n in range(1, len(parts) + 1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_of_sections_exist(page: Path) -> None:
    known = all_keys()
    sections = {name.split(".")[0] for name in known if "." in name}
    codes = [re.sub(r"=.*", "", code) for code in code_of(page)]
    dotted = {code for code in codes if re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)+", code)}
    keys = {code for code in dotted if not FILE.fullmatch(code)}
    keys = {key for key in keys if not (ROOT / key.replace(".", "/")).is_dir()}
    wrong = {key for key in keys - known if key.split(".")[0] in sections}
    assert not wrong, f"{page.name} names the keys {sorted(wrong)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in slugs_of(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_have_the_cells_of_their_heads(page: Path) -> None:
    text = re.sub(r"^```\w*\n.*?^```$", "", page.read_text(), flags=re.M | re.S)
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    uneven = [
        table.partition("\n")[0]
        for table in tables
        if len({re.sub(r"`[^`]*`|\\\|", "", row).count("|") for row in table.splitlines()}) > 1
    ]
    assert not uneven, f"{page.name}: rows are longer or shorter than their head: {uneven}"


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    links = set(re.findall(r"\]\(([\w.]+\.md)\)", index.read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {index.name}
    assert links == pages


def test_sections_of_commands_are_those_of_the_command_line() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^## microturn (.*)$", text, flags=re.M)) == set(cli.COMMANDS)
