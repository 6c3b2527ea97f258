"""The optional C twins: small extension modules that do what a Python module does, only faster.

The Python form is the reference; the same tests run on both. A machine without a compiler has no twin and works all the
same, and `OPENCSCF_PURE=1` in the environment does without them. A C source that is newer than what was
built of it counts as not built: yesterday's twin is not today's.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

PURE_VARIABLE: Final = "OPENCSCF_PURE"


def twin(name: str) -> ModuleType | None:
    """Return the extension module of this full name; None if it was not built, is out of date or nobody wants it."""
    if os.environ.get(PURE_VARIABLE, "") not in {"", "0"}:
        return None
    try:
        return importlib.import_module(name) if is_current(name) else None
    except ImportError:
        return None


def is_current(name: str) -> bool:
    """Whether a module is there, and no C source beside it has changed since it was built."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return False
    built = Path(found.origin)
    source = built.with_name(f"{name.rpartition('.')[2]}.c")
    return not source.exists() or source.stat().st_mtime <= built.stat().st_mtime
