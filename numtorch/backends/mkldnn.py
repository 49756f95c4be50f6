"""oneDNN: convolutions and matrix products are numtorch's own kernels."""


def is_available() -> bool:
    """Whether it computes: never."""
    return False


enabled, deterministic, allow_tf32 = False, False, False
