"""Rows of a table that is a tensor: the table is the leaf, as it is of torch's own indexing."""

import functools
import gc
import weakref

import numpy as np
import pytest

import fastcos

torch = pytest.importorskip("torch", reason="no torch here")
F = torch.nn.functional
ft = pytest.importorskip("fastcos.adapters.torch")

ROWS, FEATURES, SAMPLES = 23, 19, 90
# Of the largest gradient of a row, which is rounded once from float64.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-7, torch.bfloat16: 2**-7, torch.float16: 2e-3}


@pytest.fixture
def given(rng):
    """A table in float64, three lists of its rows, and labels."""
    table = torch.from_numpy(rng.standard_normal((ROWS, FEATURES)))
    lists = [torch.from_numpy(rng.integers(-ROWS, ROWS, SAMPLES)) for _ in range(3)]
    return table, lists, torch.from_numpy(rng.choice([-1, 1], SAMPLES))


LOSSES = {
    "cosine_embedding": lambda m, a, p, n, y: m.cosine_embedding_loss(a, p, y, margin=0.2),
    "triplet": lambda m, a, p, n, y: m.triplet_margin_loss(a, p, n, margin=0.7),
    "swap": lambda m, a, p, n, y: m.triplet_margin_loss(a, p, n, margin=0.7, swap=True),
    "cosine_similarity": lambda m, a, p, n, y: m.cosine_similarity(a, p),
    "distance": lambda m, a, p, n, y: m.paired_distance(a, p, "manhattan"),
}


def gradient(loss, table, lists, labels, look_up, dtype):
    """The loss, and the gradient of a leaf of that dtype, for upstream gradients of 2 to 8."""
    leaf = table.detach().to(dtype).requires_grad_()
    value = loss(fastcos, *(look_up(leaf, index) for index in lists), labels)
    upstream = (2 + torch.arange(value.numel()) % 7).reshape(value.shape).to(value)
    (grad,) = torch.autograd.grad(value, leaf, upstream)
    return value.detach(), grad


# Half types by one loss, for the time it takes to compile them.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for dtype in TOLERANCE for name in LOSSES if dtype.itemsize > 2 or "_e" in name],
)
def test_gradients_are_those_of_copies_in_float64(name, dtype, given):
    table, lists, labels = given
    table = table.to(dtype).double()
    loss = LOSSES[name]
    copies = gradient(loss, table, lists, labels, lambda t, i: t[i], torch.float64)
    named = torch.cat(lists if name in ("triplet", "swap") else lists[:2]).remainder(ROWS).unique()
    for sparse in (False, True):
        look_up = functools.partial(fastcos.rows, sparse=sparse)
        value, grad = gradient(loss, table, lists, labels, look_up, dtype)
        assert value.dtype == grad.dtype == dtype
        assert (value.double() - copies[0]).abs().max() <= TOLERANCE[dtype] * copies[0].abs().max()
        assert grad.is_sparse == sparse
        if sparse:
            assert grad.is_coalesced()
            assert torch.equal(grad.indices()[0], named)
            grad = grad.to_dense()
        error = (grad.double() - copies[1]).abs().max()
        assert error <= TOLERANCE[dtype] * copies[1].abs().max()


def test_one_backward_pass_may_follow_another(given):
    table, (i, j, _), labels = given
    leaf = table.clone().requires_grad_()
    loss = fastcos.cosine_embedding_loss(fastcos.rows(leaf, i), fastcos.rows(leaf, j), labels)
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (second,) = torch.autograd.grad(loss, leaf, 2 * torch.ones_like(loss))
    assert torch.allclose(second, 2 * first, rtol=1e-14)


def test_a_table_that_is_changed_before_the_backward_pass_is_an_error(given):
    table, (i, j, _), _ = given
    leaf = table.clone().requires_grad_()
    each = fastcos.cosine_similarity(fastcos.rows(leaf, i), fastcos.rows(leaf, j))
    with torch.no_grad():
        leaf += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        each.sum().backward()


def test_rows_of_what_was_computed(given):
    table, (i, j, _), labels = given
    weight = torch.eye(FEATURES, dtype=torch.float64).requires_grad_()
    hidden = table @ weight
    fastcos.cosine_embedding_loss(
        fastcos.rows(hidden, i), fastcos.rows(hidden, j), labels, margin=0.2
    ).backward()
    found, weight.grad = weight.grad, None
    hidden = table @ weight
    F.cosine_embedding_loss(hidden[i], hidden[j], labels, margin=0.2).backward()
    assert torch.allclose(found, weight.grad, rtol=1e-10, atol=1e-14)


def test_a_table_beside_tensors_with_gradients_of_their_own(given):
    table, (i, j, k), _ = given
    leaf, other = table.clone().requires_grad_(), table[j].clone().requires_grad_()
    loss = fastcos.triplet_margin_loss(fastcos.rows(leaf, i), other, fastcos.rows(table, k))
    grads = torch.autograd.grad(loss, (leaf, other))
    expected = fastcos.triplet_margin_loss(leaf[i], other, table[k])
    for grad, exact in zip(grads, torch.autograd.grad(expected, (leaf, other)), strict=True):
        assert torch.allclose(grad, exact, rtol=1e-13, atol=1e-15)


