"""The layout of the package: no module imports upwards or in a circle (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recbole_raserec
from recbole_raserec import _HOME

PACKAGE = Path(recbole_raserec.__file__).parent
# From the ground up. A room imports only from itself and from the rooms before it.
FLOORS = (
    "errors", "nn", "runtime", "doctor", "config", "data", "evaluation", "backbones", "retrieval", "model", "training",
    "regeneration", "reporting", "pipeline", "tuning", "recommending", "recommender", "serving", "cli",
    "__main__",
)  # fmt: skip
# Further imports that are forbidden, although they point downwards.
NEVER = {
    "serving": {"model", "training", "retrieval", "recommending", "config", "backbones", "pipeline"},
    "data": {"config"},
    "nn": {"errors"},
    "retrieval": {"backbones", "data", "config"},
    "backbones.encode": {"runtime.processes", "runtime.ray"},
    "retrieval.memory": {"runtime.processes", "runtime.ray"},
}


def imports() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, also inside functions. Names omit the package's name."""
    files = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE or path.stem != "__init__"
    }
    found = {}
    for module, path in files.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: imports name their whole path"
                inner = f"{node.module}.".removeprefix("recbole_raserec.").rstrip(".")
                if f"{node.module}.".startswith("recbole_raserec."):
                    public = {alias.name for alias in node.names} - {"__version__"}
                    below = {
                        ".".join(filter(None, (inner, _HOME.get(name, name) if not inner else name))) for name in public
                    }
                    names |= (below & files.keys()) or ({inner} if inner else set())
            elif isinstance(node, ast.Import):
                names |= {alias.name.removeprefix("recbole_raserec.") for alias in node.names} & files.keys()
        found[module] = names - {module}
    return found


IMPORTS = imports()


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_module_stands_on_a_floor():
    assert {room(module) for module in IMPORTS} <= set(FLOORS)


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_nothing_is_imported_from_above(module):
    here = FLOORS.index(room(module))
    above = {other for other in IMPORTS[module] if FLOORS.index(room(other)) > here}
    assert not above, f"{module} imports from above: {sorted(above)}"


@pytest.mark.parametrize("who", NEVER)
def test_what_is_never_imported(who):
    for module, others in IMPORTS.items():
        if module == who or module.startswith(f"{who}."):
            wrong = {other for other in others if other in NEVER[who] or room(other) in NEVER[who]}
            assert not wrong, f"{module} imports {sorted(wrong)}"


def test_there_is_no_circle():
    left = {module: set(others) for module, others in IMPORTS.items()}
    while ground := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in ground}
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_nobody_imports_anothers_private_parts():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recbole_raserec"):
                private = [
                    alias.name for alias in node.names if alias.name.startswith("_") and not alias.name.endswith("__")
                ]
                assert not private, f"{path.name} imports {private} from {node.module}"


def test_no_file_is_longer_than_a_reader_likes():
    long = {path.name: lines for path in PACKAGE.rglob("*.py") if (lines := len(path.read_text().splitlines())) > 250}
    assert not long
    assert len((PACKAGE / "pipeline.py").read_text().splitlines()) < 120
