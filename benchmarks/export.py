"""Write the models as ONNX files for ONNX Runtime: `python -m benchmarks.export FOLDER NAME...`."""

from __future__ import annotations

import pathlib
import sys
import warnings

from benchmarks.backends import Torch, workload


def main() -> None:
    """Export each named model with the common weights; one that fails is reported and left out."""
    warnings.simplefilter("ignore")
    folder, backend = pathlib.Path(sys.argv[1]), Torch(1)
    for name in sys.argv[2:]:
        w = workload(name)
        x, _ = backend.batch(w)
        path = folder / f"{name}.onnx"
        try:
            backend.torch.onnx.export(backend.model(w).eval(), (x,), path, dynamo=False, opset_version=17)
        except Exception as error:
            path.unlink(missing_ok=True)
            print(f"{name}: not exported: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
