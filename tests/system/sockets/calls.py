"""Servers, clients and calls of Unix sockets with names; each line says how one of them went."""

import array
import ctypes
import errno
import os
import socket
import struct
import sys
import threading

ROOT = sys.argv[1]
LIBC = ctypes.CDLL(None, use_errno=True)
KINDS = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET, "datagrams": socket.SOCK_DGRAM}
os.chdir(f"{ROOT}/ok")


def said(name, does):
    """Prints what a call gives, or its error."""
    try:
        outcome = does()
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    print(f"{name}: {outcome}".replace(ROOT, "ROOT"), flush=True)


def unix(kind="stream"):
    return socket.socket(socket.AF_UNIX, KINDS[kind])


def raw(call, one, address, length=None):
    """bind or connect with an address of these bytes."""
    length = len(address) if length is None else length
    if getattr(LIBC, call)(one.fileno(), address, ctypes.c_uint(length & 0xFFFFFFFF)) != 0:
        raise OSError(ctypes.get_errno(), call)
    return "ok"


def served(kind, path, ask):
    """What a client gets from a server at the path, and whom each of them sees."""
    server, client = unix(kind), unix(kind)
    server.bind(path)
    if kind == "datagrams":
        client.bind(f"{path}.client")
        client.connect(ask)
        client.send(b"ping")
        data, sender = server.recvfrom(16)
        server.sendto(data + b"-pong", sender)
        answer = client.recv(16)
        os.unlink(f"{path}.client")
    else:
        server.listen(1)
        client.connect(ask)
        ours, sender = server.accept()
        credentials = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert credentials[1:] == (os.geteuid(), os.getegid()) and credentials[0] > 0, credentials
        theirs = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert theirs == (os.getpid(), os.geteuid(), os.getegid()), theirs
        client.sendall(b"ping")
        ours.sendall(ours.recv(16) + b"-pong")
        answer = client.recv(16)
    names = server.getsockname(), client.getpeername(), sender
    mode = oct(os.stat(path).st_mode)
    os.unlink(path)
    return answer, names, mode


def hello(path, kind="stream"):
    with unix(kind) as client:
        client.connect(path)
        if kind == "datagrams":
            return client.send(b"x")
        return client.recv(16)


for kind in KINDS:
    for path in ["here", "./here", "../ok/here", f"{ROOT}/ok/here", f"{ROOT}/link/here", "/proc/self/cwd/here"]:
        said(f"{kind} at {path}", lambda: served(kind, path, f"{ROOT}/ok/here")[0::2])
    # Through files of processes a socket knows only its last name.
    for path in ["here", "../ok/here", f"{ROOT}/link/here"]:
        said(f"names of {kind} at {path}", lambda: served(kind, path, f"{ROOT}/link/here")[1])

for mask in [0o077, 0]:
    os.umask(mask)
    said(f"mode {mask:o}", lambda: served("stream", "masked", "masked")[2])
os.umask(0o022)

# Names that are denied inside, and others that lead to them.
for path in ["nothing", f"{ROOT}/ok/nothing", f"{ROOT}/no/here", f"{ROOT}/link-to-no/here", "../no/here"]:
    said(f"denied bind {path}", lambda: raw("bind", unix(), b"\x01\x00" + path.encode()))
for path in ["no.sock", "link-to-no.sock", "read/host.sock", "link-to-read.sock", "hard.sock"]:
    said(f"denied connect {path}", lambda: hello(f"{ROOT}/{path}"))
    said(f"denied packets {path}", lambda: hello(f"{ROOT}/{path}", "packets"))
for path in ["no.dgram", "link-to-no.dgram"]:
    said(f"denied datagram {path}", lambda: hello(f"{ROOT}/{path}", "datagrams"))
    said(f"denied sendto {path}", lambda: unix("datagrams").sendto(b"x", f"{ROOT}/{path}"))
    said(f"denied sendmsg {path}", lambda: unix("datagrams").sendmsg([b"x"], [], 0, f"{ROOT}/{path}"))

# Those of the host that may be written to.
said("host", lambda: hello(f"{ROOT}/host.sock"))
said("host by a link", lambda: hello(f"{ROOT}/link-to-host.sock"))
said("host by a descriptor", lambda: hello(f"/proc/self/fd/{os.open(ROOT + '/host.sock', os.O_PATH)}"))
said("host by datagrams", lambda: hello(f"{ROOT}/host.dgram", "datagrams"))
said("host by sendto", lambda: unix("datagrams").sendto(b"x", f"{ROOT}/host.dgram"))
said("host by sendmsg", lambda: unix("datagrams").sendmsg([b"x", b"y"], [], 0, f"{ROOT}/host.dgram"))
said("host of another kind", lambda: hello(f"{ROOT}/host.sock", "packets"))

