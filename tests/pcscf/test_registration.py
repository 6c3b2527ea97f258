"""Registration at the P-CSCF (TS 24.229 5.2.2)."""

from typing import Any, Final

import pytest

from opencscf.common.actions import Branch, FinalResponse, Forward, Procedure, Relay, Report, Respond, Save, SetTimer
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.events import TimerFired
from opencscf.common.sip.flow import Flow, Transport
from opencscf.pcscf.registration import RegistrationTimer

ICSCF = "sip:icscf.ims.test:5060"
ALICE: Final[dict[str, str | int | float | None]] = {
    "impu": "sip:alice@ims.test",
    "impi": "alice@ims.test",
    "contact": "sip:alice@192.0.2.101:5062",
}


def forwarded(world: Any, register: Any) -> Any:
    """The REGISTER that goes to the home network, answered by silence."""
    (question,), _ = world.drive(world.receive(register), PeerUnavailable("icscf", "down"))
    assert isinstance(question, FinalResponse)
    (branch,) = question.forward.branches
    assert branch.flow is None
    assert question.forward.record_route is None
    return branch.request


def token_of(request: Any) -> str:
    (path,) = request.path
    token = path.sip_uri.user
    assert isinstance(token, str)
    return token


# ---------------------------------------------------------------------- REGISTER towards the home network


def test_register_goes_to_the_home_network(world: Any) -> None:
    """PR-01 PR-02 PR-03 PA-01."""
    register = world.register(world.credentials(), ("Supported", "gruu"), ("Route", "<sip:192.0.2.10;lr>"))
    sent = forwarded(world, register)
    token = token_of(sent)
    assert len(token) >= 24, "nobody can guess it"
    assert sent.get_all("Path") == [f"<sip:{token}@192.0.2.10:5060;lr>"]
    assert sent.values("Require") == ["path"]
    assert sent.values("Supported") == ["gruu", "path"]
    assert sent.get("P-Visited-Network-ID") == '"visited.test"'
    assert sent.get_all("Route") == ["<sip:icscf.ims.test:5060;lr>"]
    assert sent.get("Authorization") == register.get("Authorization") + ', integrity-protected="no"'
    icid = sent.get("P-Charging-Vector")
    assert icid.startswith("icid-value=")
    assert icid.endswith(";icid-generated-at=192.0.2.10")
    assert register.get("Route") == "<sip:192.0.2.10;lr>", "what was received stays as it is"


def test_options_that_are_there_are_not_repeated(world: Any) -> None:
    """PR-01."""
    sent = forwarded(world, world.register(("Require", "gruu, Path"), ("Supported", "path")))
    assert sent.values("Require") == ["gruu", "Path"]
    assert sent.values("Supported") == ["path"]


def test_security_agreement_stays_between_ue_and_pcscf(world: Any) -> None:
    """PA-03: what a phone adds for IPsec is not for the home network."""
    agreement = [
        ("Require", "sec-agree"), ("Proxy-Require", "sec-agree, other"), ("Supported", "path, sec-agree"),
        ("Security-Client", "ipsec-3gpp; alg=hmac-sha-1-96; spi-c=1; spi-s=2; port-c=5062; port-s=5063"),
        ("Security-Verify", "ipsec-3gpp; q=0.1"), ("Security-Server", "tls"),
    ]  # fmt: skip
    sent = forwarded(world, world.register(*agreement))
    assert sent.values("Require") == ["path"]
    assert sent.values("Proxy-Require") == ["other"]
    assert not any(sent.has(f"Security-{name}") for name in ("Client", "Verify", "Server"))


@pytest.mark.parametrize(
    "name",
    ["P-Asserted-Identity", "P-Associated-URI", "P-Charging-Function-Addresses", "Service-Route", "P-Served-User"],
)
def test_what_only_the_network_says_is_removed(world: Any, name: str) -> None:
    """PG-01."""
    assert not forwarded(world, world.register((name, "<sip:mallory@ims.test>"))).has(name)


@pytest.mark.parametrize("name", ["P-Charging-Vector", "P-Visited-Network-ID", "Path"])
def test_what_the_ue_says_in_our_place_is_replaced(world: Any, name: str) -> None:
    """PG-01 PR-01 PR-02."""
    sent = forwarded(world, world.register((name, "<sip:mallory@ims.test>")))
    assert len(sent.get_all(name)) == 1
    assert "mallory" not in sent.get(name)


