"""Listwise losses on a GPU: simulated, and compiled for one that is not there.

What the losses are is the subject of ``test_listwise``. Here the simulated GPU has to find what the
CPU does: blocks of threads that are more or fewer than candidates, numbers that stay on the device.
"""

import re
import sys
import zlib

import devices
import listwise_oracle as oracle
import machine_code
import ml_dtypes
import numpy as np
import pytest
from listwise_oracle import LABELLED, LOSSES, PAIRS, PROXIES
from machine_code import CAPABILITIES
from numba import cuda as numba_cuda
from numba import int64, void
from oracle import REDUCTIONS
from test_cuda_compiled import REGISTERS

import fastcos
from fastcos import value_and_grad
from fastcos.engine import blocks
from fastcos.engine.batch import arguments, checked, measure_of
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.kernels import EUCLIDEAN, PRODUCT, SQUARED, cuda
from fastcos.kernels.cuda import binaries, launch, storage, teams
from fastcos.kernels.cuda.unroll import tuple_of
from fastcos.kernels.functions import jitable, registered
from fastcos.kernels.listwise import Variant
from fastcos.listwise import Candidate, Row, pairs, softmax, triplets

NAMES = tuple(LOSSES)
ORDERED = ("batch_all_triplet_loss", "batch_semi_hard_triplet_loss")


@pytest.fixture
def gpu(monkeypatch):
    devices.forget()
    gpu, _ = devices.simulated(monkeypatch)
    yield gpu
    devices.forget()


@pytest.fixture
def library(gpu):
    return devices._simulated()[1]


@pytest.fixture
def one_warp(monkeypatch, gpu):
    """Blocks of as few threads as there can be, so that few candidates are more."""
    for name in ("ANCHOR_THREADS", "FEWEST_ANCHOR_THREADS"):
        monkeypatch.setattr(teams, name, 32)


def drawn(name, n, d=3, **kwargs):
    return oracle.draw(np.random.default_rng(zlib.crc32(name.encode())), name, n, d, **kwargs)


def there(library, value):
    return library.asarray(value) if isinstance(value, np.ndarray) else value


def call(library, name, batch, argnums=None, **options):
    """Value and gradients on the device."""
    args = [there(library, value) for value in batch.args]
    given = {key: there(library, value) for key, value in {**batch.kwargs, **options}.items()}
    value, grads = value_and_grad(getattr(fastcos, name), argnums)(*args, **given)
    assert isinstance(value, library.ndarray)
    return library.asnumpy(value), [library.asnumpy(grad) for grad in grads]


def expected(name, batch, argnums=None, dtype=np.float64, **options):
    """The same on the CPU, in float64."""
    loss = value_and_grad(getattr(fastcos, name), argnums)
    batch = batch.astype(dtype)
    value, grads = loss(*batch.args, **batch.kwargs, **options)
    return np.asarray(value), [*map(np.asarray, grads)]


def assert_close(found, right, tolerance):
    assert found.shape == right.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(right))
    scale = np.abs(right[np.isfinite(right)]).max(initial=1e-3)
    np.testing.assert_allclose(found.astype(np.float64), right, rtol=0, atol=tolerance * scale)


def agree(library, name, batch, argnums=None, tolerance=1e-9, **options):
    argnums = argnums or (*batch.rows,)
    value, grads = call(library, name, batch, argnums, **options)
    right, of_cpu = expected(name, batch, argnums, **options)
    assert_close(value, right, tolerance)
    for grad, other in zip(grads, of_cpu, strict=True):
        assert_close(grad, other, tolerance)
    return value, grads


# --------------------------------------------------------------------------------------------------
# Simulated
# --------------------------------------------------------------------------------------------------


