# SPDX-License-Identifier: Apache-2.0
"""Makes the captures of this folder anew, as root: `python -m tests.recordings.captures.capture`.

Then `python tests/replay/test_captures.py` writes the golden results; read the difference before it is committed.
"""

import subprocess
from pathlib import Path

from tests import servers
from tests.tcpdump import NAMES, talk, tcpdump

HERE = Path(__file__).resolve().parent
PATHS = ("/", "/status/404/x", "/", "/status/503/y", "/body/3000")
WEB, DNS, CLOSED = 25080, 25053, 25001


def main() -> None:
    """Loopback as Ethernet with nanoseconds, and as Linux cooked packets that are then written as pcapng."""
    ports = (WEB, DNS, CLOSED)
    cooked = HERE / "cooked.tmp"
    with servers.nginx(port=WEB, bodies=[3000]) as web, servers.dnsmasq(NAMES, domain="shop.test", port=DNS) as names:
        with tcpdump(HERE / "shop-lo-nano.pcap", ports, options=["--time-stamp-precision=nano"]):
            talk(web, names, CLOSED, rounds=2, paths=PATHS)
        with tcpdump(cooked, ports, interface="any", options=["-y", "LINUX_SLL2"]):
            talk(web, names, CLOSED, rounds=2, paths=PATHS)
        with tcpdump(HERE / "shop-snaplen-100.pcap", ports, options=["-s", "100"]):
            talk(web, names, CLOSED, rounds=2, paths=PATHS)
    subprocess.run(["editcap", "-F", "pcapng", cooked, HERE / "shop-any.pcapng"], check=True)
    cooked.unlink()


if __name__ == "__main__":
    main()
