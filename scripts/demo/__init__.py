# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a small shop of real services in network namespaces, watched by an agent, a Prometheus and, where there is
one, a Grafana.

The shop, the agent and the monitoring are in a process namespace of their own, so the agent shows them and nothing else
of this machine, and the kernel ends all of them with the first. What plays the internet is outside of it.
"""
