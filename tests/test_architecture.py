"""The sentences of ARCHITECTURE.md that a program can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP = ("common", "diameter", "pcscf", "icscf", "scscf", "labs", "tests", "docs")
NODES = ("pcscf", "icscf", "scscf")
SHELL_MODULES = {"asyncio", "socket", "threading", "time", "random", "logging", "selectors", "ssl", "uvloop", "sqlite3"}
PURE = (
    "common/sip", "common/ims", "common/actions.py", "common/events.py", "common/errors.py",
    "diameter/codec.py", "diameter/dictionary.py", "diameter/cx.py", "diameter/rx.py", "diameter/results.py",
    "diameter/peer.py", "pcscf", "icscf", "scscf",
)  # fmt: skip


def sources(*places: str) -> list[Path]:
    paths = [ROOT / place for place in places]
    return [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in sources(*PURE) if path.name != "__main__.py"], ids=ids)
def test_pure_code_touches_nothing(path: Path) -> None:
    touched = {name.partition(".")[0] for name in imports(path)} & SHELL_MODULES
    assert not touched
    shells = {name for name in imports(path) if name.startswith(("opencscf.common.node", "opencscf.common.transport"))}
    assert shells <= {"opencscf.common.node.settings"}, "only the schema of the common settings is shared"


@pytest.mark.parametrize("path", sources("common"), ids=ids)
def test_common_knows_no_node(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(tuple(f"opencscf.{n}" for n in (*NODES, "labs")))]


@pytest.mark.parametrize("node", NODES)
def test_no_node_imports_another(node: str) -> None:
    others = tuple(f"opencscf.{other}" for other in (*NODES, "labs") if other != node)
    for path in sources(node):
        assert not [name for name in imports(path) if name.startswith(others)], path


@pytest.mark.parametrize("path", sources("common", "diameter", *NODES, "labs"), ids=ids)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    place = ids(path)
    used = {name.partition(".")[0] for name in imports(path)}
    if not place.startswith(("diameter/", "labs/hss/", "labs/pcrf/", "labs/diameter_")):
        assert "diameter" not in used, "python-diameter is for diameter/ and the lab's HSS and PCRF"
    if not place.startswith("labs/"):
        assert "scapy" not in used
        assert "asyncio_dgram" not in used


def test_top_folders_are_no_packages() -> None:
    # with an __init__.py, a process started in the repository root would take ours for python-diameter's `diameter`
    assert [top for top in TOP if (ROOT / top / "__init__.py").exists()] == []


def test_exception_is_caught_in_the_runtime_only() -> None:
    catching = [
        f"{ids(path)}:{node.lineno}"
        for path in sources("common", "diameter", *NODES, "labs")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert [place for place in catching if not place.startswith("common/node/runtime.py")] == []
    assert len(catching) == 1


def test_no_repeated_group_is_possessive() -> None:
    # before 3.11.5, as in Debian 12, `re` goes on from the middle of an iteration that failed (common/sip/params.py)
    group = re.compile(r"(\)|_CHARS\}|\{QUOTED\})([*+?]|\{\{?[0-9,]+\}?\})\+")
    found = [
        f"{ids(path)}:{number}: {line}"
        for path in sources("common", "diameter", *NODES, "labs")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if group.search(line)
    ]
    assert found == []


def test_no_module_is_named_after_nothing() -> None:
    poor = {"utils.py", "util.py", "helpers.py", "helper.py", "manager.py", "misc.py"}
    assert [ids(p) for p in sources(*TOP) if p.name in poor] == []


def test_every_package_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = {"opencscf." + ids(p.parent).replace("/", ".") for p in sources("common", "diameter", *NODES, "labs")}
    assert [package for package in sorted(packages) if f'"{package}"' not in text] == []


def test_wire_messages_keep_their_line_ends() -> None:
    for path in (ROOT / "tests" / "fixtures").rglob("*.sip"):
        head = path.read_bytes().split(b"\r\n\r\n", 1)[0]
        assert head.count(b"\n") == head.count(b"\r\n"), path
