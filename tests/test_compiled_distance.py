"""Distances as functions of the user's compiled code: ``fastcos.compiled``."""

import copy
import functools
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import compiled, distances
from fastcos.distances import FurtherPasses, Refinements

ROOT = pathlib.Path(__file__).parents[1]
FLOATS = (np.float32, np.float64)
RECORDS = {**{name: make() for name, make in distances.DISTANCES.items()}, "lp": distances.lp(3.5)}
PARAMETERS = {"lp": {"p": 3.5}}
#: Those that are multiplied with the rows, and those that are not.
HOMOGENEOUS = ("euclidean", "manhattan", "chebyshev", "lp")
INVARIANT = ("cosine", "angular", "canberra", "braycurtis")


def weighted(weight):
    """A distance of one's own, with a parameter and with a second pass over the row."""
    return fastcos.Distance(
        "weighted",
        init=lambda zero, weight: (zero, weight, zero),
        accumulate=lambda state, x, y: (state[0] + state[1] * abs(x - y), state[1], state[2]),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (
            math.copysign(state[1], x - y),
            math.copysign(state[1], y - x),
        ),
        refinements=Refinements(
            further_passes=FurtherPasses(
                revisit=lambda state: (state[2] == 0, (state[0], state[1], state[2] + 1)),
                reaccumulate=lambda state, x, y: (
                    state[0] + state[1] * abs(x - y),
                    state[1],
                    state[2],
                ),
            )
        ),
        parameters=(weight,),
    )


def assert_agree(name, x, y, given, slope=None):
    """A value, and a gradient if there is one, against the oracle, in ulp of float64."""
    right, right_slope, _ = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
    terms, of_slope, _ = oracle.distance_terms(name, x, y, **PARAMETERS.get(name, {}))
    oracle.assert_within_ulps(given, right, 32, scale=terms)
    if slope is not None:
        scale = np.maximum(oracle.row_scale(right_slope), np.max(of_slope))
        oracle.assert_within_ulps(slope, right_slope, 32, scale=scale)


def run_python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --------------------------------------------------------------------------------------------------
# What it computes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDS)
def test_value_and_gradient(rng, name):
    f, g = compiled(RECORDS[name]), compiled(RECORDS[name], gradient=True)
    for dtype in FLOATS:
        for features in (1, 2, 7, 63, 64, 67, 301):
            x, y = oracle.draw(rng, name, (2, features), dtype)
            (d, slope), alone = g(x, y), f(x, y)
            assert type(d) is type(alone) is float
            assert slope.dtype == np.float64
            assert slope.shape == x.shape
            assert_agree(name, x, y, np.float64(alone))
            assert_agree(name, x, y, np.float64(d), slope)


def test_rows_of_any_layout_and_of_two_dtypes(rng):
    name, g = "canberra", compiled("canberra", gradient=True)
    table = rng.standard_normal((67, 4))
    frozen = table[:, 1].astype(np.float32)
    frozen.flags.writeable = False
    for x, y in (
        (table[:, 0], table[:, 1]),  # columns
        (table[::-1, 0], table[:, 2]),  # backwards
        (frozen, table[:, 2].astype(np.float32)[::-1]),
        (table[:, 0].astype(np.float32), table[:, 3]),
        (np.broadcast_to(0.5, 67), table[:, 3]),
    ):
        assert_agree(name, x, y, *map(np.float64, g(x, y)))
    integers = rng.integers(-5, 5, (2, 67))
    assert_agree(name, *integers.astype(np.float64), *map(np.float64, g(*integers)))


def test_the_gradient_goes_where_it_is_wanted(rng):
    g = compiled("cosine", gradient=True)
    x, y = rng.standard_normal((2, 9))
    d, slope = g(x, y)
    for out in (np.full(9, np.nan), np.full((9, 2), np.nan)[:, 1], np.full(9, np.nan, "f4")):
        again, same = g(x, y, out)
        assert again == d
        assert same is out or np.shares_memory(same, out)
        np.testing.assert_allclose(out, slope, rtol=1e-6)


