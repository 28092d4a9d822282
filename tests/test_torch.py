"""torch tensors: which calls run fused, and plain fastcos functions with autograd."""

import importlib
import itertools
import math

import devices
import numpy as np
import oracle
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor

import fastcos
import fastcos.adapters.torch as ft
from fastcos import grad, value_and_grad
from fastcos.adapters.torch import autograd, composites
from fastcos.engine import device as on_device
from fastcos.engine import host as on_host
from fastcos.engine import libraries, problem

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REDUCTIONS = ("mean", "sum", "none")
# Of the rounding of a value of order 1; gradients of a mean are smaller.
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-6, torch.float64: 1e-13}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


@pytest.fixture
def launches(monkeypatch):
    """A list that grows by one with each kernel that runs."""
    seen = []
    for where in (on_host, on_device):

        def counted(*arguments, run=where.run):
            seen.append(arguments)
            return run(*arguments)

        monkeypatch.setattr(where, "run", counted)
    return seen


def rows(generator, *shape, dtype=torch.float32, layout="contiguous"):
    if layout == "strided":
        wide = torch.randn(*shape[:-1], 2, shape[-1], generator=generator, dtype=torch.float64)
        return wide.to(dtype)[..., 1, :]
    if layout == "transposed":
        return torch.randn(*shape[::-1], generator=generator, dtype=torch.float64).to(dtype).mT
    if layout == "expanded":
        one = torch.randn(1, shape[-1], generator=generator, dtype=torch.float64).to(dtype)
        return one.expand(shape)
    if layout == "one row":
        shape = (1, shape[-1])
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def signs(generator, n):
    return torch.where(torch.rand(n, generator=generator) < 0.5, 1, -1)


def one_minus_cosine(x, y):
    return 1 - F.cosine_similarity(x, y, dim=-1)


# Name -> (our call, torch's call, number of operands).
CALLS = {
    "cosine_embedding": (
        lambda ins, y, **o: ft.cosine_embedding_loss(*ins, y, 0.1, **o),
        lambda ins, y, **o: F.cosine_embedding_loss(*ins, y, 0.1, **o),
        2,
    ),
    "triplet_margin": (
        lambda ins, y, **o: ft.triplet_margin_loss(*ins, swap=True, **o),
        lambda ins, y, **o: F.triplet_margin_loss(*ins, swap=True, **o),
        3,
    ),
    "triplet_with_none": (
        lambda ins, y, **o: ft.triplet_margin_with_distance_loss(*ins, **o),
        lambda ins, y, **o: F.triplet_margin_with_distance_loss(*ins, **o),
        3,
    ),
    "triplet_with_name": (
        lambda ins, y, **o: ft.triplet_margin_with_distance_loss(
            *ins, distance_function="cosine", **o
        ),
        lambda ins, y, **o: F.triplet_margin_with_distance_loss(
            *ins, distance_function=one_minus_cosine, **o
        ),
        3,
    ),
    "triplet_with_callable": (
        lambda ins, y, **o: ft.triplet_margin_with_distance_loss(
            *ins, distance_function=one_minus_cosine, swap=True, **o
        ),
        lambda ins, y, **o: F.triplet_margin_with_distance_loss(
            *ins, distance_function=one_minus_cosine, swap=True, **o
        ),
        3,
    ),
}
MEASURES = {
    "cosine_similarity": (lambda x, y: ft.cosine_similarity(x, y), F.cosine_similarity),
    "pairwise_distance": (lambda x, y: ft.pairwise_distance(x, y), F.pairwise_distance),
    "pairwise_distance_1": (
        lambda x, y: ft.pairwise_distance(x, y, 1),
        lambda x, y: F.pairwise_distance(x, y, 1),
    ),
}


def leaf(tensor):
    """The same numbers and strides, as something that a gradient is wanted for."""
    return tensor.detach().requires_grad_()


