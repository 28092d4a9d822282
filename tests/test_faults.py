"""What is wrong with a distance of one's own is said in one sentence, which names the function."""

import functools
import math
from decimal import Decimal

import numba
import numpy as np
import pytest

import fastcos
from fastcos import Distance, distances
from fastcos.distances import FurtherPasses, Linear, Refinements, faults

rng = np.random.default_rng(2)
X, Y, Z = rng.standard_normal((3, 4, 3))
TABLE = {"a": 1.0}


def mine(**changed):
    functions = {
        "init": lambda zero: (zero,),
        "accumulate": lambda state, x, y: (state[0] + abs(x - y),),
        "finalize": lambda state: state[0],
        "gradient": lambda state, d, x, y: ((x > y) * 2 - 1.0, 1.0 - (x > y) * 2),
    }
    return Distance("mine", **{**functions, **changed})


def refined(**functions):
    return {"refinements": Refinements(**functions)}


def helper(t):
    return undefined_in_a_helper(t)  # noqa: F821


def unpacked(state):
    total, count = state
    return total / count


FAULTS = {
    "undefined name": (
        {"accumulate": lambda state, x, y: (state[0] + undefined(x),)},  # noqa: F821
        NameError,
        "accumulate of mine: name 'undefined' is not defined",
    ),
    "undefined in a helper": (
        {"gradient": lambda state, d, x, y: (helper(x), helper(y))},
        NameError,
        "gradient of mine: name 'undefined_in_a_helper' is not defined",
    ),
    "no attribute": (
        {"finalize": lambda state: math.square(state[0])},
        AttributeError,
        "finalize of mine: module 'math' has no attribute 'square'",
    ),
    "state that is a number": (
        {"init": lambda zero: zero},
        TypeError,
        r"init of mine must return a state, a tuple of numbers, got float 0\.0",
    ),
    "state that is a list": (
        {"accumulate": lambda state, x, y: [state[0]]},
        TypeError,
        r"accumulate of mine must return a state, a tuple of numbers, got list \[0\.0\]",
    ),
    "state of text": (
        {"init": lambda zero: (zero, "a")},
        TypeError,
        "init of mine must return a state, a tuple of numbers, got str 'a' in it",
    ),
    "state of an array": (
        {"init": lambda zero: (np.zeros(2),)},
        TypeError,
        "init of mine must return a state, a tuple of numbers, got ndarray .* in it",
    ),
    "state that is longer": (
        {"accumulate": lambda state, x, y: (state[0], x)},
        ValueError,
        "accumulate of mine must return a state of 1 numbers, got 2",
    ),
    "one slope": (
        {"gradient": lambda state, d, x, y: 1.0},
        TypeError,
        r"gradient of mine must return \(dd/dx, dd/dy\), a tuple of numbers, got float 1\.0",
    ),
    "three slopes": (
        {"gradient": lambda state, d, x, y: (1.0, 2.0, 3.0)},
        ValueError,
        r"gradient of mine must return \(dd/dx, dd/dy\) of 2 numbers, got 3",
    ),
    "slopes of None": (
        {"gradient": lambda state, d, x, y: (None, 1.0)},
        TypeError,
        "gradient of mine .* got NoneType None in it",
    ),
    "no number": (
        {"finalize": lambda state: state},
        TypeError,
        r"finalize of mine must return a number, got tuple \(0\.25,\)",
    ),
    "too few arguments": (
        {"accumulate": lambda state, x: state},
        TypeError,
        r"accumulate of mine must take \(state, x, y\): too many positional arguments",
    ),
    "too many arguments": (
        {"finalize": lambda state, d: d},
        TypeError,
        r"finalize of mine must take \(state\): missing a required argument: 'd'",
    ),
    "no parameters": (
        {"init": lambda zero, p: (zero,)},
        TypeError,
        r"init of mine must take \(zero, \*parameters\), of which there are 0: missing .* 'p'",
    ),
    "a parameter too many": (
        {"parameters": (1.0,)},
        TypeError,
        r"init of mine must take \(zero, \*parameters\), of which there are 1: too many",
    ),
    "unpacked": (
        {"finalize": unpacked},
        ValueError,
        "finalize of mine: not enough values to unpack",
    ),
    "linear": (
        refined(float32_gradient=Linear(lambda state, d: (d, d))),
        ValueError,
        r"coefficients of mine must return \(rx, ux, ry, uy, e\) of 5 numbers, got 2",
    ),
    "merge": (
        refined(merge=lambda state, other: state[0]),
        TypeError,
        "merge of mine must return a state",
    ),
    "prepare": (
        refined(prepare=lambda state: state),
        TypeError,
        r"prepare of mine must take \(state, d\)",
    ),
    "float32_sums": (
        refined(float32_sums=lambda state, d: True),
        TypeError,
        r"float32_sums of mine must take \(state\)",
    ),
    "float32_gradient": (
        refined(float32_gradient=lambda s: True),
        TypeError,
        r"float32_gradient of mine must take \(state, d\)",
    ),
    "no gradient in float32": (
        refined(float32_gradient=(lambda state, d: True,)),
        TypeError,
        r"float32_gradient of mine must be a fastcos\.distances\.Linear or a plain function, got"
        " tuple",
    ),
    "revisit": (
        refined(further_passes=FurtherPasses(lambda state: state, lambda state, x, y: state)),
        TypeError,
        r"revisit of mine must return \(again, state\), got tuple \(0\.25,\)",
    ),
    "revisit alone": (
        refined(further_passes=lambda state: (True, state)),
        TypeError,
        r"further_passes of mine must be a fastcos\.distances\.FurtherPasses, got function",
    ),
    "no reaccumulate": (
        refined(further_passes=FurtherPasses(lambda state: (True, state), None)),
        TypeError,
        "reaccumulate of mine must be a plain function, got NoneType None",
    ),
    "no refinements": (
        {"refinements": lambda state: (True, state)},
        TypeError,
        r"refinements of mine must be a fastcos\.distances\.Refinements, got function",
    ),
    "missing": ({"gradient": None}, TypeError, "mine has no gradient"),
    "no function": (
        {"finalize": 3},
        TypeError,
        "finalize of mine must be a plain function, got int 3",
    ),
    **{
        f"parameters={parameters!r}": (
            {"parameters": parameters, "init": lambda zero, p: (zero,)},
            TypeError,
            rf"parameters of mine must be a tuple of numbers, got {got}",
        )
        for parameters, got in (
            (("a",), "str 'a'"),
            ((None,), "NoneType"),
            ((np.ones(2),), "ndarray"),
            ((1j,), "complex"),
            ([1.0], r"list \[1\.0\]"),
            (1.0, r"float 1\.0"),
        )
    },
}

