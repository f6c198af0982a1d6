"""The command line: what is accepted, what is refused, and with which words and exit codes."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from microturn.configs import load, renamed
from microturn.configs import main as cli
from microturn.configs.command import Command, build_config, help_text, option, write_json
from microturn.configs.load import ConfigError, keys_of, load_config, save_config
from microturn.configs.signals import Interrupted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    lr: float = option(1e-3, "learning rate")
    betas: tuple[float, ...] = option((0.9, 0.95), "decay of the moments")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    out: str = option(help="where the result goes")
    n_dialogues: int = option(8, "how many")
    words: Literal["say", "audio", "off"] = option("say", "what is scored")
    suites: list[str] = option(default_factory=list, help="which suites")
    weights: dict[str, float] = option(default_factory=lambda: {"turn": 1.0}, help="the mix")
    window: int | None = option(None, "micro-turns that are seen")
    check: bool = option(False, "fail when off target")
    optimizer: Optimizer = option(default_factory=Optimizer, help="the optimizer")

    def __post_init__(self) -> None:
        if self.n_dialogues < 1:
            raise ValueError(f"n_dialogues={self.n_dialogues} must be at least 1")


def command(run: Callable[[Any], int] = lambda _: 0) -> Command:
    return Command(schema=Knobs, run=run, positionals=("out",), help="Turn knobs.")


def config(*words: str) -> Knobs:
    knobs = build_config(command(), words)
    assert isinstance(knobs, Knobs)
    return knobs


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`microturn turn WORDS`, with the knobs above and a function of the test's."""

    def call(*words: str, run: Callable[[Any], int] = lambda _: 0) -> int:
        monkeypatch.setitem(cli.COMMANDS, "turn", ("here", "TURN", "turn knobs"))
        monkeypatch.setattr(cli, "_import_command", lambda name: command(run))
        return cli.main(["turn", *words])

    return call


def test_words_become_a_typed_configuration(tmp_path: Path) -> None:
    (tmp_path / "knobs.yaml").write_text("n_dialogues: 3\noptimizer:\n  lr: 1e-4\n")
    got = config("out=x", str(tmp_path / "knobs.yaml"), "weights.timed=2", "--check")
    assert got.n_dialogues == 3
    assert got.optimizer == Optimizer(lr=1e-4)
    assert got.weights == {"turn": 1.0, "timed": 2.0}
    assert got.check is True
    assert config("x.wav").out == "x.wav"
    assert config("out=x", "--n-dialogues=4").n_dialogues == 4