def compare(ours, theirs, ins, dtype, needs):
    """Ours on the tensors as they are, torch's on the same numbers in float64."""
    mine = [leaf(t) if need else t for t, need in zip(ins, needs, strict=True)]
    wide = [leaf(t.double()) if need else t.double() for t, need in zip(ins, needs, strict=True)]
    value, reference = ours(mine), theirs(wide)
    assert value.dtype == dtype
    assert value.shape == reference.shape
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(value.double(), reference, rtol=tolerance, atol=tolerance)
    upstream = torch.linspace(-1, 2, value.numel(), dtype=torch.float64).reshape(value.shape)
    upstream = upstream if value.ndim else torch.tensor(0.7, dtype=torch.float64)
    upstream = upstream.to(dtype).double()
    got = torch.autograd.grad(value, [t for t in mine if t.requires_grad], upstream.to(dtype))
    want = torch.autograd.grad(reference, [t for t in wide if t.requires_grad], upstream)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == dtype
        scale = max(w.abs().max().item(), 1e-6)
        torch.testing.assert_close(g.double(), w, rtol=tolerance, atol=2 * tolerance * scale)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_plain_losses_run_fused(generator, launches, name, dtype, reduction):
    ours, theirs, operands = CALLS[name]
    y = signs(generator, 6)
    for layout in ("contiguous", "strided", "transposed", "expanded", "one row"):
        first = rows(generator, 6, 9, dtype=dtype, layout=layout)
        ins = [first, *(rows(generator, 6, 9, dtype=dtype) for _ in range(operands - 1))]
        launches.clear()
        compare(
            lambda ins: ours(ins, y, reduction=reduction),
            lambda ins: theirs(ins, y, reduction=reduction),
            ins,
            dtype,
            [True] * operands,
        )
        assert launches, layout


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_wanted_is_not_computed(generator, monkeypatch, name):
    ours, theirs, operands = CALLS[name]
    y = signs(generator, 5)
    wanted = []
    execute = autograd.execute

    def noted(plan, *rest, **options):
        wanted.append(plan.order)
        return execute(plan, *rest, **options)

    monkeypatch.setattr(autograd, "execute", noted)
    for needs in itertools.product((False, True), repeat=operands):
        ins = [rows(generator, 5, 4) for _ in range(operands)]
        if any(needs):
            wanted.clear()
            compare(lambda ins: ours(ins, y), lambda ins: theirs(ins, y), ins, torch.float32, needs)
            if name != "triplet_with_callable":
                assert {len(order) for order in wanted} == {sum(needs)}
        else:
            assert not ours(ins, y).requires_grad


