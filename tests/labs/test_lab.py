"""The whole lab, as `opencscf lab run` starts it: five real processes, and UEs of our own beside the lab's two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opencscf.common.ims.aka import Usim
from opencscf.labs.config import DEFAULT_LAB
from opencscf.labs.ue.aka_registration import deregister, register
from opencscf.labs.ue.answering import Answering
from opencscf.labs.ue.call import OutgoingCall
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.ue.ue import SimCard, Ue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

K = "fec86ba6eb707ed08905757b1bb44b8f"  # TS 35.208 set 3
OP = "dbc59adcb6f9a0ef735477b7fadf8374"
DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
PCSCF = ("127.0.81.10", 5060)
MORE = f"""
[[subscriber_range]]
first_imsi = "001010000000100"
first_msisdn = "15550000100"
count = 100
k = "{K}"
op = "{OP}"
"""


def command(folder: Path, prefix: str = "127.0.8") -> list[str]:
    """Make a lab on addresses of its own, so that it disturbs no other lab of this machine."""
    text = DEFAULT_LAB.read_text(encoding="utf-8").replace("127.0.1.", f"{prefix}1.")
    text = text.replace("# addresses", "addresses").replace("127.0.2.", f"{prefix}2.")
    (folder / "lab.toml").write_text(text + MORE)
    module = [sys.executable, "-m", "opencscf.labs.cli", "lab", "run"]
    return [*module, "--config", str(folder / "lab.toml"), "--dir", str(folder / "run")]


def processes_of(folder: Path) -> list[int]:
    """Find the processes that were started with a file of this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and bytes(folder / "run") in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@dataclass
class RunningLab:
    process: subprocess.Popen[str]
    output: list[str]
    folder: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    folder = tmp_path_factory.mktemp("lab")
    with subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line.rstrip("\n"))
            if line.startswith("Logs: "):
                break
        try:
            assert process.poll() is None, "\n".join(output)
            yield RunningLab(process, output, folder)
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert not processes_of(folder)


def ue(name: str, address: str, imsi: str, k: str = K) -> Ue:
    return Ue(name, SimCard.of(imsi, DOMAIN, k=k, op=OP), (address, 5060), PCSCF, patience_s=5)


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Ue, Ue]]:
    """Register two UEs."""
    async with (
        ue("UE A", "127.0.83.1", "001010000000101") as caller,
        ue("UE B", "127.0.83.2", "001010000000102") as callee,
    ):
        Answering(caller)
        await register(caller)
        await register(callee)
        yield caller, callee
        await deregister(caller)
        await deregister(callee)


def test_walk_is_shown_with_its_ladder_and_table(lab: RunningLab) -> None:
    text = "\n".join(lab.output)
    assert all(len(line) <= 120 for line in lab.output if not line.startswith(("[", "Logs")))
    for message in ("-UAR-", "UAA", "-MAR-", "MAA", "-SAR-", "SAA", "-LIR-", "LIA", "-AAR-", "AAA", "-STR-", "STA"):
        assert message in text
    for message in (
        "-REGISTER",
        "401 (REGISTER)",
        "200 (REGISTER)",
        "-INVITE-",
        "180 ",
        "-ACK-",
        "-BYE-",
        "200 OK (BYE)",
    ):
        assert message in text
    assert [line for line in lab.output if line.endswith(":")] == ["UE 1 registers:", "UE 2 registers:", "UE 1 calls:"]
    assert "1006020f0a478bf6b699f15c062e42b3" in text
    assert len(processes_of(lab.folder)) == 6  # the lab and its five


def test_reregistration_and_resynchronisation(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with ue("UE A", "127.0.83.1", "001010000000103") as one:
            await register(one)
            await register(one)
            one.usim = Usim(one.sim.k, one.sim.opc, sqn_ms=5000 << 5)
            await register(one)
            assert one.usim.sqn_ms > 5000 << 5
            await deregister(one)

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_other_key_is_noticed_by_the_ue(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with ue("UE A", "127.0.83.1", "001010000000104", k="00" * 16) as one:
            with pytest.raises(StepError, match="not made with this SIM's key"):
                await register(one)

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_unknown_subscriber_is_refused(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with ue("UE A", "127.0.83.1", "001010000000999") as one:
            with pytest.raises(StepError, match="REGISTER was answered 403"):
                await register(one)

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_cancelled_call(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with pair() as (caller, callee):
            answering = Answering(callee, takes_calls=False)
            call = OutgoingCall(caller, callee.public_identity)
            call.start()
            await call.ringing()
            await call.cancel()
            async with asyncio.timeout(5):
                await answering.calls[0].has_ended.wait()

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_call_by_number_ended_by_the_callee(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with pair() as (caller, callee):
            answering = Answering(callee, ring_s=0)
            call = OutgoingCall(caller, "tel:+15550000102")
            call.start()
            await call.answered()
            async with asyncio.timeout(5):
                await answering.calls[0].is_acknowledged.wait()
            await answering.calls[0].hang_up()
            assert call.has_ended.is_set()

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_call_to_the_labs_own_ue(lab: RunningLab) -> None:
    async def scenario() -> None:
        async with pair() as (caller, _):
            call = OutgoingCall(caller, f"sip:15550000002@{DOMAIN}")
            call.start()
            await call.answered()
            await call.hang_up()

    assert lab.process.poll() is None
    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("user", "status"),
    [
        pytest.param("15559999999", 404, id="unknown number"),
        pytest.param("15550000150", 480, id="not registered"),
    ],
)
def test_call_that_cannot_be_completed(lab: RunningLab, user: str, status: int) -> None:
    async def scenario() -> None:
        async with pair() as (caller, _):
            call = OutgoingCall(caller, f"sip:{user}@{DOMAIN}")
            call.start()
            with pytest.raises(StepError, match=f"INVITE was answered {status} "):
                await call.answered()

    assert lab.process.poll() is None
    asyncio.run(scenario())


def test_lab_that_loses_a_process_ends_with_the_reason(tmp_path: Path) -> None:
    arguments = command(tmp_path, "127.0.9")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "starting scscf" in line:  # the HSS and the PCRF are up
                os.kill(next(pid for pid in processes_of(tmp_path) if pid != process.pid), signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors in {"opencscf: hss was killed by SIGKILL\n", "opencscf: pcrf was killed by SIGKILL\n"}
    assert not processes_of(tmp_path)
