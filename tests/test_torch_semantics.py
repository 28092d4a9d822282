"""The edges: where torch's answer is a matter of choice, ours is the same.

Zero rows, kinks, ties, NaN, overflow, odd targets, shapes, dtypes and reductions, and what must
fail: each call is made on the library and on torch, and the outcomes are compared, an error with
its text and its warnings included. The extras of the library are held against their formula.
"""

import functools
import importlib
import inspect
import itertools
import math
import operator
import re
import warnings
from typing import Any, NamedTuple

import devices
import numpy as np
import pytest

import fastcos
from fastcos import distances

torch = pytest.importorskip("torch")
F, nn = torch.nn.functional, torch.nn
ft = importlib.import_module("fastcos.adapters.torch")

# Torch's own forward mode scripts some decompositions when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning"),
    # Torch has no rule for its triplet loss under vmap, and goes one by one.
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
INF, NAN = math.inf, math.nan
by_float = pytest.mark.parametrize("dtype", [F64, F32], ids=str)
by_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


# --------------------------------------------------------------------------------------------------
# One call, both libraries
# --------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    error: Any
    warnings: list
    value: Any = None
    grads: Any = ()


def is_float(x):
    return isinstance(x, torch.Tensor) and (x.is_floating_point() or x.is_complex())


