"""`python -m tests.cases FILE...`: rates the cases of files with the oracle and the core, and says what differs."""

import sys
from pathlib import Path

from tests.cases import raters
from tests.cases.checking import differences
from tests.cases.notation import read_cases
from tests.cases.words import CaseError


def main(files: list[str]) -> int:
    """0 if every case holds, 1 if one does not, 2 if one cannot be read."""
    try:
        cases = [case for file in files for case in read_cases(Path(file))]
    except (CaseError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    found = [
        f"{text} ({name})"
        for case in cases
        for name, rater in raters.IN_MEMORY.items()
        for text in differences(case, rater(case))
    ]
    print("\n".join([*found, f"{len(cases)} cases, {len(found)} differences"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