def parallel_rows(rng, gap, features):
    """Float32 rows with 1 - c about ``gap``."""
    x, n = rng.standard_normal((2, features))
    x /= np.linalg.norm(x)
    n -= (n @ x) * x
    n *= math.sqrt(2 * gap) / np.linalg.norm(n)
    return np.float32(3 * x), np.float32(x + n)


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7, 1e-9])
def test_nearly_parallel_rows(rng, gap):
    g = compiled("cosine", gradient=True)
    for features in (3, 33, 257):
        x, y = parallel_rows(rng, gap, features)
        right = float(oracle.precise_cosine_distance(x, y))
        d, slope = g(x, y)
        assert abs(d - right) < 1e-9 * right
        assert abs(compiled("cosine")(x, y) - right) < 1e-9 * right
        oracle.assert_rows_within_ulps(np.float32(slope), oracle.precise_cosine_gradient(x, y), 4)
        theta = float(oracle.precise_angle(x, y))
        assert abs(compiled("angular")(x, -y) - (1 - theta)) < 1e-9
        assert abs(compiled("angular")(x, y) - theta) < 1e-9 * theta


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_sums_out_of_range(rng, scale):
    x, y = rng.standard_normal((2, 67))
    for name in (*HOMOGENEOUS, *INVARIANT):
        g = compiled(RECORDS[name], gradient=True)
        d, slope = g(scale * x, scale * y)
        right, right_slope, _ = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
        times = scale if name in HOMOGENEOUS else 1.0
        np.testing.assert_allclose(d, float(right) * times, rtol=1e-12)
        np.testing.assert_allclose(compiled(RECORDS[name])(scale * x, scale * y), d, rtol=1e-12)
        expected = np.float64(right_slope) * (times / scale)
        np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-10 * abs(expected).max())


def test_singular_rows(rng):
    zero, x = np.zeros(67), rng.standard_normal(67)
    for name, record in RECORDS.items():
        f, g = compiled(record), compiled(record, gradient=True)
        rows = 0.01 * x if name == "poincare" else x
        for a, b in ((zero, rows), (rows, zero), (zero, zero), (rows, rows)):
            d, slope = g(a, b)
            right, right_slope, _ = oracle.distance(name, a, b, **PARAMETERS.get(name, {}))
            if a is b and name in ("cosine", "angular") and a is rows:
                right, right_slope = 0.0, zero  # which the oracle comes near to
            np.testing.assert_allclose([d, f(a, b)], float(right), rtol=1e-14, atol=0)
            np.testing.assert_allclose(slope, np.float64(right_slope), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"fastmath": True}, {"error_model": "python"}])