def draw(*shape, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(7000 + seed)
    return torch.randn(shape, generator=g, dtype=F64).to(dtype)


def signs(*shape, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(8000 + seed)
    return (torch.randint(2, shape, generator=g) * 2 - 1).to(dtype)


def leaf(x):
    return x.detach().requires_grad_() if is_float(x) and x.requires_grad else x


def outcome(f, args, kwargs, gradients=True):
    """What a call does: its error, or its value and the gradients; and its warnings."""
    args = [leaf(x) for x in args]
    wanted = [x for x in args if is_float(x) and x.requires_grad]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = f(*args, **kwargs)
        except Exception as error:
            return Outcome((type(error), str(error)), messages(caught))
    grads = [None] * len(wanted)
    if gradients and wanted and value.requires_grad:
        upstream = draw(*value.shape, seed=99).to(value.dtype)
        grads = list(torch.autograd.grad(value, wanted, upstream, allow_unused=True))
    return Outcome(None, messages(caught), value, grads)


def messages(caught):
    return [(w.category, str(w.message)) for w in caught]


def widened(x):
    if not is_float(x) or x.is_complex():
        return x
    return x.detach().double().requires_grad_(x.requires_grad)


def assert_agrees(given, theirs, exact, floor=0.0, lost=None):
    """As torch, or better: within rounding of the same in float64.

    ``floor`` is of the size of what was added up, where the result may be less; in the places
    ``lost`` anything may stand that is NaN, here or in torch.
    """
    assert given.dtype is theirs.dtype
    assert given.shape == theirs.shape
    if not given.is_floating_point():
        torch.testing.assert_close(given, theirs, rtol=0, atol=0, equal_nan=True)
        return
    eps = torch.finfo(given.dtype).eps
    right = torch.isclose(given, theirs, rtol=4 * eps, atol=eps**2, equal_nan=True)
    exact = exact.detach()
    scale = max([floor, *exact[exact.isfinite()].abs().reshape(-1).tolist()])
    right |= (given.double() - exact).abs() <= 64 * eps * exact.abs() + 4 * eps * scale
    right |= (given.double() == exact.to(given.dtype)) | (given.isnan() & exact.isnan())
    if lost is not None:
        right |= lost & (given.isnan() | theirs.isnan())
    if not right.all():
        at = tuple(int(i) for i in (~right).nonzero()[0])
        raise AssertionError(
            f"at {at}: {given[at].item()!r}, torch has {theirs[at].item()!r}, in float64 "
            f"{exact[at].item()!r}; {int((~right).sum())} of {right.numel()} are wrong"
        )


def positionless(error):
    """Without where the argument stood, which of a keyword torch does not say."""
    return error and (error[0], re.sub(r" \(position \d\)", "", error[1]))


def same_outcome(ours, theirs, args, kwargs, loose=False):
    """``ours`` does what ``theirs`` does with these arguments. Returns what that was.

    With ``loose`` gradients of rows that are not finite may be NaN or not.
    """
    given, expected = outcome(ours, args, kwargs), outcome(theirs, args, kwargs)
    assert positionless(given.error) == positionless(expected.error)
    assert given.warnings == expected.warnings
    if expected.error is not None:
        return given
    half = [x for x in args if is_float(x) and x.dtype in (F32, F16, BF16)]
    exact = outcome(theirs, [widened(x) for x in args], kwargs) if half else expected
    assert given.value.requires_grad == expected.value.requires_grad
    # Losses are differences: of 1 and a cosine, of distances and a margin.
    assert_agrees(given.value, expected.value, exact.value, 1.0 if given.value.numel() else 0.0)
    wanted = [x for x in args if is_float(x) and x.requires_grad]
    assert len(given.grads) == len(expected.grads)
    for x, one, other, wide in zip(wanted, given.grads, expected.grads, exact.grads, strict=True):
        assert (one is None) == (other is None)
        if other is None:
            continue
        lost = None
        if loose:
            rows = [w.detach().isfinite().all(-1, keepdim=True) for w in wanted]
            lost = ~functools.reduce(operator.and_, rows)
        # The gradient of a cosine is the difference of two vectors, of 1 / the length of the row.
        sizes = [n for n in x.detach().abs().reshape(-1).tolist() if 1e-2 < n < INF]
        assert_agrees(one, other, wide, 1 / min(sizes, default=1.0), lost)
    return given


def parity(name, *args, loose=False, **kwargs):
    return same_outcome(getattr(ft, name), getattr(F, name), args, kwargs, loose)


def wants(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def test_the_comparison_sees_what_it_should():
    x, y = wants(draw(4, 3), draw(4, 3, seed=1))
    t = signs(4)

    def off_by(factor, shift=0.0):
        def f(x, y, t):
            return factor * F.cosine_embedding_loss(x, y, t) + shift

        return f

    args = (x, y, t)
    same_outcome(off_by(1), F.cosine_embedding_loss, args, {})
    detached = [a.detach() for a in args]
    for wrong in (off_by(1 + 1e-9), off_by(1, 1e-9), off_by(-1), off_by(NAN)):
        with pytest.raises(AssertionError):
            same_outcome(wrong, F.cosine_embedding_loss, args, {})
        with pytest.raises(AssertionError):
            same_outcome(wrong, F.cosine_embedding_loss, detached, {})
    with pytest.raises(AssertionError):
        same_outcome(lambda *a: off_by(1)(*a).float(), F.cosine_embedding_loss, args, {})
    with pytest.raises(AssertionError):
        same_outcome(lambda *a: off_by(1)(*a)[None], F.cosine_embedding_loss, args, {})
    with pytest.raises(AssertionError):
        same_outcome(lambda *a: off_by(1)(*a).detach(), F.cosine_embedding_loss, args, {})
    with pytest.raises(AssertionError):
        same_outcome(lambda x, y, t: off_by(1)(x.detach(), y, t), F.cosine_embedding_loss, args, {})
    with pytest.raises(AssertionError):
        same_outcome(operator.add, F.cosine_embedding_loss, args, {})


# --------------------------------------------------------------------------------------------------
# Signatures
# --------------------------------------------------------------------------------------------------

EXTRAS = {
    "cosine_embedding_loss": {"weight": None, "pos_margin": 1.0},
    "triplet_margin_loss": {"weight": None},
    "triplet_margin_with_distance_loss": {"weight": None},
    "hinge_embedding_loss": {"weight": None},
}


@pytest.mark.parametrize("name", EXTRAS)
def test_functions_have_the_parameters_of_torchs_and_then_the_extras_by_keyword(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (ft, F))
    assert list(ours)[: len(theirs)] == list(theirs)
    for parameter, expected in theirs.items():
        assert ours[parameter].kind is expected.kind
        assert ours[parameter].default == expected.default
    extras = {k: p for k, p in ours.items() if k not in theirs}
    assert {k: p.default for k, p in extras.items()} == EXTRAS[name]
    assert all(p.kind is p.KEYWORD_ONLY for p in extras.values())


def test_functions_without_a_signature_take_torchs_names_and_positions():
    x, y = wants(draw(4, 3), draw(4, 3, seed=1))
    for args, kwargs in (
        ((x, y, 0, 1e-3), {}),
        ((x,), {"x2": y, "dim": -1, "eps": 0.5}),
        ((), {"x1": x, "x2": y}),
    ):
        parity("cosine_similarity", *args, **kwargs)
    for args, kwargs in (
        ((x, y, 3.0, 0.1, True), {}),
        ((x,), {"x2": y, "p": 1, "eps": 0.0, "keepdim": True}),
        ((), {"x1": x, "x2": y}),
    ):
        parity("pairwise_distance", *args, **kwargs)


@pytest.mark.parametrize(
    "name",
    [
        "CosineEmbeddingLoss",
        "CosineSimilarity",
        "PairwiseDistance",
        "TripletMarginLoss",
        "TripletMarginWithDistanceLoss",
        "HingeEmbeddingLoss",
    ],
)
def test_modules_have_the_parameters_of_torchs_and_then_the_extras(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (ft, nn))
    assert list(ours)[: len(theirs)] == list(theirs)
    for parameter, expected in theirs.items():
        assert ours[parameter].kind is expected.kind
        assert ours[parameter].default == expected.default
    extras = {"CosineEmbeddingLoss": ["pos_margin"]}.get(name, [])
    assert list(ours)[len(theirs) :] == extras
    forward, torchs = (inspect.signature(getattr(m, name).forward).parameters for m in (ft, nn))
    assert list(forward)[: len(torchs)] == list(torchs)
    assert list(forward)[len(torchs) :] == (["weight"] if name.endswith("Loss") else [])


# --------------------------------------------------------------------------------------------------
# Cosine embedding: zero rows, kinks, NaN, overflow
# --------------------------------------------------------------------------------------------------

ROW = [1.0, -2.0, 3.0]
ZERO = [0.0, 0.0, 0.0]
PAIRS = {
    "first zero": (ZERO, ROW),
    "second zero": (ROW, ZERO),
    "both zero": (ZERO, ZERO),
    "identical": (ROW, ROW),
    "opposite": (ROW, [-x for x in ROW]),
    "orthogonal": ([1.0, 0.0, 0.0], [0.0, 2.0, 0.0]),
    "a half": ([2.0**25, 2.0**25, 0.0], [2.0**25, 0.0, 2.0**25]),
    "NaN": ([1.0, NAN, 3.0], ROW),
    "inf": (ROW, [1.0, INF, 3.0]),
    "two inf": ([INF, 1.0, 2.0], [-INF, 1.0, 1.0]),
    "tiny": ([1e-20, 2e-20, -1e-20], ROW),
    "near eps": ([1e-6, 2e-6, -1e-6], [3e-6, -1e-6, 2e-6]),
    "large": ([1e9, -2e9, 3e9], [3e9, 1e9, 2e9]),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, -0.3, 1.0, -1.0, 1.5])
@pytest.mark.parametrize("label", [1, -1, 0])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@by_float
def test_edges_of_the_cosine_embedding_loss(dtype, pair, label, margin):
    # A plain row beside it, which must not notice.
    x = torch.tensor([pair[0], [0.3, 0.1, -0.7]], dtype=dtype).requires_grad_()
    y = torch.tensor([pair[1], [0.2, -0.4, 0.9]], dtype=dtype).requires_grad_()
    t = torch.tensor([label, -1], dtype=dtype)
    for reduction in ("none", "mean"):
        parity("cosine_embedding_loss", x, y, t, margin=margin, reduction=reduction)


def test_the_edges_are_where_they_are_said_to_be():
    """Numbers, so that a change of torch's shows too."""

    def loss_and_gradients(a, b, label, margin=0.0):
        a, b = wants(torch.tensor([a], dtype=F64), torch.tensor([b], dtype=F64))
        loss = ft.cosine_embedding_loss(a, b, torch.tensor([label]), margin=margin)
        return loss.item(), *(g[0] for g in torch.autograd.grad(loss, (a, b)))

    row = torch.tensor(ROW, dtype=F64)
    steep = row / row.norm() * 1e6
    loss, ga, gb = loss_and_gradients(ZERO, ROW, 1)
    assert loss == 1
    torch.testing.assert_close(ga, -steep, rtol=1e-6, atol=0)
    assert not gb.any()
    loss, ga, _ = loss_and_gradients(ZERO, ROW, -1)
    assert loss == 0
    torch.testing.assert_close(ga, steep, rtol=1e-6, atol=0)
    for margin, passes in ((0.2, False), (0.0, True)):
        _, ga, gb = loss_and_gradients([1.0, 0, 0], [0, 2.0, 0], -1, margin)
        assert ga.any() == gb.any() == passes
    _, ga, _ = loss_and_gradients(*PAIRS["a half"], -1, 0.5)
    assert ga.any()
    loss, ga, gb = loss_and_gradients(ZERO, ZERO, 1)
    assert loss == 1
    assert not ga.any()
    assert not gb.any()


@pytest.mark.unsimulated
@pytest.mark.parametrize("dtype", [F64, F32, BF16], ids=str)
def test_similar_rows_never_cost_less_than_nothing(dtype):
    x = draw(3000, 5, dtype=dtype) * torch.logspace(-3, 3, 3000, dtype=F64)[:, None].to(dtype)
    for y in (x, x.clone(), 2 * x):
        losses = ft.cosine_embedding_loss(x, y, torch.ones(3000), reduction="none")
        assert (losses >= 0).all()
        # What torch's eps leaves of identical rows.
        left = 1e-12 / x.double().square().sum(1)
        assert (losses.double() <= 4 * left + torch.finfo(dtype).eps).all()


@pytest.mark.parametrize("scale", [1e9, 1e10, 1e15, 1e19])
def test_products_that_leave_float32_leave_the_loss_right_or_as_torch_has_it(scale):
    x, y = wants(scale * draw(4, 6, dtype=F32), scale * draw(4, 6, seed=1, dtype=F32))
    parity("cosine_embedding_loss", x, y, signs(4, dtype=F32), margin=-0.5, reduction="none")
    parity("cosine_similarity", x, y)
    parity("pairwise_distance", x, y)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("pair", [PAIRS[k] for k in PAIRS if k not in ("large", "a half")])
def test_half_types_have_torchs_edges_or_those_of_float64(dtype, pair):
    x = torch.tensor([pair[0], [0.3, 0.1, -0.7]]).to(dtype)
    y = torch.tensor([pair[1], [0.2, -0.4, 0.9]]).to(dtype)
    for label in (1, -1):
        t = torch.tensor([label, -1])
        losses = ft.cosine_embedding_loss(x, y, t, margin=0.1, reduction="none")
        theirs = F.cosine_embedding_loss(x, y, t, margin=0.1, reduction="none")
        exact = F.cosine_embedding_loss(x.double(), y.double(), t, margin=0.1, reduction="none")
        assert_agrees(losses, theirs, exact)


@pytest.mark.parametrize("scale", [10.0, 150.0, 1e4])
def test_products_that_leave_float16_leave_the_loss_right(scale):
    x, y = wants((scale * draw(4, 8)).to(F16), (scale * draw(4, 8, seed=1)).to(F16))
    t = signs(4)
    loss = ft.cosine_embedding_loss(x, y, t, margin=-0.3, reduction="none")
    wide = wants(x.detach().double(), y.detach().double())
    exact = F.cosine_embedding_loss(*wide, t, margin=-0.3, reduction="none")
    torch.testing.assert_close(loss.double(), exact, rtol=2**-10, atol=2**-11)
    upstream = 1e3 * draw(4, seed=2)
    grads = torch.autograd.grad(loss, (x, y), upstream.to(F16))
    expected = torch.autograd.grad(exact, wide, upstream.to(F16).double())
    for one, other in zip(grads, expected, strict=True):
        assert other.abs().max() > 0.01
        torch.testing.assert_close(one.double(), other, rtol=2**-10, atol=2.0**-24)


# --------------------------------------------------------------------------------------------------
# Targets
# --------------------------------------------------------------------------------------------------

TARGETS = {
    "others": [0.0, 2.0, -2.0, 0.5, 1.0, -1.0, -0.0],
    "NaN and inf": [NAN, INF, -INF, 1.0, -1.0, 0.0, 1.0],
    "nearly": [1 + 2**-20, -1 - 2**-20, 1 - 2**-20, -1.0, 1.0, 1.0, -1.0],
}
DTYPES = {
    "bool": torch.tensor([True, False, True, True, False, False, True]),
    "uint8": torch.tensor([1, 255, 0, 254, 255, 1, 2], dtype=torch.uint8),
    "int8": torch.tensor([1, -1, 0, 127, -128, -1, 1], dtype=torch.int8),
    "int16": torch.tensor([1, -1, 255, 257, -257, -1, 1], dtype=torch.int16),
    "int32": torch.tensor([1, -1, 255, 2**24 + 1, -1, 0, 1], dtype=torch.int32),
    "int64": torch.tensor([1, -1, 2**32 + 1, 2**53 + 1, -1, 0, 1]),
    "float16": torch.tensor([1, -1, 0.5, 1, -1, 2, 1], dtype=F16),
    "bfloat16": torch.tensor([1, -1, 0.5, 1, -1, 2, 1], dtype=BF16),
    "complex64": torch.tensor([1, -1, 1j, 1 + 1j, -1, 0, 1], dtype=torch.complex64),
    **{k: torch.tensor(v, dtype=F64) for k, v in TARGETS.items()},
    **{f"{k}, float32": torch.tensor(v, dtype=F32) for k, v in TARGETS.items()},
}


@by_reduction
@pytest.mark.parametrize("target", DTYPES.values(), ids=DTYPES)
@by_float
def test_targets_of_any_dtype_and_value_mean_what_they_mean_in_torch(dtype, target, reduction):
    x, y = wants(draw(7, 4, dtype=dtype), draw(7, 4, seed=1, dtype=dtype))
    parity("cosine_embedding_loss", x, y, target, margin=-0.4, reduction=reduction)
    parity("hinge_embedding_loss", *wants(draw(7, dtype=dtype)), target, reduction=reduction)


def test_targets_may_lie_in_memory_in_any_way():
    x, y = wants(draw(6, 4), draw(6, 4, seed=1))
    long = signs(12)
    for target in (long[::2], long[:1].expand(6), torch._neg_view(long[:6]), long.int()[1::2]):
        parity("cosine_embedding_loss", x, y, target, margin=-0.4, reduction="none")
        parity("hinge_embedding_loss", x[:, 0].detach(), target, reduction="none")


@by_reduction
def test_a_target_that_wants_a_gradient_gets_none(reduction):
    x, y, t, h = wants(draw(6, 4), draw(6, 4, seed=1), signs(6), draw(6, seed=2))
    outcome = parity("cosine_embedding_loss", x, y, t, reduction=reduction)
    assert [g is None for g in outcome.grads] == [False, False, True]
    outcome = parity("hinge_embedding_loss", h, t, reduction=reduction)
    assert [g is None for g in outcome.grads] == [False, True]
    # Alone it makes no graph.
    plain = ft.cosine_embedding_loss(x.detach(), y.detach(), t, reduction=reduction)
    assert not plain.requires_grad
    theirs = F.hinge_embedding_loss(h.detach(), t, reduction=reduction)
    ours = ft.hinge_embedding_loss(h.detach(), t, reduction=reduction)
    assert ours.requires_grad == theirs.requires_grad


# --------------------------------------------------------------------------------------------------
# Hinge
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [1.0, 0.0, -0.5, 0.25, INF])
@by_reduction
@by_float
def test_edges_of_the_hinge_loss(dtype, reduction, margin):
    edge = margin if math.isfinite(margin) else 2.0
    x = torch.tensor([edge, edge, edge, 0.0, -0.0, NAN, NAN, NAN, INF, -INF, INF, 3.0], dtype=dtype)
    t = torch.tensor([1, -1, 0, 1, -1, 1, -1, 0, -1, -1, 1, -1], dtype=dtype)
    # NaN spreads in a sum: each alone, then all.
    for k in range(len(x)):
        parity(
            "hinge_embedding_loss",
            *wants(x[k : k + 1]),
            t[k : k + 1],
            margin,
            None,
            None,
            reduction,
        )
    parity("hinge_embedding_loss", *wants(x), t, margin=margin, reduction=reduction)


@by_reduction
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((), ()),
        ((3, 4), (3, 4)),
        ((2, 3, 4), (4,)),
        ((3, 4), (3, 1)),
        ((5,), (5, 1)),
        ((1, 4), (3, 1)),
        ((3, 4), ()),
        ((), (3,)),
        ((3, 4), (1,)),
        ((3, 4), (4, 3)),
        ((0,), (0,)),
        ((0, 3), (3,)),
    ],
)
def test_hinge_inputs_and_targets_are_broadcast_as_in_torch(shape, target, reduction):
    (x,) = wants(draw(*shape))
    parity("hinge_embedding_loss", x, signs(*target), margin=0.5, reduction=reduction)


