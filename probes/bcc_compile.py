# SPDX-License-Identifier: Apache-2.0
"""BCC's compiler, in a process of its own: it takes 200 MiB, and all of them are gone when it ends.

Run by Debian's own python3, which has python3-bpfcc; so nothing of ours is imported. Reads a request from standard input
(JSON: text, flags, headers, programs, optional, parent), writes {"programs": {name: instructions in base64}, ...} to the path that is
the only argument. Exit status 3: there is no BCC here.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import sys
import time

NO_BCC = 3
_PR_SET_PDEATHSIG = 1


def main() -> int:
    request = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != request["parent"]:
        return 1
    try:
        import bcc  # type: ignore[import-not-found]  # noqa: PLC0415 - may not be there

        compiler = bcc.BPF
    except (ImportError, AttributeError) as error:  # on PyPI another project has that name
        print(error, file=sys.stderr)
        return NO_BCC
    # Where BCC looks for headers: else it goes by the running kernel, and loads a module to find them.
    os.environ["BCC_KERNEL_SOURCE"] = request["headers"]
    began = time.monotonic()
    compiled = compiler(text=request["text"], cflags=request["flags"])
    programs = {}
    for name in request["programs"] + request["optional"]:
        try:
            programs[name] = base64.b64encode(compiled.dump_func(name.encode())).decode()
        except Exception:
            if name in request["programs"]:
                raise
    answer = {
        "programs": programs,
        "bcc": getattr(bcc, "__version__", ""),
        "seconds": time.monotonic() - began,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    with open(sys.argv[1], "w") as out:  # noqa: PTH123 - any Python 3 will do
        json.dump(answer, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
