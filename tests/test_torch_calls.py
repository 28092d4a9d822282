"""torch's functions on tensors that look alike: what is remembered, what is kept, what not."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastcos
import fastcos.adapters.torch as ft
from fastcos.adapters.torch import plain
from fastcos.api import calls, gradients
from fastcos.engine import host

pytestmark = pytest.mark.host

N, D = 7, 21
SIGNS = torch.tensor([1, -1, 1, 1, -1, -1, 1])
#: Calls whose gradients wait for the upstream gradient: rows, then whatever else.
WAITING = {
    "pairwise": (2, lambda x, y: ft.pairwise_distance(x, y)),
    "pairwise-3": (2, lambda x, y: ft.pairwise_distance(x, y, 3.0, keepdim=True)),
    "cosine": (2, lambda x, y: ft.cosine_similarity(x, y)),
    "cosine-columns": (2, lambda x, y: ft.cosine_similarity(x.mT, y.mT, dim=0)),
    "embedding": (2, lambda x, y: ft.cosine_embedding_loss(x, y, SIGNS, 0.1, reduction="none")),
    "triplet": (3, lambda a, p, n: ft.triplet_margin_loss(a, p, n, 0.4, reduction="none")),
    "swap": (3, lambda a, p, n: ft.triplet_margin_loss(a, p, n, swap=True, reduction="none")),
}


def drawn(count, dtype=torch.float32, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(N, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for _ in range(count)
    ]


def upstream_of(value):
    return torch.linspace(-1, 2, value.numel(), dtype=torch.float64).to(value.dtype).view_as(value)


@pytest.fixture
def passes(monkeypatch):
    """Of each kernel that runs: whether it keeps what it measures, or finds it measured."""
    seen, run = [], host.run

    def noted(*arguments):
        kept, is_measured = arguments[8:] or (None, False)
        seen.append("measured" if is_measured else "keeps" if kept is not None else "")
        return run(*arguments)

    monkeypatch.setattr(host, "run", noted)
    return seen


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("name", WAITING)
def test_the_backward_pass_does_not_measure_again_and_gives_the_same_bits(
    passes, name, broadcast, dtype
):
    count, function = WAITING[name]
    xs = drawn(count, dtype)
    if broadcast:
        xs[1] = xs[1].detach()[:1].requires_grad_()
    value = function(*xs)
    given = [torch.autograd.grad(value, xs, upstream_of(value), retain_graph=True) for _ in "ab"]
    # What is kept is let go with the first backward pass.
    assert passes[0] == "keeps"
    half = len(passes) // 2
    assert {*passes[1 : half + 1]} == {"measured"}
    assert {*passes[half + 1 :]} == {""}
    passes.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        again = function(*xs)
    right = torch.autograd.grad(again, xs, upstream_of(value))
    assert {*passes} == {""}  # hooks are there to hold less
    assert torch.equal(value, again)
    for grads in given:
        assert all(map(torch.equal, grads, right))
    assert all(g.abs().sum() > 0 for g in right)


def test_a_scaled_float16_loss_does_not_measure_again(passes):
    x, y = drawn(2, torch.float16)
    (65536.0 * ft.cosine_embedding_loss(x, y, SIGNS).float()).backward()
    assert passes == ["keeps", "measured"]
    with torch.no_grad():
        ft.cosine_embedding_loss(x, y, SIGNS)
        ft.pairwise_distance(x, y)
    ft.cosine_embedding_loss(*drawn(2), SIGNS).backward()
    assert passes[2:] == ["", "", ""]


def test_no_more_is_kept_of_a_sample_than_its_rows_are(passes):
    x, y = (t.detach()[:, :8].contiguous().requires_grad_() for t in drawn(2))
    ft.cosine_similarity(x, y).sum().backward()  # 72 bytes of a sample of 64
    ft.pairwise_distance(x, y).sum().backward()  # 32
    assert passes == ["", "", "keeps", "measured"]


@pytest.mark.parametrize("layout", ["rows", "columns", "wide"])
def test_memory_that_a_tensor_was_given_meanwhile_is_read_as_it_is(layout):
    x, y = drawn(2)
    value = ft.pairwise_distance(x, y)
    new = drawn(2, seed=8)
    if layout == "rows":
        x.data = new[0].data
    elif layout == "columns":
        x.data = new[0].data.mT.contiguous().mT
    else:
        x.data = torch.stack([new[0].data, new[1].data], 1)[:, 0]
    one, two = (t.detach().double().requires_grad_() for t in (x, y))
    right = torch.autograd.grad(F.pairwise_distance(one, two), (one, two), torch.ones(N).double())
    found = torch.autograd.grad(value, (x, y), torch.ones(N))
    for grad, expected in zip(found, right, strict=True):
        torch.testing.assert_close(grad, expected.float())


def test_shorter_rows_that_tensors_were_given_meanwhile_are_not_read_beyond_their_end():
    x, y = drawn(2)
    value = ft.pairwise_distance(x, y)
    x.data, y.data = (t.data[:, : D - 4].contiguous() for t in drawn(2))
    with pytest.raises(RuntimeError, match="invalid gradient"):
        torch.autograd.grad(value, (x, y), torch.ones(N))


@pytest.mark.parametrize(
    ("p", "error", "said"),
    [
        ("a", TypeError, "p must be a real number, got 'a'"),
        (10**400, ValueError, "beyond the range"),
    ],
)
def test_parameters_that_are_no_numbers_are_refused_in_words(p, error, said):
    x = drawn(1)[0]
    wrong = fastcos.distances.lp(2.5)._replace(parameters=(p, 1.0))
    with pytest.raises(error, match=said):
        ft.triplet_margin_with_distance_loss(x, x, x, distance_function=wrong)


def test_a_distance_that_cannot_begin_with_any_parameters():
    # As plain Python it raises where one is 1, of which a compiled one makes infinity.
    def init(zero, p):
        return zero, 1 / (p - 1)

    def accumulate(state, x, y):
        return state[0] + abs(x - y), state[1]

    def finalize(state):
        return state[0] * state[1]

    def gradient(state, d, x, y):
        g = math.copysign(state[1], x - y)
        return g, -g

    record = fastcos.Distance("mine", init, accumulate, finalize, gradient, parameters=(3.0,))
    x, y = drawn(2)
    value = fastcos.paired_distance(x, y, record)
    expected = (x - y).abs().sum(-1) / 2
    torch.testing.assert_close(value, expected)
    found = torch.autograd.grad(value, x, upstream_of(value))
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, upstream_of(value)))


def test_what_a_call_comes_to_is_found_out_once():
    x, y, z = drawn(3)
    calls = [
        lambda: ft.pairwise_distance(x, y),
        lambda: ft.cosine_similarity(x, y),
        lambda: ft.cosine_embedding_loss(x, y, SIGNS, 0.2, weight=0.5),
        lambda: ft.triplet_margin_loss(x, y, z),
        lambda: ft.triplet_margin_with_distance_loss(x, y, z, distance_function="angular"),
        lambda: ft.triplet_margin_with_distance_loss(
            x, y, z, distance_function=ft.PairwiseDistance(p=1.0)
        ),
        lambda: ft.hinge_embedding_loss(x[:, 0], SIGNS),
    ]
    for call in calls:
        call()
    before = plain._remembered.cache_info()
    for call in calls:
        call()
    after = plain._remembered.cache_info()
    assert after.hits - before.hits == len(calls)
    assert after.misses == before.misses


def test_calls_that_look_alike_but_for_one_thing_are_told_apart():
    x, y = (t.detach() for t in drawn(2))
    ones = torch.ones(N)
    for margin in (1, 1.0, 0.25, -0.0, 0):
        for reduction in ("mean", "sum", "none"):
            for target in (SIGNS, SIGNS.float(), SIGNS.to(torch.int8), SIGNS == 1, ones):
                given = x, y, target, margin, None, None, reduction
                torch.testing.assert_close(
                    ft.cosine_embedding_loss(*given), F.cosine_embedding_loss(*given)
                )
    for p in (1, 2, 2.0, True, math.inf, 0.5):
        for eps in (0, 0.0, 1e-6, 0.5):
            right = F.pairwise_distance(x, y, p, eps)
            torch.testing.assert_close(ft.pairwise_distance(x, y, p, eps), right)
    for needs in ((True, False), (False, True), (True, True), (False, False)):
        one, two = (t.clone().requires_grad_(n) for t, n in zip((x, y), needs, strict=True))
        value = ft.pairwise_distance(one, two)
        assert value.requires_grad == any(needs)
        if any(needs):
            value.sum().backward()
        assert (one.grad is not None, two.grad is not None) == needs
    half = x.half(), y.half()
    dtypes = []
    for enabled in (False, True, False):
        with torch.autocast("cpu", enabled=enabled):
            dtypes.append(ft.cosine_embedding_loss(*half, SIGNS).dtype)
    assert dtypes == [torch.float16, torch.float32, torch.float16]


def test_an_upstream_gradient_may_look_like_anything():
    x, y = drawn(2)
    value = ft.cosine_similarity(x, y)
    right = F.cosine_similarity(*(one := [t.detach().double().requires_grad_() for t in (x, y)]))
    base = upstream_of(value)
    negative = torch._neg_view(base)
    assert negative.is_neg()
    wide = torch.stack([base, base], 1)[:, 0]
    for upstream in (base, wide, base.flip(0), torch.ones(()).expand(N), negative):
        found = torch.autograd.grad(value, (x, y), upstream, retain_graph=True)
        expected = torch.autograd.grad(right, one, upstream.double(), retain_graph=True)
        for grad, wide_grad in zip(found, expected, strict=True):
            torch.testing.assert_close(grad, wide_grad.float())


# --------------------------------------------------------------------------------------------------
# The functions of fastcos, on tensors
# --------------------------------------------------------------------------------------------------


def test_plain_functions_find_their_plan_by_layouts_where_nothing_is_recorded(monkeypatch):
    x, y, target = torch.randn(5, 7), torch.randn(5, 7), torch.tensor([1, -1, 1, -1, 1])
    loss, both = fastcos.cosine_embedding_loss, fastcos.value_and_grad(fastcos.paired_distance)
    right = loss(x.numpy(), y.numpy(), target.numpy())
    slopes = both(x.numpy(), y.numpy(), grad_output=np.arange(5.0))[1]
    out = torch.empty(5, 7), torch.empty(5, 7)

    def solve(*args, **kwargs):
        raise AssertionError("a way of its own")

    for module in (calls, gradients):
        for name in ("evaluate", "solve"):
            monkeypatch.setattr(module, name, solve, raising=False)
    assert loss(x, y, target).item() == right
    with torch.no_grad():
        assert loss(x.clone().requires_grad_(), y, target).item() == right
    both(x, y, grad_output=torch.arange(5.0), out=out)
    for mine, other in zip(out, slopes, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other)
    # These go where it is seen to, or refused.
    leaf, halves = x.clone().requires_grad_(), torch.empty(9, 7)

    def within_a_dual_level():
        with torch.autograd.forward_ad.dual_level():
            loss(x, y, target)

    for call in (
        lambda: loss(leaf, y, target),
        lambda: loss(x, y, target.tolist()),
        lambda: both(x, y, out=(halves[:5], halves[4:])),
        lambda: both(x, y, out=(leaf, out[1])),
        within_a_dual_level,
    ):
        with pytest.raises(AssertionError, match="a way of its own"):
            call()
