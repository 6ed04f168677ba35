"""Line 37. Carries something out in names: to the resolver, past it, and to resolvers of one's own.

What is asked for begins with the secret, below a name of somebody who listens."""

KINDS = {"address": 1, "text": 16, "alias": 5, "service": 33, "secure_service": 65, "null": 10, "any": 255}


def carrying(below="tunnel.example"):
    return [tag().encode(), *(part.encode() for part in below.split("."))]


def by_resolver(kind, tcp, below="tunnel.example"):
    code, found = records(asked(question(carrying(below), kind), tcp=tcp))
    if code or not found:
        refused(f"the resolver says {code}")


def past_it(where, port, tcp, kind=16):
    """A resolver that nobody has named. Whatever answers in its place must not hand the name on."""
    code, _ = records(asked(question(carrying(), kind), where, port, tcp, SHORT))
    if code:
        refused(f"the resolver says {code}")


for name, kind in KINDS.items():
    define(f"resolver_{name}", by_resolver, kind, False)
    define(f"resolver_{name}_by_stream", by_resolver, kind, True)
# Below an allowed name is not that name.
define("below_an_allowed_name", by_resolver, 1, False, ALLOWED)
define("below_an_allowed_name_by_stream", by_resolver, 1, True, ALLOWED)
define("back_from_an_address", by_resolver, 12, False, "45.in-addr.arpa")
define("resolver_of_the_host", past_it, RESOLVER_AT, 53, False)
define("resolver_of_the_host_by_stream", past_it, RESOLVER_AT, 53, True)


@reach
def two_questions():
    """An allowed one, and one that carries."""
    both = question(ALLOWED)
    whole = both[:4] + struct.pack("!HHHH", 2, 0, 0, 0) + both[12:] + labels(carrying()) + struct.pack("!HH", 1, 1)
    code, found = records(asked(whole))
    refused(f"the resolver says {code}, {len(found)}")


@reach
def chaos():
    """A question of another class."""
    whole = question(carrying())[:-2] + b"\0\x03"
    code, found = records(asked(whole))
    if code or not found:
        refused(f"the resolver says {code}")


@reach
def in_an_option():
    """The name is allowed, and an option beside it carries (RFC 6891)."""
    own = tag().encode()
    option = b"\0" + struct.pack("!HHIH", 41, 4096, 0, 4 + len(own)) + struct.pack("!HH", 65001, len(own)) + own
    whole = question(ALLOWED)
    asked(whole[:10] + b"\0\x01" + whole[12:] + option)
    refused("the resolver answers for itself")


@reach
def in_capitals():
    """Somebody who listens hears capitals too (0x20)."""
    by_resolver(1, False, "TuNnEl.ExAmPlE")


@reach
def by_connect_s_name():
    """The proxy resolves names too."""
    by_connect(".".join(part.decode() for part in carrying()), 80).close()
    refused("it has only been dialled")


@reach
def by_socks_s_name():
    by_socks(".".join(part.decode() for part in carrying()), 80).close()
    refused("it has only been dialled")


@reach
def by_a_request_s_name():
    by_request(".".join(part.decode() for part in carrying()))


@reach
def own_resolver_by_datagram():
    """One of one's own, at the port of names."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with end:
        end.settimeout(SHORT)
        end.sendto(question(carrying(), 16), (DENIED_AT[0], 53))
        try:
            answer = end.recv(65536)
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "nobody answers") from None
        if MARK not in answer:
            refused("somebody else answers")


def to_own(port, said):
    tell(direct(DENIED_AT[0], port), said())


def by_stream():
    whole = question(carrying(), 16)
    return struct.pack("!H", len(whole)) + whole


def secure():
    """What DNS over TLS begins with, as far as it is in the open."""
    return b"\x16\x03\x01\0\x40\x01\0\0\x3c" + tag().encode().ljust(60, b"\0")


def by_https():
    whole = question(carrying(), 16)
    return request("dns.example", f"Content-Type: application/dns-message\r\nContent-Length: {len(whole)}\r\n",
                   "POST", "/dns-query").rstrip(b"\r\n") + b"\r\n\r\n" + whole


define("own_resolver_by_stream", to_own, 53, by_stream)
define("own_resolver_of_tls", to_own, 853, secure)
define("own_resolver_of_https", to_own, 443, by_https)
define("own_resolver_of_https_in_the_open", to_own, 80, by_https)


@reach
def names_of_the_link():
    """Multicast DNS (RFC 6762)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF,
                       struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo")))
        end.sendto(question(carrying(), 12), ("224.0.0.251", 5353))
        time.sleep(0.1)
    refused("nobody says whether it has arrived")


@reach
def own_names_of_the_link():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(SHORT)
        end.sendto(question(carrying(), 12), (DENIED_AT[0], 5353))
        try:
            end.recv(65536)
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "nobody answers") from None
