"""Contacts tried one after the other, and flows that are gone, through the core (RFC 5626, RFC 3841 9.1)."""

from typing import Any

import pytest

CALLEE = "tel:+15550000002"
ANSWER = (
    b"v=0\r\no=- 2 1 IN IP4 127.0.2.2\r\ns=-\r\nc=IN IP4 127.0.2.2\r\nt=0 0\r\n"
    b"m=audio 40002 RTP/AVP 104\r\nb=AS:41\r\na=rtpmap:104 AMR-WB/16000/1\r\na=sendrecv\r\n"
)
OUTBOUND = (("Supported", "outbound"),)


def flow(network: Any, number: int, reg_id: str, like: Any = None, instance: str = "<urn:uuid:2>") -> Any:
    """A phone, or another flow of one, at an address of its own."""
    phone = network.phone(number)
    if like is not None:
        phone.imsi, phone.impi, phone.usim = like.imsi, like.impi, like.usim
    phone.instance, phone.flow, phone.headers = instance, reg_id, OUTBOUND
    assert phone.go_online().status == 200
    return phone


@pytest.fixture
def alice(network: Any) -> Any:
    phone = network.phone(1)
    assert phone.go_online().status == 200
    return phone


def test_a_flow_is_registered_and_used(network: Any, alice: Any) -> None:
    """RFC 5626 6: the 200 says that the rules of outbound were followed, and Path that the first hop keeps the flow."""
    bob = flow(network, 2, "1")
    assert bob.last("REGISTER").values("Require") == ["outbound"]
    assert bob.last("REGISTER").path[-1].sip_uri.params.has("ob")
    alice.invite(CALLEE)
    (invite,) = bob.requests("INVITE")
    assert "ob" not in str(invite.record_routes), "5.3.1: the way within the dialog is no Path any more"


def test_each_ue_is_called_over_its_latest_flow_only(network: Any, alice: Any) -> None:
    """RFC 5626 7."""
    bob = flow(network, 2, "1")
    network.pass_time(5)
    second = flow(network, 4, "2", like=bob)
    alice.invite(CALLEE)
    assert len(second.requests("INVITE")) == 1
    assert bob.requests("INVITE") == []
    second.answer(second.requests("INVITE")[-1], 486)
    assert alice.last("INVITE").status == 486
    assert bob.requests("INVITE") == [], "the UE has had its say"


def lose_flow(network: Any, phone: Any) -> None:
    """Let the P-CSCF forget a flow, of which the S-CSCF hears nothing."""
    for kind, key in list(network.store):
        if kind == "binding" and network.store[kind, key]["contact"] == phone.contact:
            del network.store[kind, key]
    network.start("pcscf")


def test_another_flow_of_the_ue_stands_in_for_a_lost_one(network: Any, alice: Any) -> None:
    """RFC 5626 7, 5.3.1: after 430, which no endpoint sees."""
    bob = flow(network, 2, "1")
    network.pass_time(5)
    second = flow(network, 4, "2", like=bob)
    lose_flow(network, second)
    alice.invite(CALLEE)
    assert second.requests("INVITE") == []
    bob.answer(bob.requests("INVITE")[-1], 200, ANSWER)
    assert alice.statuses("INVITE") == [100, 200]


def test_a_lost_flow_is_nothing_that_a_caller_hears_of(network: Any, alice: Any) -> None:
    """RFC 5626 11.5."""
    lose_flow(network, flow(network, 2, "1"))
    alice.invite(CALLEE)
    assert alice.statuses("INVITE") == [100, 480]


@pytest.fixture
def devices(network: Any) -> tuple[Any, Any]:
    """Two phones of one user."""
    first = flow(network, 2, "", instance="")
    return first, flow(network, 4, "", like=first, instance="")


SEQUENTIAL = ("Request-Disposition", "sequential")


def test_contacts_in_turn(alice: Any, devices: tuple[Any, Any]) -> None:
    """RFC 3841 9.1: the next contact is tried when the one before has refused."""
    first, second = devices
    alice.invite(CALLEE, SEQUENTIAL)
    assert second.requests("INVITE") == []
    first.answer(first.requests("INVITE")[-1], 180)
    first.answer(first.requests("INVITE")[-1], 486)
    second.answer(second.requests("INVITE")[-1], 180)
    second.answer(second.requests("INVITE")[-1], 200, ANSWER)
    assert alice.statuses("INVITE") == [100, 180, 180, 200]


def test_contacts_by_q(network: Any, alice: Any) -> None:
    """RFC 3261 16.6: who wants it less is called when the others have refused."""
    less = network.phone(2)
    less.q = "0.3"
    assert less.go_online().status == 200
    more, most = flow(network, 4, "", like=less, instance=""), flow(network, 5, "", like=less, instance="")
    alice.invite(CALLEE)
    assert less.requests("INVITE") == []
    more.answer(more.requests("INVITE")[-1], 486)
    assert less.requests("INVITE") == []
    most.answer(most.requests("INVITE")[-1], 480)
    less.answer(less.requests("INVITE")[-1], 200, ANSWER)
    assert alice.statuses("INVITE") == [100, 200]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        pytest.param((486, 404), 486, id="3261-16.7 the first of a class"),
        pytest.param((500, 404), 404, id="3261-16.7 the lower class"),
        pytest.param((480, 603), 603, id="3261-16.7 6xx"),
        pytest.param((503, 503), 480, id="PT-11 what the P-CSCF makes of 503"),
    ],
)
def test_nobody_takes_the_call(alice: Any, devices: tuple[Any, Any], statuses: tuple[int, int], told: int) -> None:
    alice.invite(CALLEE, SEQUENTIAL)
    for phone, status in zip(devices, statuses, strict=True):
        phone.answer(phone.requests("INVITE")[-1], status)
    assert alice.last("INVITE").status == told


def test_a_6xx_ends_the_search(alice: Any, devices: tuple[Any, Any]) -> None:
    """RFC 3841 9.1, RFC 3261 16.7 step 5."""
    first, second = devices
    alice.invite(CALLEE, SEQUENTIAL)
    first.answer(first.requests("INVITE")[-1], 603)
    assert alice.last("INVITE").status == 603
    assert second.requests("INVITE") == []


def test_a_call_that_was_cancelled_goes_to_nobody_else(alice: Any, devices: tuple[Any, Any]) -> None:
    """RFC 3261 16.10."""
    first, second = devices
    invite = alice.invite(CALLEE, SEQUENTIAL)
    first.answer(first.requests("INVITE")[-1], 180)
    alice.cancel(invite)
    first.answer(first.requests("CANCEL")[-1], 200)
    first.answer(first.requests("INVITE")[-1], 487)
    assert alice.last("INVITE").status == 487
    assert second.requests("INVITE") == []
