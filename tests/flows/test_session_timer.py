"""Calls that nobody hangs up: session timers through the core (RFC 4028), and calls without one."""

from typing import Any

import pytest

from opencscf.common.sip.message import Request, Response

CALLEE = "tel:+15550000002"
ANSWER = (
    b"v=0\r\no=- 2 1 IN IP4 127.0.2.2\r\ns=-\r\nc=IN IP4 127.0.2.2\r\nt=0 0\r\n"
    b"m=audio 40002 RTP/AVP 104\r\nb=AS:41\r\na=rtpmap:104 AMR-WB/16000/1\r\na=sendrecv\r\n"
)
TIMER = ("Supported", "timer")


@pytest.fixture
def phones(network: Any) -> tuple[Any, Any]:
    alice, bob = network.phone(1), network.phone(2)
    assert alice.go_online().status == 200
    assert bob.go_online().status == 200
    return alice, bob


def call(alice: Any, bob: Any, *asked: tuple[str, str], agreed: str | None = None) -> tuple[Request, Response]:
    """Ring, answer, acknowledge; return the INVITE and its 200."""
    invite = alice.invite(CALLEE, *asked)
    ringing = bob.requests("INVITE")[-1]
    bob.answer(ringing, 200, ANSWER, *([("Session-Expires", agreed), ("Require", "timer")] if agreed else []))
    final = alice.last("INVITE")
    assert final.status == 200
    alice.in_dialog("ACK", invite, final)
    return invite, final


def ended(network: Any) -> list[object]:
    """Why the P-CSCF has forgotten calls."""
    return [
        fields.get("reason") for node, _, event, fields in network.lines if (node, event) == ("pcscf", "call-ended")
    ]


def refresh(alice: Any, bob: Any, invite: Request, final: Response, *asked: tuple[str, str], agreed: str) -> None:
    alice.in_dialog("UPDATE", invite, final, TIMER, *asked)
    bob.answer(bob.requests("UPDATE")[-1], 200, b"", ("Session-Expires", agreed), ("Require", "timer"))
    assert alice.last("UPDATE").status == 200


def test_a_session_that_is_not_refreshed_ends(network: Any, phones: Any) -> None:
    """RFC 4028 8.3: its state goes, and its media sessions; no proxy sends a BYE."""
    alice, bob = phones
    call(alice, bob, TIMER, ("Session-Expires", "120"), agreed="120;refresher=uac")
    assert len(network.pcrf.open) == 2
    network.pass_time(110)
    assert len(network.pcrf.open) == 2
    network.pass_time(25)
    assert network.pcrf.open == {}
    assert ended(network) == ["not refreshed"] * 2
    assert network.path_of("BYE") == []


def test_a_session_that_is_refreshed_goes_on(network: Any, phones: Any) -> None:
    """RFC 4028 8.2: the 2xx to an UPDATE moves the end, and may shorten or lift the interval."""
    alice, bob = phones
    invite, final = call(alice, bob, TIMER, ("Session-Expires", "120"), agreed="120;refresher=uac")
    for _ in range(3):
        network.pass_time(60)
        refresh(alice, bob, invite, final, ("Session-Expires", "120"), agreed="120;refresher=uac")
    network.pass_time(110)
    assert ended(network) == []
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    network.pass_time(200)
    assert ended(network) == [None, None], "each side has ended once, by the BYE"


def test_a_refresh_that_fails_moves_nothing(network: Any, phones: Any) -> None:
    """RFC 4028 8.2: only a 2xx counts."""
    alice, bob = phones
    invite, final = call(alice, bob, TIMER, ("Session-Expires", "120"), agreed="120;refresher=uac")
    network.pass_time(100)
    alice.in_dialog("UPDATE", invite, final, TIMER, ("Session-Expires", "120"))
    bob.answer(bob.requests("UPDATE")[-1], 500)
    network.pass_time(35)
    assert ended(network) == ["not refreshed"] * 2


def test_the_caller_hears_of_a_timer_that_the_callee_does_not_know(network: Any, phones: Any) -> None:
    """RFC 4028 8.2: inserted once, by the proxy next to the callee."""
    alice, bob = phones
    _, final = call(alice, bob, TIMER, ("Session-Expires", "120"))
    assert final.values("Session-Expires") == ["120;refresher=uac"]
    assert final.values("Require") == ["timer"]
    network.pass_time(135)
    assert ended(network) == ["not refreshed"] * 2


def test_too_short_a_session_is_refused_before_it_begins(network: Any, phones: Any) -> None:
    """RFC 4028 6, 8.1."""
    alice, bob = phones
    alice.invite(CALLEE, TIMER, ("Session-Expires", "60"))
    assert alice.last("INVITE").status == 422
    assert alice.last("INVITE").get("Min-SE") == "90"
    assert bob.requests("INVITE") == []
    call(alice, bob, TIMER, ("Session-Expires", "90"), ("Min-SE", "90"), agreed="90;refresher=uac")


def test_a_refresh_that_is_too_short_leaves_the_call_as_it_is(network: Any, phones: Any) -> None:
    alice, bob = phones
    invite, final = call(alice, bob, TIMER)
    alice.in_dialog("UPDATE", invite, final, TIMER, ("Session-Expires", "60"))
    assert alice.last("UPDATE").status == 422
    assert bob.requests("UPDATE") == []
    assert ended(network) == []


def test_the_operator_may_ask_for_session_timers(network: Any, phones: Any) -> None:
    """RFC 4028 8.1: inserted where there is none, reduced where it is longer."""
    network.settings["pcscf"] = "session_expires_s = 600\nmin_session_expires_s = 300\n"
    network.start("pcscf")
    alice, bob = phones
    for asked, expected in (([], "600"), ([TIMER, ("Session-Expires", "1800;refresher=uas")], "600;refresher=uas")):
        alice.invite(CALLEE, *asked)
        assert bob.requests("INVITE")[-1].values("Session-Expires") == [expected]
        bob.answer(bob.requests("INVITE")[-1], 486)
    alice.invite(CALLEE, ("Session-Expires", "120"))
    assert [bob.requests("INVITE")[-1].get(name) for name in ("Session-Expires", "Min-SE")] == ["300", "300"]


def test_a_call_without_session_timer_ends_when_the_operator_wants_it(network: Any, phones: Any) -> None:
    network.settings["pcscf"] = "silent_call_s = 100\n"
    network.start("pcscf")
    alice, bob = phones
    invite, final = call(alice, bob)
    network.pass_time(90)
    alice.in_dialog("UPDATE", invite, final)
    bob.answer(bob.requests("UPDATE")[-1], 200)
    network.pass_time(90)
    assert ended(network) == []
    network.pass_time(25)
    assert ended(network) == ["not refreshed"] * 2
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200, "the dialog itself still works"


def test_calls_may_last_as_long_as_the_registration(network: Any, phones: Any) -> None:
    network.settings["pcscf"] = "silent_call_s = 0\n"
    network.start("pcscf")
    alice, bob = phones
    invite, final = call(alice, bob, TIMER, ("Session-Expires", "120"), agreed="120;refresher=uac")
    alice.in_dialog("UPDATE", invite, final)
    bob.answer(bob.requests("UPDATE")[-1], 200)  # RFC 4028 7.2: without Session-Expires there is no timer any more
    network.pass_time(300)
    assert ended(network) == []
