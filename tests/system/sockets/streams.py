"""Messages that a stream has no room for; each line says how one of them went."""

import array
import ctypes
import hashlib
import os
import signal
import socket
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
LONG = 900_000
# Longer than what is copied at once.
LONGER = 3_500_000


def streams():
    """A pair of each family."""
    yield "unix", *socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        yield "tcp", client, server.accept()[0]


def bytes_of(length):
    return (hashlib.sha256(str(length).encode()).digest() * (length // 32 + 1))[:length]


class Reader(threading.Thread):
    """Reads until the end, after a while in which the stream is filled."""

    def __init__(self, stream, waits=0.1):
        super().__init__()
        self.stream, self.waits = stream, waits
        self.data, self.descriptors = b"", 0
        self.start()

    def run(self):
        threading.Event().wait(self.waits)
        while True:
            data, control, _, _ = self.stream.recvmsg(1 << 18, socket.CMSG_SPACE(64))
            for _, _, numbers in control:
                received = array.array("i", numbers)
                self.descriptors += len(received)
                for number in received:
                    os.close(number)
            if not data:
                return
            self.data += data


def sent(name, length, send, waits=0.1):
    """Whether all was sent, and whether what was received is what was sent."""
    for family, ours, theirs in streams():
        reader = Reader(theirs, waits)
        count = send(ours)
        ours.close()
        reader.join()
        theirs.close()
        part = "all" if count == length else "a part" if 0 < count < length else count
        is_right = reader.data == bytes_of(length)[:count]
        print(f"{name} by {family}: {part}, right: {is_right}, descriptors: {reader.descriptors}", flush=True)


def interrupted(stream):
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    return stream.sendmsg([bytes_of(LONG * 8)])


def timed(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
    return stream.sendmsg([bytes_of(LONG * 8)])


def without_waiting(stream):
    stream.setblocking(False)
    return stream.sendmsg([bytes_of(LONG * 8)])


def with_descriptors(stream):
    if stream.family != socket.AF_UNIX:
        return stream.sendmsg([bytes_of(LONG)])
    numbers = array.array("i", [0, 1])
    return stream.sendmsg([bytes_of(LONG)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])


def in_pieces(stream):
    data = memoryview(bytes_of(LONGER))
    ends = [0, 1, 1000, 1_048_577, 1_048_580, 2_500_000, LONGER]
    return stream.sendmsg([data[one:other] for one, other in zip(ends, ends[1:])])


def many(stream):
    """sendmmsg(2) with one message; gives what it says of it."""
    data = ctypes.create_string_buffer(bytes_of(LONGER), LONGER)
    piece = struct.pack("QQ", ctypes.addressof(data), LONGER)
    pieces = ctypes.create_string_buffer(piece, 16)
    header = struct.pack("QIxxxxQQQQixxxxIxxxx", 0, 0, ctypes.addressof(pieces), 1, 0, 0, 0, 7)
    header = ctypes.create_string_buffer(header, 64)
    assert LIBC.sendmmsg(stream.fileno(), header, 1, 0) == 1
    return struct.unpack_from("I", header, 56)[0]


def left_alone():
    """The other end goes while somebody waits for it."""
    for family, ours, theirs in streams():
        threading.Timer(0.1, theirs.close).start()
        count = ours.sendmsg([bytes_of(LONG * 8)])
        try:
            again = ours.sendmsg([b"more"])
        except OSError as error:
            again = type(error).__name__
        print(f"left alone by {family}: {0 < count < LONG * 8} {again if family == 'unix' else ''}", flush=True)
        ours.close()


sent("a long message", LONG, lambda stream: stream.sendmsg([bytes_of(LONG)]))
sent("a longer one", LONGER, in_pieces)
sent("one of many", LONGER, many)
sent("with descriptors", LONG, with_descriptors)
sent("interrupted", LONG * 8, interrupted, 0.6)
sent("with a time", LONG * 8, timed, 0.6)
sent("without waiting", LONG * 8, without_waiting)
left_alone()
