"""
Small angles
============

One minus the cosine of rows that are nearly the same.
"""

import matplotlib.pyplot as plt

plt.plot([1, 2])
