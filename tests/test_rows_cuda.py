"""Rows of tables on a GPU: simulated, and compiled for one that is not there.

What holds on a CPU, too, is in ``test_rows``. Here are the kernels of a GPU: teams, tasks, numbers
of rows that nobody has looked at.
"""

import re

import devices
import machine_code
import ml_dtypes
import numpy as np
import pytest
from machine_code import CAPABILITIES
from test_cuda_compiled import REGISTERS

import fastcos
from fastcos import distances, losses, value_and_grad
from fastcos.engine import lookup
from fastcos.kernels import cuda
from fastcos.kernels.arguments import DeviceOfTable, device_count

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)]


@pytest.fixture
def gpu(monkeypatch):
    devices.forget()
    gpu, _ = devices.simulated(monkeypatch)
    yield gpu
    devices.forget()


@pytest.fixture
def library(gpu):
    return devices._simulated()[1]


def call(library, loss, operands, *args, sparse=False, **kwargs):
    """Value and gradients on the device; an operand is an array, or a table and an index."""
    taken = {}

    def there(value):
        if not isinstance(value, np.ndarray):
            return value
        return taken.setdefault(id(value), (library.asarray(value), value))[0]

    made = [
        fastcos.rows(*map(there, x), sparse) if isinstance(x, tuple) else there(x) for x in operands
    ]
    args, kwargs = map(there, args), {key: there(value) for key, value in kwargs.items()}
    value, grads = value_and_grad(loss)(*made, *args, **kwargs)
    return back(library, value), back(library, grads)


def back(library, value):
    if isinstance(value, fastcos.RowGradient):
        return value._make(map(library.asnumpy, value))
    if isinstance(value, (tuple, list)):
        return [back(library, each) for each in value]
    return library.asnumpy(value)


def gathered(loss, operands, *args, **kwargs):
    """The same from float64 copies of the rows: the value, and the gradient of each array."""
    if kwargs.get("distance") is OWN:
        kwargs["distance"] = "sqeuclidean"
    wide = [(x[0][x[1]] if isinstance(x, tuple) else x).astype(np.float64) for x in operands]
    value, grads = value_and_grad(loss)(*wide, *args, **kwargs)
    found = {}
    for x, grad in zip(operands, grads, strict=True):
        if isinstance(x, tuple):
            total = found.setdefault(id(x[0]), np.zeros(x[0].shape))
            np.add.at(total, x[1], grad)
        else:
            found[id(x)] = grad
    return value, list(found.values())


def assert_close(found, right, eps, scale=0):
    """To a few units in the last place of the largest."""
    assert len(found) == len(right)
    for given, other in zip(found, right, strict=True):
        assert given.shape == other.shape
        bound = 4 * eps * max(np.abs(other).max(), scale)
        assert np.abs(given.astype(np.float64) - other).max() <= bound


def agree(library, loss, operands, *args, **kwargs):
    """Both, within what a gradient of the dtype is right to."""
    value, grads = call(library, loss, operands, *args, **kwargs)
    expected, right = gathered(loss, operands, *args, **kwargs)
    dtypes = [(x[0] if isinstance(x, tuple) else x).dtype for x in operands]
    eps = max(float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes)
    assert_close([value], [np.asarray(expected)], eps, scale=1)
    assert_close(grads, right, eps)
    return value, grads


def table(rng, rows, *shape, dtype=np.float64):
    return rng.standard_normal((rows, *shape)).astype(dtype)


#: A user's own, of which nothing says that its gradient is linear.
OWN = fastcos.Distance(
    "own",
    init=lambda zero: (zero, zero),
    accumulate=lambda state, x, y: (state[0] + x * x + y * y, state[1] + x * y),
    finalize=lambda state: state[0] - 2 * state[1],
    gradient=lambda state, d, x, y: (2 * (x - y), 2 * (y - x)),
)

#: A loss, how many operands it has, and options.
LOSSES = {
    "pairs": (fastcos.cosine_distance_loss, 2, {}),
    "manhattan": (fastcos.paired_distance, 2, {"distance": "manhattan"}),
    "own": (fastcos.paired_distance, 2, {"distance": OWN}),
    "triplets": (fastcos.triplet_margin_loss, 3, {}),
    "swap": (fastcos.triplet_margin_loss, 3, {"swap": True}),
}

# --------------------------------------------------------------------------------------------------
# Simulated
# --------------------------------------------------------------------------------------------------


@pytest.mark.simulated
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("which", LOSSES)
def test_rows_of_one_table(rng, library, which, dtype):
    # With rows that nobody names, that many do, and that one sample names twice; between multiples
    # of 16 bytes, with a rest that is no whole vector.
    loss, count, options = LOSSES[which]
    e = table(rng, 9, 37, dtype=dtype)
    index = rng.integers(1, 7, (count, 12))
    index[1, :4] = 2
    agree(library, loss, [(e, each) for each in index], **options)


