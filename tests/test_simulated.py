"""What the NumPy tests do not say of a GPU: orders, teams, addresses, waiting, devices.

And that the simulated one, on which all this is found out, is as strict as it says.
"""

import functools
import itertools
import math
import types

import devices
import ml_dtypes
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import distances, value_and_grad
from fastcos.engine import libraries, passes
from fastcos.engine.layout import RowLayout
from fastcos.kernels import cuda
from fastcos.kernels.cuda import teams

simulator = pytest.importorskip("simulator", reason="no greenlet here", exc_type=ImportError)
pytestmark = pytest.mark.simulated

DTYPES = [np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
LABELS = np.array([1, -1, -1, 1, -1])


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    devices.forget()
    gpu, _ = devices.simulated(monkeypatch)
    yield gpu
    devices.forget()


@pytest.fixture
def library(gpu):
    return devices._simulated()[1]


def back(library, value):
    if isinstance(value, tuple):
        return tuple(back(library, each) for each in value)
    assert isinstance(value, library.ndarray)
    return library.asnumpy(value)


def agree(library, name, operands, target=None, **kwargs):
    """Value and gradients on the device against the oracle; returns them."""
    there = [library.asarray(x) for x in (*operands, *([] if target is None else [target]))]
    on_device = {
        key: library.asarray(value) if isinstance(value, np.ndarray) else value
        for key, value in kwargs.items()
    }
    value, grads = back(library, value_and_grad(getattr(fastcos, name))(*there, **on_device))
    expected = oracle.loss(name, operands, target, **kwargs)
    oracle.assert_results_agree(oracle.Result(value, grads), expected)
    return value, grads


# --------------------------------------------------------------------------------------------------
# Orders, teams, dtypes
# --------------------------------------------------------------------------------------------------


def case(name, *shapes, target=False, **kwargs):
    return name, shapes, target, kwargs


#: Rows of up to 16 bytes are a thread's, of up to 6 KiB a part of a warp's, of more a block's.
CASES = {
    "pairs": case("cosine_embedding_loss", (5, 7), (5, 7), target=True, margin=-0.5),
    "pairs in part of a warp": case("cosine_distance_loss", (5, 100), (5, 100)),
    "pairs in a block": case("cosine_distance_loss", (3, 3100), (3, 3100)),
    "a row for all": case("cosine_embedding_loss", (7,), (5, 7), target=True, margin=-0.5),
    "a row for all in a block": case("cosine_distance_loss", (3100,), (3, 3100)),
    "a grid": case("cosine_distance_loss", (4, 1, 33), (1, 3, 33), reduction="sum"),
    "triplets": case("triplet_margin_loss", (5, 33), (5, 33), (5, 33)),
    "triplets with swap": case("triplet_margin_loss", (5, 33), (5, 33), (5, 33), swap=True),
    "triplets in a block": case(
        "triplet_margin_loss", (2, 3100), (2, 3100), (2, 3100), swap=True, reduction="none"
    ),
    "triplets of a row": case("triplet_margin_loss", (33,), (5, 33), (5, 33), swap=True),
    "distances": case("hinge_embedding_loss", (5,), target=True, reduction="none"),
    "more distances than a block": case(
        "hinge_embedding_loss", (5, 70), target=True, reduction="sum"
    ),
}


def draw(rng, shapes, dtype):
    """Operands of these shapes."""
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def labels(rng, which):
    name, shapes, labelled, _ = CASES[which]
    return rng.choice([-1, 1], shapes[0] if name.startswith("hinge") else 5) if labelled else None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("which", CASES)
def test_the_order_of_blocks_and_threads_changes_no_bit(
    rng, monkeypatch, gpu, library, which, dtype
):
    name, shapes, _, kwargs = CASES[which]
    operands = draw(rng, shapes, dtype)
    target = labels(rng, which)
    results = []
    for order in ("forward", "reverse", "random"):
        monkeypatch.setattr(gpu, "order", order)
        results.append(agree(library, name, operands, target, **kwargs))
    for value, grads in results[1:]:
        oracle.assert_same_bits(value, results[0][0])
        for one, other in zip(grads, results[0][1], strict=True):
            oracle.assert_same_bits(one, other)


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("which", CASES)
def test_tasks_of_several_samples(rng, monkeypatch, library, which, tasks):
    # As there are from 4096 samples on where gradients are added up, and from 65536 on elsewhere.
    monkeypatch.setattr(passes, "_TASKS_OF_DEVICE", tasks)
    monkeypatch.setattr(passes, "_SUMMING_TASKS_OF_DEVICE", tasks)
    name, shapes, _, kwargs = CASES[which]
    target = labels(rng, which)
    agree(library, name, draw(rng, shapes, np.float64), target, **kwargs)


def test_blocks_of_as_many_threads_as_a_real_one_has(rng, monkeypatch):
    real = teams.THREADS
    monkeypatch.undo()
    devices.forget()
    assert teams.THREADS == 128 > real
    _, library = devices.simulated(monkeypatch, threads=teams.THREADS)
    for which in ("pairs", "a row for all", "triplets with swap", "more distances than a block"):
        name, shapes, _, kwargs = CASES[which]
        target = labels(rng, which)
        agree(library, name, draw(rng, shapes, np.float32), target, **kwargs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_teams_begin_and_end_where_rows_get_too_long(rng, library, dtype):
    vector = 16 // dtype.itemsize
    widest = {vector: 1, vector + 1: 2, 3 * vector + 1: 4, 48 * vector: 4, 48 * vector + 1: 8}
    widest |= {384 * vector: 32, 384 * vector + 1: 64, 10**7: 256}
    for features, threads in widest.items():
        layout = teams.layout(features, dtype.name)
        assert 1 << layout.shift == threads
        assert layout.wide == (threads > teams.WARP)
        assert layout.threads == (threads if layout.wide else teams.THREADS)
        if features < 10**6:
            agree(library, "cosine_distance_loss", draw(rng, [(2, features)] * 2, dtype))


def merged(merge):
    """The mean of |x - y| and its largest, halved: two numbers that parts are merged into."""
    return fastcos.Distance(
        "mean and largest",
        init=lambda zero: (zero, zero),
        accumulate=lambda state, x, y: (state[0] + abs(x - y), max(state[1], abs(x - y))),
        finalize=lambda state: state[0] + state[1] if merge else state[0],
        gradient=lambda state, d, x, y: (
            (np.sign(x - y) * (1 + (abs(x - y) == state[1] and merge))),
            -(np.sign(x - y) * (1 + (abs(x - y) == state[1] and merge))),
        ),
        refinements=distances.Refinements(
            merge=(lambda a, b: (a[0] + b[0], max(a[1], b[1]))) if merge else None
        ),
    )


@pytest.mark.parametrize("features", [7, 100, 1600])
@pytest.mark.parametrize("merge", [False, True])
def test_a_distance_of_the_users_own_is_merged_from_its_parts(rng, library, merge, features):
    x, y = rng.standard_normal((2, 3, features))
    d, (gx, gy) = back(
        library,
        value_and_grad(fastcos.paired_distance)(
            library.asarray(x), library.asarray(y), merged(merge)
        ),
    )
    size = np.abs(x - y)
    top = size == size.max(axis=1, keepdims=True)
    np.testing.assert_allclose(d, size.sum(1) + merge * size.max(1), rtol=1e-13)
    np.testing.assert_array_equal(gx, np.sign(x - y) * (1 + merge * top))
    np.testing.assert_array_equal(gy, -gx)


def test_a_state_that_is_not_made_of_sums_needs_to_be_merged(rng, library):
    x, y = (library.asarray(row) for row in rng.standard_normal((2, 3, 70)))
    largest = merged(True)._replace(refinements=distances.Refinements())
    with pytest.raises(ValueError, match="merge=lambda state, other"):
        fastcos.paired_distance(x, y, largest)
    last = fastcos.Distance(
        "last",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (abs(x - y),),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (0.0, 0.0),
    )
    with pytest.raises(ValueError, match="not made of sums"):
        value_and_grad(fastcos.triplet_margin_with_distance_loss)(x, y, x, distance_function=last)


def test_a_state_that_begins_with_a_parameter_is_not_added_up_with_it(rng, library):
    # Parts start from where the whole starts, which is to be counted once.
    x, y = rng.standard_normal((2, 3, 900))
    for distance, eps in ((distances.euclidean(0.25), 0.25), (distances.lp(3.5, 0.25), 0.25)):
        p = {"p": 3.5} if distance.name == "lp" else {}
        d = fastcos.paired_distance(library.asarray(x), library.asarray(y), distance)
        right = oracle.distance(distance.name, x, y, eps=eps, **p)[0]
        oracle.assert_within_ulps(library.asnumpy(d), right, 32)


# --------------------------------------------------------------------------------------------------
# Addresses
# --------------------------------------------------------------------------------------------------


def shifted(library, x, by):
    """The same rows beginning ``by`` numbers past a multiple of 16 bytes, packed."""
    memory = library.asarray(np.zeros(x.size + by, x.dtype))
    view = library.ndarray(x.shape, x.dtype, memory.data + by * x.itemsize, x.strides)
    view[...] = library.asarray(x)
    return view


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [48, 1600])
def test_rows_that_begin_between_multiples_of_16_bytes(
    rng, monkeypatch, gpu, library, dtype, features
):
    wide = []
    storage = gpu.STORAGE[dtype.name]
    counted = types.SimpleNamespace(**vars(storage))
    counted.load = lambda at: wide.append(at) or storage.load(at)
    counted.store = lambda at, values: wide.append(at) or storage.store(at, values)
    monkeypatch.setitem(gpu.STORAGE, dtype.name, counted)
    monkeypatch.setattr(simulator, "_made", simulator._made.__wrapped__)  # with what counts
    f = value_and_grad(fastcos.cosine_distance_loss)
    x, y = draw(rng, [(3, features)] * 2, dtype)
    expected = oracle.loss("cosine_distance_loss", (x, y))
    for one, other in itertools.product((0, 1), repeat=2):
        wide.clear()
        arguments = shifted(library, x, one), shifted(library, y, other)
        value, grads = back(library, f(*arguments))
        oracle.assert_results_agree(oracle.Result(value, grads), expected)
        assert bool(wide) == (one == other == 0)
    # Gradients between the multiples, of rows at multiples: read in 16 bytes, written singly.
    wide.clear()
    out = shifted(library, 0 * x, 1), shifted(library, 0 * y, 1)
    value, grads = f(library.asarray(x), library.asarray(y), out=out)
    oracle.assert_results_agree(oracle.Result(*back(library, (value, tuple(grads)))), expected)
    assert wide


def test_one_row_expanded_is_read_where_it_lies(rng, gpu, library):
    x, y = rng.standard_normal(33), rng.standard_normal((5, 33))
    expanded = library.broadcast_to(library.asarray(x), (5, 33))
    assert expanded.strides[0] == 0
    f = value_and_grad(fastcos.cosine_embedding_loss)
    target = library.asarray(LABELS)
    before = len(gpu.memory._ends)
    value, grads = f(expanded, library.asarray(y), target, margin=-0.5)
    expected = oracle.loss(
        "cosine_embedding_loss", (np.broadcast_to(x, (5, 33)), y), LABELS, margin=-0.5
    )
    result = oracle.Result(*back(library, (value, grads)))
    oracle.assert_results_agree(result, expected)
    # The operand, the value, two gradients and the sums of the blocks: no copy of the row.
    assert len(gpu.memory._ends) - before <= 5


def test_addresses_beyond_32_bits(monkeypatch, gpu, library, rng):
    # A row every 2**31 bytes and more: memory that is said to be there, and lies in a dictionary.
    far, x, y = 2**31 + 16, *rng.standard_normal((2, 3, 7))
    base = 1 << 52
    storage = gpu.STORAGE["float64"]

    def place(address):
        row, inside = divmod(address - base, far)
        assert 0 <= row < 3
        assert 0 <= inside < 56
        return row, inside // 8

    counted = types.SimpleNamespace(**vars(storage))
    counted.get = lambda a: np.float64(x[place(a)]) if a >= base else storage.get(a)
    counted.load = lambda a: (counted.get(a), counted.get(a + 8))
    monkeypatch.setitem(gpu.STORAGE, "float64", counted)
    monkeypatch.setattr(simulator, "_made", simulator._made.__wrapped__)
    own = libraries._adapter(devices._ADAPTER)
    array = library.asarray(x)
    far_apart, layout = own.layout(array)._replace(strides=(far, 8)), own.layout
    address = own.address
    monkeypatch.setattr(own, "array_layout", lambda v: far_apart if v is array else layout(v))
    monkeypatch.setattr(own, "address", lambda v: base if v is array else address(v))
    f = value_and_grad(fastcos.cosine_distance_loss)
    # Weights of 1, which the direct way does without, are the default of this loss.
    value, grads = back(library, f(array, library.asarray(y), weights=None))
    expected = oracle.loss("cosine_distance_loss", (x, y))
    oracle.assert_results_agree(oracle.Result(value, grads), expected)


# --------------------------------------------------------------------------------------------------
# Nothing waits
# --------------------------------------------------------------------------------------------------


def weights(rng, library):
    return {
        "none": None,
        "a number": 1.5,
        "a number there": library.asarray(np.float64(1.5)),
        "one for each": library.asarray(rng.uniform(0.5, 2, 5)),
        "integers": library.asarray(np.array([1, 0, 2, 3, 1])),
        "one for all": library.asarray(np.array([0.0])),
    }


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_nothing_waits_for_the_device(rng, library, name, reduction):
    row = oracle.LOSSES[name]
    operands = rng.standard_normal((len(row.operand_names), 5, *((6,) if row.on_rows else ())))
    target = [LABELS] if row.has_target else []
    there = [library.asarray(x) for x in (*operands, *target)]
    weight_name = "weights" if name == "cosine_distance_loss" else "weight"
    loss = getattr(fastcos, name)
    for weight in weights(rng, library).values():
        given = {weight_name: weight, "reduction": reduction}
        known = None if weight is None else np.asarray(weight)
        expected = oracle.loss(name, operands, *target, weight=known, reduction=reduction)
        named = row.operand_names if weight is None else (*row.operand_names, weight_name)
        # A number is on no device: its gradient is on that of the others all the same.
        value, grads = value_and_grad(loss, argnums=named)(*there, **given)
        own, slope = (grads, None) if weight is None else (grads[:-1], grads[-1])
        result = oracle.Result(*back(library, (value, own)), slope)
        if isinstance(weight, np.ndarray) and weight.dtype.kind == "f":
            result = result._replace(weight_grad=back(library, slope))
        else:
            result = result._replace(weight_grad=None)
        oracle.assert_results_agree(result, expected)
        oracle.assert_same_bits(back(library, loss(*there, **given)), value_of(loss, there, given))


def value_of(loss, there, given):
    """The value beside gradients."""
    return np.asarray(value_and_grad(loss)(*there, **given)[0])


@pytest.mark.parametrize("value", [float, int, bool, complex, lambda x: x.item()])
def test_the_look_alike_knows_of_waiting(library, value):
    with pytest.raises(AssertionError, match="waited for"):
        value(library.asarray(np.float64(1)))


# --------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------

BAD = {
    "int64": np.array([1, 0, -1, 2, 1]),
    "int8": np.array([1, 0, -1, 2, 1], np.int8),
    "int32": np.array([1, 0, -1, 2, 1], np.int32),
    "float32": np.array([1, np.nan, -1, 0.5, 1], np.float32),
    "float64": np.array([1, np.nan, -1, 0.5, 1]),
}


@pytest.mark.parametrize("kind", BAD)
def test_wrong_labels_are_nan_in_their_own_sample_unless_they_are_looked_for(rng, library, kind):
    x, y = rng.standard_normal((2, 5, 7))
    wrong, right = np.array([1, 3]), np.array([0, 2, 4])
    labels = BAD[kind]
    good = np.where(np.isin(np.arange(5), wrong), 1, labels)
    for name, operands in (("cosine_embedding_loss", (x, y)), ("hinge_embedding_loss", (x[:, 0],))):
        there = [library.asarray(v) for v in (*operands, labels)]
        f = value_and_grad(getattr(fastcos, name))
        expected = oracle.loss(name, operands, good, reduction="none")
        for validate in (None, False):
            value, grads = back(library, f(*there, reduction="none", validate=validate))
            assert np.isnan(value[wrong]).all()
            oracle.assert_within_ulps(value[right], expected.value[right], 32, scale=1)
            for given, slope in zip(grads, expected.grads, strict=True):
                assert np.isnan(given[wrong]).all()
                oracle.assert_within_ulps(given[right], slope[right], 32, scale=1)
            assert np.isnan(np.asarray(f(*there, validate=validate)[0]))
        with pytest.raises(ValueError, match=rf"target must be .* got {labels[1]!s} at index \(1,"):
            f(*there, validate=True)


def test_a_call_that_fails_over_its_labels_leaves_out_alone(rng, library):
    x, y = (library.asarray(v) for v in rng.standard_normal((2, 5, 7)))
    out = tuple(library.asarray(np.full((5, 7), 7.0)) for _ in range(2))
    for weight in (None, 2.0):
        with pytest.raises(ValueError, match="target must be"):
            value_and_grad(fastcos.cosine_embedding_loss)(
                x, y, library.asarray(BAD["int64"]), out=out, weight=weight, validate=True
            )
    assert all((np.asarray(g) == 7).all() for g in out)


# --------------------------------------------------------------------------------------------------
# Buffers, libraries, devices
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, 2.0])
def test_out_is_written_where_it_is(rng, library, weight):
    x, y = rng.standard_normal((2, 5, 7))
    there = [library.asarray(v) for v in (x, y, LABELS)]
    out = tuple(library.asarray(np.full((5, 7), 7.0)) for _ in range(2))
    value, grads = value_and_grad(fastcos.cosine_embedding_loss)(*there, out=out, weight=weight)
    assert all(one is other for one, other in zip(grads, out, strict=True))
    expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS, weight=weight)
    oracle.assert_results_agree(oracle.Result(*back(library, (value, grads))), expected)


