"""Whether an installed fastcos works: ``python smoke.py``, in any folder that is no checkout.

It takes NumPy and Numba alone, compiles half a dozen kernels, and imports nothing of the tests.
"""

import importlib.metadata
import importlib.resources
import json
import pathlib
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable

import numpy as np

import fastcos
import fastcos.adapters.numpy


def main() -> None:
    """Runs every check, and says in which versions."""
    checks = (installed, loss_and_gradient, table, batch, neighbours, retrieval, commands)
    for check in checks:
        check()
    names = ("fastcos", "numpy", "numba", "llvmlite")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    print(f"{len(checks)} checks passed: Python {platform.python_version()}, {', '.join(versions)}")


def installed() -> None:
    """It is what was installed, in one version, with types."""
    folder = pathlib.Path(fastcos.__file__).parent
    assert folder.parent == pathlib.Path(sysconfig.get_path("purelib")), f"imported from {folder}"
    assert importlib.metadata.version("fastcos") == fastcos.__version__
    for package in ("fastcos", "fastcos.adapters"):
        assert importlib.resources.files(package).joinpath("py.typed").is_file()


def loss_and_gradient() -> None:
    """Of pairs, against NumPy and against differences."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50, 24))
    target = rng.choice((-1, 1), 50)

    def formula(x: np.ndarray) -> float:
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        return float(np.where(target == 1, 1 - cosine, np.maximum(0, cosine - 0.1)).mean())

    loss = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, (grad_x, grad_y) = loss(x, y, target, margin=0.1)
    close(value, formula(x))
    assert grad_x.shape == grad_y.shape == x.shape
    close(np.vdot(grad_x, direction := rng.standard_normal(x.shape)), slope(formula, x, direction))


def table() -> None:
    """Pairs that name rows of a table: its gradient is the sum of theirs."""
    rng = np.random.default_rng(1)
    rows, index = rng.standard_normal((9, 8)), rng.integers(0, 9, (2, 40))
    loss = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    value, (grad, _) = loss(fastcos.rows(rows, index[0]), rows[index[1]])
    wanted, (each, _) = loss(rows[index[0]], rows[index[1]])
    summed = np.zeros_like(rows)
    np.add.at(summed, index[0], each)
    close(value, wanted)
    close(grad, summed)


def batch() -> None:
    """InfoNCE, against NumPy and against differences."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 20, 16))

    def formula(x: np.ndarray) -> float:
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y)]
        scores = unit[0] @ unit[1].T / 0.07
        most = scores.max(1, keepdims=True)
        sums = np.log(np.exp(scores - most).sum(1)) + most[:, 0]
        return float((sums - np.diagonal(scores)).mean())

    value, (grad, _) = fastcos.value_and_grad(fastcos.info_nce_loss)(x, y)
    close(value, formula(x))
    close(np.vdot(grad, direction := rng.standard_normal(x.shape)), slope(formula, x, direction))


def neighbours() -> None:
    """The nearest rows are those of the whole matrix."""
    rng = np.random.default_rng(3)
    queries, gallery = rng.standard_normal((100, 32)), rng.standard_normal((400, 32))
    found = fastcos.nearest(queries, gallery, 5, distance="euclidean")
    matrix = np.linalg.norm(queries[:, None] - gallery, axis=2)
    assert np.array_equal(found.indices, matrix.argsort(1)[:, :5])
    close(found.distances, np.sort(matrix, 1)[:, :5])


def retrieval() -> None:
    """Measures of rows in two groups that lie far apart."""
    rng = np.random.default_rng(4)
    labels = np.arange(40) % 2
    rows = rng.standard_normal((40, 4)) + 100 * labels[:, None]
    assert fastcos.measures.recall_at_k(rows, labels, distance="euclidean") == 1


def commands() -> None:
    """Both ways to call the command line."""
    scripts = pathlib.Path(sysconfig.get_path("scripts"))
    found = [path for path in scripts.iterdir() if path.stem == "fastcos"]
    assert found, f"no command in {scripts}"
    assert told(str(found[0]), "--version") == f"fastcos {fastcos.__version__}\n"
    config = json.loads(told(sys.executable, "-m", "fastcos", "info", "--json"))
    assert config["fastcos"] == fastcos.__version__
    assert config["packages"]["numba"] == importlib.metadata.version("numba")


def told(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def slope(f: Callable[[np.ndarray], float], x: np.ndarray, direction: np.ndarray) -> float:
    """Of a function along a direction, by a central difference."""
    step = 1e-6 * direction
    return (f(x + step) - f(x - step)) / 2e-6


def close(got: object, wanted: object) -> None:
    """To seven digits."""
    np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-7)


if __name__ == "__main__":
    main()