def test_nan_and_quotients_whoever_calls(rng, options):
    # The first call is on behalf of the caller, whose options are not to become those of the
    # function: of a number that cannot be NaN it is known that it equals itself.
    largest = {"fastmath": 2.0, "error_model": 3.0}.get(next(iter(options), ""), 1.0)
    inverse = fastcos.Distance(
        "inverse",
        init=lambda zero, largest: (zero, largest),
        accumulate=lambda state, x, y: (state[0] + abs(x - y), state[1]),
        finalize=lambda state: -1.0 if state[0] != state[0] else state[1] / state[0],
        gradient=lambda state, d, x, y: (0.0, 0.0),
        parameters=(largest,),
    )
    f = compiled(inverse)

    @numba.njit(**options)
    def call(x, y):
        return f(x, y)

    for features in (3, 67):
        x, y = rng.standard_normal((2, features))
        assert call(x, y) == pytest.approx(largest / abs(x - y).sum())
        assert call(x, x) == np.inf
        x[features // 2] = np.nan
        assert call(x, y) == -1
        for record in RECORDS.values():
            assert np.isnan(compiled(record)(x, y))
            assert np.isnan(compiled(record, gradient=True)(x, y)[0])


# --------------------------------------------------------------------------------------------------
# A distance of one's own
# --------------------------------------------------------------------------------------------------


def test_a_distance_of_ones_own(rng):
    x, y = rng.standard_normal((2, 33))
    d, slope = compiled(weighted(1.5), gradient=True)(x, y)
    np.testing.assert_allclose(d, 2 * 1.5 * abs(x - y).sum(), rtol=1e-13)
    np.testing.assert_array_equal(slope, 1.5 * np.sign(x - y))
    assert compiled(weighted(3))(x, y) == pytest.approx(2 * d, rel=1e-13)


def test_integers_of_a_state_are_floats():
    powers = fastcos.Distance(
        "powers",
        init=lambda zero: (0, 3),
        accumulate=lambda state, x, y: (state[0] + abs(x - y), state[1]),
        finalize=lambda state: state[0] * state[1] ** 60,  # which no int64 holds
        gradient=lambda state, d, x, y: (0, 0),
    )
    assert compiled(powers)(np.ones(2), np.zeros(2)) == pytest.approx(2 * 3.0**60)


@pytest.mark.parametrize("features", [5, 63, 64, 203])
def test_parts_of_rows_are_merged(rng, features):
    x, y = rng.standard_normal((2, features))
    mine = fastcos.Distance(
        "largest and count",
        init=lambda zero: (-1, 0, 0.5),
        accumulate=lambda state, x, y: (max(state[0], abs(x - y)), state[1] + 1, state[2]),
        finalize=lambda state: (state[0] + state[1]) * state[2],
        gradient=lambda state, d, x, y: (state[0] == abs(x - y), 0),
        refinements=Refinements(
            merge=lambda state, other: (max(state[0], other[0]), state[1] + other[1], state[2])
        ),
    )
    d, slope = compiled(mine, gradient=True)(x, y)
    assert d == (abs(x - y).max() + features) / 2
    np.testing.assert_array_equal(slope, abs(x - y) == abs(x - y).max())


def test_equal_distances_have_one_function():
    for name, make in distances.DISTANCES.items():
        assert compiled(name) is compiled(make()) is compiled(name, gradient=False)
        assert compiled(name) is not compiled(name, gradient=True)
    assert compiled(distances.lp(3.5)) is compiled(distances.lp(3.5))
    assert compiled(distances.lp(3.5)) is not compiled(distances.lp(4.5))
    assert compiled(distances.cosine(0.0)) is not compiled(distances.cosine(0.5))
    assert compiled(weighted(1.5)) is compiled(weighted(1.5))
    assert compiled(weighted(2)) is compiled(weighted(2.0))
    assert compiled(weighted(1.5)) is not compiled(weighted(2.5))
    assert repr(compiled("cosine")) == "fastcos.compiled(cosine(eps=0.0))"
    assert repr(compiled("dot", gradient=True)) == "fastcos.compiled(dot(), gradient=True)"


# --------------------------------------------------------------------------------------------------
# Bad input
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "error", "said"),
    [
        ("cosin", ValueError, "distance must be one of cosine, .*; got 'cosin'.*cosine"),
        (distances.cosine, TypeError, r"the function cosine: call it, as cosine\(\.\.\.\)"),
        (lambda x, y: 0.0, TypeError, "distance must be the name .* has nothing to compile"),
        (3, TypeError, "distance must be the name"),
        (weighted("2"), TypeError, "parameters of weighted must be a tuple of numbers"),
        (weighted(1)._replace(finalize=None), TypeError, "weighted has no finalize"),
    ],
)
def test_what_is_no_distance(distance, error, said):
    with pytest.raises(error, match=said):
        compiled(distance)


def test_a_gradient_is_wanted_or_not():
    with pytest.raises(TypeError, match="gradient must be True or False, got 'yes'"):
        compiled("cosine", gradient="yes")


def test_rows_of_two_lengths(rng):
    x, y = rng.standard_normal(5), rng.standard_normal(6)
    f, g = compiled("cosine"), compiled("cosine", gradient=True)
    for call in (
        lambda: f(x, y),
        lambda: g(x, y),
        lambda: g(x, x, y),
        lambda: numba.njit(lambda x, y: f(x, y))(x, y),
    ):
        with pytest.raises(ValueError, match="rows must have one length"):
            call()


# --------------------------------------------------------------------------------------------------
# Memory
# --------------------------------------------------------------------------------------------------


def test_what_is_allocated_is_released():
    code = """
import gc, weakref
import fastcos, numba, numpy as np
from numba.core.runtime import rtsys
f, g = fastcos.compiled("euclidean"), fastcos.compiled("euclidean", gradient=True)

@numba.njit
def sums(rows):
    total = np.zeros(rows.shape[1])
    for i in range(rows.shape[0]):
        slope = g(rows[i] * 2.0, rows[0])[1]
        total += slope * f(slope, rows[i])
    return total

rows = np.random.default_rng(0).standard_normal((6, 5))
rows[3] *= 1e-200  # read again
def stats():
    for _ in range(100):
        sums(rows), g(rows[0], rows[1])
    gc.collect()
    return rtsys.get_allocation_stats()

before, after = stats(), stats()
assert after.alloc - before.alloc == after.free - before.free >= 700
x = rows[0].copy()
watched, (d, slope) = weakref.ref(x), g(x, rows[1])
kept = slope.copy()
del x
assert watched() is None
assert (slope == kept).all()
print("done")
"""
    assert run_python(code, NUMBA_NRT_STATS="1") == "done"


# --------------------------------------------------------------------------------------------------
# Other processes and other libraries
# --------------------------------------------------------------------------------------------------


