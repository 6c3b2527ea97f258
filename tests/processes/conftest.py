"""The five real processes on loopback, SIPp as the UEs, and a capture of everything they say."""

import asyncio
import contextlib
import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opencscf.labs import render
from opencscf.labs.config import LabSettings, load_lab
from opencscf.labs.processes import LabProcess, ProcessGroup, ProcessPlan

SCENARIOS = Path(__file__).parent.parent / "sipp"
UE_PORT = 5062
UES = 1100
K = "fec86ba6eb707ed08905757b1bb44b8f"  # TS 35.208 set 3: no octet that SIPp stumbles over
OP = "dbc59adcb6f9a0ef735477b7fadf8374"

LAB = f"""
[network]
mcc = "001"
mnc = "01"
pcscf = "@net@.10"
icscf = "@net@.11"
scscf = "@net@.12"
hss = "@net@.14"
pcrf = "@net@.15"
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


# ---------------------------------------------------------------------- the processes


class Lab:
    """A running lab on a network of its own."""

    def __init__(
        self,
        directory: Path,
        net: str,
        *,
        second_pcscf_address: str | None = None,
        dead_hops: bool = False,
    ) -> None:
        self.directory = directory
        (directory / "lab.toml").write_text(LAB.replace("@net@", net))
        self.settings: LabSettings = load_lab(directory / "lab.toml")
        render.write(self.settings, directory)
        self._edit("hss", "[hss]\n", "[hss]\navoid_zero_octet_in_res = true\n")
        if second_pcscf_address is not None:
            listen = f'[[sip.listen]]\naddress = "{second_pcscf_address}"\n\n'
            self._edit("pcscf", "[sip.hosts]", f"{listen}[sip.hosts]")
        if dead_hops:
            for name, hop in (("pcscf", "icscf"), ("icscf", "scscf")):
                line = f'"{hop}.{self.domain}" = '
                address = getattr(self.settings.network, hop)
                self._edit(name, f'{line}"{address}"', f'{line}["{net}.99", "{address}"]')
        self._runner = asyncio.Runner()
        self._groups: list[ProcessGroup] = []
        self.former_logs: dict[str, str] = {}
        self._start(*render.plans(self.settings, directory))

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.directory / f"{name}.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def _start(self, *stages: list[ProcessPlan]) -> None:
        group = ProcessGroup()
        self._groups.append(group)
        for stage in stages:
            self._runner.run(group.start(stage, lambda line: None))

    def stop(self) -> None:
        with self._runner:
            for group in reversed(self._groups):
                self._runner.run(group.stop())

    @property
    def processes(self) -> dict[str, LabProcess]:
        return {one.plan.name: one for group in self._groups for stage in group._stages for one in stage}

    @property
    def pids(self) -> dict[str, int]:
        return {name: one.process.pid for name, one in self.processes.items()}

    @property
    def domain(self) -> str:
        return self.settings.network.domain

    @property
    def pcscf(self) -> str:
        return f"{self.settings.network.pcscf}:{self.settings.network.sip_port}"

    @property
    def service_route(self) -> str:
        return f"<sip:orig@scscf.{self.domain}:{self.settings.network.sip_port};lr>"

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def health(self, name: str) -> dict[str, Any]:
        """Ask a process how it is; `Any` is JSON."""
        address, port = self.processes[name].plan.health
        with urllib.request.urlopen(f"http://{address}:{port}/health", timeout=5) as answer:
            return dict(json.load(answer))

    def kill_and_restart(self, name: str) -> None:
        """Take a process away without a warning, as a power cut does, and start it again."""
        killed = self.processes[name]
        self.former_logs[name] = self.former_logs.get(name, "") + self.log(name)
        killed.process.kill()
        self._runner.run(killed.process.wait())
        self._start([killed.plan])

    def check_logs(self) -> None:
        for name in self.processes:
            text = self.former_logs.get(name, "") + self.log(name)
            assert " error " not in text, f"{name} logged an error:\n{text[-2000:]}"
            assert "Traceback" not in text, f"{name} logged a traceback:\n{text[-2000:]}"


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[Lab]:
    try:
        yield lab
        lab.check_logs()
    finally:
        lab.stop()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab that all tests share; its P-CSCF has an IPv6 address too.

    Its databases are in memory: a 200 to REGISTER waits for the disk, and how long a machine shared with others takes
    for a sync is nothing these tests judge. Those that kill processes have a lab of their own, on the disk.
    """
    with in_memory() as folder, running(Lab(folder, "127.0.3", second_pcscf_address="::1")) as lab:
        yield lab


