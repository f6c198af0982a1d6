"""The one command `microturn`: finds a subcommand, runs it, and turns errors into exit codes.

This file imports little but the standard library; a subcommand's module is imported when it is
called, so that `microturn --help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from signal import Signals
from typing import TYPE_CHECKING

from microturn.configs.paths import prepare_environment
from microturn.configs.renamed import RENAMED_COMMANDS

if TYPE_CHECKING:
    from microturn.configs.command import Command

DONE, FAILED, WRONG_USAGE = 0, 1, 2
RANK_LOST = 75  # EX_TEMPFAIL: the same command goes on

_BENCH = "microturn.evaluation.bench.cli"

# name: (module, attribute, what it does)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("microturn.evaluation.demo", "DEMO", "simulate, train, score and report in one go"),
    "simulate": ("microturn.datagen.cli", "SIMULATE", "make dialogues with exact labels"),
    "inspect": ("microturn.datagen.cli", "INSPECT", "see and hear what was simulated"),
    "export": ("microturn.datagen.export.cli", "EXPORT", "write a set for other toolkits"),
    "fit": ("microturn.datagen.fit.cli", "FIT", "measure how people take turns, for simulate"),
    "corpus add": ("microturn.datagen.corpora.cli", "CORPUS_ADD", "take recordings in"),
    "corpus list": ("microturn.datagen.corpora.cli", "CORPUS_LIST", "list the corpora there are"),
    "verify-audio": (
        "microturn.datagen.cli",
        "VERIFY_AUDIO",
        "check the audio of every scenario against its labels",
    ),
    "train": ("microturn.training.cli", "TRAIN", "train a model on simulated dialogues"),
    "reinforce": ("microturn.training.cli", "REINFORCE", "let a checkpoint learn by conversing"),
    "see": ("microturn.training.cli", "SEE", "teach a video stem to read drawn worlds"),
    "match": ("microturn.training.cli", "MATCH", "add blocks that find an agreed word again"),
    "evaluate": ("microturn.evaluation.cli", "EVALUATE", "score a checkpoint or a baseline"),
    "evaluate change": (
        "microturn.evaluation.cli",
        "EVALUATE_CHANGE",
        "compare a checkpoint before and after a training",
    ),
    "evaluate fdb": ("microturn.evaluation.cli", "EVALUATE_FDB", "run a Full-Duplex-Bench folder"),
    "evaluate hearing": (
        "microturn.evaluation.cli",
        "EVALUATE_HEARING",
        "word errors of `heard`, of people never heard",
    ),
    "evaluate voice": (
        "microturn.evaluation.cli",
        "EVALUATE_VOICE",
        "word errors of a recogniser on the agent's voice",
    ),
    "compare": ("microturn.evaluation.cli", "COMPARE", "tell two evaluations apart"),
    "model-card": ("microturn.evaluation.cli", "MODEL_CARD", "write the card of a checkpoint"),
    "ship": ("microturn.evaluation.cli", "SHIP", "write a checkpoint small, with card and digests"),
    "examples": ("microturn.evaluation.cli", "EXAMPLES", "give the page examples to play"),
    "reconstruct": (
        "microturn.evaluation.reconstruct.cli",
        "RECONSTRUCT",
        "what lanes and vocoder leave of a voice",
    ),
    "talk": ("microturn.inference.cli", "TALK", "let a checkpoint listen to a file and answer"),
    "serve": ("microturn.inference.cli", "SERVE", "serve a checkpoint to a web page or a client"),
    "recipe": ("microturn.evaluation.recipe", "RECIPE", "run the commands of a file one by one"),
    "ablate": ("microturn.evaluation.ablations", "ABLATE", "what each choice is worth, in a table"),
    "plan": ("microturn.model.cli", "PLAN", "say what a model needs and how to spread it"),
    "bench simulate": (_BENCH, "BENCH_SIMULATE", "time simulation beside lhotse"),
    "bench mixes": (_BENCH, "BENCH_MIXES", "time mixes of simulation side by side"),
    "bench acoustics": (_BENCH, "BENCH_ACOUSTICS", "time each acoustic effect"),
    "bench environment": (_BENCH, "BENCH_ENVIRONMENT", "time users that react"),
    "bench loader": (_BENCH, "BENCH_LOADER", "time reading beside webdataset"),
    "bench corpus": (_BENCH, "BENCH_CORPUS", "time opening a corpus of many utterances"),
    "bench derive": (_BENCH, "BENCH_DERIVE", "check derived events against exact labels"),
    "bench plan": (_BENCH, "BENCH_PLAN", "what plan says beside what training takes"),
    "bench training": (_BENCH, "BENCH_TRAINING", "time steps beside bare matrix products"),
    "bench faults": (_BENCH, "BENCH_FAULTS", "harm a training of several ranks"),
    "bench session": (_BENCH, "BENCH_SESSION", "time micro-turns of live sessions"),
    "bench serve": (_BENCH, "BENCH_SERVE", "time the server, and what overload costs"),
    "bench clients": (_BENCH, "BENCH_CLIENTS", "let real clients talk to the server"),
    "bench kernels": (_BENCH, "BENCH_KERNELS", "check and time the kernels"),
    "bench gpu": (_BENCH, "BENCH_GPU", "every figure of a GPU in one short table"),
    "bench gpu-kernels": (_BENCH, "BENCH_GPU_KERNELS", "check, time and tune the kernels on a GPU"),
    "bench gpu-sessions": (
        _BENCH,
        "BENCH_GPU_SESSIONS",
        "time live sessions on a GPU",
    ),
    "bench gpu-training": (_BENCH, "BENCH_GPU_TRAINING", "time training steps on a GPU"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `microturn ARGV`; returns 0 done, 1 failed, 2 wrong usage, 128 + n ended by a signal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal in Latin-1 or C has few letters
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(overview(), file=sys.stderr)
        return WRONG_USAGE
    if words[0] in ("-h", "--help", "help"):
        print(overview())
        return DONE
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"microturn {version('microturn')}")
        return DONE
    name = find_command(words)
    if name is None:
        return WRONG_USAGE
    return run_command(name, words[len(name.split()) :])


def overview() -> str:
    """The list of subcommands."""
    width = max(map(len, COMMANDS)) + 2
    rows = [f"  {name:<{width}}{what}" for name, (_, _, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: microturn COMMAND [FILE.yaml ...] [key=value ...]",
            "",
            "Full-duplex speech models that listen and speak in 200 ms micro-turns.",
            "",
            *rows,
            "",
            "`microturn COMMAND --help` lists every key of a command.",
        ]
    )


def find_command(words: Sequence[str]) -> str | None:
    """The longest known command that the words begin with; reports a mistake when none does."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name
        if name in RENAMED_COMMANDS:
            new = RENAMED_COMMANDS[name]
            _complain(name, f"this command was renamed; use `microturn {new}`")
            return None
    group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if group:
        _complain(words[0], f"say what: {', '.join(f'microturn {name}' for name in group)}")
        return None
    from microturn.configs.load import suggestion

    hint = suggestion(words[0], list(COMMANDS)) or "; `microturn --help` lists them"
    print(f"microturn: unknown command {words[0]!r}{hint}", file=sys.stderr)
    return None


