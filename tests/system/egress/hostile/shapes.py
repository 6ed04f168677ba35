"""Sends requests that servers read differently, each by every way, and says what came back.

Usage: shapes.py [FILE]. FILE has more of them, a JSON list of texts, of which nothing is expected but that
nobody reads them in two ways. `@T@` is the target of a request, `@H@` its host, and `@Z@` that with a zero before
its port. Behind each comes another request for a host that is denied. Prints a JSON list of [name, way, expected, content, statuses].
"""

import json
import os
import re
import socket
import ssl
import sys
import urllib.parse

PATIENCE = 20
PROXY = urllib.parse.urlsplit(os.environ["http_proxy"]).netloc.split(":")
HOST, PLAIN, SECURE = "allowed.example", 8081, 8444
CHUNKED = "Transfer-Encoding: chunked\r\n"
EMPTY = "0\r\n\r\n"
ABC = "3\r\nabc\r\n0\r\n\r\n"
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: denied.example\r\n\r\n"
LENGTH = len(HIDDEN)


def post(fields, content="", line="POST @T@ HTTP/1.1", host="Host: @H@\r\n"):
    return f"{line}\r\n{host}{fields}\r\n{content}"


def chunks(content):
    return post(CHUNKED, content)


# What one meaning is left of, with the content of that.
ONE = {
    "nothing": (post(""), ""),
    "length": (post("Content-Length: 3\r\n", "abc"), "abc"),
    "length-0": (post("Content-Length: 0\r\n"), ""),
    "length-spaces": (post("Content-Length: \t 3 \t\r\n", "abc"), "abc"),
    "length-case": (post("cOnTeNt-LeNgTh: 3\r\n", "abc"), "abc"),
    "length-get": (post("Content-Length: 3\r\n", "abc", "GET @T@ HTTP/1.1"), "abc"),
    "length-hides": (post(f"Content-Length: {LENGTH}\r\n", HIDDEN), HIDDEN),
    "length-old": (post("Content-Length: 3\r\n", "abc", "POST @T@ HTTP/1.0"), "abc"),
    "chunks": (chunks(ABC), "abc"),
    "chunks-case": (post("tRANSFER-eNCODING: cHUNKED\r\n", ABC), "abc"),
    "chunks-tab": (post("Transfer-Encoding:\tchunked\t\r\n", ABC), "abc"),
    "chunks-hide": (chunks(f"{LENGTH:x}\r\n{HIDDEN}\r\n0\r\n\r\n"), HIDDEN),
    "chunks-zeros": (chunks("0003\r\nabc\r\n000\r\n\r\n"), "abc"),
    "chunks-upper": (chunks("A\r\n0123456789\r\n0\r\n\r\n"), "0123456789"),
    "chunk-extension": (chunks("3;a=b\r\nabc\r\n0;c\r\n\r\n"), "abc"),
    "chunk-extension-quoted": (chunks('3;a="b;c"\r\nabc\r\n0\r\n\r\n'), "abc"),
    "trailer": (post(CHUNKED + "Trailer: X\r\n", "3\r\nabc\r\n0\r\nX: y\r\n\r\n"), "abc"),
    "content-encoding": (post("Content-Encoding: chunked\r\nContent-Length: 3\r\n", "abc"), "abc"),
    "te": (post("TE: trailers, chunked\r\nConnection: TE\r\nContent-Length: 3\r\n", "abc"), "abc"),
    "other-length": (post("X-Content-Length: 9\r\nContent-Length-X: 9\r\nX_Y: 1\r\n"), ""),
    "expect": (post("Expect: 100-Continue\r\nContent-Length: 3\r\n", "abc"), "abc"),
    "connection-own": (post("Connection: keep-alive, X-Own\r\nX-Own: 1\r\n"), ""),
    "upgrade-h2c": (post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), ""),
    "upgrade-h2c-alone": (post("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), ""),
    "upgrade-h2c-length": (post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", "abc"), "abc"),
    "upgrade-websocket": (post("Connection: Upgrade\r\nUpgrade: websocket\r\n", "", "GET @T@ HTTP/1.1"), ""),
    "upgrade-websocket-post": (post("Connection: Upgrade\r\nUpgrade: websocket\r\n"), ""),
    "empty-lines-before": ("\r\n\r\n" + post(""), ""),
    "values-of-letters": (post("X: \x80\xff\r\nY:\r\nZ:z\r\n"), ""),
    "target-fragment": (post("", line="POST @T@#a HTTP/1.1"), ""),
    "absolute-target": (post("", line="POST http://@H@@P@ HTTP/1.1"), ""),
    "absolute-target-fragment": (post("", line="POST http://@H@@P@#a HTTP/1.1"), ""),
}
# What is answered with 400, and of which nothing reaches a server.
REFUSED = {
    "length-and-chunks": post(f"Content-Length: {LENGTH + 5}\r\n{CHUNKED}", EMPTY),
    "chunks-and-length": post(f"{CHUNKED}Content-Length: {LENGTH + 5}\r\n", EMPTY),
    "chunks-and-length-0": post(f"{CHUNKED}Content-Length: 0\r\n", EMPTY),
    "length-and-chunks-apart": post(f"Content-Length: 5\r\nX: y\r\nX: z\r\n{CHUNKED}", EMPTY),
    "length-and-chunks-old": post(f"Content-Length: 5\r\n{CHUNKED}", EMPTY, "POST @T@ HTTP/1.0"),
    "length-and-other-coding": post("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", EMPTY),
    "length-twice": post(f"Content-Length: 0\r\nContent-Length: {LENGTH}\r\n"),
    "length-twice-equal": post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
    "length-twice-case": post("Content-Length: 3\r\ncontent-length: 0\r\n", "abc"),
    "chunks-old": post(CHUNKED, ABC, "POST @T@ HTTP/1.0"),
    "chunks-twice": post(CHUNKED * 2, ABC),
    "coding-repeated": post("Transfer-Encoding: chunked, chunked\r\n", ABC),
    "coding-and-other": post(CHUNKED + "Transfer-Encoding: x\r\n", ABC),
    "other-and-coding": post("Transfer-Encoding: x\r\n" + CHUNKED, ABC),
    "coding-joined-by-line": post("Transfer-Encoding:\r\n chunked\r\n", ABC),
    "coding-joined-by-lf": post("Transfer-Encoding:\n chunked\r\n", ABC),
    "trace-with-length": post("Content-Length: 3\r\n", "abc", "TRACE @T@ HTTP/1.1"),
    "connection-length": post("Connection: close, Content-Length\r\nContent-Length: 3\r\n", "abc"),
    "connection-chunks": post("Connection: Transfer-Encoding\r\n" + CHUNKED, ABC),
    "connection-host": post("Connection: keep-alive,host\r\n"),
    "host-twice": post("Host: denied.example\r\n"),
    "host-twice-equal": post("Host: @H@\r\n"),
    "host-empty-and-one": post("", host="Host: \r\nHost: @H@\r\n"),
    "host-user": post("", host="Host: user@@H@\r\n"),
    "host-port": post("", host="Host: @H@:1\r\n"),
    "host-port-zeros": post("", host="Host: @Z@\r\n"),
    "host-letters": post("", host="Host: allowed.example\xe9\r\n"),
    "host-list": post("", host="Host: @H@, denied.example\r\n"),
    "host-and-target": post("", line="POST http://denied.example/ HTTP/1.1"),
    "target-user": post("", line="POST http://user@@H@/ HTTP/1.1"),
    "target-https": post("", line="POST https://@H@/ HTTP/1.1"),
    "target-other": post("", line="POST gopher://@H@/ HTTP/1.1"),
    "target-authority": post("", line="POST @H@ HTTP/1.1"),
    "target-star": post("", line="POST * HTTP/1.1"),
    "target-spaces": post("", line="POST @T@ x HTTP/1.1"),
    "target-tab": post("", line="POST\t@T@ HTTP/1.1"),
    "target-nul": post("", line="POST @T@\0 HTTP/1.1"),
    "target-lf": post("", line="POST @T@\nX: y HTTP/1.1"),
    "target-cr": post("", line="POST @T@\rX HTTP/1.1"),
    "target-none": post("", line="POST  HTTP/1.1"),
    "line-spaces": post("", line="POST  @T@ HTTP/1.1"),
    "line-space-before": post("", line=" POST @T@ HTTP/1.1"),
    "line-space-behind": post("", line="POST @T@ HTTP/1.1 "),
    "line-vertical": post("", line="POST\x0b@T@ HTTP/1.1"),
    "method-letters": post("", line="P(ST @T@ HTTP/1.1"),
    "method-high": post("", line="P\xd3ST @T@ HTTP/1.1"),
    "method-pri": post("", line="PRI @T@ HTTP/1.1"),
    "version-2": post("", line="POST @T@ HTTP/2.0"),
    "version-1.2": post("", line="POST @T@ HTTP/1.2"),
    "version-0.9": post("", line="POST @T@ HTTP/0.9"),
    "version-1.10": post("", line="POST @T@ HTTP/1.10"),
    "version-01.1": post("", line="POST @T@ HTTP/01.1"),
    "version-case": post("", line="POST @T@ http/1.1"),
    "version-lf": "POST @T@ HTTP/1.1\nHost: @H@\n\n",
    "version-cr-cr": "POST @T@ HTTP/1.1\r\r\nHost: @H@\r\n\r\n",
    "first-line-field": "X: y HTTP/1.1\r\nPOST @T@ HTTP/1.1\r\nHost: @H@\r\n\r\n",
    "field-lf": post("X: y\nContent-Length: 0\r\n"),
    "field-cr": post("X: y\rContent-Length: 0\r\n"),
    "field-cr-chunks": post("X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    "field-nul": post("X: y\0z\r\n"),
    "field-delete": post("X: y\x7f\r\n"),
    "field-folded": post("X: y\r\n z\r\n"),
    "field-folded-tab": post("X: y\r\n\tz\r\n"),
    "field-folded-first": "POST @T@ HTTP/1.1\r\n Host: @H@\r\nHost: @H@\r\n\r\n",
    "field-without-colon": post("X\r\n"),
    "field-without-name": post(": x\r\n"),
    "field-name-quoted": post('"Content-Length": 3\r\n'),
    "field-name-space": post("Content Length: 3\r\n"),
    "field-name-nul": post("Content-Length\0: 3\r\n"),
    "field-name-high": post("Transf\x82r-Encoding: chunked\r\n"),
    "field-name-empty-line": post("X: y\r\n\n", "GET / HTTP/1.1\r\n\r\n"),
    "head-end-lf": "POST @T@ HTTP/1.1\r\nHost: @H@\r\n\n",
    "head-end-cr": "POST @T@ HTTP/1.1\r\nHost: @H@\r\n\rX: y\r\n\r\n",
    "lf-before": "\n" + post(""),
    "nul-before": "\0" + post(""),
    "nul-line-before": "\0\r\n" + post(""),
    "vertical-line-before": "\x0b\r\n" + post(""),
    "fields-many": post("X: y\r\n" * 200),
    "head-long": post("X: " + "y" * 70_000 + "\r\n"),
    "expect-other": post("Expect: 100-continue, x\r\nContent-Length: 3\r\n", "abc"),
    "expect-200": post("Expect: 200-ok\r\n"),
}
for name, value in {
    "plus": "+3", "minus": "-3", "list": "3, 3", "list-other": "3, 0", "hex": "0x3", "zeros": "003", "fraction": "3.0",
    "exponent": "3e0", "separator": "0_3", "none": "", "inner-space": "3 3", "comma": "3,", "comma-before": ",3",
    "quoted": '"3"', "semicolon": "3;x", "vertical": "\x0b3", "form-feed": "3\x0c", "nul": "3\0", "high-space": "\xa03",
    "huge": "9" * 30, "wraps-64": str(2 ** 64 + 3), "wraps-32": "0" + str(2 ** 32 + 3), "largest": str(2 ** 64 - 1),
    "negative-zero": "-0", "letters": "abc", "digit-of-others": "\xb3",
}.items():
    REFUSED[f"length-{name}"] = post(f"Content-Length: {value}\r\n", "abc")
for name, value in {
    "identity": "identity", "x": "xchunked", "behind": "chunkedx", "list": "chunked, identity", "list-before": "identity, chunked",
    "gzip": "gzip, chunked", "comma": "chunked,", "comma-before": ",chunked", "quoted": '"chunked"', "single": "'chunked'",
    "none": "", "parameter": "chunked;q=1", "vertical-before": "\x0bchunked", "vertical": "chunked\x0b", "form-feed": "chunked\x0c",
    "nul": "chunked\0", "high-space": "\xa0chunked", "high-behind": "chunked\xff", "line-next": "\x85chunked", "space": "chunked x",
    "cr": "chunked\r", "backspace": "chunked\x08", "short": "chunk", "letters": "ch\x96nked", "colon": ": chunked",
}.items():
    REFUSED[f"coding-{name}"] = post(f"Transfer-Encoding: {value}\r\n", ABC)
    REFUSED[f"coding-{name}-and-length"] = post(f"Transfer-Encoding: {value}\r\nContent-Length: {len(ABC)}\r\n", ABC)
for name, field in {
    "space": "Content-Length : 3", "tab": "Content-Length\t: 3", "underscore": "Content_Length: 3", "dot": "Content.Length: 3",
    "cr": "Content-Length\r: 3", "vertical": "Content-Length\x0b: 3", "space-before": " Content-Length: 3",
    "chunks-space": "Transfer-Encoding : chunked", "chunks-tab": "Transfer-Encoding\t: chunked",
    "chunks-underscore": "Transfer_Encoding: chunked", "chunks-tilde": "Transfer~Encoding: chunked",
    "chunks-space-before": " Transfer-Encoding: chunked", "chunks-nul": "Transfer-Encoding\0: chunked",
    "chunks-vertical-before": "\x0bTransfer-Encoding: chunked", "host-space": "Host : denied.example",
}.items():
    REFUSED[f"name-{name}"] = post(f"{field}\r\n", ABC if "chunked" in field else "abc")
# What is known for what it is within its content: the request is never whole.
CUT = {
    "chunk-lf": "3\nabc\n0\n\n", "chunk-cr": "3\rabc\r\n0\r\n\r\n", "chunk-0x": "0x3\r\nabc\r\n0\r\n\r\n", "chunk-plus": "+3\r\nabc\r\n0\r\n\r\n",
    "chunk-minus": "-3\r\nabc\r\n0\r\n\r\n", "chunk-underscore": "0_3\r\nabc\r\n0\r\n\r\n", "chunk-space": "3 \r\nabc\r\n0\r\n\r\n",
    "chunk-space-before": " 3\r\nabc\r\n0\r\n\r\n", "chunk-tab": "3\t\r\nabc\r\n0\r\n\r\n", "chunk-none": "\r\nabc\r\n0\r\n\r\n",
    "chunk-letters": "3g\r\nabc\r\n0\r\n\r\n", "chunk-huge": "fffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
    "chunk-wraps": "10000000000000003\r\nabc\r\n0\r\n\r\n", "chunk-zeros": "0" * 40 + "3\r\nabc\r\n0\r\n\r\n",
    "chunk-short": "2\r\nabc\r\n0\r\n\r\n", "chunk-long": "4\r\nabc\r\n0\r\n\r\n", "chunk-end-lf": "3\r\nabc\n0\r\n\r\n",
    "chunk-end-none": "3\r\nabc0\r\n\r\n", "chunk-end-other": "3\r\nabcXX0\r\n\r\n", "chunk-extension-lf": "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "chunk-extension-cr": "3;a\rb\r\nabc\r\n0\r\n\r\n", "chunk-extension-nul": "3;a\0\r\nabc\r\n0\r\n\r\n",
    "chunk-extension-long": "3;" + "a" * 20_000 + "\r\nabc\r\n0\r\n\r\n", "chunk-last-lf": "3\r\nabc\r\n0\n\n",
    "chunk-last-0x0": "3\r\nabc\r\n0x0\r\n\r\n", "chunk-last-minus": "3\r\nabc\r\n-0\r\n\r\n", "trailer-length": f"0\r\nContent-Length: {LENGTH}\r\n\r\n",
    "trailer-chunks": "0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer-host": "0\r\nHost: denied.example\r\n\r\n",
    "trailer-folded": "0\r\nX: y\r\n z\r\n\r\n", "trailer-space": "0\r\nX : y\r\n\r\n", "trailer-lf": "0\r\nX: y\n\r\n", "trailer-request": "0\r\n" + HIDDEN,
    "trailer-many": "0\r\n" + "X: y\r\n" * 20_000 + "\r\n", "last-lf": "0\r\n\n", "last-cr": "0\r\n\rX\r\n\r\n",
}


def filled(text, way):
    port = SECURE if way == "tls" else PLAIN
    host = f"{HOST}:{port}"
    return text.replace("@H@", host).replace("@Z@", f"{HOST}:0{port}"), host


def shapes():
    for name, (text, content) in ONE.items():
        yield name, "one", content, text
    for name, text in REFUSED.items():
        yield name, "refused", None, text
    for name, text in CUT.items():
        yield name, "cut", None, chunks(text)
    for number, text in enumerate(json.load(open(sys.argv[1])) if len(sys.argv) > 1 else []):
        yield f"more-{number}", "any", None, text


def opened(way):
    if way == "proxy":
        return socket.create_connection(PROXY, PATIENCE)
    if way == "connect":
        end = socket.create_connection(PROXY, PATIENCE)
        end.sendall(f"CONNECT {HOST}:{PLAIN} HTTP/1.1\r\nHost: {HOST}:{PLAIN}\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += end.recv(1)
        return end
    if way == "plain":
        return socket.create_connection((HOST, PLAIN), PATIENCE)
    end = socket.create_connection((HOST, SECURE), PATIENCE)
    return ssl.create_default_context().wrap_socket(end, server_hostname=HOST)


def sent(end, whole, may_wait):
    """What comes back until it ends or breaks."""
    said = b""
    with end:
        for step in (say, lambda *_: None):
            try:
                step(end, whole)
                while piece := end.recv(65536):
                    said += piece
            except TimeoutError:
                if not may_wait:
                    raise
                break
            except OSError:
                # What has been answered before it broke is still to be heard.
                pass
    return said


def say(end, whole):
    end.sendall(whole)
    if not isinstance(end, ssl.SSLSocket):
        end.shutdown(socket.SHUT_WR)


def main():
    told = []
    for way in ("proxy", "connect", "plain", "tls"):
        for name, expected, content, text in shapes():
            filled_text, host = filled(text, way)
            path = f"/{name}-{way}"
            whole = filled_text.replace("@P@", path).replace("@T@", f"http://{host}{path}" if way == "proxy" else path)
            whole += HIDDEN if way != "proxy" else HIDDEN.replace(" /hidden", " http://denied.example/hidden")
            end = opened(way)
            # What is not whole is waited for by a server over TLS, which hears of no end.
            end.settimeout(2 if expected == "any" else PATIENCE)
            said = sent(end, whole.encode("latin-1"), expected == "any")
            told.append([name, way, expected, content, re.findall(r"HTTP/1\.[01] (\d{3})", said.decode("latin-1"))])
    print(json.dumps(told))


main()
