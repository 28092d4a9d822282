"""What can be done with torch's losses can be done with these: transforms, graphs, modes, tracing.

Each case is a call of the library and the same in torch's operators; whatever is done to the one is
done to the other and must give the same.
"""

import contextlib
import copy
import gc
import importlib
import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

import devices
import pytest

import fastcos

torch = pytest.importorskip("torch")
F = torch.nn.functional
ft = importlib.import_module("fastcos.adapters.torch")
autograd = importlib.import_module("fastcos.adapters.torch.autograd")

pytestmark = [
    # Torch's own forward mode scripts some decompositions when it is first used.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning"),
    # Torch has no rule for its triplet loss, and goes one by one; and its linearize is loud.
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr:UserWarning"),
]

F64 = torch.float64
HALVES = (torch.bfloat16, torch.float16)


# --------------------------------------------------------------------------------------------------
# The cases
# --------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    ours: Callable
    theirs: Callable
    tensors: int  # how many rows of features; a weight follows them if there is one
    weighted: bool = False
    vectors: bool = True  # whether they are rows of features, not numbers


ROWS, COLUMNS = 5, 4
LABELS = torch.randint(2, (32,), generator=torch.Generator().manual_seed(3)).to(F64) * 2 - 1
assert set(LABELS[:ROWS].tolist()) == {1, -1}


def labels(rows):
    """For as many rows as there are, which a tracer need not know."""
    return LABELS[: rows.shape[0]].to(rows.device)


def weighted_mean(losses, weight):
    return (losses * weight).sum() / weight.sum()


def bounded(x1, x2, y, margin, pos_margin):
    """The cosine embedding loss of each row with a margin for similar pairs too."""
    c = 1 - F.cosine_embedding_loss(x1, x2, torch.ones_like(y), reduction="none")
    drawn, pushed = (pos_margin - c).clamp_min(0), (c - margin).clamp_min(0)
    return torch.where(y == 1, drawn, pushed)


def away(x, y):
    """A distance that the library has never heard of."""
    return ((x - y) ** 2 / (1 + y**2)).sum(-1)


def cosine_distance(x, y):
    return 1 - F.cosine_similarity(x, y, dim=-1)


CASES = {
    "cosine_embedding-mean": Case(
        lambda x, y: ft.cosine_embedding_loss(x, y, labels(x), margin=-0.2),
        lambda x, y: F.cosine_embedding_loss(x, y, labels(x), margin=-0.2),
        2,
    ),
    "cosine_embedding-none": Case(
        lambda x, y: ft.cosine_embedding_loss(x, y, labels(x), reduction="none"),
        lambda x, y: F.cosine_embedding_loss(x, y, labels(x), reduction="none"),
        2,
    ),
    "cosine_embedding-extras": Case(
        lambda x, y, w: ft.cosine_embedding_loss(
            x, y, labels(x), margin=-0.2, pos_margin=0.7, weight=w
        ),
        lambda x, y, w: weighted_mean(bounded(x, y, labels(x), -0.2, 0.7), w),
        2,
        weighted=True,
    ),
    "cosine_similarity": Case(ft.cosine_similarity, F.cosine_similarity, 2),
    "pairwise": Case(ft.pairwise_distance, F.pairwise_distance, 2),
    "pairwise-p3-keepdim": Case(
        lambda x, y: ft.pairwise_distance(x, y, p=3.0, eps=0.01, keepdim=True),
        lambda x, y: F.pairwise_distance(x, y, p=3.0, eps=0.01, keepdim=True),
        2,
    ),
    "triplet-mean": Case(ft.triplet_margin_loss, F.triplet_margin_loss, 3),
    "triplet-swap-none": Case(
        lambda a, p, n: ft.triplet_margin_loss(a, p, n, margin=2, swap=True, reduction="none"),
        lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=2, swap=True, reduction="none"),
        3,
    ),
    "triplet-extras": Case(
        lambda a, p, n, w: ft.triplet_margin_loss(a, p, n, p=3, weight=w, reduction="none"),
        lambda a, p, n, w: w * F.triplet_margin_loss(a, p, n, p=3, reduction="none"),
        3,
        weighted=True,
    ),
    "distance-euclidean": Case(
        lambda a, p, n: ft.triplet_margin_with_distance_loss(a, p, n, swap=True, reduction="sum"),
        lambda a, p, n: F.triplet_margin_with_distance_loss(a, p, n, swap=True, reduction="sum"),
        3,
    ),
    "distance-callable": Case(
        lambda a, p, n: ft.triplet_margin_with_distance_loss(a, p, n, distance_function=away),
        lambda a, p, n: F.triplet_margin_with_distance_loss(a, p, n, distance_function=away),
        3,
    ),
    "distance-extras": Case(
        lambda a, p, n, w: ft.triplet_margin_with_distance_loss(
            a, p, n, distance_function="cosine", weight=w
        ),
        lambda a, p, n, w: weighted_mean(
            F.triplet_margin_with_distance_loss(
                a, p, n, distance_function=cosine_distance, reduction="none"
            ),
            w,
        ),
        3,
        weighted=True,
    ),
    "hinge-mean": Case(
        lambda x: ft.hinge_embedding_loss(x, labels(x), margin=0.3),
        lambda x: F.hinge_embedding_loss(x, labels(x), margin=0.3),
        1,
        vectors=False,
    ),
    "hinge-extras": Case(
        lambda x, w: ft.hinge_embedding_loss(x, labels(x), weight=w),
        lambda x, w: weighted_mean(F.hinge_embedding_loss(x, labels(x), reduction="none"), w),
        1,
        weighted=True,
        vectors=False,
    ),
}
# What is done once for each function of the library, where it takes long.
FEW = (
    "cosine_embedding-mean",
    "cosine_embedding-extras",
    "cosine_similarity",
    "pairwise-p3-keepdim",
    "triplet-swap-none",
    "distance-euclidean",
    "distance-extras",
    "hinge-mean",
)

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
few_cases = pytest.mark.parametrize("case", [CASES[name] for name in FEW], ids=FEW)


def draw(*shape, seed=0, dtype=F64):
    g = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(shape, generator=g, dtype=F64).to(dtype)


def inputs(case, rows=ROWS, seed=0, batch=(), dtype=F64, requires_grad=False):
    shape = (*batch, rows, COLUMNS) if case.vectors else (*batch, rows)
    found = [draw(*shape, seed=seed + k, dtype=dtype) for k in range(case.tensors)]
    if case.weighted:
        found.append(draw(*batch, rows, seed=seed + 9, dtype=dtype).abs() + 0.1)
    return tuple(t.requires_grad_(requires_grad) for t in found)


def number(f):
    """``f`` to a scalar that weighs its elements differently and is linear in none."""

    def total(*xs):
        value = f(*xs)
        scale = torch.linspace(0.5, 2, value.numel(), dtype=F64).view_as(value)
        return (scale * value + value.sin()).sum()

    return total