CALLS = {
    "paired_distance": lambda d: fastcos.paired_distance(X, Y, d),
    "gradient": lambda d: fastcos.grad(fastcos.paired_distance)(X, Y, d),
    "triplets": lambda d: fastcos.triplet_margin_with_distance_loss(
        X, Y, Z, distance_function=d, weight=np.ones(4)
    ),
    "check_distance": fastcos.check_distance,
    "warmup": lambda d: fastcos.warmup("paired_distance", distances=d),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_said_in_one_sentence(case):
    changed, kind, message = FAULTS[case]
    for name, call in CALLS.items():
        with pytest.raises(kind, match=f"^{message}") as caught:
            call(mine(**changed))
        assert "\n" not in str(caught.value), name


def test_the_error_of_the_function_is_the_cause():
    with pytest.raises(NameError) as caught:
        CALLS["paired_distance"](mine(**FAULTS["undefined in a helper"][0]))
    cause = caught.value.__cause__
    assert type(cause) is NameError
    frame = cause.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    assert frame.tb_frame.f_code is helper.__code__


def test_what_only_the_compiler_finds_is_said_with_its_text_as_the_cause():
    # A dict of the module, which plain Python reads.
    bad = mine(finalize=lambda state: state[0] * TABLE["a"])
    for name in ("paired_distance", "check_distance"):
        with pytest.raises(numba.TypingError) as caught:
            CALLS[name](bad)
        assert str(caught.value).startswith(
            "finalize of mine does not compile: Untyped global name 'TABLE'"
        )
        assert "\n" not in str(caught.value)
        assert len(str(caught.value.__cause__).splitlines()) > 20


def test_what_is_called_like_a_function_and_is_none_of_pythons_is_named():
    bad = mine(finalize=functools.partial(lambda factor, state: factor * state[0], 2.0))
    with pytest.raises(TypeError, match=r"^finalize of mine must be a plain function, got partial"):
        CALLS["paired_distance"](bad)


def test_a_parameter_beyond_the_range_is_named():
    with pytest.raises(ValueError, match=r"^parameters of mine is beyond the range of float64"):
        CALLS["paired_distance"](mine(init=lambda zero, p: (zero,), parameters=(10**400,)))


def test_what_may_come_of_the_numbers_is_left_to_the_compiler():
    # At the numbers that the functions are tried with: a division by zero, what is out of range, a
    # power that is complex. Compiled, none of this is an error, and at other numbers neither here.
    steps = 1.0, 2.0
    tried = mine(
        init=lambda zero, p: (zero, 1 / (p - 1), steps[int(2 * p)]),
        accumulate=lambda state, x, y: (state[0] + (y - x) ** 1.5, state[1], state[2]),
        finalize=lambda state: state[0] * state[1] * state[2],
        parameters=(0.0,),
    )
    low, high = np.sort([X, Y], axis=0)
    given = fastcos.paired_distance(low, high, tried)
    np.testing.assert_allclose(given, -((high - low) ** 1.5).sum(1))
    np.testing.assert_allclose(
        fastcos.paired_distance(low, high, tried._replace(parameters=(0.5,))),
        2 * -2 * ((high - low) ** 1.5).sum(1),
    )


@pytest.mark.parametrize(
    "number",
    [2, True, np.float64(2), np.float32(2), np.int64(2), np.True_, np.array(2.0), Decimal(2)],
)
def test_every_number_is_a_parameter(number):
    scaled = mine(
        init=lambda zero, p: (zero, zero + p),
        accumulate=lambda state, x, y: (state[0] + abs(x - y), state[1]),
        finalize=lambda state: state[0] * state[1],
        parameters=(number,),
    )
    expected = float(number) * abs(X - Y).sum(1)
    np.testing.assert_allclose(fastcos.paired_distance(X, Y, scaled), expected)


def test_a_derived_record_is_checked_too():
    euclidean = distances.euclidean()
    derived = euclidean._replace(refinements=euclidean.refinements._replace(prepare=3))
    with pytest.raises(TypeError, match="prepare of euclidean must be a plain function, got int"):
        fastcos.paired_distance(X, Y, derived)


def test_two_slopes_in_a_list_compile():
    faults.check(mine(gradient=lambda state, d, x, y: [1.0, -1.0]))
    with pytest.raises(ValueError, match=r"^gradient of mine .* of 2 numbers, got 3"):
        faults.check(mine(gradient=lambda state, d, x, y: [1.0, -1.0, 0.0]))