def test_a_softphone_registers_without_credentials(world: Any) -> None:
    sent = forwarded(world, world.register())
    assert not sent.has("Authorization")


@pytest.mark.parametrize(
    ("params", "hops", "has_ob"),
    [
        pytest.param(";reg-id=1", (), True, id="5626-5.1 a flow is wanted, and we have it"),
        pytest.param("", (), False, id="5626-5.1 no flow is wanted"),
        pytest.param(";reg-id=1", ("SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKx",), False, id="5626-5.1 not the first hop"),
    ],
)
def test_path_of_a_flow(world: Any, params: str, hops: tuple[str, ...], *, has_ob: bool) -> None:
    contact = f'<sip:alice@192.0.2.101:5062>;+sip.instance="<urn:uuid:1>"{params}'
    register = world.register(("Contact", contact))
    for hop in hops:
        register.append("Via", hop)
    (path,) = forwarded(world, register).path
    assert path.sip_uri.params.has("ob") is has_ob


def test_ipv6_path(new_world: Any, settings: str) -> None:
    """PR-01."""
    world = new_world(settings.replace('address = "192.0.2.10"', 'address = "2001:db8::10", transports = ["tcp"]'))
    (path,) = forwarded(world, world.register()).get_all("Path")
    assert path.endswith("@[2001:db8::10]:5060;transport=tcp;lr>")


def test_register_is_serialised_by_user(world: Any) -> None:
    outcomes = [world.receive(world.register(world.credentials())), world.receive(world.register())]
    for outcome in outcomes:
        outcome.coroutine.close()
    assert [outcome.key for outcome in outcomes] == [
        ("registration", "alice@ims.test"),
        ("registration", "sip:alice@ims.test"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(("To", "<mailto:alice@ims.test>"), id="To is no identity"),
        pytest.param(("Authorization", "nonsense"), id="credentials cannot be read"),
    ],
)
def test_malformed_register(world: Any, header: tuple[str, str]) -> None:
    with pytest.raises(ParseError):
        world.receive(world.request("REGISTER", header))


# ---------------------------------------------------------------------- responses


def test_challenge_goes_to_the_ue_without_keys(world: Any) -> None:
    """PA-04."""
    register = world.register(world.credentials())
    challenge = world.answer(register, 401, ("WWW-Authenticate", 'Digest realm="r",nonce="n",ck="00",ik="11"'))
    _, actions = world.drive(world.receive(register), challenge)
    expected = world.answer(register, 401)
    expected.append("WWW-Authenticate", 'Digest realm="r",nonce="n"')
    assert actions == [Relay(expected)]
    assert len(world.registrations) == 0
    assert world.saved == {}


def test_every_challenge_and_token_passes(world: Any) -> None:
    """RFC 8760 2.4, RFC 8898 2.1: whose order and schemes are between UE and registrar; only digests get our mark."""
    token, digest = ("Authorization", "Bearer dGhlIHRva2Vu.eyJ=="), world.credentials()
    register = world.register(token, digest, ("Authorization", digest[1] + ",algorithm=SHA-256"))
    challenges = [
        ("WWW-Authenticate", 'Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"'),
        ("WWW-Authenticate", 'Bearer authz_server="https://as.ims.test", scope="sip"'),
        ("WWW-Authenticate", 'Digest realm="r", nonce="2", algorithm=MD5'),
    ]
    challenge = world.answer(register, 401, *challenges)
    asked, actions = world.drive(world.receive(register), challenge)
    assert asked[0].forward.branches[0].request.get_all("Authorization") == [
        token[1],
        digest[1] + ', integrity-protected="no"',
        digest[1] + ',algorithm=SHA-256, integrity-protected="no"',
    ]
    (relay,) = actions
    assert relay.response.get_all("WWW-Authenticate") == [value for _, value in challenges]


