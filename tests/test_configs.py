"""Every YAML file that ships loads into the schema of a command of its folder."""

import dataclasses
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.command import Command
from microturn.configs.load import (
    CONFIG_DIR,
    REQUIRED,
    ConfigError,
    Key,
    keys_of,
    load_config,
    merge_layers,
    save_config,
    shipped_configs,
)
from microturn.configs.main import COMMANDS
from microturn.configs.renamed import RENAMED_COMMANDS, RENAMED_FILES, RENAMED_KEYS
from microturn.datagen.config import DatagenConfig

FILES = [path.relative_to(CONFIG_DIR).as_posix() for path in shipped_configs()]
SUITES = "evaluation/suites/"  # held-out dialogues: what `microturn simulate` is asked for
COMMANDS_OF_MODEL = "training"  # files in configs/model are for `microturn train` and `plan`


def commands_for(file: str) -> list[Command]:
    """The commands that take the files of the folder that a configuration file lies in."""
    folder = "datagen" if file.startswith(SUITES) else file.split("/")[0]
    folders = (folder, COMMANDS_OF_MODEL) if folder == "model" else (folder,)
    commands = [getattr(import_module(row[0]), row[1]) for row in COMMANDS.values()]
    return [command for command in commands if command.folder in folders]


@pytest.mark.parametrize("file", FILES)
def test_every_file_fits_a_command(file: str) -> None:
    refusals = []
    for command in commands_for(file):
        required = [f"{k.name}=x" for k in keys_of(command.schema) if k.default is REQUIRED]
        try:
            load_config(command.schema, [file], required)
            return
        except ConfigError as error:
            refusals.append(str(error))
    pytest.fail(f"no command takes {file}: {refusals or 'its folder has none'}")


def test_there_are_files() -> None:
    assert FILES


def sections_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """The class of a schema and of every section in it, by name."""
    yield schema.__name__, schema
    for kind in typing.get_type_hints(schema).values():
        if dataclasses.is_dataclass(kind):
            yield from sections_of(kind)


def names_of(section: Any) -> set[str]:
    """Every dotted key of a section, and every dotted section in it."""
    keys = {key.name for key in keys_of(section)}
    return keys | {name.rpartition(".")[0] for name in keys if "." in name}


def test_renamed_keys_are_gone_and_their_new_names_exist() -> None:
    schemas = [getattr(import_module(row[0]), row[1]).schema for row in COMMANDS.values()]
    sections = dict(pair for schema in schemas for pair in sections_of(schema))
    wrong = []
    for section, keys in RENAMED_KEYS.items():
        names = names_of(sections[section])
        wrong += [f"{section}.{old} still exists" for old in keys if old in names]
        wrong += [f"{section}.{new} does not exist" for new in keys.values() if new not in names]
    assert not wrong


def test_renamed_commands_and_files_are_gone_and_their_new_names_exist() -> None:
    assert not RENAMED_COMMANDS.keys() & COMMANDS.keys()
    assert set(RENAMED_COMMANDS.values()) <= set(COMMANDS)
    assert not RENAMED_FILES.keys() & set(FILES)
    assert set(RENAMED_FILES.values()) <= set(FILES)


MAPS = [  # (schema, key) of every map that a command has
    (command.schema, key)
    for command in {
        id(found): found
        for row in COMMANDS.values()
        for found in [getattr(import_module(row[0]), row[1])]
    }.values()
    for key in keys_of(command.schema)
    if typing.get_origin(key.type) is dict
]


@pytest.mark.parametrize(("schema", "key"), MAPS, ids=lambda value: getattr(value, "name", ""))
def test_a_map_can_be_emptied_and_an_entry_taken_out(
    schema: type, key: Key, tmp_path: Path
) -> None:
    needed = [f"{k.name}=1" for k in keys_of(schema) if k.default is REQUIRED]
    (tmp_path / "empty.yaml").write_text(_nested(key.name, "{}"), encoding="utf-8")

    def entries(*overrides: str, files: tuple[Path, ...] = ()) -> dict[str, Any]:
        tree: Any = merge_layers(schema, files, [*needed, *overrides])
        for part in key.name.split("."):
            tree = tree[part]
        return dict(tree)

    assert entries(f"{key.name}={{}}") == {}
    assert entries(files=(tmp_path / "empty.yaml",)) == {}
    for first in list(key.default)[:1]:
        if first.isidentifier():
            assert [*entries(f"{key.name}.{first}=null")] == list(key.default)[1:]


def _nested(name: str, value: str) -> str:
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(name.split("."))]
    return "\n".join(lines) + f" {value}\n"


def test_a_saved_map_is_loaded_as_it_was_in_its_own_order(tmp_path: Path) -> None:
    schema = DatagenConfig
    for overrides in (
        ["vocabulary.letters={}"],
        ["vocabulary.letters={}", "vocabulary.letters.z=zulu", "vocabulary.letters.a=alpha"],
        ["vocabulary.letters.b=null", "families.turn=0.5"],
        [],
    ):
        config = load_config(schema, [], ["out=x", *overrides])
        save_config(tmp_path / "config.yaml", config)
        loaded = load_config(schema, [tmp_path / "config.yaml"])
        assert loaded == config
        assert [*loaded.vocabulary.letters] == [*config.vocabulary.letters]
        assert [*loaded.families] == [*config.families]