@pytest.mark.host
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_memory_of_large_gradients_is_used_again_and_by_one_at_a_time(generator, dtype):
    from fastcos.adapters import _memory
    from fastcos.adapters.torch import arrays

    x, y = (rows(generator, 5000, 128, dtype=dtype).requires_grad_() for _ in range(2))

    def step():
        ft.pairwise_distance(x, y).sum().backward()

    step()
    first, held = x.grad.data_ptr(), x.grad.clone()
    view, numbers = x.grad[3:5], x.grad[7].view(torch.uint8).numpy()
    x.grad = None
    assert torch.equal(view, held[3:5])
    y.grad = None
    for _ in range(2):  # a view and an array still hold the memory of the first
        step()
        assert x.grad.data_ptr() != first != y.grad.data_ptr()
        assert torch.equal(view, held[3:5])
        assert (numbers == held[7].view(torch.uint8).numpy()).all()
        assert torch.equal(x.grad, held)
        x.grad = y.grad = None
    del view, numbers
    step()
    assert first in (x.grad.data_ptr(), y.grad.data_ptr())
    assert torch.equal(x.grad, held)
    assert not x.grad._is_view()
    (alone,) = torch.autograd.grad(ft.pairwise_distance(x, y).sum(), x)
    alone.detach_()
    # No more is kept than that.
    wide = torch.ones(1, (40 << 20) // 4)
    for _ in range(3):
        arrays.empty_like(wide, -1, torch.float32)
        arrays.empty_like(wide[:, 1:], -1, torch.float32)
    kept = sum(memory.size for blocks in _memory._kept.values() for memory in blocks)
    assert 0 < kept <= _memory.KEPT_AT_MOST


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_plain_measures_run_fused(generator, launches, name, dtype):
    ours, theirs = MEASURES[name]
    for layout in ("contiguous", "strided", "transposed", "expanded", "one row"):
        ins = [
            rows(generator, 6, 9, dtype=dtype, layout=layout),
            rows(generator, 6, 9, dtype=dtype),
        ]
        launches.clear()
        compare(lambda ins: ours(*ins), lambda ins: theirs(*ins), ins, dtype, [True, True])
        assert launches, layout


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hinge_runs_fused(generator, launches, dtype, reduction):
    y = torch.tensor([[1, -1, 0], [-1, 1, 2]])
    x = [rows(generator, 2, 3, dtype=dtype)]
    compare(
        lambda ins: ft.hinge_embedding_loss(*ins, y, 0.8, reduction=reduction),
        lambda ins: F.hinge_embedding_loss(*ins, y, 0.8, reduction=reduction),
        x,
        dtype,
        [True],
    )
    assert launches


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_runs_fused(generator, launches, dtype):
    x, y = (leaf(rows(generator, 6, 9, dtype=dtype)) for _ in range(2))
    with torch.autocast(devices.place(), torch.bfloat16):
        loss = ft.cosine_embedding_loss(x, y, signs(generator, 6))
    assert launches
    assert loss.dtype is torch.float32
    loss.backward()
    assert x.grad.dtype is dtype


def test_a_loss_is_one_pass_over_the_data(generator, launches, device):
    x, y = (leaf(rows(generator, 6, 9)) for _ in range(2))
    loss = ft.cosine_embedding_loss(x, y, signs(generator, 6))
    assert len(launches) == 1, "value and gradient together"
    loss.backward()
    assert len(launches) == (1 if device == "cpu" else 2), "a GPU has yet to see whether it is 1"
    launches.clear()
    (2 * ft.cosine_embedding_loss(x, y, signs(generator, 6))).backward()
    assert len(launches) == 2, "an upstream gradient other than 1 takes a second one"


def test_a_scaled_float16_loss_keeps_gradients_that_float16_cannot(generator):
    # 1/N of a gradient of order 1e-2 is below the smallest float16; the scale lifts it again.
    n, scale = 4096, 2.0**16
    x, y = (leaf(rows(generator, n, 32, dtype=torch.float16)) for _ in range(2))
    target = torch.ones(n)
    with torch.autocast(devices.place(), torch.bfloat16):
        loss = ft.cosine_embedding_loss(x, y, target)
    (loss * scale).backward()
    wide = leaf(x.double())
    (F.cosine_embedding_loss(wide, y.double(), target.double()) * scale).backward()
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=2e-3, atol=2e-5)


def test_backward_twice_gives_the_same(generator):
    x, y = (leaf(rows(generator, 6, 9)) for _ in range(2))
    loss = ft.triplet_margin_loss(x, y, rows(generator, 6, 9))
    loss.backward(retain_graph=True)
    first = x.grad.clone()
    loss.backward()
    torch.testing.assert_close(x.grad, 2 * first)


def test_one_tensor_as_two_inputs(generator):
    x = leaf(rows(generator, 6, 9, dtype=torch.float64))
    w = rows(generator, 6, 9, dtype=torch.float64)
    for order in (1, 2):
        grads = []
        for module in (ft, F):
            loss = module.triplet_margin_loss(x, x, w)
            (g,) = torch.autograd.grad(loss, x, create_graph=order == 2)
            if order == 2:
                (g,) = torch.autograd.grad((g**2).sum(), x)
            grads.append(g)
        torch.testing.assert_close(*grads)


# --------------------------------------------------------------------------------------------------
# Plain fastcos functions
# --------------------------------------------------------------------------------------------------

