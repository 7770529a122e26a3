# SPDX-License-Identifier: Apache-2.0
"""Kinds of text that several parts of the configuration's table ask for."""

from collector.kinds import Text

NAME = Text(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?", "a Kubernetes name")
PATH = Text(r"(/[^\x00]*)?", 'an absolute path, or ""')
