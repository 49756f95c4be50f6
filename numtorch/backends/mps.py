"""Apple's GPUs: numtorch has no kernels for them."""


def is_available() -> bool:
    """Whether the device "mps" can be used: never."""
    return False


def is_built() -> bool:
    """Whether there are kernels for the device "mps": none."""
    return False