def test_an_optimizer_of_sparse_gradients_changes_the_rows_that_are_named(given):
    table, (i, j, _), _ = given
    parameter = torch.nn.Parameter(table.clone())
    optimizer = torch.optim.SparseAdam([parameter], lr=0.1)
    i, j = i[:4], j[:4]
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        pairs = (fastcos.rows(parameter, index, sparse=True) for index in (i, j))
        loss = fastcos.cosine_distance_loss(*pairs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    named = torch.zeros(ROWS, dtype=torch.bool)
    named[torch.cat([i, j])] = True
    assert (parameter[named] != table[named]).any(dim=1).all()
    assert torch.equal(parameter[~named], table[~named])


def test_sparse_gradients_are_what_sgd_takes(given):
    table, (i, j, _), labels = given
    dense, sparse = (torch.nn.Parameter(table.clone()) for _ in range(2))
    for parameter in (dense, sparse):
        optimizer = torch.optim.SGD([parameter], lr=0.5)
        pairs = (fastcos.rows(parameter, index, parameter is sparse) for index in (i, j))
        fastcos.cosine_embedding_loss(*pairs, labels).backward()
        optimizer.step()
    assert torch.allclose(dense, sparse, rtol=1e-15)


DROP_INS = {
    "cosine_embedding_loss": lambda a, p, n, y: ft.cosine_embedding_loss(a, p, y, 0.2),
    "CosineEmbeddingLoss": lambda a, p, n, y: ft.CosineEmbeddingLoss(0.2)(a, p, y),
    "size_average": lambda a, p, n, y: ft.cosine_embedding_loss(a, p, y, size_average=False),
    "triplet_margin_loss": lambda a, p, n, y: ft.triplet_margin_loss(a, p, n),
    "cosine": lambda a, p, n, y: ft.triplet_margin_with_distance_loss(
        a, p, n, distance_function="cosine"
    ),
    "callable": lambda a, p, n, y: ft.triplet_margin_with_distance_loss(
        a, p, n, distance_function=lambda x, y: (x - y).abs().sum(-1)
    ),
    "cosine_similarity": lambda a, p, n, y: ft.cosine_similarity(a, p).sum(),
    "pairwise_distance": lambda a, p, n, y: ft.pairwise_distance(a, p).sum(),
}


@pytest.mark.filterwarnings("ignore:size_average")
@pytest.mark.parametrize("name", DROP_INS)
def test_drop_ins_take_rows(name, given):
    table, lists, labels = given
    found = []
    for look_up in (fastcos.rows, lambda table, index: table[index]):
        leaf = table.clone().requires_grad_()
        loss = DROP_INS[name](*(look_up(leaf, index) for index in lists), labels)
        found.append((loss, *torch.autograd.grad(loss, leaf)))
    (value, grad), (exact, exact_grad) = found
    assert torch.allclose(value, exact, rtol=1e-14)
    assert torch.allclose(grad, exact_grad, rtol=1e-12, atol=1e-15)


def test_drop_ins_have_second_derivatives(given):
    table, (i, j, _), _ = given
    leaf = table[:, :4].clone().requires_grad_()

    def loss(table):
        return ft.pairwise_distance(fastcos.rows(table, i[:9]), fastcos.rows(table, j[:9])).sum()

    assert torch.autograd.gradcheck(loss, leaf)
    assert torch.autograd.gradgradcheck(loss, leaf)


@pytest.mark.host  # on a GPU nobody looks, and the loss of the sample is NaN
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (torch.tensor([0, 23]), IndexError, "index is 23 at position 1, the table has 23 rows"),
        (torch.tensor([[0], [-24]]), IndexError, r"index is -24 at position \(1, 0\)"),
        (torch.tensor([0.0]), TypeError, "index must be integers, got dtype torch.float32"),
        (torch.tensor([True]), TypeError, "index must be integers, got dtype torch.bool"),
        (np.array([0]), TypeError, "arrays of one library only"),
        (torch.tensor([0], device="meta"), TypeError, "index is on meta"),
    ],
)
def test_what_an_index_cannot_be(index, error, message, given):
    with pytest.raises(error, match=message):
        fastcos.rows(given[0], index)


def test_a_table_that_has_lost_rows_since_is_an_error(given):
    table, (i, j, _), labels = given
    table = table.clone()
    pairs = fastcos.rows(table, i), fastcos.rows(table, j)
    table.resize_(3, FEATURES)
    for loss in (fastcos.cosine_embedding_loss, ft.cosine_embedding_loss):
        with pytest.raises(ValueError, match="a table that has changed since"):
            loss(*pairs, labels)


def test_a_loss_that_is_kept_keeps_no_table(given):
    table, (i, j, _), labels = given
    hidden = table @ torch.eye(FEATURES, dtype=torch.float64).requires_grad_()
    loss = fastcos.cosine_embedding_loss(fastcos.rows(hidden, i), fastcos.rows(hidden, j), labels)
    loss.backward()
    seen = weakref.ref(hidden)
    del hidden
    gc.collect()
    assert seen() is None
    assert loss.item() > 0


def test_a_similarity_along_an_axis_of_the_index_is_of_copies(given):
    table, (i, j, _), _ = given
    i, j = i.reshape(5, -1), j.reshape(5, -1)
    found = ft.cosine_similarity(fastcos.rows(table, i), fastcos.rows(table, j))
    assert torch.equal(found, ft.cosine_similarity(table[i], table[j]))
    assert found.shape == (5, FEATURES)