LABELS = [1, -1, -1, 1, 1]
PLAIN = {
    "cosine_embedding_loss": lambda f, x, y, z, **o: f(x, y, LABELS, margin=0.1, **o),
    "cosine_distance_loss": lambda f, x, y, z, **o: f(x, y, **o),
    "triplet_margin_loss": lambda f, x, y, z, **o: f(x, y, z, p=3, swap=True, **o),
    "triplet_margin_with_distance_loss": lambda f, x, y, z, **o: f(
        x, y, z, distance_function="angular", **o
    ),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    "reduction", ["none", "sum", "mean", "sum_over_batch_size", "sum_by_nonzero_weights"]
)
def test_tensors_give_what_arrays_give_and_gradients(rng, name, reduction):
    arrays = [rng.standard_normal((5, 7)) for _ in range(3)]
    weight = rng.random(5)
    key = "weights" if name == "cosine_distance_loss" else "weight"
    function = getattr(fastcos, name)
    both = fastcos.value_and_grad(function)
    value, grads = PLAIN[name](both, *arrays, reduction=reduction, **{key: weight})
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    options = {"reduction": reduction, key: torch.tensor(weight)}
    recorded = PLAIN[name](function, *tensors, **options)
    direct, direct_grads = PLAIN[name](both, *tensors, **options)
    recorded_grads = torch.autograd.grad(recorded.sum(), tensors[: len(grads)])
    # The sum of the weights is the library's own.
    close = {"rtol": 1e-14, "atol": 1e-16}
    np.testing.assert_allclose(recorded.detach().numpy(), value, **close)
    np.testing.assert_allclose(direct.numpy(), value, **close)
    for array, tensor, other in zip(grads, recorded_grads, direct_grads, strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, **close)
        np.testing.assert_allclose(other.numpy(), array, **close)


def test_weights_have_a_gradient(rng):
    x, y = (torch.tensor(rng.standard_normal((5, 7))) for _ in range(2))
    w = torch.tensor(rng.random(5), requires_grad=True)
    fastcos.cosine_distance_loss(x, y, weights=w, reduction="mean").backward()
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss, argnums="weights")
    _, expected = f(x.numpy(), y.numpy(), weights=w.detach().numpy(), reduction="mean")
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_dtype_against_the_oracle(rng, dtype):
    x, y = (torch.tensor(rng.standard_normal((4, 33))).to(dtype) for _ in range(2))
    d = fastcos.paired_distance(x, y, "cosine")
    assert d.dtype is dtype
    exact, *_ = oracle.distance("cosine", x.double().numpy(), y.double().numpy())
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(
        d.double().numpy(), np.asarray(exact, float), rtol=tolerance, atol=tolerance
    )


def test_a_callable_is_differentiated_by_torch(rng):
    tensors = [torch.tensor(rng.standard_normal((5, 7)), requires_grad=True) for _ in range(3)]

    def distance(x, y):
        return (x - y).abs().amax(-1)

    loss = fastcos.triplet_margin_with_distance_loss(*tensors, distance_function=distance)
    expected = F.triplet_margin_with_distance_loss(*tensors, distance_function=distance)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, tensors), torch.autograd.grad(expected, tensors), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_integers_are_computed_in_float32():
    d = fastcos.paired_distance(torch.tensor([[0, 0]]), torch.tensor([[3, 4]]), "sqeuclidean")
    assert d.dtype is torch.float32
    assert d.tolist() == [25.0]


def test_out_is_written(rng):
    x, y = (torch.tensor(rng.standard_normal((5, 7))) for _ in range(2))
    out = torch.empty_like(x), torch.empty(7, 5, dtype=torch.float64).mT
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    _, grads = f(x, y, out=out)
    assert grads[0] is out[0]
    assert grads[1] is out[1]
    for ours, theirs in zip(out, f(x.numpy(), y.numpy())[1], strict=True):
        # A GPU adds up in another order.
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-13, atol=1e-16)


def test_out_that_is_empty_or_interleaved_is_taken_and_that_overlaps_itself_is_not(rng):
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    empty = torch.empty(0, 7, dtype=torch.float64)
    out = torch.empty_like(empty), torch.empty_like(empty).T.contiguous().T
    _, grads = f(empty, empty, out=out)
    assert grads[0] is out[0]
    assert grads[1] is out[1]
    x, y = (torch.tensor(rng.standard_normal((4, 3))) for _ in range(2))
    # Elements at 2 i + 5 j are all different, those at 2 i + 4 j and i + j are not.
    apart, *others = (
        torch.zeros(32, dtype=torch.float64).as_strided((4, 3), strides)
        for strides in ((2, 5), (2, 4), (1, 1))
    )
    f(x, y, out=(apart, torch.empty_like(y)))
    torch.testing.assert_close(apart, f(x, y)[1][0])
    for other in others:
        with pytest.raises(ValueError, match=r"out for labels.*its elements share memory"):
            f(x, y, out=(other, torch.empty_like(y)))
        assert not other.any()


