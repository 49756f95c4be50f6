"""What the processor can do."""


def get_cpu_capability() -> str:
    """The widest vector instructions that kernels are compiled for: "AVX512", "AVX2" or "DEFAULT"."""
    from ..kernels.target import target

    return {64: "AVX512", 32: "AVX2"}.get(target().vector_bytes, "DEFAULT")