def test_out_is_checked(rng, library):
    x, y, one, other = (library.asarray(v) for v in rng.standard_normal((4, 5, 7)))
    f = functools.partial(
        value_and_grad(fastcos.cosine_embedding_loss), x, y, library.asarray(LABELS)
    )
    before = np.array(one)
    for out, error, message in (
        ((one, np.zeros((5, 7))), TypeError, "out for input2 must be a CuPy array, got ndarray"),
        ((one, one), ValueError, "out for input2 shares memory with out for input1"),
        ((one, y), ValueError, "out for input2 shares memory with input2"),
        ((one, other[:4]), ValueError, r"out for input2 must have shape \(5, 7\)"),
        ((one, other.astype(np.float32)), TypeError, "dtype float64, got .* float32"),
        ((one, library.broadcast_to(other[0], (5, 7))), ValueError, "out for input2 is a broadc"),
    ):
        with pytest.raises(error, match=message):
            f(out=out)
    np.testing.assert_array_equal(np.asarray(one), before)


def test_arrays_of_host_and_device_are_named(rng, library):
    x, y = rng.standard_normal((2, 5, 7))
    there = library.asarray(x)
    with pytest.raises(TypeError, match="input1 is a simulated array and input2 is a numpy array"):
        fastcos.cosine_embedding_loss(there, y, 1)
    with pytest.raises(TypeError, match="input1 is a numpy array and input2 is a simulated array"):
        fastcos.cosine_embedding_loss(y, there, 1)
    with pytest.raises(TypeError, match="input1 is a simulated array and target is a numpy array"):
        fastcos.cosine_embedding_loss(there, there, LABELS)
    with pytest.raises(TypeError, match="anchor is a simulated array and weight is a numpy array"):
        fastcos.triplet_margin_loss(there, there, there, weight=np.ones(5))


