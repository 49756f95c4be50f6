"""What is installed: every folder, every data file, one version. Building and importing is .ci/run's part."""

from __future__ import annotations

import pathlib
import re
import runpy
import tomllib

import numtorch
import numtorch.kernels

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_in(folder: str, prefix: str) -> set[str]:
    """Dotted names of the packages below a folder."""
    found = {p.parent.relative_to(ROOT / folder).parts for p in (ROOT / folder).rglob("__init__.py")}
    return {".".join([prefix, *parts]) for parts in found}


def test_every_package_is_installed() -> None:
    declared = set(PROJECT["tool"]["setuptools"]["packages"])
    assert declared == packages_in("numtorch", "numtorch") | packages_in("kernels", "numtorch.kernels")


def test_every_folder_with_python_is_a_package() -> None:
    folders = {p.parent for top in ("numtorch", "kernels") for p in (ROOT / top).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_every_data_file_is_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [p for top in ("numtorch", "kernels") for p in (ROOT / top).rglob("*") if p.is_file()]
    data = [p for p in files if p.suffix != ".py" and "__pycache__" not in p.parts]
    left_out = [p.name for p in data if not any(p.match(pattern) for pattern in patterns)]
    assert not left_out, f"package-data in pyproject.toml does not name {left_out}"


def test_kernels_stand_beside_numtorch_and_are_imported_from_inside() -> None:
    assert pathlib.Path(numtorch.kernels.__file__).resolve() == ROOT / "kernels" / "__init__.py"
    assert numtorch.kernels.__name__ == "numtorch.kernels"


def test_one_version() -> None:
    assert numtorch.__version__ == PROJECT["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", numtorch.__version__)


def test_core_dependencies_are_numba_and_numpy_only() -> None:
    names = {re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]}
    assert names == {"numba", "numpy"}


def test_the_stub_of_the_tensor_methods_is_current() -> None:
    written = runpy.run_path(str(ROOT / "tests" / "stubs" / "write.py"))["stub"]()
    assert (ROOT / "numtorch" / "_tensor_methods.pyi").read_text() == written, "run `make stubs`"


def test_the_readme_commands_are_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    texts = (ROOT / "README.md").read_text() + (ROOT / ".ci" / "run").read_text()
    used = set(re.findall(r"^make ([a-z-]+)", texts, re.M))
    assert used <= targets, f"no such target: {used - targets}"
