"""Functions of equal content share a kernel; of another content they never do."""

import gc
import math
import pickle
import types
import weakref

import numpy as np
import pytest

import fastcos
from fastcos import Distance, losses
from fastcos.distances import ranges
from fastcos.engine import device as on_device
from fastcos.engine import plan
from fastcos.engine.problem import Problem
from fastcos.kernels import content
from fastcos.kernels.cpu import compile
from fastcos.kernels.cuda import launch

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((2, 5, 4))

SOURCE = """
def helper(t):
    return FACTOR * abs(t)

def init(zero):
    return (zero,)

def accumulate(state, x, y):
    return (state[0] + helper(x - y),)

def finalize(state):
    return state[0]

def gradient(state, d, x, y):
    return (FACTOR if x > y else -FACTOR), (FACTOR if x < y else -FACTOR)
"""


def cell(factor, source=SOURCE):
    """What a notebook has after a cell was run: names, and a record made of them."""
    names = {"__name__": "__main__", "FACTOR": factor, "Distance": Distance, "math": math}
    exec(source, names)
    names["record"] = Distance(
        "mine", *[names[field] for field in ("init", "accumulate", "finalize", "gradient")]
    )
    return types.SimpleNamespace(names=names, record=names["record"])


def shared(function):
    return content._shared(function)


def function(source, **names):
    exec(source, names)
    return names["f"]


def closed_over(value):
    return lambda x: x * value


