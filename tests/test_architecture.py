"""The rules of the house: who imports whom, what an import costs, what is registered."""

import ast
import importlib
import json
import pathlib
import subprocess
import sys

import conftest
import pytest

import fastcos
from fastcos.kernels import metric
from fastcos.kernels.cpu import compile
from fastcos.kernels.cuda import binaries
from fastcos.kernels.functions import SCALAR_MODULES

PACKAGE = pathlib.Path(fastcos.__file__).parent
ADAPTERS = pathlib.Path(importlib.import_module("fastcos.adapters").__file__).parent

# The rooms, and what each may import of the others: downwards only. What is not in a room stands
# beside the rooms, and may be imported by all but those that are listed without it.
ROOMS = {
    "commands": {
        *("api", "engine", "kernels", "distances", "listwise", "losses", "sklearn", "typing"),
        *("_extras", "_hints", "_version"),
    },
    "sklearn": {"api", "engine", "distances", "listwise", "losses", "typing", "_extras", "_hints"},
    "measures": {"api", "engine", "distances", "typing"},
    "plots": {"measures", "typing", "_extras"},
    "api": {"engine", "distances", "listwise", "losses", "typing", "_hints"},
    "engine": {"kernels", "distances", "listwise", "losses", "typing", "_hints"},
    "kernels": {"distances", "listwise", "losses", "_extras", "_limit"},
    "distances": set(),
    "listwise": set(),
    "losses": set(),
    "typing": {"distances"},
    "adapters": {
        "api",
        "engine",
        "kernels",
        "distances",
        "losses",
        "measures",
        "typing",
        "_extras",
        "commands",
    },
    "_extras": set(),
    "_hints": set(),
    "_limit": set(),
    "_version": set(),
    "__init__": {
        *("api", "commands", "distances", "kernels", "listwise", "_limit", "_version"),
    },
    "__main__": {"commands", "typing", "_extras", "_hints"},
}
# Imports when called, and of what.
LATE = {
    ("distances.check", "api"),  # it compares with the compiled kernel
    ("distances.faults", "kernels"),  # it says what does not compile
    ("listwise.check", "api"),  # it compares with the compiled kernel
}
# Within kernels: what both targets share knows neither.
TARGETS = ("kernels.cpu", "kernels.cuda")


def run_nodes(tree):
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_nodes(node)


def modules():
    """The modules of the package by name, with those of the adapters."""
    found = {}
    for root, prefix in ((PACKAGE, ""), (ADAPTERS, "adapters.")):
        for path in root.rglob("*.py"):
            if root is PACKAGE and ADAPTERS.name in path.relative_to(PACKAGE).parts:
                continue
            name = prefix + path.relative_to(root).with_suffix("").as_posix().replace("/", ".")
            found[name.removesuffix(".__init__") if "." in name else name] = path
    return found


