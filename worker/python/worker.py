"""The Python worker: runs code for a supervisor, over one channel.

Started as `python3 -I -c BOOTSTRAP SOCKET SEGMENT`. It connects, says READY,
reads its configuration and code from the segment, and runs the code as the
plain interpreter would. The wire is described by the crate buntime-abi.

Nothing here is a fence: the code that it runs shares its process and can undo
all of it. The hook exists so that a denial says which rule denied what.

It runs at every start, so it imports only what the interpreter already has
loaded or built in; everything else waits until it is needed.
"""

import posix
import sys
from _thread import RLock, allocate_lock, get_ident

import _socket

# Message types of buntime-abi.
STDOUT, FS_READ, FS_WRITE, NET_CONNECT, EXEC, LISTDIR, STDERR = range(7)
ALLOW = 0x10
CODE, CODE_PART, CONFIG = 0x20, 0x21, 0x22

# Header words of a ring, in bytes from its start.
HEAD, TAIL, WAITING, HEADER = 0, 4, 12, 64

# Channel descriptors live up here, where programs do not expect them.
LOWEST_DESCRIPTOR = 60
# The longest text of a value or an exception in a state event, in characters.
# Six bytes each in JSON at worst, under a line's limit of 64 KiB.
LONGEST_TEXT = 8192


