"""TOML files into frozen dataclasses: the dataclass is schema and manual in one.

    @dataclass(frozen=True, slots=True)
    class Listen:
        address: IpAddress
        port: Port = 5060

    settings = load(Path("node.toml"), Listen)

A field may be a str, int, float, bool, `Path` (relative to the file's folder), `StrEnum`, `tuple[X, ...]`,
`dict[str, X]`, another dataclass (a table) or `X | None`, and `Annotated` with constraints or `OrOne`. A field without
default is required; an unknown key is a fault. Rules over several fields go into `__post_init__`, which raises
`ConfigError`. All faults of a file are raised at once, each as `file: dotted.key: expected this, got that`.

Modules with schemas do without `from __future__ import annotations`: their annotations are needed at run time.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import ipaddress
import json
import math
import re
import tomllib
import types
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from opencscf.common.errors import ConfigError

# Any stands for a value as TOML gives it, and for a type annotation: both have no better type.

T = TypeVar("T")

MAX_SHOWN = 60  # characters of a wrong value that a fault shows


class Constraint(Protocol):
    """What a value must satisfy beyond its type; `expectation` completes "expected ..."."""

    @property
    def expectation(self) -> str:
        """Say what would be right, such as "a port number"."""
        ...

    def accepts(self, value: Any) -> bool:
        """Tell whether the value, already of the right type, is within the constraint."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """A number between two bounds, both included; no upper bound if `high` is None."""

    low: float
    high: float | None = None

    @property
    def expectation(self) -> str:
        """Say which numbers would be right."""
        if self.high is None:
            return f"a number of at least {self.low:.15g}"
        return f"a number from {self.low:.15g} to {self.high:.15g}"

    def accepts(self, value: Any) -> bool:
        """Tell whether the number is within the bounds."""
        return bool(self.low <= value and (self.high is None or value <= self.high))


@dataclasses.dataclass(frozen=True, slots=True)
class Matches:
    """A text that matches a regular expression as a whole."""

    pattern: str
    expectation: str

    def accepts(self, value: Any) -> bool:
        """Tell whether the whole text matches."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class AtLeast:
    """A list of at least so many entries."""

    count: int

    @property
    def expectation(self) -> str:
        """Say how many entries would be right."""
        return "at least one entry" if self.count == 1 else f"at least {self.count} entries"

    def accepts(self, value: Any) -> bool:
        """Tell whether there are enough entries."""
        return len(value) >= self.count


@dataclasses.dataclass(frozen=True, slots=True)
class IsIpAddress:
    """An IPv4 or IPv6 address, without brackets, prefix length or zone; `is_specific` rules out 0.0.0.0 and ::."""

    is_specific: bool = False

    @property
    def expectation(self) -> str:
        """Say which addresses would be right."""
        return "a specific IP address" if self.is_specific else "an IP address"

    def accepts(self, value: Any) -> bool:
        """Tell whether the text is an address literal."""
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return "%" not in value and not (self.is_specific and address.is_unspecified)


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """Marks a value, such as a key, that no fault may show."""


@dataclasses.dataclass(frozen=True, slots=True)
class OrOne:
    """Marks a list that may be written without brackets if it has one entry."""


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])"

Port = Annotated[int, Range(1, 65535)]
PortOrOff = Annotated[int, Range(0, 65535)]  # 0: not at all
IpAddress = Annotated[str, IsIpAddress()]
SpecificIpAddress = Annotated[str, IsIpAddress(is_specific=True)]
Fqdn = Annotated[str, Matches(rf"(?=.{{1,255}}$){_LABEL}(\.{_LABEL})*", 'a host name, such as "hss.example.org"')]
SipUriText = Annotated[
    str, Matches(rf"sips?:([^\s@<>]+@)?{_HOST}(:[0-9]{{1,5}})?(;[^\s<>?]+)*", 'a SIP URI, such as "sip:host:5060"')
]
Seconds = Annotated[float, Range(0.001, 1e9)]
Key128 = Annotated[str, Matches(r"[0-9A-Fa-f]{32}", "32 hexadecimal digits"), Secret()]


def load(path: Path, schema: type[T]) -> T:
    """Read a TOML file into `schema`, or raise `ConfigError` with a line for every fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, at byte {error.start}") from error
    return loads(text, schema, path)


def loads(text: str, schema: type[T], path: Path) -> T:
    """Read TOML text into `schema`; `path` names it in faults and is what relative paths start from."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {_one_line(str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not TOML: nested too deeply") from error
    reader = _Reader(path)
    settings = reader.table(document, schema, "")
    if reader.faults:
        raise ConfigError(*reader.faults)
    return cast("T", settings)