# Addresses that are none.
PATH = f"{ROOT}/host.sock".encode()
for name, address, length in [
    ("empty", b"", 0), ("one byte", b"\x01", 1), ("family alone", b"\x01\x00", 2), ("no path", b"\x01\x00\x00", 3),
    ("negative", b"\x01\x00x", -1), ("too long", b"\x01\x00" + b"x" * 200, 202), ("longer than any", b"x" * 129, 129),
    ("108 bytes", b"\x01\x00" + b"x" * 108, None), ("109 bytes", b"\x01\x00" + b"x" * 109, None),
    ("another family", b"\x02\x00" + PATH, None), ("no family", b"\x00\x00" + PATH, None),
    ("nothing there", b"\x01\x00" + PATH + b"missing", None), ("below a socket", b"\x01\x00" + PATH + b"/x", None),
    ("a folder", b"\x01\x00" + ROOT.encode(), None), ("a file", b"\x01\x00file", None), ("a slash", b"\x01\x00" + PATH + b"/", None),
    ("a loop", b"\x01\x00loop", None), ("more behind the end", b"\x01\x00" + PATH + b"\x00rest", None),
]:
    said(f"connect {name}", lambda: raw("connect", unix(), address, length))
    said(f"connect datagrams {name}", lambda: raw("connect", unix("datagrams"), address, length))
    if name not in ("more behind the end", "nothing there"):
        said(f"bind {name}", lambda: raw("bind", unix(), address, length))
    for leftover in ("x" * 108, "x"):
        if os.path.lexists(leftover):
            os.unlink(leftover)
said("connect no memory", lambda: raw("connect", unix(), ctypes.c_void_p(8), 10))
for name in ["/", ".", "..", "file", "file/", "missing/here", "file/here", "fresh/"]:
    said(f"bind {name}", lambda: raw("bind", unix(), b"\x01\x00" + name.encode()))


def without(number):
    if LIBC.connect(number, b"\x01\x00" + PATH, len(PATH) + 2) != 0:
        raise OSError(ctypes.get_errno(), "connect")


said("no descriptor", lambda: without(999))
said("a negative descriptor", lambda: without(-1))
said("no socket", lambda: without(os.open("file", os.O_RDONLY)))
said("a name of a file", lambda: without(os.open("file", os.O_PATH)))


def twice():
    with unix() as one:
        one.bind("twice")
        try:
            one.bind("again")
        finally:
            os.unlink("twice")
            assert not os.path.lexists("again")


said("bound twice", twice)


def abstract():
    with unix() as server, unix() as client:
        server.bind("")
        assert server.getsockname().startswith(b"\0")
        server.listen()
        client.connect(server.getsockname())
        server.accept()[0].sendall(b"abstract")
        return client.recv(16)


said("abstract", abstract)


def full():
    """A connection that waits holds up nobody else."""
    with unix() as server, unix() as first, unix() as waits, unix() as busy:
        server.bind("full")
        server.listen(0)
        first.connect("full")
        waiting = threading.Thread(target=waits.connect, args=("full",))
        waiting.start()
        busy.setblocking(False)
        found = []
        # Until the one that waits, or this one, has no room any more.
        while not found:
            try:
                busy.connect("full")
                busy = unix()
                busy.setblocking(False)
            except BlockingIOError:
                found.append("EAGAIN")
        found.append(hello(f"{ROOT}/host.sock"))
        while waiting.is_alive():
            server.accept()
            waiting.join(0.01)
        os.unlink("full")
        return found


said("full", full)


