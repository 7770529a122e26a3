# SPDX-License-Identifier: Apache-2.0
"""Who may ask, by the cluster's own accounts: TokenReview says whose a token is, SubjectAccessReview whether they may get
this path (a nonResourceURL of a ClusterRole), as for the kubelet and other components.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication. Answers are kept for a short
while, good ones longer than bad ones, so that neither scrapers nor guessers cost the API server much.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from collector.metadata.kube_api import Unavailable

GOOD_SECONDS: Final = 60.0
BAD_SECONDS: Final = 10.0
KEPT: Final = 512
REVIEWS_MAX: Final = 4
"""At once; who comes beyond that waits."""
_IDENTITY: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_LONGEST_TOKEN: Final = 16_384


class Reviewer(Protocol):
    """The part of the API client that is needed here."""

    def create(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises Unavailable."""
        ...


class CannotTell(Exception):
    """The API server did not answer; nobody is let in meanwhile."""


class TokenReviews:
    """A gate for listeners."""

    def __init__(self, api: Reviewer) -> None:
        self._api = api
        self._known: dict[bytes, tuple[float, bool]] = {}
        self._turn = asyncio.Semaphore(REVIEWS_MAX)

    async def admits(self, authorization: str, path: str) -> bool:
        """Whether the bearer token of this header may get `path`. Raises CannotTell."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN or not token.isascii():
            return False
        # The token itself is not kept.
        key = hashlib.sha256(f"{token}\n{path}".encode()).digest()
        until, admitted = self._known.get(key, (0.0, False))
        if time.monotonic() < until:
            return admitted
        async with self._turn:
            try:
                admitted = await asyncio.to_thread(self._ask, token, path)
            except Unavailable as error:
                raise CannotTell(str(error)) from error
        self._known.pop(key, None)
        while len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = (time.monotonic() + (GOOD_SECONDS if admitted else BAD_SECONDS), admitted)
        return admitted

    def _ask(self, token: str, path: str) -> bool:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = _part(self._api.create(_IDENTITY, review), "status")
        user = _part(status, "user")
        if status.get("authenticated") is not True or not user.get("username"):
            return False
        spec = {
            "user": user["username"],
            "uid": user.get("uid", ""),
            "groups": user.get("groups", []),
            "extra": user.get("extra", {}),
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        access = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return _part(self._api.create(_ACCESS, access), "status").get("allowed") is True


def _part(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, Mapping) else {}
