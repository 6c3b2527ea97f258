"""The walk that shows the lab working: two UEs register, one calls the other, they talk and hang up."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from opencscf.common.node.trace import Trace
from opencscf.labs.render import trace_path
from opencscf.labs.ue.aka_registration import deregister, register
from opencscf.labs.ue.answering import Answering
from opencscf.labs.ue.call import OutgoingCall
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.ue.ue import SimCard, Ue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from opencscf.common.node.clock import Clock
    from opencscf.common.sip.flow import Flow, Hop
    from opencscf.labs.config import LabSettings
    from opencscf.labs.ue.endpoint import Address

TALK_S = 0.3


@contextlib.asynccontextmanager
async def simulated_ues(lab: LabSettings, directory: Path, clock: Clock) -> AsyncIterator[list[Ue]]:
    """Open the simulated UEs, which take every call until they are closed."""
    async with contextlib.AsyncExitStack() as stack:
        ues = []
        for number, (address, subscriber) in enumerate(zip(lab.ue.addresses, lab.subscriber, strict=False), 1):
            local = (address, lab.ue.port)
            name = f"ue{number}"
            trace = Trace(trace_path(directory, name), name, clock, partial(_here, local))
            stack.callback(trace.close)
            ue = Ue(
                f"UE {number}",
                SimCard.of(
                    subscriber.imsi,
                    lab.network.domain,
                    k=subscriber.k,
                    op=subscriber.op,
                    opc=subscriber.opc,
                    plmn=lab.network.mcc + lab.network.mnc,
                ),
                local,
                (lab.network.pcscf, lab.network.sip_port),
                patience_s=lab.ue.patience_s,
                trace=trace,
            )
            ues.append(await stack.enter_async_context(ue))
            Answering(ue)
        yield ues


def _here(local: Address, _: Hop | Flow) -> Address:
    return local


async def walk(caller: Ue, callee: Ue, progress: Callable[[str], None]) -> None:
    """Register both, call, talk, hang up; raises `StepError` at the first step that fails."""
    for ue in (caller, callee):
        await register(ue)
        progress(f"{ue.name} is registered as {ue.public_identity}")
    call = OutgoingCall(caller, callee.public_identity)
    call.start()
    await call.ringing()
    progress(f"{caller.name} calls {callee.public_identity}: it rings")
    await call.answered()
    progress(f"{callee.name} has answered; they talk")
    await asyncio.sleep(TALK_S)
    await call.hang_up()
    progress(f"{caller.name} has hung up")


async def leave(ues: list[Ue]) -> None:
    """De-register the UEs that are registered; raises the first `StepError` after all have tried."""
    registered = [ue for ue in ues if ue.registration.is_active]
    results = await asyncio.gather(*(deregister(ue) for ue in registered), return_exceptions=True)
    for result in results:
        if isinstance(result, StepError):
            raise result
