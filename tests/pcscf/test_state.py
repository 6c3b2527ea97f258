"""What the P-CSCF remembers and how it finds it again."""

import re
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.uri import parse_uri
from opencscf.pcscf.state import (
    Binding,
    Call,
    CallKey,
    Calls,
    Registrations,
    canonical_identity,
    loose_route,
    same_uri,
)

FLOW = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.101", 5060))
ALICE = Binding(
    token="a",
    impi="1@ims.test",
    aor="sip:alice@ims.test",
    contact="sip:alice@192.0.2.101",
    flow=FLOW,
    service_route=("sip:scscf.ims.test;lr",),
    identities=("sip:alice@ims.test", "tel:+15550001"),
    expires_at=10.0,
)
BOB = replace(
    ALICE, token="b", impi="2@ims.test", aor="sip:bob@ims.test", contact="sip:bob@192.0.2.101",
    identities=("sip:bob@ims.test",),
)  # fmt: skip
SECOND = replace(ALICE, token="c", aor="sip:second@ims.test", identities=("sip:second@ims.test",))
TCP = Flow(Transport.TCP, FLOW.local, ("192.0.2.101", 40762), connection=7)
ANONYMOUS = "sip:anonymous@anonymous.invalid"


def registrations(*bindings: Binding) -> Registrations:
    found = Registrations()
    for binding in bindings:
        found.put(binding)
    return found


def test_binding_survives_the_store() -> None:
    assert Binding.from_record("a", ALICE.to_record()) == ALICE


def test_connection_does_not_survive_the_store() -> None:
    tcp = replace(ALICE, flow=Flow(Transport.TCP, *FLOW[1:3], connection=7))
    assert Binding.from_record("a", tcp.to_record()).flow == Flow(Transport.TCP, *FLOW[1:3], connection=0)


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        pytest.param("sip:alice@IMS.test:5060;transport=tcp", "sip:alice@ims.test", id="PT-02 same address of record"),
        pytest.param("tel:+1-555-0001", "tel:+15550001", id="PT-02 visual separators"),
        pytest.param("sip:bob@ims.test", None, id="PT-02 somebody else"),
        pytest.param("urn:service:sos", None, id="PT-02 no identity at all"),
    ],
)
def test_identity_matching(uri: str, identity: str | None) -> None:
    assert ALICE.identity_matching(uri) == identity


@pytest.mark.parametrize(
    ("bindings", "flow", "claimed", "token"),
    [
        pytest.param([ALICE], FLOW, ["sip:bob@ims.test"], "a", id="PT-02 one user on the flow, whatever it claims"),
        pytest.param([ALICE, BOB], FLOW, ["sip:bob@ims.test"], "b", id="PT-02 many users: by identity"),
        pytest.param([ALICE, BOB], FLOW, ["sip:x@ims.test", "tel:+15550001"], "a", id="PT-02 second claim"),
        pytest.param([ALICE, BOB], FLOW, ["sip:x@ims.test"], None, id="PT-08 many users and none of them"),
        pytest.param(
            [ALICE], FLOW._replace(transport=Transport.TCP, remote=("192.0.2.101", 40000)),
            ["sip:alice@ims.test"], "a", id="PT-02 new connection from the same host",
        ),
        pytest.param(
            [ALICE], FLOW._replace(remote=("192.0.2.101", 40000)), ["sip:bob@ims.test"], None,
            id="PT-08 same host, identity not registered from there",
        ),
        pytest.param(
            [ALICE], FLOW._replace(remote=("192.0.2.66", 5060)), ["sip:alice@ims.test"], None,
            id="PT-08 another host with a known identity",
        ),
        pytest.param([], FLOW, ["sip:alice@ims.test"], None, id="PT-08 nobody registered"),
        pytest.param(
            [replace(ALICE, aor="sip:1@ims.test")], TCP, ["sip:1@ims.test"], "a",
            id="PT-02 new connection, by the barred identity that was registered",
        ),
        pytest.param([ALICE], TCP, [ANONYMOUS], "a", id="PT-02 new connection of a caller who hides the number"),
        pytest.param([ALICE, SECOND], TCP, [ANONYMOUS], "c", id="PT-02 as above, with two identities"),
        pytest.param([ALICE, BOB], TCP, [ANONYMOUS], None, id="PT-08 as above, but two users are at the host"),
        pytest.param([ALICE], TCP, ["sip:bob@ims.test", ANONYMOUS], None, id="PT-08 as above, claiming to be another"),
    ],
)  # fmt: skip
def test_originator(bindings: list[Binding], flow: Flow, claimed: list[str], token: str | None) -> None:
    found = registrations(*bindings).originator(flow, claimed)
    assert (found.token if found else None) == token