def test_first_registration_is_kept(world: Any) -> None:
    """PR-04 PR-05 PR-06: it is on disk before the UE hears of it."""
    register = world.register(world.credentials())
    ok = world.accept(
        register,
        ("P-Associated-URI", "<sip:alice@ims.test>, <tel:+15550001>"),
        ("Contact", "<sip:bob@192.0.2.7>;expires=9, <sip:alice@192.0.2.101:5062>;expires=600"),
        ("P-Charging-Vector", "icid-value=1"),
    )
    (question, saving), actions = world.drive(world.receive(register), ok)
    token = token_of(question.forward.branches[0].request)
    record = {
        "impi": "alice@ims.test",
        "aor": "sip:alice@ims.test",
        "contact": "sip:alice@192.0.2.101:5062",
        "transport": "UDP",
        "local": ["192.0.2.10", 5060],
        "remote": ["192.0.2.101", 5062],
        "service_route": ["sip:orig@scscf.ims.test:5060;lr"],
        "identities": ["sip:alice@ims.test", "tel:+15550001"],
        "expires_at": world.now + 600,
    }
    relayed = ok.copy()
    relayed.remove("P-Charging-Vector")
    assert saving == Save("binding", token, record)
    assert actions == [
        Relay(relayed),
        SetTimer(RegistrationTimer(token, world.now + 600), 600),
        Report(
            "registered",
            {
                "call_id": "call-1", "cseq": "1 REGISTER", "impu": "sip:alice@ims.test", "peer": "192.0.2.101:5062",
                "impi": "alice@ims.test", "contact": "sip:alice@192.0.2.101:5062", "expires_s": 600,
            },
        ),
    ]  # fmt: skip
    assert world.registrations.get(token).flow == world.ue


def test_private_identity_is_the_authenticated_one(world: Any) -> None:
    """PR-04: not that of credentials which the S-CSCF does not look at."""
    register = world.register(("Authorization", 'Bearer username="eve@ims.test"'), world.credentials())
    world.drive(world.receive(register), world.accept(register))
    (binding,) = world.registrations
    assert binding.impi == "alice@ims.test"


@pytest.mark.parametrize(
    ("idle_s", "transport", "headers", "told"),
    [
        pytest.param(120, Transport.TCP, ["outbound"], "90", id="5626-5.4 in time for what is under way"),
        pytest.param(120, Transport.TLS, ["path", "outbound"], "90", id="5626-5.4 TLS"),
        pytest.param(1, Transport.TCP, ["outbound"], "1", id="5626-5.4 delta-seconds are whole"),
        pytest.param(3700, Transport.TCP, ["outbound"], None, id="5626-4.4.1 UEs send more often by themselves"),
        pytest.param(120, Transport.UDP, ["outbound"], None, id="5626-5.4 nothing is closed"),
        pytest.param(120, Transport.WS, ["outbound"], None, id="7118-6 our pings keep it open"),
        pytest.param(120, Transport.TCP, ["path"], None, id="5626-5.4 the registrar did not follow outbound"),
    ],
)
def test_flow_timer(world: Any, idle_s: int, transport: Transport, headers: list[str], told: str | None) -> None:
    world = type(world)(f"[sip.connections]\nidle_s = {idle_s}\n{world.settings}")
    flow = Flow(transport, ("192.0.2.10", 5060), ("192.0.2.77", 40_000), 7)
    contact = ("Contact", '<sip:alice@192.0.2.77:40000>;+sip.instance="<urn:uuid:1>";reg-id=1;expires=600')
    register = world.register(contact, world.credentials(), flow=flow)
    ok = world.accept(register, *[("Require", option) for option in headers])
    _, actions = world.drive(world.receive(register), ok)
    assert actions[0].response.get("Flow-Timer") == told
    assert not ok.has("Flow-Timer"), "others may hold it"


def test_refresh_replaces_what_was_kept(world: Any) -> None:
    """PR-01 PR-04: the token stays, all else is new."""
    old = world.registered()
    register = world.register(world.credentials())
    ok = world.accept(
        register, ("Service-Route", "<sip:other@scscf.ims.test;lr>, <sip:x.ims.test;lr>"), ("P-Associated-URI", "")
    )
    asked, actions = world.drive(world.receive(register, world.now + 100), ok)
    assert token_of(asked[0].forward.branches[0].request) == old.token
    (new,) = world.registrations
    assert new.token == old.token
    assert new.service_route == ("sip:other@scscf.ims.test;lr", "sip:x.ims.test;lr")
    assert new.identities == ("sip:alice@ims.test",), "without P-Associated-URI it is the registered one"
    assert new.expires_at == world.now + 3700
    assert [action.event for action in actions if isinstance(action, Report)] == ["registration-refreshed"]


