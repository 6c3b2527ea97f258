"""Values that are made for every message: frozen dataclasses to a type checker, plain ones at run time.

A frozen dataclass sets its fields by way of `object.__setattr__`, which makes it three times as slow to make. Nothing
changes these all the same: mypy sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class a slotted dataclass with equality and a hash, whose fields are not assigned to."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