class FileMemory:
    """The segment by pread and pwrite: needs no import, for the few bytes of a start."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def word(self, offset):
        return int.from_bytes(posix.pread(self.descriptor, 4, offset), "little")

    def set_word(self, offset, value):
        posix.pwrite(self.descriptor, value.to_bytes(4, "little"), offset)

    def copy_out(self, offset, length):
        return posix.pread(self.descriptor, length, offset)

    def copy_in(self, offset, data):
        posix.pwrite(self.descriptor, data, offset)


class MappedMemory:
    """The segment mapped. A word is read and written by one 32-bit move."""

    def __init__(self, descriptor, length):
        from mmap import mmap

        self.bytes = memoryview(mmap(descriptor, length))
        self.words = self.bytes.cast("I")

    def word(self, offset):
        return self.words[offset >> 2]

    def set_word(self, offset, value):
        self.words[offset >> 2] = value

    def copy_out(self, offset, length):
        return bytes(self.bytes[offset : offset + length])

    def copy_in(self, offset, data):
        self.bytes[offset : offset + len(data)] = data


def connect(path):
    """Connects to the supervisor, which may need a moment to listen."""
    directory = None
    if len(path) > 100:
        # The name of a socket is limited; the way to its directory is not.
        directory = posix.open(path.rpartition("/")[0], posix.O_PATH | posix.O_CLOEXEC)
        path = f"/proc/self/fd/{directory}/{path.rpartition('/')[2]}"
    for attempt in range(30):
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            channel.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            if attempt == 29:
                raise
            import time

            time.sleep(0.1)
    if directory is not None:
        posix.close(directory)
    return lifted(channel)


def lifted(channel):
    """Moves a socket away from the low descriptors that a program expects to get."""
    try:
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        high = fcntl(channel.fileno(), F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)
    except (ImportError, OSError):
        return channel
    channel.close()
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, high)


class Channel:
    """The worker's end of the channel, for any number of threads.

    `writing` orders the producers of the outgoing ring. `lock` guards all that
    is read. At most one thread sleeps on the socket (`pumper`); the others
    sleep on locks of their own and are all woken when it returns. Everyone
    polls before sleeping and looks again after waking, so that no order of
    events loses a wake-up (see `line` in buntime-abi).
    """

    def __init__(self, socket_path, segment_path):
        self.socket = connect(socket_path)
        self.identity = self.fingerprint()
        self.segment_path = segment_path
        descriptor = posix.open(segment_path, posix.O_RDWR | posix.O_CLOEXEC)
        self.length = posix.fstat(descriptor).st_size
        self.memory = FileMemory(descriptor)
        self.outgoing = self.length // 2
        self.capacity = self.outgoing - HEADER
        self.part = min(self.capacity // 4, 65536)
        self.head = 0  # Of the incoming ring, where this end reads.
        self.tail = 0  # Of the outgoing ring, where this end writes.
        self.taken = 0  # How far the supervisor has read of the outgoing ring.
        self.waiting = False
        self.writing = RLock()
        self.deferred = []
        self.lock = RLock()
        self.pumper = None
        self.sleepers = []
        self.inbox = b""
        self.parts = []
        self.code = []
        self.config = None
        self.last_request = 0
        self.expected = set()
        self.answers = {}
        self.forked = False
        self.socket.sendall(b"READY\n")

    def is_interrupted(self):
        """Whether this thread is inside the channel already: a signal handler or finaliser asks."""
        return (
            self.writing._is_owned() or self.lock._is_owned() or self.pumper == get_ident()
        )

    def fingerprint(self):
        status = posix.fstat(self.socket.fileno())
        return status.st_dev, status.st_ino

    def release_segment(self):
        """Closes the segment's descriptor before foreign code can meet it."""
        descriptor, self.memory = self.memory.descriptor, None
        posix.close(descriptor)

    def map_segment(self):
        """Maps the segment, for all that comes after the start."""
        descriptor = posix.open(self.segment_path, posix.O_RDWR | posix.O_CLOEXEC)
        try:
            self.memory = MappedMemory(descriptor, self.length)
        finally:
            posix.close(descriptor)

    def ring(self, line):
        """Sends a line, unless the program has closed our descriptor and reused it."""
        if self.fingerprint() != self.identity:
            raise BrokenPipeError("the channel's descriptor was closed")
        self.socket.sendall(line)

    # Producing.

    def write(self, kind, request, payload, line):
        """Publishes one message, waiting for space as long as it takes."""
        message = b"%b%c%b%b" % (
            (len(payload) + 5).to_bytes(4, "little"),
            kind,
            request.to_bytes(4, "little"),
            payload,
        )
        if self.writing._is_owned():
            # A signal handler or finaliser interrupted this thread's own write.
            self.deferred.append((message, line))
            return
        with self.writing:
            self.publish(message, line)
            while self.deferred:
                self.publish(*self.deferred.pop(0))

    def publish(self, message, line):
        if len(message) >= self.capacity:
            raise ValueError("a message is longer than the channel")
        if self.memory is None:
            self.map_segment()
        while not self.put(message):
            self.ring(b"DATA\n")
            if self.lock._is_owned() or self.pumper == get_ident():
                # A handler prints while this very thread waits for the supervisor.
                # Sleeping on the socket in here would take the other wait's wake-up.
                import time

                time.sleep(0.001)
                continue
            with self.lock:
                if self.put(message):
                    break
                self.sleep()
        self.ring(line)

    def put(self, message):
        """Copies a message into the ring, or sets the waiting word and gives False."""
        memory, base, capacity, tail = self.memory, self.outgoing, self.capacity, self.tail
        length = len(message)
        if length > (self.taken - tail - 1) % capacity:
            self.taken = memory.word(base + HEAD)
            if length > (self.taken - tail - 1) % capacity:
                if not self.waiting:
                    memory.set_word(base + WAITING, 1)
                    self.waiting = True
                    return self.put(message)
                return False
        if self.waiting:
            memory.set_word(base + WAITING, 0)
            self.waiting = False
        data = base + HEADER
        straight = capacity - tail
        if length <= straight:
            memory.copy_in(data + tail, message)
        else:
            memory.copy_in(data + tail, message[:straight])
            memory.copy_in(data, message[straight:])
        self.tail = (tail + length) % capacity
        memory.set_word(base + TAIL, self.tail)
        return True

    # Consuming, with `lock` held.

    def sleep(self):
        """Returns when something may have changed; the caller looks again."""
        if self.poll():
            return
        if self.pumper is not None:
            mine = allocate_lock()
            mine.acquire()
            self.sleepers.append(mine)
            self.lock.release()
            try:
                mine.acquire()
            finally:
                self.lock.acquire()
            return
        self.pumper = get_ident()
        self.lock.release()
        try:
            lines = self.socket.recv(4096)
        finally:
            self.lock.acquire()
            self.pumper = None
            self.wake()
        if not lines:
            raise BrokenPipeError("the supervisor is gone")

    def wake(self):
        sleepers, self.sleepers = self.sleepers, []
        for sleeper in sleepers:
            sleeper.release()

    def poll(self):
        """Takes what the incoming ring holds, and says whether it held anything."""
        if self.memory is None:
            self.map_segment()
        memory, head, capacity = self.memory, self.head, self.capacity
        tail = memory.word(TAIL)
        if tail > head:
            news = memory.copy_out(HEADER + head, tail - head)
        elif tail < head:
            news = memory.copy_out(HEADER + head, capacity - head)
            news += memory.copy_out(HEADER, tail)
        else:
            news = b""
        if news:
            self.inbox += news
            self.head = tail
            memory.set_word(HEAD, tail)
        if memory.word(WAITING):
            self.ring(b"DATA\n")
        if news:
            self.dispatch()
            self.wake()
        return bool(news)

    def dispatch(self):
        inbox, start = self.inbox, 0
        while len(inbox) - start >= 4:
            end = start + 4 + int.from_bytes(inbox[start : start + 4], "little")
            if end > len(inbox):
                break
            kind = inbox[start + 4]
            payload = inbox[start + 9 : end]
            if kind == CODE:
                self.parts.append(payload)
                self.code.append(b"".join(self.parts))
                self.parts = []
            elif kind == CODE_PART:
                self.parts.append(payload)
            elif kind == CONFIG:
                self.config = payload
            else:
                request = int.from_bytes(inbox[start + 5 : start + 9], "little")
                if request in self.expected:
                    self.answers[request] = kind, payload
            start = end
        self.inbox = inbox[start:]

    # What the rest of the worker uses.

    def next_config(self):
        with self.lock:
            while self.config is None:
                self.sleep()
            return self.config

    def next_code(self):
        with self.lock:
            while not self.code:
                self.sleep()
            return self.code.pop(0)

    def notify(self, kind, payload):
        """Tells of an operation without waiting."""
        self.write(kind, 0, payload, b"CHECK\n")

    def ask(self, kind, payload):
        """Asks about an operation: gives None when it is allowed, else the reason."""
        with self.lock:
            request = self.last_request = self.last_request % 0xFFFFFFFF + 1
            self.expected.add(request)
        try:
            self.write(kind, request, payload, b"CHECK\n")
            with self.lock:
                while request not in self.answers:
                    self.sleep()
        finally:
            with self.lock:
                self.expected.discard(request)
                answer = self.answers.pop(request, None)
        kind, reason = answer
        return None if kind == ALLOW else reason.decode("utf-8", "replace")

    def output(self, kind, data):
        """Sends output in parts that the ring can hold."""
        for start in range(0, len(data), self.part):
            self.write(kind, 0, bytes(data[start : start + self.part]), b"DATA\n")

    def state(self, event, data=None):
        """Sends a state event; what was published before is read before it."""
        if self.forked:
            return
        line = f'{{"type":"state","event":"{event}"'
        if data:
            line += ',"data":' + as_json(data)
        try:
            self.ring(line.encode("utf-8", "replace") + b"}\n")
        except OSError:
            pass  # Whoever wanted to know is gone.

    def forget(self):
        """After a fork the ring has one producer still: the parent."""
        self.forked = True


