import io
import json
from pathlib import Path

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.node.clock import FakeClock
from opencscf.common.node.log import Log
from opencscf.common.node.trace import Trace
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Request

LOCAL = ("127.0.1.10", 5060)
FLOW = Flow(Transport.UDP, LOCAL, ("127.0.2.1", 5070))
REGISTER = Request.new(
    "REGISTER",
    "sip:ims.test",
    [
        ("Via", "SIP/2.0/UDP 127.0.2.1:5070;branch=z9hG4bK1"),
        ("From", "<sip:alice@ims.test>;tag=1"),
        ("To", "<sip:alice@ims.test>"),
        ("Call-ID", "a84b4c76"),
        ("CSeq", "2 REGISTER"),
        ("Authorization", 'Digest username="alice@ims.test", response="0123456789abcdef"'),
    ],
    b"secret body",
    "text/plain",
)


def trace_to(path: Path) -> Trace:
    return Trace(path, "pcscf", FakeClock(12.5), lambda _target: LOCAL)


def test_messages_are_lines_of_json_without_bodies_and_credentials(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    trace = trace_to(path)
    trace.message("in", REGISTER, FLOW)
    trace.message("out", REGISTER, Hop(Transport.TCP, "2001:db8::1", 5060))
    trace.close()
    text = path.read_text()
    assert "secret" not in text
    assert "0123456789abcdef" not in text
    first, second = (json.loads(line) for line in text.splitlines())
    assert first == {
        "t": 12.5,
        "node": "pcscf",
        "dir": "in",
        "proto": "sip",
        "peer": "127.0.2.1:5070",
        "local": "127.0.1.10:5060",
        "summary": "REGISTER sip:ims.test SIP/2.0",
        "call_id": "a84b4c76",
        "cseq": "2 REGISTER",
        "impu": "sip:alice@ims.test",
    }
    assert second["dir"] == "out"
    assert second["peer"] == "[2001:db8::1]:5060"


def test_a_trace_is_continued(tmp_path: Path) -> None:
    for _ in range(2):
        trace = trace_to(tmp_path / "trace.jsonl")
        trace.write("out", "cx", peer=("127.0.1.14", 3868), local=("127.0.1.11", 40000), summary="UAR")
        trace.close()
    assert len((tmp_path / "trace.jsonl").read_text().splitlines()) == 2


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^log\.trace: cannot write .*: Is a directory"):
        trace_to(tmp_path)


def test_a_full_disk_ends_the_trace_and_is_told_once() -> None:
    stream = io.StringIO()
    log = Log("pcscf", FakeClock(), stream=stream)
    log.trace = trace_to(Path("/dev/full"))
    for _ in range(3):
        log.message("in", REGISTER, FLOW)
        log.flush()
    assert stream.getvalue().count("trace-ended") == 1
    assert 'reason="No space left on device"' in stream.getvalue()