def test_each_contact_has_its_own_token(world: Any) -> None:
    """PR-01."""
    world.registered()
    other = Flow(Transport.UDP, world.ue.local, ("192.0.2.102", 5062))
    register = world.register(world.credentials(), flow=other)
    both = f"<sip:alice@192.0.2.101:5062>;expires=9, {register.get('Contact')}"
    world.drive(world.receive(register), world.accept(register, ("Contact", both)))
    assert len({binding.token for binding in world.registrations}) == 2


@pytest.mark.parametrize(
    ("contact", "expires"),
    [
        pytest.param("<sip:alice@192.0.2.101:5062>;expires=0", "", id="PR-06 the contact ends"),
        pytest.param("*", "0", id="PR-06 all contacts end"),
        pytest.param("<sip:alice@192.0.2.101:5062>", "0", id="PR-06 Expires ends it"),
    ],
)
def test_deregistration(world: Any, contact: str, expires: str) -> None:
    binding = world.registered()
    headers = [("Contact", contact), *([("Expires", expires)] if expires else [])]
    register = world.register(world.credentials(), *headers)
    ok = world.accept(register, ("Contact", ""), ("Service-Route", ""), ("P-Associated-URI", ""))
    (question, saving), actions = world.drive(world.receive(register), ok)
    assert token_of(question.forward.branches[0].request) == binding.token
    assert saving == Save("binding", binding.token, None)
    assert actions == [Relay(ok), Report("deregistered", ALICE)]
    assert len(world.registrations) == 0


def test_contact_that_is_not_granted_is_not_kept(world: Any) -> None:
    """PR-06."""
    register = world.register(world.credentials())
    _, actions = world.drive(
        world.receive(register), world.accept(register, ("Contact", "<sip:x@192.0.2.7>;expires=9"))
    )
    assert [type(action) for action in actions] == [Relay]
    assert len(world.registrations) == 0


def test_expiry_of_the_whole_200_counts_for_its_contacts(world: Any) -> None:
    """PR-06 RFC 3261 10.2.4."""
    world.registered("alice", ("Contact", "<sip:alice@192.0.2.101:5062>"), ("Expires", "77"))
    (binding,) = world.registrations
    assert binding.expires_at == world.now + 77


def test_contact_replaced_in_one_request(world: Any) -> None:
    """PR-06: a phone that moved takes its old contact away and registers the new one."""
    old = world.registered()
    moved = Flow(Transport.UDP, world.ue.local, ("192.0.2.102", 5062))
    contacts = "<sip:alice@192.0.2.101:5062>;expires=0, <sip:alice@192.0.2.102:5062>"
    register = world.register(world.credentials(), ("Contact", contacts), flow=moved)
    ok = world.accept(register, ("Contact", "<sip:alice@192.0.2.102:5062>;expires=60"))
    world.drive(world.receive(register), ok)
    (binding,) = world.registrations
    assert (binding.contact, binding.flow) == ("sip:alice@192.0.2.102:5062", moved)
    assert world.saved[old.token] is None


def test_contact_that_a_200_lists_as_ended(world: Any) -> None:
    """PR-06: some registrars name what they have removed."""
    world.registered()
    register = world.register(world.credentials(), expires=0)
    world.drive(world.receive(register), world.accept(register))
    assert len(world.registrations) == 0


@pytest.mark.parametrize(
    ("contact", "host", "left"),
    [
        pytest.param("sip:192.0.2.101:5062", "192.0.2.101", ["bob"], id="PT-09 the address is another phone's now"),
        pytest.param("sip:bob@192.0.2.101:5062", "192.0.2.101", ["alice", "bob"], id="PT-09 two users of one host"),
        pytest.param("sip:192.0.2.101:5062", "192.0.2.66", ["alice", "bob"], id="PT-09 nobody is driven out from afar"),
    ],
)
def test_address_that_was_given_to_another_ue(world: Any, contact: str, host: str, left: list[str]) -> None:
    """PT-09: calls of one who lost the address without a word must not ring at the one who has it now."""
    header = ("Contact", "<sip:192.0.2.101:5062>;expires=600")
    register = world.register(world.credentials(), header)
    world.drive(world.receive(register), world.accept(register))
    (alice,) = world.registrations
    flow = world.ue._replace(remote=(host, 5062))
    register = world.register(world.credentials("bob"), ("Contact", f"<{contact}>;expires=600"), user="bob", flow=flow)
    _, actions = world.drive(world.receive(register), world.accept(register, user="bob"))
    assert sorted(binding.aor for binding in world.registrations) == [f"sip:{user}@ims.test" for user in left]
    is_gone = left == ["bob"]
    assert (world.saved[alice.token] is None) is is_gone
    assert ("address-taken" in [a.event for a in actions if isinstance(a, Report)]) is is_gone