@pytest.mark.simulated
def test_what_a_gpu_runs_is_compiled_ahead(library, monkeypatch):
    simulated, found = launch.launcher, {"ahead": set(), "run": set()}

    def recording(when, launcher):
        def recorded(make, counts, threads, device, what):
            found[when].add((make.func, make.args, counts))
            return launcher(make, counts, threads, device, what)

        monkeypatch.setattr(launch, "launcher", recorded)

    recording("ahead", lambda *_: lambda *_: None)
    monkeypatch.setattr(launch, "toolchain", lambda: None)
    fastcos.warmup(NAMES, device="9.0")
    recording("run", simulated)
    for name in NAMES:
        batch = drawn(name, 4).astype(np.float32)
        call(library, name, batch)
        if name == "info_nce_loss":
            call(library, name, batch, symmetric=True)
    # Of no gradients, or of other options, there is more.
    assert found["run"]
    assert found["run"] <= found["ahead"]


@pytest.mark.simulated
@pytest.mark.parametrize("name", NAMES)
def test_fewer_candidates_than_threads(library, name):
    batch = drawn(name, 9)
    agree(library, name, batch, (*batch.rows, *LOSSES[name].learnable))


@pytest.mark.simulated
@pytest.mark.usefixtures("one_warp")
@pytest.mark.parametrize("name", NAMES)
def test_more_candidates_than_threads(library, name):
    # With proxies the candidates are classes.
    agree(library, name, drawn(name, 40, classes=36 if LOSSES[name].kind == PROXIES else 5))


@pytest.mark.simulated
@pytest.mark.parametrize("name", ["info_nce_loss", "batch_all_triplet_loss", "contrastive_loss"])
def test_more_candidates_than_two_warps(library, name):
    agree(library, name, drawn(name, 70))


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("name", "options"), [(name, each) for name in NAMES for each in LOSSES[name].others]
)
def test_other_options(library, name, options):
    agree(library, name, drawn(name, 7), **options)


@pytest.mark.simulated
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_dtypes(library, name, dtype):
    # Losses that say how near 1 a cosine is, times 64, of numbers that float32 holds.
    batch = drawn(name, 8, 5).astype(dtype)
    value, grads = call(library, name, batch)
    assert value.dtype == dtype
    assert all(grad.dtype == dtype for grad in grads)
    agree(library, name, batch, tolerance=1e-4 if dtype is np.float32 else 2e-2)


@pytest.mark.simulated
@pytest.mark.parametrize("block", [1, 2, 5])
@pytest.mark.parametrize("name", ["info_nce_loss", "nca_loss", *ORDERED, "proxy_anchor_loss"])
def test_blocks_of_few_anchors(library, name, block):
    batch = drawn(name, 7)
    whole = agree(library, name, batch)
    value, grads = agree(library, name, batch, block=block)
    assert_close(value, whole[0], 1e-14)
    for grad, other in zip(grads, whole[1], strict=True):
        assert_close(grad, other, 1e-14)


@pytest.mark.simulated
@pytest.mark.parametrize("distance", oracle.DISTANCES)
@pytest.mark.parametrize("name", ["supervised_contrastive_loss", "batch_hard_triplet_loss"])
def test_all_distances(library, name, distance):
    agree(library, name, drawn(name, 8), distance=distance)


@pytest.mark.simulated
@pytest.mark.parametrize(
    "name", [name for name in NAMES if LOSSES[name].kind == LABELLED and name != "nca_loss"]
)
def test_a_memory_bank(library, name):
    for bank in (1, 12):
        agree(library, name, drawn(name, 6, bank=bank))