@pytest.fixture(scope="session")
def attacked_lab() -> Iterator[Lab]:
    """A lab for attackers: they acknowledge nothing, and so are answered again and again while other tests run."""
    with in_memory() as folder, running(Lab(folder, "127.0.20")) as lab:
        yield lab


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab for a test that kills processes."""
    with running(Lab(tmp_path, "127.0.5")) as lab:
        yield lab


@pytest.fixture
def lab_with_dead_hops() -> Iterator[Lab]:
    """A lab in which the first address of I-CSCF and S-CSCF is one at which nobody is."""
    with in_memory() as folder, running(Lab(folder, "127.0.23", dead_hops=True)) as lab:
        yield lab


# ---------------------------------------------------------------------- one node alone


class NodeProcess:
    """A CSCF that was started alone, with its own TOML file."""

    def __init__(self, name: str, directory: Path, settings: str | None, *options: str) -> None:
        self.config = directory / f"{name}.toml"
        if settings is not None:
            self.config.write_text(settings)
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"opencscf.{name}", "--config", str(self.config), *options],
                stdout=log, stderr=subprocess.STDOUT, cwd=directory,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str) -> None:
        wait_until(lambda: words in self.log or self.process.poll() is not None, words)
        assert words in self.log, self.log

    def end(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)


@pytest.fixture(scope="session")
def start_node(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., contextlib.AbstractContextManager[NodeProcess]]:
    """Run a node alone; if it still runs at the end, it stops when it is told to, and has logged no fault."""

    @contextlib.contextmanager
    def start(name: str, settings: str | None, *options: str) -> Iterator[NodeProcess]:
        node = NodeProcess(name, tmp_path_factory.mktemp(name), settings, *options)
        try:
            yield node
            if node.process.poll() is None:
                node.process.terminate()
                assert node.end(5) == 0
            assert " error " not in node.log
            assert "Traceback" not in node.log, node.log
        finally:
            node.process.kill()
            node.process.wait(10)

    return start


# ---------------------------------------------------------------------- SIPp


@dataclass(frozen=True)
class Access:
    """How UEs reach the P-CSCF: SIPp's socket mode, and the one address that they share if each has not its own."""

    mode: str = "ui"
    shared: str | None = None
    transport: str = "UDP"

    def address(self, index: int) -> str:
        return self.shared or f"127.0.{8 + index // 250}.{1 + index % 250}"


ACCESSES = {
    "udp": Access(),
    "tcp": Access("tn", "127.0.7.1", "TCP"),  # a connection for each UE
    "one tcp connection": Access("t1", "127.0.7.2", "TCP"),
    "ipv6": Access("u1", "::1"),
    "other phone": Access("u1", "127.0.7.3"),
}


@dataclass(frozen=True)
class SippResult:
    """What SIPp counted."""

    status: int
    successful: int
    failed: int
    retransmissions: int
    errors: str

    def check(self, calls: int) -> None:
        assert (self.successful, self.failed, self.retransmissions) == (calls, 0, 0), self


