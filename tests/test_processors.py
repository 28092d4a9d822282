"""Processors that lack what others have: no crash, and the same numbers."""

import os
import platform
import subprocess
import sys

import pytest

# x86-64-v2 is what most virtual machines offer: neither F16C nor FMA.
HALVES = """
import numpy as np, oracle, fastcos
from fastcos.kernels.cpu import memory
assert not memory.has("f16c") and not memory.has_fma()

every = np.arange(2**16, dtype=np.uint16).view(np.float16)
f = fastcos.value_and_grad(fastcos.hinge_embedding_loss)
losses, (gradient,) = f(every, True, reduction="none", grad_output=every)
nan = np.isnan(every)
for given in (losses, gradient):
    assert np.isnan(given[nan]).all()
    oracle.assert_same_bits(given[~nan] + np.float16(0), every[~nan] + np.float16(0))

# Rounded as by NumPy: numbers in between, halfway, and beyond either end of the range.
numbers = np.sort(np.float32(every[~nan & (abs(every) < np.inf)]))
between = (numbers[1:] + numbers[:-1]) / 2
ends = np.float32([65519.99, 65520, 65536, 1e30, np.inf, 2.0**-25, 2.0**-25 * 1.001, 1e-40, 0])
given = np.concatenate([
    *(np.nextafter(between, np.float32(to)) for to in (-np.inf, np.inf)), between, ends, -ends,
    np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32).view(np.float32)])
given = given[~np.isnan(given)]
_, (gradient,) = f(
    np.ones(given.shape, np.float16), True, reduction="none", grad_output=given.astype(float))
with np.errstate(over="ignore"):
    oracle.assert_same_bits(gradient, given.astype(np.float16))

x, y = np.random.default_rng(0).standard_normal((2, 5, 300)).astype(np.float16)
c, grads = fastcos.value_and_grad(fastcos.cosine_similarity)(x, y)
right, *slopes = oracle.distance("cosine_similarity", x, y)
oracle.assert_within_ulps(c, right, 4)
for given, slope in zip(grads, slopes):
    oracle.assert_rows_within_ulps(given, slope, 4)
print("ended")
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for x86 alone")
def test_float16_without_instructions_for_it():
    path = [os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", HALVES],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended\n"