@pytest.mark.simulated
@pytest.mark.parametrize("features", [1, 4, 64, 1700])
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_teams_of_any_width_and_order(rng, monkeypatch, gpu, library, features, order):
    monkeypatch.setattr(gpu, "order", order)
    loss, _, _ = LOSSES["triplets"]
    e, f = table(rng, 4, features, dtype=np.float32), table(rng, 5, features, dtype=np.float32)
    index = np.array([[0, 1, 2], [3, 1, 0], [2, 2, 4]])
    agree(library, loss, [(e, index[0]), (e, index[1]), (f, index[2])])


@pytest.mark.simulated
def test_plain_arrays_other_dtypes_and_indices_that_broadcast(rng, library):
    e, f = table(rng, 6, 5), table(rng, 40, 5, dtype=np.float32)
    grid = (e, rng.integers(0, 6, (4, 1))), (f, rng.integers(0, 40, (3,)))
    agree(library, fastcos.cosine_distance_loss, grid)
    agree(library, fastcos.cosine_distance_loss, (table(rng, 4, 1, 5), grid[1]))
    agree(library, fastcos.cosine_distance_loss, (table(rng, 1, 5)[0], grid[0]))
    # Read in a copy: of the table, or of the rows that are named.
    agree(library, fastcos.cosine_distance_loss, ((e, np.arange(6)), (f[:5], np.arange(6) % 5)))
    agree(library, fastcos.cosine_distance_loss, ((e[:, ::-1], np.array([-1])), (e, np.array([2]))))
    # A table of three axes, of which an index names two rows each.
    g = table(rng, 5, 2, 5)
    agree(
        library, fastcos.cosine_distance_loss, ((g, np.array([3, 0, 3])), (g, np.array([1, 1, 0])))
    )


@pytest.mark.simulated
@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float64)], ids=str)
@pytest.mark.parametrize("accumulate", [False, True])
def test_a_row_of_several_tasks(rng, monkeypatch, library, dtype, accumulate):
    # Of 13 words each row begins and ends within a task, and one goes over many.
    e = table(rng, 4, 6, dtype=dtype)
    index = np.array([0] * 5 + [2] * 44 + [3] * 3)
    q, upstream = table(rng, 52, 6, dtype=dtype), rng.standard_normal(52)
    kwargs = {"distance": "sqeuclidean", "grad_output": upstream}
    _, right = gathered(fastcos.paired_distance, ((e, index), q), **kwargs)
    out = [np.ones(e.shape, dtype), np.ones(q.shape, dtype)]
    there = [library.asarray(x) for x in out]
    options = {"out": there, "accumulate": True} if accumulate else {}
    for tasks in (1, 3, 13, 52):
        monkeypatch.setattr(lookup, "tasks", lambda *given, tasks=tasks: tasks)
        for buffer in there:
            buffer[...] = 1
        _, grads = call(library, fastcos.paired_distance, ((e, index), q), **kwargs, **options)
        eps = float(ml_dtypes.finfo(dtype).eps)
        assert_close(grads, [each + accumulate for each in right], eps)
    assert (grads[0][1] == accumulate).all()


@pytest.mark.simulated
def test_weights_labels_and_no_samples(rng, library):
    e, labels = table(rng, 6, 5), np.array([1, -1, 1])
    operands = (e, np.array([0, 5, 0])), (e, np.array([1, 1, 4]))
    f = fastcos.cosine_embedding_loss
    agree(library, f, operands, labels, weight=np.array([1.0, 0.0, 3.0]), reduction="none")
    nothing = np.zeros(0, np.int64)
    _, (grad,) = call(library, fastcos.paired_distance, ((e, nothing), (e, nothing)))
    assert (grad == 0).all()


@pytest.mark.simulated
def test_a_sparse_gradient_is_of_the_rows_that_are_named(rng, library):
    e = table(rng, 60, 5)
    operands = (e, np.array([7, 50, -1, 7])), (e, np.array([50, 0, 0, 60]))
    (_, (grad,)) = call(library, fastcos.paired_distance, operands, sparse=True)
    # A number that the table has not names none.
    np.testing.assert_array_equal(grad.rows, [0, 7, 50, 59])
    _, (dense,) = call(library, fastcos.paired_distance, operands)
    np.testing.assert_array_equal(grad.values, dense[grad.rows])
    assert np.isnan(grad.values[1]).all()


