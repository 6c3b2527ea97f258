"""HSS and PCRF as processes: settings, health check, one line for each fault, an orderly stop."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Received, make
from opencscf.labs.diameter_peer import result_of, vendor_specific_application

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATIONS = {"hss": codec.CX_APPLICATION, "pcrf": codec.RX_APPLICATION}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Process:
    """One of the two, as its own process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = _free_port()
        self.health_port = _free_port()
        self.config = folder / f"{name}.toml"
        database = 'database = "hss.db"' if name == "hss" else ""
        self.config.write_text(
            f'[{name}]\naddress = "127.0.0.1"\nport = {self.port}\n'
            f'origin_host = "{name}.test"\norigin_realm = "test"\n{database}\n'
            f'[health]\naddress = "127.0.0.1"\nport = {self.health_port}\n'
        )
        self.child: subprocess.Popen[str] | None = None

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", f"opencscf.labs.{self.name}", "--config", str(self.config), *more]

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*more), capture_output=True, text=True, timeout=20, check=False)

    def start(self) -> None:
        self.child = subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True)
        assert self.child.stderr is not None
        for line in self.child.stderr:
            if "info ready" in line:
                return
        raise AssertionError(f"{self.name} ended with {self.child.wait()}")

    def stop(self) -> int:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        self.child.communicate(timeout=10)
        return self.child.returncode

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()


@pytest.fixture(params=["hss", "pcrf"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    process = Process(request.param, tmp_path)
    yield process
    process.kill()


def _receive(connection: socket.socket) -> Received:
    with connection.makefile("rb") as stream:
        head = stream.read(4)
        return codec.decode(head + stream.read(int.from_bytes(head[1:], "big") - 4))


def test_life_of_a_process(process: Process) -> None:
    process.start()
    with socket.create_connection(("127.0.0.1", process.port), timeout=5) as connection:
        avps = [
            make(codec.ORIGIN_HOST, b"cscf.test"),
            make(codec.ORIGIN_REALM, b"test"),
            make(codec.HOST_IP_ADDRESS, "127.0.0.1"),
            make(codec.VENDOR_ID, 0),
            make(codec.PRODUCT_NAME, "test"),
            vendor_specific_application(APPLICATIONS[process.name]),
        ]
        connection.sendall(codec.encode(codec.request_header(257, 1, 1), avps))
        assert result_of(_receive(connection)) == codec.SUCCESS
        with urllib.request.urlopen(f"http://127.0.0.1:{process.health_port}/health", timeout=5) as answer:
            health = json.load(answer)
        assert health["status"] == "ok"
        assert health["node"] == process.name
        assert list(health["peers"]) == ["cscf.test"]
        assert health.get("sessions" if process.name == "pcrf" else "subscribers") == 0
        assert process.child is not None
        process.child.send_signal(signal.SIGTERM)
        goodbye = _receive(connection)
        assert (goodbye.command, goodbye.is_request) == (282, True)
    process.child.communicate(timeout=10)
    assert process.child.returncode == 0


def test_busy_port(process: Process) -> None:
    with socket.create_server(("127.0.0.1", process.port)):
        ended = process.run()
    lines = [line for line in ended.stderr.splitlines() if " info " not in line]
    assert ended.returncode == 1
    assert lines == [f"{process.name}: 127.0.0.1:{process.port}/tcp is in use by another process"]


def test_settings_are_checked(process: Process) -> None:
    assert process.run("--check-config").returncode == 0
    process.config.write_text(f'[{process.name}]\nadress = "x"\norigin_host = 1\n')
    ended = process.run("--check-config")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) >= 3
    assert f'unknown key, did you mean "{process.name}.address"?' in ended.stderr
    assert "Traceback" not in ended.stderr
