"""A small node in a process of its own: it answers OPTIONS, counts them in its store, and may have a peer."""

import contextlib
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias
from unittest.mock import ANY

import pytest

from opencscf.common.node.clock import FakeClock
from opencscf.common.node.log import Log
from opencscf.common.node.overload import Overload
from opencscf.common.node.process import _watch
from opencscf.common.node.settings import OverloadSettings

PROGRAM = '''
import asyncio, sys
from dataclasses import dataclass
from opencscf.common.actions import Procedure, Respond, Save
from opencscf.common.errors import PeerUnavailable
from opencscf.common.events import RequestReceived
from opencscf.common.node.process import Client, Node, run
from opencscf.common.node.settings import (
    DnsSettings,
    HealthSettings,
    LogSettings,
    OverloadSettings,
    SipSettings,
    StoreSettings,
)


@dataclass(frozen=True)
class Settings:
    """A node that answers OPTIONS."""
    sip: SipSettings
    dns: DnsSettings = DnsSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    overload: OverloadSettings = OverloadSettings()
    store: StoreSettings = StoreSettings()
    peer: str = ""


class Core:
    def __init__(self, count):
        self.count = count

    def on_event(self, event):
        if not isinstance(event, RequestReceived):
            return []
        if event.request.method == "FAULT":
            raise RuntimeError("on purpose")
        return Procedure("count", self.answer(event.request), event.request)

    async def answer(self, request):
        self.count += 1
        await Save("count", "options", {"count": self.count})
        return [Respond(request, 200, headers=(("X-Count", str(self.count)),))]


@dataclass
class Peer:
    host: str
    is_open: bool

    def start(self): pass
    def peers(self): return [self]
    def __str__(self): return "open" if self.is_open else "connection refused"

    async def stop(self):
        print("took leave", flush=True)

    async def wait_open(self, timeout_s):
        if self.host == "silent":
            print("waiting", flush=True)
            await asyncio.Event().wait()
        if not self.is_open:
            raise PeerUnavailable("hss.ims.test (127.0.1.14:3868)", "connection refused")


def build(settings, context):
    saved = dict(context.store.load("count"))
    core = Core(saved.get("options", {"count": 0})["count"])
    peer = Peer(settings.peer, settings.peer == "open")
    clients = (Client("cx", peer, is_awaited=settings.peer != "late"),) if settings.peer else ()
    return Node(core, {}, clients, lambda: {"count": core.count})


sys.exit(run("small", Settings, build, sys.argv[1:]))
'''

Address: TypeAlias = tuple[str, int]