def own_imports(name, path, known):
    """The modules of fastcos that a module imports, wherever in it."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in run_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(["fastcos", *above] if node.level else []) or (node.module or "")
            if node.level and node.module:
                base += f".{node.module}"
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    names = {each.removeprefix("fastcos.") for each in found if each.startswith("fastcos.")}
    return {each for each in names if each in known} - {name}


MODULES = modules()
IMPORTS = {name: own_imports(name, path, MODULES) for name, path in MODULES.items()}


def imports_of(path):
    found = set()
    for node in run_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module):
    room = module.partition(".")[0]
    assert room in ROOMS, f"{module} is in no room"
    others = {name.partition(".")[0] for name in IMPORTS[module]} - {room}
    late = {to for name, to in LATE if name == module}
    assert others <= ROOMS[room] | late


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("kernels")))
def test_what_kernels_share_knows_no_target(module):
    of = next((target for target in TARGETS if module.startswith(target)), None)
    for target in TARGETS:
        if target != of:
            assert not any(name.startswith(target) for name in IMPORTS[module])


def test_no_module_imports_another_in_a_circle():
    late = {
        (name, other) for name, room in LATE for other in IMPORTS[name] if other.startswith(room)
    }
    waiting = {n: {o for o in IMPORTS[n] if (n, o) not in late} for n in MODULES}
    # A package is imported before its modules, and by them.
    for name in waiting:
        waiting[name] -= {name.rpartition(".")[0]}
    while free := {name for name, needed in waiting.items() if not needed & set(waiting)}:
        waiting = {name: needed for name, needed in waiting.items() if name not in free}
    assert not waiting


def test_no_module_is_long():
    """Above 500 lines a module has several subjects, or a reason that its docstring gives."""
    long = {n: len(p.read_text().splitlines()) for n, p in MODULES.items()}
    assert {n: lines for n, lines in long.items() if lines > 500} == {}


def test_frameworks_stay_in_adapters_and_numba_in_kernels():
    frameworks = {"torch", "cupy", "dask", "jax", "tensorflow"}
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "adapters"):  # no link, but a folder, in what is released
            continue
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & frameworks, path
        if "kernels" not in path.relative_to(PACKAGE).parts and path.name != "info.py":
            assert not roots & {"numba", "llvmlite"}, path


def test_loops_stay_in_kernels():
    for name in SCALAR_MODULES:
        tree = ast.parse(MODULES[name].read_text())
        loops = [n.lineno for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While))]
        assert not loops, f"{name}.py has loops at lines {loops}"


@pytest.mark.parametrize(
    ("target", "sources"),
    [("cpu", compile.SOURCES), ("cuda", binaries.SOURCES), ("metric", metric.SOURCES)],
)
def test_kernels_on_disk_are_known_by_all_of_their_sources(target, sources):
    # What puts kernels on disk and runs them, and records of functions, are not in a kernel.
    others = {"kernels.cache", "kernels.forks", "kernels.report", "distances", "distances.record"}
    others.add("kernels.content")  # what stands for functions that are not kept on disk
    others |= {f"kernels.{target}.{name}" for name in ("threads", "launch", "binaries")}
    parts = {name for name in MODULES if name.startswith(f"kernels.{target}")}
    assert parts - others <= set(sources) <= set(MODULES)
    for name in sources:
        assert IMPORTS[name] - others - {"_extras"} <= set(sources), name


def test_import_takes_numpy_and_nothing_heavier():
    code = "import sys, json, fastcos; print(json.dumps(sorted(sys.modules)))"
    modules = {name.split(".")[0] for name in json.loads(run_python(code))}
    heavy = {"numba", "llvmlite", "torch", "cupy", "dask", "scipy", "sklearn", "matplotlib"}
    heavy |= {"ml_dtypes", "distributed", "pandas"}
    assert not modules & heavy
    assert "numpy" in modules


def test_a_bad_call_needs_no_compiler():
    code = """
import sys, fastcos
try:
    fastcos.cosine_embedding_loss([1.0], [1.0, 2.0], 1)
except ValueError:
    print("numba" in sys.modules)
"""
    assert run_python(code).strip() == "False"


def test_public_names():
    for name in fastcos.__all__:
        assert hasattr(fastcos, name)
    for name in set(fastcos.__all__) - {"__version__", "distances"}:
        doc = getattr(fastcos, name).__doc__
        assert doc, f"{name} has no docstring"
        assert ">>>" in doc, f"{name} has no example"
    for name, factory in fastcos.distances.DISTANCES.items():
        assert factory().name == name
        assert ">>>" in factory.__doc__, f"{name} has no example"


def test_adapters_are_installed_and_typed():
    assert (ADAPTERS / "py.typed").exists()
    assert (PACKAGE / "py.typed").exists()
    assert importlib.import_module("fastcos.adapters.numpy").FLOATS


def test_the_quick_tests_exist():
    for name, tests in conftest.QUICK.items():
        assert (tests or set()) <= set(dir(importlib.import_module(name))), name