def as_json(data):
    """A flat object of strings, numbers and booleans, without the cost of importing json."""
    try:
        from _json import encode_basestring
    except ImportError:
        import json

        return json.dumps(data, ensure_ascii=False)
    fields = []
    for key, value in data.items():
        if value is True:
            text = "true"
        elif isinstance(value, str):
            text = encode_basestring(value)
        else:
            text = str(int(value))
        fields.append(f'"{key}":{text}')
    return "{" + ",".join(fields) + "}"


# Standard output and error through the ring.


def ring_stream(channel, kind, descriptor, errors):
    """A text stream whose bytes go through the ring, line by line."""
    import io

    class RingOutput(io.RawIOBase):
        name = "<stdout>" if kind == STDOUT else "<stderr>"
        mode = "wb"

        def writable(self):
            return True

        def fileno(self):
            return descriptor

        def isatty(self):
            return False

        def write(self, data):
            with memoryview(data).cast("B") as view:
                if channel.forked:
                    return posix.write(descriptor, view)
                channel.output(kind, view)
                return len(view)

    buffered = io.BufferedWriter(RingOutput(), max(channel.part, 1024))
    stream = io.TextIOWrapper(
        buffered, encoding="utf-8", errors=errors, newline="\n", line_buffering=True
    )
    stream.mode = "w"
    return stream


