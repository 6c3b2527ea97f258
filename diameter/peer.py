"""The peer state machine of RFC 6733 5.6 on the initiator's side, with the watchdog of RFC 3539 3.4.1; pure.

Every input returns what the connection shall do. One deadline at a time is enough: to connect again, for the TCP
connection, for the CEA, for the watchdog, for the DPA; `on_tick` looks at it.

After a lost connection RFC 3539 lets a peer prove itself by three watchdog answers before it is used again. Here that
peer is used meanwhile if there is no better one (`rank`), because a lab has one HSS.

Not covered: the responder's side and the election, TLS, Origin-State-Id.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias, assert_never

from opencscf.common.errors import ParseError
from opencscf.diameter import dictionary
from opencscf.diameter.codec import REQUEST, Avp, DiameterMessage
from opencscf.diameter.dictionary import ETSI, TGPP, Application, Command, command_name
from opencscf.diameter.results import Result, result_avps, result_of

PRODUCT_NAME = "OpenCSCF"

DISCONNECTED = "disconnected"  # the reason of a close after DPR and DPA, or while we stop

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0  # Tc, RFC 6733 12
MAX_JITTER_S = 2.0  # of the watchdog, RFC 3539 3.4.1
DISCONNECT_TIMEOUT_S = 1.0  # for the DPA, and for the close after ours: some peers never close
PROBES = 3  # watchdog answers until a reopened peer is trusted again, RFC 3539 3.4.1


class DisconnectCause(enum.IntEnum):
    """Why a DPR was sent (RFC 6733 5.4.3)."""

    REBOOTING = 0
    BUSY = 1
    DO_NOT_WANT_TO_TALK_TO_YOU = 2


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a TCP connection to the peer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the TCP connection, or give up opening it."""


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send a message of the base protocol."""

    message: DiameterMessage


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message that is not the base protocol's: an answer to a question, or a request of the peer."""

    message: DiameterMessage


@dataclass(frozen=True, slots=True)
class Opened:
    """Requests may be sent."""


@dataclass(frozen=True, slots=True)
class Suspected:
    """Nothing has been heard for two watchdog intervals: send requests elsewhere (failover of RFC 3539)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The peer is trusted again (failback of RFC 3539)."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer cannot be used; what waits for its answer waits in vain."""

    reason: str

    @property
    def is_orderly(self) -> bool:
        """Whether one of both took leave."""
        return self.reason == DISCONNECTED


Output: TypeAlias = Connect | Disconnect | Transmit | Deliver | Opened | Suspected | Recovered | Closed


class State(enum.Enum):
    """The states of the initiator (RFC 6733 5.6)."""

    CLOSED = enum.auto()
    WAIT_CONN_ACK = enum.auto()
    WAIT_I_CEA = enum.auto()
    I_OPEN = enum.auto()
    CLOSING = enum.auto()


