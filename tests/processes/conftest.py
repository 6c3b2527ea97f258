"""The five real processes on loopback, SIPp as the UEs, and a capture of everything they say."""

import asyncio
import csv
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opencscf.labs import render
from opencscf.labs.config import LabSettings, load_lab
from opencscf.labs.processes import ProcessGroup

SCENARIOS = Path(__file__).parent.parent / "sipp"
UE_PORT = 5062
UES = 1000
K = "fec86ba6eb707ed08905757b1bb44b8f"  # TS 35.208 set 3: no octet that SIPp stumbles over
OP = "dbc59adcb6f9a0ef735477b7fadf8374"

LAB = f"""
[network]
mcc = "001"
mnc = "01"
pcscf = "127.0.3.10"
icscf = "127.0.3.11"
scscf = "127.0.3.12"
hss = "127.0.3.14"
pcrf = "127.0.3.15"
[ue]
addresses = ["127.0.4.1", "127.0.4.2"]
[[subscriber]]
imsi = "001010000000001"
msisdn = "15550000001"
k = "{K}"
op = "{OP}"
[[subscriber]]
imsi = "001010000000002"
msisdn = "15550000002"
k = "{K}"
op = "{OP}"
[[subscriber_range]]
first_imsi = "001010000010000"
first_msisdn = "15550010000"
count = {UES}
k = "{K}"
op = "{OP}"
"""


def need(program: str) -> str:
    """Find a program; its absence is a failure, because a test that did not run shows nothing."""
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is not installed: run tests/run, or apt-get install sip-tester tshark")
    return path


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} took more than {seconds} s"
        time.sleep(0.02)  # between two looks at a condition


@dataclass
class Lab:
    """A running lab."""

    settings: LabSettings
    directory: Path
    pids: dict[str, int]

    @property
    def domain(self) -> str:
        return self.settings.network.domain

    @property
    def pcscf(self) -> str:
        return f"{self.settings.network.pcscf}:{self.settings.network.sip_port}"

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start the five processes once for all tests."""
    directory = tmp_path_factory.mktemp("lab")
    (directory / "lab.toml").write_text(LAB)
    settings = load_lab(directory / "lab.toml")
    render.write(settings, directory)
    hss = directory / "hss.toml"
    hss.write_text(hss.read_text().replace("[hss]\n", "[hss]\navoid_zero_octet_in_res = true\n", 1))
    group = ProcessGroup()
    with asyncio.Runner() as runner:
        try:
            for stage in render.plans(settings, directory):
                runner.run(group.start(stage, lambda line: None))
            pids = {one.plan.name: one.process.pid for stage in group._stages for one in stage}
            yield Lab(settings, directory, pids)
            for name in pids:
                text = (directory / f"{name}.log").read_text()
                assert " error " not in text, f"{name} logged an error:\n{text[-2000:]}"
                assert "Traceback" not in text, f"{name} logged a traceback:\n{text[-2000:]}"
        finally:
            runner.run(group.stop())


def ue_address(index: int) -> str:
    return f"127.0.{8 + index // 250}.{1 + index % 250}"


@dataclass(frozen=True)
class SippResult:
    """What SIPp counted."""

    status: int
    successful: int
    failed: int
    retransmissions: int
    errors: str


class Sipp:
    """Runs SIPp against a lab."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._lab = lab
        self._directory = directory
        self._program = need("sipp")
        self._serial = 0

    def _command(self, scenario: str, first: int, count: int, callees: int, words: dict[str, str]) -> list[str]:
        self._serial += 1
        name = self._directory / f"{self._serial}-{scenario}"
        lab = self._lab
        words = {"domain": lab.domain, "port": str(UE_PORT), "pcscf": lab.pcscf, "expires": "600000"} | words
        text = (SCENARIOS / f"{scenario}.xml").read_text()
        name.with_suffix(".xml").write_text(re.sub(r"@(\w+)@", lambda word: words[word[1]], text))
        rows = ["SEQUENTIAL"]
        for index in range(first, first + count):
            imsi, number = f"{1010000010000 + index:015}", f"{15550010000 + index}"
            credentials = (
                f"[authentication username={imsi}@{self._lab.domain} aka_OP=0x{OP} aka_AMF=0x8000 aka_K=0x{K}]"
            )
            rows.append(f"{ue_address(index)};{imsi};{number};{int(number) + callees};{credentials}")
        name.with_suffix(".csv").write_text("\n".join(rows) + "\n")
        return [
            self._program, self._lab.pcscf, "-sf", f"{name}.xml", "-inf", f"{name}.csv", "-t", "ui", "-ip_field", "0",
            "-i", "127.0.0.1", "-p", str(UE_PORT), "-nostdin", "-max_socket", str(2 * UES), "-buff_size", "4194304",
            "-trace_err", "-error_file", f"{name}.err", "-trace_stat", "-stf", f"{name}.stat", "-fd", "1",
        ]  # fmt: skip

    def start(self, scenario: str, first: int, count: int, callees: int = 0, **words: str) -> "subprocess.Popen[bytes]":
        """Start a scenario that waits for calls."""
        command = self._command(scenario, first, count, callees, words)
        process = subprocess.Popen(
            command, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=_many_files,  # noqa: PLW1509  no threads here
        )  # fmt: skip
        port = f":{UE_PORT:04X} "
        wait_until(lambda: Path("/proc/net/udp").read_text().count(port) >= count, "SIPp's sockets")
        return process

    def run(self, scenario: str, first: int, count: int, rate: int, callees: int = 0, **words: str) -> SippResult:
        """Run `count` transactions at `rate` a second."""
        command = self._command(scenario, first, count, callees, words)
        command += ["-r", str(rate), "-m", str(count), "-l", str(count), "-timeout", f"{count // rate + 40}s"]
        done = subprocess.run(
            command, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            preexec_fn=_many_files, timeout=count / rate + 60,
        )  # fmt: skip
        stat, errors = (Path(command[3]).with_suffix(suffix) for suffix in (".stat", ".err"))
        with stat.open() as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        return SippResult(
            done.returncode,
            int(last["SuccessfulCall(C)"]),
            int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]),
            errors.read_text()[-2000:] if errors.exists() else "",
        )