# The hook.

# The threads that are doing the worker's own business, which the hook lets pass.
BUSY = set()


def install_hook(channel):
    """Asks about what the program is about to do, for an answer that names the rule."""
    O_WRITES = posix.O_WRONLY | posix.O_RDWR | posix.O_CREAT | posix.O_TRUNC | posix.O_APPEND
    libraries = tuple({prefix + "/lib/" for prefix in (sys.prefix, sys.base_prefix)})
    fspath = posix.fspath
    encoding = sys.getfilesystemencoding()

    def absolute(path, directory=-1):
        """A path from the root in bytes, or None when there is none to speak of."""
        if isinstance(path, int):
            return None  # What is open already was asked about when it was opened.
        path = fspath(path)
        if isinstance(path, str):
            path = path.encode(encoding, "surrogateescape")
        if not path.startswith(b"/"):
            if directory == -1:
                base = posix.getcwdb()
            else:
                base = posix.readlink(b"/proc/self/fd/%d" % directory)
            path = base.rstrip(b"/") + b"/" + path
        return None if b"\0" in path or len(path) >= 4096 else path

    def demand(kind, verb, target, detail=None):
        """Raises the denial of an operation that the policy does not allow."""
        if target is None or len(target) + 64 > channel.capacity:
            return None
        try:
            reason = channel.ask(kind, target if detail is None else target + b"\0" + detail)
        except OSError:
            reason = "the supervisor is gone"
        if reason is None:
            return None
        shown = target.decode("utf-8", "surrogateescape")
        reason = f" ({reason})" if reason else ""
        return PermissionError(13, f"policy denied {verb}: {shown}{reason}")

    def written(path, detail, directory=-1):
        return demand(FS_WRITE, "write", absolute(path, directory), detail)

    def told(kind, target):
        if target is not None and len(target) + 64 <= channel.capacity:
            try:
                channel.notify(kind, target)
            except OSError:
                pass

    def on_open(path, mode, flags):
        if isinstance(path, int) or flags & posix.O_PATH == posix.O_PATH:
            return None
        reads = not flags & O_WRITES
        if reads and isinstance(path, str) and path.startswith(libraries):
            return None
        path = fspath(path)
        if mode is None and path[:1] not in ("/", b"/"):
            # os.open may have been given a directory that the event does not name.
            return None
        if reads:
            return told(FS_READ, absolute(path))
        return written(path, b"write_file")

    def on_listing(path=None):
        if path is None:
            path = "."
        elif isinstance(path, str) and path.startswith(libraries):
            return
        if sys._getframe(2).f_code.co_filename == "<frozen importlib._bootstrap_external>":
            return  # A search for modules, not the program's wish.
        told(LISTDIR, absolute(path))

    def on_rename(source, target, source_directory=-1, target_directory=-1):
        return written(source, b"remove_file", source_directory) or written(
            target, b"make_reg", target_directory
        )

    def executed(path):
        path = absolute(path)
        if path is None or not posix.access(path, posix.F_OK):
            return None  # The system's own error says it better.
        return demand(EXEC, "run", path)

    def on_popen(program, arguments, directory, environment):
        program = fspath(program)
        if isinstance(program, str):
            program = program.encode(encoding, "surrogateescape")
        if b"/" in program:
            if directory is not None and not program.startswith(b"/"):
                program = absolute(directory).rstrip(b"/") + b"/" + program
            return executed(program)
        import os

        for directory in os.get_exec_path(environment):
            candidate = absolute(directory) + b"/" + program
            if posix.access(candidate, posix.X_OK):
                return demand(EXEC, "run", candidate)
        return None

    def on_connect(connection, address):
        family = connection.family
        if family == _socket.AF_UNIX:
            path = address.encode(encoding, "surrogateescape") if isinstance(address, str) else address
            path = b"@" + bytes(path)[1:] if path[:1] == b"\0" else absolute(bytes(path))
            return demand(NET_CONNECT, "connect", path, b"unix")
        if family not in (_socket.AF_INET, _socket.AF_INET6):
            return None
        host, port = address[0], address[1]
        if isinstance(host, str):
            host = host.encode("utf-8", "surrogateescape")
        host = bytes(host).split(b"%")[0]
        if b"\0" in host:
            return None
        target = b"[%b]:%d" % (host, port) if b":" in host else b"%b:%d" % (host, port)
        stream = connection.type & 0xF == _socket.SOCK_STREAM
        return demand(NET_CONNECT, "connect", target, b"tcp" if stream else b"udp")

    table = {
        "open": on_open,
        "os.listdir": on_listing,
        "os.scandir": on_listing,
        "os.mkdir": lambda path, mode, directory: written(path, b"make_dir", directory),
        "os.rmdir": lambda path, directory: written(path, b"remove_dir", directory),
        "os.remove": lambda path, directory: written(path, b"remove_file", directory),
        "os.rename": on_rename,
        "os.link": lambda source, target, _, directory: written(target, b"make_reg", directory),
        "os.symlink": lambda source, target, directory: written(target, b"make_sym", directory),
        "os.truncate": lambda path, length: written(path, b"write_file"),
        "os.chmod": lambda path, mode, directory: written(path, b"write_file", directory),
        "os.chown": lambda path, uid, gid, directory: written(path, b"write_file", directory),
        "os.utime": lambda path, times, ns, directory: written(path, b"write_file", directory),
        "subprocess.Popen": on_popen,
        "os.exec": lambda path, arguments, environment: executed(path),
        "os.posix_spawn": lambda path, arguments, environment: executed(path),
        "os.system": lambda command: executed("/bin/sh"),
        "socket.connect": on_connect,
    }
    find = table.get

    def policy(event, arguments):
        judge = find(event)
        if judge is None or channel.forked:
            return
        me = get_ident()
        if me in BUSY or channel.is_interrupted():
            return  # Our own doing, or a handler that interrupted it.
        BUSY.add(me)
        try:
            denial = judge(*arguments)
        except Exception:
            # An argument that no call would take: let the call itself say so.
            denial = None
        finally:
            BUSY.discard(me)
        if denial is not None:
            raise denial

    sys.addaudithook(policy)


