"""Whether an installed fastcos works: ``python smoke.py [EXTRA ...]``, in a folder of no checkout.

It takes NumPy, Numba and what the extras bring, and imports nothing of the tests. Without extras it
takes half a minute, in which kernels are compiled.
"""

import importlib.metadata
import importlib.resources
import json
import pathlib
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable

import numpy as np

import fastcos
import fastcos.adapters.numpy


def main(*extras: str) -> None:
    """Runs every check, and those of extras, and says in which versions."""
    checks = (installed, loss_and_gradient, table, batch, neighbours, retrieval, commands)
    for check in checks:
        check()
    for extra in extras:
        EXTRAS[extra]()
    names = ["fastcos", "numpy", "numba", "llvmlite", *filter(present, PACKAGES)]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    count = len(checks) + len(extras)
    print(f"{count} checks passed: Python {platform.python_version()}, {', '.join(versions)}")


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


# -- extras ----------------------------------------------------------------------------------------


def learn() -> None:
    """A projection is learned that brings rows of one label together."""
    from fastcos.sklearn import LinearEmbedding

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = rng.standard_normal((60, 6))
    rows[:, 0] += labels
    learned = LinearEmbedding(2, random_state=0).fit_transform(rows, labels)
    assert learned.shape == (60, 2)
    before, after = (fastcos.measures.r_precision(x, labels) for x in (rows, learned))
    assert after > before


def demo() -> None:
    """The table of one loss, and a picture."""
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder, "demo.png")
        loss = ("--loss", "cosine_embedding_loss")
        text = told(sys.executable, "-m", "fastcos", "demo", *loss, "--out", str(picture))
        assert "MAP@R" in text
        assert picture.read_bytes().startswith(b"\x89PNG")


def dask() -> None:
    """Chunks have the loss and the gradient of the whole."""
    import dask.array

    x, y = np.random.default_rng(6).standard_normal((2, 40, 8))
    loss = fastcos.value_and_grad(fastcos.cosine_embedding_loss, 0)
    value, grad = loss(dask.array.from_array(x, (10, 8)), dask.array.from_array(y, (10, 8)), 1)
    wanted = loss(x, y, 1)
    close(value.compute(), wanted[0])
    close(grad.compute(), wanted[1])


def torch() -> None:
    """The value and the gradient of torch's own function."""
    import torch
    from torch.nn import functional

    import fastcos.adapters.torch

    x, y = torch.randn(2, 40, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    target = torch.ones(40).where(x[:, 0] > 0, torch.tensor(-1.0))
    found = []
    for module in (fastcos.adapters.torch, functional):
        leaf = x.clone().requires_grad_()
        value = module.cosine_embedding_loss(leaf, y, target, margin=0.1)
        value.backward()
        found.append((value.item(), leaf.grad.numpy()))
    close(found[0][0], found[1][0])
    close(found[0][1], found[1][1])


def cuda() -> None:
    """A kernel is compiled for a GPU that need not be here."""
    loss = ("--losses", "cosine_embedding_loss", "--device", "9.0")
    assert "cosine_embedding_loss" in told(sys.executable, "-m", "fastcos", "warmup", *loss)


def cupy() -> None:
    """Without a GPU: it can be imported."""
    import cupy

    assert cupy.float32 is np.float32


def bench() -> None:
    """The peers can be imported."""
    for name in ("faiss", "numkong", "simsimd", "usearch.index"):
        importlib.import_module(name)


def peers() -> None:
    """The peers can be imported."""
    for name in ("pytorch_metric_learning.losses", "sentence_transformers.losses"):
        importlib.import_module(name)


EXTRAS = {one.__name__: one for one in (bench, cuda, cupy, dask, demo, learn, peers, torch)}
#: Whose versions are told where they are installed.
PACKAGES = (
    "scikit-learn",
    "scipy",
    "matplotlib",
    "dask",
    "torch",
    "numba-cuda",
    "cuda-core",
    "cupy-cuda13x",
)

# -- helpers ---------------------------------------------------------------------------------------


def present(package: str) -> bool:
    """Whether it is installed."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


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
    main(*sys.argv[1:])
