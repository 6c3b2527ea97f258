"""What else becomes of a call or a registration: refused, cancelled, forked, renewed, given up, and very long."""

from typing import Any

import pytest

# UEs of this file, by what they do; those from 1050 on are subscribers that never register
REFUSED, CANCELLED, FORKED, AGAIN, LONG, GONE, STRANGER = 1030, 1032, 1034, 1036, 1038, 1042, 1050
KB = "\na=x-note:" + 90 * "x"  # a line of 100 octets, ten of which make a kilobyte


def test_refusals(capture: Any, sipp: Any) -> None:
    sipp.run("register", REFUSED, 2).check(2)
    sipp.answer(REFUSED + 1, 1, "refuse", status="486")

    def call(caller: int, callee: str, status: int) -> None:
        sipp.run("call-refused", caller, 1, callee=callee, status=str(status)).check(1)

    call(REFUSED, sipp.number(REFUSED + 1), 486)  # the callee is busy
    call(REFUSED, sipp.number(STRANGER), 480)  # a subscriber who is not registered
    call(REFUSED, "15559999999", 404)  # nobody's number
    call(STRANGER, sipp.number(REFUSED), 403)  # the caller is not registered
    capture.check()
    # no media were authorised for calls that never were
    assert capture.read("diameter.cmd.code == 265") == []


def test_cancelled_call(capture: Any, sipp: Any) -> None:
    sipp.run("register", CANCELLED, 2).check(2)
    sipp.answer(CANCELLED + 1, 1, "ring")
    sipp.run("call-cancelled", CANCELLED, 1, callees=1).check(1)
    capture.check()
    assert len(capture.read('sip.Method == "CANCEL" && ip.src == 127.0.3.10 && udp.dstport == 5062')) == 1


def test_call_to_two_phones(capture: Any, sipp: Any) -> None:
    """Both ring; the one that does not answer is cancelled (RFC 3261 16.7 step 10)."""
    sipp.run("register", FORKED, 2).check(2)
    sipp.run("register", FORKED + 1, 1, access="other phone").check(1)
    sipp.answer(FORKED + 1, 1, "answer")
    sipp.answer(FORKED + 1, 1, "ring", access="other phone")
    sipp.run("call", FORKED, 1, callees=1).check(1)
    capture.check(forked=True)
    assert len(capture.read('sip.Method == "INVITE" && ip.src == 127.0.3.10 && udp.dstport == 5062')) == 2
    assert len(capture.read('sip.Method == "CANCEL" && ip.dst == 127.0.7.3 && ip.src == 127.0.3.10')) == 1
    assert len(capture.read("sip.Status-Code == 487 && ip.src == 127.0.7.3")) == 1


def test_registrations_renewed_and_given_up(capture: Any, sipp: Any) -> None:
    for expires in ("600000", "3600", "0"):
        sipp.run("register", AGAIN, 2, expires=expires).check(2)
    sipp.run("register", AGAIN, 1).check(1)
    sipp.run("call-refused", AGAIN, 1, callee=sipp.number(AGAIN + 1), status="480").check(1)
    capture.check()
    granted = [
        line.count("sip:0010100")
        for line in capture.read('sip.Status-Code == 200 && sip.CSeq.method == "REGISTER" && ip.src == 127.0.3.10',
                                 "sip.Contact")
    ]  # fmt: skip
    assert granted == [1, 1, 1, 1, 0, 0, 1]  # renewing a contact adds none


@pytest.mark.parametrize(
    ("caller", "access", "kilobytes"),
    [pytest.param(LONG, "tcp", 5, id="6 kB over TCP"), pytest.param(LONG + 2, "udp", 3, id="4 kB over UDP")],
)
def test_long_invite(capture: Any, sipp: Any, caller: int, access: str, kilobytes: int) -> None:
    sipp.run("register", caller, 1, access=access).check(1)
    sipp.run("register", caller + 1, 1).check(1)
    sipp.answer(caller + 1, 1)
    sipp.run("call", caller, 1, callees=1, access=access, more_sdp=10 * kilobytes * KB).check(1)
    capture.check()
    lengths = capture.read('sip.Method == "INVITE" && ip.src == 127.0.3.10 && udp.dstport == 5062', "udp.length")
    assert len(lengths) == 1
    assert int(lengths[0]) > 1024 * (kilobytes + 1)


def test_call_to_a_connection_that_is_gone(capture: Any, sipp: Any) -> None:
    """A UE registered over TCP and went away without a word: it is not available, and the caller hears so at once."""
    sipp.run("register", GONE, 1).check(1)
    sipp.run("register", GONE + 1, 1, access="tcp").check(1)
    sipp.run("call-refused", GONE, 1, callee=sipp.number(GONE + 1), status="480").check(1)
    capture.check()