@pytest.mark.unsimulated
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64], ids=str)
@by_reduction
def test_hinge_inputs_that_are_no_floats_do_what_they_do_in_torch(dtype, reduction):
    x = (3 * draw(6)).round().to(dtype)
    parity("hinge_embedding_loss", x, signs(6), margin=1.7, reduction=reduction)


# --------------------------------------------------------------------------------------------------
# Triplets and norms
# --------------------------------------------------------------------------------------------------

NORMS = [1, 2, 2.0, 3, 3.5, 0.5, INF, 0, -1.0]
TRIPLES = {
    "anchor is positive": ([1.0, 2, 3], [1.0, 2, 3], [0.5, 0, 1]),
    "anchor is negative": ([1.0, 2, 3], [0.5, 0, 1], [1.0, 2, 3]),
    "all the same": ([1.0, 2, 3],) * 3,
    "zeros": ([0.0, 0, 0],) * 3,
    "kink": ([0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]),
    "far": ([0.0, 0, 0], [0.0, 1, 0], [0.0, 0, 90]),
    "swap tie": ([0.0, 0, 0], [2.0, 0, 0], [1.0, 1, 0]),
    "largest tie": ([0.0, 0, 0], [1.0, -1, 1], [2.0, 2, -2]),
    "one in common": ([1.0, 2, 3], [1.0, 5, 3], [4.0, 2, 0]),
    "NaN in the positive": ([1.0, 2, 3], [1.0, NAN, 3], [4.0, 2, 0]),
    "NaN in the negative": ([1.0, 2, 3], [1.0, 5, 3], [NAN, 2, 0]),
    "inf in the anchor": ([INF, 2, 3], [1.0, 5, 3], [4.0, 2, 0]),
    "inf in the negative": ([1.0, 2, 3], [1.0, 5, 3], [4.0, -INF, 0]),
}


# In float32 two norms alone: each is two kernels to compile, and those of pairs are all there.
@pytest.mark.unsimulated
@pytest.mark.parametrize(
    ("dtype", "p"), [*((F64, p) for p in NORMS), (F32, 2), (F32, INF)], ids=str
)
@pytest.mark.parametrize("triple", TRIPLES.values(), ids=TRIPLES)
def test_edges_of_the_triplet_loss(dtype, triple, p):
    g = [[0.3, -0.6, 0.2], [0.1, 0.9, -0.4], [1.1, 0.2, 0.7]]
    tensors = wants(*(torch.tensor([r, h], dtype=dtype) for r, h in zip(triple, g, strict=True)))
    for eps in (1e-6, 0.0):
        for swap in (False, True):
            # On the kinks only where the distances are exact: else they are a matter of rounding.
            options = {"p": p, "eps": eps, "swap": swap, "margin": 0.9 if eps else 1.0}
            parity("triplet_margin_loss", *tensors, **options, reduction="none", loose=True)
    parity("triplet_margin_loss", *tensors, p=p, margin=0.9, loose=True)


@pytest.mark.unsimulated
@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("triple", TRIPLES.values(), ids=TRIPLES)
@by_float
def test_edges_of_the_norms(dtype, triple, p):
    for x, y in (triple[:2], triple[::2], triple[1:]):
        x, y = wants(torch.tensor([x, ROW], dtype=dtype), torch.tensor([y, ZERO], dtype=dtype))
        for eps in (1e-6, 0.0, -0.5):
            parity("pairwise_distance", x, y, p=p, eps=eps, loose=True)
        parity("pairwise_distance", x, y, p=p, keepdim=True, loose=True)


@pytest.mark.unsimulated
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("triple", TRIPLES.values(), ids=TRIPLES)
def test_edges_of_the_triplet_loss_with_a_distance(triple, swap):
    tensors = wants(*(torch.tensor([r], dtype=F64) for r in triple))
    for function in (
        None,
        nn.PairwiseDistance(p=INF, eps=0.0),
        nn.PairwiseDistance(p=1.0, eps=0.0),
        lambda x, y: (x - y).abs().amax(-1),
    ):
        parity(
            "triplet_margin_with_distance_loss",
            *tensors,
            distance_function=function,
            swap=swap,
            reduction="none",
            loose=True,
        )


def test_ties_are_split():
    zero, tie = torch.zeros(1, 4, dtype=F64), torch.tensor([[3.0, -3.0, 1.0, 3.0]], dtype=F64)
    x, y = wants(zero, tie)
    ft.pairwise_distance(x, y, p=INF, eps=0.0).backward()
    third = torch.tensor([[-1, 1, 0, -1]], dtype=F64) / 3
    torch.testing.assert_close(x.grad, third, rtol=1e-15, atol=0)
    a, p, n = wants(*(torch.tensor([r], dtype=F64) for r in TRIPLES["swap tie"]))
    ft.triplet_margin_loss(a, p, n, eps=0.0, swap=True).backward()
    half = torch.tensor([[-0.5, -0.5, 0]], dtype=F64) / math.sqrt(2)
    # Of d(a, n) and d(p, n), which are equal, each is the smaller one by half.
    torch.testing.assert_close(n.grad, half * torch.tensor([0, 2, 0]), rtol=1e-12, atol=1e-15)


def test_a_triplet_kink_passes():
    a, p, n = wants(*(torch.tensor([r], dtype=F64) for r in TRIPLES["kink"]))
    loss = ft.triplet_margin_loss(a, p, n, margin=1.0, eps=0.0)
    loss.backward()
    assert loss.item() == 0
    assert p.grad.tolist() == [[1, 0, 0]]


