"""Forwarding and choosing responses (RFC 3261 clause 16)."""

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.sip import proxy
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.proxy import CancelBranch, OwnUris, ResponseContext, strip_own_routes
from opencscf.common.sip.uri import SipUri

HEADERS = [
    ("Via", "SIP/2.0/UDP 127.0.2.1:5060;branch=z9hG4bK1"),
    ("From", "<sip:alice@ims.test>;tag=a"),
    ("To", "<sip:bob@ims.test>"),
    ("Call-ID", "c1"),
    ("CSeq", "1 INVITE"),
]
OWN = OwnUris.of([("127.0.1.10", 5060), ("Pcscf.IMS.test", 5060), ("2001:db8::10", 5070)])
OWN_TLS = OwnUris.of([("pcscf.ims.test", 5061)])


def invite(*extra: tuple[str, str], uri: str = "sip:bob@ims.test") -> Request:
    return Request.new("INVITE", uri, [*HEADERS, *extra])


def response(status: int, *extra: tuple[str, str]) -> Response:
    return Response.new(status, "", [*HEADERS, *extra])


@pytest.mark.parametrize(
    ("routes", "stripped", "left"),
    [
        pytest.param([], [], [], id="16.4 no Route"),
        pytest.param(["<sip:127.0.1.10;lr>"], ["127.0.1.10"], [], id="16.4 own address, default port"),
        pytest.param(
            ["<sip:ue.t@127.0.1.10:5060;lr>, <sip:net.t@pcscf.ims.test;lr>", "<sip:s.ims.test;lr>"],
            ["127.0.1.10", "pcscf.ims.test"],
            ["<sip:s.ims.test;lr>"],
            id="5658 both own values go, names in any case",
        ),
        pytest.param(
            ["<sip:s.ims.test;lr>", "<sip:127.0.1.10;lr>"],
            [],
            ["<sip:s.ims.test;lr>", "<sip:127.0.1.10;lr>"],
            id="16.4 only topmost ones",
        ),
        pytest.param(["<sip:127.0.1.10:5062;lr>"], [], ["<sip:127.0.1.10:5062;lr>"], id="16.4 another port is another"),
        pytest.param(["<sip:[2001:DB8::10]:5070;lr>"], ["2001:db8::10"], [], id="SP-15 IPv6 by value"),
        pytest.param(
            ["<sip:x.test;maddr=127.0.1.10;lr>", "<sip:127.0.1.10;maddr=192.0.2.1;lr>"],
            ["x.test"],
            ["<sip:127.0.1.10;maddr=192.0.2.1;lr>"],
            id="19.1.1 it leads where maddr says",
        ),
        pytest.param(
            ['"a, b" <sip:127.0.1.10;lr>;x="<,>" , <sip:127.0.1.10;lr>;y , <sip:s.ims.test;lr>'],
            ["127.0.1.10", "127.0.1.10"],
            ["<sip:s.ims.test;lr>"],
            id="20.34 with names and parameters",
        ),
        pytest.param(
            ["<sip:a,b@127.0.1.10;lr>,<sip:127.0.1.10;lr> ,<sip:a,b@s.ims.test;lr>"],
            ["127.0.1.10", "127.0.1.10"],
            ["<sip:a,b@s.ims.test;lr>"],
            id="20.34 with commas in URIs",
        ),
    ],
)
def test_own_routes_are_stripped(routes: list[str], stripped: list[str], left: list[str]) -> None:
    request = invite(*[("Route", route) for route in routes])
    assert [uri.host.lower() for uri in strip_own_routes(request, OWN)] == stripped
    assert request.values("Route") == left


@pytest.mark.parametrize(
    ("uri", "left"),
    [
        ("sip:bob@ims.test;maddr=127.0.1.10", "sip:bob@ims.test"),
        ("sip:bob@ims.test:5060;user=phone;MADDR=127.0.1.10;ttl=1;transport=udp", "sip:bob@ims.test;user=phone"),
        ("sip:bob@ims.test;maddr=pcscf.ims.test", "sip:bob@ims.test"),
        ("sip:bob@ims.test:5070;maddr=[2001:db8::10]", "sip:bob@ims.test"),
        ("sip:bob@ims.test:5062;maddr=127.0.1.10", "sip:bob@ims.test:5062;maddr=127.0.1.10"),
        ("sip:bob@ims.test;maddr=192.0.2.1", "sip:bob@ims.test;maddr=192.0.2.1"),
        ("sip:maddr@ims.test;transport=tcp", "sip:maddr@ims.test;transport=tcp"),
        ("tel:+1;maddr=127.0.1.10", "tel:+1;maddr=127.0.1.10"),
    ],
)
def test_a_maddr_that_has_led_here_goes(uri: str, left: str) -> None:
    """16.4: with the port and the transport that were meant for it."""
    request = invite(uri=uri)
    assert strip_own_routes(request, OWN) == []
    assert request.uri == left