def test_latest_of_several_contacts_is_the_originator() -> None:
    second = replace(
        ALICE, token="c", contact="sip:alice@192.0.2.101:5070", flow=FLOW._replace(remote=("192.0.2.101", 5070))
    )
    found = registrations(ALICE, second).originator(FLOW._replace(remote=("192.0.2.101", 40000)), ["tel:+15550001"])
    assert found == second


def test_removed_binding_is_found_nowhere() -> None:
    found = registrations(ALICE, BOB)
    assert found.remove("a") == ALICE
    assert found.remove("a") is None
    assert found.get("a") is None
    assert found.find(ALICE.aor, ALICE.contact) is None
    assert found.of_aor(ALICE.aor) == []
    assert found.is_ue_flow(FLOW), "the other user is still there"
    found.remove("b")
    assert not found.is_ue_flow(FLOW)
    assert len(found) == 0
    by_transport = vars(found).pop("_by_remote")
    assert not any([*vars(found).values(), *by_transport.values()]), "no index keeps anything"


def test_binding_that_moves_is_found_at_its_new_place_only() -> None:
    moved = replace(ALICE, flow=FLOW._replace(remote=("192.0.2.7", 5060)), identities=("urn:no-identity",))
    found = registrations(ALICE, moved)
    assert list(found) == [moved]
    assert not found.is_ue_flow(FLOW)
    assert found.is_ue_flow(moved.flow)


def test_refresh_changes_what_is_kept_and_no_more() -> None:
    """There is one object for the binding and its refreshes, unless it moves."""
    found, first = Registrations(), replace(ALICE)
    refresh = replace(
        ALICE, impi="other@ims.test", flow=FLOW._replace(connection=8), service_route=(), expires_at=20.0,
        identities=("sip:Alice@ims.test".lower(), "tel:+1-555-0001"),
    )  # fmt: skip
    assert found.put(first) is first
    assert found.put(refresh) is first
    assert first == refresh
    assert first.towards_ue == refresh.towards_ue
    assert list(found) == [first]


def test_refresh_makes_a_binding_the_latest() -> None:
    second = replace(ALICE, token="c", contact="sip:alice@192.0.2.101:5070")
    found = registrations(ALICE, second, replace(ALICE, expires_at=20.0))
    assert [binding.token for binding in found.of_aor(ALICE.aor)] == ["c", "a"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:a@h", "sip:a@H;transport=udp", True),
        ("sip:a@h", "sip:b@h", False),
        ("urn:x", "urn:x", True),
        ("urn:x", "sip:a@h", False),
    ],
)
def test_same_uri(one: str, other: str, *, same: bool) -> None:
    assert same_uri(one, other) is same


def test_loose_route() -> None:
    assert loose_route("sip:h;lr") == "<sip:h;lr>"
    assert loose_route("sip:h:5060;x=1") == "<sip:h:5060;x=1;lr>"


@pytest.mark.parametrize(
    "uri",
    ["sip:alice@ims.test", "sip:Alice+1_2-3.4@ims-1.te_st", "sip:a@192.0.2.1", "tel:+15550001", "tel:5550001"],
)
def test_identity_that_is_written_canonically_is_not_parsed_and_means_the_same(uri: str) -> None:
    assert canonical_identity(uri) is uri
    assert impu_of(parse_uri(uri)) == uri


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("sip:alice@IMS.test", "sip:alice@ims.test"),
        ("SIPS:%61lice@ims.test:5061;transport=tcp", "sip:alice@ims.test"),
        ("sip:+1-555@ims.test;user=phone", "sip:+1-555@ims.test"),
        ("tel:+1-555-0001", "tel:+15550001"),
        ("tel:555;phone-context=IMS.test", "tel:555;phone-context=ims.test"),
    ],
)
def test_identity_that_is_written_otherwise_becomes_canonical(uri: str, canonical: str) -> None:
    assert canonical_identity(uri) == canonical


@given(
    st.from_regex(
        re.compile(r"(sip:)?[A-Za-z0-9\-_.+@:;%]{1,12}@[a-z0-9\-_.:]{1,9}|tel:[+0-9.A]{1,6}", re.ASCII), fullmatch=True
    )
)
def test_no_shortcut_to_the_canonical_form_changes_it(uri: str) -> None:
    try:
        expected = impu_of(parse_uri(uri))
    except ParseError:
        with pytest.raises(ParseError):
            canonical_identity(uri)
    else:
        assert canonical_identity(uri) == expected