class Small:
    """The node's files, and its process once it was started."""

    def __init__(self, folder: Path, address: Address, health: Address) -> None:
        self.folder = folder
        self.address = address
        self.health = health
        (folder / "small.py").write_text(PROGRAM)
        self.configure()

    def configure(self, more: str = "") -> None:
        (self.folder / "small.toml").write_text(
            f"""{more}
[[sip.listen]]
address = "{self.address[0]}"
port = {self.address[1]}
[health]
port = {self.health[1]}
[store]
path = "small.db"
[log]
trace = "trace.jsonl"
"""
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(self.folder / "small.py"), "--config", str(self.folder / "small.toml"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def running(self) -> "Iterator[subprocess.Popen[str]]":
        """Start the node, wait until it is ready, and kill what is left of it."""
        with self.start() as process:
            try:
                assert " info ready  node=small sip=" in read_line(process.stderr)
                yield process
            finally:
                process.kill()

    def ask(
        self,
        method: str = "OPTIONS",
        *,
        kind: socket.SocketKind = socket.SOCK_DGRAM,
        branch: str = "1",
        version: str = "SIP/2.0",
    ) -> str:
        """Send a request, and return the head of its answer."""
        with socket.socket(socket.AF_INET, kind) as peer:
            peer.settimeout(5)
            peer.connect(self.address)
            host, port = peer.getsockname()
            transport = "UDP" if kind is socket.SOCK_DGRAM else "TCP"
            lines = [
                f"{method} sip:small {version}",
                f"Via: SIP/2.0/{transport} {host}:{port};branch=z9hG4bK{branch}{method}",
                "Max-Forwards: 70",
                "From: <sip:alice@ims.test>;tag=1",
                "To: <sip:small>",
                f"Call-ID: {branch}",
                f"CSeq: 1 {method}",
                "Content-Length: 0",
            ]
            peer.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            return peer.recv(65_535).decode()

    def status(self) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection(*self.health, timeout=5)
        connection.request("GET", "/health")
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content


def read_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_an_overload_is_two_lines() -> None:
    stream = io.StringIO()
    log, overload = Log("small", FakeClock(), stream=stream), Overload(OverloadSettings(), 0.0)
    for tenth in range(1, 300):
        overload.note_delay(0.4 if tenth < 50 else 0.0)
        _watch(overload, tenth / 10, log)
        if tenth == 20:
            assert stream.getvalue().endswith("Z warning overload-begins  node=small delay_ms=400\n")
    _, end = stream.getvalue().splitlines()
    assert " info overload-ends  node=small seconds=" in end
    assert end.endswith("refused=0 admitted=0")


def free_address() -> Address:
    """Find a port that is free for UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            host, port = udp.getsockname()
            with contextlib.suppress(OSError):
                tcp.bind((host, port))
                return host, port


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path, free_address(), free_address())


def test_a_node_serves_until_it_is_told_to_stop(small: Small) -> None:
    with small.running() as process:
        assert small.ask().startswith("SIP/2.0 200 OK\r\n")
        assert "X-Count: 2" in small.ask(kind=socket.SOCK_STREAM, branch="2")
        code, status = small.status()
        assert (code, status["node"], status["status"], status["count"]) == (200, "small", "ok", 2)
        assert status["overload"] == {"overloads": 0, "refused": 0, "refusing": 0.0, "delay_ms": ANY}
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[1].split(" info ")[1:] == ["stopping  node=small\n"]
        assert process.returncode == 0
    trace = [json.loads(line) for line in (small.folder / "trace.jsonl").read_text().splitlines()]
    assert [(line["dir"], line["summary"]) for line in trace[:2]] == [
        ("in", "OPTIONS sip:small SIP/2.0"),
        ("out", "SIP/2.0 200 OK"),
    ]
    with small.running():  # the ports are free again, and the count goes on
        assert "X-Count: 3" in small.ask()


def test_what_was_answered_survives_a_kill(small: Small) -> None:
    with small.running():
        small.ask()
    with small.running():
        assert "X-Count: 2" in small.ask()


def test_a_fault_ends_one_transaction_and_leaves_a_traceback(small: Small) -> None:
    with small.running() as process:
        assert small.ask("FAULT").startswith("SIP/2.0 500 ")
        assert "error fault  node=small" in read_line(process.stderr)
        assert read_line(process.stderr).startswith("    Traceback")
        assert small.ask().startswith("SIP/2.0 200 ")


def test_what_cannot_be_parsed_is_answered_and_logged(small: Small) -> None:
    with small.running() as process:
        assert small.ask(version="SIP/7.0").startswith("SIP/2.0 505 ")
        assert "warning malformed  node=small" in read_line(process.stderr)
        assert small.ask().startswith("SIP/2.0 200 ")


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    with process:
        _, errors = process.communicate(timeout=20)
        return process.returncode, errors


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_busy_sip_port_is_one_line(small: Small, kind: socket.SocketKind) -> None:
    protocol = "udp" if kind is socket.SOCK_DGRAM else "tcp"
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(small.address)
        if kind is socket.SOCK_STREAM:
            taken.listen()
        line = f"small: sip.listen: 127.0.0.1:{small.address[1]}/{protocol} is in use by another process\n"
        assert finish(small.start()) == (1, line)


def test_a_busy_health_port_is_one_line(small: Small) -> None:
    with socket.socket() as taken:
        taken.bind(small.health)
        taken.listen()
        line = f"small: health: 127.0.0.1:{small.health[1]}/tcp is in use by another process\n"
        assert finish(small.start()) == (1, line)


def test_a_store_that_is_no_database_is_one_line(small: Small) -> None:
    (small.folder / "small.db").write_text("something else " * 100)
    code, errors = finish(small.start())
    assert code == 1
    assert re.fullmatch(r"small: store\.path: cannot open \S+small\.db: file is not a database\n", errors)


def test_wrong_settings_are_a_line_each_and_open_nothing(small: Small) -> None:
    small.configure('pear = "open"\n')
    with (small.folder / "small.toml").open("a") as file:
        file.write("level = 3\n")
    code, errors = finish(small.start())
    path = small.folder / "small.toml"
    assert code == 2
    assert errors.splitlines() == [
        f'{path}: pear: unknown key, did you mean "peer"?',
        f'{path}: log.level: expected "debug" or "info" or "warning" or "error", got 3',
    ]
    assert finish(small.start("--check-config")) == (code, errors)
    assert not (small.folder / "small.db").exists()


def test_good_settings_are_checked_in_silence(small: Small) -> None:
    assert finish(small.start("--check-config")) == (0, "")
    assert not (small.folder / "small.db").exists()


def test_a_needed_peer_that_cannot_be_reached_is_one_line(small: Small) -> None:
    small.configure('peer = "closed"\n')
    line = "small: cx: no peer can be asked: hss.ims.test (127.0.1.14:3868): connection refused\n"
    assert finish(small.start()) == (1, line)


def test_without_a_needed_peer_that_may_come_late_the_node_is_degraded(small: Small) -> None:
    small.configure('peer = "late"\n')
    with small.running() as process:
        code, status = small.status()
        assert (code, status["status"], status["peers"]) == (503, "degraded", {"late": "connection refused"})
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "took leave\n"
        assert process.returncode == 0


def test_a_node_that_waits_for_a_peer_can_be_stopped(small: Small) -> None:
    small.configure('peer = "silent"\n')
    with small.start() as process:
        assert read_line(process.stdout) == "waiting\n"
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (0, "")