def on(library, number, x):
    """An array on another device."""
    array = library.asarray(np.array(x))
    array.number = number
    return array


def test_arrays_on_two_devices_are_named(rng, library):
    x, y, z = rng.standard_normal((3, 5, 7))
    here, there = library.asarray(x), on(library, 1, y)
    with pytest.raises(ValueError, match="input1 is on device 0 and input2 on device 1"):
        fastcos.cosine_embedding_loss(here, there, 1)
    with pytest.raises(ValueError, match="anchor is on device 1 and negative on device 0"):
        fastcos.triplet_margin_loss(there, there, here)
    target = on(library, 1, LABELS)
    for kwargs in ({}, {"weight": 2.0}):
        with pytest.raises(ValueError, match="target is on device 1, the operands are on device 0"):
            fastcos.cosine_embedding_loss(here, library.asarray(z), target, **kwargs)
    with pytest.raises(ValueError, match="weight is on device 1, the operands are on device 0"):
        fastcos.cosine_embedding_loss(here, here, 1, weight=on(library, 1, np.ones(5)))
    with pytest.raises(ValueError, match="grad_output is on device 1"):
        value_and_grad(fastcos.cosine_similarity)(
            here, here, grad_output=on(library, 1, np.ones(5))
        )


def test_another_device_than_the_current_one_is_entered(rng, library):
    x, y = rng.standard_normal((2, 5, 7))
    there = [on(library, 1, v) for v in (x, y, LABELS)]
    library.entered.clear()
    value, grads = value_and_grad(fastcos.cosine_embedding_loss)(*there)
    assert library.entered == [1]
    assert library.current == 0
    assert {array.device.id for array in (value, *grads)} == {1}
    expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS)
    oracle.assert_results_agree(oracle.Result(*back(library, (value, grads))), expected)
    # A number goes where the arrays are.
    value = fastcos.cosine_embedding_loss(*there[:2], 1, weight=2.0)
    assert value.device.id == 1
    library.entered.clear()
    fastcos.cosine_embedding_loss(library.asarray(x), library.asarray(y), 1)
    assert library.entered == []


