"""Latency as UEs see it, from a capture: SIPp's own clock has steps of 4 ms.

A request's first transmission by a UE to the response that ends its wait. Capturing needs root or sudo, and tcpdump.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import ParseError
from opencscf.labs.bench.children import find_program, spawn, stop
from opencscf.labs.bench.scene import UE_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

SNAP_BYTES: Final = 700  # as far as Call-ID and CSeq behind our longest Via and Record-Route
START_S: Final = 1.0  # until tcpdump listens

_RECORD = Struct("<IIII")  # of a pcap file: seconds, fraction, octets kept, octets on the wire
_MAGIC_US: Final = 0xA1B2C3D4
_ETHERNET, _IPV4_TYPE, _UDP = 14, b"\x08\x00", 17
_CALL_ID = re.compile(rb"\r\n(?:Call-ID|i) *: *([^\r]+)", re.IGNORECASE)
_CSEQ = re.compile(rb"\r\nCSeq *: *(\d+) +(\w+)", re.IGNORECASE)

Key = tuple[bytes, bytes, bytes]  # Call-ID, CSeq number and method


@dataclass(frozen=True, slots=True)
class Percentiles:
    """In milliseconds."""

    count: int
    p50: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Sort them and look."""
        ordered = sorted(values)
        last = len(ordered) - 1
        return cls(len(ordered), ordered[last // 2], ordered[min(last, len(ordered) * 99 // 100)])


def can_capture() -> bool:
    """Tell whether tcpdump is there, and whether we may run it."""
    return find_program("tcpdump") is not None and (os.geteuid() == 0 or find_program("sudo") is not None)


@contextlib.asynccontextmanager
async def captured(path: Path) -> AsyncIterator[None]:
    """Capture what UEs send and receive meanwhile; without the right to, `path` does not come to be."""
    program = find_program("tcpdump") or "tcpdump"
    command = [
        program, "-i", "lo", "-n", "-q", "-s", str(SNAP_BYTES), "-B", "65536", "-U", "-Z", "root", "-w", str(path),
        f"udp port {UE_PORT}",
    ]  # fmt: skip
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    process = await spawn(command, path.parent, at_our_end=signal.SIGTERM)
    try:
        await asyncio.sleep(START_S)
        yield
        await asyncio.sleep(0.3)
    finally:
        await stop(process, signal.SIGINT)


def latencies(capture: Path) -> dict[str, Percentiles]:
    """Read a capture; nothing if there is none."""
    if not capture.exists():
        return {}
    times = measure(packets(capture.read_bytes()))
    return {name: Percentiles.of(values) for name, values in times.items()}


def measure(stream: Iterator[tuple[float, int, int, bytes]]) -> dict[str, list[float]]:
    """Pair requests of UEs with their responses: milliseconds by what was waited for."""
    sent: dict[Key, float] = {}
    times: dict[str, list[float]] = {}
    for at, source, destination, payload in stream:
        call_id, cseq = _CALL_ID.search(payload), _CSEQ.search(payload)
        if call_id is None or cseq is None:
            continue
        key = (call_id[1], cseq[1], cseq[2])
        if not payload.startswith(b"SIP/2.0 "):
            if source == UE_PORT and destination != UE_PORT:
                sent.setdefault(key, at)
            continue
        status = payload[8:11].decode("ascii", "replace")
        name = f"{cseq[2].decode()} to {status}"
        if destination == UE_PORT and status != "100" and (begin := sent.get(key)) is not None:
            times.setdefault(name, []).append((at - begin) * 1000)
            if status >= "200":
                del sent[key]  # what comes now is a retransmission
    return times


def packets(data: bytes) -> Iterator[tuple[float, int, int, bytes]]:
    """Read UDP datagrams out of a pcap file: time, source port, destination port, payload."""
    if len(data) < 24 or int.from_bytes(data[:4], "little") != _MAGIC_US:
        raise ParseError("not a little-endian pcap file with microseconds")
    position = 24
    while position + _RECORD.size <= len(data):
        seconds, fraction, kept, _ = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        frame = data[position : position + kept]
        position += kept
        if frame[12:14] != _IPV4_TYPE or len(frame) < 42 or frame[23] != _UDP:
            continue
        udp = _ETHERNET + (frame[14] & 15) * 4
        ports = int.from_bytes(frame[udp : udp + 2]), int.from_bytes(frame[udp + 2 : udp + 4])
        yield seconds + fraction / 1e6, *ports, frame[udp + 8 :]