def test_what_many_users_share_is_kept_once() -> None:
    record = {**ALICE.to_record(), "aor": str(b"sip:alice@ims.test", "ascii")}
    one, other = (Binding.from_record(token, record) for token in "ab")
    assert one.service_route is other.service_route
    assert one.flow.local is other.flow.local
    assert one.identities[0] is one.aor
    assert one.claims is one.identities


def call(token: str = "a", tag: str = "caller", *, is_originating: bool = True) -> Call:
    return Call(
        CallKey("1", token, is_originating, tag), "sip:alice@ims.test", "192.0.2.101", "sip:1@ims.test", None, "s"
    )


def test_both_sides_of_a_call_to_oneself_are_told_apart() -> None:
    """A request within a dialog is found by the tags, whichever side it comes from."""
    calls, caller, callee = Calls(), call(), call(is_originating=False)
    calls.put(caller)
    calls.put(callee)
    assert calls.in_dialog("1", "a", ue_tag="caller", peer_tag="callee") is caller
    assert calls.in_dialog("1", "a", ue_tag="callee", peer_tag="caller") is callee
    assert calls.in_dialog("1", "a", ue_tag="x", peer_tag="y") is None
    assert calls.of_binding("a") == [caller, callee]


def test_removed_call_is_found_nowhere() -> None:
    calls, one = Calls(), call()
    calls.put(one)
    calls.remove(call())
    assert len(calls) == 1, "another call with the same key is not this one"
    calls.remove(one)
    calls.remove(one)
    state: dict[str, Any] = vars(calls)
    assert not any(state.values())


def test_calls_of_a_binding_come_and_go() -> None:
    calls = Calls()
    one, two, three = (call(tag=tag) for tag in ("1", "2", "3"))
    for each in (one, two, three, one):
        calls.put(each)
    assert calls.of_binding("a") == [one, two, three]
    calls.put(again := call(tag="2"))
    assert calls.of_binding("a") == [one, again, three]
    for removed, left in ((one, [again, three]), (again, [three]), (three, [])):
        calls.remove(removed)
        assert calls.of_binding("a") == left
    calls.put(one)
    calls.put(again := call(tag="1"))
    assert calls.of_binding("a") == [again]
    assert calls.of_binding("b") == []


def test_identity_too_long_for_a_cache() -> None:
    user = "a" * 300
    assert replace(ALICE, identities=(f"sip:{user}@ims.test",)).identity_matching(f"sip:{user}@IMS.test") is not None


@pytest.mark.parametrize(
    ("flow", "contact", "remote"),
    [
        pytest.param(FLOW, "sip:alice@192.0.2.101:5060", FLOW.remote, id="PT-09 what it sends from it listens on"),
        pytest.param(FLOW, "sip:192.0.2.101", ("192.0.2.101", 5060), id="PT-09 phones register from a high port"),
        pytest.param(FLOW, "sip:alice@10.0.0.7:5060", FLOW.remote, id="PT-09 behind a NAT"),
        pytest.param(FLOW, "sip:alice@phone.invalid", FLOW.remote, id="PT-09 a name that says nothing"),
        pytest.param(FLOW, "urn:alice", FLOW.remote, id="PT-09 no SIP URI"),
        pytest.param(TCP, "sip:192.0.2.101:5060", ("192.0.2.101", 5060), id="PT-09 where to connect anew"),
        pytest.param(
            FLOW._replace(remote=("2001:db8::1", 5062)), "sip:a@[2001:DB8:0::1]:5070", ("2001:db8::1", 5070),
            id="PT-09 IPv6 by value",
        ),
    ],
)  # fmt: skip
def test_where_requests_reach_the_ue(flow: Flow, contact: str, remote: tuple[str, int]) -> None:
    assert replace(ALICE, flow=flow, contact=contact).towards_ue == flow._replace(remote=remote)


def test_settled_user_costs_little_memory() -> None:
    """A registered user with two identities takes at most 1.5 KiB, however many there are."""
    found = Registrations()
    users = 2000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(users):
        imsi = f"00101{number:010}"
        record = {
            **ALICE.to_record(),
            "impi": f"{imsi}@ims.test",
            "aor": f"sip:{imsi}@ims.test",
            "contact": f"sip:{imsi}@10.0.{number >> 8}.{number & 255}:5060",
            "remote": [f"10.0.{number >> 8}.{number & 255}", 5060],
            "identities": [f"sip:{imsi}@ims.test", f"tel:+1555{number:07}"],
            "expires_at": 10.0 + number,
        }
        found.put(Binding.from_record(f"{number:024x}", record))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / users < 1536
