"""numtorch under the name torch, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.optim.lr_scheduler import StepLR
import torch.optim as optim, sys

assert "--flag" in sys.argv
model = nn.Linear(3, 1)
optimizer = optim.SGD(model.parameters(), lr=0.1)
scheduler = StepLR(optimizer, 1)
for x, y in DataLoader(TensorDataset(torch.rand(8, 3), torch.rand(8, 1)), batch_size=4):
    optimizer.zero_grad()
    F.mse_loss(model(x), y).backward()
    optimizer.step()
scheduler.step()
import numtorch, numtorch.nn
print(torch is numtorch, nn is numtorch.nn, nn.__spec__.name, isinstance(model, torch.nn.Module))
"""


# As programs begin, among them PyTorch's examples.
IMPORTS = """
import torch, torch.nn as nn, torch.nn.functional as F, torch.optim as optim, torch.utils.data as data, torch.multiprocessing as mp
import torch.backends.cudnn as cudnn, torch.autograd as autograd, torch.nn.init as init, torch.nn.parallel, torch.utils.checkpoint
import torch.cuda, torch.linalg, torch.fft, torch.special, torch.jit, torch.random, torch.distributions as dist, torch.testing, torch.func
import torch.amp, torch.profiler, torch.types, torch.version, torch.utils._pytree as pytree
from torch import nn, optim, Tensor, device, dtype, Size, Generator, FloatTensor
from torch.nn import Parameter, Module, ModuleList, TransformerEncoder, TransformerEncoderLayer
from torch.nn.parameter import Parameter, UninitializedParameter
from torch.nn.modules import Module
from torch.nn.modules.utils import _pair, _single, _triple
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.loss import _Loss
from torch.nn.common_types import _size_2_t
from torch.nn.init import xavier_uniform_, kaiming_normal_, trunc_normal_
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, spectral_norm, weight_norm, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence, PackedSequence
from torch.nn.utils.parametrizations import weight_norm, spectral_norm, orthogonal
from torch.nn.utils.parametrize import register_parametrization
from torch.nn.utils.stateless import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.distributed import init_process_group, destroy_process_group
import torch.distributed as dist, torch.hub, torch.utils.model_zoo as model_zoo
from torch.hub import load_state_dict_from_url
from torch.utils import model_zoo
from torch.jit import script, ScriptModule, Final
from torch.optim import Adam, SGD, Optimizer, lr_scheduler
from torch.optim.optimizer import Optimizer, required
from torch.optim.lr_scheduler import StepLR, LambdaLR, ReduceLROnPlateau, CosineAnnealingLR, OneCycleLR, _LRScheduler
from torch.optim.swa_utils import AveragedModel, SWALR, update_bn
from torch.utils.data import Dataset, DataLoader, TensorDataset, random_split, Subset, IterableDataset, get_worker_info
from torch.utils.data.sampler import SubsetRandomSampler, Sampler, RandomSampler, WeightedRandomSampler, BatchSampler
from torch.utils.data.dataset import Dataset, ConcatDataset
from torch.utils.data.dataloader import default_collate, DataLoader
from torch.utils.data.distributed import DistributedSampler
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torch.utils.dlpack import to_dlpack, from_dlpack
from torch.autograd import Variable, Function, grad, gradcheck
from torch.autograd.function import once_differentiable
from torch.autograd.functional import jacobian, hessian
from torch.autograd.profiler import record_function
from torch.autograd.graph import saved_tensors_hooks
from torch.cuda.amp import autocast, GradScaler, custom_fwd, custom_bwd
from torch.distributions import Categorical, Normal, Bernoulli, MultivariateNormal, kl_divergence, Independent, Beta, Gamma, Dirichlet
from torch.distributions.categorical import Categorical
from torch.distributions.kl import kl_divergence
from torch.distributions.transforms import TanhTransform
from torch.func import grad, vmap, functional_call, jacrev
from torch.multiprocessing import spawn, Process, Queue
from torch.profiler import profile, ProfilerActivity
from torch.testing import assert_close, make_tensor
from torch.serialization import add_safe_globals
from torch.storage import UntypedStorage
"""


def run(*arguments: str, cwd: object = None) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_without_an_edit(tmp_path):
    (tmp_path / "train.py").write_text(PROGRAM)
    assert run("-m", "numtorch.compat", str(tmp_path / "train.py"), "--flag", cwd=tmp_path) == "True True numtorch.nn True"


def test_imports_of_programs():
    code = "import numtorch.compat as c; c.install()\nexec(open(0).read())\nprint(Adam.__module__, mp.Queue is not None)"
    done = subprocess.run([sys.executable, "-c", code], input=IMPORTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "numtorch.optim.adam True", done.stderr


def test_install_and_uninstall():
    found = run("-c", "import numtorch.compat as c, sys; c.install(); c.install(); import torch.nn; c.uninstall();"
                "print([m for m in sys.modules if m.startswith('torch')], sum(type(f).__name__ == 'Finder' for f in sys.meta_path))")
    assert found == "[] 0"


def test_what_numtorch_lacks_is_named():
    found = run("-c", "import numtorch.compat as c; c.install()\ntry:\n    import torch.nothing\nexcept ModuleNotFoundError as e: print(e)")
    assert found == "No module named 'torch.nothing': numtorch, which stands for torch here, has no numtorch.nothing"


def test_why_numtorch_lacks_it():
    found = run("-c", "import numtorch.compat as c; c.install()\ntry:\n    import torch.utils.tensorboard\nexcept ModuleNotFoundError as e: print(e)")
    assert found.endswith("has no numtorch.utils.tensorboard; numtorch writes no event files; numtorch.utils.watch keeps statistics of a training step")


def test_pytorch_already_imported():
    code = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import numtorch.compat as c\n"
    found = run("-c", code + "try:\n    c.install()\nexcept RuntimeError as e: print(e)\nc.install(force=True)\nimport torch, numtorch; print(torch is numtorch)")
    assert "already imported" in found and found.endswith("True")


@pytest.mark.parametrize("arguments", [("-m", "numtorch.compat")])
def test_usage(arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "usage: python -m numtorch.compat program.py" in done.stderr
