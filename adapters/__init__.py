"""The rim: what fastcos knows about each array library, one module for each.

``fastcos.engine.libraries`` finds the module by the type of the arguments and imports it on first
use. An adapter for an array library provides

- ``asarray(name, value)``: the argument as an array of that library, or an error that names it;
  ``float64(name, value)``: the same for weights and upstream gradients;
- ``float_name(dtype)`` and ``common_dtype(arrays)``: the dtypes that kernels compute in;
- ``layout(array)``: its :class:`~fastcos.engine.layout.ArrayLayout`; ``array_layout(value)``: the
  same of an argument, or None for what is no array of that library; ``is_read(layout)``: whether
  ``asarray`` gives an array of this layout back as it is;
- ``rows(array, axis, dtype)``: a contiguous copy with ``axis`` last, for where a kernel cannot read
  the array itself; ``features_last(array, axis)``: the view with ``axis`` last;
- ``labels(array)``: labels in a dtype that kernels read, and which; ``label_kind(dtype)``;
  ``host(array)``: the same as a NumPy array; ``from_host(array, like)``: the way back;
- ``numbers(array, samples)``: one number for all samples, or one for each, and the way back,
  ``sum_to(array, shape)``;
- ``scratch(shape, like)``: memory for float64 numbers, and ``wrap(scratch)``, an array of it;
  ``empty_like(array, axis, dtype, count=None)``, ``address(array)``;
- ``values(losses, dtype)`` and ``scalar(number, dtype, like)``: what is returned; on the CPU
  ``NARROW``: float32 if the losses are to come from the kernels in that dtype, else None;
- ``number(array)``: a number that was computed, as a float or, on a GPU, as the array it is;
- ``device_guard(operands)``: a context manager that makes their device the current one, or None
  where it is; None in its place for a library of one device;
- for arrays on a GPU ``stream()``, the address of the current stream; ``new(shape, dtype, like)``,
  memory for what is returned; ``quotient(numerator, denominator)``, 0 over 0 being 0;
- for rows of tables ``arange(count, like)``; ``row_numbers(index, rows)``, an index as it is kept;
  ``sorted_words(numbers, samples, shift, bits)``, the samples in the order of the rows that they
  name; for sparse gradients ``distinct(words, shift, inner)`` and ``row_gradient(rows, values,
  table)``;
- for listwise losses ``DTYPES``, dtypes by name; ``workspace(shape, dtype, like)``, memory for
  matrices; their products ``matmul(a, b, out)`` and ``add_matmul(a, b, out)``, in the dtype that
  they have, and ``factors(matrices, arrays)``, what these take in place of matrices of the rows of
  arrays, where that is quicker and fine enough for the dtypes of the arrays; ``center(array)``, the
  mean row; ``classes(name, labels, count)``, labels as kernels read them (int32, or int64 of those
  that are greater and on a GPU), and ``numbered(count, like)``, the same of rows without labels;
  ``ratio_with(anchor_labels, candidate_labels)``, the number of classes over that of those with a
  candidate; on the CPU ``SHARED_BESIDE_PRODUCTS``, from how many numbers on threads share the work
  between products; for mined triplets ``where``, ``nonzero(mask)``, ``numbered_like(array)`` and
  ``joined(parts, like)``;
- for neighbours ``product_roundoff()``, what float32 numbers may be rounded by before they are
  multiplied; on the CPU ``products_on_one_thread()``, a context or None; on a GPU
  ``kth_largest(array, k)`` of each row;
- ``check_out(...)``: raises unless a buffer of the caller's may be written to;
  ``no_overlap(buffers, others)``: a quick test for several, where True is certain and False means
  to ask ``check_out``;
- ``THREADS``: how to ask for and set the library's number of threads, or None;
- ``records``: whether the library records operations for later; then ``evaluate(problem,
  adapter)`` gives the value and sees to its gradient, ``placed(names, arguments)`` is the adapter
  for where the arguments are, and ``unrecorded(arguments)`` the same where nothing is recorded of a
  call of these, else None;
- ``lazy``: whether its arrays are work to be done later, as Dask's are. Such an adapter has nothing
  of the above but ``asarray``, ``records``, ``evaluate`` and ``placed``, and answers calls itself:
  ``solve(problem, wanted, grad_output, out)``, ``nearest(...)`` and measures, each by tasks that
  call fastcos on chunks.

What is no array of any of these libraries, such as a column of a data frame, is read by
``_foreign``, or refused with what to do about it.

A framework with losses of its own (torch) has drop-ins for them beside the adapter.
"""
