"""The exponentials of listwise losses as kernels for the CPU have them, against extended precision.

The bounds are those that the docstring of ``fastcos.kernels.cpu.exponential`` states.
"""

import functools
import math

import numpy as np
import pytest
from numba import njit
from oracle import assert_same_bits, wide

from fastcos import listwise
from fastcos.kernels.cpu import exponential

DTYPES = ["float32", "float64"]
FUNCTIONS = ["exp", "softplus", "sigmoid"]


def exact_exp(x):
    return np.exp(x)


def exact_softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def exact_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


EXACT = {"exp": exact_exp, "softplus": exact_softplus, "sigmoid": exact_sigmoid}
#: The largest error of a result, relative to it.
BOUNDS = {
    ("exp", "float32"): 2.0**-23,
    ("exp", "float64"): 2.0**-52,
    ("softplus", "float32"): 2.0**-22,
    ("softplus", "float64"): 2.0**-51,
    ("sigmoid", "float32"): 2.0**-22,
    ("sigmoid", "float64"): 2.0**-51,
}
#: Between these all results of ``exp`` are normal numbers; below it is 0, above infinite.
RANGES = {"float32": (-87.33, 88.37), "float64": (-708.39, 709.43)}


@functools.cache
def compiled(name):
    assert exponential  # what makes them known to the compiler
    function = getattr(listwise, name)

    @njit
    def each(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        each(x, out)
        return out

    return call


def grid(dtype):
    """All of the range, densely where results change most, and arguments of any magnitude."""
    low, high = RANGES[dtype]
    small = np.logspace(-300 if dtype == "float64" else -37, 0, 100_000)
    parts = np.linspace(low, high, 400_001), np.linspace(-20, 20, 200_001), small, -small
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors(name, dtype):
    x = grid(dtype)
    x = x[(x >= RANGES[dtype][0]) & (x <= RANGES[dtype][1])]
    right = EXACT[name](wide(x))
    error = np.abs(compiled(name)(x) - right) / right
    worst = int(np.argmax(error))
    assert error[worst] <= BOUNDS[name, dtype], f"2^{math.log2(error[worst]):.2f} at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_where_it_has_to_be(dtype):
    zeros = np.array([0.0, -0.0], dtype)
    assert (compiled("exp")(zeros) == 1).all()
    assert (compiled("sigmoid")(zeros) == 0.5).all()
    assert_same_bits(compiled("softplus")(zeros), np.log(np.array([2.0, 2.0], dtype)))
    large = np.array([100, 1e4, 1e30], dtype)
    assert_same_bits(compiled("softplus")(large), large)
    assert (compiled("sigmoid")(large) == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite(dtype):
    x = np.array([np.inf, -np.inf, np.nan, -np.nan], dtype)
    assert_same_bits(compiled("exp")(x)[:2], np.array([np.inf, 0], dtype))
    assert_same_bits(compiled("softplus")(x)[:2], np.array([np.inf, 0], dtype))
    assert_same_bits(compiled("sigmoid")(x)[:2], np.array([1, 0], dtype))
    for name in FUNCTIONS:
        assert np.isnan(compiled(name)(x)[2:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_range(dtype):
    low, high = (np.array(end, dtype) for end in RANGES[dtype])
    largest = np.finfo(dtype).max
    below = np.array([low * 1.01, low * 2, -largest], dtype)
    above = np.array([high * 1.001, high * 2, largest], dtype)
    assert (compiled("exp")(below) == 0).all()
    assert np.isposinf(compiled("exp")(above)).all()
    assert (compiled("softplus")(below) == 0).all()
    assert_same_bits(compiled("softplus")(above), above)
    assert (compiled("sigmoid")(below) == 0).all()
    assert (compiled("sigmoid")(above) == 1).all()
    # The ends belong to it: what is there is normal.
    ends = compiled("exp")(np.array([np.nextafter(low, 0), np.nextafter(high, 0)], dtype))
    assert np.isfinite(ends).all()
    assert (ends >= np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_vectorised_loop_has_the_bits_of_single_numbers(name, dtype):
    x = np.random.default_rng(1).uniform(-30, 30, 203).astype(dtype)
    x[::17] = [0, -0.0, np.inf, -np.inf, 1e-30, -1e-30, 90, -90, 1, -1, 700, -700]
    one_by_one = [compiled(name)(x[i : i + 1]) for i in range(len(x))]
    assert_same_bits(compiled(name)(x), np.concatenate(one_by_one))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_plain_python(name):
    function = getattr(listwise, name)
    x = np.concatenate([np.linspace(-700, 708, 2001), np.linspace(-3, 3, 201)])
    found = np.array([function(float(each)) for each in x])
    right = EXACT[name](wide(x))
    assert (np.abs(found - right) <= 2.0**-51 * right).all()
    assert function(math.inf) == (1 if name == "sigmoid" else math.inf)
    assert function(-math.inf) == 0
    assert math.isnan(function(math.nan))
    assert listwise.exp(710.0) == math.inf


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_taken_as_float64(name):
    function = getattr(listwise, name)
    found = njit(lambda n: function(n))(2)
    assert found == pytest.approx(float(EXACT[name](wide(2.0))), rel=2.0**-51)