def test_later_words_win(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("n_dialogues: 3\nout: a\n")
    assert config(str(file), "n_dialogues=5").n_dialogues == 5
    assert config(str(file), "out=b", "out=c").out == "c"


@pytest.mark.parametrize("text", ["010", "no", "null", "1e3", "a: b", "[x", "k=v", "ü"])
def test_text_stays_as_typed(text: str) -> None:
    assert config(f"out={text}").out == text


def test_values_are_read_by_the_type_of_their_key() -> None:
    assert config("out=x", "words=off").words == "off"
    assert config("out=x", "window=null").window is None
    assert config("out=x", "window=7").window == 7
    assert config("out=x", "suites=a,b").suites == ["a", "b"]
    assert config("out=x", "suites=[a]").suites == ["a"]
    assert config("out=x", "optimizer.lr=2").optimizer.lr == 2.0
    assert config("out=x", "optimizer.betas=0.5,1e-3").optimizer.betas == (0.5, 1e-3)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "out is missing; give out=VALUE (where the result goes)"),
        (["out="], "out is missing; give out=VALUE (where the result goes)"),
        (["out=x", "n_dialoges=3"], "unknown key 'n_dialoges'; did you mean 'n_dialogues'?"),
        (["out=x", "lr=1"], "unknown key 'lr'; did you mean 'optimizer.lr'?"),
        (["out=x", "optimiser.lr=1"], "unknown key 'optimiser.lr'; did you mean 'optimizer.lr'?"),
        (["out=x", "--chek"], "unknown key 'chek'; did you mean 'check'?"),
        (["out=x", "n_dialogues=many"], "n_dialogues must be int, not 'many'"),
        (["out=x", "n_dialogues=1.5"], "n_dialogues must be int, not 1.5"),
        (["out=x", "optimizer.lr=fast"], "optimizer.lr must be float, not 'fast'"),
        (["out=x", "words=text"], "words must be say|audio|off, not 'text'"),
        (["out=x", "weights.turn=much"], "weights.turn must be float, not 'much'"),
        (["out=x", "check=perhaps"], "check must be bool, not 'perhaps'"),
        (["out=x", "n_dialogues=0"], "n_dialogues=0 must be at least 1"),
        (["out=x", "n_dialogues={"], "n_dialogues must be int, and '{' cannot be read"),
        (["a", "b"], "'b' is neither key=value, nor --flag, nor FILE.yaml"),
        (["out=x", "nothere.yaml"], "no configuration file nothere.yaml in configs/ nor here"),
    ],
)
def test_wrong_words_are_named(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(*words)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("n_dialoges: 3", "unknown key 'n_dialoges'; did you mean 'n_dialogues'?"),
        ("optimizer: {rate: 3}", "unknown key 'optimizer.rate'"),
        ("optimizer: {lr: fast}", "optimizer.lr must be float, not 'fast'"),
        ("optimizer: 3", "optimizer must be keys with values, not 3"),
        ("suites: {a: b}", "suites must be list of str, not {'a': 'b'}"),
        ("- 1\n- 2", "expected keys with values"),
        ("out: [", ": line "),
        ("\x00", "not a text file in YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as error:
        config(str(file))
    assert text in str(error.value)
    assert "bad.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_renamed_key_is_refused_with_its_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(renamed.RENAMED_KEYS, "Optimizer", {"rate": "lr"})
    monkeypatch.setitem(renamed.RENAMED_KEYS, "Knobs", {"n": "n_dialogues", "optim": "optimizer"})
    file = tmp_path / "old.yaml"
    file.write_text("optim: {lr: 1}\n")
    for words, sentence in (
        (["optimizer.rate=1"], "optimizer.rate was renamed to optimizer.lr"),
        (["n=1"], "n was renamed to n_dialogues"),
        (["optim.lr=1"], "optim.lr was renamed to optimizer.lr"),
        ([str(file)], f"{file}: optim was renamed to optimizer"),
    ):
        with pytest.raises(ConfigError) as error:
            config("out=x", *words)
        assert str(error.value) == sentence


def test_a_renamed_file_or_command_is_refused_with_its_new_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(load.RENAMED_FILES, "turn/knobs.yaml", "turn/handles.yaml")
    with pytest.raises(ConfigError, match="^turn/knobs.yaml was renamed to turn/handles.yaml$"):
        config("out=x", "turn/knobs.yaml")
    monkeypatch.setitem(renamed.RENAMED_COMMANDS, "bench turn", "bench handle")
    assert cli.main(["bench", "turn", "a=b"]) == 2
    error_text = capsys.readouterr().err
    assert error_text == (
        "microturn bench turn: this command was renamed; use `microturn bench handle`\n"
    )


def test_saved_configuration_comes_back(tmp_path: Path) -> None:
    knobs = config("out=010", "words=off", "weights.timed=2", "optimizer.betas=0.5,0.6")
    save_config(tmp_path / "run" / "config.yaml", knobs)
    assert load_config(Knobs, [tmp_path / "run" / "config.yaml"]) == knobs
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_names_with_signs_of_configurations_stay_as_typed(tmp_path: Path) -> None:
    for name in ("/d/${x}/a", r"a\${b", "${oc.env:HOME}", "$x{y}", r"\\${", "a: b # c", "{a}"):
        knobs = config(f"out={name}")
        assert knobs.out == name
        save_config(tmp_path / "config.yaml", knobs)
        assert load_config(Knobs, [tmp_path / "config.yaml"]).out == name


def test_help_lists_every_key_with_its_value() -> None:
    text = help_text("turn", command(), ["n_dialogues=5"])
    assert "  n_dialogues  (int, 5)\n      how many" in text
    assert "  out  (str, required)\n      where the result goes" in text
    assert "  optimizer.lr  (float, 0.001)" in text
    assert '  words  (say|audio|off, "say")' in text
    assert "  window  (int or null, null)" in text


def test_exit_codes_and_one_sentence(
    turn: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(error: BaseException) -> Callable[[Any], int]:
        def run(_: Any) -> int:
            raise error

        return run

    assert turn("out=x") == 0
    assert turn("out=x", run=lambda _: 1) == 1
    assert capsys.readouterr().err == ""
    assert turn("out=x", run=fails(ValueError("a.wav: no samples"))) == 1
    assert capsys.readouterr().err == "microturn turn: a.wav: no samples\n"
    assert turn("out=x", run=fails(FileNotFoundError(2, "No such file", "a.wav"))) == 1
    assert capsys.readouterr().err == "microturn turn: a.wav: No such file\n"
    assert turn("out=x", run=fails(ModuleNotFoundError("", name="lightning"))) == 1
    assert "needs the package lightning; install 'microturn[all]'" in capsys.readouterr().err
    assert turn("out=x", run=fails(KeyboardInterrupt())) == 130
    said = capsys.readouterr().err
    assert "turn: stopped by SIGINT; nothing is finished; start it again with: " in said
    assert said.endswith("microturn turn out=x\n")
    assert turn("out=x", run=fails(Interrupted(signal.SIGHUP))) == 129
    assert "stopped by SIGHUP" in capsys.readouterr().err
    assert turn("ou=x") == 2
    error = capsys.readouterr().err
    assert error.startswith("microturn turn: unknown key 'ou'; did you mean 'out'?\n")
    with pytest.raises(ZeroDivisionError):  # a defect of ours keeps its traceback
        turn("out=x", run=fails(ZeroDivisionError()))


def test_unknown_command_suggests_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulat"]) == 2
    assert "unknown command 'simulat'; did you mean 'simulate'?" in capsys.readouterr().err
    assert cli.main(["bench"]) == 2
    assert "microturn bench session" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert "usage: microturn" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(name in overview for name in cli.COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from microturn.configs.main import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'omegaconf', 'matplotlib', 'lightning'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_of_every_command_is_light_and_complete(name: str) -> None:
    code = (
        "import sys; from microturn.configs.main import main;"
        f"code = main({[*name.split(), '--help']!r});"
        "heavy = {'torch', 'matplotlib', 'lightning', 'pyroomacoustics'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: microturn {name}" in done.stdout
    keys = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    undocumented = [
        key.strip()
        for key, after in zip(keys, [*keys[1:], ""], strict=True)
        if not key.startswith("      ") and not after.startswith("      ")
    ]
    assert not undocumented, f"keys without a sentence of help: {undocumented}"


def test_json_goes_to_a_file_or_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    result = {"n": np.int64(3), "rows": np.ones(2), "bad": float("nan"), 1: ["ü"]}
    write_json(result, str(tmp_path / "deep" / "scores.json"))
    want = {"n": 3, "rows": [1.0, 1.0], "bad": None, "1": ["ü"]}
    assert json.loads((tmp_path / "deep" / "scores.json").read_text()) == want
    write_json(result, "-")
    assert json.loads(capsys.readouterr().out) == want
    write_json(result, "")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_documented_keys_exist(name: str) -> None:
    """docs/commands.md has a section for every command, and promises no key that is not there."""
    page = (Path(__file__).parent.parent / "docs" / "commands.md").read_text(encoding="utf-8")
    section = re.search(rf"^## microturn {name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert section, f"docs/commands.md has no section for `microturn {name}`"
    cells = re.findall(r"^\| (`.*?`) \|", section[1], re.M)
    promised = {key for cell in cells for key in re.findall(r"`([\w.]+)`", cell)}
    assert promised
    known = {key.name for key in keys_of(cli._import_command(name).schema)}
    assert promised <= known, f"`microturn {name}` has no key {sorted(promised - known)}"
