"""UEs on IPv6 behind one address, calling UEs on IPv4 and called by them; the core between is on IPv4."""

from typing import Any

V6, V4 = 1020, 1025  # the first UEs of each kind
COUNT = 3
PCSCF = "[::1]:5060"


def test_calls_between_ipv6_and_ipv4(capture: Any, sipp: Any) -> None:
    sipp.run("register", V6, COUNT, access="ipv6", pcscf=PCSCF).check(COUNT)
    sipp.run("register", V4, COUNT).check(COUNT)

    sipp.answer(V4, COUNT)
    sipp.run("call", V6, COUNT, callees=V4 - V6, access="ipv6", pcscf=PCSCF).check(COUNT)
    sipp.stop()
    sipp.answer(V6, COUNT, access="ipv6", pcscf=PCSCF)
    sipp.run("call", V4, COUNT, callees=V6 - V4).check(COUNT)

    capture.check()
    invites = 'sip.Method == "INVITE" && !sip.Status-Code'
    assert len(capture.read(f"{invites} && ipv6.dst == ::1")) == 2 * COUNT  # to the P-CSCF, and from it
    # the P-CSCF is in the route with the address of either side (RFC 5658)
    for routes in capture.read(f"{invites} && ipv6.src == ::1 && udp.srcport == 5060", "sip.Record-Route"):
        assert routes.index("@[::1]:5060") < routes.index("@127.0.3.10:5060")
    for routes in capture.read(f"{invites} && ip.src == 127.0.3.10 && ip.dst == 127.0.3.12", "sip.Record-Route"):
        assert "@127.0.3.10:5060" in routes
    # media of a UE on IPv6 are authorised under its own kind of address
    assert len(capture.read("diameter.cmd.code == 265 && diameter.Framed-IPv6-Prefix")) > 0
