"""Which of a callee's contacts a caller wants to reach (RFC 3841 7.2, 9.1), by what they can do (RFC 3840). Pure.

Feature tags make a predicate: an AND over tags, each with the values that it may have (RFC 3841 8). A contact and a
preference match if they could agree in every tag that both have (RFC 2533); the score is how many tags the contact has.

Not covered: the directives of Request-Disposition that ask for what we never do (redirect, recurse, queue).
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

from opencscf.common.errors import ParseError
from opencscf.common.sip.params import Params, parse_params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opencscf.common.sip.headers import NameAddr
    from opencscf.common.sip.message import Request

T = TypeVar("T")

MAX_PREFERENCES: Final = 32  # of one kind in a request: each is compared with each contact
MAX_RANGES: Final = 8  # negations and ranges of one tag; further ones are not looked at
CACHED_CONTACTS: Final = 4096

# RFC 3841 7.2.1: what is a feature tag without a leading plus; all but the last two are short for sip.NAME (8)
_SIP_TAGS: Final = frozenset(
    {"audio", "automata", "class", "duplex", "data", "control", "mobility", "description", "events", "priority"}
    | {"methods", "extensions", "schemes", "application", "video", "isfocus", "actor", "text"}
)
_OTHER_TAGS: Final = frozenset({"language", "type"})
_DIRECTIVES: Final = (  # one of each type (9.1)
    ("proxy", "redirect"),
    ("cancel", "no-cancel"),
    ("fork", "no-fork"),
    ("recurse", "no-recurse"),
    ("parallel", "sequential"),
    ("queue", "no-queue"),
)
_NUMBER: Final = r"[+-]?(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)"
_COMPARISON: Final = re.compile(rf"#(=|>=|<=)({_NUMBER})")
_RANGE: Final = re.compile(rf"#({_NUMBER}):({_NUMBER})")
_OPPOSITE: Final = {"true": "false", "false": "true"}


class _Range(NamedTuple):
    """Numbers from one to another, or, if negated, all but these, or (with `low` above `high`) all but a text."""

    is_negated: bool
    text: str
    low: float
    high: float

    def meets(self, text: str) -> bool:
        """Whether a token or string is in a negated one."""
        return text != self.text

    def overlaps(self, other: _Range) -> bool:
        """Whether some value is in both."""
        if self.is_negated:
            return other.is_negated or other.low < self.low or other.high > self.high
        if other.is_negated:
            return other.overlaps(self)
        return self.low <= other.high and other.low <= self.high


class _Values(NamedTuple):
    """What one feature tag may be: one of some texts, or in one of some ranges."""

    texts: frozenset[str]  # tokens in lower case; strings in their angle brackets, so that they are no tokens
    ranges: tuple[_Range, ...]

    def meets(self, other: _Values) -> bool:
        """Whether there is a value that both allow."""
        return (
            not self.texts.isdisjoint(other.texts)
            or any(one.meets(text) for one in self.ranges if one.is_negated for text in other.texts)
            or any(one.meets(text) for one in other.ranges if one.is_negated for text in self.texts)
            or any(one.overlaps(two) for one in self.ranges for two in other.ranges)
        )


Predicate: TypeAlias = "dict[str, _Values]"  # by feature tag, decoded


class _Preference(NamedTuple):
    """One value of Accept-Contact or Reject-Contact."""

    predicate: Predicate
    is_required: bool = False
    is_explicit: bool = False


def choose(request: Request, targets: Sequence[T], contact_of: Callable[[T], NameAddr]) -> list[T]:
    """Order the targets of a request by the callee's q, then by the caller's wishes, without those he does not want.

    None is left if he does not want any; what only the request's method implies is then not looked at (7.2.4).
    """
    is_implicit = not request.has("Accept-Contact") and not request.has("Reject-Contact")
    if is_implicit:
        if len(targets) == 1:
            return list(targets)
        accepted, rejected = [_Preference(_implied(request), is_required=True)], []
    else:
        accepted, rejected = _preferences(request, "Accept-Contact"), _preferences(request, "Reject-Contact")
    ordered: list[tuple[float, float, T]] = []
    for target in targets:
        contact = contact_of(target)
        wanted = _caller_preference(features_of(contact), accepted, rejected)
        if wanted is not None:
            ordered.append((-q_of(contact), -wanted, target))
    if is_implicit and not ordered:
        ordered = [(-q_of(contact_of(target)), 0.0, target) for target in targets]
    ordered.sort(key=lambda entry: entry[:2])
    return [target for _, _, target in ordered]


def directives(request: Request) -> frozenset[str]:
    """Return what Request-Disposition asks for, such as `no-fork`; of two that contradict each other the first."""
    if not request.has("Request-Disposition"):
        return frozenset()
    asked = [value.lower() for value in request.values("Request-Disposition")]
    return frozenset(found for pair in _DIRECTIVES if (found := next(filter(pair.__contains__, asked), None)))


def features_of(contact: NameAddr) -> Predicate:
    """Return what a contact says that it can do (RFC 3841 7.2.3); empty if it says nothing."""
    return _cached_features(contact.params)


def q_of(contact: NameAddr) -> float:
    """Return how much the callee wants to be reached there; a malformed q says no more than none (RFC 3841 7.2.1)."""
    with suppress(ParseError):
        return contact.q
    return 1.0


# ---------------------------------------------------------------------- matching, 7.2.4


def _caller_preference(features: Predicate, accepted: list[_Preference], rejected: list[_Preference]) -> float | None:
    """Say how much a caller wants a contact, from 0 to 1 (Qa); None if not at all."""
    if not features:
        return 1.0  # immune
    if any(
        preference.predicate.keys() <= features.keys() and _matches(preference, features) for preference in rejected
    ):
        return None
    if not accepted:
        return 1.0
    scores: list[float] = []
    for preference in accepted:
        if not _matches(preference, features):
            if preference.is_required:
                return None
            continue
        score = _score(preference.predicate, features)
        if score < 1 and preference.is_explicit:
            if preference.is_required:
                return None
            score = 0.0
        scores.append(score)
    return sum(scores) / len(scores) if scores else 0.0


def _matches(preference: _Preference, features: Predicate) -> bool:
    return all(values.meets(features[tag]) for tag, values in preference.predicate.items() if tag in features)


def _score(predicate: Predicate, features: Predicate) -> float:
    return sum(tag in features for tag in predicate) / len(predicate) if predicate else 1.0


# ---------------------------------------------------------------------- predicates, 8


def _implied(request: Request) -> Predicate:
    """Return what a method, and the event package of a subscription, ask of whoever gets the request (7.2.2)."""
    predicate = {"sip.methods": _values(request.method)}
    event = request.get("Event") if request.method == "SUBSCRIBE" else None
    if event:
        predicate["sip.events"] = _values(event.partition(";")[0].strip())
    return predicate


def _preferences(request: Request, name: str) -> list[_Preference]:
    values = request.values(name)
    if len(values) > MAX_PREFERENCES:
        raise ParseError("too many caller preferences")
    return [_preference(value) for value in values]


def _preference(text: str) -> _Preference:
    star, semicolon, rest = text.partition(";")
    if star.strip() != "*":
        raise ParseError("a caller preference that does not begin with *")
    params = parse_params(semicolon + rest)
    return _Preference(_features(params), params.has("require"), params.has("explicit"))


def _features(params: Params) -> Predicate:
    predicate: Predicate = {}
    for name, value in params:
        tag = _decoded(name.lower())
        if tag is not None and tag not in predicate:
            predicate[tag] = _values("TRUE" if value is None else params.get(name) or "")
    return predicate


_cached_features = lru_cache(CACHED_CONTACTS)(_features)  # of contacts: preferences are anybody's


def _decoded(name: str) -> str | None:
    """Return the feature tag that a parameter's name encodes, None if it is another parameter."""
    if name[:1] == "+":
        return name[1:].replace("!", ":").replace("'", "/")
    if name in _SIP_TAGS:
        return f"sip.{name}"
    return name if name in _OTHER_TAGS else None


def _values(text: str) -> _Values:
    """Read a list of tag values, or the one string that a value in angle brackets is."""
    if text[:1] == "<" and text[-1:] == ">":
        return _Values(frozenset({text}), ())
    texts: list[str] = []
    ranges: list[_Range] = []
    for element in text.lower().split(","):
        stripped = element.strip()
        value = stripped.removeprefix("!")
        is_negated = value != stripped
        if is_negated and value in _OPPOSITE:
            texts.append(_OPPOSITE[value])
        elif (limits := _limits(value)) is not None:
            ranges.append(_Range(is_negated, "", *limits))
        elif is_negated:
            ranges.append(_Range(is_negated, value, 1.0, 0.0))
        else:
            texts.append(value)
    return _Values(frozenset(texts), tuple(ranges[:MAX_RANGES]))


def _limits(value: str) -> tuple[float, float] | None:
    if match := _RANGE.fullmatch(value):
        return float(match[1]), float(match[2])
    if match := _COMPARISON.fullmatch(value):
        number = float(match[2])
        return (float("-inf") if match[1] == "<=" else number, float("inf") if match[1] == ">=" else number)
    return None
