from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from opencscf.common.errors import StartupError
from opencscf.labs import processes
from opencscf.labs.processes import Port, ProcessGroup, ProcessPlan, check_port, check_ports, last_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A process as the lab knows one: it takes --config FILE, whose text is "PORT HOW", and answers GET /health.
FAKE = """
import http.server, os, signal, sys
port, how = open(sys.argv[2]).read().split()
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
if how == "dies":
    print("starting", file=sys.stderr); sys.exit("fake: sip.listen: 127.0.1.99:5060/udp is in use by another process")
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", int(port)), Health).serve_forever()
"""

LAB = """
import asyncio, pathlib, sys
from opencscf.labs.processes import ProcessGroup, ProcessPlan
folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
async def main():
    async with ProcessGroup() as group:
        plan = ProcessPlan("one", "fake", folder / "one.toml", folder / "one.log", ("127.0.0.1", port))
        await group.start([plan], lambda text: None)
        print("up", flush=True)
        await group.wait_for_an_end()
asyncio.run(main())
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ProcessPlan]:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "fake.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))

    def make(name: str, how: str) -> ProcessPlan:
        port = free_port()
        (tmp_path / f"{name}.toml").write_text(f"{port} {how}")
        return ProcessPlan(name, "fake", tmp_path / f"{name}.toml", tmp_path / f"{name}.log", ("127.0.0.1", port))

    return make


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_are_started_watched_and_all_stopped(plan: Callable[[str, str], ProcessPlan]) -> None:
    plans = [plan("one", "lives"), plan("two", "lives")]
    told: list[str] = []

    async def main() -> None:
        async with ProcessGroup() as group:
            await group.start(plans, told.append)
            assert all(is_alive(int(last_line(one.log))) for one in plans)

    asyncio.run(main())
    assert sorted(text.split(" after")[0] for text in told) == ["one is up", "two is up"]
    assert not any(is_alive(int(last_line(one.log))) for one in plans)


def test_a_process_that_dies_is_quoted_and_takes_the_others_along(plan: Callable[[str, str], ProcessPlan]) -> None:
    good, bad = plan("good", "lives"), plan("bad", "dies")

    async def main() -> None:
        async with ProcessGroup() as group:
            await group.start([good], lambda _: None)
            await group.start([bad], lambda _: None)

    with pytest.raises(StartupError) as raised:
        asyncio.run(main())
    words = "fake: sip.listen: 127.0.1.99:5060/udp is in use by another process"
    assert str(raised.value) == f"bad ended with status 1: {words}"
    assert not is_alive(int(last_line(good.log)))


def test_a_process_that_ignores_sigterm_is_killed(
    plan: Callable[[str, str], ProcessPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.1)
    stubborn = plan("stubborn", "stubborn")

    async def main() -> None:
        async with ProcessGroup() as group:
            await group.start([stubborn], lambda _: None)

    asyncio.run(main())
    assert not is_alive(int(last_line(stubborn.log)))


def test_a_listener_that_raises_is_no_riddle(plan: Callable[[str, str], ProcessPlan]) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    async def main() -> None:
        async with ProcessGroup() as group:
            await group.start([plan("one", "lives")], broken)

    with pytest.raises(BrokenPipeError):
        asyncio.run(main())


def test_the_end_of_a_process_is_noticed(plan: Callable[[str, str], ProcessPlan]) -> None:
    victim = plan("victim", "lives")

    async def main() -> str:
        async with ProcessGroup() as group:
            await group.start([victim], lambda _: None)
            os.kill(int(last_line(victim.log)), signal.SIGKILL)
            async with asyncio.timeout(5):
                return await group.wait_for_an_end()

    assert asyncio.run(main()) == "victim was killed by SIGKILL"


def test_nothing_is_left_when_the_lab_itself_is_killed(plan: Callable[[str, str], ProcessPlan], tmp_path: Path) -> None:
    one = plan("one", "lives")
    arguments = [sys.executable, "-c", LAB, str(tmp_path), str(one.health[1])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == b"up\n"
        with socket.create_connection(one.health) as connection:  # ends when its server is gone
            lab.kill()
            connection.settimeout(5)
            with contextlib.suppress(ConnectionResetError):  # if it had not read its side yet
                assert connection.recv(1) == b""


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_busy_port_is_named_before_anything_starts(plan: Callable[[str, str], ProcessPlan], protocol: str) -> None:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            taken.listen()
        number = taken.getsockname()[1]
        port = Port("127.0.0.1", number, protocol)  # type: ignore[arg-type]  # one of the two
        with pytest.raises(
            StartupError, match=rf"^pcscf: 127\.0\.0\.1:{number}/{protocol}: is in use by another process$"
        ):
            check_port("pcscf", port)
    check_ports([plan("free", "lives")])


def test_foreign_address_is_named() -> None:
    with pytest.raises(StartupError, match=r"^pcscf: 192\.0\.2\.1:5060/udp: is not an address of this machine$"):
        check_port("pcscf", Port("192.0.2.1", 5060, "udp"))


def test_ipv6_ports_are_written_with_brackets() -> None:
    assert str(Port("::1", 5060, "tcp")) == "[::1]:5060/tcp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one\n", "one"),
        ("one\ntwo\n\n  \n", "two"),
        ("x" * 20_000 + "\nlast", "last"),
        ("Traceback\nE: y\n", "E: y"),
    ],
)
def test_last_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "log").write_text(text)
    assert last_line(tmp_path / "log") == expected


def test_last_line_of_no_file_is_empty(tmp_path: Path) -> None:
    assert last_line(tmp_path / "absent") == ""
