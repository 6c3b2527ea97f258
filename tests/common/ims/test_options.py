"""Requests that name a node and no user (RFC 3261 8.2.1, 11.2)."""

from __future__ import annotations

import pytest

from opencscf.common.actions import Respond
from opencscf.common.ims.options import answer_for_node
from opencscf.common.sip.message import Request

ALLOW = ("Allow", "OPTIONS, REGISTER")


def make_request(method: str, to: str) -> Request:
    return Request.new(method, "sip:node.test", [("To", to), ("Call-ID", "1"), ("CSeq", f"1 {method}")])


def test_options() -> None:
    """11.2: what a peer may ask for and send."""
    request = make_request("OPTIONS", "<sip:node.test>")
    (response,) = answer_for_node(request)
    assert isinstance(response, Respond)
    assert response.status == 200
    assert response.headers[0] == ALLOW
    assert {name for name, _ in response.headers} == {
        "Allow", "Accept", "Accept-Encoding", "Accept-Language", "Supported",
    }  # fmt: skip


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "UNHEARDOF"])
def test_other_methods(method: str) -> None:
    """8.2.1: 405 names those that would do."""
    request = make_request(method, "<sip:node.test>")
    assert answer_for_node(request) == [Respond(request, 405, headers=(ALLOW,))]


@pytest.mark.parametrize("method", ["OPTIONS", "BYE", "UNHEARDOF"])
def test_dialog_of_nobody(method: str) -> None:
    request = make_request(method, "<sip:node.test>;tag=1")
    assert answer_for_node(request) == [Respond(request, 481)]


def test_ack_is_never_answered() -> None:
    assert answer_for_node(make_request("ACK", "<sip:node.test>")) == []


def test_what_a_node_does_not_know_is_listed() -> None:
    """8.2.2.3: all of it, and only that."""
    request = make_request("OPTIONS", "<sip:node.test>")
    request.append("Require", "foo, Path")
    request.append("Require", "bar")
    assert answer_for_node(request) == [Respond(request, 420, headers=(("Unsupported", "foo, bar"),))]


def test_a_body_that_a_node_does_not_know() -> None:
    """8.2.3."""
    request = make_request("OPTIONS", "<sip:node.test>")
    request.set_body(b"hello", "text/plain")
    assert answer_for_node(request) == [Respond(request, 415, headers=(("Accept", "application/sdp"),))]
    request.set_body(b"v=0", "application/sdp")
    (response,) = answer_for_node(request)
    assert isinstance(response, Respond)
    assert response.status == 200