@pytest.mark.parametrize("value", ["1", b"1", ["1"] * 4, [b"1"] * 4], ids=repr)
def test_text_is_no_number_beside_tensors(rng, value):
    x, y, ones = torch.ones(4, 3), torch.ones(4, 3), torch.ones(4)
    loss = fastcos.cosine_embedding_loss
    each = {"reduction": "none", "grad_output": value}
    for name, call in {
        "target": lambda: loss(x, y, value),
        "weight": lambda: loss(x, y, ones, weight=value),
        "grad_output": lambda: fastcos.grad(loss)(x, y, ones, **each),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name} has dtype .*; accepted are"):
            call()
    with pytest.raises(TypeError, match=r"^weight has dtype .*; accepted are"):
        ft.cosine_embedding_loss(x, y, ones, weight=value)


def test_what_is_no_tensor_may_be_a_weight(rng):
    x, y = (torch.tensor(rng.standard_normal((4, 3))) for _ in range(2))
    weight = rng.random(4)
    expected = ft.cosine_embedding_loss(x, y, torch.ones(4), weight=torch.tensor(weight))
    for given in (weight, weight.tolist()):
        value = ft.cosine_embedding_loss(x, y, torch.ones(4), weight=given)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    "options",
    [{key: text} for key in ("margin", "p", "eps", "swap") for text in ("1", b"1")],
    ids=repr,
)
def test_text_is_no_option_of_the_losses(options):
    x = torch.ones(4, 3)
    with pytest.raises(TypeError):
        F.triplet_margin_loss(x, x, x, **options)
    with pytest.raises(TypeError):
        ft.triplet_margin_loss(x, x, x, **options)


def test_broadcast_rows_get_their_sum(rng):
    query = torch.tensor(rng.standard_normal(7), requires_grad=True)
    gallery = torch.tensor(rng.standard_normal((50, 7)), requires_grad=True)
    fastcos.cosine_distance_loss(query, gallery, reduction="sum").backward()
    q, g = leaf(query), leaf(gallery)
    (1 - F.cosine_similarity(q[None], g)).sum().backward()
    torch.testing.assert_close(query.grad, q.grad)
    torch.testing.assert_close(gallery.grad, g.grad)


def test_lists_and_negated_views_beside_tensors():
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    d = fastcos.paired_distance(x, [[0.0, 0.0]], fastcos.distances.euclidean(eps=0))
    (2 * d).sum().backward()
    assert d.tolist() == [5.0]
    torch.testing.assert_close(x.grad, torch.tensor([[1.2, 1.6]]))
    negated = torch.complex(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).conj().imag
    assert negated.is_neg()
    assert fastcos.paired_distance(negated, x, "dot").item() == 1 + 25


def test_second_derivatives_say_where_they_are(rng):
    x, y = (torch.tensor(rng.standard_normal((5, 7)), requires_grad=True) for _ in range(2))
    loss = fastcos.cosine_distance_loss(x, y)
    with pytest.raises(RuntimeError, match=r"first derivatives only.*fastcos\.adapters\.torch"):
        torch.autograd.grad(loss, x, create_graph=True)


@pytest.fixture
def dynamo():
    """The compiler with nothing compiled, before and after."""
    torch._dynamo.reset()
    yield importlib.import_module("torch._dynamo.testing")
    torch._dynamo.reset()


def paired(x, y):
    return fastcos.paired_distance(x, y, "cosine")


def paired_with_tangents(x, y):
    with forward_ad.dual_level():
        return paired(forward_ad.make_dual(x, y), y)


def paired_with_fakes(x, y):
    with FakeTensorMode() as mode:
        return paired(mode.from_tensor(x), mode.from_tensor(y))


WATCHED = {
    "grad": lambda *xs: torch.func.grad(lambda *xs: paired(*xs).sum())(*xs),
    "vmap": lambda *xs: torch.func.vmap(paired)(*(x[None] for x in xs)),
    "jvp": lambda *xs: torch.func.jvp(paired, xs, xs),
    "functionalize": torch.func.functionalize(paired),
    "forward mode": paired_with_tangents,
    "jit.trace": lambda *xs: torch.jit.trace(paired, xs),
    "make_fx": lambda *xs: make_fx(paired)(*xs),
    "make_fx with fakes": lambda *xs: make_fx(paired, tracing_mode="fake")(*xs),
    "export": lambda *xs: torch.export.export(Exported(paired), xs, strict=False),
    "fakes": paired_with_fakes,
    "fx": lambda *xs: torch.fx.symbolic_trace(lambda x, y: paired(x, y)),
}


