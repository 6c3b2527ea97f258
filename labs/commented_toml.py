"""Writing TOML with a comment beside every key, which general writers cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"

COMMENT_COLUMN = 56


@dataclass(frozen=True, slots=True)
class Key:
    """One `name = value  # why` line; the comment stands above it if the value is long."""

    name: str
    value: Value
    why: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One [table], or one [[table]] of several; `why` stands above it. A table without name holds the top's keys."""

    name: str
    why: str
    keys: tuple[Key, ...]
    is_array: bool = False


def document(about: str, tables: Sequence[Table]) -> str:
    """Write a whole file; `about` becomes the comment at its top."""
    parts = [_comment(about), *(_table(table) for table in tables)]
    return "\n".join(parts)


def value_text(value: Value) -> str:
    """Write one value; a string as a basic string, whose escapes are JSON's except for DEL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key_text(name)} = {value_text(item)}" for name, item in value.items()) + " }"
    return "[" + ", ".join(value_text(item) for item in value) + "]"


def _table(table: Table) -> str:
    lines = [_comment(table.why)] if table.why else []
    if table.name:
        lines.append(f"[[{table.name}]]\n" if table.is_array else f"[{table.name}]\n")
    for key in table.keys:
        text = f"{_key_text(key.name)} = {value_text(key.value)}"
        if key.why and len(text) > COMMENT_COLUMN:
            lines.append(_comment(key.why))
        elif key.why:
            text = f"{text.ljust(COMMENT_COLUMN)}  # {key.why}"
        lines.append(text + "\n")
    return "".join(lines)


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _key_text(name: str) -> str:
    is_bare = name.isascii() and name != "" and all(character.isalnum() or character in "-_" for character in name)
    return name if is_bare else value_text(name)
