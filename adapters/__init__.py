"""The rim: what fastcos knows about each array library, one module for each.

``fastcos._dispatch`` finds the module by the type of the arguments and imports it on first use. An
adapter for an array library provides

- ``asarray(name, value)``: the argument as an array of that library, or an error that names it;
- ``float64(name, value)``: the same for labels, weights and upstream gradients;
- ``rows(array, axis, dtype)``: an array whose ``axis`` is last and contiguous, without a copy if
  it can be;
- ``empty(shape, dtype)``, ``address(array)``;
- ``check_out(...)``: whether a buffer can take a gradient.
"""