class Exported(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *xs):
        return self.function(*xs)


@pytest.mark.unsimulated
@pytest.mark.filterwarnings("ignore:.torch.jit.(trace|script):DeprecationWarning")
@pytest.mark.parametrize("name", WATCHED)
def test_who_wants_to_see_operators_is_told_where_they_are(generator, name):
    """And gets no numbers that stay the same for other inputs, nor a tangent that is left out."""
    xs = (rows(generator, 3, 4, dtype=torch.float64) for _ in range(2))
    with pytest.raises(RuntimeError, match=r"a kernel.*fastcos\.adapters\.torch call torch's op"):
        WATCHED[name](*xs)


@pytest.mark.unsimulated
def test_tensors_that_are_not_transformed_are_constants_of_a_transform(generator):
    x, y = (rows(generator, 3, 4, dtype=torch.float64) for _ in range(2))
    d = paired(x, y)
    both = value_and_grad(fastcos.cosine_distance_loss)
    _, (gradient, _) = both(x, y)
    found = torch.func.vmap(lambda t: t + both(x, y)[1][0])(x[None])
    torch.testing.assert_close(found, (x + gradient)[None])
    torch.testing.assert_close(torch.func.vmap(lambda t: t + paired(x, y))(d[None]), 2 * d[None])
    with forward_ad.dual_level():
        assert paired(x, y).equal(d)
    # Some wrap what is new, too.
    with pytest.raises(RuntimeError, match=r"transforms.*fastcos\.adapters\.torch"):
        torch.func.grad(lambda t: (t * both(x, y)[1][0]).sum())(x)


@pytest.mark.unsimulated
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own
def test_a_compiled_function_runs_kernels_between_its_graphs(generator, dynamo):
    y, *others = (leaf(rows(generator, 3, 4, dtype=torch.float64)) for _ in range(3))
    both, gradients = (f(fastcos.cosine_distance_loss) for f in (value_and_grad, grad))

    def direct(x, y):
        value, (of_x, of_y) = both(x + 1, y)
        return value * 2 + of_x - gradients(x, y + of_y)[1]

    def made_within(x, y):
        return 2 * value_and_grad(fastcos.cosine_distance_loss)(x + 1, y)[0]

    def recorded(x, y):
        return (2 * paired(x + 1, y) - 1).sum()

    # What is around the calls is compiled, in two graphs, or three; what is in them is not.
    for function, graphs in ((recorded, 2), (made_within, 2), (direct, 3)):
        counter = dynamo.CompileCounterWithBackend("eager")
        compiled = torch.compile(function, backend=counter)
        for x in others:
            value, expected = compiled(x, y), function(x, y)
            assert value.equal(expected)
            if function is recorded:
                given, right = (torch.autograd.grad(v, (x, y)) for v in (value, expected))
                torch.testing.assert_close(given, right)
        assert counter.frame_count == graphs
        with pytest.raises(torch._dynamo.exc.Unsupported, match=r"fastcos\.adapters\.torch can be"):
            torch.compile(function, backend="eager", fullgraph=True)(others[0], y)


def test_inference_mode_and_functional_calls_are_plain(generator):
    x, y = (rows(generator, 3, 4, dtype=torch.float64) for _ in range(2))
    expected = paired(x, y)
    with torch.inference_mode():
        assert paired(x, y).is_inference()
        inferred = x.clone()
    assert paired(inferred, y).equal(expected)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        paired(inferred, leaf(y))
    assert torch.func.functional_call(Exported(paired), {}, (x, y)).equal(expected)


