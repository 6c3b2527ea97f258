"""Let atheris look for inputs that break a target, guided by the code they reach.

Usage: python tests/fuzz/fuzz.py TARGET [OPTION...]

Options are libFuzzer's: -max_total_time=3600 for an hour, -runs=N, the name of a folder in which the corpus is kept
from run to run, or of a file to try again. A finding ends the run with a traceback and leaves the input in a file.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

import atheris

TARGETS = Path(__file__).with_name("targets.py")
LIMITS = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=8192"]  # seconds and size of a single input


def main() -> None:
    """Fuzz the target that the command line names."""
    with atheris.instrument_imports(include=["opencscf"]):
        targets = runpy.run_path(str(TARGETS))
    if len(sys.argv) < 2 or sys.argv[1] not in targets["TARGETS"]:
        sys.exit(f"usage: fuzz.py TARGET [OPTION...]; targets are {', '.join(targets['TARGETS'])}")
    name, options = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number, seed in enumerate(targets["seeds"](name)):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        is_replay = any(Path(option).is_file() for option in options)
        corpus = [option for option in options if Path(option).is_dir()]
        rest = [option for option in options if option not in corpus]
        folders = [] if is_replay else [*(corpus or [tempfile.mkdtemp(dir=folder)]), folder]
        atheris.Setup([sys.argv[0], *LIMITS, *rest, *folders], lambda data: targets["run"](name, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
