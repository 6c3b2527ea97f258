"""Caller preferences and callee capabilities (RFC 3841, RFC 3840), with the examples of RFC 3841 and RFC 4596."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.message import Request
from opencscf.common.sip.preferences import choose, directives, features_of

PHONE = 'methods="INVITE,BYE,OPTIONS,ACK,CANCEL"'


def request(*headers: tuple[str, str], method: str = "INVITE") -> Request:
    return Request.new(method, "sip:y@example.com", headers)


def chosen(contacts: dict[str, str], *headers: tuple[str, str], method: str = "INVITE") -> list[str]:
    """The names of the contacts that are left, best first."""
    return choose(
        request(*headers, method=method),
        list(contacts),
        lambda name: NameAddr.parse(f"<sip:{name}@h.example.com>;{contacts[name]}".rstrip(";")),
    )


def test_the_example_of_the_rfc() -> None:
    """RFC 3841 7.2.5: u5 is immune, u3 rejected, u2 does no audio; u1 matches better than u4."""
    contacts = {
        "u1": 'audio;video;methods="INVITE,BYE";q=0.2',
        "u2": 'audio="FALSE";methods="INVITE";actor="msg-taker";q=0.2',
        "u3": 'audio;actor="msg-taker";methods="INVITE";video;q=0.3',
        "u4": 'audio;methods="INVITE,OPTIONS";q=0.2',
        "u5": "q=0.5",
    }
    left = chosen(
        contacts,
        ("Reject-Contact", '*;actor="msg-taker";video'),
        ("Accept-Contact", "*;audio;require"),
        ("Accept-Contact", "*;video;explicit"),
        ("Accept-Contact", '*;methods="BYE";class="business";q=1.0'),
    )
    assert left == ["u5", "u1", "u4"]


DIALOG = 'methods="INVITE,BYE,OPTIONS,ACK,CANCEL,SUBSCRIBE";events="dialog";audio;mobility="fixed"'
PRESENCE = 'methods="SUBSCRIBE";events="presence";schemes="sip,pres"'
VIDEO = {"y1": f"q=1.0;{PHONE};audio", "y2": f"q=0.6;{PHONE};audio;video"}
LANGUAGES = {"y1": 'language="en"', "y2-en": 'language="en";q=0.8', "y2-es": 'language="es"', "y3": 'language="en,es"'}
VOICEMAIL = {"y1": 'audio;mobility="fixed"', "y2": 'actor="msg-taker";automata;audio;q=0.2'}
EXECUTIVE = {"y1": "q=0.1", "y2": 'actor="attendant";q=1.0', "y3": 'actor="attendant";automata;q=0.5'}
MOBILE = {**EXECUTIVE, "y1": 'class="business";q=0.1', "y4": 'mobility="mobile";q=0.1'}


@pytest.mark.parametrize(
    ("contacts", "preferences", "method", "left"),
    [
        pytest.param(
            {"y1": PHONE, "y2": 'methods="MESSAGE"'}, [], "MESSAGE", ["y2"], id="4596-3.1 the method is a preference"
        ),
        pytest.param({"y1": PHONE}, [], "MESSAGE", ["y1"], id="4596-3.2 somebody has to answer 405"),
        pytest.param({"y1": PHONE, "y2": PHONE}, [], "MESSAGE", ["y1", "y2"], id="4596-3.2 all of them again"),
        pytest.param(
            {"y1": DIALOG, "yp": PRESENCE},
            [("Event", "presence")],
            "SUBSCRIBE",
            ["yp"],
            id="4596-3.3 the package is a preference",
        ),
        pytest.param({"y1": DIALOG, "yp": PRESENCE}, [], "INVITE", ["y1"], id="4596-3.3 an INVITE to the phone"),
        pytest.param(
            {"y1": DIALOG, "yp": PRESENCE},
            [("Event", "dialog;id=1")],
            "SUBSCRIBE",
            ["y1"],
            id="4596-3.3 the other package",
        ),
        pytest.param(
            {"y1": DIALOG.replace(';events="dialog"', ""), "yp": PRESENCE},
            [("Event", "presence")],
            "SUBSCRIBE",
            ["yp", "y1"],
            id="4596-3.4 who names the package comes first",
        ),
        pytest.param(
            VIDEO, [("Accept-Contact", '*;methods="INVITE";video')], "INVITE", ["y1", "y2"], id="4596-3.5 q comes first"
        ),
        pytest.param(VIDEO, [("Accept-Contact", "*;video;require;explicit")], "INVITE", ["y2"], id="4596-3.6 video"),
        pytest.param(
            VIDEO, [("Accept-Contact", "*;audio;video;require;explicit")], "INVITE", ["y2"], id="4596-3.7 forced media"
        ),
        pytest.param(
            {"y1": f"{PHONE};audio", "y2": f"{PHONE};audio;+sip.message"},
            [("Accept-Contact", "*;audio;video;+sip.message")],
            "INVITE",
            ["y2", "y1"],
            id="4596-3.8 the largest overlap",
        ),
        pytest.param(
            LANGUAGES,
            [("Accept-Contact", '*;language="en";require')],
            "INVITE",
            ["y1", "y3", "y2-en"],
            id="4596-3.9 a language",
        ),
        pytest.param(VOICEMAIL, [("Reject-Contact", '*;actor="msg-taker"')], "INVITE", ["y1"], id="4596-3.10 no mail"),
        pytest.param(
            VOICEMAIL,
            [("Accept-Contact", '*;actor="msg-taker";require;explicit')],
            "INVITE",
            ["y2"],
            id="4596-3.11 voicemail only",
        ),
        pytest.param(EXECUTIVE, [], "INVITE", ["y2", "y3", "y1"], id="4596-3.13 the callee's order"),
        pytest.param(
            EXECUTIVE,
            [("Reject-Contact", '*;actor="attendant"'), ("Reject-Contact", "*;automata")],
            "INVITE",
            ["y1"],
            id="4596-3.14 two values are alternatives",
        ),
        pytest.param(
            EXECUTIVE,
            [("Reject-Contact", '*;actor="attendant";automata')],
            "INVITE",
            ["y2", "y1"],
            id="4596-3.14 one value is both",
        ),
        pytest.param(
            MOBILE,
            [("Accept-Contact", '*;mobility="mobile";require;explicit')],
            "INVITE",
            ["y4"],
            id="4596-3.15 the mobile phone",
        ),
        pytest.param(
            LANGUAGES,
            [("Accept-Contact", '*;language="en";require'), ("Accept-Contact", '*;language="es";require')],
            "INVITE",
            ["y3"],
            id="4596-3.16 both languages",
        ),
        pytest.param(
            LANGUAGES,
            [("Accept-Contact", '*;language="en,es";require')],
            "INVITE",
            ["y1", "y2-es", "y3", "y2-en"],
            id="4596-3.16 either language",
        ),
        pytest.param(
            {"yy": "q=1.0", "machine": "automata;q=0.5"},
            [("Accept-Contact", '*;mobility="mobile";require;explicit')],
            "INVITE",
            ["yy"],
            id="4596-3.17 who says nothing is immune",
        ),
        pytest.param(
            {"yy": "q=1.0", "machine": "automata;q=0.5"},
            [("Accept-Contact", '*;class="personal"')],
            "INVITE",
            ["yy", "machine"],
            id="4596-3.18 a wish only",
        ),
        pytest.param(VOICEMAIL, [("Reject-Contact", "*;audio")], "INVITE", [], id="3841-7.2.4 nobody is left"),
        pytest.param(
            {"y1": "audio;q=0.7", "y2": "q=5", "y3": "q=0.9"}, [], "INVITE", ["y2", "y3", "y1"], id="a q that is none"
        ),
        pytest.param({"y1": "audio"}, [("Accept-Contact", "*")], "INVITE", ["y1"], id="3841-10 no tag at all"),
        pytest.param(
            {"y1": 'audio="FALSE"', "y2": "audio"}, [("a", "*;audio")], "INVITE", ["y2", "y1"], id="3841-9.2 short a"
        ),
        pytest.param({"y1": "audio"}, [("j", "*;audio")], "INVITE", [], id="3841-9.2 short j"),
    ],
)
def test_who_is_called(
    contacts: dict[str, str], preferences: list[tuple[str, str]], method: str, left: list[str]
) -> None:
    assert chosen(contacts, *preferences, method=method) == left


@pytest.mark.parametrize(
    ("contact", "preference", "is_match"),
    [
        pytest.param('class="personal"', 'class="PERSONAL"', True, id="3841-7.2.4 tokens in any case"),
        pytest.param('description="<PC>"', 'description="<PC>"', True, id="3841-8 strings"),
        pytest.param('description="<PC>"', 'description="<pc>"', False, id="3841-7.2.4 strings in their case"),
        pytest.param('description="<PC>"', 'description="pc"', False, id="3841-8 a string is no token"),
        pytest.param("+sip.newparam", '+sip.newparam="TRUE"', True, id="3841-8 no value means TRUE"),
        pytest.param("audio", '+sip.audio="true"', True, id="3841-8 short and long names"),
        pytest.param("language", "+language", True, id="3840-9 language and type have no prefix"),
        pytest.param('+org!x\'y="a"', '+ORG!X\'Y="a"', True, id="3841-8 encoded names in any case"),
        pytest.param('events="!presence"', 'events="presence"', False, id="3841-8 a negation"),
        pytest.param('events="!presence"', 'events="dialog"', True, id="3841-8 anything else"),
        pytest.param('events="!presence"', 'events="!dialog"', True, id="3841-8 two negations"),
        pytest.param('audio="!TRUE"', "audio", False, id="3840-5 not TRUE is FALSE"),
        pytest.param('audio="!TRUE"', 'audio="FALSE"', True, id="3840-5 not TRUE is FALSE, and can be asked for"),
        pytest.param('+n="#=4"', '+n="#>=4"', True, id="3841-8 at least"),
        pytest.param('+n="#=4"', '+n="#<=3.5"', False, id="3841-8 at most"),
        pytest.param('+n="#-4:+5.125"', '+n="#=5.125"', True, id="3841-8 a range with its ends"),
        pytest.param('+n="#-4:+5.125"', '+n="#6:7"', False, id="3841-8 another range"),
        pytest.param('+n="!#4:8"', '+n="#5:6"', False, id="3841-8 not in a range"),
        pytest.param('+n="!#4:8"', '+n="#5:9"', True, id="3841-8 partly in a range"),
        pytest.param('+n="#5:9"', '+n="!#4:8"', True, id="3841-8 the same the other way"),
        pytest.param('+n="!#4:8"', '+n="!#5:9"', True, id="3841-8 two that leave the rest"),
        pytest.param('+n="!a"', '+n="#5"', True, id="what is no number is a token"),
        pytest.param('+n="#=4"', '+n="!a"', True, id="a number is not this token"),
    ],
)
def test_values(contact: str, preference: str, is_match: bool) -> None:  # noqa: FBT001
    left = chosen({"y": contact}, ("Accept-Contact", f"*;{preference};require"))
    assert left == (["y"] if is_match else [])


def test_the_capabilities_of_a_contact() -> None:
    """RFC 3841 7.2.3: feature tags and nothing else."""
    contact = NameAddr.parse(
        '<sip:user@example.com>;audio;video;mobility="fixed";+sip.message="TRUE";other-param=66372;'
        'methods="INVITE,OPTIONS,BYE,CANCEL,ACK";schemes="sip,http";q=0.5'
    )
    features = features_of(contact)
    assert set(features) == {"sip.audio", "sip.video", "sip.mobility", "sip.message", "sip.methods", "sip.schemes"}
    assert features["sip.schemes"].texts == {"sip", "http"}


@pytest.mark.parametrize("header", ["Accept-Contact", "Reject-Contact"])
def test_a_caller_has_not_any_number_of_preferences(header: str) -> None:
    assert chosen({"y": "audio"}, (header, ", ".join(["*;video"] * 32))) == ["y"]
    with pytest.raises(ParseError):
        chosen({"y": "audio"}, (header, ", ".join(["*;video"] * 33)))


@pytest.mark.parametrize("header", ["Accept-Contact", "Reject-Contact"])
def test_a_preference_begins_with_a_star(header: str) -> None:
    """RFC 3841 10."""
    with pytest.raises(ParseError):
        chosen({"y": "audio"}, (header, "sip:y@example.com;audio"))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("proxy, recurse, parallel", {"proxy", "recurse", "parallel"}, id="3841-9.1 the example"),
        pytest.param("NO-FORK", {"no-fork"}, id="3841-9.1 in any case"),
        pytest.param("sequential, parallel", {"sequential"}, id="3841-9.1 one of each type"),
        pytest.param("dance", set(), id="3841-9.1 not extensible"),
    ],
)
@pytest.mark.parametrize("name", ["Request-Disposition", "d"])
def test_directives(name: str, value: str, found: set[str]) -> None:
    assert directives(request((name, value))) == found
    assert directives(request()) == frozenset()


@given(st.lists(st.text(alphabet='*;+a=b"<>!#:.,-19 TRUEaudio', max_size=60), max_size=3), st.text(max_size=40))
def test_any_preference_is_understood_or_malformed(values: list[str], contact: str) -> None:
    """Nothing else than ParseError comes of what callers and callees write."""
    headers = [("Accept-Contact", f"*;{value}") for value in values]
    try:
        target: Any = NameAddr.parse(f"<sip:y@h>;{contact}")
        assert choose(request(*headers), [target, target], lambda chosen: chosen) in ([], [target, target])
    except (ParseError, ValueError):
        pass
