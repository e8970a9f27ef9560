"""`python -m evaluator.kernel [build]`: which implementation serves here, and how to get the fast one."""

import sys

from evaluator.kernel import compiler
from evaluator.kernel.inflate import SWITCH, uses_kernel_decoder
from evaluator.kernel.library import describe


def main() -> int:
    if sys.argv[1:] == ["build"]:
        try:
            sys.stdout.write(f"built {compiler.compile_kernel().name}\n")
        except compiler.CompilerMissingError as problem:
            sys.stderr.write(f"{problem}\n")
            return 1
    elif sys.argv[1:]:
        sys.stderr.write("usage: python -m evaluator.kernel [build]\n")
        return 2
    sys.stdout.write(f"{describe()}\n")
    if not uses_kernel_decoder():
        sys.stdout.write(f"gzip streams go through zlib ({SWITCH}=zlib)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
