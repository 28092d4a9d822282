"""What type checkers make of fastcos: a user's pages pass in strict mode, errors are found."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import stubs

import fastcos

ROOT = pathlib.Path(__file__).parent.parent
TYPED = pathlib.Path("tests", "typed")
PAGES, WRONG = [TYPED / "page.py", TYPED / "every.py"], TYPED / "wrong.py"
CODE = re.compile(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def wrong_lines():
    """The lines that are errors, and the codes of them."""
    lines = enumerate((ROOT / WRONG).read_text().splitlines(), start=1)
    return {number: line.rpartition("  # ")[2] for number, line in lines if "  # " in line}


def test_the_stub_is_that_of_the_signatures():
    assert stubs.STUB.read_text() == stubs.stub(), "python tests/stubs.py writes it"


def test_pages_of_a_user_pass_and_every_error_is_found():
    # In one run: most of its time goes into what is imported, torch above all.
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, PAGES), str(WRONG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    found = {(path, int(line), code) for path, line, code in CODE.findall(done.stdout)}
    expected = {(str(WRONG), number, code) for number, code in wrong_lines().items()}
    assert len(expected) >= 30
    assert found == expected, done.stdout


@pytest.mark.skipif(
    not importlib.util.find_spec("basedpyright"), reason="basedpyright, pyright in a wheel"
)
def test_pyright_says_the_same(tmp_path):
    # Its own rules are those of pyright in this mode.
    files = [str(ROOT / path) for path in (*PAGES, WRONG)]
    settings = {"include": files, "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(tmp_path)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads(done.stdout)["generalDiagnostics"]
    errors = [each for each in said if each["severity"] == "error"]
    assert {each["file"] for each in errors} == {str(ROOT / WRONG)}, done.stdout
    found = {each["range"]["start"]["line"] + 1 for each in errors}
    assert found == set(wrong_lines()), done.stdout


def test_every_public_name_is_on_a_page():
    text = "".join((ROOT / path).read_text() for path in PAGES)
    modules = {fastcos: "fastcos", fastcos.measures: "measures", fastcos.plots: "plots"}
    if importlib.util.find_spec("torch"):
        modules[importlib.import_module("fastcos.adapters.torch")] = "fused"
    for module, called in modules.items():
        for name in {*module.__all__} - {"plots"}:
            assert re.search(rf"\b{called}\.{name}\b", text), f"{called}.{name}"


ARRAYS = """
import numpy as np, fastcos
x, f = np.ones((2, 3)), fastcos.value_and_grad(fastcos.cosine_embedding_loss)
reveal_type(fastcos.cosine_similarity(x, x))
reveal_type(fastcos.cosine_embedding_loss(x, x, [1, -1]))
reveal_type(fastcos.nca_loss(x, [0, 1], reduction="none"))
reveal_type(fastcos.nearest(x, None, 1).distances)
reveal_type(f(x, x, [1, -1])[1])
"""
KINDS = ("ndarray", "floating", "ndarray", "ndarray", r"tuple\[.*ndarray")


def test_results_of_arrays_have_types_without_torch(tmp_path):
    # Where torch is not installed, Tensor is Any, and must not be what every argument fits.
    (tmp_path / "page.py").write_text(ARRAYS)
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "page.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    for kind, text in zip(KINDS, found, strict=True):
        assert re.search(kind, text), found
