# SPDX-License-Identifier: Apache-2.0
"""What the bcc driver would compile in a machine, compiled out here: under emulation it takes minutes."""

import os
from collections.abc import Sequence
from pathlib import Path

from probes import bcc_cache, bcc_programs
from probes.driver import Rejection
from probes.facts import Facts
from tests.vm import kernels
from tests.vm.kernels import Lacking


def cache() -> Path:
    """Where the programs lie: the machine reads them from there."""
    return kernels.cache().with_name("bcc")


def compiled(name: str, *, perf_rings: bool = False, defines: Sequence[str] = ()) -> bcc_programs.Compiled:
    """The programs for the kernel of this name, of today's sources. Raises Lacking if there is no BCC here."""
    kernel = kernels.get(name)
    # A machine has cgroup v2 and the first of all pid namespaces.
    here = Facts(kernel.release, "x86_64", True, Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup"), None)
    kept = {word: os.environ.get(word) for word in (bcc_cache.VARIABLE, bcc_programs.RING_VARIABLE)}
    os.environ[bcc_cache.VARIABLE] = str(cache())
    os.environ[bcc_programs.RING_VARIABLE] = "perf" if perf_rings else ""
    try:
        return bcc_programs.compiled(here, kernel.root / "usr/src" / f"linux-headers-{kernel.release}", defines)
    except Rejection as rejection:
        if "has no BCC" in rejection.reason or "there is no /usr/bin/python3" in rejection.reason:
            raise Lacking(f"{rejection.reason}: {rejection.remedy}") from None
        raise
    finally:
        for word, value in kept.items():
            if value is None:
                del os.environ[word]
            else:
                os.environ[word] = value
