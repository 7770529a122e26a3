# SPDX-License-Identifier: Apache-2.0
"""What comes before the commands that watch or replay: configuration, log, permission; each with its own exit code."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from collector import capabilities, log
from collector.check_config import print_faults
from collector.config import ConfigError, Loaded, find_source, load
from collector.config_rules import DRIVERS_BUILT, not_yet
from collector.kinds import Duration, Kind, Refused, Size
from collector.options import Exit, RecordOptions, RunOptions
from collector.schema import HOUR, SECOND, Config
from probes.loader import Loading

_HERE = Path(__file__).resolve().parent
# As installed, and in a checkout.
_DEMOS = (_HERE / "demo" / "demo.fsrec", _HERE.parent / "tests" / "recordings" / "demo.fsrec")


def loaded_or_told(path: str | None, settings: Sequence[str]) -> Loaded | None:
    """The configuration, or None after every fault was printed."""
    try:
        return load(find_source(path, settings))
    except ConfigError as error:
        print_faults(error.faults, sys.stderr)
        return None


def run(path: str | None, settings: Sequence[str], *, demo_if_unprivileged: bool) -> int:
    """`firesteel run`."""
    loaded = loaded_or_told(path, settings)
    if loaded is None:
        return Exit.WRONG_USE
    log.configure(loaded.config.log)
    if refusal := not_permitted(loaded.config):
        if demo_if_unprivileged:
            return _demo(loaded, refusal)
        print(f"firesteel run: {refusal}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    for sentence in not_yet(loaded.config):
        log.Log("configuration").warning(sentence, remedy="remove the key, or use a version that has it")
    # Half a second of imports goes on while the loader does its work.
    loading = Loading(loaded.config.drivers, loaded.config.ring.size, loaded.config.kernel.btf)
    try:
        from collector import agent  # noqa: PLC0415 - the rest of the agent, not needed to refuse
    except BaseException:  # Ctrl-C included
        loading.abandon()
        raise
    return agent.run(loaded.config, RunOptions(loaded), loading)


def record(path: str | None, settings: Sequence[str], file: str, duration: str | None, size: str | None) -> int:
    """`firesteel record`."""
    loaded = loaded_or_told(path, settings)
    try:
        duration_ns = _argument("--duration", Duration(SECOND // 1000, 24 * HOUR), duration)
        max_bytes = _argument("--max-bytes", Size(1 << 12, 1 << 40, power=False), size)
    except ValueError as error:
        print(f"firesteel record: {error}", file=sys.stderr)
        return Exit.WRONG_USE
    if loaded is None:
        return Exit.WRONG_USE
    target = None if file == "-" else Path(file)
    if target is None:
        if os.isatty(1):
            print(
                "firesteel record: standard output is a terminal, and a recording is not text; > FILE.fsrec behind it",
                file=sys.stderr,
            )
            return Exit.WRONG_USE
        if not (duration_ns or max_bytes):
            # Ctrl-C ends kubectl, not what it started in a container.
            print(
                "firesteel record: to standard output it needs an end; add --duration 30s or --max-bytes 64MiB",
                file=sys.stderr,
            )
            return Exit.WRONG_USE
    elif target.exists():
        print(f"firesteel record: {file} exists; name a new file or remove it", file=sys.stderr)
        return Exit.WRONG_USE
    elif not target.absolute().parent.is_dir():
        print(f"firesteel record: there is no folder {target.parent}; make it first", file=sys.stderr)
        return Exit.WRONG_USE
    log.configure(loaded.config.log)
    if refusal := not_permitted(loaded.config):
        print(f"firesteel record: {refusal}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    from collector import record as recorder  # noqa: PLC0415

    return recorder.record(loaded.config, RecordOptions(loaded, target, duration_ns, max_bytes))


def replay(path: str | None, settings: Sequence[str], file: str, *, serve: bool, paced: bool, as_json: bool) -> int:
    """`firesteel replay`."""
    loaded = loaded_or_told(path, settings)
    if loaded is None:
        return Exit.WRONG_USE
    log.configure(loaded.config.log)
    if serve:
        from collector import replay_server  # noqa: PLC0415 - HTTP, not needed to print

        return replay_server.serve(loaded, Path(file), paced=paced)
    from collector.replay import show  # noqa: PLC0415 - the compiled engine, not needed for the checks above

    return show(loaded, Path(file), as_json=as_json)


def names(path: str | None, settings: Sequence[str]) -> int:
    """`firesteel names`."""
    loaded = loaded_or_told(path, settings)
    if loaded is None:
        return Exit.WRONG_USE
    log.configure(loaded.config.log)
    from collector import names_service  # noqa: PLC0415 - HTTP, not needed for the check above

    return names_service.run(loaded.config)


def not_permitted(config: Config) -> str:
    """Why this process may not watch the kernel with any configured driver, and the remedy; empty when it may."""
    have = capabilities.effective()
    if config.drivers == ("none",) and not have and os.getuid() != 0:
        return ""  # an ordinary user may read what that driver reads, and has nothing to give up
    lacks = {driver: capabilities.missing(driver, have) for driver in config.drivers if driver in DRIVERS_BUILT}
    watching = {driver: names for driver, names in lacks.items() if driver != "none"} or lacks or {"none": ()}
    if any(not names for names in watching.values()):
        return ""
    driver, names = next(iter(watching.items()))
    listed = ", ".join(f"CAP_{name}" for name in names)
    return f"the {driver} driver needs {listed}, which this process does not have; {capabilities.remedy(names)}"


def demo_recording() -> Path | None:
    """The recording that is shown to those who may not watch the kernel."""
    return next((path for path in _DEMOS if path.is_file()), None)


def _demo(loaded: Loaded, refusal: str) -> int:
    recording = demo_recording()
    print(f"firesteel run: {refusal}", file=sys.stderr)
    if recording is None:
        print("firesteel run: and the bundled recording is not part of this installation", file=sys.stderr)
        return Exit.NOT_PERMITTED
    print(
        "Shown instead is a recording of another machine, until Ctrl-C. For this machine: sudo make run "
        "(installed: sudo firesteel run).",
        file=sys.stderr,
    )
    from collector import replay_server  # noqa: PLC0415

    return replay_server.serve(loaded, recording, paced=True)


def _argument(option: str, kind: Kind[int], text: str | None) -> int:
    """An option's value, 0 when it was not given; raises ValueError with what is allowed."""
    if text is None:
        return 0
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ValueError(f"{option} has no value (allowed: {kind.allowed})")
        return kind.read(node)
    except Refused as refused:
        part = refused.refusals[0]
        near = f", did you mean {part.nearest}?" if part.nearest else ""
        raise ValueError(f"{option}: {part.message} (allowed: {part.allowed}{near})") from None
    except yaml.YAMLError:
        raise ValueError(f"{option}: {text!r} cannot be read (allowed: {kind.allowed})") from None