class _Reader:
    """Converts values by their annotations and collects faults; a faulty value becomes None and is never used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []

    def table(self, value: dict[str, Any], schema: Any, key: str) -> Any:
        before = len(self.faults)
        hints = get_type_hints(schema, include_extras=True)
        fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
        for name in value.keys() - fields.keys():
            self._fault(_dotted(key, name), _unknown(key, name, list(fields)))
        converted = {}
        for name, field in fields.items():
            if name in value:
                converted[name] = self.value(value[name], hints[name], _dotted(key, name))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                converted[name] = self._absent(hints[name], _dotted(key, name))
        if len(self.faults) > before:
            return None
        try:
            return schema(**converted)
        except ConfigError as error:
            for fault in error.faults:
                self._fault(key, fault)
            return None

    def value(self, value: Any, hint: Any, key: str) -> Any:
        hint, notes = _unwrap(hint)
        if any(isinstance(note, OrOne) for note in notes) and not isinstance(value, list):
            return (self.value(value, get_args(hint)[0], key),)
        constraints = [note for note in notes if not isinstance(note, Secret | OrOne)]
        expectation = constraints[0].expectation if constraints else _expectation(hint)
        shown = "another value" if any(isinstance(note, Secret) for note in notes) else _show(value)
        if not _has_type(value, hint):
            if hint is int and isinstance(value, float):
                expectation = "a whole number"
            elif isinstance(value, dict | list) or _is_container(hint):
                expectation = _expectation(hint)
            self._fault(key, f"expected {expectation}, got {shown}")
            return None
        for constraint in constraints:
            if not constraint.accepts(value):
                self._fault(key, f"expected {constraint.expectation}, got {shown}")
                return None
        return self._convert(value, hint, key)

    def _convert(self, value: Any, hint: Any, key: str) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.table(value, hint, key)
        if get_origin(hint) is tuple:
            return tuple(self.value(item, get_args(hint)[0], f"{key}[{n}]") for n, item in enumerate(value))
        if get_origin(hint) is dict:
            return {name: self.value(item, get_args(hint)[1], _dotted(key, name)) for name, item in value.items()}
        if hint is Path:
            return self.path.parent / value
        return hint(value)

    def _absent(self, hint: Any, key: str) -> Any:
        hint, notes = _unwrap(hint)
        if dataclasses.is_dataclass(hint):
            return self.table({}, hint, key)  # says which of its keys are missing
        expectation = _expectation(hint) if _is_container(hint) else (*notes, _Type(hint))[0].expectation
        self._fault(key, f"missing key, expected {expectation}")
        return None

    def _fault(self, key: str, text: str) -> None:
        self.faults.append(f"{self.path}: {key}: {text}" if key else f"{self.path}: {text}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Type:
    hint: Any

    @property
    def expectation(self) -> str:
        return _expectation(self.hint)


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type inside `Annotated` and `| None`, and the constraints on it; TOML itself has no null."""
    notes: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            notes += hint.__metadata__
            hint = hint.__origin__
        elif get_origin(hint) in {Union, types.UnionType}:
            (hint,) = (part for part in get_args(hint) if part is not type(None))
        else:
            return hint, notes


def _has_type(value: Any, hint: Any) -> bool:
    if dataclasses.is_dataclass(hint) or get_origin(hint) is dict:
        return isinstance(value, dict)
    if get_origin(hint) is tuple:
        return isinstance(value, list)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is str:
        return isinstance(value, str)
    if hint is Path:
        return isinstance(value, str) and value != "" and "\0" not in value
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return value in [member.value for member in hint]
    raise TypeError(f"a schema cannot have a field of type {hint}")


def _is_container(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or get_origin(hint) in {dict, tuple}


def _expectation(hint: Any) -> str:
    if dataclasses.is_dataclass(hint) or get_origin(hint) is dict:
        return "a table"
    if get_origin(hint) is tuple:
        item = _unwrap(get_args(hint)[0])[0]
        return "an array of tables" if dataclasses.is_dataclass(item) else "a list"
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return " or ".join(f'"{member.value}"' for member in hint)
    return {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}.get(hint, "text in quotes")


def _unknown(key: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f'unknown key, did you mean "{_dotted(key, close[0])}"?'
    return f"unknown key, expected {' or '.join(known)}"


def _dotted(key: str, name: str) -> str:
    part = name if re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII) else json.dumps(name)
    return f"{key}.{part}" if key else part


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
