"""Shell: the datagrams of one UDP socket, received and sent many at a time.

`open_batch` gives the C twin (`_batch.c`: recvmmsg and sendmmsg), or else `PlainBatch`, which is the reference. The
flow from each known source is made once, since making one costs as much as the datagram.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from opencscf.common.native import twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.sip.flow import Flow, Hop

MAX_BATCH: Final = 32  # datagrams received in a row, before the loop's other work has its turn
MAX_QUEUE: Final = 1024  # datagrams that wait for room in the socket's send buffer
MAX_DATAGRAM_BYTES: Final = 65_535
_KNOWN_SOURCES: Final = 2048
_SO_TIMESTAMPNS: Final = 35  # Linux asm-generic/socket.h, and the type of its messages; missing in the socket module
_TIMESPEC: Final = struct.Struct("@qq")
_NO_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
_MAX_TRIES: Final = 4  # an error may be the news of another datagram's fate, which is told once
_native: Final = twin("opencscf.common.transport._batch")


class Batch(Protocol):
    """What both forms do; `has_errors` is set when the socket's error queue may hold something (see `icmp.py`)."""

    has_errors: bool

    @property
    def waited_s(self) -> float:
        """How long the oldest datagram of the last batch had been in the kernel; 0 if it does not say."""
        ...

    @property
    def sent(self) -> int:
        """How many datagrams have left."""
        ...

    @property
    def waiting(self) -> int:
        """How many datagrams are queued."""
        ...

    def receive(self) -> list[tuple[bytes, Flow]]:
        """Return what has come in, at most a batch of it, each with its flow."""
        ...

    def queue(self, data: bytes, host: str, port: int, target: Hop | Flow) -> int:
        """Keep a datagram for the next flush, and return how many there are; 0 if it had no room.

        OverflowError or ValueError says that this is no address. The target is given back if sending fails.
        """
        ...

    def flush(self) -> list[tuple[Hop | Flow, int]]:
        """Send what is queued, as far as there is room; return the targets that failed, each with its errno."""
        ...

    def close(self) -> None:
        """Touch the socket no more."""
        ...


Open: TypeAlias = "Callable[[socket.socket, Callable[[str, int], Flow]], Batch]"


def forms() -> dict[str, Open]:
    """Return what opens each form there is, the fastest last."""
    found: dict[str, Open] = {"plain": lambda opened, make_flow: PlainBatch(opened, make_flow, MAX_BATCH, MAX_QUEUE)}
    if _native is not None:
        native = _native.Batch
        found["C"] = lambda opened, make_flow: cast("Batch", native(opened, make_flow, MAX_BATCH, MAX_QUEUE))
    return found


def open_batch(opened: socket.socket, make_flow: Callable[[str, int], Flow]) -> Batch:
    """Return the fastest form, for a non-blocking socket."""
    return list(forms().values())[-1](opened, make_flow)


def note_arrivals(opened: socket.socket) -> None:
    """Let the kernel say when it received each datagram, if it can (Linux)."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return


class PlainBatch:
    """Any platform's form: one system call per datagram."""

    def __init__(self, opened: socket.socket, make_flow: Callable[[str, int], Flow], size: int, capacity: int) -> None:
        """Take at most `size` datagrams in a row, and queue at most `capacity`."""
        self.waited_s = 0.0
        self.sent = 0
        self.has_errors = False
        self._socket: socket.socket | None = opened
        self._make_flow = make_flow
        self._size = size
        self._capacity = capacity
        self._queue: deque[tuple[bytes, tuple[str, int], Hop | Flow]] = deque()
        self._known: dict[tuple[Any, ...], Flow] = {}  # by the socket module's addresses, which IPv6 makes longer

    @property
    def waiting(self) -> int:
        """Count the queue."""
        return len(self._queue)

    def receive(self) -> list[tuple[bytes, Flow]]:
        """Read until there is no more, or enough."""
        datagrams: list[tuple[bytes, Flow]] = []
        if self._socket is None:
            return datagrams
        for _ in range(_MAX_TRIES):
            try:
                self._read(self._socket, datagrams)
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self.has_errors |= not datagrams  # else what did we wake up for
                    break
                self.has_errors = True
                if datagrams:
                    break
        return datagrams

    def _read(self, opened: socket.socket, datagrams: list[tuple[bytes, Flow]]) -> None:
        data, control, _, source = opened.recvmsg(MAX_DATAGRAM_BYTES, 64)
        self.waited_s = _waited_s(control)
        datagrams.append((data, self._flow_from(source)))
        for _ in range(self._size - 1):
            data, source = opened.recvfrom(MAX_DATAGRAM_BYTES)
            datagrams.append((data, self._flow_from(source)))

    def queue(self, data: bytes, host: str, port: int, target: Hop | Flow) -> int:
        """Check the address, and keep the datagram."""
        if not 0 <= port <= 65_535:
            raise OverflowError("port must be 0-65535")
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
        except OSError as error:
            raise ValueError("not an IP address") from error
        if self._socket is None or len(self._queue) >= self._capacity:
            return 0
        self._queue.append((data, (host, port), target))
        return len(self._queue)

    def flush(self) -> list[tuple[Hop | Flow, int]]:
        """Send one after the other, until there is no room."""
        failures: list[tuple[Hop | Flow, int]] = []
        while self._queue and self._socket is not None:
            data, address, target = self._queue[0]
            error = self._send(self._socket, data, address)
            if error in _NO_ROOM:
                break
            if error == 0:
                self.sent += 1
            elif error != errno.ENOBUFS:  # with which the interface drops it, as any router may
                failures.append((target, error))
            self._queue.popleft()
        return failures

    def _send(self, opened: socket.socket, data: bytes, address: tuple[str, int]) -> int:
        """Send a datagram and return 0, or why it cannot be sent."""
        number = 0
        for _ in range(_MAX_TRIES):
            try:
                opened.sendto(data, address)
            except OSError as error:
                number = error.errno or errno.EINVAL
                if number in _NO_ROOM or number == errno.ENOBUFS:
                    break
                self.has_errors = True
            else:
                return 0
        return number

    def close(self) -> None:
        """Forget the socket and the queue."""
        self._socket = None
        self._queue.clear()

    def _flow_from(self, source: tuple[Any, ...]) -> Flow:
        flow = self._known.get(source)
        if flow is None:
            if len(self._known) >= _KNOWN_SOURCES:
                self._known.clear()
            flow = self._known[source] = self._make_flow(source[0], source[1])
        return flow


def _waited_s(control: list[tuple[int, int, bytes]]) -> float:
    for level, kind, value in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return float(max(0.0, time.time() - (seconds + nanoseconds * 1e-9)))
    return 0.0