def same(given, expected, rtol=1e-9, atol=1e-11):
    torch.testing.assert_close(given, expected, rtol=rtol, atol=atol, equal_nan=True)


def some_nonzero(expected):
    """The comparison has something to see."""
    flat = torch.utils._pytree.tree_leaves(expected)
    return any(bool((t.detach() != 0).any()) for t in flat)


# --------------------------------------------------------------------------------------------------
# torch.func and forward mode
# --------------------------------------------------------------------------------------------------


def every(case):
    return tuple(range(case.tensors + case.weighted))


def by_jvp(f, case):
    xs = inputs(case)
    return torch.func.jvp(f, xs, inputs(case, seed=20))


def by_vjp(f, case):
    value, back = torch.func.vjp(f, *inputs(case))
    return value, back(draw(*value.shape, seed=30))


def by_dual_numbers(f, case):
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        xs = inputs(case), inputs(case, seed=20)
        duals = [forward_ad.make_dual(*pair) for pair in zip(*xs, strict=True)]
        value, tangent = forward_ad.unpack_dual(f(*duals))
        assert tangent is not None
        return value, tangent


def by_forward_over_reverse(f, case):
    gradient = torch.func.grad(number(f), argnums=every(case))
    return torch.func.jvp(gradient, inputs(case), inputs(case, seed=20))


TRANSFORMS = {
    "grad": lambda f, case: torch.func.grad(number(f), argnums=every(case))(*inputs(case)),
    "grad_and_value": lambda f, case: torch.func.grad_and_value(number(f))(*inputs(case)),
    "grad of grad": lambda f, case: torch.func.grad(
        lambda *xs: torch.func.grad(number(f))(*xs).square().sum()
    )(*inputs(case)),
    "vjp": by_vjp,
    "jvp": by_jvp,
    "dual numbers": by_dual_numbers,
    "jacrev": lambda f, case: torch.func.jacrev(f, argnums=every(case))(*inputs(case)),
    "jacfwd": lambda f, case: torch.func.jacfwd(f, argnums=every(case))(*inputs(case)),
    "hessian": lambda f, case: torch.func.hessian(number(f), argnums=every(case))(*inputs(case)),
    "forward over reverse": by_forward_over_reverse,
    "vmap": lambda f, case: torch.func.vmap(f)(*inputs(case, batch=(3,))),
    "vmap over one": lambda f, case: torch.func.vmap(
        f, in_dims=(0, *(None,) * (len(every(case)) - 1))
    )(inputs(case, batch=(3,))[0], *inputs(case)[1:]),
    "vmap of grad": lambda f, case: torch.func.vmap(torch.func.grad(number(f), every(case)))(
        *inputs(case, batch=(3,))
    ),
    "grad of vmap": lambda f, case: torch.func.grad(
        lambda *xs: torch.func.vmap(number(f))(*xs).square().sum(), every(case)
    )(*inputs(case, batch=(3,))),
    "vmap of vmap": lambda f, case: torch.func.vmap(torch.func.vmap(f))(
        *inputs(case, batch=(2, 3))
    ),
    "functionalize": lambda f, case: torch.func.functionalize(f)(*inputs(case)),
    "jacobian": lambda f, case: torch.autograd.functional.jacobian(f, inputs(case), vectorize=True),
    "forward jacobian": lambda f, case: torch.autograd.functional.jacobian(
        f, inputs(case), vectorize=True, strategy="forward-mode"
    ),
    "hvp": lambda f, case: torch.autograd.functional.hvp(
        number(f), inputs(case), inputs(case, seed=20)
    ),
    "vhp": lambda f, case: torch.autograd.functional.vhp(
        number(f), inputs(case), inputs(case, seed=20)
    ),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@each_case
def test_transforms_give_what_they_give_of_torch(case, transform):
    expected = transform(case.theirs, case)
    assert some_nonzero(expected)
    same(transform(case.ours, case), expected)


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", ["cosine_embedding-mean", "distance-extras"])
def test_a_linearised_loss_is_that_of_torch(name):
    """Which takes seconds in torch."""
    case = CASES[name]
    results = []
    for f in (case.ours, case.theirs):
        value, push = torch.func.linearize(f, *inputs(case))
        results.append([value, push(*inputs(case, seed=20)), push(*inputs(case, seed=60))])
    same(*results)


@each_case
def test_inputs_that_want_gradients_may_be_transformed_too(case):
    """A transform inside of a graph: its result has a history."""

    def penalty(f):
        xs = inputs(case, requires_grad=True)
        inner = torch.func.grad(number(f))(*xs)
        return torch.autograd.grad(inner.square().sum() + number(f)(*xs), xs)

    same(penalty(case.ours), penalty(case.theirs))


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", ["CosineEmbeddingLoss", "TripletMarginLoss"])
def test_gradients_of_each_sample_go_through_functional_call(name):
    network = torch.nn.Linear(COLUMNS, 3, dtype=F64)
    with torch.no_grad():
        network.weight.copy_(draw(3, COLUMNS, seed=40))
        network.bias.copy_(draw(3, seed=41))
    parameters = dict(network.named_parameters())
    batch = [draw(6, COLUMNS, seed=k) for k in range(3)]
    last = LABELS[[0, 1, 2, 3, 4, 0]].to(batch[2].device) if name.startswith("Cosine") else batch[2]

    def gradients(module):
        def loss(parameters, x, y, z):
            def embed(t):
                return torch.func.functional_call(network, parameters, (t[None],))

            if z.ndim == 0:
                return module(embed(x), embed(y), z[None])
            return module(embed(x), embed(y), embed(z))

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))
        return each({k: p.detach() for k, p in parameters.items()}, *batch[:2], last)

    ours, theirs = (gradients(getattr(kind, name)()) for kind in (ft, torch.nn))
    assert some_nonzero(theirs)
    same(ours, theirs)


@pytest.mark.unsimulated
@pytest.mark.parametrize("parametrised", ["vmap", "grad", "none"])
def test_a_module_with_state_of_its_own_is_called_functionally(parametrised):
    """The loss as part of a module whose parameters are replaced."""

    class Learner(torch.nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(COLUMNS, dtype=F64))
            self.loss = kind.CosineEmbeddingLoss(margin=0.1)

        def forward(self, x, y):
            return self.loss(x * self.scale, y, labels(x))

    x, y = inputs(CASES["cosine_similarity"])
    scales = draw(3, COLUMNS, seed=50).abs()

    def run(kind):
        module = Learner(kind)

        def f(scale):
            return torch.func.functional_call(module, {"scale": scale}, (x, y))

        if parametrised == "vmap":
            return torch.func.vmap(f)(scales)
        return torch.func.grad(f)(scales[0]) if parametrised == "grad" else f(scales[1])

    same(run(ft), run(torch.nn))


