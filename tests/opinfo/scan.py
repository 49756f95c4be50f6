"""Make the checks of ``checks.py`` on all entries that numtorch has and count what passes.

    python tests/opinfo/scan.py                             # everything (half an hour)
    python tests/opinfo/scan.py --check out --op 'cum*' --most 5 --verbose

Entries run in a process of their own: one that dies is counted and the next ones go on.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def entries() -> dict[str, object]:
    """The entries that numtorch passes in the conformance programs, by full name."""
    from torch.testing._internal.common_methods_invocations import op_db

    lines = (HERE.parent / "conformance" / "ops.txt").read_text().splitlines()
    names = {line.strip() for line in lines if line and not line.startswith("#")}
    return {op.full_name: op for op in op_db if op.full_name in names}


def work(names: list[str], chosen: list[str], most: int, report: pathlib.Path, seconds: int) -> None:
    """Check entries and write a line of JSON for each result."""
    from opinfo.carry import Skip
    from opinfo.checks import CHECKS

    warnings.simplefilter("ignore")
    found = entries()
    signal.signal(signal.SIGALRM, _late)
    with report.open("a") as file:
        for name in names:
            for check in chosen:
                print(json.dumps(["start", name, check]), file=file, flush=True)
                signal.alarm(seconds)
                try:
                    for label, difference in CHECKS[check](found[name], **({"most": most} if most else {})):
                        print(json.dumps(["result", name, check, label, difference]), file=file, flush=True)
                except Skip as why:
                    print(json.dumps(["skip", name, check, str(why)]), file=file, flush=True)
                except Exception as error:
                    text = f"the check failed: {type(error).__name__}: {error}"
                    print(json.dumps(["result", name, check, "?", text]), file=file, flush=True)
                signal.alarm(0)


def _late(*_: object) -> None:
    raise TimeoutError("out of time")


def scan(names: list[str], arguments: argparse.Namespace, report: pathlib.Path) -> None:
    """Run workers until all names are done."""
    while names:
        command = [sys.executable, __file__, "--work", ",".join(names), "--report", str(report), "--most", str(arguments.most)]
        for check in arguments.check:
            command += ["--check", check]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        lines = report.read_text().splitlines() if report.exists() else []
        if not lines:
            raise SystemExit(done.stderr[-4000:])
        last = [json.loads(line) for line in lines if line.startswith('["start"')][-1]
        with report.open("a") as file:
            print(json.dumps(["result", last[1], last[2], "?", f"crash: {done.returncode} {done.stderr[-300:]}"]), file=file)
        names = names[names.index(last[1]) + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", action="append", default=[])
    parser.add_argument("--check", action="append", default=[])
    parser.add_argument("--most", type=int, default=0, help="samples of a group")
    parser.add_argument("--seconds", type=int, default=120, help="for one check of one entry")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--report", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work.split(","), arguments.check, arguments.most, arguments.report, arguments.seconds)
        return
    from opinfo.checks import CHECKS

    arguments.check = arguments.check or list(CHECKS)
    names = [n for n in entries() if not arguments.op or any(fnmatch.fnmatch(n, p) for p in arguments.op)]
    report = arguments.report or pathlib.Path(tempfile.mkdtemp()) / "report.jsonl"
    report.unlink(missing_ok=True)
    scan(names, arguments, report)
    show(report, arguments.verbose)


def show(report: pathlib.Path, verbose: bool) -> None:
    """Failures and totals."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    shown: collections.Counter = collections.Counter()
    for line in report.read_text().splitlines():
        kind, name, check, *rest = json.loads(line)
        if kind != "result":
            continue
        label, difference = rest
        counts[check]["passed" if difference is None else "failed"] += 1
        if difference is not None:
            shown[name, check] += 1
            if verbose or shown[name, check] == 1:
                print(f"{check:9} {name:40} {label}\n{'':12}{difference[:400]}")
    for check, n in counts.items():
        print(f"{check}: {n['passed']}/{n['passed'] + n['failed']}")


if __name__ == "__main__":
    main()
