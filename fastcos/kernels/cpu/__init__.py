"""Kernels for the CPU: a compiled one for a loss, a distance and a dtype.

A kernel does one *task*, a run of samples; two loops over tasks, one of them with ``prange``, serve
all kernels. A task's work does not depend on which thread does it, and nothing is added up across
tasks in an order that threads could change: the results are the same bits for every thread count.

Accumulators are float64 for every dtype; of half types those of a few hundred numbers are float32,
where the distance finds that it suffices. Only the accumulating pass may reorder its sums, which is
what lets it vectorise; values, slopes and gradients are strict IEEE, so NaN goes where it should.
"""