def run_command(name: str, words: Sequence[str]) -> int:
    """Run one subcommand; what a user can fix is one sentence on stderr, never a traceback."""
    from microturn.configs.command import build_config, help_text
    from microturn.configs.load import ConfigError
    from microturn.configs.signals import code_of, number_of, raising_interrupts

    # Threads that wait must not spin: where anything else runs on the machine, spinning made
    # torch up to three times slower. Only read when torch is loaded, so it is set here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_environment()
    command: Command | None = None
    config: object = None
    try:
        with raising_interrupts():
            command = _import_command(name)
            if "--help" in words or "-h" in words:
                rest = [word for word in words if word not in ("--help", "-h")]
                sys.stdout.write(help_text(name, command, rest))
                return DONE
            config = build_config(command, words)
            return command.run(config)
    except ConfigError as error:
        _complain(name, f"{error}")
        print(f"`microturn {name} --help` lists every key.", file=sys.stderr)
        return WRONG_USAGE
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stdout = None  # nothing is left to flush
        return FAILED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("microturn"):
            raise
        _complain(name, f"needs the package {error.name}; install 'microturn[all]'")
        return FAILED
    except (OSError, ValueError) as error:
        if os.environ.get("MICROTURN_DEBUG"):  # a developer wants to see where it came from
            raise
        _complain(name, _os_error(error) if isinstance(error, OSError) else str(error))
        return FAILED
    except KeyboardInterrupt as interrupt:
        print(file=sys.stderr)
        number = number_of(interrupt)
        what = _kept(command if config else None, config, [*name.split(), *words])
        _complain(name, f"stopped by {Signals(number).name}{what}")
        return code_of(number)


def _import_command(name: str) -> "Command":
    from importlib import import_module

    module, attribute, _ = COMMANDS[name]
    command: Command = getattr(import_module(module), attribute)
    return command


def _kept(command: "Command | None", config: object, words: Sequence[str]) -> str:
    """Say what is kept of an interrupted command, and how it goes on."""
    from microturn.configs.command import starts_over, typed

    on_interrupt = command.on_interrupt if command else starts_over
    if on_interrupt is None:
        return ""
    try:
        return f"; {on_interrupt(config, typed(words))}"
    except (OSError, ValueError):  # the folder cannot be read now
        return f"; {starts_over(config, typed(words))}"


def _complain(name: str, text: str) -> None:
    print(f"microturn {name}: {text}", file=sys.stderr)


def _os_error(error: OSError) -> str:
    if error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return error.strerror or str(error)


if __name__ == "__main__":
    sys.exit(main())
