"""The loops. They know memory, order and threads, and close over the scalars of the records.

Kernels get raw addresses, strides and numbers; they allocate nothing and validate nothing.
"""
