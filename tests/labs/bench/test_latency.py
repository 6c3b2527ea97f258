from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from opencscf.common.errors import ParseError
from opencscf.labs.bench.latency import Percentiles, latencies, measure, packets
from opencscf.labs.bench.scene import UE_PORT

if TYPE_CHECKING:
    from pathlib import Path

HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def sip(start: str, method: str = "REGISTER", number: int = 1, call_id: str = "a") -> bytes:
    return f"{start}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n\r\n".encode()


def record(at: float, source: int, destination: int, payload: bytes, protocol: int = 17) -> bytes:
    udp = struct.pack("!HHHH", source, destination, 8 + len(payload), 0)
    ip = b"\x45" + bytes(8) + bytes([protocol]) + bytes(10)
    frame = bytes(12) + b"\x08\x00" + ip + udp + payload
    return struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame


def test_a_capture_becomes_percentiles(tmp_path: Path) -> None:
    path = tmp_path / "ues.pcap"
    ue, core = UE_PORT, 5060
    path.write_bytes(
        HEAD
        + record(10.000, ue, core, sip("REGISTER sip:x SIP/2.0"))
        + record(10.001, core, ue, sip("SIP/2.0 100 Trying"))
        + record(10.004, core, ue, sip("SIP/2.0 401 Unauthorized"))
        + record(10.005, core, ue, sip("SIP/2.0 401 Unauthorized"))
        + record(10.100, ue, core, sip("REGISTER sip:x SIP/2.0", number=2))
        + record(10.600, ue, core, sip("REGISTER sip:x SIP/2.0", number=2))
        + record(10.602, core, ue, sip("SIP/2.0 200 OK", number=2))
        + record(10.7, 1, 2, b"no SIP")
        + record(10.7, ue, core, sip("INVITE sip:x SIP/2.0", "INVITE"), protocol=6)
    )
    times = latencies(path)
    assert {name: (one.count, round(one.p50, 2), round(one.p99, 2)) for name, one in times.items()} == {
        "REGISTER to 401": (1, 4.0, 4.0),
        "REGISTER to 200": (1, 502.0, 502.0),  # from the first transmission
    }


def test_what_the_core_sends_to_ues_is_not_theirs() -> None:
    stream = [
        (1.0, 5060, UE_PORT, sip("INVITE sip:b SIP/2.0", "INVITE")),
        (1.1, UE_PORT, 5060, sip("SIP/2.0 180 Ringing", "INVITE")),
    ]
    assert measure(iter(stream)) == {}


def test_provisional_and_final_response_both_count() -> None:
    stream = [
        (1.0, UE_PORT, 5060, sip("INVITE sip:b SIP/2.0", "INVITE")),
        (1.25, 5060, UE_PORT, sip("SIP/2.0 180 Ringing", "INVITE")),
        (1.5, 5060, UE_PORT, sip("SIP/2.0 200 OK", "INVITE")),
    ]
    assert measure(iter(stream)) == {"INVITE to 180": [250.0], "INVITE to 200": [500.0]}


def test_percentiles_of_many() -> None:
    assert Percentiles.of([float(number) for number in range(1, 1001)]) == Percentiles(1000, 500.0, 991.0)


def test_no_capture_no_latency(tmp_path: Path) -> None:
    assert latencies(tmp_path / "none.pcap") == {}


def test_another_format_is_refused() -> None:
    with pytest.raises(ParseError, match="pcap"):
        list(packets(b"\x0a\x0d\x0d\x0a" + bytes(40)))


def test_a_record_cut_short_ends_the_reading() -> None:
    assert list(packets(HEAD + record(1.0, 1, 2, b"x" * 60)[:30])) == []