ONE = np.float64(1.5)
EQUAL = {
    "source": lambda: function("def f(x): return x + 1.5"),
    "global": lambda: function("def f(x): return x + k", k=1.5),
    "NaN": lambda: function("def f(x): return x + k", k=float("nan")),
    "NumPy number": lambda: function("def f(x): return x + k", k=np.float32(1.5)),
    "tuple": lambda: function("def f(x): return x + k[0]", k=(1.5, (True, "a", None))),
    "closure": lambda: closed_over(1.5),
    "default": lambda: function("def f(x, k=1.5, *, m=2): return x + k"),
    "module": lambda: function("def f(x): return math.exp(x) + np.pi", math=math, np=np),
    "builtin": lambda: function("def f(x): return abs(exp(x))", exp=math.exp),
    "ufunc and type": lambda: function("def f(x): return s(t(x))", s=np.sin, t=np.float32),
    "ours": lambda: function("def f(x): return g(x)", g=ranges.moderate),
    "helper": lambda: function("def f(x): return g(x)", g=function("def f(x): return x + 1")),
    "helpers in a tuple": lambda: function(
        "def f(x): return g[0](x)", g=(function("def f(x): return x + 1"),)
    ),
    "function within": lambda: function("def f(x): return (lambda y: y + k)(x)", k=2),
    "itself": lambda: function("def f(x): return f(x - 1) if x > 0 else k", k=2),
    "each other": lambda: function("def g(x): return f(x)\ndef f(x): return g(x) if x > 0 else 1"),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equal_content_is_one_function(case):
    first, second = EQUAL[case](), EQUAL[case]()
    assert first is not second
    assert shared(first) is shared(second)
    assert shared(first) is not first


def test_a_stand_in_does_the_same():
    assert shared(EQUAL["default"]())(2.0) == 3.5
    assert shared(EQUAL["default"]())(2.0, 1, m=3) == 3
    assert shared(EQUAL["closure"]())(2.0) == 3
    assert shared(EQUAL["itself"]())(2.5) == 2
    assert shared(EQUAL["each other"]())(0) == 1
    assert shared(EQUAL["function within"]())(1) == 3
    assert shared(EQUAL["helpers in a tuple"]())(1) == 2


PAIRS = {
    "constant": (lambda: function("def f(x): return 2"), lambda: function("def f(x): return 3")),
    "type": (lambda: function("def f(x): return 2"), lambda: function("def f(x): return 2.0")),
    "sign": (lambda: function("def f(x): return 0.0"), lambda: function("def f(x): return -0.0")),
    "names": (
        lambda: function("def f(x): return abs(x)"),
        lambda: function("def f(x): return int(x)"),
    ),
    "shadowed": (
        lambda: function("def f(x): return abs(x)"),
        lambda: function("def f(x): return abs(x)", abs=math.exp),
    ),
    "default": (
        lambda: function("def f(x, k=1): return k"),
        lambda: function("def f(x, k=2): return k"),
    ),
    "keyword": (
        lambda: function("def f(x, *, k=1): return k"),
        lambda: function("def f(x, *, k=2): return k"),
    ),
    **{
        f"{a!r} and {b!r}": (lambda a=a: closed_over(a), lambda b=b: closed_over(b))
        for a, b in (
            (1, 2),
            (1, 1.0),
            (1, True),
            (0.0, -0.0),
            (0j, -0j),
            (1.5, ONE),
            (ONE, np.float32(1.5)),
            ((1,), (2,)),
            ((1, 2), (1,)),
            (math.sin, math.cos),
            (np.sin, np.cos),
            (math, np),
            (float, int),
        )
    },
    "global": (
        lambda: function("def f(x): return k", k=1),
        lambda: function("def f(x): return k", k=2),
    ),
    "of a helper": (
        lambda: function("def f(x): return g(x)", g=function("def f(x): return k", k=1)),
        lambda: function("def f(x): return g(x)", g=function("def f(x): return k", k=2)),
    ),
    "of a function within": (
        lambda: function("def f(x): return (lambda: k)()", k=1),
        lambda: function("def f(x): return (lambda: k)()", k=2),
    ),
    "which of two": (
        lambda: function("def g(x): return 1\ndef f(x): return g(x) + h(x)", h=lambda x: 1),
        lambda: function("def g(x): return 1\ndef f(x): return h(x) + g(x)", h=lambda x: 1),
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_other_content_is_another_function(case):
    one, other = (make() for make in PAIRS[case])
    assert shared(one) is not shared(other)


@pytest.mark.parametrize(
    "value",
    [np.ones(2), [1.0], {"a": 1}, object(), types.SimpleNamespace(k=1), pytest, (1, [2])],
    ids=lambda value: type(value).__name__,
)
def test_what_may_change_is_not_compared(value):
    for make in (
        lambda: closed_over(value),
        lambda: function("def f(x): return k", k=value),
        lambda: function("def f(x): return g(x)", g=closed_over(value)),
    ):
        one, other = make(), make()
        assert shared(one) is one
        assert shared(other) is other


def test_what_is_known_of_a_function_goes_with_it():
    copies = [EQUAL["helper"]() for _ in range(100)]
    found = [*map(content._shared, copies)]
    stand_ins = len(content._stand_ins)
    assert len(set(found)) == 1
    content.keep(copies, found)
    kept = len(content._known)
    gone = weakref.ref(copies[0])
    copies.clear()
    gc.collect()
    assert gone() is None
    assert len(content._known) == kept - 100
    assert len(content._stand_ins) == stand_ins


def distance_of(record, dtype=np.float64):
    return fastcos.paired_distance(X.astype(dtype), Y.astype(dtype), record)


L1 = abs(X - Y).sum(1)


def test_records_of_equal_content_share_a_kernel():
    first = cell(1.0)
    np.testing.assert_allclose(distance_of(first.record), L1)
    kernels = len(compile._kernels)
    again = cell(1.0)
    np.testing.assert_allclose(distance_of(again.record), L1)
    assert len(compile._kernels) == kernels

    # A number that is changed: what was compiled stays as it was, for another dtype, too, and what
    # is defined anew is compiled anew.
    first.names["FACTOR"] = 2.0
    np.testing.assert_allclose(distance_of(first.record, np.float32), L1, rtol=1e-5)
    np.testing.assert_allclose(distance_of(cell(2.0).record), 2 * L1)
    assert len(compile._kernels) == kernels + 2
    # What has come since with the old number still gets the old kernels.
    for dtype in (np.float64, np.float32):
        np.testing.assert_allclose(distance_of(cell(1.0).record, dtype), L1, rtol=1e-5)
    assert len(compile._kernels) == kernels + 2

    # The same for a helper, which the functions of a new record name, but do not hold.
    names = again.names
    exec("def helper(t):\n    return 3 * FACTOR * abs(t)", names)
    np.testing.assert_allclose(distance_of(again.record), L1)
    fields = "init", "accumulate", "finalize", "gradient"
    copies = [
        types.FunctionType(names[field].__code__, names, names[field].__name__) for field in fields
    ]
    np.testing.assert_allclose(distance_of(Distance("mine", *copies)), 3 * L1)


def test_unpickled_records_share_a_kernel():
    cloudpickle = pytest.importorskip("cloudpickle")
    sent = cloudpickle.dumps(cell(1.0).record)
    distance_of(pickle.loads(sent))
    kernels, stand_ins = len(compile._kernels), len(content._stand_ins)
    for _ in range(5):
        record = pickle.loads(sent)
        np.testing.assert_allclose(distance_of(record), L1)
    assert (len(compile._kernels), len(content._stand_ins)) == (kernels, stand_ins)
    record = pickle.loads(cloudpickle.dumps(cell(4.0).record))
    np.testing.assert_allclose(distance_of(record), 4 * L1)


def test_kernels_of_a_gpu_are_shared(monkeypatch):
    made = []
    monkeypatch.setattr(
        launch, "launcher", lambda make, *rest: made.append((make.func, *make.args))
    )
    run = types.SimpleNamespace(modes=(0, 0), geometry=np.ones((6, 1)), features=4, tasks=1)
    for factor in (1.0, 1.0, 2.0):
        problem = Problem(losses.identity, cell(factor).record, ("x1", "x2"), (None, None))
        plan._runs(problem, "float64", on_device, (run,), 0, looks_up=False)
    assert made[0] == made[1] != made[2]


def test_an_array_that_changes_is_seen_by_what_is_defined_anew():
    table = np.ones(1)

    def weighted():
        return Distance(
            "weighted",
            init=lambda zero: (zero,),
            accumulate=lambda state, x, y: (state[0] + table[0] * abs(x - y),),
            finalize=lambda state: state[0],
            gradient=lambda state, d, x, y: (table[0], -table[0]),
        )

    np.testing.assert_allclose(distance_of(weighted()), L1)
    table[0] = 5
    np.testing.assert_allclose(distance_of(weighted()), 5 * L1)


def test_a_name_that_was_missing_may_come():
    names = cell(1.0, SOURCE.replace("FACTOR * abs(t)", "missing(t)")).names
    with pytest.raises(Exception, match="missing"):
        distance_of(names["record"])
    exec("def missing(t):\n    return 2 * abs(t)", names)
    np.testing.assert_allclose(distance_of(names["record"]), 2 * L1)
