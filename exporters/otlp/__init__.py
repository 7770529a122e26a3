# SPDX-License-Identifier: Apache-2.0
"""Pushing to an OpenTelemetry collector: metrics and spans, by gRPC or HTTP. Imported only where an endpoint is set."""
