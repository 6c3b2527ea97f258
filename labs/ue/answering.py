"""What a simulated UE does with the requests that reach it: it lets the phone ring and takes the call."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from opencscf.labs.ue.call import IncomingCall
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.ue.ue import ALLOW, Ue

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request


class Answering:
    """A user who takes every call after `ring_s` seconds, until the UE is closed."""

    def __init__(self, ue: Ue, *, ring_s: float = 0.2, takes_calls: bool = True) -> None:
        self.ue = ue
        self.ring_s = ring_s
        self.takes_calls = takes_calls
        self.calls: list[IncomingCall] = []
        self._tasks: set[asyncio.Task[None]] = set()
        ue.endpoint.on_request = self._on_request

    def _on_request(self, request: Request) -> None:
        endpoint = self.ue.endpoint
        call = self.ue.calls.get((request.call_id, request.to_tag or ""))
        if call is not None and request.method != "CANCEL":
            call.on_request(request)
        elif request.method == "ACK":
            return
        elif request.method == "CANCEL":
            self._on_cancel(request)
        elif request.to_tag is not None:
            endpoint.answer(request, 481)
        elif request.method == "INVITE":
            self._take(IncomingCall(self.ue, request))
        elif request.method in {"OPTIONS", "NOTIFY", "MESSAGE"}:
            endpoint.answer(request, 200, headers=(("Allow", ALLOW),))
        else:
            endpoint.answer(request, 405, headers=(("Allow", ALLOW),))

    def _on_cancel(self, cancel: Request) -> None:
        for call in self.calls:
            if call.invite.transaction_id == cancel.invite_transaction_id:
                call.on_cancel(cancel)
                return
        self.ue.endpoint.answer(cancel, 481)

    def _take(self, call: IncomingCall) -> None:
        self.calls = [one for one in self.calls if not one.has_ended.is_set()]
        self.calls.append(call)
        task = asyncio.create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: IncomingCall) -> None:
        call.ring()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.ring_s):
                await call.has_ended.wait()
        if self.takes_calls and not call.has_ended.is_set():
            with contextlib.suppress(StepError):  # the caller is gone; there is nobody to tell
                await call.accept()
