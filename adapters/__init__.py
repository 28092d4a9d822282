"""The rim: what fastcos knows about each array library, one module for each.

``fastcos._dispatch`` finds the module by the type of the arguments and imports it on first use. An
adapter for an array library provides

- ``asarray(name, value)``: the argument as an array of that library, or an error that names it;
  ``float64(name, value)``: the same for weights and upstream gradients;
- ``float_name(dtype)`` and ``common_dtype(arrays)``: the dtypes that kernels compute in;
- ``rows(array, axis, dtype)``: an array whose ``axis`` is last and contiguous, without a copy if
  it can be; ``features_last(array, axis)`` and ``rows_for_writing(view, dtype)``: the same for a
  gradient that is to be written;
- ``numbers(array, samples)``: one number for all samples, or one for each, and the way back,
  ``sum_to(array, shape)``;
- ``empty(shape, dtype)``, ``empty_like(array, axis, dtype)`` and ``address(array)``;
- ``check_out(...)``: whether a buffer of the caller's can take a gradient.
"""
