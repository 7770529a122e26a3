# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: a wheel holds compiled programs (make build), so it is for one platform and Python."""

from setuptools import Distribution, setup


class NativeDistribution(Distribution):
    """Has compiled parts, although setuptools did not compile them."""

    def has_ext_modules(self) -> bool:
        return True


setup(distclass=NativeDistribution)
