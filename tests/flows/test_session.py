"""Two registered UEs call each other (TS 24.229 5.2.6, 5.3.2, 5.4.3; TS 29.214)."""

from typing import Any

import pytest

from opencscf.common.sip.message import Request, Response
from opencscf.diameter.results import Result
from opencscf.diameter.rx import AaRequest, SessionTerminationRequest

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
ANSWER = (
    b"v=0\r\no=- 2 1 IN IP4 127.0.2.2\r\ns=-\r\nc=IN IP4 127.0.2.2\r\nt=0 0\r\n"
    b"m=audio 40002 RTP/AVP 104\r\nb=AS:41\r\na=rtpmap:104 AMR-WB/16000/1\r\na=sendrecv\r\n"
)
# One S-CSCF serves both users: it takes both of its Route values off at once.
IN_DIALOG = ["UE1>P", "P>S", "S>P", "P>UE2"]


@pytest.fixture
def phones(network: Any) -> tuple[Any, Any]:
    alice, bob = network.phone(1), network.phone(2)
    assert alice.go_online().status == 200
    assert bob.go_online().status == 200
    network.wire.clear()
    return alice, bob


def call(alice: Any, bob: Any, uri: str = "tel:+15550000002") -> tuple[Request, Response]:
    """Ring, answer, acknowledge; return the INVITE and its 200."""
    invite = alice.invite(uri)
    (ringing,) = bob.requests("INVITE")[-1:]
    bob.answer(ringing, 180)
    bob.answer(ringing, 200, ANSWER)
    final = alice.last("INVITE")
    assert final.status == 200
    alice.in_dialog("ACK", invite, final)
    return invite, final


@pytest.mark.parametrize(
    "uri", ["tel:+15550000002", f"sip:15550000002@{DOMAIN}", f"sip:+15550000002@{DOMAIN};user=phone"]
)
def test_call_and_hang_up(network: Any, phones: Any, uri: str) -> None:
    """PT-01 PT-02 PT-03 PT-04 PT-09 IC-07 SS-01 SS-02 SS-08 SS-10 SS-13 PI-01 PC-03 RX-01 RX-02."""
    alice, bob = phones
    invite, final = call(alice, bob, uri)
    assert network.path_of("INVITE") == ["UE1>P", "P>S", "S>I", "I>S", "S>P", "P>UE2"]
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert network.path_of("ACK") == IN_DIALOG
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200
    assert network.path_of("BYE") == IN_DIALOG
    assert [type(q) for q in network.pcrf.asked] == [AaRequest, AaRequest] + [SessionTerminationRequest] * 2
    assert network.pcrf.open == {}


def test_what_the_callee_gets(network: Any, phones: Any) -> None:
    alice, bob = phones
    alice.invite(
        "tel:+15550000002",
        ("P-Asserted-Identity", "<sip:mallory@evil.test>"),
        ("P-Preferred-Identity", "<tel:+15550000001>"),
        ("P-Charging-Vector", "icid-value=forged"),
        ("P-Access-Network-Info", "3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=0010100010000101"),
    )
    (invite,) = bob.requests("INVITE")
    assert invite.uri == bob.contact  # SS-10
    assert [value.strip("<>") for value in invite.values("P-Asserted-Identity")] == ["tel:+15550000001"]  # PT-02
    assert invite.values("P-Called-Party-ID") == ["<tel:+15550000002>"]
    assert not invite.has("P-Preferred-Identity")
    assert not invite.has("P-Charging-Vector")  # PG-01
    assert len(invite.values("Record-Route")) == 6  # both sides of P twice, S twice
    (inside,) = network.sent_to("S", "INVITE")[:1]
    assert "forged" not in inside.get("P-Charging-Vector")
    assert inside.has("P-Access-Network-Info")
    assert not invite.has("P-Access-Network-Info"), "the callee does not learn where the caller is"
    bob.answer(invite, 180, b"", ("P-Access-Network-Info", "3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=0010100010000102"))
    assert not alice.last("INVITE").has("P-Access-Network-Info"), "nor the caller where the callee is"


def test_the_callee_hangs_up(network: Any, phones: Any) -> None:
    alice, bob = phones
    invite, final = call(alice, bob)
    received = bob.requests("INVITE")[-1]
    bye = bob.request(
        "BYE", received.contacts[0].uri, ("Route", ", ".join(received.values("Record-Route"))),
        from_=final.get("To"), to=invite.get("From"), call_id=invite.call_id,
    )  # fmt: skip
    bob.send(bye)
    network.run()
    alice.answer(alice.requests("BYE")[-1], 200)
    assert bob.last("BYE").status == 200
    assert network.pcrf.open == {}


