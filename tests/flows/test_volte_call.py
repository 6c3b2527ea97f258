"""What happens within a VoLTE call: preconditions, hold, glare, end of a registration (TS 24.229 5.2.7, 5.2.9)."""

from typing import Any

import pytest

from opencscf.common.sip.message import Request, Response
from opencscf.diameter.rx import AaRequest, FlowStatus

CALLEE = "tel:+15550000002"
IN_DIALOG = ["UE1>P", "P>S", "S>P", "P>UE2"]
BACK = ["UE2>P", "P>S", "S>P", "P>UE1"]


def sdp(host: str, port: int, *lines: str, direction: str = "sendrecv", version: int = 1) -> bytes:
    """One audio stream, as VoLTE phones describe it."""
    return "".join(
        f"{line}\r\n"
        for line in (
            "v=0", f"o=- 1 {version} IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "b=AS:41", "t=0 0",
            f"m=audio {port} RTP/AVP 104", "b=AS:41", "b=RS:600", "b=RR:2000", *lines,
            "a=rtpmap:104 AMR-WB/16000/1", f"a={direction}",
        )
    ).encode()  # fmt: skip


def qos(local: str, remote: str, *more: str) -> tuple[str, ...]:
    """The precondition lines of RFC 3312 5."""
    return (
        f"a=curr:qos local {local}", f"a=curr:qos remote {remote}",
        "a=des:qos mandatory local sendrecv", "a=des:qos mandatory remote sendrecv", *more,
    )  # fmt: skip


ALICE, BOB = ("127.0.2.1", 40000), ("127.0.2.2", 40002)


@pytest.fixture
def phones(network: Any) -> tuple[Any, Any]:
    alice, bob = network.phone(1), network.phone(2)
    assert alice.go_online().status == 200
    assert bob.go_online().status == 200
    network.wire.clear()
    return alice, bob


def call(alice: Any, bob: Any) -> tuple[Request, Response, Request]:
    """Ring, answer, acknowledge; return the INVITE, its 200 and the INVITE as the callee got it."""
    invite = alice.invite(CALLEE, body=sdp(*ALICE))
    ringing = bob.requests("INVITE")[-1]
    bob.answer(ringing, 180)
    bob.answer(ringing, 200, sdp(*BOB))
    final = alice.last("INVITE")
    assert final.status == 200
    alice.in_dialog("ACK", invite, final)
    return invite, final, ringing


def aars(network: Any) -> list[AaRequest]:
    return [question for question in network.pcrf.asked if isinstance(question, AaRequest)]


