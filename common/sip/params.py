"""Parameters of header fields and URIs: order and text kept, looked up in any case (RFC 3261 7.3.1, 25.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from opencscf.common.errors import ParseError
from opencscf.common.native import twin

TOKEN_CHARS: Final = r"A-Za-z0-9\-.!%*_+`'~"  # noqa: S105 - 25.1, for use inside a character class
# A repeated group is never possessive: before Python 3.11.5, as in Debian 12, `re` then goes on from the middle of an
# iteration that failed. Each alternative is known by its first character, so backtracking is short.
QUOTED: Final = r'"(?:[^"\\]++|\\.)*"'

_TOKEN: Final = re.compile(f"[{TOKEN_CHARS}]++")
_VALUE: Final = r'[^\s";<>,]'
# As nearly all are written, ready for `split_params`: no white space, no escape, no semicolon in a quoted string.
PLAIN_PARAMS: Final = rf'(?:;[{TOKEN_CHARS}]++(?:=(?:{_VALUE}++|"[^"\\;]*+"))?)*'

_PLAIN: Final = re.compile(PLAIN_PARAMS, re.ASCII)
_PARAM: Final = re.compile(rf"\s*;\s*([{TOKEN_CHARS}]++)\s*(?:=\s*({QUOTED}|{_VALUE}*+)\s*)?", re.DOTALL | re.ASCII)
_ELEMENT: Final = re.compile(rf'(?:[^,"<]++|{QUOTED}|<[^>]*+>)*', re.DOTALL)
_COMMA_IN_URI: Final = re.compile(r"<[^<>,]*+(?:,|\Z)")  # or one without end
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_ESCAPE: Final = re.compile(r'(["\\])')


class Params(tuple[tuple[str, "str | None"], ...]):
    """Pairs of name and value as they were written; the value is None for a parameter that has none.

    A tuple, because some are made for every message. With a name given twice, the first one counts.
    """

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """Return the value without its quotes; "" for a parameter that has no value, None for one that is absent."""
        for key, value in self:
            if key == name or key.lower() == name:
                if value is None:
                    return ""
                return unquote(value) if value[:1] == '"' else value
        lowered = name.lower()
        return self.get(lowered) if lowered != name else None

    def has(self, name: str) -> bool:
        """Whether a parameter of this name is there, with a value or without."""
        for key, _ in self:
            if key == name or key.lower() == name:
                return True
        lowered = name.lower()
        return self.has(lowered) if lowered != name else False

    def replaced(self, name: str, value: str | None) -> Params:
        """Return a copy with one set: in its place if it was there, else as the last; None writes no value."""
        lowered = name.lower()
        if not self.has(lowered):
            return Params((*self, (name, value)))
        return Params([(key, value if key.lower() == lowered else old) for key, old in self])

    def without(self, *names: str) -> Params:
        """Return a copy with some taken out."""
        if not self:
            return self
        lowered = [name.lower() for name in names]
        return Params([pair for pair in self if pair[0].lower() not in lowered])

    def __str__(self) -> str:
        return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in self])


NO_PARAMS: Final = Params()

_native: Final = twin("opencscf.common.sip._values")
_METHODS_IN_PYTHON: Final = (Params.get, Params.has)
if _native is not None:
    Params.get, Params.has = _native.get, _native.has  # type: ignore[method-assign]  # the same, only faster


def parse_params(text: str) -> Params:
    """Read the `;name=value` pairs of a header field value, from its first semicolon to its end."""
    if not text:
        return NO_PARAMS
    return _usual(text) or _parse_any(text)


def _usual_in_python(text: str) -> Params | None:
    return split_params(text) if _PLAIN.fullmatch(text) else None


_usual: Callable[[str], Params | None] = _usual_in_python if _native is None else partial(_native.params, NO_PARAMS)


def _parse_any(text: str) -> Params:
    pairs: list[tuple[str, str | None]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _PARAM.match(text, position)
        if match is None:
            raise ParseError("malformed header parameter")
        pairs.append((match[1], match[2]))
        position = match.end()
    return Params(pairs)


def split_params(text: str, separator: str = ";") -> Params:
    """Make parameters of a text that is known to be well formed and to begin with a separator, or to be empty."""
    if not text:
        return NO_PARAMS
    parts = text[1:].split(separator)
    return Params(
        [(name, value if equals else None) for name, equals, value in [part.partition("=") for part in parts]]
    )


def split_elements(text: str) -> list[str]:
    """Take a comma-separated list apart, with respect for quoted strings and `<URIs>` (RFC 3261 7.3.1)."""
    if "," not in text:
        return [text]
    if '"' not in text and ("<" not in text or not _COMMA_IN_URI.search(text)):
        return [part.strip() for part in text.split(",")]
    elements = []
    position = -1
    while position < len(text):
        match = _ELEMENT.match(text, position + 1)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise ParseError("unterminated quoted string or URI in a header field")
        elements.append(match[0].strip())
        position = match.end()
    return elements


def is_token(text: str) -> bool:
    """Whether the text is a token of RFC 3261 25.1."""
    return _TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """Write a quoted-string."""
    if '"' in text or "\\" in text:
        text = _NEEDS_ESCAPE.sub(r"\\\1", text)
    return f'"{text}"'


def unquote(text: str) -> str:
    """Read a quoted-string; anything else is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner
