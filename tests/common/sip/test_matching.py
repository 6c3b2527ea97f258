"""RFC 3261 17.1.3, 17.2.3 and 9.2."""

from __future__ import annotations

import pytest

from opencscf.common.sip.matching import TransactionTable
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.timers import TimerValues
from opencscf.common.sip.transaction import (
    ClientTransaction,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    ServerTransaction,
    cancel_request,
)

TIMERS = TimerValues()
BRANCH = "z9hG4bK74bf9"


def request(method: str, *, branch: str = BRANCH, sent_by: str = "192.0.2.1:5060") -> Request:
    headers = [
        ("Via", f"SIP/2.0/UDP {sent_by};branch={branch}"),
        ("Max-Forwards", "70"),
        ("From", "<sip:alice@ims.test>;tag=9fxced76sl"),
        ("To", "<sip:bob@ims.test>"),
        ("Call-ID", "3848276298220188511"),
        ("CSeq", f"1 {method}"),
    ]
    return Request.new(method, "sip:bob@ims.test", headers)


def server(received: Request) -> ServerTransaction:
    machine = InviteServerTransaction if received.method == "INVITE" else NonInviteServerTransaction
    return machine(received, reliable=False, timers=TIMERS)


def client(sent: Request) -> ClientTransaction:
    machine = InviteClientTransaction if sent.method == "INVITE" else NonInviteClientTransaction
    return machine(sent, key=BRANCH, reliable=False, timers=TIMERS)


@pytest.fixture
def table() -> TransactionTable[str, str]:
    table: TransactionTable[str, str] = TransactionTable()
    table.add_server(server(request("INVITE")), "the INVITE server")
    table.add_client(client(request("INVITE")), "the INVITE client")
    table.add_client(client(request("CANCEL")), "the CANCEL client")
    return table


@pytest.mark.parametrize(
    ("received", "user"),
    [
        pytest.param(request("INVITE"), "the INVITE server", id="3261-17.2.3 retransmission"),
        pytest.param(request("ACK"), "the INVITE server", id="3261-17.2.3 ACK belongs to its INVITE"),
        pytest.param(request("CANCEL"), None, id="3261-9.2 CANCEL is a transaction of its own"),
        pytest.param(request("INVITE", branch="z9hG4bKother"), None, id="3261-17.2.3 other branch"),
        pytest.param(request("INVITE", sent_by="192.0.2.2:5060"), None, id="3261-17.2.3 other sent-by"),
        pytest.param(request("MESSAGE"), None, id="3261-17.2.3 other method"),
    ],
)
def test_find_server(table: TransactionTable[str, str], received: Request, user: str | None) -> None:
    assert table.find_server(received) == user


@pytest.mark.parametrize(
    ("answered", "user"),
    [
        pytest.param(request("INVITE"), "the INVITE client", id="3261-17.1.3 branch and method"),
        pytest.param(request("CANCEL"), "the CANCEL client", id="3261-17.1.3 CANCEL shares the branch"),
        pytest.param(request("BYE"), None, id="3261-17.1.3 other method"),
        pytest.param(request("INVITE", branch="z9hG4bKother"), None, id="3261-17.1.3 other branch"),
    ],
)
def test_find_client(table: TransactionTable[str, str], answered: Request, user: str | None) -> None:
    assert table.find_client(Response.to_request(answered, 200, to_tag="8321234356")) == user


def test_cancel_finds_its_invite(table: TransactionTable[str, str]) -> None:
    """SP-02, RFC 3261 9.2."""
    assert table.find_cancelled(cancel_request(request("INVITE"))) == "the INVITE server"
    assert table.find_cancelled(cancel_request(request("INVITE", branch="z9hG4bKother"))) is None


def test_a_response_on_its_way_back_finds_the_server_of_its_request(table: TransactionTable[str, str]) -> None:
    """RFC 3261 16.7 step 9."""
    assert table.find_server(Response.to_request(request("INVITE"), 180, to_tag="8321234356")) == "the INVITE server"


def test_what_is_removed_is_found_no_more(table: TransactionTable[str, str]) -> None:
    table.remove_server(server(request("INVITE")))
    table.remove_client(client(request("CANCEL")))
    assert table.find_server(request("INVITE")) is None
    assert (list(table.servers), list(table.clients)) == ([], ["the INVITE client"])


def test_removing_twice_is_harmless(table: TransactionTable[str, str]) -> None:
    for _ in range(2):
        table.remove_client(client(request("INVITE")))
        table.remove_server(server(request("INVITE")))
    assert (list(table.servers), list(table.clients)) == ([], ["the CANCEL client"])
