"""A thousand UEs register and five hundred calls run through the five processes, as SIPp and tshark see it."""

from collections import Counter
from typing import Any

REGISTRATIONS, REGISTRATION_RATE = 1000, 100
CALLS, CALL_RATE = 500, 50
GONE = 100
COMMAND = "diameter.cmd.code"


# fixtures are Any: their classes live in conftest.py, which tests cannot import
def test_registrations_and_calls(capture: Any, sipp: Any) -> None:
    sipp.run("register", 0, REGISTRATIONS, REGISTRATION_RATE).check(REGISTRATIONS)
    sipp.answer(CALLS, CALLS)
    sipp.run("call", 0, CALLS, CALL_RATE, callees=CALLS).check(CALLS)
    sipp.stop()
    sipp.run("register", 0, GONE, REGISTRATION_RATE, expires="0").check(GONE)

    capture.check()
    # the capture is whole: every request that SIPp sent is in it
    requests = capture.read("sip.Method && ip.dst == 127.0.3.10 && udp.srcport == 5062", "sip.Method")
    sent = {"REGISTER": 2 * (REGISTRATIONS + GONE), "INVITE": CALLS, "ACK": CALLS, "BYE": CALLS}
    assert Counter(requests) == sent
    # media were authorised at both ends of every call, and released
    answers = ",".join(capture.read("diameter.applicationId == 16777236 && diameter.flags.request == 0", COMMAND))
    assert Counter(answers.split(",")) == {"265": 2 * CALLS, "275": 2 * CALLS}