# --------------------------------------------------------------------------------------------------
# Higher orders
# --------------------------------------------------------------------------------------------------


def penalty(f, xs):
    """The loss and the squared length of its gradient, in one graph."""
    value = number(f)(*xs)
    grads = torch.autograd.grad(value, xs, create_graph=True)
    return value + sum(g.square().sum() for g in grads)


@each_case
def test_a_gradient_penalty_has_the_gradients_of_torch(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        penalty(f, xs).backward()
        results.append([x.grad for x in xs])
    assert some_nonzero(results[1])
    same(*results)


@pytest.mark.unsimulated
@each_case
def test_third_derivatives_are_those_of_torch(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        found = number(f)(*xs)
        for order in range(3):
            grads = torch.autograd.grad(found, xs, create_graph=True)
            along = inputs(case, seed=50 + 10 * order)
            found = sum((v * g).sum() for v, g in zip(along, grads, strict=True))
        results.append([g.detach() for g in grads])
    assert some_nonzero(results[1])
    same(*results, rtol=1e-8, atol=1e-8)


@each_case
def test_the_graph_of_a_gradient_may_be_kept_and_not_used(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        grads = torch.autograd.grad(number(f)(*xs), xs, create_graph=True)
        results.append([g.detach() for g in grads])
        plain = torch.autograd.grad(number(f)(*xs), xs)
        same([g.detach() for g in grads], list(plain))
        assert not any(g.requires_grad for g in plain)
    same(*results)


@pytest.mark.unsimulated
@each_case
def test_extras_and_all_pass_gradcheck_and_gradgradcheck(case):
    xs = inputs(case, rows=4, requires_grad=True)
    assert torch.autograd.gradcheck(
        case.ours, xs, check_forward_ad=True, check_batched_grad=True, fast_mode=True
    )
    assert torch.autograd.gradcheck(case.ours, xs)
    value = case.ours(*xs)
    grad_output = draw(*value.shape, seed=60).requires_grad_()
    assert torch.autograd.gradgradcheck(
        case.ours, xs, grad_output, check_fwd_over_rev=True, check_batched_grad=True
    )


@each_case
def test_second_derivatives_of_one_input_of_several(case):
    for k in every(case):
        results = []
        for f in (case.ours, case.theirs):
            xs = inputs(case)
            xs[k].requires_grad_()
            (g,) = torch.autograd.grad(number(f)(*xs).square(), xs[k], create_graph=True)
            (h,) = torch.autograd.grad(g.square().sum(), xs[k])
            results.append((g.detach(), h))
        same(*results)


@each_case
def test_one_tensor_may_be_given_twice(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = list(inputs(case, requires_grad=True))
        if case.tensors > 1:
            xs[1] = xs[0]
        wanted = list(dict.fromkeys(xs))
        grads = torch.autograd.grad(number(f)(*xs), wanted, create_graph=True)
        results.append([g.detach() for g in grads])
        if case.tensors == 3:  # of pairs the derivative is 0, but for rounding
            second = torch.autograd.grad(sum(g.square().sum() for g in grads), wanted)
            results[-1] += second
    same(*results)


# --------------------------------------------------------------------------------------------------
# The backward pass
# --------------------------------------------------------------------------------------------------


@each_case
def test_gradients_go_back_in_batches(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        value = f(*xs)
        several = draw(3, *value.shape, seed=70)
        results.append(torch.autograd.grad(value, xs, several, is_grads_batched=True))
        # One by one they are the same.
        again = f(*xs)
        for k, upstream in enumerate(several):
            one = torch.autograd.grad(again, xs, upstream, retain_graph=True)
            same([g[k] for g in results[-1]], list(one))
    same(*results)


UPSTREAM = {
    "0": lambda v: torch.zeros_like(v),
    "1": lambda v: torch.ones_like(v),
    "-1": lambda v: -torch.ones_like(v),
    "-2.5": lambda v: torch.full_like(v, -2.5),
    "tiny": lambda v: torch.full_like(v, 1e-300),
    "huge": lambda v: torch.full_like(v, 1e300),
    "inf": lambda v: torch.full_like(v, torch.inf),
    "NaN": lambda v: torch.full_like(v, torch.nan),
    "any": lambda v: draw(*v.shape, seed=80),
    "expanded": lambda v: torch.tensor(1.5, dtype=F64).expand(v.shape),
    "strided": lambda v: draw(*v.shape, 2, seed=81)[..., 1],
    "negated view": lambda v: torch._neg_view(draw(*v.shape, seed=82)),
    "float32": lambda v: draw(*v.shape, seed=83).float(),
}


@pytest.mark.parametrize("upstream", UPSTREAM.values(), ids=UPSTREAM)
@each_case
def test_any_upstream_gradient_goes_back(case, upstream):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        value = f(*xs)
        try:
            results.append(torch.autograd.grad(value, xs, upstream(value)))
        except RuntimeError as error:  # a dtype that torch refuses, too
            results.append(type(error))
    if isinstance(results[1], type):
        assert results[0] is results[1]
        return
    ours, theirs = results
    for one, other in zip(ours, theirs, strict=True):
        finite = other.isfinite()
        same(one[finite], other[finite])
        if not finite.all():
            # inf - inf and 0 * inf come out as the one or the other, by the order of operations.
            assert not one[~finite].isfinite().any()


@pytest.mark.parametrize("reduce", ["sum", "mean", "pick"])
@each_case
def test_what_follows_the_loss_sends_expanded_gradients(case, reduce):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, requires_grad=True)
        value = f(*xs)
        total = value.reshape(-1)[0] if reduce == "pick" else getattr(value, reduce)()
        results.append(torch.autograd.grad(total, xs))
    assert some_nonzero(results[1])
    same(*results)


@each_case
def test_a_second_backward_pass_adds_the_same_again(case):
    xs = inputs(case, requires_grad=True)
    total = case.ours(*xs).sum()
    expected = torch.autograd.grad(case.theirs(*xs).sum(), xs)
    assert some_nonzero(expected)
    total.backward(retain_graph=True)
    first = [x.grad.clone() for x in xs]
    same(first, list(expected))
    for times in (2, 3):
        total.backward(retain_graph=times == 2)
        for x, g in zip(xs, first, strict=True):
            same(x.grad, times * g)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        total.backward()


@each_case
def test_gradients_that_are_handed_out_do_not_change_the_next(case):
    xs = inputs(case, requires_grad=True)
    total = case.ours(*xs).sum()
    first = torch.autograd.grad(total, xs, retain_graph=True)
    kept = [g.clone() for g in first]
    for g in first:
        g.fill_(torch.nan)
    same(list(torch.autograd.grad(total, xs, retain_graph=True)), kept)
    # Nor does a gradient with another upstream come from those of the first.
    doubled = torch.autograd.grad(total, xs, torch.full_like(total, 2.0), retain_graph=True)
    same(list(doubled), [2 * g for g in kept])
    same(list(torch.autograd.grad(total, xs)), kept)


@each_case
def test_only_what_is_asked_for_comes_back(case):
    for k in every(case):
        xs = inputs(case, requires_grad=True)
        given = torch.autograd.grad(number(case.ours)(*xs), xs[k])
        same(given, torch.autograd.grad(number(case.theirs)(*xs), xs[k]))
        xs = inputs(case)
        xs[k].requires_grad_()
        number(case.ours)(*xs).backward()
        assert [x.grad is not None for x in xs] == [j == k for j in every(case)]
        same(xs[k].grad, given[0])


@each_case
def test_gradients_arrive_through_views_and_hooks(case):
    seen = []
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case, rows=2 * ROWS, requires_grad=True)
        views = [x.flip(0)[::2].clone().mul_(1.5) for x in xs]
        for view in views:
            view.register_hook(lambda g: seen.append(g.shape) or 2 * g)
            view.retain_grad()
        number(f)(*views).backward()
        results.append([*(x.grad for x in xs), *(v.grad for v in views)])
    same(*results)
    assert len(seen) == 2 * len(every(case))


@each_case
def test_the_loss_itself_may_be_changed_in_place(case):
    xs = inputs(case, requires_grad=True)
    expected = case.theirs(*xs) * 3 + 1
    value = case.ours(*xs)
    value.mul_(3).add_(1)
    same(value, expected)
    try:
        given = torch.autograd.grad(value.sum(), xs)
    except RuntimeError as error:  # as with torch's norms, which keep their result
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        same(given, torch.autograd.grad(expected.sum(), xs))


@pytest.mark.parametrize("upstream", [1.0, 0.7])
@each_case
def test_inputs_that_change_before_the_backward_pass_are_noticed(case, upstream):
    expected = torch.autograd.grad(case.theirs(*(xs := inputs(case, requires_grad=True))).sum(), xs)
    for k in every(case):
        xs = inputs(case, requires_grad=True)
        total = case.ours(*xs).sum()
        with torch.no_grad():
            xs[k].mul_(-1.5)
        try:
            given = torch.autograd.grad(total, xs, torch.tensor(upstream, dtype=F64))
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
        else:
            same(list(given), [upstream * g for g in expected])


def test_labels_that_change_before_the_backward_pass_are_noticed():
    x, y = inputs(CASES["cosine_similarity"], requires_grad=True)
    for reduction in ("mean", "none"):
        target = labels(x).clone()
        expected = torch.autograd.grad(
            F.cosine_embedding_loss(x, y, labels(x), reduction=reduction).sum(), (x, y)
        )
        loss = ft.cosine_embedding_loss(x, y, target, reduction=reduction)
        target.neg_()
        try:
            given = torch.autograd.grad(loss.sum(), (x, y))
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
        else:
            same(given, expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("kind", ["list", "array", "labels", "both by fastcos"])
def test_what_is_no_tensor_may_change_before_the_backward_pass(kind, reduction):
    """The gradient is that of the numbers that the loss was computed from."""
    x, y = inputs(CASES["cosine_similarity"], requires_grad=True)
    target, weight = labels(x), draw(ROWS, seed=230).abs()
    function = ft.cosine_embedding_loss
    if kind == "list":
        weight = weight.tolist()
    elif kind == "array":
        weight = weight.numpy()
    else:
        target, function = target.tolist(), fastcos.cosine_embedding_loss
        weight = weight.tolist() if kind == "both by fastcos" else weight
    kept = copy.deepcopy((target, weight))
    loss = function(x, y, target, margin=-0.2, weight=weight, reduction=reduction).sum() * 0.7
    for given in (target, weight):
        if not isinstance(given, torch.Tensor):
            given[:] = [-given[k] for k in range(ROWS)]
    found = loss.detach(), torch.autograd.grad(loss, (x, y))
    target, weight = (torch.as_tensor(given, dtype=F64) for given in kept)
    each = F.cosine_embedding_loss(x, y, target, margin=-0.2, reduction="none")
    right = (weighted_mean(each, weight) if reduction == "mean" else (each * weight).sum()) * 0.7
    # Lists of numbers become tensors of float32.
    same(found, (right.detach(), torch.autograd.grad(right, (x, y))), rtol=1e-6, atol=1e-7)


@each_case
def test_what_was_saved_is_let_go_with_the_graph(case):
    """At once: a cycle of references would keep a batch until the next collection."""
    xs = inputs(case, requires_grad=True)
    for backward in (True, False):
        rows = [2 * x for x in xs]
        alive = [weakref.ref(r) for r in rows]
        total = case.ours(*rows).sum()
        gc.disable()
        try:
            if backward:
                del rows
                total.backward()
            else:
                del rows, total
            assert not any(ref() is not None for ref in alive)
        finally:
            gc.enable()


# --------------------------------------------------------------------------------------------------
# What autograd is told
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upstream", [1.0, -0.3])
@each_case
def test_a_checkpoint_computes_again_what_it_threw_away(case, upstream):
    calls = []

    def counted(*xs):
        calls.append(1)
        return case.ours(*xs) ** 2

    xs = inputs(case, requires_grad=True)
    value = torch.utils.checkpoint.checkpoint(counted, *xs, use_reentrant=False)
    given = torch.autograd.grad(value.sum(), xs, torch.tensor(upstream, dtype=F64))
    expected = torch.autograd.grad((case.theirs(*xs) ** 2).sum(), xs)
    same(list(given), [upstream * g for g in expected])
    assert len(calls) == 2


def held():
    """Bytes of the tensors that there are."""
    gc.collect()
    storages = [t.untyped_storage() for t in gc.get_objects() if type(t) is torch.Tensor]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def by_checkpoint(f, *xs):
    options = {"use_reentrant": False, "preserve_rng_state": False}
    return torch.utils.checkpoint.checkpoint(f, *xs, **options)


def by_reentrant_checkpoint(f, *xs):
    options = {"use_reentrant": True, "preserve_rng_state": False}
    return torch.utils.checkpoint.checkpoint(f, *xs, **options)


def by_nested_checkpoints(f, *xs):
    return by_checkpoint(lambda *ys: by_checkpoint(f, *ys), *xs)


def by_hooks(f, *xs):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        return f(*xs)


WAYS = (by_checkpoint, by_reentrant_checkpoint, by_nested_checkpoints, by_hooks)


@pytest.mark.unsimulated
@pytest.mark.parametrize(
    "name",
    [
        "cosine_embedding-mean",
        "cosine_embedding-none",
        "cosine_embedding-extras",
        "triplet-mean",
        "distance-callable",
        "hinge-mean",
    ],
)
def test_checkpoints_and_hooks_hold_no_gradients(name, request):
    case = CASES[name]
    gc.collect()
    gc.freeze()  # or all that was imported would be looked through each time
    request.addfinalizer(gc.unfreeze)
    xs, _labels = inputs(case, rows=32, requires_grad=True), LABELS[:]  # both there before
    for way in WAYS:
        for upstream in (1.0, 0.7):  # what a forward pass may know, and what it does not
            before = held()
            value = way(case.ours, *xs)
            more = held() - before - value.nbytes
            # What a callable computes on the way is saved by torch.
            assert more < xs[0].nbytes // 2 or (way, name) == (by_hooks, "distance-callable")
            value.backward(torch.full_like(value, upstream))
            given = [x.grad for x in xs]
            for x in xs:
                x.grad = None
            right = case.theirs(*xs)
            same(given, list(torch.autograd.grad(right, xs, torch.full_like(right, upstream))))


@pytest.mark.parametrize("name", ["cosine_embedding-mean", "triplet-mean"])
def test_the_forward_pass_makes_gradients_where_nothing_is_packed(name, monkeypatch):
    case, made = CASES[name], []
    executed = autograd._executed

    def noted(known, *rest):
        made.append(bool(known.plan.order))
        return executed(known, *rest)

    monkeypatch.setattr(autograd, "_executed", noted)
    xs = inputs(case, requires_grad=True)
    expected = torch.autograd.grad(case.theirs(*xs), xs)
    graph = torch.autograd.graph
    for wanted, mode in (
        (True, contextlib.nullcontext()),
        (True, graph.disable_saved_tensors_hooks("not here")),
        (False, graph.save_on_cpu()),
        (False, graph.saved_tensors_hooks(torch.Tensor.float, torch.Tensor.double)),
        (True, contextlib.nullcontext()),
    ):
        made.clear()
        with mode:
            value = case.ours(*xs)
        assert made == [wanted]
        for _ in range(2):
            given = torch.autograd.grad(value, xs, retain_graph=True)
            same(given, expected, rtol=1e-5, atol=1e-6)
            for g in given:  # they are the caller's
                g.zero_()


@each_case
def test_what_is_saved_goes_through_the_hooks(case):
    packed, unpacked = [], []

    def pack(t):
        packed.append(t)
        return t.detach().clone()

    def unpack(t):
        unpacked.append(t)
        return t

    xs = inputs(case, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        value = case.ours(*xs)
    given = torch.autograd.grad(value, xs, draw(*value.shape, seed=90))
    expected = torch.autograd.grad(case.theirs(*xs), xs, draw(*value.shape, seed=90))
    same(given, expected)
    assert packed
    assert unpacked


@each_case
def test_what_is_saved_may_wait_elsewhere(case):
    xs = inputs(case, requires_grad=True)
    with torch.autograd.graph.save_on_cpu():
        total = number(case.ours)(*xs)
    same(torch.autograd.grad(total, xs), torch.autograd.grad(number(case.theirs)(*xs), xs))


@pytest.mark.filterwarnings("ignore:Anomaly Detection has:UserWarning")
@pytest.mark.filterwarnings("ignore:Error detected in:UserWarning")
@each_case
def test_anomaly_mode_finds_nothing_in_sound_numbers_and_nan_in_others(case):
    with torch.autograd.detect_anomaly():
        xs = inputs(case, requires_grad=True)
        given = torch.autograd.grad(number(case.ours)(*xs), xs)
        same(given, torch.autograd.grad(number(case.theirs)(*xs), xs))
        value = case.ours(*xs)
        value = value.sum() if value.ndim else value
        with pytest.raises(RuntimeError, match="returned nan values"):
            value.backward(torch.full_like(value, torch.nan))


@each_case
def test_nothing_is_recorded_without_gradients(case):
    expected = case.theirs(*inputs(case))
    with torch.no_grad():
        value = case.ours(*inputs(case, requires_grad=True))
    assert not value.requires_grad
    assert value.grad_fn is None
    same(value, expected)
    value = case.ours(*inputs(case))
    assert not value.requires_grad
    xs = inputs(case, requires_grad=True)
    with torch.no_grad(), torch.enable_grad():
        value = case.ours(*xs)
    assert value.requires_grad
    same(value.detach(), expected)
    assert value.is_leaf is False


@each_case
def test_inference_mode_gives_inference_tensors(case):
    with torch.inference_mode():
        xs = inputs(case)
        value = case.ours(*xs)
        assert value.is_inference()
        assert not value.requires_grad
        same(value, case.theirs(*xs))
    same(case.ours(*xs).clone(), value.clone())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(every(case)) > 1])
def test_inference_tensors_beside_a_gradient_do_what_they_do_in_torch(name):
    case = CASES[name]
    with torch.inference_mode():
        xs = inputs(case)
    results = []
    for f in (case.ours, case.theirs):
        first = inputs(case, requires_grad=True)[0]
        try:
            results.append(torch.autograd.grad(f(first, *xs[1:]).sum(), first))
        except RuntimeError as error:
            results.append(str(error))
    if isinstance(results[1], str):
        assert results[0] == results[1]
        assert "Inference tensors cannot be saved" in results[0]
    else:
        same(*results)


@pytest.mark.unsimulated
@each_case
def test_several_threads_go_back_through_graphs_of_their_own(case):
    xs = inputs(case, requires_grad=True)
    expected = torch.autograd.grad(number(case.theirs)(*xs), xs)
    found = [None] * 4

    def work(k):
        for _ in range(5):
            mine = [x.detach().requires_grad_() for x in xs]
            found[k] = torch.autograd.grad(number(case.ours)(*mine), mine)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for given in found:
        same(given, expected)


# --------------------------------------------------------------------------------------------------
# Compiling, exporting, tracing
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    """The compiler with nothing compiled, before and after."""
    torch._dynamo.reset()
    yield importlib.import_module("torch._dynamo.testing")
    torch._dynamo.reset()


@pytest.mark.unsimulated
@pytest.mark.parametrize("dynamic", [False, True])
@few_cases
def test_compiles_into_one_graph_for_all_sizes(case, dynamic, dynamo):
    counter = dynamo.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(case.ours, fullgraph=True, backend=counter, dynamic=dynamic)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed, rows in enumerate((5, 8, 11) if dynamic else (5, 5)):
            xs = inputs(case, rows=rows, seed=10 * seed, requires_grad=True)
            value, expected = compiled(*xs), case.theirs(*xs)
            same(value, expected)
            upstream = draw(*value.shape, seed=100)
            grads = torch.autograd.grad(value, xs, upstream)
            same(grads, torch.autograd.grad(expected, xs, upstream))
    assert counter.frame_count


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", ["CosineEmbeddingLoss", "TripletMarginLoss", "HingeEmbeddingLoss"])
def test_modules_compile_into_one_graph_with_their_network(name, dynamo):
    counter = dynamo.CompileCounterWithBackend("aot_eager")
    results = []
    for kind in (ft, torch.nn):
        network = torch.nn.Linear(COLUMNS, 3, dtype=F64)
        with torch.no_grad():
            network.weight.copy_(draw(3, COLUMNS, seed=110))
            network.bias.copy_(draw(3, seed=111))
        loss = getattr(kind, name)(margin=0.9)

        def step(x, y, network=network, loss=loss):
            a, b = network(x), network(y)
            if name == "TripletMarginLoss":
                return loss(a, b, a.flip(0))
            if name == "HingeEmbeddingLoss":
                return loss((a - b).square().sum(-1), labels(x))
            return loss(a, b, labels(x))

        if kind is ft:
            step = torch.compile(step, fullgraph=True, backend=counter)
        step(*inputs(CASES["cosine_similarity"])).backward()
        results.append([network.weight.grad, network.bias.grad])
    assert some_nonzero(results[1])
    same(*results)
    assert counter.frame_count == 1


@pytest.mark.unsimulated
def test_without_gradients_a_compiled_loss_is_one_graph_too(dynamo):
    counter = dynamo.CompileCounterWithBackend("eager")
    for name in FEW:
        case = CASES[name]
        counter.clear()
        compiled = torch.compile(case.ours, fullgraph=True, backend=counter)
        xs = inputs(case)
        with torch.no_grad():
            same(compiled(*xs), case.theirs(*xs))
        assert counter.frame_count == 1


class Exported(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *xs):
        return self.f(*xs)


@pytest.mark.unsimulated
@few_cases
def test_exports_and_runs_on_other_numbers(case):
    program = torch.export.export(Exported(case.ours), inputs(case), strict=False)
    for seed in (0, 120):
        xs = inputs(case, seed=seed)
        same(program.module()(*xs), case.theirs(*xs))


@pytest.mark.unsimulated
def test_exports_with_a_batch_of_any_size():
    case = CASES["triplet-swap-none"]
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(
        Exported(case.ours), inputs(case), strict=False, dynamic_shapes=(({0: rows},) * 3,)
    )
    for size in (3, 17):
        xs = inputs(case, rows=size, seed=130)
        same(program.module()(*xs), case.theirs(*xs))


@pytest.mark.unsimulated
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@each_case
def test_a_graph_of_operators_computes_and_remembers_nothing(case, mode):
    from torch.fx.experimental.proxy_tensor import make_fx

    def value_and_gradients(*xs):
        xs = [x.detach().requires_grad_() for x in xs]
        total = number(case.ours)(*xs)
        return total.detach(), torch.autograd.grad(total, xs)

    # The labels of the cases are constants.
    graph = make_fx(value_and_gradients, tracing_mode=mode, _allow_non_fake_inputs=True)(
        *inputs(case)
    )
    xs = inputs(case, seed=140, requires_grad=True)
    total = number(case.theirs)(*xs)
    expected = total.detach(), torch.autograd.grad(total, xs)
    same(graph(*(x.detach() for x in xs)), expected)


@pytest.mark.unsimulated
@each_case
def test_a_trace_computes_and_remembers_nothing(case):
    traced = torch.jit.trace(case.ours, inputs(case), check_trace=False)
    xs = inputs(case, seed=150, requires_grad=True)
    value, expected = traced(*xs), case.theirs(*xs)
    same(value, expected)
    upstream = draw(*value.shape, seed=151)
    same(torch.autograd.grad(value, xs, upstream), torch.autograd.grad(expected, xs, upstream))


SCRIPTABLE = {
    "CosineEmbeddingLoss": ({"margin": 0.2, "reduction": "none"}, 2, True),
    "CosineSimilarity": ({"dim": 1, "eps": 1e-3}, 2, False),
    "PairwiseDistance": ({"p": 3.0, "keepdim": True}, 2, False),
    "TripletMarginLoss": ({"p": 1.0, "swap": True, "reduction": "sum"}, 3, False),
    "HingeEmbeddingLoss": ({"margin": 0.5}, 1, True),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", SCRIPTABLE)
def test_modules_that_torch_can_script_can_be_scripted(name):
    kwargs, count, labelled = SCRIPTABLE[name]
    scripted = torch.jit.script(getattr(ft, name)(**kwargs))
    theirs = getattr(torch.nn, name)(**kwargs)
    shape = (ROWS,) if count == 1 else (ROWS, COLUMNS)
    xs = [draw(*shape, seed=160 + k).requires_grad_() for k in range(count)]
    rest = [labels(xs[0])] if labelled else []
    value, expected = scripted(*xs, *rest), theirs(*xs, *rest)
    same(value, expected)
    upstream = draw(*value.shape, seed=161)
    same(torch.autograd.grad(value, xs, upstream), torch.autograd.grad(expected, xs, upstream))


#: What torch's own modules do not have, in a script too.
EXTRAS = {
    "CosineEmbeddingLoss": ({"margin": -0.2}, 2, True),
    "CosineEmbeddingLoss pos_margin": ({"margin": -0.2, "pos_margin": 0.6}, 2, True),
    "CosineEmbeddingLoss whole": ({"margin": 0.0, "pos_margin": 0}, 2, True),
    "TripletMarginLoss": ({"p": 3.0, "swap": True}, 3, False),
    "HingeEmbeddingLoss": ({"margin": 0.5}, 1, True),
}


@pytest.mark.unsimulated
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", EXTRAS)
def test_a_scripted_module_has_the_options_that_torch_lacks(name, reduction):
    kwargs, count, labelled = EXTRAS[name]
    eager = getattr(ft, name.split()[0])(**kwargs, reduction=reduction)
    scripted = torch.jit.script(eager)
    shape = (ROWS,) if count == 1 else (ROWS, COLUMNS)
    each = draw(ROWS, seed=169).abs()
    for weight in (None, each, torch.arange(ROWS), torch.tensor(0.3), torch.zeros(1)):
        xs = [draw(*shape, seed=160 + k).requires_grad_() for k in range(count)]
        rest = [labels(xs[0])] if labelled else []
        value, expected = scripted(*xs, *rest, weight), eager(*xs, *rest, weight)
        same(value, expected)
        upstream = draw(*value.shape, seed=161)
        grads = torch.autograd.grad(expected, xs, upstream)
        assert some_nonzero(grads) or not weight.any()
        same(torch.autograd.grad(value, xs, upstream), grads)


@pytest.mark.unsimulated
def test_a_scripted_module_refuses_a_reduction_that_is_none():
    module = ft.HingeEmbeddingLoss()
    module.reduction = "median"  # its constructor would refuse it
    scripted = torch.jit.script(module)
    for weight in (None, torch.ones(ROWS)):
        with pytest.raises(torch.jit.Error, match="median is not a valid value for reduction"):
            scripted(draw(ROWS), LABELS[:ROWS], weight)


@pytest.mark.unsimulated
def test_a_distance_that_is_an_option_cannot_be_scripted_as_in_torch():
    """An error, and no other distance in its place."""
    with pytest.raises(torch.jit.frontend.NotSupportedError, match="keyword-only"):
        torch.jit.script(ft.TripletMarginWithDistanceLoss(distance_function="cosine"))


@pytest.mark.unsimulated
def test_a_network_with_a_loss_inside_can_be_scripted():
    class Model(torch.nn.Module):
        def __init__(self, loss):
            super().__init__()
            self.linear = torch.nn.Linear(COLUMNS, 3, dtype=F64)
            self.loss = loss

        def forward(self, a, p, n):
            return self.loss(self.linear(a), self.linear(p), self.linear(n))

    model = Model(ft.TripletMarginLoss(margin=2.0))
    xs = inputs(CASES["triplet-mean"])
    expected = copy.deepcopy(model)
    expected.loss = torch.nn.TripletMarginLoss(margin=2.0)
    same(torch.jit.script(model)(*xs), expected(*xs))


# --------------------------------------------------------------------------------------------------
# Tensors without numbers, and tensors that are not what they seem
# --------------------------------------------------------------------------------------------------

#: Without constants of their own, which are real tensors.
UNLABELLED = [name for name, case in CASES.items() if case.tensors > 1 and "embedding" not in name]


def labelled(kind, reduction):
    return {
        "cosine": lambda x, y, t: kind.cosine_embedding_loss(x, y, t, reduction=reduction),
        "hinge": lambda x, y, t: kind.hinge_embedding_loss(x[:, 0] * y[:, 0], t, 1.0),
    }


def without_numbers(name):
    """Ours, theirs and the inputs, where all tensors may be of one unreal kind."""
    if name in CASES:
        return CASES[name].ours, CASES[name].theirs, inputs(CASES[name])
    what, reduction = name.split()
    ours, theirs = (labelled(kind, reduction)[what] for kind in (ft, F))
    xs = inputs(CASES["cosine_similarity"])
    return ours, theirs, (*xs, labels(xs[0]))


unreal = pytest.mark.parametrize("name", [*UNLABELLED, "cosine mean", "cosine none", "hinge sum"])


def same_outside(given, expected):
    assert type(given) is type(expected)
    assert given.shape == expected.shape
    assert given.dtype is expected.dtype
    assert given.device == expected.device
    assert given.requires_grad == expected.requires_grad


@pytest.mark.unsimulated
@unreal
def test_meta_tensors_have_shapes_and_dtypes(name):
    ours, theirs, xs = without_numbers(name)
    for dtype in (F64, torch.float32, torch.bfloat16):
        results = []
        for f in (ours, theirs):
            mine = [x.to("meta", dtype).requires_grad_() for x in xs]
            value = f(*mine)
            assert value.is_meta
            grads = torch.autograd.grad(value.sum(), mine, allow_unused=True)
            results.append([value, *(g for g in grads if g is not None)])
        for one, other in zip(*results, strict=True):
            same_outside(one, other)


@pytest.mark.unsimulated
@unreal
def test_fake_tensors_have_shapes_and_dtypes(name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    ours, theirs, xs = without_numbers(name)
    results = []
    for f in (ours, theirs):
        with FakeTensorMode() as mode:
            mine = [mode.from_tensor(x).detach().requires_grad_() for x in xs]
            value = f(*mine)
            grads = torch.autograd.grad(value.sum(), mine, allow_unused=True)
            results.append([value, *(g for g in grads if g is not None)])
    for one, other in zip(*results, strict=True):
        same_outside(one, other)
    # Outside of their mode too, where torch can.
    mine = [x.detach() for x in mine]
    try:
        expected = theirs(*mine)
    except AssertionError:
        assert name in ("cosine_similarity", "distance-extras")
    else:
        same_outside(ours(*mine), expected)


@each_case
def test_numbers_are_computed_while_the_default_device_is_another(case):
    xs = inputs(case, requires_grad=True)
    expected = case.theirs(*xs)
    upstream = draw(*expected.shape, seed=170)
    with torch.device("meta"):
        value = case.ours(*xs)
        grads = torch.autograd.grad(value, xs, upstream)
    assert not value.is_meta
    same(value, expected)
    same(grads, torch.autograd.grad(expected, xs, upstream))


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, torch.float32) for case in CASES.values()),
        *((CASES[name], torch.bfloat16) for name in FEW),
    ],
    ids=[*CASES, *(f"{name}-bfloat16" for name in FEW)],
)
def test_the_default_dtype_is_nobodys_business(case, dtype):
    def run(f):
        xs = inputs(case, dtype=dtype, requires_grad=True)
        value = f(*xs)
        return [value, *torch.autograd.grad(value.sum(), xs)]

    expected = run(case.ours)
    torch.set_default_dtype(F64)
    try:
        given = run(case.ours)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(given, expected, strict=True):
        assert torch.equal(one, other)
        assert one.dtype is other.dtype


@each_case
def test_views_that_are_negated_when_read(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = inputs(case)
        parts = [torch.complex(torch.ones_like(x), -x).requires_grad_() for x in xs]
        views = [z.conj().imag for z in parts]
        assert all(v.is_neg() for v in views)
        value = f(*views)
        upstream = draw(*value.shape, seed=180)
        results.append([value, *torch.autograd.grad(value, parts, upstream)])
        # Without a graph too, and one of them alone.
        detached = [v.detach() for v in views]
        results[-1] += [f(*detached), f(detached[0], *xs[1:]), f(*xs[:-1], detached[-1])]
    same(*results)
    same(results[0][0], case.theirs(*inputs(case)))


@each_case
def test_tensors_that_are_zero_without_memory(case):
    xs = inputs(case)
    zero = torch._efficientzerotensor(xs[0].shape, dtype=F64)
    for k in range(case.tensors):
        mixed = [*xs[:k], zero, *xs[k + 1 :]]
        same(case.ours(*mixed), case.theirs(*mixed))


class Marked(torch.Tensor):
    """A subclass that only has a name."""


@each_case
def test_a_subclass_stays_what_it_is(case):
    results = []
    for f in (case.ours, case.theirs):
        xs = [x.as_subclass(Marked).requires_grad_() for x in inputs(case)]
        value = f(*xs)
        assert type(value) is Marked
        grads = torch.autograd.grad(value.sum(), xs)
        results.append([value, *grads])
        for k in every(case):
            some = [x.as_subclass(Marked) if j == k else x for j, x in enumerate(inputs(case))]
            assert type(f(*some)) is Marked
    for one, other in zip(*results, strict=True):
        assert type(one) is type(other)
        same(one, other)


class Seen(torch.Tensor):
    """A subclass that hears of the calls made on it."""

    calls: tuple = ()

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls += (func,)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.unsimulated
@pytest.mark.parametrize("name", ["cosine_embedding-mean", "triplet-mean", "hinge-mean"])
def test_a_subclass_hears_of_the_call_that_torch_would_make(name):
    case = CASES[name]
    Seen.calls = ()
    case.theirs(*(x.as_subclass(Seen) for x in inputs(case)))
    expected, Seen.calls = Seen.calls, ()
    case.ours(*(x.as_subclass(Seen) for x in inputs(case)))
    operators = {F.cosine_embedding_loss, F.triplet_margin_loss, F.hinge_embedding_loss}
    assert [f for f in expected if f in operators]
    assert [f for f in Seen.calls if f in operators] == [f for f in expected if f in operators]


@each_case
def test_a_wrapper_of_tensors_stays_what_it_is(case):
    from torch.testing._internal.two_tensor import TwoTensor

    results = []
    for f in (case.ours, case.theirs):
        xs = zip(inputs(case), inputs(case, seed=190), strict=True)
        xs = [TwoTensor(*pair).requires_grad_() for pair in xs]
        value = f(*xs)
        assert type(value) is TwoTensor
        grads = torch.autograd.grad(value.sum(), xs)
        results.append([t for both in (value, *grads) for t in (both.a, both.b)])
    same(*results)


@each_case
def test_a_mode_that_watches_operators_changes_nothing(case):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    xs = inputs(case, requires_grad=True)
    with Watching() as mode:
        value = case.ours(*xs)
        assert mode.calls
        grads = torch.autograd.grad(value.sum(), xs)
    same(value, case.theirs(*xs))
    same(grads, torch.autograd.grad(case.theirs(*xs).sum(), xs))


# --------------------------------------------------------------------------------------------------
# Autocast
# --------------------------------------------------------------------------------------------------

#: These compute half types in float32 under autocast, and return it.
RAISED = {"cosine_embedding_loss": 2, "triplet_margin_loss": 3, "hinge_embedding_loss": 1}
#: These know nothing of it on the CPU.
KEPT = {"cosine_similarity": 2, "pairwise_distance": 2, "triplet_margin_with_distance_loss": 3}


def autocast_call(kind, name, xs, **kwargs):
    rest = [labels(xs[0])] if name.endswith("embedding_loss") else []
    return getattr(kind, name)(*xs, *rest, **kwargs)


def autocast_inputs(name, dtype):
    count = {**RAISED, **KEPT}[name]
    shape = (7,) if count == 1 else (7, 40)
    return [draw(*shape, seed=200 + k, dtype=dtype).requires_grad_() for k in range(count)]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("cast_to", HALVES, ids=str)
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, F64], ids=str)
@pytest.mark.parametrize("name", [*RAISED, *KEPT])
def test_autocast_computes_in_what_torch_computes_in(name, dtype, cast_to, reduction):
    kwargs = {"reduction": reduction} if name.endswith("loss") else {}
    xs = autocast_inputs(name, dtype)
    with torch.autocast(devices.place(), dtype=cast_to):
        value = autocast_call(ft, name, xs, **kwargs)
        theirs = autocast_call(F, name, xs, **kwargs)
    raised = (name in RAISED or devices.place() == "cuda") and dtype in HALVES
    assert value.dtype is theirs.dtype
    assert value.dtype is (torch.float32 if raised else dtype)
    wide = [x.detach().double().requires_grad_() for x in xs]
    exact = autocast_call(F, name, wide, **kwargs)
    if value.dtype in HALVES:
        same(value.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)
    else:
        # Not rounded to a half type on the way.
        same(value.double(), exact, rtol=1e-6, atol=1e-6)
    upstream = draw(*value.shape, seed=210, dtype=value.dtype)
    grads = torch.autograd.grad(value, xs, upstream)
    expected = torch.autograd.grad(exact, wide, upstream.double())
    for grad, right in zip(grads, expected, strict=True):
        assert grad.dtype is dtype
        eps = torch.finfo(dtype).eps
        same(grad.double(), right, rtol=2 * eps, atol=max(1e-7, eps * right.abs().max().item() / 8))


