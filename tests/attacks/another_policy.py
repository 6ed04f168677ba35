"""Line 41. Goes on with a connection that another policy denies, which the run is given meanwhile.

Before each attempt the host is allowed, and is reached; then it is not any more."""


def allowed():
    answer = helm("policy wide")
    if answer != "done":
        raise NotAttempted(answer)


def denied():
    answer = helm("policy narrow")
    if answer != "done":
        raise NotAttempted(answer)


def goes_on(end, said, until):
    """What is said after the policy has come must not be answered."""
    denied()
    with end:
        if until not in heard(end, said, until, 1):
            refused("nothing more is answered", errno.ECONNRESET)


def echoed(way, first=b"", host=ALLOWED):
    end = TUNNELS[way](host, 7)
    said = heard(end, first, b"hello\n" + first, 3)
    if b"hello" not in said:
        raise NotReached(f"at first it is not reached: {said!r}")
    return end


def by_stream(way, host=ALLOWED, first=b""):
    allowed()
    said = f"after {tag()}\n".encode()
    goes_on(echoed(way, first, host), said, said)


for way in TUNNELS:
    define(f"{way}_stream", by_stream, way)
    define(f"{way}_stream_that_has_spoken", by_stream, way, ALLOWED, b"before\n")
    define(f"{way}_stream_to_an_address", by_stream, way, ALLOWED_AT[0])


def requests_to(way):
    if way == "request":
        return proxy(), f"http://{ALLOWED}/ok"
    return TUNNELS[way](ALLOWED), "/ok"


def by_kept_connection(way):
    """A connection that stays for more requests has another."""
    allowed()
    end, target = requests_to(way)
    if b"allowed" not in heard(end, request(ALLOWED, target=target), b"allowed", 3):
        raise NotReached("at first it is not reached")
    goes_on(end, request(ALLOWED, target=target), b"allowed")


def by_half_a_request(way):
    """The head has gone, and the content has not."""
    allowed()
    end, target = requests_to(way)
    head = request(ALLOWED, "Content-Length: 5\r\n", "POST", target)
    end.sendall(head[:-2] + b"\r\n")
    time.sleep(0.1)
    goes_on(end, b"after", b"allowed")


def by_websocket(way):
    allowed()
    end, target = requests_to(way)
    said = request(ALLOWED, "Connection: Upgrade\r\nUpgrade: websocket\r\n", target=target.replace("/ok", "/switches"))
    if b" 101 " not in heard(end, said, b"\r\n\r\n", 3):
        raise NotReached("it does not switch")
    goes_on(end, b"after the policy", b"after the policy")


for way in (*TUNNELS, "request"):
    define(f"{way}_kept_connection", by_kept_connection, way)
    define(f"{way}_half_a_request", by_half_a_request, way)
    define(f"{way}_websocket", by_websocket, way)


@reach
def address_of_a_name_that_was_allowed():
    """What stands for a name stands for it still."""
    allowed()
    where = addresses(ALLOWED)[0]
    denied()
    with socket.create_connection((where, 7), PATIENCE) as end:
        if b"hello" not in heard(end, b"", b"hello", 1):
            refused("nothing more is answered", errno.ECONNRESET)