class Sipp:
    """Runs SIPp against a lab. UEs are counted from 0; each knows the one that is `callees` further as its callee."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self._directory = directory
        self._program = need("sipp")
        self._serial = 0
        self._waiting: list[subprocess.Popen[bytes]] = []

    def address(self, index: int) -> str:
        return ACCESSES["udp"].address(index)

    def imsi(self, index: int) -> str:
        return f"{1010000010000 + index:015}"

    def number(self, index: int) -> str:
        return f"{15550010000 + index}"

    def _words(self, access: Access, words: dict[str, str]) -> dict[str, str]:
        return {
            "domain": self.lab.domain, "pcscf": self.lab.pcscf, "service_route": self.lab.service_route,
            "port": str(UE_PORT), "transport": access.transport, "ip": "IP6" if ":" in access.address(0) else "IP4",
            "contact_params": ";transport=tcp" if access.transport == "TCP" else "",
            "expires": "600000", "linger": "1", "talk": "100", "more_sdp": "",
        } | words  # fmt: skip

    def _write(self, scenario: str, words: dict[str, str]) -> Path:
        self._serial += 1
        path = self._directory / f"{self._serial}-{scenario}.xml"
        text = (SCENARIOS / f"{scenario}.xml").read_text()
        path.write_text(re.sub(r"@(\w+)@", lambda word: words[word[1]], text))
        return path

    def _command(
        self, scenario: str, first: int, count: int, callees: int, access: Access, words: dict[str, str]
    ) -> list[str]:
        words = self._words(access, words)
        path = self._write(scenario, words)
        rows = ["SEQUENTIAL"]
        for index in range(first, first + count):
            imsi, address = self.imsi(index), access.address(index)
            # SIPp reads on behind OP and K until it meets a zero octet
            keys = f"aka_OP=0x{OP}00 aka_AMF=0x8000 aka_K=0x{K}00"
            credentials = f"[authentication username={imsi}@{self.lab.domain} {keys}]"
            host = f"[{address}]" if ":" in address else address
            callee = self.number(index + callees)
            rows.append(f"{host};{imsi};{self.number(index)};{callee};{credentials};{address};{words['pcscf']}")
        path.with_suffix(".csv").write_text("\n".join(rows) + "\n")
        command = [
            self._program, words["pcscf"], "-sf", str(path), "-inf", str(path.with_suffix(".csv")), "-t", access.mode,
            "-i", access.shared or "127.0.0.1", "-p", words["port"], "-nostdin", "-max_socket", str(2 * UES),
            "-buff_size", "4194304", "-trace_err", "-error_file", str(path.with_suffix(".err")),
            "-trace_stat", "-stf", str(path.with_suffix(".stat")), "-fd", "1",
        ]  # fmt: skip
        return [*command, "-ip_field", "0"] if access.mode == "ui" else [*command, "-bind_local"]

    def start(
        self, scenario: str, first: int, count: int, *more: str, callees: int = 0, access: str = "udp", **words: str
    ) -> "subprocess.Popen[bytes]":
        """Start a scenario that goes on beside others; it ends with the test if not before."""
        command = self._command(scenario, first, count, callees, ACCESSES[access], words)
        process = subprocess.Popen(
            [*command, *more], cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=_many_files,  # noqa: PLW1509 - it calls the system only
        )  # fmt: skip
        self._waiting.append(process)
        return process

    def answer(self, first: int, count: int, scenario: str = "answer", access: str = "udp", **words: str) -> None:
        """Let UEs that are registered take calls from now on."""
        before = _udp_sockets()
        self.start(scenario, first, count, callees=0, access=access, **words)
        sockets = count if ACCESSES[access].mode == "ui" else 1
        wait_until(lambda: _udp_sockets() - before >= sockets, "SIPp's sockets")

    def register_and_answer(self, first: int, count: int, access: str, scenario: str = "answer", **words: str) -> None:
        """Let UEs register and take calls over the connections they registered on."""
        answering = self._write(scenario, self._words(ACCESSES[access], words))
        before = self.lab.log("pcscf").count(" registered ")
        more = ("-oocsf", str(answering), "-m", str(count), "-r", "100")
        self.start("register", first, count, *more, callees=0, access=access, linger="60000", **words)
        wait_until(lambda: self.lab.log("pcscf").count(" registered ") - before >= count, "registration")

    def run(
        self,
        scenario: str,
        first: int,
        count: int,
        rate: int = 100,
        *,
        callees: int = 0,
        access: str = "udp",
        **words: str,
    ) -> SippResult:
        """Run `count` transactions at `rate` a second."""
        command = self._command(scenario, first, count, callees, ACCESSES[access], words)
        command += ["-r", str(rate), "-m", str(count), "-l", str(count), "-timeout", f"{count // rate + 40}s"]
        done = subprocess.run(
            command, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            preexec_fn=_many_files, timeout=count / rate + 60,
        )  # fmt: skip
        return self._result(Path(command[3]), done.returncode)

    def finish(self, process: "subprocess.Popen[bytes]") -> SippResult:
        """Wait for one that was started with a number of calls to make."""
        status = process.wait(60)
        command = process.args
        assert isinstance(command, list)
        return self._result(Path(command[3]), status)

    def _result(self, path: Path, status: int) -> SippResult:
        errors = path.with_suffix(".err")
        assert path.with_suffix(".stat").exists(), f"SIPp ended at once with status {status}"
        with path.with_suffix(".stat").open() as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        return SippResult(
            status,
            int(last["SuccessfulCall(C)"]),
            int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]),
            errors.read_text(errors="replace")[-2000:] if errors.exists() else "",
        )

    def stop(self) -> None:
        """End what takes calls."""
        waiting, self._waiting = self._waiting, []
        for process in waiting:
            process.kill()
            process.wait(10)


def _many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _udp_sockets() -> int:
    port = f":{UE_PORT:04X} "
    return sum(Path(table).read_text().count(port) for table in ("/proc/net/udp", "/proc/net/udp6"))


@pytest.fixture
def make_sipp() -> Iterator[Callable[[Lab], Sipp]]:
    """Make a SIPp for a lab; its files are in memory, for writing them must not wait for what a lab flushes."""
    with in_memory() as folder, contextlib.ExitStack() as closing:

        def make(lab: Lab) -> Sipp:
            sipp = Sipp(lab, folder)
            closing.callback(sipp.stop)
            return sipp

        yield make


@pytest.fixture
def sipp(lab: Lab, make_sipp: Callable[[Lab], Sipp]) -> Sipp:
    return make_sipp(lab)


# ---------------------------------------------------------------------- the capture


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A folder whose files are not flushed by the very `fsync` that a 200 to REGISTER waits for."""
    memory = Path("/dev/shm")  # noqa: S108 - Linux's own
    with tempfile.TemporaryDirectory(prefix="opencscf-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def as_root(*command: str) -> list[str]:
    return [*command] if os.geteuid() == 0 else ["sudo", "-n", *command]


class Capture:
    """What the shared lab says on loopback while this is open."""

    # one capture filter for the lab's own addresses: other traffic on loopback is nobody's business
    FILTER = "(net 127.0.3.0/24 and (udp or tcp port 3868 or tcp port 5060)) or (ip6 host ::1 and port 5060)"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tshark = need("tshark")
        self._process = subprocess.Popen(
            as_root(need("tcpdump"), "-i", "lo", "-B", "65536", "-s", "0", "--immediate-mode", "-U", "-w", str(path),
                    self.FILTER),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "listening on" in line or "dropped privs" in line, line

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            _, words = self._process.communicate(timeout=20)
            assert "\n0 packets dropped by kernel" in words, words

    def read(self, display_filter: str, *fields: str) -> list[str]:
        """Give a line for each packet that tshark finds, with these fields."""
        self.end()
        command = [
            self._tshark,
            "-r",
            str(self.path),
            "-d",
            f"udp.port=={UE_PORT},sip",
            "-d",
            "tcp.port==3868,diameter",
        ]
        command += ["-d", "tcp.port==5060,sip", "-Y", display_filter, "-T", "fields"]
        for name in fields or ("frame.number", "_ws.col.Info"):
            command += ["-e", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout.splitlines()

    def check(self, *, forked: bool = False) -> None:
        """No malformed packet, no expert error, nothing sent twice, and no key beyond S-CSCF and P-CSCF.

        The branches of a forked request look to tshark as if they were one sent twice.
        """
        faults = [
            "_ws.malformed",
            "(_ws.expert.severity == error && (sip || diameter))",
            '(sip matches "[, ][ci]k=" && !(ip.src == 127.0.3.12 || ip.src == 127.0.3.11))',
        ]
        if not forked:
            faults.append("sip.resend == 1")
        assert self.read(" || ".join(faults), "frame.number", "_ws.col.Info", "_ws.expert.message") == []


@pytest.fixture
def capture() -> Iterator[Capture]:
    """Capture SIP and Diameter on loopback during a test."""
    with in_memory() as folder:
        capture = Capture(folder / "lab.pcap")
        yield capture
        capture.end()
