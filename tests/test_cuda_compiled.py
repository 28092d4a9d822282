"""Kernels compiled for GPUs that are not there: that they compile, and to what (tier 2).

From Numba through NVVM to PTX, and from there to what an A100 (8.0) and an H100 or H200 (9.0) run:
the same way that a kernel goes when it is wanted, up to loading it.
"""

import pathlib
import re

import machine_code
import numba
import pytest
from machine_code import CAPABILITIES
from numba import cuda as numba_cuda
from numba import float32, int64, void
from numba.cuda.dispatcher import CUDADispatcher

from fastcos import distances, losses
from fastcos.distances import angles
from fastcos.kernels import cuda, linear
from fastcos.kernels.arguments import device_count
from fastcos.kernels.cpu import compile
from fastcos.kernels.cuda import binaries, storage
from fastcos.kernels.functions import jitable

pytestmark = pytest.mark.compiled

SHORT, LONG = 128, 100_000
RECORDS = {
    **{name: make() for name, make in distances.DISTANCES.items()},
    "lp": distances.lp(3.5),
    "lp of 3": distances.lp(3),
    "cosine_similarity": angles.cosine_similarity(),
    "clamped_cosine_similarity": angles.clamped_cosine_similarity(1e-8),
}
#: Registers of a thread on an H200. Three blocks of 128 threads with so many fit a processor.
REGISTERS = 168

PAIRS = [
    *((name, "float32", "written", SHORT) for name in RECORDS),
    *((name, "float32", "none", SHORT) for name in ("chebyshev", "cosine", "lp")),
    *(("cosine", dtype, "none", SHORT) for dtype in ("float16", "bfloat16", "float64")),
    *(("cosine", dtype, "written", SHORT) for dtype in ("float16", "bfloat16", "float64")),
    *(("cosine", dtype, "summed", SHORT) for dtype in ("bfloat16", "float32", "float64")),
    *(("cosine", "float32", gradients, LONG) for gradients in ("none", "written", "summed")),
    ("chebyshev", "float32", "written", LONG),
]
TRIPLETS = [
    ("cosine", losses.triplet, "float32", "none", SHORT),
    ("cosine", losses.triplet, "float32", "written", SHORT),
    ("cosine", losses.triplet, "float32", "summed", SHORT),
    ("cosine", losses.triplet, "bfloat16", "written", SHORT),
    ("cosine", losses.triplet, "float64", "written", SHORT),
    ("cosine", losses.triplet, "float32", "written", LONG),
    ("euclidean", losses.triplet, "float32", "written", SHORT),
    ("lp", losses.triplet, "float32", "written", SHORT),
    ("cosine", losses.triplet_swap, "float32", "none", SHORT),
    ("cosine", losses.triplet_swap, "float32", "written", SHORT),
    ("cosine", losses.triplet_swap, "bfloat16", "written", SHORT),
    ("cosine", losses.triplet_swap, "float64", "summed", LONG),
]
POINTWISE = [
    (losses.identity, "float32"),
    (losses.hinge_embedding, "bfloat16"),
    (losses.triplet, "float32"),
    (losses.triplet_swap, "float64"),
]


WORDS = {
    **{getattr(losses, name): name for name in losses.__all__},
    **{SHORT: "short", LONG: "long"},
}


def word(value):
    """A part of the id of a case."""
    return WORDS.get(value, str(value))


def compiled(make, arguments, operands, variant, features):
    """The PTX, and by capability what the linker says of registers and spills."""
    parameters = variant.distance_parameters + variant.loss_parameters
    counts = device_count(operands, variant.columns, parameters)
    threads = cuda.layout(features, variant.dtype).threads
    text = machine_code.ptx(make, arguments, counts, threads)
    return text, {
        capability: machine_code.resources(text, capability) for capability in CAPABILITIES
    }


def variant_of(record, loss, dtype, gradients, features):
    of_loss = 3 if loss is losses.cosine_embedding else 2
    wide = cuda.layout(features, dtype).wide
    return cuda.Variant(dtype, len(record.parameters), of_loss, 1, gradients, wide)


def assert_good(text, found, record, dtype, gradients):
    for capability, used in found.items():
        spilled = used["stack frame"], used["spill stores"], used["spill loads"]
        # The C library's power has a frame of its own for arguments that are out of range.
        assert record.name == "lp" or not any(spilled), capability
    assert found[9, 0]["registers"] <= REGISTERS
    assert ".local" not in text
    assert "call" not in text or record.name == "lp"
    # Generic addresses, which the compiler makes of what it cannot tell to be global.
    assert not re.search(r"\b(ld|st)\.[bfu]", text)
    assert not re.search(r"\b(atom|red)\.", text)
    vector = "v2.f64" if dtype == "float64" else "v4.[bfu]32"
    assert len(re.findall(rf"ld\.global\.{vector}", text)) >= 2
    stores = len(re.findall(rf"st\.global\.{vector}", text))
    assert (stores >= 2) == (gradients != "none")


