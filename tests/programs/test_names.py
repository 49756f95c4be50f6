"""What programs written for PyTorch ask for besides operations: switches, devices, dtypes, older names."""

from __future__ import annotations

import importlib

import pytest

import numtorch as torch


def test_backends_are_modules():
    for name in "cpu cuda cudnn mkl mkldnn mps openmp".split():
        assert importlib.import_module(f"numtorch.backends.{name}") is getattr(torch.backends, name)
    assert torch.backends.mps.is_available() is False
    assert torch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")


def test_cudnn_flags_return_to_what_they_were():
    cudnn = torch.backends.cudnn
    with cudnn.flags(benchmark=True, deterministic=True):
        assert cudnn.benchmark and cudnn.deterministic and not cudnn.enabled
    assert cudnn.enabled and not cudnn.benchmark and not cudnn.deterministic


def test_switches_are_read_back():
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled() and torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="one of highest, high, medium, got 'low'"):
        torch.set_float32_matmul_precision("low")


@pytest.mark.parametrize(("name", "reason"), [
    ("softmaxx", "it has softmax"), ("onnx", "writes no ONNX"), ("complex64", "no complex numbers"), ("functorch", "numtorch.func has"),
    ("expand", r"write tensor.expand\("), ("sparse_coo_tensor", "dense tensors only"), ("qwertyuiop", "has no attribute 'qwertyuiop'$"),
])  # fmt: skip
def test_unknown_names_say_what_there_is(name, reason):
    with pytest.raises(AttributeError, match=reason):
        getattr(torch, name)


@pytest.mark.parametrize(("module", "name", "reason"), [
    ("numtorch", "cross_entropy", "it is numtorch.nn.functional.cross_entropy$"), ("numtorch", "Linear", "it is numtorch.nn.Linear$"),
    ("numtorch.nn", "relu", "it is numtorch.relu$"), ("numtorch.nn.functional", "sofmax", "it has softmax"),
    ("numtorch.optim", "StepLR", "it is numtorch.optim.lr_scheduler.StepLR$"), ("numtorch.optim", "SparseAdam", "dense gradients only"),
    ("numtorch.utils.data", "DataLoder", "it has DataLoader"), ("numtorch.linalg", "eig", "no complex numbers"),
    ("numtorch.autograd", "jacobian", "it is numtorch.autograd.functional.jacobian$"), ("numtorch.cuda", "CUDAGraph", "jit.trace"),
    ("numtorch.nn", "__wrapped__", "has no attribute '__wrapped__'$"), ("numtorch.utils", "tensorboard", "event files"),
])  # fmt: skip
def test_unknown_names_of_submodules(module, name, reason):
    with pytest.raises(AttributeError, match=reason):
        getattr(importlib.import_module(module), name)


def test_dtypes_by_name():
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}  # as small GPTs write
    assert torch.ones(2).dtype is kinds["float32"] and torch.ones(2).dtype != kinds["bfloat16"]
    assert torch.zeros(2, dtype=kinds["bfloat16"]).dtype is torch.bfloat16


def test_functions_that_write_into_their_input():
    x = torch.tensor([-1.0, 2.0])
    assert torch.relu_(x) is x and x.tolist() == [0.0, 2.0]
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        torch.exp_(3)


def test_older_names_of_mixed_precision():
    scaler = torch.cuda.amp.GradScaler(enabled=False)
    loss = torch.ones(1, requires_grad=True).sum()
    assert scaler.scale(loss) is loss
    with torch.cuda.amp.autocast(enabled=False):
        assert (loss * 2).dtype is torch.float32


def test_where_a_tensor_is():
    x = torch.ones(1)
    assert x.is_cpu and not x.is_cuda and not x.is_xpu and not x.is_mps
    assert torch.typename(x) == "torch.FloatTensor"


def test_programs_ask_for_process_groups_and_go_on():
    dist = torch.distributed
    assert not dist.is_available() and not dist.is_initialized() and not dist.is_torchelastic_launched()
    for ask in (dist.get_rank, dist.get_world_size, dist.barrier, dist.all_reduce, dist.destroy_process_group):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            ask()
    assert dist.all_reduce.__name__ == "all_reduce" and dist.ReduceOp.SUM is not dist.ReduceOp.MAX
    with pytest.raises(NotImplementedError, match="in one process on one machine; run the program without a launcher"):
        dist.init_process_group("nccl", rank=0, world_size=2)
    with pytest.raises(NotImplementedError, match="nothing to average Linear's gradients with; use the module itself"):
        torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1), device_ids=[0])
    with pytest.raises(AttributeError, match="in one process on one machine"):
        dist.rpc  # noqa: B018


def test_what_torchscript_marks_stays_python():
    class Gate(torch.jit.ScriptModule):
        limit: torch.jit.Final[float] = 0.5

        @torch.jit._overload_method
        def forward(self, x: list):
            pass

        @torch.jit.script_method
        def forward(self, x):  # noqa: F811
            return self.flip(x) if float(x.sum()) > self.limit else x

        @torch.jit.export
        def flip(self, x):
            return -x

        @torch.jit.ignore(drop=True)
        def log(self, x):
            return print(x)

        @torch.jit.unused
        @torch.jit.ignore
        def other(self):
            return 3

    def twice(x):
        return 2 * x

    gate = Gate()
    assert torch.jit.script(gate) is gate and torch.jit.script(twice) is twice and torch.jit.script_if_tracing(twice) is twice
    assert gate(torch.ones(2)).tolist() == [-1.0, -1.0] and gate(torch.zeros(2)).tolist() == [0.0, 0.0] and gate.other() == 3
    assert torch.jit.annotate(list[int], [1]) == [1] and not torch.jit.is_scripting() and not torch.jit.is_tracing()
    assert not isinstance(torch.nn.Linear(2, 1), (torch.jit.ScriptModule, torch.jit.ScriptFunction))
    with pytest.raises(TypeError, match="script.*'obj' must be a function, a Module or a class, not int"):
        torch.jit.script(3)


def test_weights_of_the_hub_lie_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torch.hub.get_dir() == str(tmp_path / "hub")
    url = "https://example.org/models/net-1a2b.pth?version=2"
    place = tmp_path / "hub" / "checkpoints" / "net-1a2b.pth"
    with pytest.raises(RuntimeError, match="loads nothing from the network and there is no .*net-1a2b.pth; download https"):
        torch.hub.load_state_dict_from_url(url)
    place.parent.mkdir(parents=True)
    torch.save({"weight": torch.arange(3.0)}, place)
    for load in (torch.hub.load_state_dict_from_url, torch.utils.model_zoo.load_url):
        assert load(url, map_location="cpu")["weight"].tolist() == [0.0, 1.0, 2.0]
    assert torch.hub.load_state_dict_from_url("x", str(place.parent), file_name=place.name)["weight"].shape == (3,)
    monkeypatch.setattr(torch.hub, "_chosen", [])
    torch.hub.set_dir(tmp_path / "other")
    assert torch.hub.get_dir() == str(tmp_path / "other")