@pytest.mark.parametrize("name", RAISED)
def test_autocast_that_is_off_changes_nothing(name):
    xs = autocast_inputs(name, torch.bfloat16)
    plain = autocast_call(ft, name, xs)
    assert plain.dtype is torch.bfloat16
    with torch.autocast(devices.place()):
        assert autocast_call(ft, name, xs).dtype is torch.float32
        with torch.autocast(devices.place(), enabled=False):
            assert torch.equal(autocast_call(ft, name, xs), plain)


@pytest.mark.parametrize("name", ["cosine_embedding_loss", "triplet_margin_loss"])
@pytest.mark.parametrize("other", [torch.float32, torch.float16, F64], ids=str)
def test_autocast_of_mixed_dtypes_gives_what_torch_gives(name, other):
    xs = autocast_inputs(name, torch.bfloat16)
    xs[1] = xs[1].detach().to(other).requires_grad_()
    with torch.autocast(devices.place()):
        value, theirs = (autocast_call(kind, name, xs) for kind in (ft, F))
    assert value.dtype is theirs.dtype
    same(value, theirs, rtol=1e-5, atol=1e-6)
    for x, grad in zip(xs, torch.autograd.grad(value, xs), strict=True):
        assert grad.dtype is x.dtype


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("cosine_embedding_loss", {"pos_margin": 0.7}),
        ("cosine_embedding_loss", {"weight": True}),
        ("triplet_margin_loss", {"weight": True}),
        ("hinge_embedding_loss", {"weight": True}),
    ],
)
def test_autocast_treats_the_extras_alike(name, extras):
    xs = autocast_inputs(name, torch.bfloat16)
    if "weight" in extras:
        extras = {"weight": draw(7, seed=220).abs().float()}
    with torch.autocast(devices.place()):
        value = autocast_call(ft, name, xs, **extras)
    assert value.dtype is torch.float32
    wide = [x.detach().double().requires_grad_() for x in xs]
    exact = autocast_call(ft, name, wide, **extras)
    same(value.double(), exact, rtol=1e-6, atol=1e-6)
    grads = torch.autograd.grad(value, xs)
    for grad, right in zip(grads, torch.autograd.grad(exact, wide), strict=True):
        assert grad.dtype is torch.bfloat16
        same(grad.double(), right, rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("name", RAISED)
def test_autocast_has_second_derivatives(name):
    xs = autocast_inputs(name, torch.bfloat16)
    with torch.autocast(devices.place()):
        value = autocast_call(ft, name, xs) ** 2
        grads = torch.autograd.grad(value, xs, create_graph=True)
        total = sum(g.float().square().sum() for g in grads)
    wide = [x.detach().double().requires_grad_() for x in xs]
    exact = autocast_call(F, name, wide) ** 2
    right = torch.autograd.grad(exact, wide, create_graph=True)
    expected = torch.autograd.grad(sum(g.square().sum() for g in right), wide)
    for given, other in zip(torch.autograd.grad(total, xs), expected, strict=True):
        assert given.dtype is torch.bfloat16
        scale = other.abs().max().item()
        same(given.double(), other, rtol=0.05, atol=0.02 * scale)
