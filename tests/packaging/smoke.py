"""What an installed wheel must do; .ci/run calls this in a fresh environment outside the checkout."""

import pathlib
import sys

import numtorch as torch
import numtorch.kernels

where = pathlib.Path(torch.__file__).resolve()
kernels = pathlib.Path(numtorch.kernels.__file__).resolve()
if "site-packages" not in where.parts or where.parent not in kernels.parents:
    raise SystemExit(f"not an installed wheel with its kernels: numtorch is {where}")

model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
images, labels = torch.datasets.digits()
loss = torch.nn.functional.cross_entropy(model(images[:32].reshape(32, 64)), labels[:32])
loss.backward()
if not all(torch.isfinite(p.grad).all() for p in model.parameters()):
    raise SystemExit("a gradient of the smoke test is not finite")
print(f"numtorch {torch.__version__} from a wheel on Python {sys.version.split()[0]}: loss {loss.item():.4f}")