def test_a_parallel_loop(rng):
    f, g = compiled("cosine"), compiled("cosine", gradient=True)

    @numba.njit(parallel=True)
    def all_pairs(rows):
        n = rows.shape[0]
        found, slopes = np.empty((n, n)), np.empty((n, n, rows.shape[1]))
        for i in numba.prange(n):
            for j in range(n):
                found[i, j] = f(rows[i], rows[j])
                g(rows[i], rows[j], slopes[i, j])
        return found, slopes

    rows = rng.standard_normal((20, 33)).astype(np.float32)
    found, slopes = all_pairs(rows)
    right, right_slopes, _ = oracle.distance("cosine", rows[:, None], rows[None])
    np.testing.assert_allclose(found, np.float64(right), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slopes, np.float64(right_slopes), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("gradient", [False, True])
def test_pickles_and_copies_are_the_same_function(gradient):
    for record in RECORDS.values():
        f = compiled(record, gradient)
        assert pickle.loads(pickle.dumps(f)) is f
        assert copy.deepcopy(f) is f
    cloudpickle = pytest.importorskip("cloudpickle")
    f = compiled(weighted(1.5), gradient)
    assert pickle.loads(cloudpickle.dumps(f)) is f


def test_another_process_reads_the_function_and_what_was_compiled(rng, tmp_path):
    # Other processes: one compiles, the other finds it on disk, and in code of the user's that is
    # on disk itself.
    x, y = rng.standard_normal((2, 9)).tolist()
    data = [compiled("cosine"), compiled("cosine", gradient=True), np.array(x), np.array(y)]
    (tmp_path / "pickled").write_bytes(pickle.dumps(data))
    (tmp_path / "mine.py").write_text(
        "import fastcos, numba\n"
        "f = fastcos.compiled('cosine')\n"
        "@numba.njit(cache=True)\n"
        "def twice(x, y):\n"
        "    return 2 * f(x, y)\n"
    )
    code = """
import logging, pathlib, pickle, sys
logging.basicConfig(level="DEBUG", format="%(message)s", stream=sys.stdout)
logging.getLogger("numba").setLevel("ERROR")
folder = pathlib.Path(sys.argv[1])
sys.path.append(str(folder))
f, g, x, y = pickle.loads((folder / "pickled").read_bytes())
import mine
assert mine.f is f
print(f(x, y), *g(x, y)[1], mine.twice(x, y))
"""
    right, slope, _ = oracle.distance("cosine", x, y)
    for said in ("compiled the", "loaded the"):
        found = run_python(code, str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        *log, numbers = found.splitlines()
        assert len(re.findall(said, "\n".join(log))) == 2
        numbers = np.array(numbers.split(), dtype=float)
        np.testing.assert_allclose(numbers, np.float64([right, *slope, 2 * right]), rtol=1e-12)


def test_what_is_asked_is_checked_without_a_compiler():
    code = """
import sys, fastcos
try:
    fastcos.compiled("cosin")
except ValueError:
    print("numba" in sys.modules)
"""
    assert run_python(code) == "False"


def points(rng):
    """Rows in three groups, and the neighbours of each by the cosine distance."""
    rows = rng.standard_normal((3, 1, 8)) * 4 + rng.standard_normal((3, 40, 8))
    rows = rows.reshape(120, 8).astype(np.float32)
    d = np.float64(oracle.distance("cosine", rows[:, None], rows[None])[0])
    return rows, np.argsort(d, axis=1)[:, :5], np.sort(d, axis=1)[:, :5]


def test_scikit_learn(rng):
    neighbors = pytest.importorskip("sklearn.neighbors")
    base = pytest.importorskip("sklearn.base")
    rows, nearest, d = points(rng)
    for name, algorithm in (("cosine", "brute"), ("euclidean", "ball_tree")):
        metric = compiled(name)
        model = neighbors.NearestNeighbors(
            n_neighbors=5, metric=metric, algorithm=algorithm, n_jobs=2
        )
        assert base.clone(model).metric is metric
        far, found = model.fit(rows).kneighbors(rows)
        if name == "cosine":
            np.testing.assert_array_equal(found, nearest)
            np.testing.assert_allclose(far, d, rtol=1e-6)  # float32 there
        else:
            exact = neighbors.NearestNeighbors(n_neighbors=5).fit(rows).kneighbors(rows)
            np.testing.assert_array_equal(found, exact[1])


def test_processes_of_joblib(rng):
    joblib = pytest.importorskip("joblib")
    x, y = rng.standard_normal((2, 9))
    calls = compiled("manhattan"), compiled(weighted(0.5), gradient=True)
    with joblib.parallel_config("loky", n_jobs=2):
        d, (twice, slope) = joblib.Parallel()(joblib.delayed(f)(x, y) for f in calls)
    np.testing.assert_allclose([d, twice], abs(x - y).sum(), rtol=1e-14)
    np.testing.assert_array_equal(slope, 0.5 * np.sign(x - y))


@pytest.mark.filterwarnings("ignore")
def test_pynndescent(rng):
    # It compiles for 50 s, whatever the metric, which is why it is no requirement of the tests.
    pynndescent = pytest.importorskip("pynndescent")
    rows, nearest, d = points(rng)
    index = pynndescent.NNDescent(rows, compiled("cosine"), n_neighbors=5, random_state=0)
    found, far = index.neighbor_graph
    assert (found == nearest).mean() > 0.95
    right = found == nearest
    np.testing.assert_allclose(far[right], d[right], rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_umap(rng):
    umap = pytest.importorskip("umap")
    rows, _, _ = points(rng)
    model = umap.UMAP(
        n_neighbors=10,
        metric=compiled("cosine", gradient=True),
        output_metric=compiled("euclidean", gradient=True),
        n_epochs=100,
        random_state=0,
    )
    embedded = model.fit_transform(rows).reshape(3, 40, 2)
    centres = embedded.mean(1)
    within = np.linalg.norm(embedded - centres[:, None], axis=2).mean()
    between = [np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(between) > 2 * within
    back = model.inverse_transform(centres)
    assert np.isfinite(back).all()


# --------------------------------------------------------------------------------------------------
# On a GPU
# --------------------------------------------------------------------------------------------------


@functools.cache
def kernels(name):
    """Kernels of a user's that call the two functions of a distance."""
    from numba import cuda

    record = RECORDS.get(name) or weighted(1.5)
    f, g = compiled(record), compiled(record, gradient=True)

    def values(x, y, d):
        i = cuda.grid(1)
        if i < x.shape[0]:
            d[i] = f(x[i], y[i])

    def gradients(x, y, d, slopes):
        i = cuda.grid(1)
        if i < x.shape[0]:
            d[i], _ = g(x[i], y[i], slopes[i])

    return values, gradients


@pytest.mark.compiled
@pytest.mark.parametrize("name", [*RECORDS, "weighted"])
def test_kernels_of_the_users_compile_for_a_gpu(name):
    from numba import cuda, float32, float64, types, void

    from fastcos.kernels.cuda import binaries

    values, gradients = kernels(name)
    d, slopes = float64[:], float64[:, :]
    for kernel, kind in (
        (values, void(types.float16[:, :], types.float16[:, :], d)),
        (values, void(float32[:, :], float64[:, ::1], d)),
        (gradients, void(float32[:, ::1], float32[:, ::1], d, slopes)),
    ):
        with binaries.for_oldest_gpu():
            options = {"device": False, "abi": "numba", "cc": (8, 0), "output": "ptx"}
            text, _ = cuda.compile(kernel, kind, **options)
        binary, log = binaries.link(text, (9, 0))
        assert binary[:4] == b"\x7fELF"
        if name != "lp":  # whose power is the C library's
            assert "0 bytes stack frame" in log
            assert "call" not in text


def test_the_python_function_of_each(rng):
    # Which is what a GPU's compiler is given. Numba's simulator of a GPU can call it.
    for name, record in RECORDS.items():
        f, g = compiled(record).py_func, compiled(record, gradient=True).py_func
        x, y = oracle.draw(rng, name, (2, 67))
        assert_agree(name, x, y, np.float64(f(x, y)))
        assert_agree(name, x, y, *map(np.float64, g(x, y)))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Grid size")
def test_kernels_of_the_users_on_a_gpu(rng):
    from numba import cuda

    if not cuda.is_available():
        pytest.skip("no GPU here")
    for name in RECORDS:
        x, y = oracle.draw(rng, name, (2, 40, 67), np.float32)
        d, slopes = np.full(40, -1.0), np.empty((40, 67))
        values, gradients = map(cuda.jit, kernels(name))
        values[2, 32](x, y, d)
        right, slope, _ = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
        np.testing.assert_allclose(d, np.float64(right), rtol=1e-12)
        gradients[2, 32](x, y, d, slopes)
        np.testing.assert_allclose(d, np.float64(right), rtol=1e-12)
        np.testing.assert_allclose(slopes, np.float64(slope), rtol=1e-9, atol=1e-12)
        values[2, 32](x, y[:, 1:], d)
        assert np.isnan(d).all()
