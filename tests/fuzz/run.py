"""Fuzz one kind of input, or all of them one after another.

    python tests/fuzz/run.py KIND...|all [--minutes 3] [--seed 0] [--json]  look for findings
    python tests/fuzz/run.py KIND --replay NUMBER                           one case again, with its traceback

Cases are made from seeds by mutations that know the format. Each runs in a child process: an error other than the
documented one of one line, more than `--seconds` of processor time, a crash, or more than `--gigabytes` of memory
beyond what the libraries take is a finding. Findings of one kind of error are counted together. Exit status 1 if there
are any.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any


sys.path.insert(0, str(Path(__file__).parent))
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")

from fuzzing import KINDS, Kind, make_kind
from fuzzing.expect import Finding


# Processor seconds beyond those of a case, before the parent ends a child that does not come back to Python; and
# seconds without any, after which it waits for something that does not come.
GRACE, STILL = 5.0, 600.0
TICK = os.sysconf("SC_CLK_TCK")


class Overtime(BaseException):
    """A case takes too long. No `Exception`, so that no reader takes it for a damaged file."""


def case_random(kind: str, seed: int, number: int) -> Random:
    return Random(f"{kind} {seed} {number}")


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def children_seconds() -> float:
    """Processor time of all children that have ended."""
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime


def work(cases: Kind, seed: int, first: int, seconds: float, gigabytes: float, pipe: Any) -> None:
    """Run cases from number `first` on and tell of each when it begins and what became of it."""
    kind = cases.name
    begin = Path("/proc/self/statm").read_text().split()[0]
    limit = int(begin) * os.sysconf("SC_PAGESIZE") + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    # Processor time: another program that takes the machine is no hang of ours.
    signal.signal(signal.SIGPROF, _overtime)
    # What readers print of a case is not for the terminal.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    number = first
    while True:
        pipe.send(("begin", number, "", 0.0))
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            result, told = "done", cases.case(case_random(kind, seed, number))
        except Overtime:
            result, told = "finding", f"hang: more than {seconds:g} s in {_place(sys.exc_info()[2])}"
        except MemoryError:
            result, told = "finding", f"memory: more than {gigabytes:g} GB in {_place(sys.exc_info()[2])}"
        except Finding as finding:
            result, told = "finding", str(finding)
        except Exception as error:
            result, told = "finding", f"{type(error).__name__}: {str(error)[:300]} in {_place(sys.exc_info()[2])}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send((result, number, told, time.process_time() - started))
        number += 1


def _overtime(*_: Any) -> None:
    raise Overtime


def _place(stack: Any) -> str:
    frames = [frame for frame in traceback.extract_tb(stack) if "fuzz" not in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:]))


def fuzz(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run cases of a kind for some minutes, in child processes that are replaced when they end."""
    outcomes: Counter[str] = Counter()
    findings: dict[str, dict[str, Any]] = {}
    slowest, slow, number, before = 0.0, 0, 0, children_seconds()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        cases = make_kind(kind, Path(folder), heavy=True)
        began = time.monotonic()
        while time.monotonic() - began < args.minutes * 60 and outcomes.total() < args.cases:
            ours, theirs = context.Pipe(duplex=False)
            given = (cases, args.seed, number, args.seconds, args.gigabytes, theirs)
            child = context.Process(target=work, args=given, daemon=True)
            child.start()
            theirs.close()
            try:
                while time.monotonic() - began < args.minutes * 60 and outcomes.total() < args.cases:
                    result, number, told, seconds = _next_word(ours, child, args.seconds + GRACE)
                    slowest, slow = max((slowest, slow), (seconds, number))
                    if result == "done":
                        outcomes[told] += 1
                    elif result == "finding":
                        outcomes["finding"] += 1
                        _note(findings, told, number)
            except (TimeoutError, EOFError) as error:
                child.join(1)
                why = f"hang in a library: {error}" if child.is_alive() else f"crash: exit status {child.exitcode}"
                outcomes["finding"] += 1
                _note(findings, why, number)
                number += 1
            finally:
                child.kill()
                child.join()
        minutes = (time.monotonic() - began) / 60
    spent = children_seconds() - before
    return {
        "kind": kind, "seed": args.seed, "cases": outcomes.total(), "minutes": round(minutes, 2),
        "processor_seconds": round(spent, 1), "slowest_seconds": round(slowest, 2), "slowest": slow,
        "outcomes": dict(sorted(outcomes.items())), "findings": list(findings.values()),
    }  # fmt: skip


def _next_word(pipe: Any, child: Any, patience: float) -> tuple[str, int, str, float]:
    """What the child says next. Raises `TimeoutError` if it takes too long, `EOFError` if it is gone."""
    begun, waited = processor_seconds(child.pid), time.monotonic()
    while not pipe.poll(2):
        used, still = processor_seconds(child.pid) - begun, time.monotonic() - waited
        if used > patience or still > STILL:
            raise TimeoutError(f"{used:.0f} s of processor time in {still:.0f} s")
    word: tuple[str, int, str, float] = pipe.recv()
    return word


def _note(findings: dict[str, dict[str, Any]], told: str, number: int) -> None:
    # Numbers and quoted inputs differ from case to case.
    key = "".join(character for character in told.partition("\n")[0][:70] if not character.isdigit())
    entry = findings.setdefault(key, {"finding": told, "count": 0, "replay": []})
    entry["count"] += 1
    if len(entry["replay"]) < 3:
        entry["replay"].append(number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="+", choices=[*KINDS, "all"], metavar="KIND", help=f"all, {', '.join(KINDS)}")
    parser.add_argument("--minutes", type=float, default=3.0, help="per kind (default: 3)")
    parser.add_argument("--cases", type=int, default=10**9, help="stop after so many cases of a kind")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    parser.add_argument("--seconds", type=float, default=10.0, help="a case may take (default: 10)")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="a case may take (default: 4)")
    parser.add_argument("--replay", type=int, metavar="NUMBER", help="run one case in this process")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    if args.replay is not None:
        with tempfile.TemporaryDirectory() as folder:
            kind = args.kind[0]
            print(make_kind(kind, Path(folder), heavy=True).case(case_random(kind, args.seed, args.replay)))
        return 0
    results = []
    for kind in KINDS if "all" in args.kind else args.kind:
        result = fuzz(kind, args)
        results.append(result)
        print(
            f"{kind}: {result['cases']} cases in {result['minutes']} minutes and {result['processor_seconds']} "
            f"processor seconds, slowest {result['slowest_seconds']} s (number {result['slowest']}), "
            f"{len(result['findings'])} findings",
            flush=True,
        )
        for finding in result["findings"]:
            print(f"  {finding['count']} x {finding['finding'][:400]!r}; --replay {finding['replay'][0]}", flush=True)
    if args.json:
        print(json.dumps(results))
    return 1 if any(result["findings"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
