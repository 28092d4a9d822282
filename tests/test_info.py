"""``python -m fastcos info``, and the command line without a command."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import types
from importlib import metadata

import pytest

import fastcos
from fastcos import _extras
from fastcos.__main__ import main
from fastcos.commands import info
from fastcos.kernels import cuda
from fastcos.kernels.cache import directory
from fastcos.kernels.cuda import launch


def test_json_is_show_config(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == fastcos.show_config()


def test_text_is_aligned_and_complete(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    config = fastcos.show_config()
    names = [name for key, value in config.items() for name in (key, *names_in(value))]
    assert [line.split()[0] for line in lines] == names
    assert lines[0].split() == ["fastcos", fastcos.__version__]
    column = lines[0].index(fastcos.__version__)
    for line in lines:
        assert line == line.rstrip()
        name = line[:column].strip()
        assert " " not in name
        assert line[column - 2 : column].strip() == ""
        assert len(line) <= column or line[column] != " "


def names_in(value):
    return value if isinstance(value, dict) else ()


def test_what_is_absent_says_so(capsys, monkeypatch):
    config = {"packages": {"numpy": "2", "cupy": None}, "cpu": {"features": []}, "gpu": []}
    monkeypatch.setattr(fastcos, "show_config", lambda: config)
    main(["info"])
    assert capsys.readouterr().out.splitlines() == [
        "packages",
        "  numpy     2",
        "  cupy      not installed",
        "cpu",
        "  features  none",
        "gpu         none",
    ]


def test_gpus_are_told_by_name_and_compute_capability(monkeypatch, capsys):
    named = [
        types.SimpleNamespace(name="NVIDIA H200", compute_capability=(9, 0)),
        types.SimpleNamespace(name="NVIDIA A100-SXM4-80GB", compute_capability=(8, 0)),
    ]
    core = types.SimpleNamespace(
        Device=types.SimpleNamespace(get_all_devices=lambda: named),
        ObjectCode=None,
    )
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    monkeypatch.setattr(launch, "missing", lambda: "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "cupy" or None)
    devices = ["NVIDIA H200 (9.0)", "NVIDIA A100-SXM4-80GB (8.0)"]
    found = info.show_config()["gpu"]
    assert found == {"devices": devices, "missing": "nothing", "cache": directory(cuda.pair)}
    main(["info"])
    assert ", ".join(devices) in capsys.readouterr().out


def test_what_is_missing_for_a_gpu_is_told(monkeypatch):
    monkeypatch.setattr(info, "_devices", list)
    monkeypatch.setattr(launch, "missing", lambda: "numba-cuda (...): pip install 'numba-cuda'")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "cupy" else find(n))
    assert fastcos.show_config()["gpu"] == {
        "devices": [],
        "missing": "numba-cuda (...): pip install 'numba-cuda';"
        f" no CuPy: {_extras.command('cupy')}; no GPU or no driver",
        "cache": directory(cuda.pair),
    }


@pytest.mark.parametrize("failure", [ImportError("no cuda"), RuntimeError("no driver"), OSError()])
def test_no_driver_is_no_failure(monkeypatch, failure):
    def nothing():
        raise failure

    core = types.SimpleNamespace(Device=types.SimpleNamespace(get_all_devices=nothing))
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    assert info._devices() == []
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert info._devices() == []


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_no_command_prints_the_help(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m fastcos")
    assert "demo" in done.stdout
    assert "info" in done.stdout
    assert not done.stderr


def test_version():
    assert run("--version").stdout == f"fastcos {fastcos.__version__}\n"


@pytest.mark.parametrize("arguments", [["benchmark"], ["info", "--yaml"]])
def test_wrong_arguments(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_imports_nothing_heavy():
    heavy = ("numba", "scipy", "sklearn", "matplotlib", "tqdm")
    code = f"import sys, fastcos.__main__; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def run(*arguments):
    command = [sys.executable, "-m", "fastcos", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_advice_names_packages_that_there_are():
    toml = pytest.importorskip("tomllib")  # from Python 3.11
    project = pathlib.Path(fastcos.__file__).parents[1].joinpath("pyproject.toml")
    listed = toml.loads(project.read_text())["project"]["optional-dependencies"]
    for extra in ("cuda", "cupy", "demo", "torch"):
        command, *packages = _extras.command(extra).split(" '")
        assert command == "pip install"
        packages = [package.removesuffix("'") for package in packages]
        # The metadata have the same bounds in an order of their own.
        assert [bounds(one) for one in packages] == [bounds(one) for one in listed[extra]]
    both = _extras.command("cupy", "cuda")
    assert "'cupy-cuda13x" in both
    assert "'numba-cuda[cu13]" in both
    assert "fastcos" not in both


def test_advice_without_metadata_says_where_the_packages_are_listed(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert _extras.command("cuda") == "install what pyproject.toml of fastcos lists as cuda"


def test_no_message_names_an_extra_of_a_package_that_is_on_no_index():
    root = pathlib.Path(fastcos.__file__).parent.parent
    for folder in ("fastcos", "adapters", "bench"):
        for path in (root / folder).rglob("*.py"):
            if path.name != "_extras.py":
                assert "'fastcos[" not in path.read_text(), path


def bounds(requirement):
    name, *rest = re.split(r"(?=[<>=,])", requirement, maxsplit=1)
    return name, set("".join(rest).split(","))
