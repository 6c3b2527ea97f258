"""A request that goes several ways at once, on the wire (RFC 3261 16.7, 16.8; RFC 3841 9.1)."""

from typing import Any

import pytest

from opencscf.common.actions import Branch, Forward, Outcome
from opencscf.common.events import Event, RequestReceived
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.message import Request, Response

NEXT_HOP = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.20", 5060))


def invite(*lines: str, method: str = "INVITE") -> bytes:
    return "\r\n".join(
        [
            f"{method} sip:bob@example.com SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.200:5062;branch=z9hG4bK1;rport",
            "From: <sip:alice@example.com>;tag=a",
            "To: <sip:bob@example.com>",
            "Call-ID: c1",
            f"CSeq: 1 {method}",
            *lines,
            "",
            "",
        ]
    ).encode()


def fork_twice(event: Event) -> Outcome:
    if not isinstance(event, RequestReceived):
        return []
    return [Forward((Branch(event.request.copy()), Branch(event.request.copy())))]


@pytest.fixture
def fork(proxy: Any) -> Any:
    proxy.decide = fork_twice
    return proxy


def answer(fork: Any, branch: int, status: int, *headers: tuple[str, str]) -> None:
    request = [request for request in fork.forwarded if request.method != "CANCEL"][branch]
    fork.receive(bytes(Response.to_request(request, status, to_tag=f"t{branch}", headers=headers)), NEXT_HOP)


def cancelled(fork: Any) -> set[str | None]:
    """The branches that were cancelled."""
    return {request.branch for request in fork.forwarded if request.method == "CANCEL"}


def statuses(fork: Any) -> list[int]:
    return [status for status, _ in fork.answers]


def test_what_is_left_of_an_answered_call_ends(fork: Any) -> None:
    """9.1, 16.8: a phone that rings, and answers no CANCEL, leaves nothing behind."""
    fork.receive(invite())
    answer(fork, 0, 180)
    answer(fork, 1, 180)
    answer(fork, 0, 200)
    assert cancelled(fork) == {fork.forwarded[1].branch}
    fork.pass_time(70)
    assert fork.stack.client_transactions == fork.stack.server_transactions == 0


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
@pytest.mark.parametrize(
    ("answers", "told"),
    [
        pytest.param((486, 404), 486, id="16.7-6 the first of the lowest class"),
        pytest.param((500, 404), 404, id="16.7-6 the lowest class"),
        pytest.param((302, 404), 302, id="16.7-6 the lowest class, 3xx"),
        pytest.param((404, 603), 603, id="16.7-6 a 6xx"),
        pytest.param((404, 401), 401, id="16.7-6 401 helps the caller"),
        pytest.param((404, 407), 407, id="16.7-6 407 helps the caller"),
        pytest.param((404, 415), 415, id="16.7-6 415 helps the caller"),
        pytest.param((404, 420), 420, id="16.7-6 420 helps the caller"),
        pytest.param((404, 484), 484, id="16.7-6 484 helps the caller"),
        pytest.param((503, 404), 404, id="16.7-6 anything before 503"),
        pytest.param((503, 501), 501, id="16.7-6 anything of its class before 503"),
        pytest.param((503, 503), 500, id="16.7-6 a 503 becomes 500"),
    ],
)
def test_the_best_response(fork: Any, method: str, answers: tuple[int, int], told: int) -> None:
    fork.receive(invite(method=method))
    answer(fork, 0, answers[0])
    assert statuses(fork) == []
    answer(fork, 1, answers[1])
    assert statuses(fork) == [told]


def test_all_challenges_go_back(fork: Any) -> None:
    """16.7-7: also those of a response that was not chosen."""
    fork.receive(invite())
    challenges = 'Digest realm="a", nonce="1"', 'Digest realm="b", nonce="2"', 'Digest realm="c", nonce="3"'
    answer(fork, 0, 407, ("Proxy-Authenticate", challenges[0]))
    answer(fork, 1, 401, ("WWW-Authenticate", challenges[1]), ("WWW-Authenticate", challenges[2]))
    assert statuses(fork) == [401]
    assert fork.last_answer.get_all("Proxy-Authenticate") == [challenges[0]]
    assert fork.last_answer.get_all("WWW-Authenticate") == [challenges[1], challenges[2]]


def test_a_6xx_cancels_the_others_and_waits_for_them(fork: Any) -> None:
    """16.7-5: one of them may still have answered 200."""
    fork.receive(invite())
    answer(fork, 1, 180)
    answer(fork, 0, 603)
    assert cancelled(fork) == {fork.forwarded[1].branch}
    assert statuses(fork) == [180]
    answer(fork, 1, 487)
    assert statuses(fork) == [180, 603]


def test_a_200_after_a_6xx_wins(fork: Any) -> None:
    """16.7-5."""
    fork.receive(invite())
    answer(fork, 0, 603)
    answer(fork, 1, 200)
    assert statuses(fork) == [200]


def test_every_200_to_an_invite_goes_back(fork: Any) -> None:
    """16.7-5, 13.2.2.4."""
    fork.receive(invite())
    answer(fork, 0, 200)
    answer(fork, 1, 200)
    assert statuses(fork) == [200, 200]


def test_one_200_to_another_method_goes_back(fork: Any) -> None:
    """16.7-5."""
    fork.receive(invite(method="MESSAGE"))
    answer(fork, 0, 200)
    answer(fork, 1, 200)
    assert statuses(fork) == [200]


def test_cancel_goes_to_all_who_ring(fork: Any) -> None:
    """16.10, 9.1: to one that has not answered at all only once it has."""
    fork.receive(invite())
    answer(fork, 0, 180)
    fork.receive(invite(method="CANCEL"))
    first, second = (request.branch for request in fork.forwarded[:2])
    assert cancelled(fork) == {first}
    answer(fork, 1, 180)
    assert cancelled(fork) == {first, second}


def test_no_cancel(fork: Any) -> None:
    """RFC 3841 9.1: who asks for it ends the other branches himself; only a 6xx ends them all the same."""
    fork.receive(invite("Request-Disposition: no-cancel"))
    answer(fork, 0, 180)
    answer(fork, 1, 180)
    answer(fork, 0, 200)
    assert cancelled(fork) == set()
    answer(fork, 1, 200)
    assert statuses(fork) == [180, 180, 200, 200]


def test_no_cancel_and_6xx(fork: Any) -> None:
    """RFC 3841 9.1."""
    fork.receive(invite("Request-Disposition: no-cancel"))
    answer(fork, 0, 180)
    answer(fork, 1, 603)
    assert cancelled(fork) == {fork.forwarded[0].branch}


def test_no_cancel_is_not_for_ever(fork: Any) -> None:
    """16.8: Timer C ends a branch that still rings, long after the caller has his answer over another."""
    fork.receive(invite("Request-Disposition: no-cancel"))
    answer(fork, 0, 180)
    answer(fork, 1, 200)
    fork.pass_time(170)
    assert cancelled(fork) == set()
    fork.pass_time(15)
    assert cancelled(fork) == {fork.forwarded[0].branch}
    fork.pass_time(40)
    assert fork.stack.client_transactions == 0


def test_what_is_forked_keeps_its_own_story(fork: Any) -> None:
    """16.6 step 1: an edit of one copy is none of the other."""
    fork.receive(invite())
    first, second = fork.forwarded
    assert isinstance(first, Request)
    assert first.branch != second.branch
