"""Run PyTorch's test databases on numtorch and fail if a name that must pass does not.

`ops.txt`, `modules.txt` and `optimizers.txt` beside this file list what must pass, one name a line; `#`
starts a comment. The programs that run the databases are not part of this repository: `--shared` says where
they are.

    python tests/conformance/check.py --shared ../shared             # what must pass
    python tests/conformance/check.py --shared ../shared --update    # run everything, rewrite the lists
    python tests/conformance/check.py --shared ../shared --only ops --name 'nn.functional.conv*'
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SELECTORS = {"ops": "op", "modules": "module", "optimizers": "optimizer"}


def required(database: str) -> list[str]:
    """The names that must pass in one database, in the order of the list."""
    lines = (HERE / f"{database}.txt").read_text().splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def run_database(database: str, programs: pathlib.Path, names: list[str], timeout: int) -> dict[str, dict]:
    """Run one database (all of it without `names`) and return its results by name."""
    selector = SELECTORS[database]
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [sys.executable, str(programs / f"{database}.py"), "--under-test", "numtorch"]
        command += [f"--timeout-per-{selector}", str(timeout), "--json", str(report)]
        for name in names:
            command += [f"--{selector}", name]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.is_file():
            output = (finished.stdout + finished.stderr)[-4000:]
            raise SystemExit(f"{database}: the program wrote no report\n{output}")
        results = json.loads(report.read_text())["results"]
    return {result["name"]: result for result in results}


def compare(database: str, names: list[str], results: dict[str, dict]) -> tuple[int, int]:
    """Print what regressed; returns how many of the required names pass and how many fail."""
    failed = 0
    for name in names:
        result = results.get(name, {"status": "absent", "reason": "the database has no such name"})
        if result["status"] != "pass":
            failed += 1
            print(f"{database}: {name} must pass: {result['status']}, {result.get('reason', '')}")
    return len(names) - failed, failed


def update(database: str, results: dict[str, dict]) -> None:
    """Rewrite a list with the names that pass now, keeping its comments at the top."""
    path = HERE / f"{database}.txt"
    old = path.read_text().splitlines() if path.is_file() else []
    head = [line for line in old if line.startswith("#")]
    passing = sorted(name for name, result in results.items() if result["status"] == "pass")
    path.write_text("\n".join([*head, *passing]) + "\n")
    in_scope = sum(result["status"] != "out of scope" for result in results.values())
    print(f"{database}: {len(passing)} of {in_scope} in scope pass, written to {path.name}")


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), metavar="FOLDER")
    parser.add_argument("--only", choices=sorted(SELECTORS), action="append", help="only this database")
    parser.add_argument("--name", default="*", help="only required names that match this glob")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one name, compilation included")
    parser.add_argument("--update", action="store_true", help="run everything and rewrite the lists")
    return parser.parse_args()


def main() -> None:
    """Run the chosen databases; the exit status is 1 if a required name fails."""
    arguments = parse_arguments()
    programs = arguments.shared / "conformance"
    if not programs.is_dir():
        raise SystemExit(f"no conformance programs in {arguments.shared}; pass --shared FOLDER")
    passed = failed = 0
    for database in arguments.only or SELECTORS:
        if arguments.update:
            update(database, run_database(database, programs, [], arguments.timeout))
            continue
        names = fnmatch.filter(required(database), arguments.name)
        if names:
            good, bad = compare(database, names, run_database(database, programs, names, arguments.timeout))
            print(f"{database}: {good}/{len(names)} required names pass", flush=True)
            passed, failed = passed + good, failed + bad
    if not arguments.update:
        print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
