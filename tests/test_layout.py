"""The conventions of this repository, as tests: imports, sizes, documentation, one door to the compiler."""

from __future__ import annotations

import ast
import functools
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FRAMEWORK = sorted((ROOT / "numtorch").rglob("*.py"))
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOURCES = FRAMEWORK + KERNELS
EVERYTHING = SOURCES + TESTS + sorted((ROOT / "benchmarks").rglob("*.py"))

MAX_FILE, MAX_FUNCTION = 400, 50
LONG_FILES: dict[str, str] = {  # path: why it may be longer
    "numtorch/ops/elementwise.py": "a table: an op and its derivative in a few lines, one after the other",
    "numtorch/ops/view.py": "a table: one short function for each of PyTorch's views",
    "numtorch/_tensor.py": "one class: PyTorch's attributes and conversions, each with its message",
}
LONG_FUNCTIONS: dict[str, str] = {}  # path:function: why it may be longer

# The only files that may import the compiler when they are imported themselves; all others reach it lazily.
COMPILER_FILES = re.compile(r"kernels/(compile_\w+|intrinsics_\w+|lean|cuda/compile|cuda/intrinsics\w*)\.py")
# CUDA kernels without a twin, and why.
CUDA_ONLY = {
    "matmul.py:gemm_sum": "adds up the parts of a split K; on the CPU one thread keeps all of K",
    "conv.py:weight_sum": "its partial sums lie otherwise than those of the CPU (cpu/conv_weight.py)",
    "tensor.py:tensor_sum": "adds up the parts of a product on tensor cores, which a CPU has not",
}
COMPILER_DOORS = {"kernels/jit.py", "kernels/compile_cpu.py", "kernels/cuda/compile.py"}


