# SPDX-License-Identifier: Apache-2.0
"""Measures the budgets of docs/architecture.md on this machine and writes docs/benchmarks.md."""
