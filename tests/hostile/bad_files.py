"""Makes bad files of every kind that is read and checks how each is refused: bad_files.py WORK READER...

READER is a cases_*.py here. Needs rsrc, rsr-run and rsr-mkmodel in PATH. With --no-memory, memory is not
measured (sanitizers have their own); with --list, the cases are printed and nothing is run.
"""
import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness  # noqa: E402

# The memory of a run without errors.
VALID = {"rsrc": ["rsrc", "--print-targets"], "rsr-run": ["rsr-run", "--version"]}


def base_bytes(program, work):
    result = harness.run(VALID[program], work)
    if result.status != 0:
        sys.exit(f"{program} does not run: {result.stderr}")
    return result.peak_bytes


def load(reader):
    cases = importlib.import_module("cases_" + reader).CASES
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"{reader}: two cases are called {', '.join(twice)}")
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("readers", nargs="+", metavar="READER")
    parser.add_argument("--only", help="one case, whose folder is kept")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    failed = 0
    bases = {program: 0 if options.no_memory else base_bytes(program, options.work) for program in VALID}
    for reader in options.readers:
        cases = [case for case in load(reader) if options.only in (None, case.name)]
        for case in cases:
            if options.list:
                print(f"{reader:12} {case.name:40} {case.slug}")
                continue
            problem = harness.run_case(case, options.work / reader / case.name, bases[case.program])
            if problem:
                print(f"{reader:12} {case.name:40} {problem}")
                failed += 1
        print(f"{reader}: {len(cases)} bad files")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
