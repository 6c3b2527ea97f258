"""The initiator's side of RFC 6733 5.6 and the watchdog of RFC 3539 3.4.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.diameter import dictionary
from opencscf.diameter.codec import REQUEST, Avp, DiameterMessage
from opencscf.diameter.dictionary import Application, Command
from opencscf.diameter.peer import (
    LAST_RETRY_S,
    Closed,
    Connect,
    Deliver,
    Disconnect,
    DisconnectCause,
    Identifiers,
    LocalNode,
    Opened,
    Output,
    PeerMachine,
    PeerTimers,
    Recovered,
    State,
    Suspected,
    Transmit,
    error_message,
)
from opencscf.diameter.results import Result, result_avps

NODE = LocalNode("icscf.ims.test", "ims.test", Application.CX)
HSS = LocalNode("hss.ims.test", "ims.test", Application.CX)
ANSWER = DiameterMessage(Command.USER_AUTHORIZATION, Application.CX, 0, 77, 77)
CEA = DiameterMessage(
    Command.CAPABILITIES_EXCHANGE, 0, 0, 1, 1, (*result_avps(Result.SUCCESS), *HSS.capabilities("127.0.0.14"))
)
DWA = DiameterMessage(Command.DEVICE_WATCHDOG, 0, 0, 1, 1, (*result_avps(Result.SUCCESS), *HSS.origin()))
DPA = DiameterMessage(Command.DISCONNECT_PEER, 0, 0, 1, 1, (*result_avps(Result.SUCCESS), *HSS.origin()))


def base_request(command: Command, *avps: Avp) -> DiameterMessage:
    return DiameterMessage(command, 0, REQUEST, 5, 6, (*HSS.origin(), *avps))


def cea(*avps: Avp) -> DiameterMessage:
    return CEA._replace(avps=avps)


def new_machine() -> PeerMachine:
    return PeerMachine(NODE, "hss.ims.test", identifiers=Identifiers(1), timers=PeerTimers(5.0, 30.0))


def connected() -> PeerMachine:
    machine = new_machine()
    machine.on_tick(0.0)
    machine.on_connected(0.0, "127.0.0.11")
    return machine


def opened() -> PeerMachine:
    machine = connected()
    assert machine.on_message(CEA, 0.0) == [Opened()]
    return machine


def sent(outputs: list[Output]) -> list[tuple[int, bool]]:
    return [(out.message.command, out.message.is_request) for out in outputs if isinstance(out, Transmit)]


DWR = [(Command.DEVICE_WATCHDOG, True)]


def test_open_and_use() -> None:
    machine = new_machine()
    assert machine.rank is None
    assert machine.on_tick(0.0) == [Connect()]
    [cer] = machine.on_connected(0.1, "127.0.0.11")
    assert isinstance(cer, Transmit)
    assert cer.message.command == Command.CAPABILITIES_EXCHANGE
    assert cer.message.is_request
    assert machine.rank is None
    assert machine.on_message(CEA, 0.2) == [Opened()]
    assert machine.rank == 0
    assert machine.on_message(ANSWER, 0.3) == [Deliver(ANSWER)]


def test_cer_advertises_the_application_in_both_forms() -> None:
    """DB-03."""
    avps = NODE.capabilities("127.0.0.11")
    assert [avp.code for avp in avps] == [264, 296, 257, 266, 269, 265, 258, 260]
    assert dictionary.AUTH_APPLICATION_ID.number_in(avps) == Application.CX
    specific = dictionary.VENDOR_SPECIFIC_APPLICATION_ID.group_in(avps)
    assert specific is not None
    assert dictionary.AUTH_APPLICATION_ID.number_in(specific) == Application.CX
    rx = LocalNode("pcscf.ims.test", "ims.test", Application.RX).capabilities("::1")
    vendors = map(dictionary.SUPPORTED_VENDOR_ID.as_number, dictionary.SUPPORTED_VENDOR_ID.find_all(rx))
    assert list(vendors) == [10415, 13019]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            cea(*result_avps(Result.UNKNOWN_PEER)),
            "refuses our capabilities exchange as icscf.ims.test: UNKNOWN_PEER (3010)",
            id="6733-5.3 DB-03 unknown peer",
        ),
        pytest.param(
            cea(*result_avps(Result.NO_COMMON_APPLICATION), dictionary.ERROR_MESSAGE.text("no\nCx")),
            "refuses our capabilities exchange as icscf.ims.test: NO_COMMON_APPLICATION (5010), no?Cx",
            id="6733-5.3 DB-03 no common application, with a message of two lines",
        ),
        pytest.param(
            cea(*result_avps(Result.SUCCESS), dictionary.ORIGIN_HOST.text("other.ims.test")),
            "calls itself other.ims.test",
            id="6733-5.3 another identity",
        ),
        pytest.param(
            cea(*result_avps(Result.SUCCESS), *HSS.origin(), dictionary.AUTH_APPLICATION_ID.number(4)),
            "does not offer CX (16777216)",
            id="6733-5.3 DB-03 success without a common application",
        ),
        pytest.param(cea(), "CEA without Result-Code and Experimental-Result", id="6733-5.3.2 no result"),
        pytest.param(cea(*result_avps(Result.SUCCESS)), "CEA without Origin-Host", id="6733-5.3.2 no identity"),
        pytest.param(ANSWER, "sent UAA before the capabilities exchange", id="6733-5.6 no CEA first"),
    ],
)
def test_refused_capabilities_exchange_closes_with_a_reason(answer: DiameterMessage, reason: str) -> None:
    machine = connected()
    assert machine.on_message(answer, 0.0) == [Disconnect(), Closed(reason)]
    assert machine.state is State.CLOSED


@pytest.mark.parametrize(
    "applications",
    [
        pytest.param([], id="none"),
        pytest.param([dictionary.AUTH_APPLICATION_ID.number(Application.RELAY)], id="relay"),
        pytest.param([dictionary.AUTH_APPLICATION_ID.number(Application.CX)], id="plain"),
        pytest.param(
            [dictionary.VENDOR_SPECIFIC_APPLICATION_ID.group(dictionary.AUTH_APPLICATION_ID.number(Application.CX))],
            id="vendor-specific",
        ),
    ],
)
def test_peer_may_name_the_application_in_any_form(applications: list[Avp]) -> None:
    """DB-03."""
    answer = cea(*result_avps(Result.SUCCESS), dictionary.ORIGIN_HOST.text("HSS.ims.test"), *applications)
    assert connected().on_message(answer, 0.0) == [Opened()]


def test_peer_that_cannot_be_reached_in_time() -> None:
    machine = new_machine()
    machine.on_tick(0.0)
    assert machine.on_tick(4.9) == []
    assert machine.on_tick(5.0) == [Disconnect(), Closed("no connection in 5 s")]


def test_peer_that_accepts_and_says_nothing() -> None:
    machine = connected()
    assert machine.on_tick(4.9) == []
    assert machine.on_tick(5.0) == [Disconnect(), Closed("accepted the connection, but no CEA in 5 s")]


def test_retries_come_less_and_less_often() -> None:
    """DB-04."""
    machine, attempts = new_machine(), []
    for now in range(130):
        if machine.on_tick(now) == [Connect()]:
            attempts.append(now)
            assert machine.on_disconnected(now, "connection refused") == [Disconnect(), Closed("connection refused")]
    assert attempts == [0, 1, 3, 7, 15, 31, 61, 91, 121]


def test_retries_start_anew_after_success() -> None:
    machine = opened()
    machine.on_disconnected(10.0, "the peer closed the connection")
    assert machine.rank is None
    assert machine.on_tick(10.9) == []
    assert machine.on_tick(11.0) == [Connect()]


def test_late_or_repeated_events_of_a_connection_change_nothing() -> None:
    machine = new_machine()
    assert machine.on_disconnected(0.0, "late") == []
    assert machine.on_connected(0.0, "127.0.0.11") == [Disconnect()]
    assert machine.on_message(CEA, 0.0) == []
    assert machine.state is State.CLOSED


def test_watchdog_of_the_peer_is_answered() -> None:
    """DB-04: answer always."""
    request = base_request(Command.DEVICE_WATCHDOG)
    [answer] = opened().on_message(request, 1.0)
    assert answer == Transmit(request.answer([*result_avps(Result.SUCCESS), *NODE.origin()]))


def test_second_cer_is_answered() -> None:
    [answer] = opened().on_message(base_request(Command.CAPABILITIES_EXCHANGE), 1.0)
    assert sent([answer]) == [(Command.CAPABILITIES_EXCHANGE, False)]


def test_answers_that_nobody_asked_for_are_ignored() -> None:
    machine = opened()
    assert machine.on_message(CEA, 1.0) == []
    assert machine.on_message(DPA, 1.0) == []
    assert machine.on_message(DWA, 1.0) == []
    assert machine.rank == 0


def test_silence_is_probed_suspected_and_ended() -> None:
    """DB-04: RFC 3539 3.4.1, OKAY to SUSPECT to DOWN."""
    machine = opened()
    assert machine.on_tick(29.9) == []
    assert sent(machine.on_tick(30.0)) == DWR
    assert machine.on_tick(59.9) == []
    assert machine.on_tick(60.0) == [Suspected("does not answer the watchdog of 30 s")]
    assert machine.rank is None
    assert machine.on_tick(90.0) == [Disconnect(), Closed("does not answer the watchdog of 30 s")]


def test_any_message_puts_the_watchdog_off() -> None:
    machine = opened()
    machine.on_message(ANSWER, 20.0)
    assert machine.on_tick(49.9) == []
    assert sent(machine.on_tick(50.0)) == DWR
    machine.on_message(DWA, 50.1)
    assert machine.on_tick(80.0) == []
    assert sent(machine.on_tick(80.1)) == DWR


@pytest.mark.parametrize(
    "message", [pytest.param(DWA, id="DWA"), pytest.param(base_request(Command.DEVICE_WATCHDOG), id="another message")]
)
def test_suspect_that_speaks_is_trusted_again(message: DiameterMessage) -> None:
    machine = opened()
    machine.on_tick(30.0)
    machine.on_tick(60.0)
    assert Recovered() in machine.on_message(message, 61.0)
    assert machine.rank == 0
    assert sent(machine.on_tick(91.0)) == DWR


def reopened() -> PeerMachine:
    machine = opened()
    machine.on_disconnected(1.0, "the peer closed the connection")
    machine.on_tick(2.0)
    machine.on_connected(2.0, "127.0.0.11")
    outputs = machine.on_message(CEA, 2.0)
    assert outputs[0] == Opened()
    assert sent(outputs) == DWR
    return machine


def test_reopened_peer_is_second_choice_until_it_has_answered_three_watchdogs() -> None:
    """DB-04: RFC 3539 3.4.1, REOPEN to OKAY."""
    machine = reopened()
    assert machine.rank == 1
    assert machine.on_message(DWA, 2.1) == []
    assert machine.on_message(ANSWER, 3.0) == [Deliver(ANSWER)]
    assert sent(machine.on_tick(32.0)) == DWR
    assert machine.on_message(DWA, 32.1) == []
    assert sent(machine.on_tick(62.0)) == DWR
    assert machine.rank == 1
    assert machine.on_message(DWA, 62.1) == [Recovered()]
    assert machine.rank == 0


def test_reopened_peer_that_falls_silent_is_closed() -> None:
    machine = reopened()
    assert machine.on_tick(32.0) == []
    assert machine.on_tick(62.0) == [Disconnect(), Closed("does not answer the watchdog of 30 s")]


def test_watchdog_has_its_jitter() -> None:
    machine = PeerMachine(
        NODE, "hss.ims.test", identifiers=Identifiers(1), timers=PeerTimers(5.0, 30.0), jitter=lambda: -1.0
    )
    machine.on_tick(0.0)
    machine.on_connected(0.0, "127.0.0.11")
    machine.on_message(CEA, 0.0)
    assert machine.on_tick(27.9) == []
    assert sent(machine.on_tick(28.0)) == DWR


@pytest.mark.parametrize(
    ("cause", "pause_s"),
    [(DisconnectCause.REBOOTING, 1.0), (DisconnectCause.BUSY, LAST_RETRY_S)],
    ids=lambda value: getattr(value, "name", None),
)
def test_peer_takes_leave(cause: DisconnectCause, pause_s: float) -> None:
    """DB-04: RFC 6733 5.4; some peers never close, so we do."""
    machine = opened()
    outputs = machine.on_message(base_request(Command.DISCONNECT_PEER, dictionary.DISCONNECT_CAUSE.number(cause)), 1.0)
    assert sent(outputs) == [(Command.DISCONNECT_PEER, False)]
    assert machine.rank is None
    assert machine.on_message(ANSWER, 1.1) == [Deliver(ANSWER)]
    assert machine.on_message(base_request(Command.DEVICE_WATCHDOG), 1.1) == []
    assert machine.on_tick(2.0) == [Disconnect(), Closed("disconnected")]
    assert machine.on_tick(2.0 + pause_s - 0.1) == []
    assert machine.on_tick(2.0 + pause_s) == [Connect()]


def test_we_take_leave() -> None:
    """DB-04: Disconnect-Peer on shutdown."""
    machine = opened()
    assert sent(machine.stop(1.0)) == [(Command.DISCONNECT_PEER, True)]
    assert machine.state is State.CLOSING
    assert machine.on_message(DPA, 1.1) == [Disconnect(), Closed("disconnected")]
    assert machine.on_tick(1000.0) == []
    assert machine.stop(1000.0) == []


def test_leave_that_is_not_confirmed_ends_by_itself() -> None:
    machine = opened()
    machine.stop(1.0)
    assert machine.on_tick(1.9) == []
    assert machine.on_tick(2.0) == [Disconnect(), Closed("disconnected")]


def test_leave_before_the_exchange_is_over() -> None:
    assert connected().stop(1.0) == [Disconnect(), Closed("disconnected")]
    assert new_machine().stop(1.0) == []


def test_error_message_names_what_failed() -> None:
    answer = cea(
        dictionary.ERROR_MESSAGE.text("AVP was not in its fixed position"),
        dictionary.FAILED_AVP.group(dictionary.PUBLIC_IDENTITY.text("")),
    )
    assert error_message(answer) == ", AVP was not in its fixed position, failed Public-Identity"
    assert error_message(cea(dictionary.FAILED_AVP.octets(b"x"))) == ", failed an unreadable AVP"
    assert error_message(cea()) == ""


events = st.sampled_from(["tick", "connected", "lost", "cea", "dwa", "dwr", "dpr", "dpa", "answer", "refusal", "stop"])
MESSAGES = {
    "cea": CEA,
    "dwa": DWA,
    "dpa": DPA,
    "answer": ANSWER,
    "dwr": base_request(Command.DEVICE_WATCHDOG),
    "dpr": base_request(Command.DISCONNECT_PEER),
    "refusal": cea(*result_avps(Result.UNKNOWN_PEER)),
}


@given(st.lists(st.tuples(events, st.floats(0, 40)), max_size=40))
def test_silence_always_ends_a_connection(happened: list[tuple[str, float]]) -> None:
    machine, now = new_machine(), 0.0
    for event, pause in happened:
        now += pause
        match event:
            case "tick":
                machine.on_tick(now)
            case "connected":
                machine.on_connected(now, "127.0.0.11")
            case "lost":
                machine.on_disconnected(now, "reset")
            case "stop":
                machine.stop(now)
            case _:
                machine.on_message(MESSAGES[event], now)
        assert (machine.rank is not None) <= (machine.state is State.I_OPEN)
    for _ in range(5):
        now += 40.0
        if any(isinstance(output, Closed) for output in machine.on_tick(now)):
            break
    else:
        assert machine.state is State.CLOSED
