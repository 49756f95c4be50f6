"""The profiler under the name it has in PyTorch's autograd package; see ``numtorch.profiler``."""

from ..profiler import profile, record_function

__all__ = ["profile", "record_function"]
