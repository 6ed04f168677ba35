"""Line 33. Hides a request for a denied host in one for an allowed host, whose server finds it there.

Two of its ports read what can be read in two ways each in its own."""


def hidden():
    return request()


def covering():
    """The length of an end of chunks and what is hidden behind it."""
    return b"Content-Length: %d\r\n" % (5 + len(hidden()))


CHUNKED, END = b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n"


def chunk(said):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said)


def sized(said):
    """A chunk's size is the content of whoever goes by the length."""
    return b"Content-Length: %d\r\n" % (len(b"%x\r\n" % len(said)))


# At the even port chunks come first and the first length counts; at the odd one lengths, and the last.
EVEN = {
    "length_and_chunks": lambda: covering() + CHUNKED + END,
    "chunks_and_length": lambda: CHUNKED + covering() + END,
    "two_lengths": lambda: b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden()),
    "lengths_in_a_list": lambda: b"Content-Length: 0, %d\r\n\r\n" % len(hidden()),
    "signed_length": lambda: b"Content-Length: +0\r\n\r\n",
    "hexadecimal_length": lambda: b"Content-Length: 0x0\r\n\r\n",
    "folded_length": lambda: b"Content-Length:\r\n 0\r\n\r\n",
    "blank_before_the_length": lambda: b"Content-Length : 0\r\n\r\n",
    "blank_before_the_coding": lambda: b"Transfer-Encoding : chunked\r\n" + covering() + END,
    "unknown_coding": lambda: b"Transfer-Encoding: xchunked\r\n" + END,
    "coding_twice": lambda: b"Transfer-Encoding: identity\r\n" + CHUNKED + END,
    "codings_in_a_list": lambda: b"Transfer-Encoding: chunked, identity\r\n" + END,
    "vertical_blank_before_the_coding": lambda: b"Transfer-Encoding:\x0bchunked\r\n" + covering() + END,
    "folded_coding": lambda: b"Transfer-Encoding:\r\n chunked\r\n" + covering() + END,
    "nul_before_the_coding": lambda: b"\0" + CHUNKED + covering() + END,
    "extension_of_a_chunk": lambda: CHUNKED + b"\r\n0;a=\"\n\r\n\r\n",
    "size_that_overflows": lambda: CHUNKED + b"\r\n" + b"0" * 17 + b"\r\n\r\n",
    "size_below_nothing": lambda: CHUNKED + b"\r\n-1\r\n\r\n",
    "bare_line_after_a_size": lambda: CHUNKED + b"\r\n0\n\n",
    "bare_lines": lambda: b"Content-Length: 0\n\n",
    "no_content": lambda: b"\r\n",
}
ODD = {
    "chunks_and_length": lambda: CHUNKED + sized(hidden()) + b"\r\n" + chunk(hidden()),
    "length_and_chunks": lambda: sized(hidden()) + CHUNKED + b"\r\n" + chunk(hidden()),
    "two_lengths": lambda: b"Content-Length: %d\r\nContent-Length: 0\r\n\r\n" % len(hidden()),
    "length_that_connection_names": lambda: b"Connection: Content-Length\r\nContent-Length: 0\r\n\r\n",
    "coding_that_connection_names": lambda: (b"Connection: Transfer-Encoding\r\n" + CHUNKED
                                             + sized(hidden()) + b"\r\n" + chunk(hidden())),
    "expectation": lambda: b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    "trailers": lambda: CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
}


def through(way, port, shape):
    # What comes first is allowed; only the answer to what is hidden says the mark.
    content = shape()
    said = content if hidden() in content else content + hidden()
    if way == "request":
        target = f"http://{ALLOWED}{'' if port == 80 else f':{port}'}/seen"
        end, host = proxy(), ALLOWED + ("" if port == 80 else f":{port}")
    else:
        end, target, host = TUNNELS[way](ALLOWED, port), "/seen", ALLOWED
    tell(end, f"POST {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + said, 3)


for way in (*TUNNELS, "request"):
    for name, shape in EVEN.items():
        define(f"{way}_{name}", through, way, 80, shape)
    for name, shape in ODD.items():
        define(f"{way}_{name}_at_an_odd_server", through, way, 81, shape)
