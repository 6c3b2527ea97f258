"""UEs over TCP: each on a connection of its own, or many behind one, calling and called by UEs over UDP."""

from typing import Any

import pytest

UDP = 1010  # the first UE of those over UDP
COUNT = 3
CALLER_PORT = "5063"  # the registered one is taken


@pytest.mark.parametrize(("access", "tcp"), [("tcp", 1000), ("one tcp connection", 1005)])
def test_calls_between_tcp_and_udp(capture: Any, sipp: Any, access: str, tcp: int) -> None:
    sipp.run("register", UDP, COUNT).check(COUNT)
    sipp.register_and_answer(tcp, COUNT, access)
    sipp.run("call", UDP, COUNT, callees=tcp - UDP).check(COUNT)
    sipp.answer(UDP, COUNT)
    sipp.run("call", tcp, COUNT, callees=UDP - tcp, access=access, port=CALLER_PORT).check(COUNT)

    capture.check()
    over_tcp = capture.read('sip.Method == "INVITE" && tcp && ip.dst == 127.0.3.10')
    assert len(over_tcp) == COUNT
    assert len(capture.read('sip.Method == "INVITE" && tcp && ip.src == 127.0.3.10')) == COUNT
