"""The compiled kernel: C sources, how they are built, and how they are called. `kernel.h` holds the theory of operation.

`python -m evaluator.kernel` says whether the kernel or NumPy serves. `python -m evaluator.kernel build` builds it.
"""
