#!/usr/bin/env python3
"""Verifies the Break-Glass-Assertion of a request, with PyJWT (pip install "PyJWT[crypto]").

In a service:

    keys = Keys("http://127.0.0.1:9903/.well-known/jwks.json", root="<the control plane's public root key>")
    verifier = Verifier("payments-demo", keys)
    claims = verifier.verify(assertion, method, target)       # as soon as the request's head is read
    must_be_for(claims, "contract/C-1042", "payment.release")  # once path and body are known

`target` is path and query exactly as they stand in the request line. What is refused raises Refused: then the request
is not an override, whatever its other headers say.

On the command line the assertion comes on standard input; the exit code is 0 and the claims are printed if it holds,
otherwise 1 and the reason:

    verify_assertion.py --keys KEYS --service NAME --method POST --target /v1/... --resource R --action A < assertion
"""

import argparse
import base64
import hashlib
import http.client
import json
import socket
import sys
import threading
import time
import urllib.parse

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TYPE = "bg-assertion+jwt"
KEY_TYPE = "bg-key+jwt"
CLAIMS = ["iss", "aud", "jti", "iat", "nbf", "exp", "grant", "sub", "role", "resource", "action", "reason", "ticket",
          "method", "target_sha256", "record", "number"]
LIFETIME_S = 30
LEEWAY_S = 5
BYTES_MAX = 8 * 1024
KEYS_PATH = "/.well-known/jwks.json"
KEYS_BYTES_MAX = 64 * 1024
KEEP_S = 60          # the key set's max-age
REFRESH_MIN_S = 1    # a stranger's key id must not make us fetch at every request
FETCH_S_MAX = 2


class Refused(Exception):
    """The assertion does not hold for this request."""


def _b64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _sha256(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _thumbprint(x):
    """RFC 7638, of an Ed25519 key (RFC 8037, section 2)."""
    return _sha256(json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":")).encode())


def _decode(token, key, kind, required, audience=None, leeway=0):
    """The claims, once a key of ours has signed them: `key` answers the key of an id, or refuses.

    The header must be exactly typ, alg and kid: it can bring no key or rule of its own. PyJWT checks signature, exp, nbf
    and iat, and aud where one is wanted (one string, no list); the algorithm is ours to say, never the header's.
    """
    if len(token) > BYTES_MAX:
        raise Refused("it is too long")
    try:
        header = jwt.get_unverified_header(token)
        if set(header) != {"typ", "alg", "kid"} or header["typ"] != kind:
            raise Refused(f"its header is not that of a {kind}")
        return jwt.decode(token, key(header["kid"]), algorithms=["EdDSA"], audience=audience, leeway=leeway,
                          options={"require": required, "strict_aud": audience is not None})
    except jwt.PyJWTError as error:
        raise Refused(str(error)) from error


def certified(jwk, root):
    """What the root says of a key: raises Refused unless it may sign assertions now."""
    public = Ed25519PublicKey.from_public_bytes(_b64(root))

    def key(kid):
        if kid != _thumbprint(root):
            raise Refused("another root certified the key")
        return public

    claims = _decode(jwk.get("bg_certificate", ""), key, KEY_TYPE, ["x", "purpose", "service", "instance", "nbf", "exp"])
    if claims["purpose"] != "assertion" or claims["x"] != jwk["x"]:
        raise Refused("the key is certified for something else")
    return claims


class Keys:
    """The sidecar's keys: fetched, kept a minute, and fetched anew when one is not known.

    `place` is an http URL, a Unix socket as unix:/path, or a file. With `root`, a key counts only with a certificate.
    """

    def __init__(self, place, root=None):
        self.place, self.root = place, root
        self._lock, self._known, self._fetched = threading.Lock(), {}, None

    def get(self, kid):
        with self._lock:
            age = None if self._fetched is None else time.monotonic() - self._fetched
            if age is None or age > KEEP_S or (kid not in self._known and age > REFRESH_MIN_S):
                self._known, self._fetched = self._read(self._fetch()), time.monotonic()
            if kid not in self._known:
                raise Refused("its key is not one of the sidecar's")
            return self._known[kid]

    def _read(self, document):
        known = {}
        for jwk in json.loads(document)["keys"]:
            if (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) != ("OKP", "Ed25519", "EdDSA", "sig"):
                continue
            if jwk["kid"] != _thumbprint(jwk["x"]):
                raise Refused("a key's id is not its thumbprint")
            try:
                by = certified(jwk, self.root) if self.root else None
            except Refused:
                continue
            known[jwk["kid"]] = (jwt.PyJWK(jwk, algorithm="EdDSA").key, by)
        return known

    def _fetch(self):
        if self.place.startswith("unix:"):
            connection = http.client.HTTPConnection("sidecar", timeout=FETCH_S_MAX)
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(FETCH_S_MAX)
            connection.sock.connect(self.place.removeprefix("unix:"))
            path = KEYS_PATH
        elif self.place.startswith("http:"):
            url = urllib.parse.urlsplit(self.place)
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=FETCH_S_MAX)
            path = url.path or KEYS_PATH
        else:
            with open(self.place, "rb") as file:
                return file.read(KEYS_BYTES_MAX)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Refused(f"the sidecar's keys were answered with {answer.status}")
            return answer.read(KEYS_BYTES_MAX)
        finally:
            connection.close()


class Verifier:
    def __init__(self, service, keys):
        self.service, self.keys = service, keys

    def verify(self, assertion, method, target):
        """The claims, if the assertion holds for this request. Ask must_be_for before believing what it is about."""
        by = None

        def key(kid):
            nonlocal by
            public, by = self.keys.get(kid)
            return public

        claims = _decode(assertion, key, TYPE, CLAIMS, audience=self.service, leeway=LEEWAY_S)
        if claims["exp"] - claims["iat"] > LIFETIME_S:
            raise Refused("it lives longer than an assertion does")
        if not claims["iss"].startswith(f"urn:breakglass:sidecar:{self.service}:"):
            raise Refused("it is of another service's sidecar")
        if by:
            if claims["iss"] != f"urn:breakglass:sidecar:{by['service']}:{by['instance']}":
                raise Refused("its key was certified for another sidecar")
            if claims["iat"] < by["nbf"] or claims["exp"] > by["exp"]:
                raise Refused("its key is not certified for that time")
        if claims["method"] != method:
            raise Refused("it is for another method")
        if claims["target_sha256"] != _sha256(target.encode()):
            raise Refused("it is for another target")
        return claims


def must_be_for(claims, resource, action):
    """Compare with everything the request names: its path AND its body."""
    if claims["resource"] != resource:
        raise Refused("it is for another resource")
    if claims["action"] != action:
        raise Refused("it is for another action")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("keys", "service", "method", "target", "resource", "action"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--root", help="the control plane's public root key, base64url")
    args = parser.parse_args()
    try:
        verifier = Verifier(args.service, Keys(args.keys, args.root))
        claims = verifier.verify(sys.stdin.read().strip(), args.method, args.target)
        must_be_for(claims, args.resource, args.action)
    except (Refused, OSError, ValueError, KeyError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(json.dumps(claims, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