def test_cancel(network: Any, phones: Any) -> None:
    """SP-02 RX-02: the callee is told, the caller gets 487, no Rx session stays."""
    alice, bob = phones
    invite = alice.invite("tel:+15550000002")
    ringing = bob.requests("INVITE")[-1]
    bob.answer(ringing, 183, ANSWER)
    assert len(network.pcrf.open) == 2
    alice.cancel(invite)
    assert alice.statuses("CANCEL") == [200]
    assert len(bob.requests("CANCEL")) == 1
    bob.answer(bob.requests("CANCEL")[-1], 200)
    bob.answer(ringing, 487)
    assert alice.last("INVITE").status == 487
    assert network.pcrf.open == {}
    # each hop acknowledges the 487 it got; the caller's own ACK is not played here
    assert sorted(network.path_of("ACK")) == ["I>S", "P>S", "P>UE2", "S>I", "S>P"]


@pytest.mark.parametrize("status", [486, 603, 480])
def test_refused_by_the_callee(network: Any, phones: Any, status: int) -> None:
    alice, bob = phones
    alice.invite("tel:+15550000002")
    bob.answer(bob.requests("INVITE")[-1], status)
    assert alice.last("INVITE").status == status
    assert network.pcrf.open == {}


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        pytest.param("tel:+15550000003", 480, id="IC-10 not registered"),
        pytest.param("tel:+15550000009", 404, id="IC-10 unknown"),
        pytest.param(f"sip:nobody@{DOMAIN}", 404, id="IC-10 unknown sip user"),
    ],
)
def test_callee_not_there(phones: Any, uri: str, status: int) -> None:
    alice, _ = phones
    alice.invite(uri)
    assert alice.last("INVITE").status == status


def test_the_hss_goes_away(network: Any, phones: Any) -> None:
    alice, _ = phones
    network.hss.is_down = True
    alice.invite("tel:+15550000002")
    assert alice.last("INVITE").status in {480, 504}
    network.hss.is_down = False
    alice.invite("tel:+15550000002")
    assert alice.statuses("INVITE")[-1] == 100  # works at once


@pytest.mark.parametrize("trouble", ["down", "refusing"])
def test_a_call_goes_on_without_the_pcrf(network: Any, phones: Any, trouble: str) -> None:
    """RX-06: best effort, and one line says which address was looked up."""
    alice, bob = phones
    network.pcrf.is_down = trouble == "down"
    network.pcrf.result = Result.IP_CAN_SESSION_NOT_AVAILABLE
    invite, final = call(alice, bob)
    warnings = [line for line in network.lines if line[1] == "warning"]
    assert any("127.0.2.1" in str(line[3]) for line in warnings)
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200


def test_a_forged_service_route_is_replaced(network: Any, phones: Any) -> None:
    """PT-03."""
    alice, bob = phones
    alice.service_route = ["<sip:elsewhere.test;lr>"]
    alice.invite("tel:+15550000002")
    assert len(bob.requests("INVITE")) == 1


def test_forking_to_two_contacts(network: Any, phones: Any) -> None:
    """SS-11: both phones of a user ring; the one that answers wins and the other is cancelled."""
    alice, bob = phones
    twin = network.phone(4)
    twin.imsi, twin.impi, twin.usim = bob.imsi, bob.impi, bob.usim
    assert twin.go_online().status == 200
    alice.invite("tel:+15550000002")
    first, second = bob.requests("INVITE")[-1], twin.requests("INVITE")[-1]
    bob.answer(first, 180)
    twin.answer(second, 180)
    bob.answer(first, 200, ANSWER)
    assert alice.last("INVITE").status == 200
    assert len(twin.requests("CANCEL")) == 1
    assert bob.requests("CANCEL") == []
    twin.answer(second, 487)
    assert alice.statuses("INVITE").count(487) == 0


def test_calls_go_on_after_a_restart_of_every_node(network: Any, phones: Any) -> None:
    """A call outlives the processes that set it up, and registered UEs can be called at once."""
    alice, bob = phones
    invite, final = call(alice, bob)
    for node in ("pcscf", "icscf", "scscf"):
        network.start(node)
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200
    call(alice, bob)


def test_standalone_message(network: Any, phones: Any) -> None:
    """PT-07: a MESSAGE takes the same way, and an unknown method too."""
    alice, bob = phones
    for method in ("MESSAGE", "FROBNICATE"):
        routes = ", ".join(["<sip:127.0.1.10:5060;lr>", *alice.service_route])
        alice.send(alice.request(method, "tel:+15550000002", ("Route", routes)))
        network.run()
        bob.answer(bob.requests(method)[-1], 200)
        assert alice.last(method).status == 200


def test_nothing_is_left(network: Any, phones: Any) -> None:
    """After the calls and their timers no node holds a transaction."""
    alice, bob = phones
    invite, final = call(alice, bob)
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    network.pass_time(135)  # Timer J towards the UE lasts 128 s
    for node in network._nodes.values():
        assert (node._stack.server_transactions, node._stack.client_transactions) == (0, 0)
        assert node._waiting == {}
        assert node._undecided == {}
