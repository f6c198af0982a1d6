"""Every YAML file that ships loads into the schema of a command of its folder."""

from importlib import import_module

import pytest

from microturn.configs.command import Command
from microturn.configs.load import (
    CONFIG_DIR,
    REQUIRED,
    ConfigError,
    keys_of,
    load_config,
    shipped_configs,
)
from microturn.configs.main import COMMANDS

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
