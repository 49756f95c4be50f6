"""Entries that differ from PyTorch for a reason that is known: what ``scan.py`` still lists, and ``test_entries.py`` leaves out."""

KNOWN: dict[str, frozenset[str]] = {
    # An assertion inside PyTorch; the order in which it looks at shapes and dtypes; an error of its Python code; a tensor that its own
    # earlier call has resized.
    "errors": frozenset("narrow_copy ormqr __rdiv__ gather".split()),
    "methods": frozenset(),
    # Strides of results that LAPACK writes by columns; gelu leaves a strided out= as it was; functions without a derivative take an out=
    # that requires grad; dtypes that only the kernel refuses.
    "out": frozenset("""cholesky_inverse geqrf triangular_solve nn.functional.gelu heaviside histc lu nanmean nansum normal
        split_with_sizes_copy special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1 special.modified_bessel_i0
        special.modified_bessel_i1 special.modified_bessel_k0 special.modified_bessel_k1 special.scaled_modified_bessel_k0
        special.scaled_modified_bessel_k1 special.spherical_bessel_j0""".split()),
    "in_place": frozenset(),
    # NaN in PyTorch where nothing is masked in.
    "second": frozenset(["masked.logsumexp"]),
    # Derivatives at matrices that are singular once a row is repeated; what is left of a factor that does not exist; median reads
    # beside an expanded tensor.
    "layouts": frozenset("lu median norm.nuc linalg.cholesky_ex linalg.matrix_norm linalg.qr".split()),
    "dtypes": frozenset(),
}  # fmt: skip
