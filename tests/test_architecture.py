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
from fastcos.kernels.cpu import compile

PACKAGE = pathlib.Path(fastcos.__file__).parent
ADAPTERS = pathlib.Path(importlib.import_module("fastcos.adapters").__file__).parent

# What the body of a kernel for the CPU is made of.
BODY = {
    *("kernels", "kernels.functions", "kernels.linear", "distances"),
    *("kernels.cpu.gradients", "kernels.cpu.measure", "kernels.cpu.memory"),
    *("kernels.cpu.samples", "kernels.cpu.states", "kernels.cpu.storage"),
    "kernels.cpu.streaming",
}

# Each module of the core, and the modules of the core that it may name. Downwards only:
# api -> plan, dispatch -> kernels -> distances, losses.
ALLOWED = {
    "_version": set(),
    "distances": set(),
    "losses": set(),
    "typing": {"distances"},
    "_names": set(),
    "_extras": set(),
    "_plan": {"_names", "distances", "kernels", "typing"},
    "kernels.functions": set(),
    "kernels.content": {"kernels.functions", "distances"},
    "kernels.forks": set(),
    "kernels.report": set(),
    "kernels.cache": {"kernels", "kernels.forks", "kernels.report"},
    "kernels.linear": {"kernels.functions"},
    "kernels.extension": {"kernels.functions", "distances"},
    "kernels.arguments": set(),
    "kernels.cpu.emit": set(),
    "kernels.cpu.memory": {"kernels.cpu.emit", "kernels.functions"},
    "kernels.cpu.storage": {"kernels.cpu.emit", "kernels.cpu.memory"},
    "kernels.cpu.states": {"kernels.cpu.emit"},
    "kernels.cpu.streaming": {"kernels.cpu.emit", "kernels.cpu.memory", "kernels.functions"},
    "kernels.cpu.unpack": {"kernels.arguments", "kernels.cpu.memory", "kernels.functions"},
    "kernels.cpu.samples": {
        *("kernels", "kernels.arguments", "kernels.cpu.memory", "kernels.functions"),
    },
    "kernels.cpu.measure": {
        *("kernels.cpu.memory", "kernels.cpu.states", "kernels.cpu.storage"),
        *("kernels.functions", "distances"),
    },
    "kernels.cpu.gradients": {
        *("kernels", "kernels.functions", "kernels.linear", "distances"),
        *("kernels.cpu.emit", "kernels.cpu.memory", "kernels.cpu.states"),
        *("kernels.cpu.storage", "kernels.cpu.streaming"),
    },
    "kernels.cpu.pair_kernel": BODY,
    "kernels.cpu.triplet_kernel": BODY,
    "kernels.cpu.pointwise_kernel": BODY,
    "kernels.cpu.compile": {
        *("kernels.cache", "kernels.cpu.storage", "kernels.cpu.unpack"),
        *("kernels.functions", "distances"),
    },
    "kernels.cpu.loops": {
        *("kernels", "kernels.cache", "kernels.functions"),
        *("kernels.cpu.compile", "kernels.cpu.emit", "kernels.cpu.memory"),
    },
    "kernels.cpu": {
        *("kernels.cpu.compile", "kernels.cpu.loops", "kernels.cpu.pair_kernel"),
        *("kernels.cpu.pointwise_kernel", "kernels.cpu.storage", "kernels.cpu.streaming"),
        *("kernels.cpu.triplet_kernel", "kernels.cpu.unpack", "distances", "losses"),
    },
    "kernels._gpu": set(),
    "kernels.cuda": {"kernels", "kernels.functions", "kernels.linear", "distances", "losses"},
    "kernels._cubin": {
        "_extras",
        "kernels",
        "kernels.cache",
        "kernels.functions",
        "kernels._gpu",
    },
    "_limit": set(),
    "kernels.cpu.threads": {"_limit"},
    "_on_host": {
        *("_plan", "distances", "losses", "kernels", "kernels.arguments"),
        *("kernels.content", "kernels.forks", "kernels.cpu", "kernels.cpu.threads"),
    },
    "_on_device": {
        *("_plan", "distances", "losses", "kernels"),
        *("kernels.content", "kernels.forks", "kernels.cuda", "kernels._cubin"),
    },
    "_faults": {"distances", "kernels.functions"},
    "_dispatch": {
        "_faults",
        "_names",
        "_on_device",
        "_on_host",
        "_plan",
        "distances",
        "losses",
        "kernels",
        "kernels.forks",
        "kernels.cpu",
    },
    "api": {"_dispatch", "_names", "_plan", "distances", "losses", "typing"},
    "_warmup": {
        *("_dispatch", "_names", "_plan", "api", "distances", "typing"),
        *("kernels", "kernels.report"),
    },
}


def path_of(module):
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(path):
    found = set()
    for node in run_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def run_nodes(tree):
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_nodes(node)


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_point_one_way(module):
    modules = {
        p.relative_to(PACKAGE)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__")
        for p in PACKAGE.rglob("*.py")
    }
    own = {
        name.removeprefix("fastcos.")
        for name in imports_of(path_of(module))
        if name.startswith("fastcos.") and name.removeprefix("fastcos.") in modules
    }
    assert own <= ALLOWED[module]


def test_kernels_on_disk_are_known_by_all_sources_of_theirs():
    # What is in neither list ends up in no kernel.
    sources, others = set(compile.SOURCES), {"kernels.cache", "kernels.forks", "kernels.report"}
    used = set().union(*[ALLOWED.get(source, set()) for source in sources])
    assert used - others <= sources
    parts = {f"kernels.cpu.{path.stem}" for path in (PACKAGE / "kernels" / "cpu").glob("*.py")}
    assert parts - {"kernels.cpu.__init__", "kernels.cpu.threads"} <= sources


def test_frameworks_stay_in_adapters_and_numba_in_kernels():
    frameworks = {"torch", "cupy", "jax", "tensorflow"}
    for path in PACKAGE.rglob("*.py"):
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & frameworks, path
        if "kernels" not in path.parts and path.name != "_config.py":
            assert not roots & {"numba", "llvmlite"}, path


def test_loops_stay_in_kernels():
    for name in ("distances", "losses"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text())
        loops = [n.lineno for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While))]
        assert not loops, f"{name}.py has loops at lines {loops}"


def test_import_takes_numpy_and_nothing_heavier():
    code = "import sys, json, fastcos; print(json.dumps(sorted(sys.modules)))"
    modules = {name.split(".")[0] for name in json.loads(run_python(code))}
    heavy = {"numba", "llvmlite", "torch", "cupy", "scipy", "sklearn", "matplotlib", "ml_dtypes"}
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
