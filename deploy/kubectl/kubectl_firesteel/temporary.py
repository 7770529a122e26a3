# SPDX-License-Identifier: Apache-2.0
"""What is there for a while only: we made it, and it is deleted however that while ends."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

from . import interrupts
from .kubectl import Kubectl, Refused


@contextlib.contextmanager
def taken_away(kubectl: Kubectl) -> Iterator[list[str]]:
    """The paths that the body puts into this list are deleted after it.

    Raises Refused that names all that could not be. Where something else ends the body, or a signal comes meanwhile, that goes on, and these
    are said only.
    """
    made: list[str] = []
    fault = ""
    try:
        try:
            yield made
        finally:
            with interrupts.to_the_end():
                fault = _delete(kubectl, made)
    except BaseException:
        if fault:
            # Its terminal may be gone.
            with contextlib.suppress(OSError):
                print(f"kubectl firesteel: {fault}", file=sys.stderr)
        raise
    if fault:
        raise Refused(fault)


def _delete(kubectl: Kubectl, paths: Sequence[str]) -> str:
    """All are tried; answers which could not be deleted and why, empty if all were."""
    faults: dict[str, list[str]] = {}
    for path in paths:
        try:
            kubectl.delete(path)
        except Refused as refused:
            faults.setdefault(str(refused), []).append(path)
    return "; ".join(f"{', '.join(which)} could not be deleted: {why}" for why, which in faults.items())