def name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(node: ast.AST, top_level_only: bool = False) -> Iterator[str]:
    """Absolute module names imported in a tree (in functions too, unless told otherwise)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield child.module or ""
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif not (top_level_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            yield from imports(child, top_level_only)


def functions(path: pathlib.Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_kernels_stand_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "llvmlite", "numba", "numba_cuda", "cuda"}
    found = [(name(p), module) for p in KERNELS for module in imports(tree(p))]
    wrong = [f"{path}: {module}" for path, module in found if module.partition(".")[0] not in allowed]
    assert not wrong, "kernels/ imports numpy, llvmlite, numba and the standard library:\n" + "\n".join(wrong)


def test_the_compiler_is_imported_when_something_must_be_compiled() -> None:
    heavy = {"numba", "numba_cuda", "cuda", "scipy"}
    wrong = [
        f"{name(p)}: {m}"
        for p in SOURCES
        if not COMPILER_FILES.fullmatch(name(p))
        for m in imports(tree(p), top_level_only=True)
        if m.partition(".")[0] in heavy
    ]
    assert not wrong, "import these inside the function that compiles:\n" + "\n".join(wrong)


def test_the_framework_has_no_compiler() -> None:
    banned = {"numba", "llvmlite", "numba_cuda", "kernels", "torch"}
    found = [(name(p), module) for p in FRAMEWORK for module in imports(tree(p))]
    wrong = [f"{path}: {module}" for path, module in found if module.partition(".")[0] in banned]
    assert not wrong, "numtorch/ reaches the compiler through numtorch.kernels only:\n" + "\n".join(wrong)


def test_import_is_light() -> None:
    script = "import sys, json, numtorch; json.dump(sorted(sys.modules), sys.stdout)"
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT.parent)
    loaded = {module.partition(".")[0] for module in json.loads(run.stdout)}
    heavy = {"numba", "numba_cuda", "cuda", "scipy", "matplotlib", "IPython", "jupyter", "tqdm", "torch"}
    assert not loaded & heavy, f"`import numtorch` loads {sorted(loaded & heavy)}; import where it is used"


def test_one_door_to_the_compiler() -> None:
    door = re.compile(r"(@|\b)(numba\.)?(njit|cfunc|cuda\.jit)\s*\(|^\s*@(njit|jit|cuda\.jit)\b", re.M)
    wrong = [name(p) for p in SOURCES if name(p) not in COMPILER_DOORS and door.search(p.read_text())]
    assert not wrong, f"compiler options belong in {sorted(COMPILER_DOORS)}: {wrong}"


def test_files_and_functions_are_short() -> None:
    lengths = {name(p): len(p.read_text().splitlines()) for p in EVERYTHING if p not in TESTS}
    long = [f"{p} ({n} lines)" for p, n in lengths.items() if n > MAX_FILE and p not in LONG_FILES]
    for path in EVERYTHING:
        for f in functions(path) if path not in TESTS else ():
            size, key = (f.end_lineno or f.lineno) - f.lineno, f"{name(path)}:{f.name}"
            if size > MAX_FUNCTION and key not in LONG_FUNCTIONS:
                long.append(f"{key} ({size} lines)")
    assert not long, f"more than {MAX_FILE} lines a file or {MAX_FUNCTION} a function:\n" + "\n".join(long)


def test_the_exceptions_are_still_needed() -> None:
    stale = [p for p in LONG_FILES if len((ROOT / p).read_text().splitlines()) <= MAX_FILE]
    for key in LONG_FUNCTIONS:
        path, _, wanted = key.partition(":")
        sizes = [(f.end_lineno or f.lineno) - f.lineno for f in functions(ROOT / path) if f.name == wanted]
        if not sizes or max(sizes) <= MAX_FUNCTION:
            stale.append(key)
    assert not stale, f"these fit now; remove them from the exceptions: {stale}"


@pytest.mark.parametrize(
    "pattern, why",
    [
        (r"\b(TODO|FIXME|XXX|HACK)\b", "finish it or say it in an issue"),
        (r"not implemented yet|NotImplementedError\(\)", "say what is missing and what to do instead"),
        (r"(?<![\w.])/(work|farm|tmp|root|home)/[\w.]", "no path of one machine"),
        (r"^\s*from \S+ import \*", "names must be greppable"),
    ],
)
def test_nothing_is_left_behind(pattern: str, why: str) -> None:
    files = [p for p in EVERYTHING if p != pathlib.Path(__file__)]
    wrong = [
        f"{name(p)}:{number}: {line.strip()[:80]}"
        for p in files
        for number, line in enumerate(p.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not wrong, f"{why}:\n" + "\n".join(wrong)


def test_errors_are_not_swallowed() -> None:
    wrong = [
        f"{name(p)}:{node.lineno}"
        for p in EVERYTHING
        for node in ast.walk(tree(p))
        if isinstance(node, ast.ExceptHandler)
        and all(isinstance(statement, (ast.Pass, ast.Continue)) for statement in node.body)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert not wrong, f"name the exception that is expected, and why it may be ignored: {wrong}"


def test_every_test_can_fail() -> None:
    checks = re.compile("assert|raises|check|warns|run|compile|match|fail")
    wrong = [
        f"{name(p)}:{f.lineno} {f.name}"
        for p in TESTS
        for f in functions(p)
        if f.name.startswith("test_")
        and not any(
            isinstance(x, ast.Assert) or (isinstance(x, ast.Call) and checks.search(ast.unparse(x.func)))
            for x in ast.walk(f)
        )
    ]
    assert not wrong, f"a test without a check: {wrong}"


def kernels_of(path: pathlib.Path) -> dict[str, list[str]]:
    """Functions decorated with @kernel and their argument names, less the chunk that only the CPU has."""
    found = {}
    for f in functions(path):
        if any(re.match(r"kernel\b", ast.unparse(d)) for d in f.decorator_list):
            found[f.name] = [a.arg for a in f.args.args if a.arg not in ("chunk", "nchunks")]
    return found


def test_cuda_kernels_are_twins_of_the_cpu_kernels() -> None:
    wrong = []
    for cuda in sorted((ROOT / "kernels" / "cuda").glob("*.py")):
        cpu = ROOT / "kernels" / "cpu" / cuda.name
        twins = kernels_of(cpu) if cpu.is_file() else {}
        for kernel, arguments in kernels_of(cuda).items():
            if twins.get(kernel) != arguments and f"{cuda.name}:{kernel}" not in CUDA_ONLY:
                wrong.append(f"{name(cuda)}:{kernel}{tuple(arguments)}, on the CPU: {twins.get(kernel)}")
    assert not wrong, "same names, same arguments:\n" + "\n".join(wrong)


def test_public_functions_are_typed_and_documented() -> None:
    wrong = []
    for path in FRAMEWORK:
        for node in tree(path).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or is_private(node):
                continue
            if ast.get_docstring(node) is None:
                wrong.append(f"{name(path)}:{node.lineno} {node.name}: no docstring")
            if isinstance(node, ast.FunctionDef) and not is_typed(node):
                wrong.append(f"{name(path)}:{node.lineno} {node.name}: missing type hints")
    assert not wrong, f"{len(wrong)} public functions:\n" + "\n".join(wrong)


def is_private(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A leading underscore, or a body handed to a decorator that makes the op, gradient or kernel of it."""
    makers = re.compile(r"(elementwise|unary|binary|device|kernel|reduction|composite|view|\w+\.\w+)\b")
    return node.name.startswith("_") or any(makers.match(ast.unparse(d)) for d in node.decorator_list)


def is_typed(function: ast.FunctionDef) -> bool:
    """Every argument and the result are annotated."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return function.returns is not None and all(a.annotation for a in arguments)
