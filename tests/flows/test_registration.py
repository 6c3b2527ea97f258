"""A UE registers through all three CSCFs (TS 24.229 5.2.2, 5.3.1, 5.4.1)."""

from typing import Any

import pytest

from opencscf.common.sip.message import Message, Request, Response
from opencscf.diameter.cx import (
    MultimediaAuthRequest,
    ServerAssignmentRequest,
    ServerAssignmentType,
    UserAuthorizationRequest,
)

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
WRONG_KEY = bytes(16)


def commands(network: Any) -> list[str]:
    return [type(question).__name__ for question in network.hss.asked]


def test_register(network: Any) -> None:
    """PR-01 PR-02 PR-04 PR-05 PA-01 PA-04 IC-01 IC-02 SR-02 SR-03 SR-05 SR-06 SR-07 SR-09 SR-10 CX-01 CX-02 CX-06."""
    alice = network.phone(1)
    done = alice.go_online()
    assert done.status == 200
    assert network.path_of("REGISTER") == ["UE1>P", "P>I", "I>S"] * 2
    assert commands(network) == [
        "UserAuthorizationRequest", "MultimediaAuthRequest", "UserAuthorizationRequest", "ServerAssignmentRequest",
    ]  # fmt: skip
    assert alice.service_route == [f"<sip:orig@scscf.{DOMAIN}:5060;lr>"]
    assert alice.identities == [f"sip:15550000001@{DOMAIN}", "tel:+15550000001"]
    assert [contact.uri for contact in done.contacts] == [alice.contact]
    assert done.contacts[0].expires == 3600


def test_keys_go_to_the_pcscf_and_no_further(network: Any) -> None:
    """PA-04: ck and ik are in the 401 that the S-CSCF sends, and not in the one the UE gets."""
    challenge = network.phone(1).register()
    (from_scscf,) = [m for source, target, m in network.wire if isinstance(m, Response) and target[0] == "127.0.1.11"]
    assert " ck=" in (from_scscf.get("WWW-Authenticate") or "").replace(",", " ")
    assert "ck=" not in challenge.get("WWW-Authenticate")
    assert "ik=" not in challenge.get("WWW-Authenticate")
    assert "nonce=" in challenge.get("WWW-Authenticate")


def test_what_the_scscf_gets(network: Any) -> None:
    network.phone(1).register()
    (register,) = network.sent_to("S", "REGISTER")
    assert register.uri == f"sip:scscf.{DOMAIN}:5060"
    assert len(register.path) == 1
    assert register.values("Require") == ["path"]
    assert register.get("P-Visited-Network-ID").strip('"') == DOMAIN
    assert 'integrity-protected="no"' in register.get("Authorization")
    assert register.has("P-Charging-Vector")


def test_reregistration_and_deregistration(network: Any) -> None:
    """SR-15 PD-01: after the last 200 nothing is left anywhere."""
    alice = network.phone(1)
    alice.go_online()
    assert alice.go_online(600).contacts[0].expires == 600
    assert alice.go_online(0).status == 200
    assigned = [q.assignment_type for q in network.hss.asked if isinstance(q, ServerAssignmentRequest)]
    assert assigned == [
        ServerAssignmentType.REGISTRATION,
        ServerAssignmentType.RE_REGISTRATION,
        ServerAssignmentType.USER_DEREGISTRATION,
    ]
    assert network.store == {}
    assert network.hss.servers == {}


def test_resynchronisation(network: Any) -> None:
    """SR-13: a USIM that is ahead sends AUTS, gets a challenge it accepts, and registers."""
    alice = network.phone(1)
    alice.usim._seen = [5000] * 32
    first = alice.register()
    second = alice.register(authorization=alice.authorization(first))
    assert second.status == 401
    assert [q.resync is not None for q in network.hss.asked if isinstance(q, MultimediaAuthRequest)] == [False, True]
    assert alice.register(authorization=alice.authorization(second)).status == 200


def test_endless_resynchronisation_ends(network: Any) -> None:
    """SR-13: a UE that never accepts is refused after the configured rounds."""
    alice = network.phone(1)
    response = alice.register()
    rounds = 0
    while response.status == 401:
        alice.usim._seen = [seen + 1_000_000 for seen in alice.usim._seen]
        response = alice.register(authorization=alice.authorization(response))
        rounds += 1
        assert rounds < 10
    assert response.status == 403
    assert rounds == 3  # two allowed, the third refused


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        pytest.param(lambda network: None, 403, id="IC-04 unknown user"),
        pytest.param(lambda network: setattr(network.hss, "is_down", True), 504, id="IC-05 HSS unreachable"),
    ],
)
def test_refused_by_the_icscf(network: Any, prepare: Any, status: int) -> None:
    prepare(network)
    assert network.phone(9).register().status == status


