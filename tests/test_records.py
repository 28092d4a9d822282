"""A record is pickled, copied and shown; a built-in one by its name and parameters."""

import copy
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

import fastcos
from fastcos import Distance, distances, losses
from fastcos.distances import FurtherPasses, Linear, Refinements, angles
from fastcos.distances.record import BUILT_IN as CONSTANTS
from fastcos.kernels.functions import globals_of, is_ours, name_of

BUILT_IN = [
    *[factory() for factory in distances.DISTANCES.values()],
    *[distances.lp(p) for p in (0.5, 1, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, np.inf)],
    distances.cosine(0.25),
    distances.euclidean(eps=0),
    distances.manhattan()._replace(name="mine"),
    distances.lp(3)._replace(parameters=(3.5, 0.0)),
    angles.cosine_similarity(),
    angles.clamped_cosine_similarity(0.5),
]

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"protocol {n}": lambda record, n=n: pickle.loads(pickle.dumps(record, protocol=n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "in Python": lambda record: pickle._loads(pickle._dumps(record)),
    "cloudpickle": lambda record: pickle.loads(cloudpickled(record)),
}


def cloudpickled(value):
    return pytest.importorskip("cloudpickle").dumps(value)


def assert_same(given, expected):
    """Equal, and made of the very same functions."""
    assert type(given) is type(expected)
    assert given == expected
    assert [*map(id, given.functions)] == [*map(id, expected.functions)]


@pytest.mark.parametrize("again", COPIES)
def test_a_built_in_record_is_pickled_by_name(again):
    for record in BUILT_IN:
        assert_same(COPIES[again](record), record)


def test_nothing_but_name_and_parameters_is_pickled():
    assert len(pickle.dumps(distances.lp(3))) < 150
    assert b"gradient" not in pickle.dumps(distances.lp(3))


def init(zero, scale):
    return zero, zero + scale


def accumulate(state, x, y):
    return state[0] + state[1] * abs(x - y), state[1]


def finalize(state):
    return state[0]


def gradient(state, d, x, y):
    return state[1], -state[1]


MINE = Distance("mine", init, accumulate, finalize, gradient, parameters=(2.0,))


@pytest.mark.parametrize("again", COPIES)
def test_a_record_of_mine_is_pickled_as_its_functions_are(again):
    assert_same(COPIES[again](MINE), MINE)
    # Made from a built-in one, of whose functions it keeps some.
    derived = distances.euclidean()._replace(gradient=gradient, refinements=Refinements())
    assert_same(COPIES[again](derived), derived)


def test_a_record_of_lambdas_is_not_pickled():
    local = MINE._replace(finalize=lambda state: state[0])
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(local)
    assert_same(copy.deepcopy(local), local)


class Named(Distance):
    """A subclass of a user's."""


def test_a_subclass_stays_one():
    record = Named(*distances.sqeuclidean())
    record.note = "kept"
    for again in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert_same(again, record)
        assert again.note == "kept"


def test_records_cross_processes():
    # A new process, as multiprocessing's spawn starts one.
    code = """
import pickle, sys
from fastcos import distances
for name, record in pickle.load(sys.stdin.buffer).items():
    here = {"lp": lambda: distances.lp(3)}.get(name) or distances.DISTANCES[name]
    assert here() == record, name
    assert all(a is b for a, b in zip(here().functions, record.functions)), name
print("same")
"""
    sent = {name: factory() for name, factory in distances.DISTANCES.items()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps({**sent, "lp": distances.lp(3)}),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.decode().strip() == "same", done.stderr.decode()


def test_no_two_functions_have_one_name():
    # That is what kernels on disk are kept by.
    functions = {id(f): f for record in CONSTANTS.values() for f in record.functions if f}
    assert len({name_of(f) for f in functions.values()}) == len(functions)


def test_the_cache_knows_the_module_of_every_function_in_a_kernel():
    # Else kernels would not be kept, or outlive the source that they came from.
    seen = set()

    def check(function):
        if isinstance(function, types.FunctionType) and function not in seen:
            seen.add(function)
            assert is_ours(function), function
            cells = [cell.cell_contents for cell in function.__closure__ or ()]
            for used in (*globals_of(function).values(), *cells):
                check(used)

    assert {record.functions for record in BUILT_IN} == {r.functions for r in CONSTANTS.values()}
    for record in (*CONSTANTS.values(), *vars(losses).values()):
        for function in getattr(record, "functions", [getattr(record, "function", None)]):
            check(function)
    assert len(seen) > 100


def test_records_that_differ_in_what_a_function_says_are_different():
    by_predicate, linear = (
        MINE._replace(refinements=Refinements(float32_gradient=given))
        for given in (finalize, Linear(finalize))
    )
    assert by_predicate != linear
    assert hash(by_predicate) != hash(linear)
    assert by_predicate.functions == MINE.functions._replace(narrow=finalize)
    assert linear.functions == MINE.functions._replace(linear=finalize)
    passes = Refinements(finalize, init, FurtherPasses(accumulate, gradient), init)
    assert MINE._replace(refinements=passes).functions == (
        *(init, accumulate, finalize, gradient, accumulate, gradient),
        *(finalize, None, init, init, None),
    )
    assert MINE.measure == MINE[:-1] == MINE._replace(parameters=()).measure


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (distances.euclidean(), "euclidean(eps=0.0)"),
        (distances.cosine(0.5), "cosine(eps=0.5)"),
        (distances.lp(3), "lp(p=3.0, eps=0.0)"),
        (distances.lp(2.5, eps=0), "lp(p=2.5, eps=0.0)"),
        (distances.canberra(), "canberra()"),
        (distances.angular(), "angular()"),
        (angles.cosine_similarity(), "cosine_similarity(eps=0.0)"),
        (MINE, "Distance('mine', ..., parameters=(2.0,))"),
        (MINE._replace(parameters=()), "Distance('mine', ..., parameters=())"),
        (
            distances.sqeuclidean()._replace(gradient=gradient),
            "Distance('sqeuclidean', ..., parameters=())",
        ),
        (Named(*distances.canberra()), "Named('canberra', ..., parameters=())"),
        (MINE._replace(init=[]), "Distance('mine', ..., parameters=(2.0,))"),
    ],
)
def test_repr_is_short(record, shown):
    assert repr(record) == str(record) == shown


def test_a_copy_runs_in_the_same_kernel():
    x, y = np.random.default_rng(0).standard_normal((2, 3, 4))
    record = distances.lp(3)
    again = pickle.loads(pickle.dumps(record))
    np.testing.assert_array_equal(
        fastcos.paired_distance(x, y, again), fastcos.paired_distance(x, y, record)
    )
