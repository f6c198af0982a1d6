"""Somebody who listens to an engine without a socket between them."""

from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.report import MicroTurnReport, Problem
from microturn.inference.serve.session.live_session import LiveSession


class Ear:
    """Keeps the messages of an engine."""

    def __init__(self) -> None:
        self.reports: list[MicroTurnReport] = []
        self.problems: list[Problem] = []

    def __call__(self, message: MicroTurnReport | Problem) -> None:
        if isinstance(message, MicroTurnReport):
            self.reports.append(message)
        else:
            self.problems.append(message)


def opened(engine: LiveEngine) -> tuple[LiveSession, Ear]:
    ear = Ear()
    return engine.join(ear), ear
