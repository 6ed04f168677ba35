"""Line 35. Goes on as another protocol after an allowed request, and speaks to a denied host by that.

The server speaks HTTP/2, refuses WebSockets but at one path, and goes on with requests then."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def literal(name, value):
    """A field of HTTP/2 in the open (RFC 7541 section 6.2.2)."""
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def second_version():
    """A request of HTTP/2 for the denied host."""
    fields = b"".join(literal(name, value) for name, value in (
        (":method", "GET"), (":scheme", "http"), (":path", "/" + tag()), (":authority", DENIED)))
    return PREFACE + len(fields).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + fields


def asking(to, path="/", more=""):
    return f"Connection: Upgrade\r\nUpgrade: {to}\r\n{more}", path


KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
SETTINGS = "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
ASKED = {
    "second_version": (asking("h2c", more=SETTINGS), second_version),
    "second_version_in_a_list": (asking("websocket, h2c", more=KEY + SETTINGS), second_version),
    "second_version_beside_another": (asking("websocket", more=KEY + "Upgrade: h2c\r\n"), second_version),
    "tls": (asking("TLS/1.2"), second_version),
    "refused_websocket": (asking("websocket", more=KEY), request),
    "refused_websocket_of_no_version": (asking("websocket", more="Sec-WebSocket-Version: 777\r\n"), request),
    "refused_websocket_without_connection": (("Upgrade: websocket\r\n" + KEY, "/"), request),
    "refused_other": (asking("carrier-pigeon"), request),
}


def start(way, more, path):
    if way == "request":
        return proxy(), request(ALLOWED, more, target=f"http://{ALLOWED}{path}")
    return TUNNELS[way](ALLOWED), request(ALLOWED, more, target=path)


def after(way, asked, then):
    """Once it is answered; or at once."""
    more, path = asked
    end, said = start(way, more, path)
    answer = heard(end, said, b"\r\n\r\n", 2)
    if b" 101 " not in answer.split(b"\r\n")[0]:
        # Its content is the answer's, and what comes then is to be the other's.
        heard(end, b"", b"\0never", 0.1)
    tell(end, then(), 2)


def at_once(way, asked, then):
    more, path = asked
    end, said = start(way, more, path)
    tell(end, said + then(), 2)


for way in (*TUNNELS, "request"):
    for name, (asked_for, then) in ASKED.items():
        define(f"{way}_{name}", after, way, asked_for, then)
        define(f"{way}_{name}_at_once", at_once, way, asked_for, then)
for way in TUNNELS:
    define(f"{way}_second_version_without_asking",
           lambda way: tell(TUNNELS[way](ALLOWED), second_version(), 2), way)
    define(f"{way}_second_version_after_a_request",
           lambda way: tell(TUNNELS[way](ALLOWED), request(ALLOWED) + second_version(), 2), way)
