"""Intel's MKL: matrix products are numtorch's own kernels."""


def is_available() -> bool:
    """Whether it computes: never."""
    return False
