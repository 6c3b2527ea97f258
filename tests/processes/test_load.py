"""A thousand UEs register and five hundred calls run through the five processes, as SIPp and tshark see it."""

from typing import Any

REGISTRATIONS, REGISTRATION_RATE = 1000, 100
CALLS, CALL_RATE = 500, 50
GONE = 100


# fixtures are Any: their classes live in conftest.py, which tests cannot import
def test_registrations_and_calls(capture: Any, sipp: Any) -> None:
    sipp.run("register", 0, REGISTRATIONS, REGISTRATION_RATE).check(REGISTRATIONS)
    sipp.answer(CALLS, CALLS)
    sipp.run("call", 0, CALLS, CALL_RATE, callees=CALLS).check(CALLS)
    sipp.stop()
    sipp.run("register", 0, GONE, REGISTRATION_RATE, expires="0").check(GONE)

    capture.check()
    # the capture is whole: every REGISTER and INVITE that SIPp sent is in it
    assert len(capture.read('sip.Method == "REGISTER" && ip.dst == 127.0.3.10')) == 2 * (REGISTRATIONS + GONE)
    assert len(capture.read('sip.Method == "INVITE" && ip.dst == 127.0.3.10 && ip.src != 127.0.3.12')) == CALLS
    # media were authorised at both ends of every call, and released
    answers = ",".join(capture.read("diameter && ip.src == 127.0.3.15", "diameter.cmd.code")).split(",")
    assert (answers.count("265"), answers.count("275")) == (2 * CALLS, 2 * CALLS)  # one packet may hold several
