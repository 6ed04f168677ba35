"""Line 42. Starves others of the way out, or makes who carries it grow, by much that is slow or never ends.

Another process of the sandbox wants to leave meanwhile: that it cannot, or that the supervisor has grown by
more than anybody needs, is what the attack is after."""

import select

# More than are served at a time, which carelessly is few, in processes that hold so many each.
MANY, EACH = (120, 30) if "@OUTSIDE@" == "yes" else (1200, 200)
# KiB that a supervisor does not need for any of this.
GROWN = 128 << 10
# Seconds in which somebody else is to get out, who tries again as often as he can.
TURN = 2
HEAD = f"GET http://{ALLOWED}/ok HTTP/1.1\r\nHost: {ALLOWED}\r\n".encode()


def opened(where, said, number):
    """Connections to there that say this and no more, until there is no place for another."""
    ends, waiting = [], []

    def wait(patience):
        last = time.monotonic() + patience
        while waiting and time.monotonic() < last:
            for end in select.select([], waiting, [], 0.05)[1]:
                waiting.remove(end)
                try:
                    end.send(said)
                except OSError:
                    pass

    while len(ends) < number and len(waiting) < 60:
        for _ in range(20):
            end = socket.socket()
            end.setblocking(False)
            end.connect_ex(where)
            ends.append(end)
            waiting.append(end)
        wait(0.1)
    # What has found the queue full is sent again by the kernel a second later.
    wait(1.3)
    return ends


def held(work, number=MANY):
    """What `work` makes, so many each time, held by processes of their own."""
    ready, told = os.pipe()
    children = []
    for _ in range(0, number, EACH):
        child = os.fork()
        if child == 0:
            LIBC.prctl(1, signal.SIGKILL)
            kept = []
            try:
                kept.append(work(EACH))
            except OSError:
                pass
            os.write(told, b"x")
            while True:
                time.sleep(10)
        children.append(child)
    for _ in children:
        if select.select([ready], [], [], 10)[0]:
            os.read(ready, 1)
    return children


def released(children):
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def answers(way):
    if way == "request":
        return b"allowed" in heard(proxy(), HEAD + b"Connection: close\r\n\r\n", b"allowed", 1)
    if way in ("datagram", "stream"):
        code, _ = records(asked(question(ALLOWED), tcp=way == "stream", patience=1))
        return code == 0
    return b"allowed" in heard(TUNNELS[way](ALLOWED), request(ALLOWED, target="/ok"), b"allowed", 1)


def is_served(way):
    last = time.monotonic() + TURN
    while time.monotonic() < last:
        try:
            if answers(way):
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def starved(way, work):
    if not is_served(way):
        raise NotReached("nobody is served before")
    children = held(work)
    try:
        if is_served(way):
            refused("others are served", errno.EBUSY)
    finally:
        released(children)


def starving(name, way, where, said=b""):
    define(name, starved, way, lambda number: opened(where, said, number))


CONTENT = HEAD.replace(b"GET", b"POST") + b"Content-Length: 9\r\n\r\n"
starving("idle_tunnels", "request", PROXY, f"CONNECT {ALLOWED}:7 HTTP/1.1\r\nHost: {ALLOWED}:7\r\n\r\n".encode())
starving("unfinished_requests", "request", PROXY, HEAD)
starving("unfinished_contents", "request", PROXY, CONTENT)
starving("idle_connections_to_the_resolver", "stream", ("127.0.0.53", 53))


def grown(work):
    helm("memory begin")
    try:
        work()
    finally:
        much = int(helm("memory end"))
    if much < GROWN:
        refused(f"it has grown by {much} KiB", errno.ENOBUFS)


def endless(first, piece):
    """192 MiB of it, or until it is refused."""
    def send():
        with proxy() as end:
            end.settimeout(10)
            try:
                end.sendall(first)
                for _ in range(192):
                    end.sendall(piece * ((1 << 20) // len(piece)))
                end.settimeout(0.5)
                end.recv(64)
            except OSError:
                pass
    grown(send)


define("million_headers", endless, HEAD, b"X-Header-Of-Many: " + b"y" * 44 + b"\r\n")
define("one_long_header", endless, HEAD + b"X: ", b"y" * 64)
define("one_long_target", endless, f"GET http://{ALLOWED}/".encode(), b"y" * 64)


def long_heads(length):
    """Of this length, and not at their end."""
    def make(number):
        ends = [proxy() for _ in range(number)]
        for end in ends:
            end.settimeout(1)
            end.sendall(HEAD + b"X: " + b"y" * length)
        return ends
    return make


@reach
def many_long_headers():
    """Some that are longer than one may be, and many as long as that."""
    def send():
        children = held(long_heads(4 << 20), 2 * EACH) + held(long_heads(390 << 10), MANY // 2)
        time.sleep(0.3)
        released(children)
    grown(send)


def unanswered(number):
    """Names of somebody who does not answer for them, though he might."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for which in range(number):
        end.sendto(question(f"{os.getpid()}-{which}.unanswered.example"), (resolver(), 53))
    return end


define("names_that_nobody_answers", starved, "datagram", unanswered)
