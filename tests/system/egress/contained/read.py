"""Asks for what a policy reads, and says what came of each request, what stands for the credentials, and whether
what is trusted has a certificate of the image's."""

import json
import os
import ssl
import urllib.error
import urllib.request

secure, plain = "https://allowed.example", "http://allowed.example"


def said(url, method="GET", **headers):
    asked = urllib.request.Request(url, method=method, headers=headers)
    try:
        return urllib.request.urlopen(asked, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        return getattr(error.reason, "reason", str(error))


token, key = os.environ["TOKEN"], os.environ["KEY"]
come = [
    said(f"{secure}/v1/a"),
    said(f"{plain}/v1/b"),
    said(f"{secure}/v2/denied"),
    said(f"{plain}/v2/denied"),
    said(f"{secure}/v1/denied", "DELETE"),
    said(f"{secure}/v1/bearer", Authorization=f"Bearer {token}"),
    said(f"{secure}/v1/bearer", Authorization=f"Bearer {key}"),
    said(f"{secure}/v1/denied", Other=token),
    # Whose requests are not read, so that it has to prove itself to this program.
    said("https://six.example/"),
]
trusted = ssl.create_default_context().get_ca_certs()
is_of_image = any((("commonName", "Of an image"),) in one["subject"] for one in trusted)
print(json.dumps([come, {"TOKEN": token, "KEY": key}, is_of_image]))
