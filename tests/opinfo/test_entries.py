"""PyTorch's operator, module and optimizer databases beyond what the conformance programs see: a sample of ``scan.py``'s checks."""

from __future__ import annotations

import warnings
import zlib

import pytest

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

# Which part of the entries a check is made of here, one in so many; `python tests/opinfo/scan.py` makes them all.
EVERY = {"errors": 2, "methods": 4, "out": 12, "in_place": 12, "second": 24, "layouts": 24, "dtypes": 80, "nodes": 12}
LEAST = {"errors": 200, "methods": 40, "out": 60, "in_place": 20, "second": 10, "layouts": 30, "dtypes": 30, "nodes": 25}


@pytest.mark.parametrize("check", EVERY)
def test_entries(check):
    pytest.importorskip("torch")
    from opinfo.carry import Skip
    from opinfo.checks import CHECKS
    from opinfo.known import KNOWN
    from opinfo.scan import entries

    made, wrong = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, op in entries().items():
            if zlib.crc32(name.encode()) % EVERY[check] or name in KNOWN[check]:
                continue
            try:
                for label, difference in CHECKS[check](op, **({} if check == "errors" else {"most": 1})):
                    made += 1
                    if difference is not None:
                        wrong.append(f"{name} {label}: {difference}")
            except Skip:
                continue
    assert not wrong, f"{len(wrong)} of {made} differ:\n" + "\n".join(wrong)
    assert made >= LEAST[check]


@pytest.mark.parametrize(("database", "least"), [("modules", 80), ("optimizers", 100)])
def test_bad_inputs_of_modules_and_optimizers(database, least):
    pytest.importorskip("torch")
    from opinfo import others

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = list(getattr(others, database)())
    wrong = [f"{label}: {difference}" for label, difference in results if difference is not None]
    assert not wrong, "\n".join(wrong)
    assert len(results) >= least