def test_query_keeps_everything(world: Any) -> None:
    """RFC 3261 10.2.3: a REGISTER without Contact asks what is registered."""
    binding = world.registered()
    register = world.request("REGISTER", world.credentials(), to="<sip:alice@ims.test>")
    ok = world.accept(register, ("Contact", f"<{binding.contact}>;expires=50"))
    _, actions = world.drive(world.receive(register), ok)
    assert actions == [Relay(ok)]
    assert list(world.registrations) == [binding]


@pytest.mark.parametrize(
    ("status", "events"),
    [
        pytest.param(403, ["registration-refused"], id="403 is told"),
        pytest.param(500, ["registration-refused"], id="500 is told"),
        pytest.param(407, [], id="a challenge is no refusal"),
    ],
)
def test_refusals_of_the_home_network_go_to_the_ue(world: Any, status: int, events: list[str]) -> None:
    register = world.register(world.credentials())
    refusal = world.answer(register, status)
    _, actions = world.drive(world.receive(register), refusal)
    assert actions[0] == Relay(refusal)
    assert [action.event for action in actions[1:]] == events
    assert len(world.registrations) == 0


def test_failed_refresh_leaves_the_registration(world: Any) -> None:
    binding = world.registered()
    register = world.register(world.credentials())
    world.drive(world.receive(register), world.answer(register, 500))
    assert list(world.registrations) == [binding]


@pytest.mark.parametrize("failure", ["unreachable", 408, 503])
def test_home_network_unreachable(world: Any, failure: str | int) -> None:
    """PR-03: 504 that names the hop."""
    register = world.register(world.credentials())
    is_silent = isinstance(failure, str)
    answer = PeerUnavailable("icscf", "connection refused") if is_silent else world.answer(register, failure)
    _, (respond, report) = world.drive(world.receive(register), answer)
    assert respond == Respond(register, 504, f"no answer from {ICSCF}")
    assert report.event == "registration-refused"
    assert report.level == "warning"
    assert report.fields["status"] == 504
    assert ICSCF in report.fields["reason"]


def test_an_overloaded_home_network_is_left_alone_as_long_as_it_asks_for(world: Any) -> None:
    """RFC 3261 16.7 step 6: by a UE that stays with this P-CSCF."""
    register, wait = world.register(world.credentials()), ("Retry-After", "7")
    _, (respond, report) = world.drive(world.receive(register), world.answer(register, 503, wait))
    assert respond == Respond(register, 500, "Home Network Overloaded", (wait,))
    assert (report.event, report.fields["status"]) == ("registration-refused", 500)


def test_provisional_response_goes_to_the_ue_clean(world: Any) -> None:
    """PG-01."""
    register = world.register(world.credentials())
    outcome = world.receive(register)
    question = outcome.coroutine.send(None)
    progress = world.answer(register, 183, ("P-Charging-Vector", "icid-value=1"))
    assert question.forward.on_response(progress, world.now) == [Relay(world.answer(register, 183))]
    outcome.coroutine.close()


def test_room_for_registrations_ends(world: Any) -> None:
    """A refresh still has its place."""
    for user in ("alice", "bob", "carol"):
        world.registered(user)
    register = world.register(world.credentials("dave"), user="dave")
    asked, (respond, report) = world.drive(world.receive(register))
    assert asked == []
    assert respond == Respond(register, 503, "too many registrations", (("Retry-After", "60"),))
    assert report.event == "registration-refused"
    world.registered("bob")


# ---------------------------------------------------------------------- time


