"""What RFC 3261 asks of a proxy on the wire, clause by clause, where no other test of this folder shows it."""

from typing import Any

import pytest

from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse

OVER_TCP = Flow(Transport.TCP, ("192.0.2.10", 5060), ("192.0.2.200", 40_000), 7)


def invite(method: str = "INVITE", *lines: str, via: str = "192.0.2.200:5062;rport", branch: str = "z9hG4bK1") -> bytes:
    host, _, params = via.partition(";")
    return "\r\n".join(
        [
            f"{method} sip:bob@example.com SIP/2.0",
            f"Via: SIP/2.0/UDP {host};branch={branch}{';' if params else ''}{params}",
            "From: <sip:alice@example.com>;tag=a",
            "To: <sip:bob@example.com>",
            "Call-ID: c1",
            f"CSeq: 1 {method}",
            *lines,
            "",
            "",
        ]
    ).encode()


def statuses(proxy: Any) -> list[int]:
    return [status for status, _ in proxy.answers]


def answer(proxy: Any, status: int, *, tag: str = "b", change: tuple[bytes, bytes] = (b"", b"")) -> None:
    """Let the next hop answer what it got last."""
    request = proxy.forwarded[-1]
    assert isinstance(request, Request)
    response = bytes(Response.to_request(request, status, to_tag=tag))
    proxy.receive(response.replace(*change), Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.20", 5060)))


# ---------------------------------------------------------------------- 16.6, forwarding


def test_a_request_without_content_length_gets_one(proxy: Any) -> None:
    """16.6 step 9: the next hop may be reached over a stream."""
    proxy.receive(invite("MESSAGE"))
    assert proxy.forwarded[0].get_all("Content-Length") == ["0"]


def test_unknown_methods_and_header_fields_pass(proxy: Any) -> None:
    """16.6 step 1, 16.3 step 1: a proxy neither knows nor changes what is not its business."""
    proxy.receive(invite("FROB", "X-Strange:  as   it is", "x-strange: again", "Content-Length: 0"))
    assert proxy.forwarded[0].method == "FROB"
    lines = bytes(proxy.forwarded[0]).split(b"\r\n")
    assert b"X-Strange:  as   it is" in lines
    assert b"x-strange: again" in lines


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "FROB"])
def test_the_last_hop_is_the_last(proxy: Any, method: str) -> None:
    """16.3 step 3."""
    proxy.receive(invite(method, "Max-Forwards: 0"))
    assert statuses(proxy) == [483]
    assert proxy.forwarded == []


def test_what_a_proxy_must_know_is_told(proxy: Any) -> None:
    """16.3 step 5, 20.40: all of what is not known, and only that; Require is for the other end."""
    proxy.receive(invite("INVITE", "Proxy-Require: timer, foo, pref", "Proxy-Require: Bar", "Require: nothing-of-ours"))
    assert statuses(proxy) == [420]
    assert proxy.last_answer.values("Unsupported") == ["foo", "Bar"]


@pytest.mark.parametrize("option", ["timer", "pref", "sec-agree"])
def test_what_a_proxy_may_have_to_know(proxy: Any, option: str) -> None:
    """RFC 4028 7.1, RFC 3841 5, RFC 3329 2.3.1."""
    proxy.receive(invite("INVITE", f"Proxy-Require: {option}"))
    assert len(proxy.forwarded) == 1


# ---------------------------------------------------------------------- 16.7, 16.8, responses and Timer C


def test_trying_does_not_move_timer_c(proxy: Any) -> None:
    """16.7 step 2: only 101 to 199 do, for any element on the way may send a 100."""
    proxy.receive(invite())
    answer(proxy, 100)
    proxy.pass_time(100)
    answer(proxy, 100)
    proxy.pass_time(80)
    assert [request.method for request in proxy.forwarded] == ["INVITE"]
    proxy.pass_time(2)
    assert proxy.forwarded[-1].method == "CANCEL"


def test_ringing_moves_timer_c(proxy: Any) -> None:
    """16.7 step 2."""
    proxy.receive(invite())
    answer(proxy, 100)
    proxy.pass_time(100)
    answer(proxy, 180)
    proxy.pass_time(179)
    assert [request.method for request in proxy.forwarded] == ["INVITE"]
    proxy.pass_time(3)
    assert proxy.forwarded[-1].method == "CANCEL"


def test_a_response_for_somebody_else_is_dropped(proxy: Any) -> None:
    """18.1.2: the topmost Via has to be ours, not only its branch."""
    proxy.receive(invite())
    answer(proxy, 200, change=(b"192.0.2.10:5060;branch", b"192.0.2.99:5060;branch"))
    assert statuses(proxy) == []
    answer(proxy, 200)
    assert statuses(proxy) == [200]


