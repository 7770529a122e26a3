# SPDX-License-Identifier: Apache-2.0
"""The command line: one table of commands. What a command needs is imported when it is called, so that all start fast.

argparse rather than a package: ten commands with few options each need nothing more, and it costs no start time.
"""
# ruff: noqa: PLC0415 - imports inside of commands are the point

import argparse
import difflib
import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from collector.options import Exit

Arguments = argparse.Namespace

# As collector.top and collector.ends have them, which cost start time; checked by a test.
TOP_SORTS = ("rate", "errors", "p99", "bytes", "requests")
TOP_LEVELS = ("namespace", "workload", "pod", "address")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_EPILOG = """\
exit codes: 0 done, 1 not as wished, 2 wrong use or configuration, 3 not permitted (with the remedy).
Every configuration key, with its default: docs/config.md."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, one sentence, its own options, and what it does."""

    name: str
    help: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `firesteel`; returns the exit code."""
    parser = _parser()
    name = parser.prog
    try:
        try:
            given = parser.parse_args(arguments)
            command: Command | None = getattr(given, "command", None)
            if command is None:
                parser.print_help(sys.stderr)
                return Exit.WRONG_USE
            name = f"{parser.prog} {command.name}"
            return int(command.run(given))
        finally:
            sys.stdout.flush()  # what is still buffered may find no reader or no room: here, and not at exit
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of a pipe went away: nothing is wrong, and nothing may be said about it at exit either.
        _print_no_more()
        return Exit.DONE
    except PermissionError as error:
        if error.filename is None:
            raise
        print(f"{name}: {error.filename}: {error.strerror}; name another, or sudo {name}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    except OSError as error:
        # Files that a command opens are told by itself; what is left without a name is what it prints.
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        _print_no_more()
        print(f"{name}: standard output: {error.strerror}; print to where there is room", file=sys.stderr)
        return Exit.NOT_AS_WISHED


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if unknown := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            near = difflib.get_close_matches(unknown[1], [command.name for command in COMMANDS], n=1)
            message = f"there is no command {unknown[1]!r}" + (f", did you mean {near[0]}?" if near else "")
        self.exit(Exit.WRONG_USE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="firesteel",
        description="Watches the sockets of this machine from inside the kernel and exports requests and topology.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        child = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.options(child)
        child.set_defaults(command=command)
    return parser


def _nothing(_parser: argparse.ArgumentParser) -> None:
    pass


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: see docs/config.md)")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set one key, such as log.level=debug; repeatable",
    )


def _btf_setting(path: str) -> str:
    from pathlib import Path

    return f"kernel.btf={Path(path).absolute()}"


def _loading(parser: argparse.ArgumentParser) -> None:
    """Of a command that loads a driver."""
    _configuration(parser)
    parser.add_argument(
        "--btf",
        metavar="FILE",
        dest="set",
        action="append",
        default=[],
        type=_btf_setting,
        help="the kernel's types, where it does not tell them: the same as --set kernel.btf=FILE",
    )


def _agent(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--url", help="the agent's API, such as http://127.0.0.1:9501 (default: listen.api)")
    parser.add_argument("--token-file", metavar="FILE", help="file with the API's bearer token (default: listen.auth)")


def _run_options(parser: argparse.ArgumentParser) -> None:
    _loading(parser)
    parser.add_argument(
        "--demo-if-unprivileged", action="store_true", help="without privileges, show the bundled recording instead"
    )


def _record_options(parser: argparse.ArgumentParser) -> None:
    _loading(parser)
    parser.add_argument("file", metavar="FILE", help="where the events go; it must not exist yet; - is standard output")
    parser.add_argument("--duration", metavar="TIME", help="stop after so long, such as 30s (default: at an interrupt)")
    parser.add_argument("--max-bytes", metavar="SIZE", help="stop at this size, such as 64MiB (default: none)")


def _replay_options(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    _json(parser)
    parser.add_argument("file", metavar="FILE", help="a recording, or a packet capture (pcap, pcapng)")
    parser.add_argument("--serve", action="store_true", help="serve the metrics page and the live page")
    parser.add_argument("--pace", action="store_true", help="with --serve: at the speed at which it was recorded")


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="configuration file (default: as run would find it)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="set one key; repeatable")
    _json(parser)


def _agent_json(parser: argparse.ArgumentParser) -> None:
    _agent(parser)
    _json(parser)


def _top_options(parser: argparse.ArgumentParser) -> None:
    _agent_json(parser)
    parser.add_argument("--once", action="store_true", help="print once instead of going on")
    parser.add_argument("--sort", choices=TOP_SORTS, default="rate", help="what comes first (default: rate)")
    parser.add_argument("--level", choices=TOP_LEVELS, default="workload", help="what a line is (default: workload)")
    parser.add_argument(
        "--lines", type=_lines, metavar="N", help="at most so many edges (default: as there is room for)"
    )
    parser.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="between looks (default: 2)")


def _lines(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0.2 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.2 and 3600")
    return value


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS[:PORT]", help="192.0.2.1, 192.0.2.1:80 or [2001:db8::1]:80")
    _agent_json(parser)


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    _loading(parser)
    _json(parser)


def _run(given: Arguments) -> int:
    from collector.start import run

    return run(given.config, given.set, demo_if_unprivileged=given.demo_if_unprivileged)


def _record(given: Arguments) -> int:
    from collector.start import record

    return record(given.config, given.set, given.file, given.duration, given.max_bytes)


def _replay(given: Arguments) -> int:
    from collector.start import replay

    return replay(given.config, given.set, given.file, serve=given.serve, paced=given.pace, as_json=given.json)


def _top(given: Arguments) -> int:
    from collector.client import AgentClient
    from collector.top import top

    def look(client: AgentClient) -> int:
        try:
            return top(
                client,
                once=given.once,
                as_json=given.json,
                sort=given.sort,
                level=given.level,
                most=given.lines,
                interval=given.interval,
            )
        except KeyboardInterrupt:
            return Exit.DONE  # how one leaves it

    return _ask(given, look)


def _status(given: Arguments) -> int:
    from collector.client import AgentClient
    from collector.status import status

    def ask(client: AgentClient) -> int:
        return status(client, given.json)

    return _ask(given, ask)


def _explain(given: Arguments) -> int:
    from collector.client import AgentClient
    from collector.status import explain, parse_address

    try:
        ip, port = parse_address(given.address)
    except ValueError as error:
        print(f"firesteel explain: {error}", file=sys.stderr)
        return Exit.WRONG_USE

    def ask(client: AgentClient) -> int:
        return explain(client, ip, port, given.json)

    return _ask(given, ask)


def _ask(given: Arguments, question: Callable[..., int]) -> int:
    from collector.client import Unanswered, client_for
    from collector.start import loaded_or_told

    loaded = loaded_or_told(given.config, given.set)
    if loaded is None:
        return Exit.WRONG_USE
    try:
        return question(client_for(loaded.config, given.url, given.token_file))
    except Unanswered as error:
        return _told(given, error.problem, error.remedy)


def _told(given: Arguments, problem: str, remedy: str) -> int:
    if getattr(given, "json", False):
        print(json.dumps({"error": {"what": problem, "remedy": remedy}}))
    else:
        print(f"firesteel: {problem}; {remedy}", file=sys.stderr)
    return Exit.NOT_AS_WISHED


def _check_config(given: Arguments) -> int:
    from collector.check_config import check_config
    from collector.config import find_source

    return check_config(find_source(given.file, given.set), given.json)


def _doctor(given: Arguments) -> int:
    from collector.config import find_source
    from collector.doctor import doctor
    from collector.driver_check import DRIVER_CHECK
    from collector.host_checks import CHECKS

    return doctor(find_source(given.config, given.set), given.json, checks=(*CHECKS, DRIVER_CHECK))


def _names(given: Arguments) -> int:
    from collector.start import names

    return names(given.config, given.set)


def _uninstall_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument("--node-root", metavar="FOLDER", default="/", help="where the node's files are (default: /)")


def _uninstall(given: Arguments) -> int:
    from collector.uninstall import uninstall

    return uninstall(given.node_root, dry=given.dry_run)


def _version(given: Arguments) -> int:
    from collector.version import describe

    told = describe()
    if given.json:
        print(json.dumps(told))
        return Exit.DONE
    commit = f", commit {told['commit']}" if told["commit"] else ""
    print(
        f"firesteel {told['version']}, event contract {told['contract']}, "
        f"Python {told['python']}, Linux {told['kernel']}{commit}"
    )
    return Exit.DONE


COMMANDS = (
    Command("run", "Watch this machine and serve metrics, the API and the live page.", _run_options, _run),
    Command("doctor", "Say what works here, what does not, and what to do about it.", _doctor_options, _doctor),
    Command(
        "check-config", "Print what is wrong with a configuration, or all it comes to.", _check_options, _check_config
    ),
    Command("record", "Watch this machine and write the kernel's events to a file.", _record_options, _record),
    Command(
        "replay", "Print the metrics page of a recording or a packet capture, or serve it.", _replay_options, _replay
    ),
    Command("top", "Show the busiest conversations of a running agent, live.", _top_options, _top),
    Command("status", "Ask a running agent how it is.", _agent_json, _status),
    Command("explain", "Ask a running agent who is behind an address.", _explain_options, _explain),
    Command("names", "Serve the names of a cluster to its agents.", _configuration, _names),
    Command(
        "uninstall",
        "Remove what outlives the agent: kernel module and /var/lib/firesteel.",
        _uninstall_options,
        _uninstall,
    ),
    Command("version", "Print version, event contract, Python, kernel and commit.", _json, _version),
)


if __name__ == "__main__":
    sys.exit(main())