@pytest.mark.simulated
@pytest.mark.parametrize(
    "name", ["supervised_contrastive_loss", "batch_all_triplet_loss", "lifted_structure_loss"]
)
def test_some_of_the_anchors_know_which_candidates_they_are(library, name):
    # As processes have them that hold a batch together.
    given = drawn(name, 9)
    stated = getattr(fastcos, name).__wrapped__(*[there(library, value) for value in given.args])
    adapter = adapter_of_arrays(*arguments(stated))
    found = checked(stated, adapter, None)
    loss, parameters = stated.loss, found.parameters
    whole = blocks.prepared(found, measure_of(stated.distance, loss.of), None, loss.ordered)
    scales = blocks.scales(whole, 1.0, 1.0)
    numbers, first, count = None, 3, 4
    mine = slice(first, first + count)
    if loss.survey:
        numbers = blocks.run(blocks.turned(whole), loss.survey.loss, parameters).values[:, 0]
    asked = blocks.Asked(anchors=True)
    of_all = blocks.run(whole, loss, parameters, numbers, scales, asked, scales)
    part = blocks.part(whole, first, count)
    of_some = blocks.run(part, loss, parameters, numbers, scales[mine], asked, scales)
    for got, all_of_them in ((of_some.values, of_all.values), (of_some.anchors, of_all.anchors)):
        right = library.asnumpy(all_of_them)[mine]
        np.testing.assert_allclose(library.asnumpy(got), right, rtol=1e-12, atol=1e-14)
        assert abs(right).max() > 0


@pytest.mark.simulated
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["info_nce_loss", "contrastive_loss", "lifted_structure_loss"])
def test_weights_reductions_and_upstream_gradients(library, rng, name, reduction):
    batch = drawn(name, 9)
    upstream = rng.standard_normal(9) if reduction == "none" else np.array(-1.5)
    weight = rng.choice([0.0, 0.5, 2.0], 9)
    for each in (weight, np.array(0.5), 2.0):
        agree(library, name, batch, weight=each, reduction=reduction, grad_output=upstream)
    if reduction != "none":
        agree(library, name, batch, weight=np.zeros(9), reduction=reduction)


@pytest.mark.simulated
@pytest.mark.parametrize("name", ["info_nce_loss", "batch_all_triplet_loss", "nca_loss"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_is_seen_by_the_anchors_that_meet_it(library, name, bad):
    batch = drawn(name, 6)
    first = next(iter(batch.rows))
    batch.rows[first][2, 1] = bad
    value, _ = agree(library, name, batch, reduction="none")
    assert np.isnan(value[2])
    weight = np.ones(6)
    weight[2] = 0
    if LOSSES[name].kind == PAIRS:
        agree(library, name, batch, weight=weight, reduction="sum")


@pytest.mark.simulated
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *((np.float32, scale) for scale in (1e-30, 1e30)),
        *((np.float64, scale) for scale in (1e-300, 1e-30, 1e30, 1e300)),
    ],
)
def test_rows_of_any_length(library, dtype, scale):
    batch = drawn("info_nce_loss", 5, 33)
    batch = batch._replace(rows={key: scale * rows for key, rows in batch.rows.items()})
    batch = batch.astype(dtype)
    value, grads = call(library, "info_nce_loss", batch)
    right, of_cpu = expected("info_nce_loss", batch)
    tolerance = 1e-4 if dtype is np.float32 else 1e-9
    assert_close(value, right, tolerance)
    for grad, other in zip(grads, of_cpu, strict=True):
        with np.errstate(over="ignore"):
            assert_close(grad * scale, other * scale, tolerance)


@pytest.mark.simulated
@pytest.mark.parametrize("features", [1, 33, 70])
@pytest.mark.parametrize("distance", ["euclidean", "sqeuclidean", "normalized_sqeuclidean"])
def test_distances_that_the_product_has_no_digits_of(library, rng, features, distance):
    # Two rows of each label nearly the same, and two that are.
    x = np.repeat(rng.standard_normal((4, features)) + 3, 2, axis=0)
    x[:6:2] += 1e-6 * rng.standard_normal((3, features))
    batch = oracle.Batch({"x": x.astype(np.float32)}, {"labels": np.arange(8) // 2})
    for name in ("nca_loss", "contrastive_loss"):
        value, grads = call(library, name, batch, distance=distance)
        # The rows less their center are rounded, on the CPU as here.
        right, of_cpu = expected(name, batch, dtype=np.float32, distance=distance)
        assert_close(value, right, 1e-5)
        # The direction of so short a way has no digits left where the distance is no square.
        if distance != "euclidean":
            assert_close(grads[0], of_cpu[0], 1e-5)


@pytest.mark.simulated
@pytest.mark.parametrize("name", ORDERED)
def test_ties_are_in_order(library, rng, name):
    x = rng.integers(0, 2, (12, 3)).astype(np.float64)
    batch = oracle.Batch({"x": x}, {"labels": rng.integers(0, 3, 12)})
    for margin in (0.0, 0.5, 2.0):
        agree(library, name, batch, margin=margin)


@pytest.mark.simulated
@pytest.mark.usefixtures("one_warp")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 64, 65])
def test_any_number_of_negatives_is_sorted(library, rng, count):
    x, ref = rng.standard_normal((2, 3)), rng.standard_normal((count + 3, 3))
    labels = {"labels": np.array([0, 1]), "ref_labels": np.array([0] * 3 + [2] * count)}
    batch = oracle.Batch({"x": x, "ref": ref}, labels)
    agree(library, "batch_semi_hard_triplet_loss", batch, margin=0.1)


