"""OpenMP: threads are numtorch's own pool; see ``numtorch.set_num_threads``."""


def is_available() -> bool:
    """Whether it computes: never."""
    return False
