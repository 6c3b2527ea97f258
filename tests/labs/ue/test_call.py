from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from opencscf.common.sip.message import Request
from opencscf.labs.ue.answering import Answering
from opencscf.labs.ue.call import OutgoingCall
from opencscf.labs.ue.endpoint import StepError

if TYPE_CHECKING:
    from opencscf.labs.ue.ue import Ue

# Any: the fixtures' types live in conftest.py, which cannot be imported from.


def test_call_is_answered_and_hung_up_by_the_caller(with_pair: Any) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(caller)
        answering = Answering(callee, ring_s=0.05)
        call = OutgoingCall(caller, callee.impu)
        call.start()
        await call.ringing()
        response = await call.answered()
        assert b"m=audio 49152 RTP/AVP 97" in response.body
        taken = answering.calls[0]
        async with asyncio.timeout(1):
            await taken.is_acknowledged.wait()
        await call.hang_up()
        assert taken.has_ended.is_set()
        assert not caller.calls
        assert not callee.calls

    with_pair(scenario)


def test_callee_hangs_up(with_pair: Any) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(caller)
        answering = Answering(callee, ring_s=0)
        call = OutgoingCall(caller, callee.impu)
        call.start()
        await call.answered()
        async with asyncio.timeout(1):
            await answering.calls[0].is_acknowledged.wait()
        await answering.calls[0].hang_up()
        assert call.has_ended.is_set()

    with_pair(scenario)


def test_cancel_ends_the_ringing_with_487(with_pair: Any) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(caller)
        answering = Answering(callee, takes_calls=False)
        call = OutgoingCall(caller, callee.impu)
        call.start()
        await call.ringing()
        await call.cancel()
        assert call.final.result().status == 487
        assert answering.calls[0].has_ended.is_set()

    with_pair(scenario)


def test_lost_ack_makes_the_callee_repeat_its_200_and_the_caller_its_ack(with_pair: Any) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(caller)
        answering = Answering(callee, ring_s=0)
        send = caller.endpoint.send
        acks: list[bytes] = []

        def lossy(message: Any, target: Any) -> None:
            if isinstance(message, Request) and message.method == "ACK":
                if not message.has("Via"):
                    message.prepend("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKack")
                acks.append(bytes(message))
                if len(acks) == 1:
                    return
            send(message, target)

        caller.endpoint.send = lossy  # type: ignore[method-assign]  # the wire loses the first one
        call = OutgoingCall(caller, callee.impu)
        call.start()
        await call.answered()
        async with asyncio.timeout(2):
            await answering.calls[0].is_acknowledged.wait()
        assert acks[0] == acks[1]

    with_pair(scenario)


def test_refused_call_names_the_answer(with_registrar: Any) -> None:
    async def scenario(_: Any, ue: Ue) -> None:
        call = OutgoingCall(ue, "sip:nobody@example.org")
        call.start()
        with pytest.raises(StepError, match="UE 1: INVITE was answered 480 Temporarily Unavailable"):
            await call.answered()
        assert not ue.calls

    with_registrar(scenario)


def test_silent_network_is_named(with_registrar: Any) -> None:
    async def scenario(registrar: Any, ue: Ue) -> None:
        registrar.drops = 100
        ue.patience_s = 0.2
        call = OutgoingCall(ue, "sip:nobody@example.org")
        call.start()
        with pytest.raises(StepError, match=r"UE 1: no answer to INVITE from 127\.0\.0\.1:\d+ in 0\.2 s"):
            await call.ringing()

    with_registrar(scenario)


@pytest.mark.parametrize(
    ("method", "to_tag", "status"),
    [
        pytest.param("OPTIONS", "", 200, id="OPTIONS outside a dialog"),
        pytest.param("BYE", ";tag=x", 481, id="3261-12.2.2 BYE in no dialog"),
        pytest.param("CANCEL", "", 481, id="3261-9.2 CANCEL of nothing"),
        pytest.param("PUBLISH", "", 405, id="3261-8.2.1 method not allowed"),
    ],
)
def test_other_requests_get_their_answer(with_pair: Any, method: str, to_tag: str, status: int) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(callee)
        headers = [
            ("From", "<sip:a@example.org>;tag=1"),
            ("To", f"<sip:b@example.org>{to_tag}"),
            ("Call-ID", "c"),
            ("CSeq", f"1 {method}"),
        ]
        request = caller.new_request(method, callee.contact, headers)
        response = await caller.endpoint.ask(request, callee.endpoint.local, patience_s=1)
        assert response.status == status

    with_pair(scenario)


def test_datagrams_that_are_no_sip_do_not_disturb(with_pair: Any) -> None:
    async def scenario(caller: Ue, callee: Ue) -> None:
        Answering(callee, ring_s=0)
        for data in (b"\r\n\r\n", b"", b"\0\0\0\0", b"INVITE sip:x SIP/2.0\r\n\r\n", bytes(range(256))):
            caller.endpoint._outgoing.put_nowait((data, callee.endpoint.local, None))
        call = OutgoingCall(caller, callee.impu)
        call.start()
        await call.answered()

    with_pair(scenario)
