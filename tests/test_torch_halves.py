"""Products of half types on a GPU: float32 matrices as two of bfloat16, and losses made of them."""

import listwise_oracle as oracle
import numpy as np
import pytest
import torch

import fastcos
from fastcos.adapters.torch import cuda, halves
from fastcos.engine import batch
from fastcos.engine.libraries import adapter_of_arrays

pytestmark = [pytest.mark.simulated, pytest.mark.usefixtures("tensors_lent")]

HALVES = (torch.float16, torch.bfloat16)


def drawn(rng, *shape, spread=0):
    numbers = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return torch.tensor(numbers, dtype=torch.float32)


@pytest.mark.parametrize("spread", [0, 30])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 5), (33, 64, 2), (16, 97, 31)])
def test_products_have_twice_the_digits_of_a_half_type(rng, shape, spread):
    n, k, m = shape
    a, b, out = drawn(rng, n, k, spread=spread), drawn(rng, k, m, spread=spread), drawn(rng, n, m)
    right = a.double() @ b.double()
    bound = 3 * 2.0**-16 * (a.double().abs() @ b.double().abs())
    before = out.double()
    for first in (a, halves.halves(a), halves.halves(a.T.contiguous()).T):
        for second in (b, halves.halves(b)):
            for adds in (False, True):
                found = out.clone()
                halves.multiply(first, second, found, adds=adds)
                assert (found - right - adds * before).abs().le(bound + 1e-6 * before.abs()).all()
    # Which a half type alone has not.
    if k > 1:
        rounded = a.bfloat16().double() @ b.bfloat16().double()
        assert (rounded - right).abs().gt(bound).any()


def test_parts_of_a_matrix(rng):
    matrix = drawn(rng, 7, 5)
    part = halves.halves(matrix)[2:4]
    assert torch.equal(part.high, matrix.bfloat16()[2:4])
    assert torch.equal(part.T.low, part.low.T)


def test_what_is_not_finite():
    a = torch.tensor([[1.0, torch.inf], [-torch.inf, 2.0], [torch.nan, 1.0], [3.0, 4.0]])
    out = torch.full((4, 1), torch.nan)
    halves.multiply(a, torch.tensor([[1.0], [1.0]]), out, adds=False)
    np.testing.assert_array_equal(out[:, 0], [np.nan, np.nan, np.nan, 7])


@pytest.fixture
def multiplied(monkeypatch):
    """How many products were of half types."""
    seen, multiply = [], cuda.multiply

    def counted(a, b, out, *, adds):
        seen.append(adds)
        multiply(a, b, out, adds=adds)

    monkeypatch.setattr(cuda, "multiply", counted)
    return seen


def solved(name, dtype, **options):
    """Value and gradients of a loss in float32, on rows of a half type; and in float64."""
    given = oracle.draw(np.random.default_rng(3), name, 12, 9)
    loss, function = fastcos.value_and_grad(getattr(fastcos, name)), getattr(fastcos, name)
    names = loss.wanted

    def tensor(value):
        if not isinstance(value, np.ndarray):
            return value
        found = torch.tensor(value)
        return found.to(dtype) if found.is_floating_point() else found

    args = [tensor(value) for value in given.args]
    stated = function.__wrapped__(*args, **given.kwargs, **options)
    found = batch.solve(stated, names, wide=True, result=torch.float32)
    wide = [value.double() if getattr(value, "dtype", None) is dtype else value for value in args]
    wide = [value.numpy() if isinstance(value, torch.Tensor) else value for value in wide]
    return stated.distance, found, loss(*wide, **given.kwargs, **options)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_losses(multiplied, name, dtype):
    distance, (value, grads), (right, slopes) = solved(name, dtype)
    # Others are distances, which need all digits of a product.
    assert bool(multiplied) == (distance in ("cosine", "dot"))
    # 3 · 2^-16 of a cosine, over a temperature of 0.07 or times a scale of 64.
    assert abs(value.item() - right) <= 2e-3 * abs(right)
    for grad, slope in zip(grads, slopes, strict=True):
        assert grad.dtype is torch.float32
        assert np.abs(grad.numpy() - slope).max() <= 2e-3 * np.abs(slope).max()


def test_which_products_are_of_half_types(multiplied, monkeypatch):
    x = torch.tensor(np.random.default_rng(0).standard_normal((6, 4)))

    def count(first, second, distance="cosine"):
        multiplied.clear()
        fastcos.value_and_grad(fastcos.info_nce_loss)(first, second, distance=distance)
        return len(multiplied)

    assert count(x.half(), x.bfloat16()) == count(x.half(), x.half(), "dot") == 3
    assert count(x.half(), x.float()) == count(x.float(), x.float()) == 0
    assert count(x.half(), x.half(), "euclidean") == 0
    monkeypatch.setattr(cuda, "product_roundoff", lambda: 2.0**-11)
    assert count(x.half(), x.half()) == 0


def test_one_matrix_is_taken_apart_once():
    x = torch.ones(3, 2)
    first, second = cuda.factors((x, x), (x.half(), x.half()))
    assert first is second
    assert cuda.factors((x, x), (x, x.half())) == (x, x)


def test_the_arguments_are_those_of_torch():
    # Which knows shapes and dtypes without a device that could multiply.
    a, out = (
        torch.empty(3, 4, dtype=torch.bfloat16, device="meta"),
        torch.empty(3, 3, device="meta"),
    )
    torch.mm(a, a.T, out_dtype=torch.float32, out=out)
    torch.addmm(out, a, a.T, out_dtype=torch.float32, out=out)
    assert halves.are_multiplied(torch.float16)
    assert not halves.are_multiplied(torch.float32)
    assert adapter_of_arrays(("x",), (torch.ones(1),)) is cuda
