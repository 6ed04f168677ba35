"""Line 30. Names that lead inside: at another time, by another name, or at one of several addresses.

Of a name that is asked for twice the second answer is another one."""

NAMES = {"alias": "cname.example", "mapped": "mapped.example", "translated": "translated.example",
         "own": "own.example", "metadata": "metadata.example", "loopback": "loopback.example", "any": "any.example",
         "inside": "www.inside.example"}


def tried(way, host, port=80, times=1):
    """So many times; one that gets through is enough."""
    last = None
    for _ in range(times):
        try:
            if way == "request":
                return by_request(host, port)
            return tell(TUNNELS[way](host, port), request())
        except OSError as error:
            last = error
    raise last


for way in (*TUNNELS, "request"):
    for name, host in NAMES.items():
        define(f"{way}_{name}", tried, way, host)
    define(f"{way}_another_time", tried, way, f"rebinding-{way}.example", 80, 6)
    define(f"{way}_one_of_two", tried, way, "mixed.example", 8090)
    define(f"{way}_one_of_many", tried, way, "many.example", 8090)


def by_a_hint(way):
    """As browsers do, who connect to what a record of HTTPS says."""
    code, found = records(asked(question("hints.example", 65)))
    if code or not found:
        refused("no record")
    tell(TUNNELS[way](socket.inet_ntoa(found[0][2][-4:])), request())


for way in "direct", "connect":
    define(f"{way}_address_of_a_hint", by_a_hint, way)


@reach
def direct_after_an_answer_of_one_s_own():
    """The program says itself what a name is, and connects to that."""
    name = question("inside.example")
    answer = name[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + name[12:] + b"\xc0\x0c" + struct.pack(
        "!HHIH", 1, 1, 0, 4) + socket.inet_aton(INSIDE_AT[0])
    _, found = records(answer)
    tell(direct(socket.inet_ntoa(found[0][2])), request())
