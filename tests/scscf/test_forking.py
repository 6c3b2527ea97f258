"""Contacts in turn and flows of one UE (RFC 3841 9.1, RFC 5626 7); whole calls are in tests/flows/test_outbound.py."""

import pytest

from opencscf.common.actions import Branch, Forward, Relay, Respond
from opencscf.common.sip.message import Request, Response
from opencscf.scscf.bindings import ContactBinding
from opencscf.scscf.forking import InTurn, has_flow, one_flow_each

HEADERS = [("From", "<sip:a@ims.test>;tag=a"), ("To", "<sip:b@ims.test>"), ("Call-ID", "c"), ("CSeq", "1 INVITE")]
REQUEST = Request.new("INVITE", "sip:b@ims.test", HEADERS)
NEXT, OTHER = (Branch(REQUEST.copy()),), (Branch(REQUEST.copy()),)


def response(status: int, *headers: tuple[str, str]) -> Response:
    return Response.new(status, "", [*HEADERS, *headers])


def binding(contact: str, refreshed_at: float = 0.0) -> ContactBinding:
    return ContactBinding(contact, (), 1e9, "c", 1, refreshed_at)


def in_turn(*, waiting: bool = False, others: bool = False) -> InTurn:
    return InTurn(REQUEST, None, [NEXT] if waiting else [], OTHER if others else ())


@pytest.mark.parametrize("status", [180, 200, 603])
def test_what_ends_the_search_or_is_no_end_goes_on_at_once(status: int) -> None:
    handler, answer = in_turn(waiting=True, others=True), response(status)
    assert handler(answer, 0.0) == [Relay(answer)]


@pytest.mark.parametrize(
    ("status", "leads_on"),
    [
        pytest.param(430, True, id="5626-7 the flow is gone"),
        pytest.param(408, True, id="5626-7 nothing came over the flow"),
        pytest.param(486, False, id="5626-7 the UE has had its say"),
        pytest.param(503, False, id="5626-7 another failure is no lost flow"),
    ],
)
def test_other_flows(status: int, leads_on: bool) -> None:  # noqa: FBT001
    handler = in_turn(others=True)
    actions = handler(response(status), 0.0)
    assert (actions == [Forward(OTHER, None, handler)]) is leads_on
    if leads_on:
        (last_word,) = handler(response(430), 0.0)
        assert not isinstance(last_word, Forward), "each flow is tried once"


def test_the_answer_of_a_ue_counts_more_than_a_lost_flow() -> None:
    handler, busy = in_turn(waiting=True), response(500)
    assert handler(busy, 0.0) == [Forward(NEXT, None, handler)]
    (last_word,) = handler(response(430), 0.0)
    assert isinstance(last_word, Relay)
    assert last_word.response is busy


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        pytest.param((404, 407), 407, id="16.7-6 what helps the caller"),
        pytest.param((503, 501), 501, id="16.7-6 anything of its class before 503"),
        pytest.param((302, 404), 302, id="16.7-6 the lowest class"),
        pytest.param((404, 486), 404, id="16.7-6 the first of its like"),
    ],
)
def test_the_best_of_all_turns(statuses: tuple[int, int], told: int) -> None:
    handler = in_turn(waiting=True)
    handler(response(statuses[0]), 0.0)
    (last_word,) = handler(response(statuses[1]), 0.0)
    assert isinstance(last_word, Relay)
    assert last_word.response.status == told


@pytest.mark.parametrize(("headers"), [(), (("Retry-After", "7"),)])
def test_a_503_is_not_passed_on(headers: tuple[tuple[str, str], ...]) -> None:
    """RFC 3261 16.7 step 6."""
    assert in_turn()(response(503, *headers), 0.0) == [Respond(REQUEST, 500, "Next hop unavailable", headers)]


def test_the_latest_flow_of_each_ue() -> None:
    """RFC 5626 7: contacts without reg-id are no flows, whatever instance they have."""
    old = binding('<sip:a@x>;+sip.instance="<urn:uuid:1>";reg-id=1', 1.0)
    new = binding('<sip:a@x>;+sip.instance="<urn:uuid:1>";reg-id=2', 2.0)
    another = binding('<sip:b@x>;+sip.instance="<urn:uuid:2>";reg-id=1', 0.0)
    plain = binding('<sip:c@x>;+sip.instance="<urn:uuid:1>"')
    assert one_flow_each([old, plain, new, another]) == ([plain, new, another], [old])
    assert one_flow_each([plain]) == ([plain], [])
    assert has_flow([plain, old])
    assert not has_flow([plain])