# --------------------------------------------------------------------------------------------------
# The simulator
# --------------------------------------------------------------------------------------------------


def run(gpu, kernel, threads=32, integers=(), blocks=1):
    gpu.launch(kernel, blocks, threads, integers, ())


def test_what_is_of_no_array_is_not_touched(rng, monkeypatch, gpu, library):
    x = library.asarray(np.arange(4.0))
    start = x.data.ptr
    get, put = gpu.get_double, gpu.put_double
    assert get(start + 24) == 3
    for touch in (lambda a: get(a), lambda a: put(a, 1.0), gpu.STORAGE["float64"].load):
        for address in (start + 32, start - 16):
            with pytest.raises(MemoryError, match="of no array"):
                run(gpu, lambda n, d, touch=touch: touch(n[0]), integers=(address,))
    with pytest.raises(MemoryError, match="of no array"):
        gpu.STORAGE["float32"].get(0)
    del x
    with pytest.raises(MemoryError, match="of no array"):
        get(start)


def test_a_kernel_that_reads_past_its_rows_is_found_out(rng, monkeypatch, library):
    # The rows are said to be one number longer than they are.
    run = devices.device.run

    def too_long(plan, bound, *rest):
        visit = bound.visit._replace(features=bound.visit.features + 1)
        return run(plan, bound._replace(visit=visit), *rest)

    monkeypatch.setattr(devices.device, "run", too_long)
    x, y = (library.asarray(v) for v in rng.standard_normal((2, 1, 6)))
    with pytest.raises(MemoryError, match="of no array"):
        fastcos.cosine_similarity(x, y)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_address_that_is_no_multiple_is_found_out(gpu, library, dtype):
    held = library.asarray(np.zeros(64, dtype))
    start, storage = held.data.ptr, gpu.STORAGE[dtype.name]
    storage.load(start + 16)
    storage.get(start + dtype.itemsize)
    with pytest.raises(MemoryError, match="no multiple"):
        storage.load(start + 8)
    with pytest.raises(MemoryError, match="no multiple"):
        storage.store(start + 8, (storage.number(0),) * storage.vector)
    with pytest.raises(MemoryError, match="no multiple"):
        storage.get(start + 1)
    with pytest.raises(MemoryError, match="no multiple"):
        storage.put(start + 1, storage.number(0))


