"""What one address may ask for, and all of them together, by a clock of the test."""

import asyncio

import pytest

from microturn.configs.load import ConfigError
from microturn.inference.config import ServeConfig
from microturn.inference.serve.gate.gate import MAX_CONNECTIONS, Gate, address_of

ANN, BOB = "203.0.113.5", "203.0.113.6"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def nothing() -> None:
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (ANN, ANN),
        ("::ffff:203.0.113.5", ANN),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(host: str, address: str) -> None:
    assert address_of(host) == address


def test_an_address_may_have_so_many_connections_and_others_have_their_own(clock: Clock) -> None:
    gate = Gate(ServeConfig(connections_per_address=2), clock=clock)
    assert [gate.connect((ANN, port), nothing) for port in (1, 2)] == ["", ""]
    assert gate.connect((ANN, 3), nothing) == (
        "203.0.113.5 has 2 connections to this server; close some of them"
    )
    assert gate.connect((BOB, 1), nothing) == ""
    gate.disconnect((ANN, 1))
    assert gate.connect((ANN, 4), nothing) == ""


def test_who_connects_again_and_again_waits(clock: Clock) -> None:
    """Twice as many as may be open at once, then a quarter of these a second."""
    gate = Gate(ServeConfig(connections_per_address=8), clock=clock)

    def n_taken(n: int) -> int:
        reasons = []
        for port in range(n):
            reasons.append(gate.connect((ANN, port), nothing))
            if not reasons[-1]:
                gate.disconnect((ANN, port))
        assert set(reasons) <= {"", f"too many new connections from {ANN}; wait a few seconds"}
        return reasons.count("")

    assert n_taken(100) == 16
    clock.now_s += 3.0
    assert n_taken(100) == 6
    free = Gate(ServeConfig(connections_per_address=0), clock=clock)
    assert {free.connect((ANN, port), nothing) for port in range(400)} == {""}
    assert {free.ask(ANN, is_known=True) for _ in range(400)} == {""}


def test_a_full_server_cuts_the_oldest_that_holds_no_conversation(clock: Clock) -> None:
    gate = Gate(ServeConfig(), clock=clock)
    cut: list[int] = []
    for k in range(MAX_CONNECTIONS):
        assert gate.connect((f"10.0.0.{k % 250}", k), lambda k=k: cut.append(k)) == ""
    for k in range(MAX_CONNECTIONS):
        if k not in (3, 7):
            gate.keep((f"10.0.0.{k % 250}", k))
    gate.keep(None)  # where the server tells no peer
    assert [gate.connect((ANN, port), nothing) for port in (1, 2)] == ["", ""]
    assert cut == [3, 7]
    gate.keep((ANN, 1))
    gate.keep((ANN, 2))
    reason = "all connections of this server are in use; try again later"
    assert gate.connect((BOB, 1), nothing) == reason
    for k in (3, 7):  # they are closed at last
        gate.disconnect((f"10.0.0.{k}", k))
    assert gate.connect((BOB, 1), nothing) == reason
    gate.disconnect((ANN, 1))
    assert gate.connect((BOB, 1), nothing) == ""


def test_through_the_proxy_come_many(clock: Clock) -> None:
    gate = Gate(ServeConfig(connections_per_address=2, proxy="10.1.0.0/16"), clock=clock)
    assert {gate.connect(("10.1.2.3", port), nothing) for port in range(50)} == {""}
    assert [bool(gate.connect((ANN, port), nothing)) for port in range(3)] == [False, False, True]


def test_requests_of_an_address_and_of_all_strangers(clock: Clock) -> None:
    gate = Gate(ServeConfig(), clock=clock)
    said = [gate.ask(ANN, is_known=True) for _ in range(310)]
    assert said == [""] * 300 + [f"too many requests from {ANN}; wait a second"] * 10
    clock.now_s += 1.0
    assert [gate.ask(ANN, is_known=True) for _ in range(31)].count("") == 30
    strangers = [gate.ask(f"10.0.{k // 250}.{k % 250}", is_known=False) for k in range(1_100)]
    reason = "too many others ask this server; wait a second, or send its token"
    assert strangers == [""] * 1_000 + [reason] * 100
    assert gate.ask(BOB, is_known=True) == ""
    clock.now_s += 1.0
    assert [gate.ask(f"10.9.0.{k}", is_known=False) for k in range(150)].count("") == 100


def test_conversations_of_an_address(clock: Clock) -> None:
    gate = Gate(ServeConfig(sessions_per_address=1), clock=clock)
    assert gate.begin_session(ANN) == gate.begin_session(BOB) == ""
    assert gate.begin_session(ANN) == (
        "203.0.113.5 has 1 conversations with this server; end one of them"
    )
    gate.end_session(ANN)
    assert gate.begin_session(ANN) == ""


def test_who_is_shown_out_five_times_waits_until_one_is_forgiven(clock: Clock) -> None:
    gate = Gate(ServeConfig(), clock=clock)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def come(host: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            await gate.wait_for_turn(host)

    for _ in range(5):
        asyncio.run(come(ANN))
        gate.show_out(ANN)
    assert waited == []
    asyncio.run(come(ANN))
    asyncio.run(come(BOB))
    assert waited == [1.0]
    clock.now_s += 2.0
    asyncio.run(come(ANN))
    assert waited == [1.0]


def test_addresses_are_forgotten(clock: Clock) -> None:
    """A flood of addresses costs no memory: the one that is not seen for long begins anew."""
    gate = Gate(ServeConfig(), clock=clock)
    while not gate.ask(ANN, is_known=True):
        pass
    for k in range(1_001):
        gate.ask(f"10.0.{k // 250}.{k % 250}", is_known=True)
    assert gate.ask(ANN, is_known=True) == ""


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.1/8", "*"])
def test_a_proxy_is_an_address_or_a_network(proxy: str) -> None:
    with pytest.raises(ConfigError, match=r"proxy=.* must be an address or a network, such as"):
        ServeConfig(proxy=proxy)
