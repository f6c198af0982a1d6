"""The commands of this folder: `talk` and `serve`."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.inference.config import ServeConfig, TalkConfig


def _talk(config: TalkConfig) -> int:
    from microturn.inference.talk import write_answer

    return write_answer(config)


def _serve(config: ServeConfig) -> int:
    from microturn.inference.serve.server import serve_sessions

    return serve_sessions(config)


TALK = Command(
    schema=TalkConfig,
    run=_talk,
    positionals=("input",),
    help="Let a checkpoint listen to a recording; writes its answer, the words and a picture.",
)
SERVE = Command(
    schema=ServeConfig,
    run=_serve,
    help="Serve a checkpoint to the web page at / and to clients of the socket at /ws.",
    on_interrupt=None,
)