def _many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def sipp(lab: Lab, tmp_path: Path) -> Sipp:
    return Sipp(lab, tmp_path)


def as_root(*command: str) -> list[str]:
    return [*command] if os.geteuid() == 0 else ["sudo", "-n", *command]


@pytest.fixture(scope="session")
def capture() -> Iterator[Callable[[], Path]]:
    """Capture SIP and Diameter on loopback from now on; calling the fixture's value ends it and names the file.

    The file is in memory: on the disk, it would be flushed by the very `fsync` that a 200 to REGISTER waits for.
    """
    memory = Path("/dev/shm")  # noqa: S108 - Linux's own
    folder = tempfile.TemporaryDirectory(prefix="opencscf-", dir=memory if os.access(memory, os.W_OK) else None)
    path = Path(folder.name) / "lab.pcap"
    # one capture filter for the lab's own addresses: other traffic on loopback is nobody's business
    process = subprocess.Popen(
        as_root(need("tcpdump"), "-i", "lo", "-B", "65536", "-s", "0", "--immediate-mode", "-U", "-w", str(path),
                "net 127.0.3.0/24 and (udp or tcp port 3868)"),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listening on" in line or "dropped privs" in line, line

    def finish() -> Path:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=20)
            assert "0 packets dropped by kernel" in words, words
        return path

    yield finish
    finish()
    folder.cleanup()


def run_tshark(path: Path, display_filter: str, *fields: str) -> list[str]:
    command = [need("tshark"), "-r", str(path), "-d", f"udp.port=={UE_PORT},sip", "-d", "tcp.port==3868,diameter"]
    command += ["-Y", display_filter, "-T", "fields"]
    for name in fields:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


@pytest.fixture(scope="session")
def tshark() -> Callable[..., list[str]]:
    """Read a capture: `tshark(path, display_filter, field, ...)` gives a line a packet."""
    return run_tshark


@pytest.fixture(scope="session")
def python() -> str:
    return sys.executable