def test_a_response_without_another_via_goes_nowhere(proxy: Any) -> None:
    """16.7 step 3."""
    proxy.receive(invite())
    via = bytes(proxy.forwarded[0]).split(b"\r\n")[2] + b"\r\n"
    assert via.startswith(b"Via: SIP/2.0/UDP 192.0.2.200")
    answer(proxy, 200, change=(via, b""))
    assert statuses(proxy) == []


def test_a_final_response_is_forwarded_once(proxy: Any) -> None:
    """16.7 step 5, 17.1.1.2: another one, of another dialog even, is not, unless it is a 2xx."""
    proxy.receive(invite())
    answer(proxy, 486)
    answer(proxy, 486)
    answer(proxy, 500, tag="c")
    assert statuses(proxy) == [486]


# ---------------------------------------------------------------------- 16.10, 9.2, CANCEL


def test_cancel_and_its_invite_are_answered_by_the_same_server(proxy: Any) -> None:
    """9.2: the 200 to CANCEL and the answer to INVITE have the same tag in To, if both are ours."""
    proxy.receive(invite())
    proxy.receive(invite("CANCEL"))
    assert statuses(proxy) == [200]
    tag = proxy.last_answer.to_tag
    proxy.pass_time(33)  # the next hop never answers
    assert statuses(proxy)[1:2] == [487]
    assert proxy.last_answer.to_tag == tag


def test_cancel_of_what_is_not_there(proxy: Any) -> None:
    """9.2, 16.10."""
    proxy.receive(invite("CANCEL", branch="z9hG4bKother"))
    assert statuses(proxy) == [481]


@pytest.mark.parametrize("method", ["MESSAGE", "BYE"])
def test_cancel_is_for_invite_only(proxy: Any, method: str) -> None:
    """9.1, 9.2: it has no effect on others."""
    proxy.receive(invite(method))
    proxy.receive(invite("CANCEL"))
    assert statuses(proxy) == [481]
    answer(proxy, 200)
    assert statuses(proxy) == [481, 200]


def test_cancel_comes_too_late(proxy: Any) -> None:
    """9.2: it is answered, and does nothing any more."""
    proxy.receive(invite())
    answer(proxy, 200)
    proxy.receive(invite("CANCEL"))
    assert statuses(proxy) == [200, 200]
    assert [request.method for request in proxy.forwarded] == ["INVITE"]


# ---------------------------------------------------------------------- 18.2, where responses go


@pytest.mark.parametrize(
    ("via", "source", "target", "received"),
    [
        pytest.param("192.0.2.200", 5062, 5060, None, id="18.2.2 no port means 5060"),
        pytest.param("192.0.2.200:7000", 5062, 7000, None, id="18.2.2 the port of sent-by"),
        pytest.param("192.0.2.200:7000;rport", 5062, 5062, "192.0.2.200", id="3581-4 the port it came from"),
        pytest.param("phone.example.com:7000", 5062, 7000, "192.0.2.200", id="18.2.1 a name gets received"),
        pytest.param("10.0.0.1:7000", 5062, 7000, "192.0.2.200", id="18.2.1 another address gets received"),
    ],
)
def test_where_the_answer_goes(proxy: Any, via: str, source: int, target: int, received: str | None) -> None:
    flow = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.200", source))
    proxy.receive(invite("MESSAGE", "Max-Forwards: 0", via=via), flow)
    ((status, to),) = proxy.answers
    assert status == 483
    assert to.remote == ("192.0.2.200", target)
    assert proxy.last_answer.via.received == received


@pytest.mark.parametrize("maddr", ["198.51.100.1", "224.2.0.1", "192.0.2.200"])
def test_no_answer_goes_where_only_maddr_says(proxy: Any, maddr: str) -> None:
    """18.2.2, on purpose otherwise: with maddr in Via anybody could aim our responses at somebody else."""
    proxy.receive(invite("MESSAGE", "Max-Forwards: 0", via=f"192.0.2.200:5062;maddr={maddr};ttl=1"))
    ((_, to),) = proxy.answers
    assert to.remote == ("192.0.2.200", 5062)


def test_a_lost_connection_is_made_anew_to_where_the_client_listens(proxy: Any) -> None:
    """18.2.2: same connection as long as it lasts, else the port of sent-by, not the one it came from."""
    proxy.receive(invite("MESSAGE", "Max-Forwards: 0", via="192.0.2.200:5062").replace(b"/UDP", b"/TCP"), OVER_TCP)
    ((_, to),) = proxy.answers
    assert to.connection == 7
    assert to.hop == Hop(Transport.TCP, "192.0.2.200", 5062)


# ---------------------------------------------------------------------- 17, 18.3, what ends where