class Health(enum.Enum):
    """The states of the watchdog (RFC 3539 3.4.1)."""

    INITIAL = enum.auto()
    OKAY = enum.auto()
    SUSPECT = enum.auto()
    DOWN = enum.auto()
    REOPEN = enum.auto()


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What we say of ourselves to a peer."""

    origin_host: str
    origin_realm: str
    application: Application

    def origin(self) -> list[Avp]:
        """Write Origin-Host and Origin-Realm."""
        return [dictionary.ORIGIN_HOST.text(self.origin_host), dictionary.ORIGIN_REALM.text(self.origin_realm)]

    def capabilities(self, local_address: str) -> list[Avp]:
        """Write what CER and CEA tell (5.3.1), the application in both forms that are in use."""
        application = dictionary.AUTH_APPLICATION_ID.number(self.application)
        vendors = [TGPP, ETSI] if self.application is Application.RX else [TGPP]
        return [
            *self.origin(),
            dictionary.HOST_IP_ADDRESS.address(local_address),
            dictionary.VENDOR_ID.number(0),  # no enterprise number of our own
            dictionary.PRODUCT_NAME.text(PRODUCT_NAME),
            *map(dictionary.SUPPORTED_VENDOR_ID.number, vendors),
            application,
            dictionary.VENDOR_SPECIFIC_APPLICATION_ID.group(dictionary.VENDOR_ID.number(TGPP), application),
        ]


@dataclass(frozen=True, slots=True)
class PeerTimers:
    """How long a peer may take, and how it is watched."""

    connect_timeout_s: float = 5.0
    watchdog_s: float = 30.0


class Identifiers:
    """Numbers for Hop-by-Hop and End-to-End: unique among all requests of a node for a long while (RFC 6733 3)."""

    __slots__ = ("_numbers",)

    def __init__(self, start: int) -> None:
        self._numbers = count(start)

    def next(self) -> int:
        """Draw a number."""
        return next(self._numbers) & 0xFFFFFFFF


class PeerMachine:
    """One peer that we connect to; `jitter` draws a number between -1 and 1."""

    __slots__ = (
        "_deadline",
        "_health",
        "_host",
        "_identifiers",
        "_interval_s",
        "_is_stopping",
        "_jitter",
        "_local_address",
        "_node",
        "_probes",
        "_retry_s",
        "_timers",
        "_watchdog_is_pending",
        "state",
    )

    def __init__(
        self,
        node: LocalNode,
        host: str,
        *,
        identifiers: Identifiers,
        timers: PeerTimers | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.state = State.CLOSED
        self._node = node
        self._host = host
        self._identifiers = identifiers
        self._timers = timers if timers is not None else PeerTimers()
        self._jitter = jitter
        self._health = Health.INITIAL
        self._watchdog_is_pending = False
        self._probes = 0
        self._interval_s = 0.0
        self._retry_s = FIRST_RETRY_S
        self._deadline = float("-inf")  # connect at the first tick
        self._local_address = ""
        self._is_stopping = False

    @property
    def rank(self) -> int | None:
        """How good the peer is for a request: 0 best, 1 if there is no better one, None not at all."""
        if self.state is not State.I_OPEN:
            return None
        if self._health is Health.OKAY:
            return 0
        return 1 if self._health is Health.REOPEN else None

    def on_tick(self, now: float) -> list[Output]:
        """Do what is due; call it several times a second."""
        if now < self._deadline:
            return []
        match self.state:
            case State.CLOSED:
                return [] if self._is_stopping else self._connect(now)
            case State.WAIT_CONN_ACK:
                return self._close(now, f"no connection in {self._timers.connect_timeout_s:g} s")
            case State.WAIT_I_CEA:
                return self._close(now, f"accepted the connection, but no CEA in {self._timers.connect_timeout_s:g} s")
            case State.I_OPEN:
                return self._on_watchdog_timer(now)
            case State.CLOSING:
                return self._close(now, DISCONNECTED)
            case _:
                assert_never(self.state)

    def on_connected(self, now: float, local_address: str) -> list[Output]:
        """Begin the capabilities exchange on a new TCP connection from `local_address` (5.3)."""
        if self.state is not State.WAIT_CONN_ACK:
            return [Disconnect()]
        self.state = State.WAIT_I_CEA
        self._deadline = now + self._timers.connect_timeout_s
        self._local_address = local_address
        return [self._request(Command.CAPABILITIES_EXCHANGE, self._node.capabilities(local_address))]

    def on_disconnected(self, now: float, reason: str) -> list[Output]:
        """Take note that the TCP connection is gone, or could not be opened."""
        return [] if self.state is State.CLOSED else self._close(now, reason)

    def is_for_node(self, message: DiameterMessage, now: float) -> bool:
        """Take note of a message that is only to be delivered, as most are; False if `on_message` must handle it."""
        if self.state is not State.I_OPEN or self._health is not Health.OKAY or message.command in _BASE_COMMANDS:
            return False
        self._deadline = now + self._interval_s  # a sign of life
        return True

    def on_message(self, message: DiameterMessage, now: float) -> list[Output]:
        """Handle what the peer sent."""
        if self.state is State.I_OPEN and message.command not in _BASE_COMMANDS:
            return [*self._on_sign_of_life(now), Deliver(message)]
        is_request = message.is_request
        match self.state, message.command:
            case State.WAIT_I_CEA, Command.CAPABILITIES_EXCHANGE if not is_request:
                return self._on_cea(message, now)
            case State.WAIT_I_CEA, _:
                name = command_name(message.command, is_request=is_request)
                return self._close(now, f"sent {name} before the capabilities exchange")
            case State.I_OPEN, Command.DEVICE_WATCHDOG if not is_request:
                return self._on_dwa(now)
            case State.I_OPEN, Command.DISCONNECT_PEER if is_request:
                return self._on_dpr(message, now)
            case State.I_OPEN, _:
                return [*self._on_sign_of_life(now), *self._handle(message)]
            case State.CLOSING, Command.DISCONNECT_PEER if not is_request:
                return self._close(now, DISCONNECTED)
            case State.CLOSING, _ if not is_request:
                return [Deliver(message)]  # the answer to what was asked before the DPR
        return []

    def stop(self, now: float) -> list[Output]:
        """Take leave of the peer and never connect again (5.4)."""
        self._is_stopping = True
        match self.state:
            case State.I_OPEN:
                self.state = State.CLOSING
                self._deadline = now + DISCONNECT_TIMEOUT_S
                cause = dictionary.DISCONNECT_CAUSE.number(DisconnectCause.REBOOTING)
                return [self._request(Command.DISCONNECT_PEER, [*self._node.origin(), cause])]
            case State.WAIT_CONN_ACK | State.WAIT_I_CEA:
                return self._close(now, DISCONNECTED)
        return []

    def _connect(self, now: float) -> list[Output]:
        self.state = State.WAIT_CONN_ACK
        self._deadline = now + self._timers.connect_timeout_s
        return [Connect()]

    def _close(self, now: float, reason: str) -> list[Output]:
        self.state = State.CLOSED
        if self._health is not Health.INITIAL:
            self._health = Health.DOWN
        self._deadline = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        return [Disconnect(), Closed(reason)]

    def _on_cea(self, cea: DiameterMessage, now: float) -> list[Output]:
        try:
            fault = self._fault_of(cea)
        except ParseError as error:
            fault = error.reason
        if fault:
            return self._close(now, fault)
        self.state = State.I_OPEN
        self._retry_s = FIRST_RETRY_S
        return [Opened(), *self._start_watchdog(now)]

    def _fault_of(self, cea: DiameterMessage) -> str:
        """Tell what speaks against the peer, or nothing (5.3, 5.6.1)."""
        result = result_of(cea.avps, "CEA")
        if not result.is_success:
            return f"refuses our capabilities exchange as {self._node.origin_host}: {result}{error_message(cea)}"
        host = dictionary.required(dictionary.ORIGIN_HOST.text_in(cea.avps), dictionary.ORIGIN_HOST, "CEA")
        if host.casefold() != self._host.casefold():
            return f"calls itself {printable(host)}"
        offered = _applications(cea.avps)
        if offered and not offered & {self._node.application, Application.RELAY}:
            return f"does not offer {self._node.application.name} ({self._node.application:d})"
        return ""

    def _handle(self, message: DiameterMessage) -> list[Output]:
        match message.command, message.is_request:
            case Command.DEVICE_WATCHDOG, True:
                return [Transmit(message.answer([*result_avps(Result.SUCCESS), *self._node.origin()]))]
            case Command.CAPABILITIES_EXCHANGE, True:
                capabilities = self._node.capabilities(self._local_address)
                return [Transmit(message.answer([*result_avps(Result.SUCCESS), *capabilities]))]
            case (Command.CAPABILITIES_EXCHANGE | Command.DISCONNECT_PEER, False):
                return []  # nobody asked
        return [Deliver(message)]

    def _on_dpr(self, dpr: DiameterMessage, now: float) -> list[Output]:
        """Confirm that the peer takes leave, and wait for its close; it decides how soon we may come back."""
        cause = dictionary.DISCONNECT_CAUSE.find(dpr.avps)
        if cause is not None and cause.data != DisconnectCause.REBOOTING.to_bytes(4, "big"):
            self._retry_s = LAST_RETRY_S
        self.state = State.CLOSING
        self._deadline = now + DISCONNECT_TIMEOUT_S
        return [Transmit(dpr.answer([*result_avps(Result.SUCCESS), *self._node.origin()]))]

    # The watchdog, in the order of the table in RFC 3539 3.4.1.

    def _set_watchdog(self, now: float) -> None:
        self._deadline = now + self._interval_s

    def _draw_interval(self) -> None:
        watchdog_s = self._timers.watchdog_s
        self._interval_s = watchdog_s + min(MAX_JITTER_S, watchdog_s / 3) * self._jitter()

    def _send_watchdog(self, now: float) -> Transmit:
        self._watchdog_is_pending = True
        self._draw_interval()
        self._set_watchdog(now)
        return self._request(Command.DEVICE_WATCHDOG, self._node.origin())

    def _start_watchdog(self, now: float) -> list[Output]:
        if self._health is Health.DOWN:
            self._health = Health.REOPEN
            self._probes = 0
            return [self._send_watchdog(now)]
        self._health = Health.OKAY
        self._watchdog_is_pending = False
        self._draw_interval()
        self._set_watchdog(now)
        return []

    def _on_dwa(self, now: float) -> list[Output]:
        self._watchdog_is_pending = False
        if self._health is not Health.REOPEN:
            return self._on_sign_of_life(now)
        self._probes = max(self._probes, 0) + 1
        if self._probes < PROBES:
            return []
        self._health = Health.OKAY
        return [Recovered()]

    def _on_sign_of_life(self, now: float) -> list[Output]:
        match self._health:
            case Health.OKAY:
                self._set_watchdog(now)
            case Health.SUSPECT:
                self._health = Health.OKAY
                self._watchdog_is_pending = False
                self._set_watchdog(now)
                return [Recovered()]
        return []

    def _on_watchdog_timer(self, now: float) -> list[Output]:
        match self._health, self._watchdog_is_pending:
            case ((Health.OKAY | Health.REOPEN), False):
                return [self._send_watchdog(now)]
            case Health.OKAY, True:
                self._health = Health.SUSPECT
                self._set_watchdog(now)
                return [Suspected(self._silence)]
            case Health.REOPEN, True if self._probes >= 0:
                self._probes = -1
                self._set_watchdog(now)
                return []
        return self._close(now, self._silence)  # SUSPECT, or REOPEN a second time

    @property
    def _silence(self) -> str:
        return f"does not answer the watchdog of {self._timers.watchdog_s:g} s"

    def _request(self, command: Command, avps: list[Avp]) -> Transmit:
        number = self._identifiers.next()
        return Transmit(DiameterMessage(command, Application.BASE, REQUEST, number, number, tuple(avps)))


def _applications(avps: Sequence[Avp]) -> set[int]:
    """Collect the applications that a CEA names, in any of the forms of 5.3.1."""
    groups = [avps, *map(_VENDOR_SPECIFIC.as_group, _VENDOR_SPECIFIC.find_all(avps))]
    return {
        kind.as_number(avp)
        for group in groups
        for kind in (dictionary.AUTH_APPLICATION_ID, dictionary.ACCT_APPLICATION_ID)
        for avp in kind.find_all(group)
    }


_BASE_COMMANDS = frozenset({Command.CAPABILITIES_EXCHANGE, Command.DEVICE_WATCHDOG, Command.DISCONNECT_PEER})
_VENDOR_SPECIFIC = dictionary.VENDOR_SPECIFIC_APPLICATION_ID


def error_message(answer: DiameterMessage) -> str:
    """Read an answer's Error-Message and Failed-AVP for a person, each after a comma; empty if there are none."""
    text = dictionary.ERROR_MESSAGE.octets_in(answer.avps)
    parts = [] if text is None else [printable(text.decode(errors="replace"))]
    failed = dictionary.FAILED_AVP.find(answer.avps)
    if failed is not None:
        try:
            parts += [f"failed {dictionary.avp_name(avp.code, avp.vendor)}" for avp in failed.members[:4]]
        except ParseError:
            parts.append("failed an unreadable AVP")
    return "".join(f", {part}" for part in parts)


def printable(text: str) -> str:
    """Make a peer's text safe to show: one line, not long."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])
