"""Line 32. Connects to an allowed host and speaks to a denied one that the same address serves.

By the Host of a request, by the name in a greeting of TLS, or by naming none, where the server then takes its
first host, which is the denied one."""


def extension(kind, data):
    return struct.pack("!HH", kind, len(data)) + data


def named(*names):
    """The extension that names hosts (RFC 6066 section 3)."""
    listed = b"".join(b"\0" + struct.pack("!H", len(name)) + name.encode() for name in names)
    return extension(0, struct.pack("!H", len(listed)) + listed)


def hello(*extensions):
    """The first message of TLS. The protocol that it offers names the attempt."""
    own = tag().encode()
    offered = extension(16, struct.pack("!HB", len(own) + 1, len(own)) + own)
    whole = b"".join(extensions) + offered + extension(43, b"\x02\x03\x04")
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(whole)) + whole
    return b"\x01" + struct.pack("!I", len(body))[1:] + body


def record(data, kind=22):
    return bytes([kind, 3, 1]) + struct.pack("!H", len(data)) + data


def cut(message, size):
    return b"".join(record(message[at:at + size]) for at in range(0, len(message), size))


def of_version_2():
    """The greeting of SSL version 2, which knows no names."""
    own = tag().encode()
    body = b"\x01\x03\x01" + struct.pack("!HHH", 3, 0, len(own)) + b"\0\0\x2f" + own
    return struct.pack("!H", 0x8000 | len(body)) + body


GREETINGS = {
    "name": lambda: record(hello(named(DENIED))),
    "name_in_capitals": lambda: record(hello(named(DENIED.upper()))),
    "name_with_a_dot": lambda: record(hello(named(DENIED + "."))),
    "no_name": lambda: record(hello()),
    "empty_name": lambda: record(hello(named(""))),
    "second_name": lambda: record(hello(named(ALLOWED, DENIED))),
    "first_name": lambda: record(hello(named(DENIED, ALLOWED))),
    "second_list_of_names": lambda: record(hello(named(ALLOWED), named(DENIED))),
    "name_behind_a_nul": lambda: record(hello(named(ALLOWED + "\0." + DENIED))),
    "name_in_pieces": lambda: cut(hello(named(DENIED)), 7),
    "name_in_single_bytes": lambda: cut(hello(named(DENIED)), 1),
    "after_an_alert": lambda: record(b"\x01\x5a", 21) + record(hello(named(DENIED))),
    "after_an_empty_record": lambda: record(b"") + record(hello(named(DENIED))),
    "of_version_2": of_version_2,
}
REQUESTS = {
    "host": lambda: request(),
    "host_in_capitals": lambda: request(DENIED.upper()),
    "host_with_a_dot": lambda: request(DENIED + "."),
    "host_with_a_port": lambda: request(DENIED + ":80"),
    "second_host": lambda: request(ALLOWED, f"Host: {DENIED}\r\n"),
    "absolute_target": lambda: request(ALLOWED, target=f"http://{DENIED}/{tag()}"),
    "second_request": lambda: request(ALLOWED) + request(),
    "target_of_a_nested_proxy": lambda: request(ALLOWED, f"X: {tag()}\r\n", "CONNECT", f"{DENIED}:80"),
    "blank_before_the_colon": lambda: f"GET /{tag()} HTTP/1.1\r\nHost : {DENIED}\r\n\r\n".encode(),
    "folded_host": lambda: f"GET /{tag()} HTTP/1.1\r\nHost:\r\n {DENIED}\r\n\r\n".encode(),
    "bare_lines": lambda: f"GET /{tag()} HTTP/1.1\nHost: {DENIED}\n\n".encode(),
    "blank_before_the_method": lambda: b" " + request(),
    "two_blanks": lambda: request().replace(b" ", b"  ", 2),
    "vertical_blanks": lambda: request().replace(b" /", b"\x0b/", 1).replace(b" HTTP", b"\x0bHTTP", 1),
}


def by_tunnel(way, host, port, said):
    tell(TUNNELS[way](host, port), said())


for way in TUNNELS:
    for name, said in GREETINGS.items():
        define(f"{way}_greeting_{name}", by_tunnel, way, ALLOWED, 443, said)
    for name, said in REQUESTS.items():
        define(f"{way}_request_{name}", by_tunnel, way, ALLOWED, 80, said)
    # The address is allowed too, and the denied name stays denied there.
    define(f"{way}_address_greeting_name", by_tunnel, way, ALLOWED_AT[0], 443, GREETINGS["name"])
    define(f"{way}_address_request_host", by_tunnel, way, ALLOWED_AT[0], 80, REQUESTS["host"])
    define(f"{way}_greeting_at_another_port", by_tunnel, way, ALLOWED, 80, GREETINGS["name"])
    define(f"{way}_request_at_another_port", by_tunnel, way, ALLOWED, 443, REQUESTS["host"])


@reach
def proxied_host_beside_the_target():
    tell(proxy(), request(DENIED, target=f"http://{ALLOWED}:81/{tag()}"))


@reach
def proxied_second_request():
    tell(proxy(), request(ALLOWED, target=f"http://{ALLOWED}/{tag()}") + request())


@reach
def proxied_second_request_by_its_target():
    tell(proxy(), request(ALLOWED, target=f"http://{ALLOWED}/{tag()}") + request(target=f"http://{DENIED}/{tag()}"))
