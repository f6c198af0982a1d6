"""The agent against real servers in other processes: language models and MCP, good and bad."""

import asyncio
from collections.abc import Iterator

import pytest

from microturn.inference.agent.backend import NoAnswer, Work
from microturn.inference.agent.cards import Card, TableCard
from microturn.inference.agent.endpoint import make_endpoint
from microturn.inference.agent.package import PendingWork
from microturn.inference.agent.process import AgentProcess
from microturn.inference.config import AgentConfig, EndpointConfig
from support.back_ends import end_of, package, submitted
from support.servers.processes import command_of, language_model, mcp_over_http

TOOLS = command_of("tools.py")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with language_model() as url:
        yield url


class Told:
    """What a back end tells, and how its work ends."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.parts: list[str] = []
        self.cards: list[Card] = []
        self.failure = ""
        self.progress = self.steps.append
        self.partial = self.parts.append
        self.show = self.cards.append

    def supersede(self, delegation_id: str) -> None:
        raise AssertionError


def asked(url: str, model: str, said: str = "hello", *, mcp: tuple[str, ...] = ()) -> Told:
    """Let a model answer once, in this process."""
    told = Told()
    endpoint = EndpointConfig(url=url, model=model)
    config = AgentConfig(backend="openai", endpoint=endpoint, mcp=mcp, timeout_s=60.0)

    async def answer() -> None:
        backend = make_endpoint(config)
        try:
            work = Work(package=package(said, text_budget=40), tell=told)
            told.parts.append((await backend.answer(work)).text)
        except NoAnswer as error:
            told.failure = str(error)
        finally:
            await backend.close()

    asyncio.run(answer())
    return told


@pytest.fixture(scope="module", params=["stdio", "http"])
def with_tools(request: pytest.FixtureRequest) -> Iterator[AgentProcess]:
    """The offline agent with the tools of a real MCP server."""
    if request.param == "stdio":
        agent = AgentProcess(AgentConfig(mcp=(TOOLS,)))
        yield agent
        agent.close()
        return
    with mcp_over_http() as url:
        agent = AgentProcess(AgentConfig(mcp=(url,)))
        yield agent
        agent.close()


# --- language models -------------------------------------------------------------------------
def test_a_model_calls_a_tool_and_its_sentences_come_one_by_one(endpoint: str) -> None:
    told = asked(endpoint, "calculating", "eight plus three")
    assert told.steps == ["calculator: 8 + 3"]
    assert told.parts == ["It is eleven. ", "That is all there is."]


def test_a_model_reads_the_whole_conversation(endpoint: str) -> None:
    (text,) = asked(endpoint, "", "eight plus three").parts
    assert "[0:00] user: eight plus three" in text
    assert "[0:02] agent, unheard: moment" in text


def test_a_model_that_takes_no_tools_is_asked_without(endpoint: str) -> None:
    text = "".join(asked(endpoint, "reading without tools", "hello").parts)
    assert "user: hello" in text


def test_a_model_uses_the_tools_of_an_mcp_server(endpoint: str) -> None:
    told = asked(endpoint, "asking the weather", mcp=(TOOLS,))
    assert told.steps == ["weather: Paris"]
    assert told.parts == ["It is 18 degrees in Paris."]


def test_a_model_shows_a_card_and_its_wrong_calls_are_told_to_it(endpoint: str) -> None:
    told = asked(endpoint, "showing")
    assert told.cards == [TableCard(columns=("day",), rows=(("\u202emonday",),))]
    assert told.parts == ["Here."]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("giving up", "the library is closed"),
        ("calling for ever", "found no answer in 6 rounds"),
        ("out of order", "the endpoint answered 500"),
        ("redirecting", "the endpoint answered 307"),
        ("sending nonsense", "the endpoint sent nonsense"),
        ("sending a bomb", "compressed its answer, unasked"),
        ("not stopping", "does not stop writing"),
        ("sending a wall", "more than 1 MiB in one answer"),
    ],
)
def test_a_bad_endpoint_is_a_failure_that_says_why(endpoint: str, model: str, reason: str) -> None:
    assert reason in asked(endpoint, model).failure


def test_an_endpoint_that_is_not_there() -> None:
    failure = asked("http://127.0.0.1:9/v1", "any").failure
    assert failure.startswith("http://127.0.0.1:9/v1 cannot be reached")


def test_a_hanging_endpoint_is_let_go_and_control_marks_of_a_model_are_text(endpoint: str) -> None:
    def agent_of(model: str) -> AgentProcess:
        endpoint_config = EndpointConfig(url=endpoint, model=model)
        return AgentProcess(AgentConfig(backend="openai", endpoint=endpoint_config))

    hanging, writing = agent_of("hanging"), agent_of("writing control marks")
    try:
        inbox, job = submitted(hanging, package("hello"))
        marks = "eleven </bg> <delegate> <system> <cancel> <bg> nine"
        assert end_of(writing, "hello").text == marks
        inbox.until("accepted")
        job.cancel()
        assert inbox.until_over().status == "cancelled"
    finally:
        hanging.close()
        writing.close()


# --- MCP servers -----------------------------------------------------------------------------
def test_words_find_the_tools_of_a_server(with_tools: AgentProcess) -> None:
    event = end_of(with_tools, "what's the weather in paris")
    assert (event.status, event.text) == ("final", "It is 18 degrees in paris.")
    assert end_of(with_tools, "eight plus three").text == "eleven"


def test_progress_of_a_server_is_progress_and_how_far_is_asked(with_tools: AgentProcess) -> None:
    inbox, _ = submitted(with_tools, package("slow count to nine"))
    inbox.until_over()
    steps = [event.text for event in inbox.seen if event.status == "progress"]
    assert steps[1:] == [f"slow_count: {n} of 3" for n in range(3)]
    assert inbox.seen[-1].text == "counted to nine"
    pending = (PendingWork(delegation_id="d1", about="x", progress="2 of 3", micro_turn=1),)
    inbox, _ = submitted(with_tools, package("how far are you", pending=pending))
    assert inbox.until_over().text == "2 of 3"


def test_rows_of_a_server_are_a_card(with_tools: AgentProcess) -> None:
    event = end_of(with_tools, "trains please")
    (card,) = event.cards
    rows = (("Rome", "9:00"), ("Oslo", "10:30"))
    assert card == TableCard(title="trains", columns=("to", "at"), rows=rows)


def test_errors_and_control_marks_of_a_server_are_text(with_tools: AgentProcess) -> None:
    broken = end_of(with_tools, "broken")
    assert broken.status == "failed"
    assert "no more paper" in broken.text
    assert end_of(with_tools, "marks").text == "eleven </bg> <delegate> <bg> nine"


def test_a_tool_that_hangs_and_one_that_floods_leave_the_others_alone(
    with_tools: AgentProcess,
) -> None:
    hanging, job = submitted(with_tools, package("never"))
    hanging.until("progress")
    huge = end_of(with_tools, "huge")
    assert huge.status == "failed"
    job.cancel()
    assert hanging.until_over().status in ("cancelled", "failed")
    assert end_of(with_tools, "what's the weather in oslo").text == "It is 18 degrees in oslo."


@pytest.mark.parametrize(
    "kind",
    ["dead", "wall", *(pytest.param(k, marks=pytest.mark.slow) for k in ("garbage", "hang"))],
)
def test_a_program_that_is_no_server_costs_its_tools_and_nothing_else(kind: str) -> None:
    agent = AgentProcess(AgentConfig(mcp=(command_of("bad_tools.py", kind), "no-such-program")))
    try:
        assert end_of(agent, "eight plus three").text == "eleven"
        assert end_of(agent, "what's the weather in oslo").status == "failed"
    finally:
        agent.close()


def test_a_server_that_lies_is_believed_nothing() -> None:
    agent = AgentProcess(AgentConfig(mcp=(command_of("bad_tools.py", "lie"),)))
    try:
        dice = end_of(agent, "dice")
        assert dice.status == "failed"  # it does not keep to the schema that it has stated
        assert "dice" in dice.text
        wages = end_of(agent, "wages")
        assert "nothing in the conversation asks" in wages.text  # a schema beyond all measure
    finally:
        agent.close()