@pytest.mark.parametrize(("name", "dtype", "gradients", "features"), PAIRS, ids=word)
def test_pairs(name, dtype, gradients, features):
    record, loss = RECORDS[name], losses.cosine_embedding
    variant = variant_of(record, loss, dtype, gradients, features)
    arguments = loss, record.functions, variant
    text, found = compiled(cuda.pair, arguments, 2, variant, features)
    assert_good(text, found, record, dtype, gradients)


@pytest.mark.parametrize(("name", "loss", "dtype", "gradients", "features"), TRIPLETS, ids=word)
def test_triplets(name, loss, dtype, gradients, features):
    record = RECORDS[name]
    variant = variant_of(record, loss, dtype, gradients, features)
    arguments = loss, record.functions, variant
    text, found = compiled(cuda.triplet, arguments, 3, variant, features)
    assert_good(text, found, record, dtype, gradients)


@pytest.mark.parametrize(("loss", "dtype"), POINTWISE, ids=word)
def test_distances_computed_elsewhere(loss, dtype):
    of_loss = 0 if loss is losses.identity else 2
    variant = cuda.Variant(dtype, 0, of_loss, 2, "written", False)
    text, found = compiled(cuda.pointwise, (loss, variant), loss.arity, variant, 1)
    assert all(used["stack frame"] == 0 for used in found.values())
    assert not re.search(r"\b(ld|st)\.[bfu]", text)


@pytest.mark.parametrize("dtype", storage.STORAGE)
def test_the_sum_over_the_blocks(dtype):
    text = machine_code.ptx(cuda.finishing, (dtype,), (4, 1), cuda.FINISHING_THREADS)
    assert machine_code.resources(text, (9, 0))["stack frame"] == 0


def test_axes_that_cannot_be_merged():
    variant = cuda.Variant("float32", 1, 3, 3, "written", False)
    arguments = losses.cosine_embedding, RECORDS["cosine"].functions, variant
    text, found = compiled(cuda.pair, arguments, 2, variant, SHORT)
    assert_good(text, found, RECORDS["cosine"], "float32", "written")


def test_gradients_in_float32_have_no_float64():
    _, slopes = linear.linear_gradient(RECORDS["cosine"].functions.linear, storage.fma, jitable)
    load, store = storage.STORAGE["float32"].get, storage.STORAGE["float32"].put

    def kernel(at):
        rx, ux, vx = load(at), load(at + 4), load(at + 8)
        ry, uy, vy = load(at + 12), load(at + 16), load(at + 20)
        coefficients = linear.Coefficients(True, rx, ux, vx, ry, uy, vy, float32(0))
        to_x, to_y = slopes(coefficients, load(at + 24), load(at + 28))
        store(at, to_x)
        store(at + 4, to_y)

    with binaries.for_oldest_gpu():
        text, _ = numba_cuda.compile(
            kernel, void(int64), device=False, abi="numba", cc=(8, 0), output="ptx"
        )
    assert "fma.rn.f32" in text
    assert ".f64" not in text


def test_sums_take_each_number_to_float64_once():
    # One conversion for each number loaded, four at a time or one; nothing else that is 64 bits
    # wide but a difference and a product with sum for each pair.
    variant = cuda.Variant("float32", 0, 0, 1, "none", False)
    arguments = losses.identity, RECORDS["sqeuclidean"].functions, variant
    text, _ = compiled(cuda.pair, arguments, 2, variant, SHORT)
    vectors = len(re.findall(r"ld\.global\.v4\.f32", text))
    single = len(re.findall(r"ld\.global\.f32", text))
    assert vectors == 2 * (4 + 1)
    assert len(re.findall(r"cvt\.f64\.f32", text)) == 4 * vectors + single
    assert not re.search(r"(div|sqrt|rcp)\.[a-z]*\.?f64", text)


def test_kernels_are_declared_as_numbas_are():
    # Which can be launched as those are, too: tests/test_gpu.py.
    record = RECORDS["cosine"]
    variant = variant_of(record, losses.cosine_embedding, "float32", "none", SHORT)
    for kernel in (
        cuda.finishing("float32", storage),
        cuda.pair(losses.cosine_embedding, record.functions, variant, storage),
    ):
        assert isinstance(kernel, CUDADispatcher)


def test_the_code_that_contributing_shows_is_generated(monkeypatch, tmp_path):
    text = (pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compile, "_kernels", {})
    _, _, generated = text.partition("### Generated code")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", generated, re.DOTALL):
        exec(block, names)
    assert "kernel" in names["assembly"]
    assert "registers" in names["log"]
