"""The optional C twins: small extension modules that do what a Python module does, only faster.

The Python form is the reference; the same tests run on both. A machine without a compiler has no twin and works all the
same, and `OPENCSCF_PURE=1` in the environment does without them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

PURE_VARIABLE: Final = "OPENCSCF_PURE"


def twin(name: str) -> ModuleType | None:
    """Return the extension module of this full name; None if it was not built or nobody wants it."""
    if os.environ.get(PURE_VARIABLE, "") not in {"", "0"}:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
