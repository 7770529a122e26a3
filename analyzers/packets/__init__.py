# SPDX-License-Identifier: Apache-2.0
"""Packet captures, read offline into the same events that a driver writes."""
