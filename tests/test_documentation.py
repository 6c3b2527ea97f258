"""The documentation says what is there: every key with its default, every event, every decision, every link."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from opencscf.common.config import _unwrap, loads
from opencscf.icscf.config import IcscfConfig
from opencscf.labs.commented_toml import value_text
from opencscf.labs.config import LabSettings
from opencscf.labs.hss.config import HssSettings
from opencscf.labs.pcrf.config import PcrfSettings
from opencscf.pcscf.config import PcscfConfig
from opencscf.scscf.config import ScscfConfig

ROOT = Path(__file__).parent.parent
SCHEMAS: dict[str, Any] = {
    "pcscf.toml": PcscfConfig,
    "icscf.toml": IcscfConfig,
    "scscf.toml": ScscfConfig,
    "lab.toml": LabSettings,
    "hss.toml": HssSettings,
    "pcrf.toml": PcrfSettings,
}
SHARED = "shared"  # what stands in sections that are not about one file
Keys = dict[str, dict[str, str]]  # of a table, with their defaults


def keys_of(schema: Any, table: str = "") -> Keys:
    """Go through a schema: the keys of each table."""
    found: Keys = {}
    hints = get_type_hints(schema, include_extras=True)
    for field in dataclasses.fields(schema):
        hint = _unwrap(hints[field.name])[0]
        item = _unwrap(get_args(hint)[0])[0] if get_origin(hint) is tuple else hint
        name = f"{table}.{field.name}".lstrip(".")
        if dataclasses.is_dataclass(item):
            found |= keys_of(item, name)
        else:
            found.setdefault(table, {})[field.name] = default_of(field)
    return found


def default_of(field: dataclasses.Field[Any]) -> str:
    """Write a default the way the page does."""
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if default is dataclasses.MISSING:
        return "required"
    if default is None:
        return "none"
    return "empty" if default in ((), {}) else f"`{value_text(default)}`"


def documented() -> dict[str, Keys]:
    """Read docs/configuration.md: by file, then by table."""
    found: dict[str, Keys] = {name: {} for name in (*SCHEMAS, SHARED)}
    place, tables = SHARED, [""]
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            name = line[3:].strip("`")
            place, tables = (name if name in SCHEMAS else SHARED), [""]
        elif line.startswith("### "):
            tables = re.findall(r"`\[{1,2}([\w.]+)\]{1,2}`", line)
        elif row := re.fullmatch(r"\| `(\w+)` \| .+? \| (.+?) \| .+ \|", line):
            for table in tables:
                found[place].setdefault(table, {})[row[1]] = row[2]
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_documented_with_its_default(name: str) -> None:
    pages = documented()
    for table, keys in keys_of(SCHEMAS[name]).items():
        told = pages[SHARED].get(table, {}) | pages[name].get(table, {})
        assert {key: told.get(key) for key in keys} == keys, f"docs/configuration.md, {name}, [{table}]"


def test_no_documented_key_is_gone() -> None:
    schemas = {name: keys_of(schema) for name, schema in SCHEMAS.items()}
    for name, tables in documented().items():
        for table, keys in tables.items():
            places = schemas.values() if name == SHARED else [schemas[name]]
            known = {key for place in places for key in place.get(table, {})}
            assert set(keys) <= known, f"docs/configuration.md, {name}, [{table}]"


def test_settings_in_the_readme_are_right_and_go_together() -> None:
    examples = dict(re.findall(r"```toml\n# (\w+\.toml)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL))
    pcscf, icscf, scscf = (
        loads(examples[name], SCHEMAS[name], ROOT / name) for name in ("pcscf.toml", "icscf.toml", "scscf.toml")
    )
    assert pcscf.pcscf.visited_network == icscf.icscf.domain == scscf.scscf.domain
    assert icscf.icscf.scscf[0].name == scscf.scscf.server_name
    assert {pcscf.pcscf.icscf, scscf.scscf.icscf} == {f"sip:{icscf.sip.listen[0].address}:5060"}


EVENT_ARGUMENT = {"Report": 0, "info": 0, "warning": 0, "error": 0, "event": 1, "_log": 1}
EVENT_ARGUMENT |= {"_on_usable": 0, "_on_unusable": 0}  # of a Diameter peer


def events() -> set[str]:
    """Find the names of log events that stand in the code as such."""
    found = set()
    for folder in ("common", "diameter", "pcscf", "icscf", "scscf", "labs/hss", "labs/pcrf"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    match node.args[EVENT_ARGUMENT.get(name, 99) :]:
                        case [ast.Constant(value=str(event)), *_]:
                            found.add(event)
    return found


def test_every_log_event_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert len(events()) > 20
    assert sorted(event for event in events() if f"| `{event}` |" not in text) == []


RFCS = {
    3261,
    6026,
    3581,
    3263,
    3262,
    3311,
    3312,
    3840,
    3841,
    4320,
    5393,
    5626,
    5658,
    7118,
    7315,
    3966,
    4028,
    8760,
    8898,
}


def test_every_rfc_is_shown_by_a_test_that_names_it() -> None:
    """docs/sip.md: the files are there, and each test names the RFCs of its row."""
    rows = re.findall(
        r"^\| ([\d, ]+) \| .+ \| (.+) \| (.+) \|$", (ROOT / "docs" / "sip.md").read_text("utf-8"), re.MULTILINE
    )
    told: set[int] = set()
    for numbers, places, tests in rows:
        assert all((ROOT / place.strip(" `")).is_file() for place in places.split(",")), places
        text = "".join((ROOT / test.strip(" `")).read_text("utf-8") for test in tests.split(","))
        for number in map(int, numbers.split(",")):
            assert str(number) in text, f"{tests} does not name RFC {number}"
            told.add(number)
    assert told >= RFCS


def test_index_of_decisions_is_true() -> None:
    folder = ROOT / "docs" / "decisions"
    told = re.findall(r"\| \[(\d{4})\]\((\S+)\) \| (.+) \|", (folder / "README.md").read_text(encoding="utf-8"))
    there = [
        (path.name[:4], path.name, path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# "))
        for path in sorted(folder.glob("0*.md"))
    ]
    assert told == there


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}#{anchor}"