def test_a_shuffle_that_not_all_come_to_is_found_out(gpu):
    def kernel(n, d):
        if gpu.cuda.threadIdx.x != 5:
            gpu.cuda.shfl_xor_sync(0xFFFFFFFF, 1.0, 1)

    with pytest.raises(RuntimeError, match="do not come"):
        run(gpu, kernel)

    def outside(n, d):
        gpu.cuda.shfl_xor_sync(1 << (gpu.cuda.threadIdx.x ^ 1), 1.0, 1)

    with pytest.raises(AssertionError, match="takes no part"):
        run(gpu, outside)


def test_a_barrier_that_some_wait_before_is_found_out(gpu):
    def kernel(n, d):
        if gpu.cuda.threadIdx.x < 7:
            gpu.cuda.shfl_xor_sync(0xFF, 1.0, 1)
        else:
            gpu.cuda.syncthreads()

    with pytest.raises(RuntimeError, match="do not come"):
        run(gpu, kernel)


def test_shared_memory_is_nothing_until_it_is_written(gpu):
    seen = []

    def kernel(n, d):
        shared = gpu.cuda.shared.array(4, None)
        seen.append(shared[1])
        gpu.cuda.syncthreads()
        shared[1] = 2.0
        gpu.cuda.syncthreads()
        seen.append(shared[1])

    run(gpu, kernel, blocks=2)
    seen = np.reshape(seen, (2, 2, 32))
    assert np.isnan(seen[:, 0]).all()
    assert (seen[:, 1] == 2).all()