def test_a_norm_of_degree_0_counts_and_has_no_graph():
    tensors = wants(draw(4, 3), draw(4, 3, seed=1), draw(4, 3, seed=2))
    given = parity("triplet_margin_loss", *tensors, p=0)
    theirs = outcome(F.triplet_margin_loss, tensors, {"p": 0})
    assert [g is None for g in given.grads] == [g is None for g in theirs.grads]


# --------------------------------------------------------------------------------------------------
# Shapes
# --------------------------------------------------------------------------------------------------

N, D = 4, 3
PAIR_SHAPES = [
    ((N, D), (N, D), (N,)),
    ((N, D), (1, D), (N,)),
    ((1, D), (N, D), (N,)),
    ((N, D), (N, D), (1,)),
    ((1, D), (N, D), (1,)),
    ((1, D), (1, D), (N,)),
    ((1, D), (1, D), (1,)),
    ((N, D), (N, 1), (N,)),
    ((N, 1), (N, D), (N,)),
    ((N, 1), (1, D), (N,)),
    ((N, 1), (N, 1), (N,)),
    ((D,), (D,), ()),
    ((D,), (1,), ()),
    ((1,), (D,), ()),
    ((1,), (1,), ()),
    ((0, D), (0, D), (0,)),
    ((0, D), (1, D), (0,)),
    ((N, 0), (N, 0), (N,)),
    ((0,), (0,), ()),
    # What must fail.
    ((D,), (D,), (N,)),
    ((D,), (D,), (1,)),
    ((N, D), (N, D), ()),
    ((N, D), (N, D), (N, 1)),
    ((N, D), (N, D), (1, N)),
    ((N, D), (N, D), (N + 1,)),
    ((N, D), (N + 1, D), (N,)),
    ((N, D), (N, D + 1), (N,)),
    ((N, D), (D,), (N,)),
    ((D,), (N, D), ()),
    ((2, N, D), (2, N, D), (N,)),
    ((2, N, D), (2, N, D), (2, N)),
    ((), (), ()),
    ((N, D), (N, D), (0,)),
]


@by_reduction
@pytest.mark.parametrize("shapes", PAIR_SHAPES, ids=str)
def test_pairs_of_any_shape_do_what_they_do_in_torch(shapes, reduction):
    one, two, labels = shapes
    for dtype in (F64, F32):
        x, y = wants(draw(*one, dtype=dtype), draw(*two, seed=1, dtype=dtype))
        t = signs(*labels, dtype=dtype)
        parity("cosine_embedding_loss", x, y, t, margin=-0.2, reduction=reduction)


def test_the_norm_of_a_row_that_is_broadcast_in_its_features_is_torchs():
    """It is taken before the broadcast: cosines leave [-1, 1], and torch's users have these."""
    x, y = draw(N, D).abs(), draw(N, 1, seed=1).abs()
    losses = ft.cosine_embedding_loss(x, y, torch.ones(N), reduction="none")
    assert (losses < 0).any()
    torch.testing.assert_close(
        losses, F.cosine_embedding_loss(x, y, torch.ones(N), reduction="none"), rtol=0, atol=0
    )


TRIPLE_SHAPES = [
    *[((*batch, D),) * 3 for batch in ((), (N,), (2, N), (2, 1, 3))],
    ((N, D), (1, D), (N, D)),
    ((1, D), (N, D), (N, D)),
    ((N, D), (N, D), (1, D)),
    ((1, D), (1, D), (N, D)),
    ((2, 1, D), (1, N, D), (2, N, D)),
    ((1, 1, D), (1, N, D), (2, 1, D)),
    ((2, N, D), (1, 1, D), (1, 1, D)),
    ((N, D), (N, 1), (N, D)),
    ((N, 1), (N, 1), (N, D)),
    ((1,), (1,), (1,)),
    ((), (), ()),
    ((0, D), (0, D), (0, D)),
    ((N, 0), (N, 0), (N, 0)),
    ((0, D), (1, D), (0, D)),
    # What must fail.
    ((N, D), (D,), (N, D)),
    ((D,), (N, D), (N, D)),
    ((2, N, D), (N, D), (N, D)),
    ((N, D), (N + 1, D), (N, D)),
    ((N, D), (N, D), (N, D + 1)),
]


@by_reduction
@pytest.mark.parametrize("shapes", TRIPLE_SHAPES, ids=str)
def test_triplets_of_any_shape_do_what_they_do_in_torch(shapes, reduction):
    tensors = wants(*(draw(*shape, seed=k) for k, shape in enumerate(shapes)))
    for swap in (False, True):
        parity("triplet_margin_loss", *tensors, swap=swap, reduction=reduction)
        parity("triplet_margin_with_distance_loss", *tensors, swap=swap, reduction=reduction)


FEATURE_SHAPES = [
    ((N, D), (N, D)),
    ((N, D), (1, D)),
    ((N, D), (D,)),
    ((D,), (N, D)),
    ((D,), (D,)),
    ((2, N, D), (N, D)),
    ((2, 1, D), (1, N, D)),
    ((N, 1), (N, D)),
    ((N, D), (1,)),
    ((), ()),
    ((), (D,)),
    ((0, D), (0, D)),
    ((N, 0), (N, 0)),
    ((2, N, D, 2), (2, N, D, 2)),
    ((N, D), (N + 1, D)),
    ((N, D), (N, D + 1)),
]


