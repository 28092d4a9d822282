"""
Memory of a loss over all pairs
===============================

InfoNCE compares every row of a batch with every other. Written by hand it keeps matrices of N x N
numbers, and memory is what limits the batch. fastcos goes over a block of rows at a time.
"""

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
FEATURES, TEMPERATURE = 64, np.float32(0.07)

# %%
# The formula with its gradient, as one writes it in NumPy, with operations in place where they
# save a matrix. The other one is :func:`fastcos.info_nce_loss`.


def formula(x1, x2):
    """The loss and the gradients of both."""
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (x1, x2)]
    u, v = x1 / lengths[0], x2 / lengths[1]
    logits = u @ v.T / TEMPERATURE
    logits -= logits.max(axis=1, keepdims=True)
    right = logits.diagonal().copy()
    share = np.exp(logits)
    total = share.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - right)
    share /= total
    share[np.diag_indices_from(share)] -= 1
    share /= TEMPERATURE * np.float32(len(x1))
    grads = [share @ v, share.T @ u]
    for grad, unit, length in zip(grads, (u, v), lengths, strict=True):
        grad -= unit * (unit * grad).sum(axis=1, keepdims=True)
        grad /= length
    return loss, grads


def fused(x1, x2, block=None):
    """The same in one call."""
    take = fastcos.value_and_grad(fastcos.info_nce_loss)
    return take(x1, x2, temperature=float(TEMPERATURE), block=block)


rng = np.random.default_rng(0)
few = rng.standard_normal((2, 500, FEATURES), dtype=np.float32)
(loss, grads), (other, others) = formula(*few), fused(*few)
apart = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(grads, others, strict=True))
print(f"losses {loss:.6f} and {other:.6f}")
print(f"gradients differ by {apart:.0e} of the largest")

# %%
# ``tracemalloc`` counts what NumPy allocates. The peak of a call is measured in MiB, beyond the two
# arrays that it is given, and includes the gradients that it returns.


def peak(call, rows):
    """The most memory that a call held at a time, in MiB."""
    x1, x2 = rng.standard_normal((2, rows, FEATURES), dtype=np.float32)
    tracemalloc.start()
    call(x1, x2)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


sizes = [256, 512, 1024, 2048, 4096, 8192]
of_fused = [peak(fused, n) for n in sizes]
of_blocks = [peak(lambda x1, x2: fused(x1, x2, block=256), n) for n in sizes]
of_formula = [peak(formula, n) for n in sizes[:-1]]
print("N        ", "".join(f"{n:6}" for n in sizes))
for name, used in (("formula", of_formula), ("fastcos", of_fused), ("block=256", of_blocks)):
    print(f"{name:9}", "".join(f"{mebibytes:6.1f}" for mebibytes in used))

# %%
# Both axes are logarithmic. For each doubling of N the formula takes four times the memory, and the
# dotted line shows where that leads. fastcos takes four times as much only as long as the rows fit
# into one block. ``block=`` asks for fewer rows at a time: then memory doubles with N.

figure, axes = plt.subplots(figsize=(6, 4.5))
axes.loglog(sizes[:-1], of_formula, "s-", color="#E69F00", linewidth=2, label="NumPy formula")
axes.loglog(sizes, of_fused, "o-", color="#0072B2", linewidth=2, label="fastcos")
axes.loglog(sizes, of_blocks, "^-", color="#009E73", linewidth=2, label="fastcos, block=256")
ahead = np.array([4096, 8192])
axes.loglog(ahead, of_formula[-1] * (ahead / 4096) ** 2, ":", color="#E69F00", linewidth=2)
axes.set(xlabel="rows of the batch, N", ylabel="peak memory, MiB")
axes.set(title="InfoNCE with gradients: peak memory")
axes.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=10)
axes.minorticks_off()
axes.legend(loc="upper left", fontsize=10)
plt.show()
