# SPDX-License-Identifier: Apache-2.0
"""The doctor's last word on drivers: it has the loader try them, self-test included, and takes everything off again."""

from collector import capabilities
from collector.findings import FAIL, OK, WARN, Check, Finding
from collector.host import Host
from collector.schema import Config
from probes import loader
from probes.attachment import Report, not_taken

TRIAL_RING_BYTES = 1 << 18


def trial(host: Host, config: Config) -> list[Finding]:
    """Loads for real: needs the privileges that the agent needs. Nothing stays loaded."""
    have = capabilities.capabilities_in(host.process())
    wanted = [driver for driver in config.drivers if driver != "none"]
    if not wanted:
        return [Finding(WARN, "driver: none is configured: requests are not seen", "driver: auto")]
    if all(capabilities.missing(driver, have) for driver in wanted):
        return [Finding(WARN, "not tried: privileges are missing", "run firesteel doctor as root")]
    attachment = loader.start(config.drivers, TRIAL_RING_BYTES, config.kernel.btf)
    attachment.close()
    return findings(attachment.report)


def findings(report: Report) -> list[Finding]:
    """What a loader's report means to the person who asked."""
    told = []
    if report.driver == "none":
        told.append(
            Finding(FAIL, "no driver could be loaded: requests will not be seen", "see the reasons that follow")
        )
    else:
        attached = sum(hook.attached for hook in report.hooks)
        told.append(
            Finding(
                OK,
                f"{report.driver} loads by {report.hook_set}: {attached} of {len(report.hooks)} hooks, "
                f"self-test {report.self_test}",
            )
        )
    state = FAIL if report.driver == "none" else OK
    told += [
        Finding(
            state,
            f"{not_taken(rejected.driver, report.driver)}: {rejected.reason}",
            rejected.remedy,
        )
        for rejected in report.rejected
    ]
    told += [
        Finding(WARN, f"hook {hook.name} cannot be attached: {hook.reason}", f"goes without: {hook.loses}")
        for hook in report.hooks
        if not hook.attached and hook.loses
    ]
    return told


DRIVER_CHECK = Check("driver", trial)