def test_registration_ends_by_itself(world: Any) -> None:
    """PR-06."""
    binding = world.registered()
    outcome = world.core.on_event(TimerFired(RegistrationTimer(binding.token, binding.expires_at), binding.expires_at))
    assert outcome.key == ("registration", "alice@ims.test")
    asked, actions = world.drive(outcome)
    assert asked == [Save("binding", binding.token, None)]
    assert actions == [Report("registration-expired", ALICE)]
    assert len(world.registrations) == 0


def test_long_registration_is_watched_in_steps(world: Any) -> None:
    """PR-06: a UE that refreshes a registration of a week again and again leaves no timers for a week."""
    register = world.register(world.credentials(), expires=600_000)
    _, actions = world.drive(world.receive(register), world.accept(register))
    (timer,) = (action for action in actions if isinstance(action, SetTimer))
    assert timer.delay_s == 3600
    (timer,) = world.core.on_event(TimerFired(timer.key, world.now + 3600))
    assert timer.delay_s == 3600
    (timer,) = world.core.on_event(TimerFired(timer.key, world.now + 599_000))
    assert timer.delay_s == 1000
    world.drive(world.core.on_event(TimerFired(timer.key, world.now + 600_000)))
    assert len(world.registrations) == 0


def test_refreshed_registration_keeps_its_timer(world: Any) -> None:
    """PR-06: one timer for each binding, which goes on until the new end when it fires."""
    register = world.register(world.credentials())
    _, actions = world.drive(world.receive(register), world.accept(register))
    (timer,) = (action for action in actions if isinstance(action, SetTimer))
    register = world.register(world.credentials())
    _, actions = world.drive(world.receive(register, world.now + 10), world.accept(register))
    assert not [action for action in actions if isinstance(action, SetTimer)]
    (again,) = world.core.on_event(TimerFired(timer.key, world.now + 3600))
    assert again.delay_s == 10
    world.drive(world.core.on_event(TimerFired(again.key, world.now + 3610)))
    assert len(world.registrations) == 0


def test_refresh_that_shortens_the_registration_is_watched_anew(world: Any) -> None:
    """PR-06: and the timer of before is of no more use."""
    binding = world.registered()
    former = RegistrationTimer(binding.token, binding.expires_at)
    register = world.register(world.credentials(), expires=60)
    _, actions = world.drive(world.receive(register, world.now + 10), world.accept(register))
    (timer,) = (action for action in actions if isinstance(action, SetTimer))
    assert timer == SetTimer(RegistrationTimer(binding.token, world.now + 70), 60)
    assert world.core.on_event(TimerFired(former, former.at)) == []


def test_refresh_that_overtakes_the_timer_wins(world: Any) -> None:
    """PR-06: the timer fired while a refresh was under way."""
    old = world.registered()
    timer = RegistrationTimer(old.token, old.expires_at)
    outcome = world.core.on_event(TimerFired(timer, timer.at))
    world.registered(now=world.now + 10)
    assert world.drive(outcome) == ([], [SetTimer(RegistrationTimer(old.token, world.now + 3610), 10)])
    assert len(world.registrations) == 1


def test_registration_that_went_while_its_timer_waited(world: Any) -> None:
    """PR-06: the user deregistered before its turn came."""
    old = world.registered()
    outcome = world.core.on_event(TimerFired(RegistrationTimer(old.token, old.expires_at), old.expires_at))
    world.registrations.remove(old.token)
    assert world.drive(outcome) == ([], [])


def test_timer_of_nothing_does_nothing(world: Any) -> None:
    assert world.core.on_event(TimerFired(RegistrationTimer("gone", 1.0), 1.0)) == []


def test_registration_without_credentials_has_the_public_identity_as_key(world: Any) -> None:
    register = world.register()
    world.drive(world.receive(register), world.accept(register))
    (binding,) = world.registrations
    assert binding.impi is None
    outcome = world.core.on_event(TimerFired(RegistrationTimer(binding.token, binding.expires_at), binding.expires_at))
    assert isinstance(outcome, Procedure)
    assert outcome.key == ("registration", "sip:alice@ims.test")
    world.drive(outcome)


def test_forward_is_what_the_runtime_expects(world: Any) -> None:
    register = world.register()
    (question,), _ = world.drive(world.receive(register), PeerUnavailable("icscf", "down"))
    assert isinstance(question.forward, Forward)
    assert [type(branch) for branch in question.forward.branches] == [Branch]
    assert question.forward.branches[0].request.transaction_id == register.transaction_id