@pytest.mark.parametrize("shapes", FEATURE_SHAPES, ids=str)
def test_rows_of_any_shape_do_what_they_do_in_torch(shapes):
    x, y = wants(draw(*shapes[0]), draw(*shapes[1], seed=1))
    for keepdim in (False, True):
        parity("pairwise_distance", x, y, keepdim=keepdim)
    for dim in (-1, 0, 1, -2, 2, 5):
        parity("cosine_similarity", x, y, dim=dim)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_half_rows_of_a_norm_next_to_eps_have_an_exact_similarity(dtype):
    # The cosine is next to 1, and eps in the squares, in place of a bound, would hide that.
    mantissas, exponents = torch.frexp(draw(20, 2000))
    x = (torch.ldexp((32 * mantissas).round() / 32, exponents) / 64).to(dtype)
    y = 3 * x  # exactly
    least = x.abs().argmin(dim=1, keepdim=True)
    y.scatter_(1, least, 1.25 * y.gather(1, least))
    for a, b in zip(x.split(1), y.split(1), strict=True):
        found, eps = [], 0.999 * a.double().norm().item()
        for to, function in ((dtype, ft.cosine_similarity), (F64, F.cosine_similarity)):
            leaf = a.to(to, copy=True).requires_grad_()
            function(leaf, b.to(to), eps=eps).backward(torch.full((1,), 2.0**10, dtype=to))
            found.append(leaf.grad.double())
        ours, exact = found
        assert (ours - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@by_float
def test_edges_of_the_cosine_similarity(dtype, pair):
    x = torch.tensor([pair[0], ROW], dtype=dtype).requires_grad_()
    y = torch.tensor([pair[1], [0.2, -0.4, 0.9]], dtype=dtype).requires_grad_()
    for eps in (1e-8, 0.5, 1e-3, 10.0):
        parity("cosine_similarity", x, y, eps=eps)
    parity("cosine_similarity", x, y, dim=0)
    if not (x == 0).all(1).any() and not (y == 0).all(1).any():
        parity("cosine_similarity", x, y, eps=0.0)


# --------------------------------------------------------------------------------------------------
# Dtypes
# --------------------------------------------------------------------------------------------------

MIXED = [F64, F32, F16, BF16, torch.int64, torch.bool, torch.complex64]


def of(dtype, *shape, seed=0):
    x = 2 * draw(*shape, seed=seed)
    x = (x > 0) if dtype is torch.bool else x.to(dtype)
    return x.requires_grad_() if is_float(x) else x


@pytest.mark.parametrize("second", MIXED, ids=str)
@pytest.mark.parametrize("first", MIXED, ids=str)
def test_mixed_dtypes_promote_as_in_torch_and_gradients_have_their_own(first, second):
    """float16 with bfloat16 gives float32."""
    x, y, z = of(first, 5, 4), of(second, 5, 4, seed=1), of(first, 5, 4, seed=2)
    calls = [
        ("cosine_embedding_loss", (x, y, signs(5)), {"reduction": "none"}),
        ("cosine_similarity", (x, y), {}),
        ("pairwise_distance", (x, y), {}),
        ("triplet_margin_loss", (x, y, z), {"reduction": "none"}),
        ("triplet_margin_with_distance_loss", (x, y, z), {"reduction": "none"}),
    ]
    for name, args, kwargs in calls:
        given = outcome(getattr(ft, name), args, kwargs)
        theirs = outcome(getattr(F, name), args, kwargs)
        assert given.error == theirs.error, name
        if theirs.error:
            continue
        exact = outcome(getattr(F, name), [wide(a) for a in args], kwargs)
        loosely(given.value, theirs.value, exact.value)
        wanted = [a for a in args if is_float(a) and a.requires_grad]
        assert len(given.grads) == len(wanted)
        for a, one, other, right in zip(
            wanted, given.grads, theirs.grads, exact.grads, strict=True
        ):
            assert one.dtype is other.dtype is a.dtype
            loosely(one, other, right)


def wide(x):
    if not isinstance(x, torch.Tensor):
        return x
    if x.is_complex():
        return x.detach().to(torch.complex128).requires_grad_(x.requires_grad)
    return x.detach().double().requires_grad_(x.requires_grad)


def loosely(given, theirs, exact):
    """To the precision of the dtype on the scale of the tensor: torch rounds at every step."""
    assert given.dtype is theirs.dtype
    assert given.shape == theirs.shape
    scale = exact.detach().abs().max().item()
    eps = torch.finfo(given.dtype).eps
    rounded = exact.detach().to(torch.complex128 if given.is_complex() else F64)
    near = (given.to(rounded.dtype) - rounded).abs() <= 16 * eps * max(scale, 1.0)
    assert (near | (given == theirs)).all()


# --------------------------------------------------------------------------------------------------
# Reductions, margins and what is no number
# --------------------------------------------------------------------------------------------------

CALLS = {
    "cosine_embedding_loss": lambda: (*wants(draw(5, 4), draw(5, 4, seed=1)), signs(5)),
    "triplet_margin_loss": lambda: wants(*(draw(5, 4, seed=k) for k in range(3))),
    "triplet_margin_with_distance_loss": lambda: wants(*(draw(5, 4, seed=k) for k in range(3))),
    "hinge_embedding_loss": lambda: (*wants(draw(5)), signs(5)),
}
MODULES = {
    "cosine_embedding_loss": "CosineEmbeddingLoss",
    "triplet_margin_loss": "TripletMarginLoss",
    "triplet_margin_with_distance_loss": "TripletMarginWithDistanceLoss",
    "hinge_embedding_loss": "HingeEmbeddingLoss",
}
by_call = pytest.mark.parametrize("name", CALLS)


NO_REDUCTIONS = ["abc", None, "", "MEAN", "elementwise_mean", 1, b"mean", "batchmean", True]


@pytest.mark.unsimulated
@pytest.mark.parametrize("reduction", NO_REDUCTIONS)
@by_call
def test_reductions_that_do_not_exist_fail_with_torchs_text(name, reduction):
    parity(name, *CALLS[name](), reduction=reduction)


@pytest.mark.unsimulated
@pytest.mark.parametrize("reduction", NO_REDUCTIONS)
@by_call
def test_modules_refuse_strings_that_are_no_reductions_when_they_are_made(name, reduction):
    args = CALLS[name]()
    theirs = getattr(nn, MODULES[name])(reduction=reduction)
    expected = outcome(theirs, args, {})
    if expected.error and isinstance(reduction, str):
        kind, message = expected.error
        with pytest.raises(kind) as caught:
            getattr(ft, MODULES[name])(reduction=reduction)
        assert str(caught.value) == message
    else:
        same_outcome(getattr(ft, MODULES[name])(reduction=reduction), theirs, args, {})


@pytest.mark.unsimulated
def test_a_module_refuses_an_unknown_distance_when_it_is_made():
    with pytest.raises(ValueError, match=r"^distance_function must be .* l2 is euclidean here"):
        ft.TripletMarginWithDistanceLoss(distance_function="l2")


@pytest.mark.unsimulated
def test_modules_look_at_no_reduction_beside_the_old_names():
    for name in ("CosineEmbeddingLoss", "TripletMarginLoss", "HingeEmbeddingLoss"):
        with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
            assert getattr(ft, name)(size_average=False, reduction="avg").reduction == "sum"


@pytest.mark.unsimulated
@pytest.mark.parametrize("reduce", [None, True, False])
@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("name", [n for n in CALLS if "with_distance" not in n])
def test_the_old_names_of_reductions_work_with_torchs_warning(name, size_average, reduce):
    old = {"size_average": size_average, "reduce": reduce}
    given = parity(name, *CALLS[name](), **old, reduction="sum")
    assert bool(given.warnings) == (size_average is not None or reduce is not None)
    made = []
    for kind in (ft, nn):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made.append(getattr(kind, MODULES[name])(**old, reduction="sum"))
        made.append(messages(caught))
    ours, ours_warned, theirs, theirs_warned = made
    assert ours_warned == theirs_warned
    assert ours.reduction == theirs.reduction
    same_outcome(ours, theirs, CALLS[name](), {})


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", [n for n in CALLS if "with_distance" not in n])
def test_the_old_names_of_reductions_reduce_weighted_losses_too(name):
    args, weight = CALLS[name](), draw(5, seed=5).abs()
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        old = getattr(ft, name)(*args, size_average=False, weight=weight)
    torch.testing.assert_close(old, getattr(ft, name)(*args, reduction="sum", weight=weight))


MARGINS = [
    0,
    2,
    True,
    0.5,
    -0.5,
    np.float32(0.25),
    np.float64(0.25),
    np.int64(1),
    torch.tensor(0.3),
    torch.tensor(0.3, dtype=F64),
    torch.tensor(1),
    INF,
    None,
    "0.5",
    1j,
    [0.5],
    torch.tensor([0.5, 0.2]),
    torch.tensor(0.3, requires_grad=True),
]


@pytest.mark.unsimulated
@pytest.mark.parametrize("margin", MARGINS, ids=repr)
@by_call
def test_margins_of_any_kind_do_what_they_do_in_torch(name, margin):
    parity(name, *CALLS[name](), margin=margin)


@pytest.mark.unsimulated
@pytest.mark.parametrize("margin", [0, 0.0, -1.0])
@pytest.mark.parametrize("name", ["TripletMarginLoss", "TripletMarginWithDistanceLoss"])
def test_modules_of_triplets_refuse_margins_that_are_not_positive(name, margin):
    messages = []
    for kind in (ft, nn):
        with pytest.raises(ValueError, match="expected margin to be greater than 0") as caught:
            getattr(kind, name)(margin=margin)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.unsimulated
@pytest.mark.parametrize(
    "options", [{"p": "2"}, {"p": None}, {"eps": None}, {"eps": -1e-3}, {"p": NAN}]
)
@by_float
def test_norms_that_do_not_exist_do_what_they_do_in_torch(dtype, options):
    a, p, n = wants(*(draw(5, 4, seed=k, dtype=dtype) for k in range(3)))
    parity("triplet_margin_loss", a, p, n, **options)
    parity("pairwise_distance", a, p, **options)


@pytest.mark.unsimulated
@pytest.mark.parametrize("options", [{"dim": 1.0}, {"dim": None}, {"eps": None}, {"eps": -1.0}])
def test_similarities_that_do_not_exist_do_what_they_do_in_torch(options):
    parity("cosine_similarity", *wants(draw(5, 4), draw(5, 4, seed=1)), **options)


@pytest.mark.unsimulated
@pytest.mark.parametrize("given", [None, 1, 1.5, [1.0, 2.0], np.ones(5)], ids=repr)
@by_call
def test_what_is_no_tensor_fails_as_in_torch(name, given):
    args = list(CALLS[name]())
    for k in range(len(args)):
        mixed = [*args[:k], given, *args[k + 1 :]]
        ours, theirs = (outcome(getattr(m, name), mixed, {}) for m in (ft, F))
        assert theirs.error is not None
        assert ours.error[0] is theirs.error[0]


# --------------------------------------------------------------------------------------------------
# Tensors that the kernels cannot read
# --------------------------------------------------------------------------------------------------

UNREADABLE = {
    "sparse": lambda x: x.to_sparse(),
    "sparse rows": lambda x: x.to_sparse_csr(),
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "quantised": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    "mkldnn": lambda x: x.float().to_mkldnn(),
}


@pytest.mark.filterwarnings("ignore:.*(eta|rototype|eprecated|quantize_per_tensor)")
@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_tensors_that_cannot_be_read_are_refused_by_name(make):
    if make is UNREADABLE["mkldnn"] and not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without")
    if make is UNREADABLE["mkldnn"] and devices.place() != "cpu":
        pytest.skip("on the CPU only")
    odd, x, y = make(draw(5, 4)), draw(5, 4, seed=1), draw(5, 4, seed=2)
    calls = [
        (ft.cosine_embedding_loss, (odd, x, signs(5)), "input1"),
        (ft.cosine_embedding_loss, (x, odd, signs(5)), "input2"),
        (ft.cosine_similarity, (x, odd), "x2"),
        (ft.pairwise_distance, (odd, x), "x1"),
        (ft.triplet_margin_loss, (x, odd, y), "positive"),
        (ft.triplet_margin_with_distance_loss, (x, y, odd), "negative"),
        (ft.hinge_embedding_loss, (odd, signs(5, 4)), "input"),
    ]
    for f, args, name in calls:
        with pytest.raises((TypeError, NotImplementedError, RuntimeError), match=name):
            f(*args)


# --------------------------------------------------------------------------------------------------
# Extras: weight
# --------------------------------------------------------------------------------------------------


def reduced(losses, weight, reduction):
    """The definition, for weights that are broadcast to the losses."""
    weight = torch.as_tensor(weight, dtype=losses.dtype)
    if reduction == "none":
        return losses * weight
    total = (losses * weight).sum()
    return total / weight.expand(losses.shape).sum() if reduction == "mean" else total


def weighted(name, reduction, **kwargs):
    def f(*args):
        losses = getattr(F, name)(*args[:-1], **kwargs, reduction="none")
        return reduced(losses, args[-1], reduction)

    return f


def extra(name, reduction, **kwargs):
    def f(*args):
        return getattr(ft, name)(*args[:-1], weight=args[-1], reduction=reduction, **kwargs)

    return f


WEIGHTS = {
    "one each": lambda: draw(5, seed=5).abs(),
    "with zeros": lambda: torch.tensor([0.5, 0.0, 2.0, 0.0, 1.5], dtype=F64),
    "float32": lambda: draw(5, seed=5).abs().float(),
    "integers": lambda: torch.tensor([1, 0, 3, 2, 1]),
    "one for all": lambda: torch.tensor([0.7], dtype=F64),
    "a scalar": lambda: torch.tensor(0.7, dtype=F64),
    "strided": lambda: draw(5, 2, seed=5).abs()[:, 1],
    "expanded": lambda: torch.tensor(0.3, dtype=F64).expand(5),
    "signed": lambda: torch.tensor([0.5, -0.2, 2.0, -0.1, 1.5], dtype=F64),
}


@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
@by_reduction
@by_call
def test_weights_weigh_the_losses(name, reduction, weight):
    args = (*CALLS[name](), weight())
    same_outcome(extra(name, reduction), weighted(name, reduction), args, {})


@by_reduction
@by_call
def test_weights_have_gradients(name, reduction):
    args = (*CALLS[name](), *wants(draw(5, seed=5).abs()))
    given = same_outcome(extra(name, reduction), weighted(name, reduction), args, {})
    assert given.grads[-1].shape == (5,)
    assert given.grads[-1].any()
    # Alone, too.
    args = [a.detach() for a in args]
    args[-1].requires_grad_()
    same_outcome(extra(name, reduction), weighted(name, reduction), args, {})


@by_call
def test_weights_that_sum_to_nothing_give_nothing(name):
    args = (*CALLS[name](), torch.zeros(5, dtype=F64))
    given = outcome(extra(name, "mean"), args, {})
    assert given.value.item() == 0
    assert all(g is None or not g.any() for g in given.grads)


@by_call
def test_a_weight_of_one_changes_nothing_and_dtypes_stay(name):
    for dtype in (F64, F32, BF16):
        args = [a.detach().to(dtype) for a in CALLS[name]()]
        plain = getattr(ft, name)(*args)
        for one in (torch.ones(5, dtype=F64), torch.ones(5, dtype=F32)):
            given = getattr(ft, name)(*args, weight=one)
            assert given.dtype is dtype
            torch.testing.assert_close(given, plain)


@by_call
def test_weights_that_do_not_fit_are_refused(name):
    args = CALLS[name]()
    for shape in ((4,), (5, 5), (6,)):
        with pytest.raises((ValueError, RuntimeError)):
            getattr(ft, name)(*args, weight=torch.ones(shape, dtype=F64))


@by_call
def test_weights_work_where_torch_computes(name):
    """Under a transform the same numbers come from torch's operators."""
    args = [*CALLS[name](), draw(5, seed=5).abs()]
    args = [a.detach() for a in args]
    for reduction in ("mean", "none"):
        f = extra(name, reduction)
        together = torch.func.vmap(f)(*(torch.stack([a, a]) for a in args))
        torch.testing.assert_close(together, torch.stack([f(*args)] * 2))
        empty = torch.func.vmap(f)(*(torch.stack([a, a])[:1] for a in args))
        torch.testing.assert_close(empty[0], f(*args))


def test_weights_go_through_modules():
    for name, module in MODULES.items():
        args, weight = CALLS[name](), draw(5, seed=5).abs()
        given = getattr(ft, module)(reduction="sum")(*args, weight=weight)
        torch.testing.assert_close(given, getattr(ft, name)(*args, weight=weight, reduction="sum"))


# --------------------------------------------------------------------------------------------------
# Extras: pos_margin
# --------------------------------------------------------------------------------------------------


def bounded(x, y, t, margin, pos_margin, reduction):
    """Its definition: similar pairs cost below ``pos_margin``, dissimilar ones above ``margin``."""
    c = (x * y).sum(-1) / ((x * x).sum(-1) * (y * y).sum(-1)).sqrt()
    zero = torch.zeros((), dtype=x.dtype)
    drawn, pushed = torch.clamp_min(pos_margin - c, 0), torch.clamp_min(c - margin, 0)
    losses = torch.where(t == 1, drawn, torch.where(t == -1, pushed, zero))
    return losses if reduction == "none" else getattr(losses, reduction)()


@by_reduction
@pytest.mark.parametrize("pos_margin", [1.0, 0.8, 0.0, -0.3, 1.5, 1])
def test_similar_pairs_cost_below_their_margin(pos_margin, reduction):
    x, y = wants(draw(40, 4), draw(40, 4, seed=1))
    t = signs(40)
    t[5] = 0
    given = outcome(
        ft.cosine_embedding_loss,
        (x, y, t),
        {"margin": -0.1, "pos_margin": pos_margin, "reduction": reduction},
    )
    f = functools.partial(bounded, margin=-0.1, pos_margin=pos_margin, reduction=reduction)
    expected = outcome(f, (x, y, t), {})
    torch.testing.assert_close(given.value, expected.value, rtol=1e-9, atol=1e-9)
    assert len(given.grads) == 2
    for one, other in zip(given.grads, expected.grads, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_similar_pair_at_its_margin_has_a_gradient_and_one_beyond_has_none():
    x, y = (torch.tensor([PAIRS["a half"][k]], dtype=F64) for k in range(2))
    for pos_margin, passes in ((0.5, True), (0.4, False), (0.6, True)):
        a, b = wants(x, y)
        loss = ft.cosine_embedding_loss(a, b, torch.ones(1), pos_margin=pos_margin)
        loss.backward()
        assert loss.item() == pytest.approx(max(0.0, pos_margin - 0.5))
        assert bool(a.grad.any()) == bool(b.grad.any()) == passes


def test_the_margin_of_similar_pairs_goes_through_the_module():
    module = ft.CosineEmbeddingLoss(0.1, pos_margin=0.6, reduction="sum")
    assert module.pos_margin == 0.6
    assert "pos_margin=0.6" in repr(module)
    args = (draw(9, 4), draw(9, 4, seed=1), signs(9))
    expected = ft.cosine_embedding_loss(*args, margin=0.1, pos_margin=0.6, reduction="sum")
    assert module(*args).item() == expected.item()
    with pytest.raises(TypeError):
        ft.CosineEmbeddingLoss(0.1, None, None, "mean", 0.6)


def test_the_margin_of_similar_pairs_keeps_torchs_shapes_and_errors():
    shapes = [
        ((1, D), (N, D), (N,)),
        ((D,), (D,), ()),
        ((N, D), (N, D), (1,)),
        ((0, D), (0, D), (0,)),
    ]
    for one, two, labels in shapes:
        args = (draw(*one), draw(*two, seed=1), signs(*labels))
        given = ft.cosine_embedding_loss(*args, pos_margin=0.5, reduction="none")
        assert given.shape == F.cosine_embedding_loss(*args, reduction="none").shape
    for one, two, labels in (
        ((N, D), (N, D), ()),
        ((N, D), (N, D), (N, 1)),
        ((N, D), (N, 2), (N,)),
    ):
        args = (draw(*one), draw(*two, seed=1), signs(*labels))
        ours = outcome(ft.cosine_embedding_loss, args, {"pos_margin": 0.5})
        theirs = outcome(F.cosine_embedding_loss, args, {})
        assert ours.error[0] is theirs.error[0]


# --------------------------------------------------------------------------------------------------
# Extras: distances by name and record
# --------------------------------------------------------------------------------------------------

NAMED = [*distances.DISTANCES, distances.lp(3.5), distances.cosine(0.1), distances.euclidean(0.0)]


def named_triplets(name, dtype=F64):
    # Inside of the unit ball, where every one is defined.
    return wants(*((draw(6, 4, seed=k, dtype=F64) / 8).to(dtype) for k in range(3)))


# With and without swap in turns: every one is a kernel to compile.
@pytest.mark.parametrize(
    ("distance", "swap"),
    [(distance, bool(k % 2)) for k, distance in enumerate(NAMED)],
    ids=lambda d: getattr(d, "name", str(d)),
)
def test_distances_by_name_and_record_are_those_of_the_library(distance, swap):
    a, p, n = named_triplets(distance)
    options = {"distance_function": distance, "swap": swap, "margin": 0.7, "reduction": "none"}
    losses = ft.triplet_margin_with_distance_loss(a, p, n, **options)
    upstream = draw(6, seed=9)
    grads = torch.autograd.grad(losses, (a, p, n), upstream)
    expected, expected_grads = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        *(t.detach().numpy() for t in (a, p, n)), **options, grad_output=upstream.numpy()
    )
    assert expected.any()
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-12)
    for one, other in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-10, atol=1e-13)


