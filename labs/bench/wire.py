"""`opencscf bench wire`: what a datagram costs at the system's door, received and sent again over loopback.

CPU time of both directions together, the kernel's part included, for each form of the batch that this machine has.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.transport.batch import forms, note_arrivals
from opencscf.common.transport.udp import MAX_UNSENT, bind

if TYPE_CHECKING:
    from opencscf.common.transport.batch import Batch

DATAGRAM: Final = b"x" * 900
IN_FLIGHT: Final = (1, 16, 64)
DATAGRAMS: Final = 20_000  # in a round
ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """What one datagram costs."""

    form: str
    in_flight: int
    cpu_us: float


def measure(datagrams: int = DATAGRAMS, rounds: int = ROUNDS) -> list[Figure]:
    """Measure every form with every number of datagrams on their way; the best of the rounds counts."""
    return [
        Figure(form, in_flight, min(_round(form, in_flight, datagrams) for _ in range(rounds)))
        for form in forms()
        for in_flight in IN_FLIGHT
    ]


def run(*, as_json: bool) -> None:
    """Measure and print."""
    figures, interpreter = measure(), f"{platform.python_implementation()} {platform.python_version()}"
    if as_json:
        rows = [dataclasses.asdict(figure) for figure in figures]
        print(json.dumps({"interpreter": interpreter, "octets": len(DATAGRAM), "figures": rows}, indent=2))
        return
    print(f"{interpreter}; a datagram of {len(DATAGRAM)} octets received and sent, CPU us")
    for figure in figures:
        print(f"{figure.form:<12}{figure.in_flight:>4} in flight{figure.cpu_us:>8.1f}")


def _round(form: str, in_flight: int, datagrams: int) -> float:
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as opened:
        note_arrivals(opened)
        host, port = here = opened.getsockname()
        batch = forms()[form](opened, lambda host, port: Flow(Transport.UDP, here, (host, port)))
        flow = Flow(Transport.UDP, here, here)
        for _ in range(in_flight):
            batch.queue(DATAGRAM, host, port, flow)
        batch.flush()
        begin, done = time.thread_time_ns(), 0
        while done < datagrams:
            done += _turn(batch)
        return (time.thread_time_ns() - begin) / done / 1000


def _turn(batch: Batch) -> int:
    received = batch.receive()
    for data, flow in received:
        if batch.queue(data, *flow.remote, flow) >= MAX_UNSENT:
            batch.flush()
    batch.flush()
    return len(received)