def passed():
    """Descriptors and messages of pairs."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with open("file", "rb") as file:
        socket.send_fds(one, [b"here"], [file.fileno(), file.fileno()])
    data, numbers, _, _ = socket.recv_fds(other, 16, 4)
    return data, [os.read(number, 1) + os.pread(number, 8, 0) for number in numbers]


said("descriptors", passed)
said("no such descriptor", lambda: socket.send_fds(socket.socketpair()[0], [b"x"], [999]))


def credentials(pid):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    told = struct.pack("3i", pid, os.geteuid(), os.getegid())
    one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, told)])
    found = struct.unpack("3i", other.recvmsg(16, 64)[1][0][2])
    return found[0] > 0, found[1:] == (os.geteuid(), os.getegid())


said("credentials", lambda: credentials(os.getpid()))
said("credentials of another", lambda: credentials(os.getppid()))


def long(kind):
    """A message that is longer than what the receiver has room for."""
    one, other = socket.socketpair(socket.AF_UNIX, KINDS[kind])
    got = []
    sent = b"x" * (300_000 if kind == "stream" else 3)

    def receive():
        while sum(map(len, got)) < (len(sent) if kind == "stream" else 3000):
            got.append(other.recv(65536))

    receiver = threading.Thread(target=receive)
    receiver.start()
    if kind == "stream":
        rest = sent
        while rest:
            rest = rest[one.sendmsg([rest[: len(rest) // 2], rest[len(rest) // 2 :]]) :]
    else:
        for _ in range(1000):
            one.sendmsg([sent])
    receiver.join()
    return sum(map(len, got))


for kind in KINDS:
    said(f"long {kind}", lambda: long(kind))


def many():
    """sendmmsg, as often as it takes."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pieces = [ctypes.create_string_buffer(text) for text in (b"a", b"bc", b"def")]
    vectors = [struct.pack("QQ", ctypes.addressof(piece), len(piece) - 1) for piece in pieces]
    vectors = [ctypes.create_string_buffer(vector, 16) for vector in vectors]
    headers = b"".join(
        struct.pack("QIiQQQQiiIi", 0, 0, 0, ctypes.addressof(vector), 1, 0, 0, 0, 0, 0, 0) for vector in vectors)
    headers = ctypes.create_string_buffer(headers, len(headers))
    done = 0
    while done < 3:
        at = ctypes.addressof(headers) + 64 * done
        sent = LIBC.sendmmsg(one.fileno(), ctypes.c_void_p(at), 3 - done, 0)
        if sent <= 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        done += sent
    counts = [struct.unpack_from("I", headers, 64 * at + 56)[0] for at in range(3)]
    return counts, [other.recv(16) for _ in range(3)], LIBC.sendmmsg(one.fileno(), None, 0, 0)


said("many", many)


def broken():
    """A closed stream sends its signal, and only where that was not refused."""
    child = os.fork()
    if child == 0:
        import signal

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        one, other = socket.socketpair()
        other.close()
        try:
            one.sendmsg([b"x"], [], socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            one.sendmsg([b"x"])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


said("broken", broken)


def from_a_thread():
    """A thread that is not its process's first."""
    found = []
    thread = threading.Thread(target=lambda: found.append(hello(f"{ROOT}/host.sock")))
    thread.start()
    thread.join()
    return found


said("from a thread", from_a_thread)


def replaced():
    """A descriptor that another thread makes another socket, over and over, while it is connected."""
    with unix() as server, unix() as one, unix("datagrams") as other:
        server.bind("replaced")
        server.listen(200)
        number = os.dup(one.fileno())
        over = threading.Event()

        def swap():
            while not over.is_set():
                os.dup2(one.fileno(), number)
                os.dup2(other.fileno(), number)

        swapping = threading.Thread(target=swap)
        swapping.start()
        seen = set()
        address = b"\x01\x00" + f"{ROOT}/no.dgram".encode()
        for _ in range(200):
            if LIBC.connect(number, address, len(address)) == 0:
                seen.add("ok")
            else:
                seen.add(errno.errorcode[ctypes.get_errno()])
        over.set()
        swapping.join()
        os.unlink("replaced")
        return sorted(seen - {"EPROTOTYPE"})


said("denied and replaced", replaced)


def by_asyncio():
    import asyncio

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_unix_server(echo, f"{ROOT}/ok/asyncio")

        async def ask(number):
            reader, writer = await asyncio.open_unix_connection(f"{ROOT}/ok/asyncio")
            writer.write(b"%d\n" % number)
            answer = await reader.readline()
            writer.close()
            return int(answer)

        answers = await asyncio.gather(*(ask(number) for number in range(50)))
        server.close()
        return answers == list(range(50))

    return asyncio.run(main())


said("asyncio", by_asyncio)


def by_multiprocessing():
    from multiprocessing.connection import Client, Listener

    with Listener(f"{ROOT}/ok/listener", "AF_UNIX", authkey=b"key") as listener:
        child = os.fork()
        if child == 0:
            with Client(listener.address, authkey=b"key") as client:
                client.send({"pid": os.getpid(), "long": "x" * 200_000})
            os._exit(0)
        with listener.accept() as connection:
            message = connection.recv()
        os.waitpid(child, 0)
        return message["pid"] == child, len(message["long"]), listener.address


said("multiprocessing", by_multiprocessing)


def by_socketserver():
    import socketserver

    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.readline())

    with socketserver.ThreadingUnixStreamServer("server", Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        with unix() as client:
            client.connect("server")
            client.sendall(b"echo\n")
            answer = client.makefile("rb").readline()
        server.shutdown()
        os.unlink("server")
        return answer, server.server_address


said("socketserver", by_socketserver)