@pytest.mark.unsimulated
@pytest.mark.parametrize("distance", NAMED, ids=lambda d: d if isinstance(d, str) else d.name)
def test_distances_by_name_and_record_have_derivatives_of_every_order_and_transforms(distance):
    f = functools.partial(
        ft.triplet_margin_with_distance_loss, distance_function=distance, reduction="none"
    )
    tensors = [t[:3] for t in named_triplets(distance)]
    tensors = [t.detach().requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(f, tensors)
    assert torch.autograd.gradgradcheck(f, tensors, draw(3, seed=9).requires_grad_())
    plain = [t.detach() for t in tensors]
    together = torch.func.vmap(f)(*(torch.stack([t, t.flip(0)]) for t in plain))
    torch.testing.assert_close(together[0], f(*plain), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(together[1], f(*plain).flip(0), rtol=1e-10, atol=1e-12)
    grads = torch.func.grad(lambda *ts: f(*ts).sum(), (0, 1, 2))(*plain)
    expected = torch.autograd.grad(f(*tensors).sum(), tensors)
    torch.testing.assert_close(list(grads), list(expected), rtol=1e-9, atol=1e-10)


SINGULAR = {
    "zero anchor": (ZERO, [0.1, 0.2, 0.1], [0.3, -0.1, 0.2]),
    "zero negative": ([0.1, -0.2, 0.3], [0.1, 0.2, 0.1], ZERO),
    "anchor is positive": ([0.1, -0.2, 0.3], [0.1, -0.2, 0.3], [0.2, 0.1, 0.1]),
    "opposite": ([0.1, -0.2, 0.3], [-0.1, 0.2, -0.3], [0.2, 0.1, 0.1]),
    "zeros": (ZERO, ZERO, ZERO),
    "common component": ([0.1, 0.2, 0.3], [0.1, 0.1, 0.0], [0.0, 0.2, 0.1]),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("triple", SINGULAR.values(), ids=SINGULAR)
@pytest.mark.parametrize("distance", distances.DISTANCES)
def test_singular_points_are_the_same_where_torch_computes(distance, triple):
    """Fused, under a transform and in a graph of gradients: one value, one gradient."""
    f = functools.partial(ft.triplet_margin_with_distance_loss, distance_function=distance)
    plain = [torch.tensor([r, r], dtype=F64) * torch.tensor([[1.0], [0.5]]) for r in triple]
    tensors = wants(*plain)
    value = f(*tensors)
    grads = torch.autograd.grad(value, tensors)
    assert all(g.isfinite().all() for g in grads)
    transformed, by_transform = torch.func.vjp(f, *plain)
    torch.testing.assert_close(transformed, value.detach(), rtol=1e-9, atol=1e-12)
    again = by_transform(torch.ones((), dtype=F64))
    torch.testing.assert_close(list(again), list(grads), rtol=1e-8, atol=1e-10)
    in_graph = torch.autograd.grad(f(*tensors), tensors, create_graph=True)
    found = [g.detach() for g in in_graph]
    torch.testing.assert_close(found, list(grads), rtol=1e-8, atol=1e-10)


def test_only_torchs_own_euclidean_has_torchs_eps():
    a, n = draw(6, 4, seed=0), draw(6, 4, seed=1)
    f = functools.partial(ft.triplet_margin_with_distance_loss, a, a, n, reduction="none")
    theirs = F.triplet_margin_with_distance_loss(a, a, n, margin=100.0, reduction="none")
    own = F.pairwise_distance, ft.pairwise_distance, nn.PairwiseDistance(), ft.PairwiseDistance()
    for function in (None, *own):
        given = f(distance_function=function, margin=100.0)
        torch.testing.assert_close(given, theirs, rtol=1e-13, atol=0)
    plain = f(distance_function="euclidean", margin=100.0)
    exact = 100 - (a - n).norm(dim=-1)
    torch.testing.assert_close(plain, exact, rtol=1e-13, atol=0)
    assert not torch.isclose(plain, theirs, rtol=1e-10, atol=0).any()
    criterion = ft.TripletMarginWithDistanceLoss(margin=100.0, reduction="none")
    torch.testing.assert_close(criterion(a, a, n), theirs, rtol=1e-13, atol=0)


def test_names_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(ValueError, match=r"cosine.*euclidean|euclidean.*cosine"):
        ft.triplet_margin_with_distance_loss(*named_triplets("x"), distance_function="chebyshef")


@pytest.mark.parametrize("distance", [3, 1.5, ["cosine"]], ids=repr)
def test_what_is_no_distance_is_refused(distance):
    with pytest.raises(TypeError):
        ft.triplet_margin_with_distance_loss(*named_triplets("x"), distance_function=distance)


def _square_of_log(t):
    return math.log1p(t * t)


MINE = fastcos.Distance(
    "log_square",
    init=lambda zero: (zero,),
    accumulate=lambda state, x, y: (state[0] + _square_of_log(x - y),),
    finalize=lambda state: state[0],
    gradient=lambda state, d, x, y: (
        2 * (x - y) / (1 + (x - y) ** 2),
        -2 * (x - y) / (1 + (x - y) ** 2),
    ),
)


def test_a_distance_of_the_users_own_runs_fused_and_says_what_it_cannot():
    def formula(x, y):
        return torch.log1p((x - y) ** 2).sum(-1)

    tensors = named_triplets("mine")
    ours = functools.partial(ft.triplet_margin_with_distance_loss, distance_function=MINE)
    theirs = functools.partial(F.triplet_margin_with_distance_loss, distance_function=formula)
    given, expected = outcome(ours, tensors, {}), outcome(theirs, tensors, {})
    assert given.error is None
    torch.testing.assert_close(given.value, expected.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(given.grads, expected.grads, rtol=1e-10, atol=1e-14)
    with pytest.raises((TypeError, RuntimeError, NotImplementedError), match="log_square"):
        torch.func.grad(ours)(*(t.detach() for t in tensors))
    value = ours(*tensors)
    with pytest.raises((TypeError, RuntimeError, NotImplementedError), match="deriv"):
        torch.autograd.grad(value, tensors, create_graph=True)


class Doubled(nn.PairwiseDistance):
    """A subclass, which may do anything."""

    def forward(self, x1, x2):
        return 2 * super().forward(x1, x2)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=F64))

    def forward(self, x, y):
        return (self.scale * (x - y)).square().sum(-1)


CALLABLES = {
    "None": None,
    "F.pairwise_distance": F.pairwise_distance,
    "torch.pairwise_distance": torch.pairwise_distance,
    "PairwiseDistance": nn.PairwiseDistance(),
    "PairwiseDistance p=1": nn.PairwiseDistance(p=1),
    "PairwiseDistance p=inf": nn.PairwiseDistance(p=INF, eps=1e-3),
    "PairwiseDistance p=0.5": nn.PairwiseDistance(p=0.5),
    "PairwiseDistance p=-1": nn.PairwiseDistance(p=-1.0),
    "PairwiseDistance keepdim": nn.PairwiseDistance(keepdim=True),
    "a subclass": Doubled(p=1.0),
    "a lambda": lambda x, y: 1 - F.cosine_similarity(x, y),
    "cosine_similarity": F.cosine_similarity,
    "a module that learns": Learned(),
    "one number for all": lambda x, y: (x - y).square().sum(),
    "a matrix": lambda x, y: torch.cdist(x, y),
    "a component each": lambda x, y: (x - y).abs(),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("swap", [False, True])
@by_reduction
@pytest.mark.parametrize("distance", CALLABLES.values(), ids=CALLABLES)
def test_callables_are_distances_as_in_torch(distance, reduction, swap):
    for dtype in (F64, F32):
        tensors = wants(*(draw(6, 4, seed=k, dtype=dtype) for k in range(3)))
        options = {"distance_function": distance, "margin": 0.5, "swap": swap}
        parity("triplet_margin_with_distance_loss", *tensors, **options, reduction=reduction)
        ours, theirs = (
            kind.TripletMarginWithDistanceLoss(**options, reduction=reduction) for kind in (ft, nn)
        )
        same_outcome(ours, theirs, tensors, {})


def of_distances(kind, **options):
    """The loss as a function of the distances, which a callable gives in their order."""

    def loss(*given, **kwargs):
        rows, following = given[0].detach()[:, None], iter(given)
        return kind.triplet_margin_with_distance_loss(
            rows, rows, rows, distance_function=lambda x, y: next(following), **options, **kwargs
        )

    return loss


@pytest.mark.parametrize("swap", [False, True])
@by_reduction
@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_distances_that_are_not_finite_have_the_slopes_of_torch(dtype, reduction, swap):
    """Which are 0 where the loss is NaN, and 1 where it is infinite."""
    numbers = [0.25, 1.75, NAN, INF, -INF][slice(None) if swap else slice(1, None)]
    count = 3 if swap else 2
    triples = torch.tensor(list(itertools.product(numbers, repeat=count)), dtype=dtype)
    weight = torch.linspace(0.5, 2, len(triples), dtype=dtype)
    ours = of_distances(ft, swap=swap, reduction=reduction)
    theirs = of_distances(F, swap=swap, reduction=reduction)
    each = of_distances(F, swap=swap, reduction="none")

    def scaled(*given):  # by what the forward pass does not know
        return -0.7 * ours(*given[:-1], weight=given[-1])

    def expected(*given):
        return -0.7 * reduced(each(*given[:-1]), given[-1], reduction)

    # NaN spreads in a sum, and hides the others: all, then some alone.
    for some in (slice(None), *[slice(k, k + 1) for k in range(0, len(triples), 3)]):
        given = wants(*triples[some].T.contiguous())
        found = same_outcome(ours, theirs, given, {})
        assert not any(g.isnan().any() for g in found.grads)
        same_outcome(scaled, expected, (*given, weight[some]), {})


@pytest.mark.parametrize("swap", [False, True])
@by_reduction
def test_rows_that_are_not_finite_are_a_callables_affair(reduction, swap):
    for number in (NAN, INF, -INF):
        for which in range(3):
            rows = [draw(4, 5, seed=k) for k in range(3)]
            rows[which][1, 2] = number
            parity(
                "triplet_margin_with_distance_loss",
                *wants(*rows),
                distance_function=lambda x, y: 1 - F.cosine_similarity(x, y),
                swap=swap,
                reduction=reduction,
            )


@pytest.mark.parametrize("swap", [False, True])
def test_callables_are_called_as_often_and_with_the_same(swap):
    tensors = named_triplets("x")
    logs = []
    for module in (ft, F):
        calls = []

        def distance(x, y, calls=calls):
            calls.append((id(x), id(y)))
            return (x - y).abs().sum(-1)

        module.triplet_margin_with_distance_loss(*tensors, distance_function=distance, swap=swap)
        logs.append(calls)
    a, p, n = map(id, tensors)
    assert logs[0] == logs[1] == [(a, p), (a, n), *([(p, n)] if swap else [])]


def test_the_functions_and_modules_of_the_library_are_distances_too():
    tensors = wants(*(draw(6, 4, seed=k) for k in range(3)))
    for ours, theirs in (
        (ft.pairwise_distance, F.pairwise_distance),
        (ft.PairwiseDistance(p=3.0), nn.PairwiseDistance(p=3.0)),
        (lambda x, y: 1 - ft.cosine_similarity(x, y), lambda x, y: 1 - F.cosine_similarity(x, y)),
    ):
        given = outcome(ft.triplet_margin_with_distance_loss, tensors, {"distance_function": ours})
        expected = outcome(
            F.triplet_margin_with_distance_loss, tensors, {"distance_function": theirs}
        )
        torch.testing.assert_close(given.value, expected.value, rtol=1e-12, atol=0)
        torch.testing.assert_close(given.grads, expected.grads, rtol=1e-10, atol=1e-14)


def test_a_distance_that_learns_gets_its_gradient():
    tensors = [draw(6, 4, seed=k) for k in range(3)]
    grads = []
    for kind in (ft, nn):
        distance = Learned()
        kind.TripletMarginWithDistanceLoss(distance_function=distance)(*tensors).backward()
        grads.append(distance.scale.grad)
    assert grads[1].any()
    torch.testing.assert_close(*grads, rtol=1e-12, atol=0)


def test_what_a_callable_raises_comes_through():
    def failing(x, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ft.triplet_margin_with_distance_loss(*named_triplets("x"), distance_function=failing)


# --------------------------------------------------------------------------------------------------
# The examples of the documents that the library grew from
# --------------------------------------------------------------------------------------------------


def embedding_example(losses, distance):
    """The built-in, the custom and the lambda distance, on an embedding of a thousand."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        embedding = nn.Embedding(1000, 128)
        ids = [torch.randint(0, 1000, (1,)) for _ in range(3)]
        anchor, positive, negative = (embedding(k) for k in ids)
    triplet_loss = losses.TripletMarginWithDistanceLoss(**distance(losses))
    output = triplet_loss(anchor, positive, negative)
    output.backward()
    return output, embedding.weight.grad


def l_infinity(x1, x2):
    return torch.max(torch.abs(x1 - x2), dim=1).values


DOCUMENTED = {
    "built-in": lambda losses: {"distance_function": losses.PairwiseDistance()},
    "custom": lambda losses: {"distance_function": l_infinity, "margin": 1.5},
    "lambda": lambda losses: {"distance_function": lambda x, y: 1.0 - F.cosine_similarity(x, y)},
}


@pytest.mark.parametrize("distance", DOCUMENTED.values(), ids=DOCUMENTED)
def test_the_examples_of_triplets_with_a_distance(distance):
    (given, gradient), (expected, theirs) = (embedding_example(m, distance) for m in (ft, nn))
    torch.testing.assert_close(given, expected, rtol=1e-6, atol=0)
    assert theirs.count_nonzero() >= 2
    torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=1e-7)


#: The document prints 100 losses to four digits: these where they are not 0.
PRINTED = [
    (1, 1.0821), (3, 1.0337), (4, 1.0798), (6, 1.0582), (8, 0.8795), (10, 1.1377), (12, 0.9727),
    (13, 1.0088), (19, 0.9941), (20, 1.0539), (24, 1.1907), (25, 0.9647), (26, 0.8875),
    (27, 0.8585), (28, 0.9471), (31, 0.9677), (35, 0.8393), (37, 0.9900), (38, 1.1510),
    (43, 0.0000), (45, 0.9491), (46, 0.9202), (48, 0.9338), (49, 1.0044), (51, 1.1716),
    (52, 1.0480), (53, 0.8654), (54, 0.8302), (56, 0.8969), (59, 1.0293), (61, 1.1107),
    (62, 0.8257), (63, 0.9162), (64, 1.0796), (65, 1.0330), (67, 0.9933), (70, 1.0066),
    (75, 0.9410), (76, 0.8609), (77, 1.0060), (79, 0.8454), (81, 1.0362), (83, 1.0253),
    (84, 1.0560), (85, 1.0759), (86, 0.9888), (88, 1.0147), (89, 0.8566), (90, 0.9453),
    (96, 0.9874), (99, 1.0352),
]  # fmt: skip


@pytest.fixture
def document():
    """Its tensors, drawn in its order from its seed."""
    with torch.random.fork_rng():
        torch.manual_seed(20)
        a = torch.randn(100, 128, requires_grad=True)
        b = torch.randn(100, 128, requires_grad=True)
        return a, b, 2 * torch.empty(100).random_(2) - 1


def test_the_two_printed_losses(document):
    a, b, y = document
    output = ft.CosineEmbeddingLoss(margin=0.2)(a, b, y)
    assert output.item() == pytest.approx(0.49418219923973083, rel=1e-6)
    output.backward()
    assert a.grad.any()
    assert b.grad.any()
    for similarity in (torch.cosine_similarity, ft.cosine_similarity):
        x = 1 - similarity(a, b)
        output = ft.HingeEmbeddingLoss(margin=0.2)(x, y)
        assert output.item() == pytest.approx(0.4938560426235199, rel=1e-6)


def test_the_printed_losses_of_each_pair(document):
    a, b, y = document
    x = 1 - ft.cosine_similarity(a, b)
    output = ft.HingeEmbeddingLoss(margin=0.2, reduction="none")(x, y)
    expected = torch.zeros(100)
    for k, value in PRINTED:
        expected[k] = value
    torch.testing.assert_close(output.detach(), expected, rtol=0, atol=5.1e-5)


def test_without_a_reduction_there_is_a_loss_for_each_pair(document):
    """The document wonders why not: it calls the other one of its two losses."""
    each = ft.CosineEmbeddingLoss(margin=0.2, reduction="none")(*document)
    assert each.shape == (100,)
    mean = ft.CosineEmbeddingLoss(margin=0.2)(*document)
    assert each.mean().item() == pytest.approx(mean.item(), rel=1e-6)
    assert len(set(each.tolist())) > 50