def test_more_than_content_length_says_is_noise(proxy: Any) -> None:
    """18.3."""
    proxy.receive(invite("MESSAGE", "Content-Length: 2") + b"ab" + b"noise")
    assert proxy.forwarded[0].body == b"ab"


def test_less_than_content_length_says_is_a_fault(proxy: Any) -> None:
    """18.3."""
    proxy.receive(invite("MESSAGE", "Content-Length: 20") + b"ab")
    assert statuses(proxy) == [400]


def test_a_response_that_was_cut_is_dropped(proxy: Any) -> None:
    """18.3: silently, as far as its sender can tell."""
    proxy.receive(invite())
    answer(proxy, 200, change=(b"Content-Length: 0", b"Content-Length: 20"))
    assert statuses(proxy) == []


def test_an_ack_is_never_answered(proxy: Any) -> None:
    """17, 8.2.6: not even one that is malformed, too far or unknown."""
    for lines in (("Max-Forwards: 0",), ("Proxy-Require: foo",), ("Content-Length: 9",), ("Route: nonsense",)):
        proxy.receive(invite("ACK", *lines))
    assert proxy.sent == []


def test_a_retransmission_is_answered_again_and_not_forwarded_again(proxy: Any) -> None:
    """17.2.1, 17.2.2."""
    proxy.receive(invite("MESSAGE"))
    answer(proxy, 404)
    proxy.receive(invite("MESSAGE"))
    assert statuses(proxy) == [404, 404]
    assert len(proxy.forwarded) == 1


def test_the_same_branch_of_another_sender_is_another_transaction(proxy: Any) -> None:
    """17.2.3: sent-by counts, too."""
    proxy.receive(invite("MESSAGE"))
    proxy.receive(invite("MESSAGE", via="192.0.2.201:5062;rport"))
    assert len(proxy.forwarded) == 2


def test_every_forwarded_copy_has_a_branch_of_its_own(proxy: Any) -> None:
    """16.6 step 8, 8.1.1.7."""
    for number in range(5):
        proxy.receive(invite("MESSAGE", branch=f"z9hG4bK{number}"))
    branches = {request.via.branch for request in proxy.forwarded}
    assert len(branches) == 5
    assert all(branch.startswith("z9hG4bK") for branch in branches)


def test_what_is_forwarded_can_be_read_again(proxy: Any) -> None:
    """7: what leaves is a message like what came, with folded lines and compact names as they were."""
    proxy.receive(invite("MESSAGE", "Subject: one\r\n two", "s: three", "k: a,b"))
    assert isinstance(parse(bytes(proxy.forwarded[0])), Request)
    assert b"Subject: one\r\n two\r\ns: three\r\nk: a,b" in bytes(proxy.forwarded[0])


# ---------------------------------------------------------------------- 8.2, what a server answers by itself


@pytest.mark.parametrize("line", ["Require: foo", "Proxy-Require: foo", "Max-Forwards: 0"])
def test_a_cancel_is_for_the_next_element_whatever_it_requires(proxy: Any, line: str) -> None:
    """8.2.2.3: Require and Proxy-Require are ignored in it; 16.10: it goes no further than here."""
    proxy.receive(invite())
    proxy.receive(invite("CANCEL", line))
    assert statuses(proxy) == [200]


def test_copies_on_several_paths_are_the_endpoints_business(proxy: Any) -> None:
    """16.3: a proxy takes no offence at merged requests."""
    proxy.receive(invite(branch="z9hG4bK1"))
    proxy.receive(invite(branch="z9hG4bK2"))
    assert len(proxy.forwarded) == 2
    assert statuses(proxy) == []


# ---------------------------------------------------------------------- 16.7, 16.9, what fails or comes too late


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_hop_that_cannot_be_reached_counts_as_503(proxy: Any, method: str) -> None:
    """16.9; 16.7 step 6 makes it 500, for we are not overloaded."""
    proxy.receive(invite(method))
    proxy.runtime.failed(proxy.next_hop, "connection refused")
    assert statuses(proxy) == [500]


def test_a_stray_response_is_dropped(proxy: Any) -> None:
    """RFC 6026 7.3 in the place of 16.7 step 1; late ones come after 64*T1 and more."""
    proxy.receive(invite("MESSAGE"))
    answer(proxy, 200)
    proxy.pass_time(40)
    answer(proxy, 200)
    assert statuses(proxy) == [200]


def test_only_an_invite_gets_provisional_responses(proxy: Any) -> None:
    """RFC 4320 4.1, which takes this from 16.7 step 5: to another method 100 is the only one."""
    proxy.receive(invite("MESSAGE"))
    answer(proxy, 183)
    assert statuses(proxy) == []
    answer(proxy, 200)
    assert statuses(proxy) == [200]