@pytest.mark.simulated
@pytest.mark.parametrize("name", ["info_nce_loss", "batch_all_triplet_loss", "circle_loss"])
def test_the_order_of_blocks_and_threads_changes_no_bit(monkeypatch, gpu, library, name):
    batch, results = drawn(name, 70).astype(np.float32), []
    for order in ("forward", "reverse", "random"):
        monkeypatch.setattr(gpu, "order", order)
        value, grads = call(library, name, batch)
        results.append([np.atleast_1d(each).tobytes() for each in (value, *grads)])
    assert results[0] == results[1] == results[2]


@pytest.mark.simulated
def test_a_temperature_of_the_device_is_not_waited_for(library):
    batch, at = drawn("info_nce_loss", 5), np.array(0.5)
    names = ("x1", "temperature")
    for symmetric in (False, True):
        options = {"temperature": at, "symmetric": symmetric}
        agree(library, "info_nce_loss", batch, names, **options)
    names = ("temperature", "x2", "bias")
    options = {"temperature": at, "bias": np.array(-0.5), "weight": np.arange(5.0)}
    _, grads = agree(library, "sigmoid_contrastive_loss", batch, names, **options)
    agree(library, "sigmoid_contrastive_loss", batch, names, **options, grad_output=np.array(3.0))
    assert grads[0].shape == ()


@pytest.mark.simulated
def test_gradients_go_where_they_are_wanted(library, rng):
    name = "supervised_contrastive_loss"
    batch = drawn(name, 6, bank=4).astype(np.float32)
    _, right = expected(name, batch)
    strided = library.asarray(np.full((6, 3, 2), 9, np.float32))[..., 1]
    whole = library.asarray(np.ones((6, 3), np.float32))
    args = [there(library, value) for value in batch.args]
    kwargs = {key: there(library, value) for key, value in batch.kwargs.items()}
    loss = value_and_grad(fastcos.supervised_contrastive_loss, "x")
    for buffer, accumulate, before in (
        (strided, False, 0),
        (strided, True, right[0]),
        (whole, True, 1),
    ):
        _, found = loss(*args, **kwargs, out=buffer, accumulate=accumulate)
        assert found is buffer
        assert_close(library.asnumpy(buffer), right[0] + before, 1e-5)


@pytest.mark.simulated
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.bool_])
def test_labels_of_any_integers(library, dtype):
    name = "supervised_contrastive_loss"
    batch = drawn(name, 6)
    batch = batch._replace(labels={"labels": np.array([0, 1, 1, 0, 1, 0]).astype(dtype)})
    agree(library, name, batch)
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        call(library, name, batch._replace(labels={"labels": np.ones(6)}))


@pytest.mark.simulated
def test_large_labels_are_told_apart(library):
    name = "supervised_contrastive_loss"
    labels = {
        "labels": np.array([1 << 40, 1, (1 << 40) + (1 << 32), 7]),
        "ref_labels": np.array([(1 << 40) + (1 << 32), 1 << 40, 1 << 40, 1]),
    }
    agree(library, name, drawn(name, 4, bank=4)._replace(labels=labels))


