"""The demo and the warm-up command, in small; `make demo` runs the demo in full."""

from __future__ import annotations

import pathlib
import sys

import pytest

from numtorch import _progress, demo, warmup


def test_eager_and_replayed_training_agree(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", ["demo", "--epochs", "1", "--picture", str(picture)])
    demo.main()  # exits with an error if the two trainings differ in any loss
    said = capsys.readouterr().out
    assert "1437 digits to learn from, 360 held out" in said
    assert "distance = (logits - logits.detach())" in said, "anomaly mode does not show the planted line"
    assert picture.is_file() or "matplotlib is not installed" in said


def test_the_split_keeps_every_image_once() -> None:
    digits = demo.load_digits()
    assert digits.train_images.shape == (1437, 1, 8, 8) and digits.test_images.shape == (360, 1, 8, 8)
    assert len(digits.train_labels) + len(digits.test_labels) == 1797


@pytest.mark.parametrize("program", list(warmup.PROGRAMS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_program_of_the_warm_up_runs(program: str, dtype: str) -> None:
    import numtorch

    before = numtorch.get_default_dtype()
    try:
        assert warmup.run(program, dtype) == (f"{program} ({dtype})", "")
    finally:
        numtorch.set_default_dtype(before)


def test_compiling_ahead_reports_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert warmup.compile_ahead(["optimizers"], ["float32"], jobs=1) == []
    (failure,) = warmup.compile_ahead(["no such program"], ["float32"], jobs=1)
    assert failure.startswith("no such program (float32): KeyError")
    assert "1/1 programs" in capsys.readouterr().err


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress.progress(100, "work") as bar:
        for _ in range(100):
            bar.advance("ok")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and "100/100 steps" in lines[-1] and lines[-1].endswith("ok")