class Mine(torch.Tensor):
    """A subclass that hears of what is called, and has nothing to do with it."""

    heard = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.heard += 1
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_are_taken_for_the_numbers_in_them(generator):
    x, y = (leaf(rows(generator, 5, 4, dtype=torch.float64)) for _ in range(2))
    weights = torch.rand(5, generator=generator).double()
    both = value_and_grad(fastcos.cosine_distance_loss)
    expected, grads = both(x, y, weights=weights)
    expected_grads = torch.autograd.grad(
        fastcos.cosine_distance_loss(x, y, weights=weights), (x, y)
    )
    for kinds in itertools.product((torch.Tensor, Mine), repeat=3):
        a, b, w = (t.detach().as_subclass(k) for t, k in zip((x, y, weights), kinds, strict=True))
        a.requires_grad_()
        b.requires_grad_()
        out = torch.empty_like(x).as_subclass(kinds[0]), torch.empty_like(y)
        value, given = both(a, b, weights=w)
        _, written = both(a, b, weights=w, out=out)
        assert written[0] is out[0]
        recorded = fastcos.cosine_distance_loss(a, b, weights=w)
        assert {type(t) for t in (value, *given, recorded)} == {torch.Tensor}
        for one in (given, written, torch.autograd.grad(recorded, (a, b))):
            torch.testing.assert_close([t.as_subclass(torch.Tensor) for t in one], list(grads))
        torch.testing.assert_close((value, recorded), (expected, expected), check_stride=False)
    torch.testing.assert_close(expected_grads, grads)
    with pytest.raises(TypeError, match="x1 is a torch array and x2 is a numpy array"):
        paired(x.as_subclass(Mine), np.zeros((5, 4)))