@pytest.mark.simulated
@pytest.mark.parametrize("name", ["normalized_softmax_loss", "proxy_anchor_loss"])
def test_labels_without_a_proxy_are_of_no_class(library, name):
    # On the CPU they are errors: on a GPU nobody looks at them.
    batch = drawn(name, 6, classes=3)
    count = len(batch.rows["proxies"])
    labels = np.array([0, -1, 1, count, 1 << 33, 2])
    value, grads = call(library, name, batch._replace(labels={"labels": labels}))
    if name == "normalized_softmax_loss":
        known = np.isin(labels, np.arange(count))
        rows = {**batch.rows, "x": batch.rows["x"][known]}
        right, of_cpu = expected(name, oracle.Batch(rows, {"labels": labels[known]}))
        assert_close(value, right, 1e-9)
        assert_close(grads[0][known], of_cpu[0], 1e-9)
        assert (grads[0][~known] == 0).all()
    else:
        # A row of no class is a negative of every proxy.
        rows = {**batch.rows, "proxies": np.vstack([batch.rows["proxies"], np.ones((1, 3))])}
        other = np.where(np.isin(labels, np.arange(count)), labels, count)
        both = expected(name, oracle.Batch(rows, {"labels": other}), reduction="none")[0]
        near_and_far = call(
            library, name, batch._replace(labels={"labels": labels}), reduction="none"
        )[0]
        # The proxies with rows are three of five here, and four of six there.
        assert (near_and_far[3:] == pytest.approx(both[3:count], rel=1e-9)) or count <= 3
        assert np.isfinite(value)


@pytest.mark.simulated
def test_a_loss_of_a_users_own(library, rng):
    spread = fastcos.Listwise(
        "spread",
        start=lambda row: (),
        accumulate=lambda sums, c, each: (sums[0] + each.s * each.s,),
        finalize=lambda sums, c, row: (sums[0], 1.0, ()),
        slope=lambda c, each: 2 * each.s,
    )
    x, labels = rng.standard_normal((5, 3)), np.array([0, 1, 0, 1, 1])
    loss = value_and_grad(fastcos.listwise_loss)
    value, (grad,) = loss(library.asarray(x), library.asarray(labels), spread)
    right, (other,) = loss(x, labels, spread)
    assert_close(library.asnumpy(value), np.asarray(right), 1e-12)
    assert_close(library.asnumpy(grad), other, 1e-12)


@pytest.mark.simulated
def test_batches_of_nothing(library):
    empty = oracle.Batch({"x1": np.zeros((0, 3)), "x2": np.zeros((0, 3))}, {})
    for reduction in ("mean", "sum", "none"):
        agree(library, "info_nce_loss", empty, reduction=reduction)
    alone = oracle.Batch({"x": np.ones((1, 3))}, {"labels": np.zeros(1, np.int64)})
    for name in ("supervised_contrastive_loss", *ORDERED):
        agree(library, name, alone)
        agree(library, name, alone, reduction="none")


@pytest.mark.compiled
def test_a_tuple_of_more_numbers_than_threads_can_share_is_refused():
    numbers = (0.0,) * (storage.SHARED + 1)
    many = softmax.log_sum._replace(start=lambda row: numbers)
    variant = Variant("float32", 0, 1, PRODUCT, False, False)
    with pytest.raises(Exception, match="33 numbers, of at most 32, in a tuple"):
        binaries.ptx(cuda.of_anchors, (many.functions, variant), cuda.count_of_anchors(0), 64)


@pytest.mark.simulated
def test_without_cublas_the_error_says_what_to_install(monkeypatch, library):
    monkeypatch.delattr(library, "cublas")
    monkeypatch.setitem(sys.modules, "cupy.cublas", None)
    with pytest.raises(ImportError, match="need cuBLAS: pip install nvidia-cublas"):
        call(library, "info_nce_loss", drawn("info_nce_loss", 3))


def on(library, number, value):
    array = library.asarray(value)
    array.number = number
    return array


