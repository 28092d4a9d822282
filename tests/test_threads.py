"""``fastcos.threads``: what it takes, and that it leaves things as they were.

How many threads are used is seen in ``test_processes.py``.
"""

import numpy as np
import pytest

import fastcos


@pytest.mark.parametrize("n", [0, -1, np.int64(0)])
def test_less_than_one_thread(n):
    with pytest.raises(ValueError, match=rf"n must be at least 1, got {n}"):
        fastcos.threads(n)


@pytest.mark.parametrize("n", [1.0, "2", None, True, np.ones(2, int)])
def test_not_a_number_of_threads(n):
    with pytest.raises(TypeError, match="n must be an integer, at least 1; got"):
        fastcos.threads(n)


@pytest.mark.parametrize("n", [1, 2, np.int64(3), 1 << 80])
def test_a_call_within_is_the_call_outside(n):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1024, 64), dtype=np.float32)
    f = fastcos.value_and_grad(fastcos.cosine_similarity)
    expected = f(x, y)

    @fastcos.threads(n)
    def decorated():
        return f(x, y)

    with fastcos.threads(n):
        found = f(x, y)
    for value, grads in (found, decorated(), decorated()):
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(grads, expected[1])


def test_torch_keeps_its_number():
    torch = pytest.importorskip("torch")
    x = torch.ones((1024, 64))
    before = torch.get_num_threads()
    with fastcos.threads(1):
        fastcos.cosine_similarity(x, x)
        assert torch.get_num_threads() == before
    fastcos.cosine_similarity(x, x)
    assert torch.get_num_threads() == before
