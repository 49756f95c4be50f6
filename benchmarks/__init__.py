"""numtorch beside its peers: whole models and single kernels, each backend in a process of its own, in turns.

Run `python -m benchmarks` (or `--fast`); `python -m benchmarks --help` lists the choices.
"""