@pytest.mark.parametrize("route", ["<sip:127.0.1.10;lr", "<>", "<tel:+1>", "x <sip:127.0.1.10;lr", ",<sip:s.test>"])
def test_route_that_is_none_is_no_route_of_ours(route: str) -> None:
    with pytest.raises(ParseError):
        strip_own_routes(invite(("Route", route)), OWN)


@pytest.mark.parametrize(
    ("uri", "routes", "stripped", "left", "target"),
    [
        pytest.param(
            "sip:ue.t@127.0.1.10:5060;lr", ["<sip:bob@127.0.2.2>"], ["ue.t"], [], "sip:bob@127.0.2.2", id="16.4 last"
        ),
        pytest.param(
            "sip:net.t@127.0.1.10:5060;lr",
            ["<sip:ue.t@127.0.1.10:5060;lr>, <sip:s.ims.test;lr>", "<sip:bob@127.0.2.2;ob>"],
            ["net.t", "ue.t"],
            ["<sip:s.ims.test;lr>"],
            "sip:bob@127.0.2.2;ob",
            id="16.4 with others between",
        ),
        pytest.param(
            "sip:bob@127.0.1.10:5060", ["<sip:s.ims.test;lr>"], [], ["<sip:s.ims.test;lr>"], "sip:bob@127.0.1.10:5060",
            id="16.4 a user's address is no Record-Route of ours",
        ),
        pytest.param(
            "sip:x@127.0.2.9;lr", ["<sip:s.ims.test;lr>"], [], ["<sip:s.ims.test;lr>"], "sip:x@127.0.2.9;lr",
            id="16.4 nor is another host",
        ),
        pytest.param("sip:ue.t@127.0.1.10;lr", [], [], [], "sip:ue.t@127.0.1.10;lr", id="16.4 nor without Route"),
    ],
)  # fmt: skip
def test_what_a_strict_router_did_is_undone(
    uri: str, routes: list[str], stripped: list[str], left: list[str], target: str
) -> None:
    request = invite(*[("Route", route) for route in routes], uri=uri)
    assert [found.user for found in strip_own_routes(request, OWN)] == stripped
    assert request.values("Route") == left
    assert request.uri == target


def test_a_strict_router_gets_its_own_uri_in_the_request_uri() -> None:
    request = invite(("Route", "<sip:strict.test>"), ("Route", "<sip:next.test;lr>"))
    assert proxy.next_hop_uri(request).host == "strict.test"
    assert request.uri == "sip:strict.test"
    assert request.values("Route") == ["<sip:next.test;lr>", "<sip:bob@ims.test>"]


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        pytest.param([], None, id="16.3 nothing to object to"),
        pytest.param([("Max-Forwards", "0")], 483, id="16.3 step 3 Max-Forwards 0"),
        pytest.param([("Proxy-Require", "foo, Sec-Agree, bar")], 420, id="16.3 step 5 unknown Proxy-Require"),
        pytest.param([("Proxy-Require", "sec-agree")], None, id="PA-03 what phones send is the P-CSCF's matter"),
    ],
)
def test_request_validation(extra: list[tuple[str, str]], status: int | None) -> None:
    refusal = proxy.validate(invite(*extra))
    assert (refusal and refusal.status) == status
    if status == 420:
        assert refusal is not None
        assert refusal.headers == (("Unsupported", "foo, bar"),)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        pytest.param("From", "Bell, A <sip:a@ims.test>", 400, id="16.3 step 1 malformed From"),
        pytest.param("To", '"Bob <sip:b@ims.test>', 400, id="16.3 step 1 malformed To"),
        pytest.param("uri", "isbn:2983792873", 416, id="16.3 step 2 unknown scheme"),
        pytest.param("uri", "sip:2001:db8::10", 400, id="5118-4.2 IPv6 without brackets"),
        pytest.param("uri", "sip:b@ims.test?Route=%3Csip:x%3E", 400, id="19.1.1 header fields in the Request-URI"),
    ],
)
def test_malformed_requests_are_not_forwarded(name: str, value: str, status: int) -> None:
    request = invite()
    if name == "uri":
        request.uri = value
    else:
        request.set(name, value)
    with pytest.raises(ParseError) as caught:
        proxy.validate(request)
    assert caught.value.status == status


