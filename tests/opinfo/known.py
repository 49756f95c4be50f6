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
    # PyTorch resizes what it adds to.
    "in_place": frozenset(["addbmm"]),
    # Cut into other ops than there: the last one's node is shown, as it is in PyTorch, but it is another one; samples without a gradient.
    "nodes": frozenset("""combinations unsafe_chunk sum_to_size corrcoef diff matmul max.reduction_with_dim min.reduction_with_dim
        quantile nanquantile nn.functional.cross_entropy nn.functional.adaptive_avg_pool2d
        nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool2d
        nn.functional.binary_cross_entropy_with_logits nn.functional.rms_norm nn.functional.pad.circular
        nn.functional.max_pool2d nn.functional.max_pool3d nn.functional.max_unpool1d nn.functional.max_unpool1d.grad
        nn.functional.rrelu narrow_copy round.decimals_0 sgn unsafe_split split_with_sizes_copy __rmatmul__ __rpow__
        __rsub__ einsum atleast_3d normal bernoulli unbind_copy fill trapz trapezoid cumulative_trapezoid kron
        nn.functional.ctc_loss nn.functional.hinge_embedding_loss repeat_interleave nn.functional.pairwise_distance
        linalg.cholesky linalg.vecdot linalg.cond linalg.lstsq linalg.lstsq.grad_oriented linalg.multi_dot linalg.norm
        linalg.matrix_norm linalg.solve_ex linalg.solve_triangular linalg.tensorinv special.ndtr""".split()),
    # NaN in PyTorch where nothing is masked in.
    "second": frozenset(["masked.logsumexp"]),
    # Derivatives at matrices that are singular once a row is repeated; what is left of a factor that does not exist; median reads
    # beside an expanded tensor.
    "layouts": frozenset("lu median norm.nuc linalg.cholesky_ex linalg.matrix_norm linalg.qr".split()),
    # Cumulative sums of masked bool, which PyTorch refuses; empty matrices of dtypes that it refuses otherwise; sums of 16 bits that
    # round or overflow elsewhere, and equal numbers among so few; bessel_j0 of float64, which PyTorch has to single precision; the order of equal elements; which of several
    # causes is named.
    "dtypes": frozenset("""__rpow__ addmm.decomposed bernoulli grid_sampler_3d linalg.cholesky linalg.det linalg.ldl_factor
        linalg.ldl_factor_ex linalg.ldl_solve linalg.lu linalg.lu_factor linalg.lu_solve linalg.svd linalg.svdvals lu
        lu_unpack masked.cumprod masked.cumsum masked.softmax masked.softmin masked.std masked.var matrix_exp mm
        nn.functional.conv_transpose3d nn.functional.interpolate.bilinear nn.functional.soft_margin_loss norm.nuc
        pca_lowrank pow special.bessel_j0 svd_lowrank topk addbmm cholesky div.no_rounding_mode lu_solve nn.functional.normalize
        nn.functional.conv_transpose2d nn.functional.conv2d nn.functional.conv3d nn.functional.margin_ranking_loss svd msort
        nn.functional.grid_sample grid_sampler_2d nn.functional.poisson_nll_loss scatter_reduce.amin linalg.cholesky_ex
        linalg.eigvalsh linalg.solve linalg.solve_ex linalg.matrix_rank""".split()),
}  # fmt: skip
