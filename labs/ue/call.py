"""Calls of a UE, made and taken (RFC 3261 13, 14, 15; TS 24.229 5.1.3, 5.1.4).

Not covered: preconditions and reliable provisional responses, of which the UE tells nobody that it knows them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from opencscf.common.errors import ParseError
from opencscf.labs.ue.dialog import Dialog
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.ue.session_description import voice_answer, voice_offer
from opencscf.labs.ue.ue import ALLOW, MMTEL, Ue

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request, Response

RING_PATIENCE_S = 60.0


class Call:
    """What both sides of a call share: the dialog and its end."""

    def __init__(self, ue: Ue) -> None:
        self.ue = ue
        self.dialog: Dialog | None = None
        self.has_ended = asyncio.Event()

    def on_request(self, request: Request) -> None:
        """Take a request in the dialog."""
        match request.method:
            case "BYE":
                self.ue.endpoint.answer(request, 200)
                self._end()
            case "INVITE":
                body = voice_answer(request.body, self.ue.endpoint.local[0], request.cseq.number + 1)
                if body is None:
                    self.ue.endpoint.answer(request, 488)
                else:
                    self.ue.endpoint.answer(
                        request,
                        200,
                        headers=self._contact_headers(),
                        body=body,
                        content_type="application/sdp",
                    )
            case "ACK":
                pass
            case "OPTIONS" | "UPDATE" | "INFO" | "MESSAGE" | "NOTIFY":
                self.ue.endpoint.answer(request, 200)
            case _:
                self.ue.endpoint.answer(request, 405, headers=(("Allow", ALLOW),))

    async def hang_up(self) -> None:
        """Send BYE and wait for its answer (15.1.1)."""
        if self.dialog is None:
            raise StepError(f"{self.ue.name}: there is no call to hang up")
        request = self.ue.new_request(
            "BYE", self.dialog.remote_target, self.dialog.headers("BYE", self.dialog.next_cseq())
        )
        response = await self.ue.endpoint.ask(request, self.ue.pcscf, patience_s=self.ue.patience_s)
        self.ue.expect(response, "BYE", 200)
        self._end()

    def _contact_headers(self) -> tuple[tuple[str, str], ...]:
        return (("Contact", f'<{self.ue.contact}>;+g.3gpp.icsi-ref="{MMTEL}"'), ("Allow", ALLOW))

    def _end(self) -> None:
        self.has_ended.set()


class OutgoingCall(Call):
    """A call that this UE makes: `start`, then `ringing` and `answered` or `cancel`, and `hang_up`."""

    def __init__(self, ue: Ue, target: str) -> None:
        super().__init__(ue)
        self.target = target
        self.final: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._tag = ue.endpoint.ids.tag()
        self._invite = self._new_invite()
        self._heard = asyncio.Event()
        self._rings = asyncio.Event()
        self._ack: Request | None = None

    def start(self) -> None:
        """Send the INVITE."""
        self.ue.calls[self._invite.call_id, self._tag] = self
        self.ue.endpoint.start(self._invite, self.ue.pcscf, self._on_response, self._on_failure)

    async def ringing(self) -> None:
        """Wait until the other side rings or answers."""
        await self._wait(self._heard, self.ue.patience_s, "INVITE")
        await self._wait(self._rings, self.ue.patience_s, "INVITE beyond 100 (Trying)")
        if self.final.done():
            self.ue.expect(self.final.result(), "INVITE", 200)

    async def answered(self, *, patience_s: float = RING_PATIENCE_S) -> Response:
        """Wait until the other side answers; the ACK has left when this returns."""
        await self._wait(self._heard, self.ue.patience_s, "INVITE")
        response = await self._final_response(patience_s, "INVITE (it rings, but nobody answers)")
        self.ue.expect(response, "INVITE", 200)
        return response

    async def cancel(self) -> None:
        """Give up before the answer (9.1) and wait for the 487 that confirms it."""
        await self._wait(self._heard, self.ue.patience_s, "INVITE")  # 9.1: not before a provisional response
        self.ue.endpoint.cancel(self._invite, self.ue.pcscf)
        response = await self._final_response(self.ue.patience_s, "INVITE after CANCEL")
        self.ue.expect(response, "INVITE after CANCEL", 487)

    async def _final_response(self, patience_s: float, step: str) -> Response:
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.shield(self.final)
        except TimeoutError:
            raise StepError(self.ue.endpoint.silence(step, self.ue.pcscf, patience_s)) from None

    async def _wait(self, event: asyncio.Event, patience_s: float, step: str) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await event.wait()
        except TimeoutError:
            raise StepError(self.ue.endpoint.silence(step, self.ue.pcscf, patience_s)) from None
        if self.final.done():
            self.final.result()  # raises what stopped the call

    def _new_invite(self) -> Request:
        ids = self.ue.endpoint.ids
        headers = [
            *self.ue.originating_routes(),
            ("From", f"<{self.ue.public_identity}>;tag={self._tag}"),
            ("To", f"<{self.target}>"),
            ("Call-ID", ids.token()),
            ("CSeq", "1 INVITE"),
            *self._contact_headers(),
            ("Accept-Contact", f'*;+g.3gpp.icsi-ref="{MMTEL}"'),
            ("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi.mmtel"),
            ("P-Preferred-Identity", f"<{self.ue.public_identity}>"),
            ("Accept", "application/sdp"),
            ("User-Agent", "OpenCSCF-lab-UE"),
        ]
        return self.ue.new_request("INVITE", self.target, headers, voice_offer(self.ue.endpoint.local[0], 1))

    def _on_response(self, response: Response) -> None:
        self._heard.set()
        if response.status == 100:
            return
        self._rings.set()
        if response.status < 200:
            return
        if response.status < 300:
            self._acknowledge(response)
        else:
            self._end()
        if not self.final.done():
            self.final.set_result(response)

    def _acknowledge(self, response: Response) -> None:
        """Send the ACK to a 2xx, the same one for each time the 2xx comes (13.2.2.4)."""
        if self._ack is None:
            self.dialog = Dialog.of_caller(self._invite, response)
            self._ack = self.ue.new_request(
                "ACK", self.dialog.remote_target, self.dialog.headers("ACK", self.dialog.cseq)
            )
        self.ue.endpoint.send(self._ack, self.ue.pcscf)

    def _on_failure(self, reason: str) -> None:
        self._heard.set()
        self._rings.set()
        self._end()
        if not self.final.done():
            self.final.set_exception(StepError(f"{self.ue.name}: INVITE to {self.target}: {reason}"))

    def _end(self) -> None:
        super()._end()
        self.ue.calls.pop((self._invite.call_id, self._tag), None)


class IncomingCall(Call):
    """A call that this UE is asked to take: `ring`, then `accept` or `refuse`; a CANCEL may come first."""

    def __init__(self, ue: Ue, invite: Request) -> None:
        super().__init__(ue)
        self.invite = invite
        self.tag = ue.endpoint.ids.tag()
        self.is_acknowledged = asyncio.Event()
        self._is_answered = False
        ue.calls[invite.call_id, self.tag] = self

    def ring(self) -> None:
        """Tell the caller that the user is being alerted."""
        self._answer(180)

    async def accept(self) -> None:
        """Answer, and repeat the answer until its ACK comes (13.3.1.4)."""
        body = voice_answer(self.invite.body, self.ue.endpoint.local[0], 2)
        if body is None:
            self.refuse(488)
            return
        try:
            self.dialog = Dialog.of_callee(self.invite, self.tag)
        except ParseError:
            self.refuse(400)
            return
        self._is_answered = True
        timers = self.ue.endpoint.timers
        interval_s = timers.t1
        waited_s = 0.0
        while not self.is_acknowledged.is_set() and waited_s < 64 * timers.t1 and not self.has_ended.is_set():
            self._answer(200, body=body)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self.is_acknowledged.wait()
            waited_s += interval_s
            interval_s = min(2 * interval_s, timers.t2)
        if not self.is_acknowledged.is_set() and not self.has_ended.is_set():
            await self.hang_up()

    def refuse(self, status: int) -> None:
        """Decline the call."""
        self._is_answered = True
        self._answer(status)
        self._end()

    def on_cancel(self, cancel: Request) -> None:
        """Stop ringing (9.2)."""
        self.ue.endpoint.answer(cancel, 200, to_tag=self.tag)
        if not self._is_answered:
            self.refuse(487)

    def on_request(self, request: Request) -> None:
        """Take a request in the dialog."""
        if request.method == "ACK":
            self.is_acknowledged.set()
        else:
            super().on_request(request)

    def _answer(self, status: int, body: bytes = b"") -> None:
        headers: tuple[tuple[str, str], ...] = ()
        if status < 300:
            routes = tuple(("Record-Route", route) for route in self.invite.get_all("Record-Route"))
            headers = (*routes, *self._contact_headers(), ("P-Access-Network-Info", self.ue.access_network))
        self.ue.endpoint.answer(
            self.invite,
            status,
            to_tag=self.tag,
            headers=headers,
            body=body,
            content_type="application/sdp" if body else "",
        )

    def _end(self) -> None:
        super()._end()
        self.ue.calls.pop((self.invite.call_id, self.tag), None)