def test_orders_are_what_they_are_called(monkeypatch, gpu):
    for order in ("forward", "reverse", "random"):
        seen = []

        def kernel(n, d, seen=seen):
            seen.append((gpu.cuda.blockIdx.x, gpu.cuda.threadIdx.x))

        monkeypatch.setattr(gpu, "order", order)
        run(gpu, kernel, blocks=2)
        every = list(itertools.product(range(2), range(32)))
        assert sorted(seen) == every
        assert (seen == every) == (order == "forward")
        assert (seen == every[::-1]) == (order == "reverse")


def test_a_callable_that_leaves_the_device_is_refused(library):
    operands = [library.asarray(x) for x in np.ones((3, 2, 4))]
    f = fastcos.triplet_margin_with_distance_loss
    value = f(*operands, distance_function=lambda x, y: (x - y).sum(axis=-1))
    assert float(library.asnumpy(value)) == 1
    with pytest.raises(
        TypeError, match=r"\(anchor, positive\) is a numpy array, its arguments are"
    ):
        f(*operands, distance_function=lambda x, y: library.asnumpy(x - y).sum(-1))


# --------------------------------------------------------------------------------------------------
# The sum of the sums of the blocks
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 255, 256, 257, 400, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sums_of_the_blocks_are_added_up(gpu, count, dtype):
    numbers = np.random.default_rng(count).standard_normal(max(count, 1))
    found = np.zeros(1, dtype)
    for array in (numbers, found):
        gpu.memory.add(array)
    make = functools.partial(cuda.finishing, dtype)
    run = simulator.launcher(gpu, make, (4, 1), 64, 0, "the sum of losses")
    run(0, 1, (numbers.ctypes.data, count, 0, found.ctypes.data), (8.0,))
    assert abs(found[0] - math.fsum(numbers[:count]) / 8) <= np.finfo(dtype).eps * max(count, 1)