# Running code.


def decoded(text):
    """An argument or a path: text, or the list of its bytes where it is not UTF-8."""
    if isinstance(text, list):
        return bytes(text).decode(sys.getfilesystemencoding(), "surrogateescape")
    return text


def fresh_main(filename):
    """The namespace of `__main__`, as the plain interpreter would have made it."""
    names = sys.modules["__main__"].__dict__
    for name in list(names):
        if not (name.startswith("__") and name.endswith("__")):
            del names[name]
    if filename is not None:
        from _frozen_importlib_external import SourceFileLoader

        names["__file__"] = filename
        names["__cached__"] = None
        names["__loader__"] = SourceFileLoader("__main__", filename)
    return names


def without_worker(error):
    """Cuts the worker's own frames out of an exception and all that it is linked to."""
    seen, links = set(), [error]
    while links:
        error = links.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        links += [error.__cause__, error.__context__]
        trace = error.__traceback__
        runner = trace
        while runner is not None and runner.tb_frame.f_code is not RUNNER:
            runner = runner.tb_next
        if runner is not None:
            trace = runner.tb_next
        while trace is not None and trace.tb_frame.f_code.co_filename == WORKER_FILE:
            trace = trace.tb_next
        inner = trace
        while inner is not None and inner.tb_next is not None:
            if inner.tb_next.tb_frame.f_code.co_filename == WORKER_FILE:
                inner.tb_next = None  # The hook's frame, below the call that it denied.
            inner = inner.tb_next
        error.__traceback__ = trace