@pytest.mark.simulated
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copied", [False, True])
def test_a_number_that_the_table_has_not_is_nan_in_its_own_sample(rng, library, dtype, copied):
    e, f = table(rng, 6, 5, dtype=dtype), table(rng, 4, 5, dtype=dtype)
    if copied:
        f = f.astype(np.float16)
    i, j = np.array([0, 1, 2, 5, 9, 2]), np.array([3, 4, 1, -4, 0, -5])
    bad, wrong = np.isin(np.arange(6), [1, 4, 5]), [1, 2]
    for index in (j, j.astype(np.int8)):
        value, (ge, gf) = call(library, fastcos.paired_distance, ((e, i), (f, index)))
        np.testing.assert_array_equal(np.isnan(value), bad)
        good, (right_e, right_f) = gathered(fastcos.paired_distance, ((e, i[~bad]), (f, j[~bad])))
        np.testing.assert_allclose(value[~bad], good, rtol=1e-5)
        # What stands beside it in the sample is NaN, too, and nothing else is.
        assert np.isnan(ge[wrong]).all()
        right = np.delete(ge, wrong, 0), np.delete(right_e, wrong, 0)
        np.testing.assert_allclose(*right, rtol=1e-5)
        assert np.isnan(gf).all(axis=1).tolist() == [True, False, False, False]
        np.testing.assert_allclose(gf[1:], right_f[1:], rtol=1e-2 if copied else 1e-5)


@pytest.mark.simulated
def test_an_infinite_row_has_no_gradient_nor_have_those_it_meets(library):
    table = np.array([[np.inf, 1], [1, 2], [3, 4]], np.float32)
    operands = [(table, np.array([0])), (table, np.array([1]))]
    _, (grad,) = call(library, fastcos.paired_distance, operands, "cosine")
    assert np.isnan(grad[:2]).all()
    assert (grad[2] == 0).all()


@pytest.mark.simulated
def test_numbers_are_looked_at_if_it_is_asked_for(library):
    e, index = library.asarray(np.ones((3, 2))), library.asarray(np.array([[0, 2], [1, -4]]))
    labels, operand = library.asarray(np.ones((2, 2))), fastcos.rows(e, index)
    with pytest.raises(IndexError, match=r"out of range at position \(1, 1\), the table has 3 r"):
        fastcos.cosine_embedding_loss(operand, operand, labels, validate=True)
    loss = fastcos.cosine_embedding_loss(operand, operand, labels)
    assert np.isnan(library.asnumpy(loss))


@pytest.mark.simulated
def test_an_index_is_of_integers_and_of_a_table_that_has_rows(library):
    e = library.asarray(np.ones((3, 2)))
    with pytest.raises(TypeError, match="index must be integers, got dtype float64"):
        fastcos.rows(e, library.asarray(np.zeros(2)))
    with pytest.raises(IndexError, match="the table has 0 rows"):
        fastcos.rows(e[:0], library.asarray(np.zeros(2, np.int64)))
    huge = library.asarray(np.array([2**64 - 1, 2], np.uint64))
    assert library.asnumpy(fastcos.rows(e, huge).index).tolist() == [3, 2]


# --------------------------------------------------------------------------------------------------
# Compiled
# --------------------------------------------------------------------------------------------------

COMPILED = [
    ("cosine", losses.cosine_embedding, "float32", 128),
    ("manhattan", losses.cosine_embedding, "bfloat16", 128),
    ("cosine", losses.triplet, "float32", 128),
]


def assert_good(text, vector, stores):
    for capability in CAPABILITIES:
        used = machine_code.resources(text, capability)
        assert not any(used[what] for what in ("stack frame", "spill stores", "spill loads"))
    assert used["registers"] <= REGISTERS
    assert ".local" not in text
    assert "call" not in text
    assert not re.search(r"\b(ld|st)\.[bfu]", text)
    assert not re.search(r"\b(atom|red)\.", text)
    assert re.search(rf"ld\.global\.{vector}", text)
    assert bool(re.search(rf"st\.global\.{vector}", text)) == stores
    return used["registers"]


@pytest.mark.compiled
@pytest.mark.parametrize(("name", "loss", "dtype", "features"), COMPILED)
def test_kernels_of_tables(name, loss, dtype, features):
    record, operands = distances.DISTANCES[name](), min(loss.arity + 1, 3)
    of_loss = 3 if loss is losses.cosine_embedding else 2
    of_distance, layout = len(record.parameters), cuda.layout(features, dtype)
    variant = cuda.Variant(dtype, of_distance, of_loss, 1, "none", layout.wide)
    vector = "v2.f64" if dtype == "float64" else "v4.[bfu]32"
    count = device_count(operands, 1, of_distance + of_loss, tables=True)
    arguments = loss, record.functions, variant
    text = machine_code.ptx(cuda.looked_up, arguments, count, layout.threads)
    first = assert_good(text, vector, False)
    arguments = loss.arity, record.functions, cuda.Variant(dtype, of_distance, 0)
    count, threads = (len(DeviceOfTable._fields), 0), cuda.layout_of_table(features, dtype).threads
    text = machine_code.ptx(cuda.of_table, arguments, count, threads)
    print(first, assert_good(text, vector, True))


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_the_sum_of_the_parts_of_a_row(dtype):
    count = len(DeviceOfTable._fields), 0
    text = machine_code.ptx(cuda.joining, (dtype,), count, 128)
    assert machine_code.resources(text, (9, 0))["stack frame"] == 0
