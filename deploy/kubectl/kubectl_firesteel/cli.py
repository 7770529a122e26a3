# SPDX-License-Identifier: Apache-2.0
"""The command line of `kubectl firesteel`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import bundle, check, install, interrupts, uninstall, upgrade, views
from .kubectl import Kubectl, Refused
from .objects import PROFILES, Images, version

_DESCRIPTION = (
    "Firesteel in a cluster: install it, look at it, take it away. Asks through kubectl, with its credentials."
)
_EPILOG = "exit codes: 0 done, 1 not as wished, 2 wrong use, 3 the cluster refused or cannot be reached."
_SORTS = ("rate", "errors", "p99", "bytes", "requests")


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the exit code."""
    given = _parser().parse_args(arguments)
    options = [
        part
        for name in ("kubeconfig", "context")
        if getattr(given, name)
        for part in (f"--{name}", getattr(given, name))
    ]
    interrupts.raise_once()
    try:
        return _through(options, given)
    except KeyboardInterrupt:
        return 130


def _through(options: Sequence[str], given: argparse.Namespace) -> int:
    """Asks through a kubectl of its own, which is gone at the end; answers the exit code, or raises KeyboardInterrupt."""
    kubectl = Kubectl(options, os.environ.get("KUBECTL", "kubectl"))
    try:
        return _run(kubectl, given)
    except Refused as refused:
        print(f"kubectl firesteel: {refused}", file=sys.stderr)
        return 3
    except FileExistsError as error:
        print(f"kubectl firesteel: {error.filename} exists; name a new file with --output", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"kubectl firesteel: {error.filename or 'here'}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        with interrupts.to_the_end():
            kubectl.close()


def _run(kubectl: Kubectl, given: argparse.Namespace) -> int:
    space = given.namespace
    done: bool
    match given.command:
        case "install":
            done = install.install(kubectl, _wish(given), print)
        case "upgrade":
            done = upgrade.upgrade(kubectl, _wish(given), yes=given.yes, say=print)
        case "check":
            done = check.check(
                kubectl, space, given.node, images=_images(given), seconds=given.timeout, as_json=given.json, say=print
            )
        case "status":
            done = views.status(kubectl, space, given.node, as_json=given.json, say=print)
        case "top":
            return views.top(
                kubectl, space, given.node, sort=given.sort, lines=given.lines, as_json=given.json, say=print
            )
        case "explain":
            done = views.explain(kubectl, space, given.address, given.node, as_json=given.json, say=print)
        case "bundle":
            bundle.bundle(kubectl, space, Path(given.output), print)
            done = True
        case "uninstall":
            gone = uninstall.Wish(space, given.every_node, _images(given), given.dry_run, given.timeout)
            done = uninstall.uninstall(kubectl, gone, print)
        case _:
            print(f"kubectl-firesteel {version()}")
            done = True
    return 0 if done else 1


def _wish(given: argparse.Namespace) -> install.Wish:
    return install.Wish(
        given.namespace, tuple(getattr(given, "profile", None) or ("core",)), _images(given),
        getattr(given, "names", False), given.dry_run, given.timeout,
    )  # fmt: skip


def _images(given: argparse.Namespace) -> Images:
    return Images(given.image_registry, given.tag, tuple(given.image_pull_secret or ()))


def _lines(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines, 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-n", "--namespace", default="firesteel", help="where Firesteel is (default: firesteel)")
    shared.add_argument("--context", default="", help="kubectl's")
    shared.add_argument("--kubeconfig", default="", help="kubectl's")
    image = argparse.ArgumentParser(add_help=False)
    image.add_argument("--image-registry", default="", metavar="HOST/PATH", help="where nodes pull images from")
    image.add_argument("--tag", default="", help=f"of the images (default: {version()})")
    image.add_argument(
        "--image-pull-secret", action="append", metavar="NAME",
        help="of a Secret in that namespace, for a registry that asks who one is; repeatable",
    )  # fmt: skip
    image.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="to wait (default: 300)")
    dry = argparse.ArgumentParser(add_help=False)
    dry.add_argument("--dry-run", action="store_true", help="change nothing; the API server checks what would be sent")
    node = argparse.ArgumentParser(add_help=False)
    node.add_argument("--node", default="", help="this one only")
    node.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser("kubectl firesteel", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, epilog=_EPILOG, parents=[shared, *parents])

    made = command("install", "Install, or put back as it was; a configuration that was changed stays.", image, dry)
    made.add_argument("--profile", action="append", choices=PROFILES, help="repeatable (default: core)")
    made.add_argument("--names", action="store_true", help="with the names service, for more than 100 nodes")
    command("check", "Run firesteel doctor on every node, before or after.", image, node)
    command("status", "How every agent is: driver, loss, age of names.", node)
    seen = command("top", "The busiest edges of all nodes; with --node, live.", node)
    seen.add_argument("--sort", choices=_SORTS, default="rate", help="what comes first (default: rate)")
    seen.add_argument(
        "--lines", type=_lines, metavar="N",
        help=f"at most so many edges (default: {views.LINES}; live, what the terminal has room for)",
    )  # fmt: skip
    asked = command("explain", "Who is behind an address.", node)
    asked.add_argument("address", metavar="ADDRESS[:PORT]")
    packed = command("bundle", "Write an archive for somebody who helps, without secrets.")
    packed.add_argument("--output", default="firesteel-bundle.tar.gz", metavar="FILE", help="it must not exist yet")
    newer = command("upgrade", "Say what an upgrade changes; with --yes, do it.", image, dry)
    newer.add_argument("--yes", action="store_true", help="do it")
    gone = command("uninstall", "Take everything away, on nodes as well.", image, dry)
    gone.add_argument("--every-node", action="store_true", help="clean all nodes, not only those of profile kmod")
    command("version", "The version of this plugin and of what it installs.")
    return parser