def described(error):
    """One line for an exception, whatever its class makes of str()."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:LONGEST_TEXT]


def show_once(shown):
    """An excepthook for the way out that hides the worker and then steps aside."""

    def show(kind, error, trace):
        sys.excepthook = shown
        without_worker(error)
        trace = error.__traceback__
        sys.last_traceback = trace
        me = get_ident()
        if shown is sys.__excepthook__:
            BUSY.add(me)  # It looks for the source of every frame.
        try:
            shown(kind, error, trace)
        finally:
            BUSY.discard(me)

    return show


def compiled(code, filename, wants_value):
    """Gives what to execute, and what to evaluate after it for a value."""
    if not wants_value:
        return compile(code, filename, "exec", dont_inherit=True), None
    from _ast import Expr, Expression, PyCF_ONLY_AST

    tree = compile(code, filename, "exec", PyCF_ONLY_AST, dont_inherit=True)
    last = None
    if tree.body and isinstance(tree.body[-1], Expr):
        last = compile(Expression(tree.body.pop().value), filename, "eval", dont_inherit=True)
    return compile(tree, filename, "exec", dont_inherit=True), last


def execute(code, filename, names, wants_value):
    """Runs a piece of code in a namespace. Its frame is where worker ends and program begins."""
    me = get_ident()
    BUSY.add(me)  # For a SyntaxError the compiler opens the file that it is told of.
    try:
        body, last = compiled(code, filename, wants_value)
    finally:
        BUSY.discard(me)
    exec(body, names)
    return None if last is None else eval(last, names)


RUNNER = execute.__code__
WORKER_FILE = RUNNER.co_filename


def result(value):
    """The data of `exec_end` for a value."""
    if value is None:
        return None
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr failed: {described(error)}>"
    if len(text) > LONGEST_TEXT:
        return {"value": text[:LONGEST_TEXT], "truncated": True}
    return {"value": text}


def run_once(channel, code, filename, names, wants_value):
    """Runs the program; how it ends is how the interpreter ends."""
    channel.state("exec_start")
    try:
        value = execute(code, filename, names, wants_value)
    except SystemExit:
        channel.state("exec_end")
        raise
    except BaseException as error:
        channel.state("exception", {"error": described(error)})
        shown = getattr(sys, "excepthook", None)
        if shown is not None:
            sys.excepthook = show_once(shown)
        raise
    channel.state("exec_end", result(value))


def run_session(channel, filename, names, wants_value):
    """Runs code after code in one namespace until the supervisor hangs up."""
    while True:
        try:
            code = channel.next_code()
        except BrokenPipeError:
            return
        channel.state("exec_start")
        data = None
        try:
            data = result(execute(code, filename, names, wants_value))
        except SystemExit as stop:
            data = {"exit": str(stop.code)}
        except BaseException as error:
            BUSY.add(get_ident())
            without_worker(error)
            from traceback import format_exception

            text = "".join(format_exception(error))[-LONGEST_TEXT:]
            channel.state("exception", {"error": described(error), "traceback": text})
            BUSY.discard(get_ident())
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # The program has closed or replaced it.
        channel.state("exec_end", data)


def main(socket_path, segment_path):
    channel = Channel(socket_path, segment_path)
    # JSON from a supervisor that writes no escapes of its own is also Python.
    # Importing json would cost more than the whole start.
    config = eval(channel.next_config(), {"true": True, "false": False, "null": None})
    wants_value = config["value"]
    filename = decoded(config["filename"])
    if config["once"]:
        code = channel.next_code()
    channel.release_segment()
    names = fresh_main(filename)
    sys.argv = [decoded(argument) for argument in config["argv"]]
    if filename is None:
        filename = "<string>"
        sys.path.insert(0, "")
    else:
        from posixpath import dirname, realpath

        sys.path.insert(0, dirname(realpath(filename)))
    if config["stdio"] == "ring":
        sys.stdout = sys.__stdout__ = ring_stream(channel, STDOUT, 1, "strict")
        sys.stderr = sys.__stderr__ = ring_stream(channel, STDERR, 2, "backslashreplace")
    posix.register_at_fork(after_in_child=channel.forget)
    if config["checks"]:
        install_hook(channel)
    if config["once"]:
        run_once(channel, code, filename, names, wants_value)
    else:
        run_session(channel, filename, names, wants_value)


main(sys.argv[1], sys.argv[2])