@pytest.mark.parametrize("uri", ["urn:service:sos", "tel:+15550123", "sips:b@ims.test"])
def test_request_uris_that_are_for_the_core_to_judge(uri: str) -> None:
    """RFC 3261 16.3 step 2, RFC 5031."""
    assert proxy.validate(invite(uri=uri)) is None


@pytest.mark.parametrize(("before", "after"), [(None, 70), (70, 69), (1, 0)])
def test_max_forwards_counts_down(before: int | None, after: int) -> None:
    request = invite(*([] if before is None else [("Max-Forwards", str(before))]))
    proxy.count_down_max_forwards(request)
    assert request.max_forwards == after


def test_provisional_responses_pass_but_not_100() -> None:
    context = ResponseContext(1, is_invite=True)
    ringing = response(180)
    assert context.on_response(0, response(100)) == []
    assert context.on_response(0, ringing) == [ringing]


@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        pytest.param([486, 404], 486, id="16.7-6 first of the lowest class"),
        pytest.param([503, 486], 486, id="16.7-6 4xx before 5xx"),
        pytest.param([486, 302], 302, id="16.7-6 3xx before 4xx"),
        pytest.param([302, 603], 603, id="16.7-6 6xx wins"),
        pytest.param([404, 401], 401, id="16.7-6 401 helps the caller"),
        pytest.param([503, 500], 500, id="16.7-6 503 last of its class"),
    ],
)
def test_best_response(statuses: list[int], best: int) -> None:
    context = ResponseContext(2, is_invite=True)
    assert [v for v in context.on_response(0, response(statuses[0])) if isinstance(v, Response)] == []
    (verdict,) = context.on_response(1, response(statuses[1]))
    assert isinstance(verdict, Response)
    assert verdict.status == best


def test_a_success_cancels_the_other_branches() -> None:
    context = ResponseContext(3, is_invite=True)
    context.on_response(1, response(180))
    answer = response(200)
    # 16.7-10, and 9.1: branch 2 has not answered at all, its CANCEL waits for a provisional response
    assert context.on_response(0, answer) == [answer, CancelBranch(1)]
    assert context.on_response(2, response(180)) == [CancelBranch(2)]


def test_every_2xx_to_an_invite_passes_but_one_to_another_method() -> None:
    context = ResponseContext(2, is_invite=True)
    first, second = response(200), response(200)
    assert context.on_response(0, first) == [first]
    assert context.on_response(1, second) == [second]
    other = ResponseContext(2, is_invite=False)
    assert other.on_response(0, first) == [first]
    assert other.on_response(1, second) == []


def test_a_6xx_ends_the_search_and_waits_for_the_cancelled() -> None:
    context = ResponseContext(2, is_invite=True)
    context.on_response(1, response(180))
    decline = response(603)
    assert context.on_response(0, decline) == [CancelBranch(1)]
    assert context.on_response(1, response(487)) == [decline]


def test_cancel_reaches_each_branch_once() -> None:
    context = ResponseContext(2, is_invite=True)
    context.on_response(0, response(180))
    assert context.on_cancel() == [CancelBranch(0)]
    assert context.on_cancel() == []
    assert context.on_response(1, response(100)) == [CancelBranch(1)]
    context.on_response(0, response(487))
    (verdict,) = context.on_response(1, response(487))
    assert isinstance(verdict, Response)
    assert context.on_cancel() == []


def test_challenges_of_all_branches_are_collected() -> None:
    context = ResponseContext(2, is_invite=False)
    context.on_response(0, response(401, ("WWW-Authenticate", 'Digest realm="a"')))
    (verdict,) = context.on_response(1, response(407, ("Proxy-Authenticate", 'Digest realm="b"')))
    assert isinstance(verdict, Response)
    assert verdict.get_all("WWW-Authenticate") == ['Digest realm="a"']  # 16.7-7
    assert verdict.get_all("Proxy-Authenticate") == ['Digest realm="b"']


@pytest.mark.parametrize(
    ("uri", "is_ours"),
    [
        ("sips:pcscf.ims.test", True),
        ("sip:pcscf.ims.test;transport=tls", True),
        ("sip:pcscf.ims.test:5061", True),
        ("sip:pcscf.ims.test", False),
        ("sips:pcscf.ims.test:5060", False),
    ],
)
def test_the_default_port_of_tls_is_another(uri: str, is_ours: bool) -> None:  # noqa: FBT001
    """19.1.2."""
    assert OWN_TLS.is_ours(SipUri.parse(uri)) is is_ours
