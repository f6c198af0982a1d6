"""How much one address may ask of the server, and how much all of them together.

An *address* is an IPv4 address or the upper half of an IPv6 address, which is what one customer of
a provider has. All limits are far above what people need who share one; whoever reaches them is
refused in a sentence. What one conversation may send once it is in is another matter (`pace.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from microturn.inference.config import ServeConfig
from microturn.inference.serve.pace import Allowance, Clock

MAX_CONNECTIONS: Final = 512  # in all: half of the descriptors that a process usually has
# New connections: twice as many at once as may be open, and as many again in so many seconds.
_RENEWED_S: Final = 8.0
REQUESTS_AT_ONCE: Final = 300.0  # a dozen people who open the page
REQUESTS_PER_S: Final = 30.0
# Of all who show no token together; to open the page needs none.
STRANGERS_AT_ONCE: Final = 1_000.0
STRANGERS_PER_S: Final = 100.0
_MAX_SHOWN_OUT: Final = 5  # times that an address is shown out before it has to wait
_SHOWN_OUT_PER_S: Final = 0.5  # so often one of them is forgiven
_WAIT_S: Final = 1.0
_MAX_ADDRESSES: Final = 1_000  # that are remembered
_HALF_IPV6: Final = 64  # bits

Peer = tuple[str, int]  # host and port of a client, or of a proxy
# The server's extension of a socket's scope: the peer itself, where `client` is whom it speaks for.
PEER: Final = "microturn.peer"


def address_of(host: str) -> str:
    """Return what counts as one address; a host that is none counts as it is."""
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or IPv6Address(int(ip) >> _HALF_IPV6 << _HALF_IPV6)
    return str(ip)


class Gate:
    """Counts what comes from each address, for one event loop. The clock gives seconds."""

    def __init__(self, config: ServeConfig, *, clock: Clock = time.monotonic) -> None:
        most = self._most_connections = config.connections_per_address
        self._most_sessions = config.sessions_per_address
        self._proxy = ip_network(config.proxy) if config.proxy else None
        self._connections: Counter[str] = Counter()
        self._sessions: Counter[str] = Counter()
        self._n_connections = 0
        # How to cut each connection without a conversation, the oldest first.
        self._idle: OrderedDict[Peer, Callable[[], None]] = OrderedDict()
        self._newcomers = _Allowances(
            at_once=2.0 * most, per_s=2.0 * most / _RENEWED_S, clock=clock
        )
        self._requests = _Allowances(at_once=REQUESTS_AT_ONCE, per_s=REQUESTS_PER_S, clock=clock)
        self._shown_out = _Allowances(at_once=_MAX_SHOWN_OUT, per_s=_SHOWN_OUT_PER_S, clock=clock)
        self._strangers = Allowance(most=STRANGERS_AT_ONCE, per_s=STRANGERS_PER_S, clock=clock)

    # --- connections ---------------------------------------------------------------------------
    def connect(self, peer: Peer, cut: Callable[[], None]) -> str:
        """Count a new connection; returns why it is refused, and not counted, or nothing.

        Many people come through the proxy: its connections are bounded by their number in all.
        When that is reached the oldest connection that holds no conversation is cut.
        """
        address, most = address_of(peer[0]), self._most_connections
        if most and not self._is_proxy(address):
            if self._connections[address] >= most:
                return f"{address} has {most} connections to this server; close some of them"
            if not self._newcomers.of(address).spend():
                return f"too many new connections from {address}; wait a few seconds"
        if self._n_connections >= MAX_CONNECTIONS:
            if not self._idle:
                return "all connections of this server are in use; try again later"
            _, cut_oldest = self._idle.popitem(last=False)
            cut_oldest()
        self._connections[address] += 1
        self._n_connections += 1
        self._idle[peer] = cut
        return ""

    def keep(self, peer: Peer | None) -> None:
        """Cut this connection for nobody: it holds a conversation."""
        if peer is not None:
            self._idle.pop(peer, None)

    def disconnect(self, peer: Peer) -> None:
        """Count a connection that is over."""
        self._idle.pop(peer, None)
        self._n_connections -= 1
        _count_down(self._connections, address_of(peer[0]))

    def _is_proxy(self, address: str) -> bool:
        return self._proxy is not None and ip_address(address) in self._proxy

    # --- requests and handshakes ---------------------------------------------------------------
    def ask(self, host: str, *, is_known: bool) -> str:
        """Count a request; returns why it is refused, or nothing. Who is known has a token."""
        address = address_of(host)
        if self._most_connections and not self._requests.of(address).spend():
            return f"too many requests from {address}; wait a second"
        if not is_known and not self._strangers.spend():
            return "too many others ask this server; wait a second, or send its token"
        return ""

    async def wait_for_turn(self, host: str) -> None:
        """Wait, before a handshake, if this address was shown out again and again.

        Whoever was shown out may come back at once, and a flood does. To wait costs the server
        nothing, and a person behind the same address one second.
        """
        if not self._shown_out.of(address_of(host)).holds():
            await asyncio.sleep(_WAIT_S)

    def show_out(self, host: str) -> None:
        """Count that a client of this address was shown out for what it sent."""
        self._shown_out.of(address_of(host)).spend()

    # --- conversations -------------------------------------------------------------------------
    def begin_session(self, host: str) -> str:
        """Count a conversation; returns why it is refused, and not counted, or nothing."""
        address, most = address_of(host), self._most_sessions
        if most and self._sessions[address] >= most:
            return f"{address} has {most} conversations with this server; end one of them"
        self._sessions[address] += 1
        return ""

    def end_session(self, host: str) -> None:
        """Count a conversation that is over."""
        _count_down(self._sessions, address_of(host))


class _Allowances:
    """The allowance of each address that was seen of late."""

    def __init__(self, *, at_once: float, per_s: float, clock: Clock) -> None:
        self._at_once, self._per_s, self._clock = at_once, per_s, clock
        self._by_address: OrderedDict[str, Allowance] = OrderedDict()

    def of(self, address: str) -> Allowance:
        allowance = self._by_address.get(address)
        if allowance is None:
            allowance = Allowance(most=self._at_once, per_s=self._per_s, clock=self._clock)
            self._by_address[address] = allowance
            if len(self._by_address) > _MAX_ADDRESSES:
                self._by_address.popitem(last=False)
        self._by_address.move_to_end(address)
        return allowance


def _count_down(counter: Counter[str], address: str) -> None:
    counter[address] -= 1
    if not counter[address]:
        del counter[address]
