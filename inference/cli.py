"""The commands of this folder: `talk`, `serve` and `bench session`."""

from __future__ import annotations

import sys

from microturn.configs.command import Command
from microturn.inference.config import ServeConfig, TalkConfig


def _talk(config: TalkConfig) -> int:
    from microturn.inference.talk import run

    return run(config)


def _serve(config: ServeConfig) -> int:
    from microturn.inference.serve.server import listen, url_of

    listener = listen(config.host, config.port)  # before the model: a taken port is said at once
    with listener:
        import uvicorn

        from microturn.inference.agent.agent import OfflineAgent
        from microturn.inference.load import device_name, load_rows
        from microturn.inference.notes import check_notes
        from microturn.inference.serve.admission import measured_admission
        from microturn.inference.serve.engine import LiveEngine
        from microturn.inference.serve.protocol import MAX_MESSAGE_BYTES
        from microturn.inference.serve.server import create_app

        batch = load_rows(
            config.checkpoint,
            config.max_sessions,
            seed=config.seed,
            threads=config.threads,
            device=config.device,
        )
        check_notes(config.notes, batch.layout)
        engine = LiveEngine(
            batch,
            n_slots=config.max_sessions,
            layout=batch.layout,
            tokenizer=batch.tokenizer,
            agent=OfflineAgent(clock=config.agent.clock) if config.agent.enabled else None,
            agent_config=config.agent,
            max_waiting=config.max_late_micro_turns,
            late_after_ms=config.late_after_ms,
            admission=measured_admission(batch, config),
            notes=config.notes,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(engine, config),
                log_level="warning",
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=3,
            )
        )
        print(
            f"serving {config.checkpoint} on {url_of(listener, config.host)} with "
            f"{device_name(batch.device)} (Ctrl-C stops)",
            file=sys.stderr,
            flush=True,
        )
        server.run(sockets=[listener])
    return 0


TALK = Command(
    schema=TalkConfig,
    run=_talk,
    positionals=("input",),
    help="Let a checkpoint listen to a recording; writes what it answers, its words and a picture.",
    on_interrupt="interrupted; nothing was written",
)
SERVE = Command(
    schema=ServeConfig,
    run=_serve,
    help="Serve a checkpoint to the web page at / and to clients of the socket at /ws.",
    on_interrupt="stopped",
)
