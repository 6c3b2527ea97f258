"""A thousand UEs register and five hundred calls run through the five processes, as SIPp and tshark see it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

REGISTRATIONS, REGISTRATION_RATE = 1000, 100
CALLS, CALL_RATE = 500, 50


def test_registrations_and_calls(
    capture: Callable[[], Path], lab: Any, sipp: Any, tshark: Callable[..., list[str]]
) -> None:
    registered = sipp.run("register", 0, REGISTRATIONS, REGISTRATION_RATE)
    assert (registered.successful, registered.failed, registered.retransmissions) == (REGISTRATIONS, 0, 0), registered

    answering = sipp.start("answer", CALLS, CALLS)
    try:
        route = f"<sip:orig@scscf.{lab.domain}:5060;lr>"
        called = sipp.run("call", 0, CALLS, CALL_RATE, callees=CALLS, service_route=route)
    finally:
        answering.terminate()
        answering.wait(10)
    assert (called.successful, called.failed, called.retransmissions) == (CALLS, 0, 0), called

    gone = sipp.run("register", 0, 100, REGISTRATION_RATE, expires="0")
    assert (gone.successful, gone.failed, gone.retransmissions) == (100, 0, 0), gone

    path = capture()
    # the capture is whole: every REGISTER and INVITE that SIPp sent is in it
    assert len(tshark(path, 'sip.Method == "REGISTER" && ip.dst == 127.0.3.10', "frame.number")) == 2 * 1100
    invites = 'sip.Method == "INVITE" && ip.dst == 127.0.3.10 && ip.src != 127.0.3.12'
    assert len(tshark(path, invites, "frame.number")) == 500
    complaints = tshark(
        path, "_ws.malformed || (_ws.expert.severity == error && (sip || diameter))",
        "frame.number", "_ws.col.Info", "_ws.expert.message",
    )  # fmt: skip
    assert complaints == []
    assert tshark(path, "sip.resend == 1", "frame.number", "_ws.col.Info") == []
    # keys stay between S-CSCF and P-CSCF
    keys = 'sip matches "[, ][ci]k=" && !(ip.src == 127.0.3.12 || ip.src == 127.0.3.11)'
    assert tshark(path, keys, "frame.number") == []
    # every media authorisation was released
    answers = tshark(path, "diameter.cmd.code == 265 && diameter.flags.request == 0", "frame.number")
    ends = tshark(path, "diameter.cmd.code == 275 && diameter.flags.request == 0", "frame.number")
    assert len(answers) > 0
    assert len(ends) > 0