def hang_up(alice: Any, bob: Any, invite: Request, final: Response) -> None:
    alice.in_dialog("BYE", invite, final)
    bob.answer(bob.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200


def test_call_with_preconditions(network: Any, phones: Any) -> None:
    """SP-06 (RFC 3262, 3311) SP-08 PI-01 RX-07: every request and body of it, byte for byte."""
    alice, bob = phones
    extensions = (("Supported", "100rel, precondition, timer"), ("Require", "precondition"))
    offer = sdp(*ALICE, *qos("none", "none"))
    invite = alice.invite(CALLEE, *extensions, body=offer)
    received = bob.requests("INVITE")[-1]
    assert received.body == offer
    assert received.get("Supported") == "100rel, precondition, timer"
    assert received.values("Require") == ["precondition"]
    assert network.pcrf.asked == [], "an offer alone opens no bearer"

    answer = sdp(*BOB, *qos("none", "none", "a=conf:qos remote sendrecv"))
    reliable = ("Require", "100rel"), ("RSeq", "4711")
    bob.answer(received, 183, answer, *reliable)
    progress = alice.last("INVITE")
    assert (progress.status, progress.body, progress.get("RSeq")) == (183, answer, "4711")
    assert [question.ue_address for question in aars(network)] == ["127.0.2.2", "127.0.2.1"]
    assert not any(question.is_update for question in aars(network))

    alice.in_dialog("PRACK", invite, progress, ("RAck", f"4711 {invite.cseq.number} INVITE"))
    prack = bob.requests("PRACK")[-1]
    assert prack.get("RAck") == f"4711 {invite.cseq.number} INVITE"
    bob.answer(prack, 200)
    assert network.path_of("PRACK") == IN_DIALOG
    assert alice.last("PRACK").status == 200

    alice.in_dialog("UPDATE", invite, progress, body=(reserved := sdp(*ALICE, *qos("sendrecv", "none"), version=2)))
    update = bob.requests("UPDATE")[-1]
    assert update.body == reserved
    bob.answer(update, 200, sdp(*BOB, *qos("sendrecv", "sendrecv"), version=2))
    assert network.path_of("UPDATE") == IN_DIALOG
    assert alice.last("UPDATE").body == sdp(*BOB, *qos("sendrecv", "sendrecv"), version=2)
    assert len(aars(network)) == 2, "that resources are reserved is no other media"

    bob.answer(received, 180, b"", ("Require", "100rel"), ("RSeq", "4712"))
    alice.in_dialog("PRACK", invite, alice.last("INVITE"), ("RAck", f"4712 {invite.cseq.number} INVITE"))
    bob.answer(bob.requests("PRACK")[-1], 200)
    bob.answer(received, 200)
    final = alice.last("INVITE")
    alice.in_dialog("ACK", invite, final)
    assert alice.statuses("INVITE") == [100, 183, 180, 200]
    assert len(bob.requests("ACK")) == 1
    assert len(network.pcrf.open) == 2
    hang_up(alice, bob, invite, final)
    assert network.pcrf.open == {}


def test_media_that_wait_for_their_resources(network: Any, phones: Any) -> None:
    """SP-08 RX-08: a=inactive until both sides have resources (RFC 3312 5): gates closed first, then opened."""
    alice, bob = phones
    invite = alice.invite(CALLEE, body=sdp(*ALICE, *qos("none", "none"), direction="inactive"))
    received = bob.requests("INVITE")[-1]
    bob.answer(received, 183, sdp(*BOB, *qos("none", "none"), direction="inactive"), ("RSeq", "1"))
    progress = alice.last("INVITE")
    alice.in_dialog("UPDATE", invite, progress, body=sdp(*ALICE, *qos("sendrecv", "none"), version=2))
    bob.answer(bob.requests("UPDATE")[-1], 200, sdp(*BOB, *qos("sendrecv", "sendrecv"), version=2))
    assert [(q.is_update, q.media[0].flow_status) for q in aars(network)] == [
        (False, FlowStatus.DISABLED), (False, FlowStatus.DISABLED),
        (True, FlowStatus.ENABLED), (True, FlowStatus.ENABLED),
    ]  # fmt: skip


def test_callee_updates_an_early_dialog(network: Any, phones: Any) -> None:
    """SP-06: UPDATE (RFC 3311 5) in the other direction finds its way before the call is answered."""
    alice, bob = phones
    alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    bob.answer(received, 183, sdp(*BOB), ("Require", "100rel"), ("RSeq", "1"))
    bob.in_dialog_of("UPDATE", received, body=sdp(*BOB, version=2))
    alice.answer(alice.requests("UPDATE")[-1], 200, sdp(*ALICE, version=2))
    assert network.path_of("UPDATE") == BACK
    assert bob.last("UPDATE").status == 200


def test_hold_and_resume(network: Any, phones: Any) -> None:
    """PC-04: a re-INVITE of either side changes the gates of the same Rx sessions."""
    alice, bob = phones
    invite, final, received = call(alice, bob)
    network.pcrf.asked.clear()

    alice.in_dialog("INVITE", invite, final, body=sdp(*ALICE, direction="sendonly", version=2))
    bob.answer(bob.requests("INVITE")[-1], 200, sdp(*BOB, direction="recvonly", version=2))
    alice.in_dialog("ACK", invite, final)
    assert alice.last("INVITE").status == 200
    held = {q.ue_address: q.media[0].flow_status for q in aars(network)}
    assert held == {"127.0.2.2": FlowStatus.ENABLED_DOWNLINK, "127.0.2.1": FlowStatus.ENABLED_UPLINK}

    network.pcrf.asked.clear()
    bob.in_dialog_of("INVITE", received, ("Contact", f"<{bob.contact}>"), body=sdp(*BOB, version=3))
    alice.answer(alice.requests("INVITE")[-1], 200, sdp(*ALICE, version=3))
    assert bob.last("INVITE").status == 200
    assert {q.ue_address: q.media[0].flow_status for q in aars(network)} == {
        "127.0.2.2": FlowStatus.ENABLED, "127.0.2.1": FlowStatus.ENABLED,
    }  # fmt: skip
    assert all(q.is_update for q in aars(network))
    assert len(network.pcrf.open) == 2


def test_session_refresh_leaves_media_alone(network: Any, phones: Any) -> None:
    """PC-04: neither UPDATE without SDP nor a re-INVITE with the same SDP asks the PCRF again."""
    alice, bob = phones
    invite, final, _ = call(alice, bob)
    network.pcrf.asked.clear()
    alice.in_dialog("UPDATE", invite, final)
    bob.answer(bob.requests("UPDATE")[-1], 200)
    alice.in_dialog("INVITE", invite, final, body=sdp(*ALICE))
    bob.answer(bob.requests("INVITE")[-1], 200, sdp(*BOB))
    assert network.pcrf.asked == []


def test_glare(network: Any, phones: Any) -> None:
    """Both sides change the session at once: each gets its 491 (RFC 3261 14.1), and the call goes on as it was."""
    alice, bob = phones
    invite, final, received = call(alice, bob)
    network.pcrf.asked.clear()
    alice.in_dialog("INVITE", invite, final, body=sdp(*ALICE, direction="sendonly", version=2))
    bob.in_dialog_of("INVITE", received, body=sdp(*BOB, direction="sendonly", version=2))
    bob.answer(bob.requests("INVITE")[-1], 491)
    alice.answer(alice.requests("INVITE")[-1], 491)
    assert (alice.last("INVITE").status, bob.last("INVITE").status) == (491, 491)
    assert network.pcrf.asked == []
    hang_up(alice, bob, invite, final)
    assert network.pcrf.open == {}


def test_both_hang_up_at_once(network: Any, phones: Any) -> None:
    """PC-03: BYEs that cross both reach the other side, and each Rx session ends once."""
    alice, bob = phones
    invite, final, received = call(alice, bob)
    network.pcrf.asked.clear()
    alice.in_dialog("BYE", invite, final)
    bob.in_dialog_of("BYE", received)
    bob.answer(bob.requests("BYE")[-1], 200)
    alice.answer(alice.requests("BYE")[-1], 200)
    assert (alice.last("BYE").status, bob.last("BYE").status) == (200, 200)
    assert len(network.pcrf.asked) == 2
    assert network.pcrf.open == {}


def test_a_phone_calls_itself(network: Any, phones: Any) -> None:
    """Both sides of the call are the same binding, and do not get mixed up."""
    alice, _ = phones
    invite = alice.invite("tel:+15550000001", body=sdp(*ALICE))
    received = alice.requests("INVITE")[-1]
    alice.answer(received, 200, sdp(*ALICE))
    final = alice.last("INVITE")
    assert final.status == 200
    assert len(network.pcrf.open) == 2
    alice.in_dialog("ACK", invite, final)
    alice.in_dialog("BYE", invite, final)
    alice.answer(alice.requests("BYE")[-1], 200)
    assert alice.last("BYE").status == 200
    assert network.pcrf.open == {}


def test_cancel_while_media_are_authorised(network: Any, phones: Any) -> None:
    """RX-02: the PCRF answers after all is over; its sessions end nevertheless, and the caller gets its 487."""
    alice, bob = phones
    invite = alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    network.pcrf.is_slow = True
    bob.answer(received, 183, sdp(*BOB))
    assert alice.statuses("INVITE") == [100], "the answer waits for its media"
    alice.cancel(invite)
    bob.answer(bob.requests("CANCEL")[-1], 200)
    bob.answer(received, 487)
    network.pcrf.catch_up()
    network.run()
    assert alice.statuses("INVITE")[-1] == 487
    assert network.pcrf.open == {}
    assert not network._nodes[("127.0.1.10", 5060)]._waiting


def test_hang_up_while_media_are_authorised(network: Any, phones: Any) -> None:
    """RX-02: the callee answers and hangs up at once; each Rx session that opens is ended after it."""
    alice, bob = phones
    alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    bob.answer(received, 180)
    network.pcrf.is_slow = True
    bob.answer(received, 200, sdp(*BOB))
    bob.in_dialog_of("BYE", received)
    network.pcrf.catch_up()
    network.run()
    network.pcrf.catch_up()
    network.run()
    assert len(alice.requests("BYE")) == 1
    assert network.pcrf.open == {}


def test_deregistration_while_media_are_authorised(network: Any, phones: Any) -> None:
    """RX-02: as above, when it is the registration that ends."""
    alice, bob = phones
    alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    network.pcrf.is_slow = True
    bob.answer(received, 183, sdp(*BOB))
    assert bob.go_online(0).status == 200
    network.pcrf.catch_up()
    network.run()
    bob.answer(received, 480)
    assert alice.statuses("INVITE")[-1] == 480
    assert network.pcrf.open == {}


def test_reliable_progress_is_sent_again_while_media_are_authorised(network: Any, phones: Any) -> None:
    """SP-06 (RFC 3262 3): copies of a 183 wait for the first one and ask nothing of the PCRF."""
    alice, bob = phones
    alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    network.pcrf.is_slow = True
    for _ in range(3):
        bob.answer(received, 183, sdp(*BOB), ("Require", "100rel"), ("RSeq", "1"))
    network.pcrf.catch_up()
    network.run()
    assert alice.statuses("INVITE") == [100, 183, 183, 183]
    assert len(aars(network)) == 2


def test_reregistration_while_it_rings(network: Any, phones: Any) -> None:
    """A refresh during a call attempt changes nothing for it."""
    alice, bob = phones
    invite = alice.invite(CALLEE, body=sdp(*ALICE))
    received = bob.requests("INVITE")[-1]
    bob.answer(received, 180)
    assert alice.go_online().status == 200
    assert bob.go_online().status == 200
    bob.answer(received, 200, sdp(*BOB))
    final = alice.last("INVITE")
    assert final.status == 200
    alice.in_dialog("ACK", invite, final)
    hang_up(alice, bob, invite, final)
    assert network.pcrf.open == {}


def test_deregistration_during_a_call(network: Any, phones: Any) -> None:
    """PD-01 RX-02: the Rx session ends with the registration; whoever hangs up later, the other one hears of it."""
    alice, bob = phones
    invite, final, _ = call(alice, bob)
    assert alice.go_online(0).status == 200
    assert [question.ue_address for question in network.pcrf.open.values()] == ["127.0.2.2"]
    hang_up(alice, bob, invite, final)
    assert network.pcrf.open == {}
    alice.invite(CALLEE)
    assert alice.last("INVITE").status == 403, "the call was the last thing it could do"


def test_the_other_side_hangs_up_after_deregistration(network: Any, phones: Any) -> None:
    alice, bob = phones
    _, _, received = call(alice, bob)
    assert alice.go_online(0).status == 200
    bob.in_dialog_of("BYE", received)
    alice.answer(alice.requests("BYE")[-1], 200)
    assert bob.last("BYE").status == 200
    assert network.pcrf.open == {}


def test_address_change(network: Any, phones: Any) -> None:
    """A phone with a new address takes its old contact's place, hangs up its old call and can be called again."""
    alice, bob = phones
    bob.instance = "<urn:gsma:imei:90420156-025763-0>"
    assert bob.go_online().status == 200
    _, _, received = call(alice, bob)
    moved = network.phone(7)
    moved.imsi, moved.impi, moved.usim, moved.instance = bob.imsi, bob.impi, bob.usim, bob.instance
    done = moved.go_online()
    assert [contact.uri for contact in done.contacts] == [moved.contact]
    assert len(network.store) == 4, "two users at P-CSCF and S-CSCF, the old contact is nowhere"
    moved.in_dialog_of("BYE", received, from_=f"{received.get('To')};tag=t2")
    alice.answer(alice.requests("BYE")[-1], 200)
    assert network.pcrf.open == {}
    call(alice, moved)
    assert len(bob.requests("INVITE")) == 1, "the old address rings no more"
