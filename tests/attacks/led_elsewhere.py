"""Line 34. Goes where an allowed host leads: to denied hosts, inside, and to another way in.

A redirection is followed by the program itself, by the same way and by another."""


def led(way, said):
    """What an allowed host answers."""
    if way == "request":
        target = f"http://{ALLOWED}{said}"
        return heard(proxy(), request(ALLOWED, "Connection: close\r\n", target=target), b"\r\n\r\n")
    with TUNNELS[way](ALLOWED) as end:
        return heard(end, request(ALLOWED, target=said), b"\r\n\r\n")


def place(answer):
    where = re.search(rb"Location: (?:http:)?//([^/\r]*)/?", answer)
    return where[1].decode().strip("[]") if where else refused("it leads nowhere")


def follow(way, other, to):
    host = place(led(way, f"/led?to={to}"))
    if other == "request":
        return by_request(host)
    return tell(TUNNELS[other](host), request(host))


WHERE = {"a_denied_host": "http://denied.example/", "without_a_scheme": "//denied.example/",
         "its_address": f"http://{DENIED_AT[0]}/", "inside": "http://inside.example/",
         "metadata": "http://169.254.169.254/", "loopback": "http://127.0.0.1/",
         "decimal_loopback": "http://2130706433/"}
for way in (*TUNNELS, "request"):
    for name, to in WHERE.items():
        if name != "decimal_loopback":
            define(f"{way}_to_{name}", follow, way, way, to)
    define(f"{way}_then_directly", follow, way, "direct", WHERE["a_denied_host"])
for way in ("connect", "socks", "request"):
    define(f"{way}_to_a_decimal_loopback", follow, way, way, WHERE["decimal_loopback"])


def by_alternative(way):
    """A service that the host says it has elsewhere too (RFC 7838): it is still asked for the host's own name."""
    answer = led(way, "/elsewhere")
    where = re.search(rb'Alt-Svc: h1="([^:]*):80"', answer)
    if not where:
        refused("it has none elsewhere")
    tell(TUNNELS[way](where[1].decode()), request(ALLOWED))


for way in TUNNELS:
    define(f"{way}_alternative_service", by_alternative, way)
