"""The loops. They know memory, order and threads, and close over the scalars of the records.

Kernels get raw addresses, strides and numbers; they allocate nothing and validate nothing.
"""

#: What a pass does with an operand's gradient: nothing, write it row by row, or add it up over the
#: samples that share a row (the row of the ``sums`` buffer that belongs to the task).
SKIP, WRITE, ADD = 0, 1, 2

#: How labels are written: as float64, float32, int64, int8, or as bool, where True is 1 and False
#: is -1. An upstream gradient on a GPU also in the dtype that is computed in, OWN.
DOUBLES, FLOATS, LONGS, BYTES, BOOLS, OWN = 0, 1, 2, 3, 4, 5