@pytest.mark.simulated
def test_arrays_on_two_devices_are_named(library, rng):
    x, labels = rng.standard_normal((4, 3)), np.array([0, 1, 0, 1])
    here, there = library.asarray(x), on(library, 1, x)
    same, loss = library.asarray(labels), value_and_grad(fastcos.supervised_contrastive_loss)
    for given, message in (
        ({"ref": there, "ref_labels": same}, "x is on device 0 and ref on device 1"),
        ({"weight": on(library, 1, np.ones(4))}, "weight is on device 1, the operands are on d"),
        ({"temperature": on(library, 1, np.array(0.5))}, "temperature is on device 1"),
        ({"grad_output": on(library, 1, np.array(0.5))}, "grad_output is on device 1"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(here, same, **given)
    with pytest.raises(ValueError, match="labels is on device 1, the operands are on device 0"):
        loss(here, on(library, 1, labels))
    library.entered.clear()
    value, (grad,) = loss(there, on(library, 1, labels), weight=0.5, temperature=1.0)
    assert library.entered == [1]
    assert {array.device.id for array in (value, grad)} == {1}
    right, (other,) = loss(x, labels, weight=0.5, temperature=1.0)
    assert_close(library.asnumpy(value), np.asarray(right), 1e-9)
    assert_close(library.asnumpy(grad), other, 1e-9)


@pytest.mark.simulated
@pytest.mark.parametrize("kind", ["hard", "semi-hard", "all"])
def test_mined_triplets(library, rng, kind):
    x, labels = rng.standard_normal((9, 3)), rng.integers(0, 3, 9)
    right = fastcos.mine_triplets(x, labels, kind, margin=0.5)
    found = fastcos.mine_triplets(library.asarray(x), library.asarray(labels), kind, margin=0.5)
    for one, other in zip(found, right, strict=True):
        np.testing.assert_array_equal(library.asnumpy(one), other)


@pytest.mark.simulated
def test_tensors(monkeypatch, rng):
    torch = pytest.importorskip("torch")
    devices.forget()
    tensors = devices.lent(monkeypatch)
    for name in ("info_nce_loss", "batch_all_triplet_loss", "proxy_anchor_loss"):
        batch = drawn(name, 6)
        args = [torch.from_numpy(value) for value in batch.args]
        value, grads = value_and_grad(getattr(fastcos, name))(*args)
        right, of_cpu = expected(name, batch)
        assert_close(value.numpy(), right, 1e-9)
        for grad, other in zip(grads, of_cpu, strict=True):
            assert_close(grad.numpy(), other, 1e-9)
        leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in args]
        getattr(fastcos, name)(*leaves).backward()
        for leaf, other in zip(leaves, of_cpu, strict=False):
            assert_close(leaf.grad.numpy(), other, 1e-9)
    assert set(tensors.streams) == {devices.STREAM}
    devices.forget()


# --------------------------------------------------------------------------------------------------
# Compiled
# --------------------------------------------------------------------------------------------------

#: A loss, how many parameters it has, of what its numbers are, whether it wants those of a survey.
RECORDS = {
    "softmax": (softmax.softmax, 2, PRODUCT, False),
    "log_sum": (softmax.log_sum, 1, PRODUCT, False),
    "symmetric_softmax": (softmax.symmetric_softmax, 1, PRODUCT, True),
    "sigmoid_contrastive": (softmax.sigmoid_contrastive, 2, PRODUCT, False),
    "arcface": (softmax.arcface, 3, PRODUCT, False),
    "counted": (pairs.counted, 2, EUCLIDEAN, False),
    "contrastive": (pairs.contrastive, 4, EUCLIDEAN, False),
    "multi_similarity": (pairs.multi_similarity, 3, PRODUCT, False),
    "circle": (pairs.circle, 2, PRODUCT, False),
    "nearby": (pairs.nearby, 2, EUCLIDEAN, False),
    "lifted_structure": (pairs.lifted_structure, 2, EUCLIDEAN, True),
    "nca": (pairs.nca, 1, SQUARED, False),
    "proxy_anchor": (pairs.proxy_anchor, 3, PRODUCT, False),
    "hard": (triplets.hard, 1, EUCLIDEAN, False),
    "soft_hard": (triplets.soft_hard, 1, EUCLIDEAN, False),
    "all_triplets": (triplets.all_triplets, 1, EUCLIDEAN, False),
    "semi_hard_triplets": (triplets.semi_hard_triplets, 1, EUCLIDEAN, False),
}
#: Of a thread of an H200: three blocks of 256 threads with so many fit a processor.
ANCHOR_REGISTERS = 80


def assert_good(text, registers):
    for capability in CAPABILITIES:
        used = machine_code.resources(text, capability)
        spilled = used["stack frame"], used["spill stores"], used["spill loads"]
        assert not any(spilled), capability
    assert used["registers"] <= registers
    assert ".local" not in text
    assert "call" not in text
    # Generic addresses, which the compiler makes of what it cannot tell to be global.
    assert not re.search(r"\b(ld|st)\.[bfu]", text)
    assert not re.search(r"\b(atom|red)\.", text)


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("which", "dtype"),
    [
        *((which, "float32") for which in RECORDS),
        *((which, "float64") for which in ("symmetric_softmax", "nca", "semi_hard_triplets")),
    ],
)
def test_anchors(which, dtype):
    record, count, of, paired = RECORDS[which]
    variant = Variant(dtype, count, record.sums, of, record.ordered, paired)
    counts, threads = cuda.count_of_anchors(count), teams.ANCHOR_THREADS
    text = machine_code.ptx(cuda.of_anchors, (record.functions, variant), counts, threads)
    assert_good(text, ANCHOR_REGISTERS)


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("dtype", "products"),
    [
        *((dtype, "float32") for dtype in ("float16", "bfloat16", "float32")),
        *((dtype, "float64") for dtype in ("float32", "float64")),
    ],
)
def test_rows(dtype, products):
    for make, counts in ((cuda.units, cuda.UNIT), (cuda.projected, cuda.PROJECT)):
        text = machine_code.ptx(make, (dtype, products), counts, teams.THREADS)
        assert_good(text, REGISTERS)