# --------------------------------------------------------------------------------------------------
# Sums over shared rows
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 2, 7, 8, 33, 36, 64, 97, 1600])
@pytest.mark.parametrize("gap", [0, 1, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_over_rows_wherever_they_lie(library, monkeypatch, dtype, features, gap):
    # With a gap of 1 rows are at multiples of 16 bytes and between them, in turns.
    monkeypatch.setattr(passes, "_SUMMING_TASKS_OF_DEVICE", 3)
    rng = np.random.default_rng(features)
    query = rng.standard_normal((1, features)).astype(dtype)
    gallery = rng.standard_normal((7, features + gap)).astype(dtype)
    f = value_and_grad(fastcos.paired_distance)
    expected, right = f(query, gallery[:, :features], "sqeuclidean", grad_output=np.arange(7.0))
    there = library.asarray(gallery)[:, :features]
    upstream = library.asarray(np.arange(7.0))
    found, grads = f(library.asarray(query), there, "sqeuclidean", grad_output=upstream)
    # Sums are float64 in both places, in another order, as each processor has its own; what is
    # written is rounded once. In float64 that order shows: 11 ulp apart on a Zen 4.
    bound = (32 if dtype == np.float64 else 4) * float(ml_dtypes.finfo(dtype).eps)
    for given, other in zip((found, *grads), (expected, *right), strict=True):
        given, other = back(library, given).astype(np.float64), other.astype(np.float64)
        assert np.abs(given - other).max() <= bound * np.abs(other).max()


# --------------------------------------------------------------------------------------------------
# How many threads there are
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "threads"), [(1, 1 << 19), (4, 1 << 19), (512, 1 << 20)])
def test_rows_of_any_length_keep_a_gpu_busy(features, threads):
    # An H100 has room for 2^18 threads; rows of a few numbers have one each.
    rows = [RowLayout((1 << 22,), (4 * features,))] * 2
    visit = passes.passes((1 << 22,), features, rows, [None, None], on_device=True)[0]
    assert visit.tasks << teams.layout(features, "float32").shift >= threads