def test_a_wrong_key_is_refused(network: Any) -> None:
    """SR-12 SR-14: neither a wrong response nor a network the UE does not trust ends in a registration."""
    alice = network.phone(1)
    challenge = alice.register()
    assert alice.register(authorization=alice.authorization(challenge, key=WRONG_KEY)).status == 403
    challenge = alice.register()
    text = alice.authorization(challenge)
    wrong = text.replace('response="', 'response="0', 1)
    assert alice.register(authorization=wrong).status == 403
    assert network.store == {}


def test_a_registration_expires(network: Any) -> None:
    """PR-06: an hour without refresh, and the user is gone at P-CSCF, S-CSCF and HSS."""
    network.phone(1).go_online(600)
    network.pass_time(590)
    assert len(network.store) == 2
    network.pass_time(60)
    assert network.store == {}
    assert network.hss.asked[-1].assignment_type is ServerAssignmentType.TIMEOUT_DEREGISTRATION


def test_lost_messages_are_sent_again(network: Any) -> None:
    """SP-03: every first copy of every message is lost, and the registration succeeds."""
    seen: set[bytes] = set()

    def lose_first(message: Message) -> bool:
        data = bytes(message)
        if data in seen:
            return False
        seen.add(data)
        return True

    network.lost = lose_first
    alice = network.phone(1)
    for status in (401, 200):
        authorization = alice.authorization(alice.last("REGISTER")) if status == 200 else ""
        message = alice.request(
            "REGISTER", f"sip:{DOMAIN}", ("Contact", f"<{alice.contact}>;expires=600"),
            *([("Authorization", authorization)] if authorization else []),
            to=f"<sip:{alice.impi}>", call_id="lossy",
        )  # fmt: skip
        for _ in range(8):
            alice.send(message)
            network.run()
            network.pass_time(1.0)
        assert alice.last("REGISTER").status == status
    assert len([q for q in network.hss.asked if isinstance(q, UserAuthorizationRequest)]) == 2


def test_a_phone_that_subscribes_to_its_registration_state_is_told_no(network: Any) -> None:
    """SE-01: as phones do at once after the 200; no copy of it comes back to them."""
    alice = network.phone(1)
    alice.go_online()
    routes = ", ".join(["<sip:127.0.1.10:5060;lr>", *alice.service_route])
    alice.send(
        alice.request(
            "SUBSCRIBE", alice.tel, ("Route", routes), ("Event", "reg"), ("Expires", "600000"),
            ("P-Preferred-Identity", f"<{alice.tel}>"), ("Contact", f"<{alice.contact}>"),
            from_=f"<{alice.tel}>;tag=sub",
        )
    )  # fmt: skip
    network.run()
    assert alice.statuses("SUBSCRIBE") == [489]
    assert network.path_of("SUBSCRIBE") == ["UE1>P", "P>S"]


def test_a_phone_that_asks_for_ipsec_registers_without(network: Any) -> None:
    """PA-03: phones require a security agreement of every network; ours has none to offer yet."""
    alice = network.phone(1)
    agreement = (
        ("Require", "sec-agree"), ("Proxy-Require", "sec-agree"),
        ("Security-Client", "ipsec-3gpp; alg=hmac-sha-1-96; prot=esp; mod=trans; spi-c=1; spi-s=2; port-c=3; port-s=4"),
    )  # fmt: skip
    alice.headers = agreement
    assert alice.go_online().status == 200
    for register in network.sent_to("I", "REGISTER"):
        assert register.values("Require") == ["path"]
        assert not register.has("Security-Client")


def test_an_invite_without_registration_is_403(network: Any) -> None:
    """PT-08."""
    bob = network.phone(2)
    bob.invite("tel:+15550000001")
    assert bob.statuses("INVITE") == [100, 403]


def test_the_wire_carries_requests_only_a_request_at_a_time(network: Any) -> None:
    """Nothing is sent twice when nothing is lost."""
    network.phone(1).go_online()
    network.pass_time(40)
    requests = [m for _, _, m in network.wire if isinstance(m, Request)]
    assert len(requests) == 6