@pytest.mark.compiled
@pytest.mark.parametrize("which", [which for which in RECORDS if not RECORDS[which][0].ordered])
def test_what_is_done_for_each_candidate_is_done_in_float32(which):
    # The sums are float64 in the kernel, and what is added to them is not.
    record, count, _, _ = RECORDS[which]
    row, parameters = Row(2.0, 3.0, 0.25, 0.5, 0.25, 0.5, 0.5, 1.0), [0.5] * count
    context = record.start(row, *parameters)
    _, _, coefficients = record.finalize((1.0,) * record.sums, context, row, *parameters)
    load, store = storage.STORAGE["float32"].get, storage.STORAGE["float32"].put
    accumulate, slope = registered(record.accumulate), registered(record.slope)

    def loading(k):
        return lambda at: load(at + 4 * k)

    def storing(k):
        def store_one(at, sums):
            store(at + 4 * k, sums[k])
            return True

        return store_one

    context_of = tuple_of(len(context), loading)
    coefficients_of = tuple_of(len(coefficients), loading)
    sums_of, put_sums = tuple_of(record.sums, loading), tuple_of(record.sums, storing)

    def each_of(at):
        return Candidate(load(at), load(at + 4) > load(at + 8), load(at + 12), load(at + 16))

    each_of = jitable()(each_of)

    def sums(at):
        put_sums(at, accumulate(sums_of(at), context_of(at + 64), each_of(at + 128)))

    def slopes(at):
        store(at, slope(coefficients_of(at + 64), each_of(at + 128)))

    surveys = pairs.counted, pairs.nearby  # whose slopes nobody asks for
    for kernel in (sums,) if record in surveys else (sums, slopes):
        with binaries.for_oldest_gpu():
            text, _ = numba_cuda.compile(
                kernel, void(int64), device=False, abi="numba", cc=(8, 0), output="ptx"
            )
        assert ".f64" not in text