def test_a_subclass_with_operators_of_its_own_is_refused(generator):
    class Negated(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise NotImplementedError

    x = rows(generator, 3, 4)
    with pytest.raises(TypeError, match=r"x2 is a Negated, .*fastcos\.adapters\.torch"):
        paired(x, torch.Tensor._make_subclass(Negated, x))
    into = torch.Tensor._make_subclass(Negated, torch.empty(3, 4))
    with pytest.raises(TypeError, match=r"out for x1 is a Negated"):
        fastcos.value_and_grad(fastcos.paired_distance, argnums=0)(x, x + 1, out=into)
    with pytest.raises(TypeError, match=r"x1 has no memory .*fastcos\.adapters\.torch"):
        paired(TwoTensor(x, x), x)


@pytest.mark.host
def test_a_class_belongs_to_the_library_that_it_is_derived_from():
    for base, library in (
        (torch.Tensor, "torch"),
        (torch.nn.Parameter, "torch"),
        (np.ndarray, "numpy"),
        (type("Array", (), {"__module__": "jax"}), "jax"),
        (type("ndarray", (), {"__module__": "cupy._core"}), "cupy"),
        (type("EagerTensor", (), {"__module__": "tensorflow.python"}), "tensorflow"),
        (dict, "numpy"),
        (list, None),
    ):
        derived = type("Derived", (type("Between", (base,), {}),), {})
        assert libraries.library_of(derived) == library


UNFIT = {
    "meta": lambda: torch.empty(2, 3, device="meta"),
    "sparse": lambda: torch.eye(2, 3).to_sparse(),
    "complex": lambda: torch.zeros(2, 3, dtype=torch.complex64),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.qint8),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_no_kernel_can_read_are_named(kind):
    with pytest.raises(TypeError, match=r"^x2 (is|has) .*accepted are"):
        fastcos.cosine_similarity(torch.zeros(2, 3), UNFIT[kind]())


@pytest.mark.parametrize("kind", ["sparse", "quantised"])
@pytest.mark.filterwarnings("ignore")
def test_the_losses_name_them_too(kind):
    with pytest.raises(TypeError, match=r"input2 is .*fastcos takes strided tensors on the CPU"):
        ft.cosine_embedding_loss(torch.zeros(2, 3), UNFIT[kind](), torch.ones(2))


def test_arrays_and_tensors_do_not_mix():
    with pytest.raises(TypeError, match="x1 is a torch array and x2 is a numpy array"):
        fastcos.cosine_similarity(torch.zeros(2, 3), np.zeros((2, 3)))


# --------------------------------------------------------------------------------------------------
# Composites: the same mathematics in torch's operators
# --------------------------------------------------------------------------------------------------

RECORDS = [
    *(make() for make in fastcos.distances.DISTANCES.values()),
    fastcos.distances.lp(3, 0.1),
    fastcos.distances.lp(4, 0.1),
    fastcos.distances.lp(2.5, 0.1),
    fastcos.distances.cosine(0.5),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.name}{list(r.parameters)}")
def test_a_composite_is_its_distance(generator, record):
    x, y = (leaf(0.2 * rows(generator, 4, 5, dtype=torch.float64)) for _ in range(2))
    composite = composites.distance(record)
    ours, theirs = fastcos.paired_distance(x, y, record), composite(x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    upstream = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours, (x, y), upstream),
        torch.autograd.grad(theirs, (x, y), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_named_distances_have_second_derivatives(generator):
    ins = [leaf(rows(generator, 3, 4, dtype=torch.float64)) for _ in range(3)]
    for name in ("cosine", "sqeuclidean", "braycurtis"):

        def loss(*ins, name=name):
            return ft.triplet_margin_with_distance_loss(*ins, distance_function=name)

        assert torch.autograd.gradgradcheck(loss, ins), name


def test_every_named_distance_has_a_composite():
    assert set(composites._DISTANCES) == {*fastcos.distances.DISTANCES, "lp"}


def test_a_distance_without_a_composite_is_fused_and_says_what_it_lacks(
    generator, launches, monkeypatch
):
    quartic = fastcos.Distance(
        "quartic",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (state[0] + (x - y) ** 4,),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (4 * (x - y) ** 3, -4 * (x - y) ** 3),
    )
    for module in (problem, composites):
        table = {**fastcos.distances.DISTANCES, "quartic": lambda: quartic}
        monkeypatch.setattr(module, "DISTANCES", table)
    ins = [leaf(rows(generator, 3, 4, dtype=torch.float64)) for _ in range(3)]
    theirs = F.triplet_margin_with_distance_loss(
        *ins, distance_function=lambda x, y: ((x - y) ** 4).sum(-1)
    )
    right = torch.autograd.grad(theirs, ins)
    for distance in (quartic, "quartic"):
        launches.clear()
        ours = ft.triplet_margin_with_distance_loss(*ins, distance_function=distance)
        assert launches
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(torch.autograd.grad(ours, ins), right)
        loss = ft.triplet_margin_with_distance_loss(*ins, distance_function=distance)
        with pytest.raises(TypeError, match="quartic has a first derivative"):
            torch.autograd.grad(loss, ins, create_graph=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_and_pos_margin(generator, reduction):
    x, y = (leaf(rows(generator, 5, 4, dtype=torch.float64)) for _ in range(2))
    target, weight = signs(generator, 5), leaf(torch.rand(5, generator=generator).double())

    def loss(x, y, weight):
        return ft.cosine_embedding_loss(
            x, y, target, 0.1, reduction=reduction, pos_margin=0.6, weight=weight
        )

    each = composites.cosine_embedding(x, y, target, 0.1, 0.6)
    torch.testing.assert_close(loss(x, y, weight), composites.reduced(each, weight, reduction))
    assert torch.autograd.gradcheck(loss, (x, y, weight))
    assert torch.autograd.gradgradcheck(loss, (x, y, weight))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weights_as_views_and_of_other_kinds(generator, reduction):
    x, y, target = leaf(rows(generator, 5, 4)), rows(generator, 5, 4), signs(generator, 5)
    weight = torch.arange(1, 6)

    def evaluate(weight):
        loss = ft.cosine_embedding_loss(x, y, target, weight=weight, reduction=reduction)
        return loss.detach(), torch.autograd.grad(loss.sum(), x)[0]

    right = evaluate(weight.double())
    views = torch._neg_view(-weight.double()), weight.double().repeat_interleave(2)[::2]
    for same in (weight, weight.float(), weight.half(), *views):
        torch.testing.assert_close(evaluate(same), right)
    torch.testing.assert_close(evaluate(2.0), evaluate(torch.full((5,), 2.0)))


def test_weights_that_sum_to_nothing_give_nothing(generator):
    x, y = (rows(generator, 3, 4) for _ in range(2))
    for module_input in (x, leaf(x)):
        loss = ft.cosine_embedding_loss(module_input, y, signs(generator, 3), weight=torch.zeros(3))
        assert loss.item() == 0
    assert not math.isnan(composites.reduced(torch.ones(3), torch.zeros(3), "mean").item())
