# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel`: Firesteel in a cluster, by kubectl itself: its kubeconfig, its credentials, its plugins.

Only Python's own library is needed, from 3.10 on, for this runs where kubectl does.
"""
