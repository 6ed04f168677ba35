"""The Python worker: runs code for a supervisor, over one channel.

Started as `python3 -I -c BOOTSTRAP SOCKET SEGMENT`, or in a container as
`python3 -I START SOCKET SEGMENT stdin`, where START is the bootstrap in a file. It takes over the connection
that SOCKET names (or makes one, where SOCKET is a path), says READY, reads its
configuration and code from the segment, and runs the code as the plain
interpreter would. The wire is described by the crate buntime-abi.

Nothing here is a fence: the code that it runs shares its process and can undo
all of it. The hook exists so that a denial says which rule denied what.

It runs at every start, so it imports only what the interpreter already has
loaded or built in; everything else waits until it is needed.
"""

import posix
import sys
from _thread import RLock, allocate_lock, get_ident

# Message types of buntime-abi.
STDOUT, FS_READ, FS_WRITE, NET_CONNECT, EXEC, LISTDIR, STDERR = range(7)
ALLOW = 0x10
CODE, CODE_PART, CONFIG = 0x20, 0x21, 0x22

# Header words of a ring, in bytes from its start.
HEAD, TAIL, WAITING, HEADER = 0, 4, 12, 64

# The channel's socket lives up here, where programs do not expect it, in the table
# of 64 descriptors that every process has anyway.
HIGH_DESCRIPTOR = 60
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


def connect(path, attempts):
    """Gives the descriptor of a connection to the supervisor.

    The launch makes it, before sockets are taken away, and hands it over as `@DESCRIPTOR` in the
    place of the socket's name. Whoever starts a worker by itself gives the path of a socket, and
    may need a moment to listen.
    """
    name = path.rpartition("/")[2]
    if name.startswith("@"):
        descriptor = int(name[1:])
        posix.set_inheritable(descriptor, False)
        return descriptor
    directory = None
    if len(path) > 100:
        # The name of a socket is limited; the way to its directory is not.
        directory = posix.open(path.rpartition("/")[0], posix.O_PATH | posix.O_CLOEXEC)
        path = f"/proc/self/fd/{directory}/{path.rpartition('/')[2]}"
    import _socket

    for attempt in range(attempts):
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            channel.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            if attempt == attempts - 1:
                raise
            import time

            time.sleep(0.1)
    if directory is not None:
        posix.close(directory)
    return lifted(channel.detach())


def lifted(descriptor):
    """Moves a descriptor away from the low ones that a program expects to get."""
    try:
        posix.fstat(HIGH_DESCRIPTOR)
        return descriptor  # Taken already.
    except OSError:
        pass
    try:
        posix.dup2(descriptor, HIGH_DESCRIPTOR, False)
    except OSError:
        return descriptor  # Above the limit of open files.
    posix.close(descriptor)
    return HIGH_DESCRIPTOR


class Channel:
    """The worker's end of the channel, for any number of threads.

    `writing` orders the producers of the outgoing ring. `lock` guards all that
    is read. At most one thread sleeps on the socket (`pumper`); the others
    sleep on locks of their own and are all woken when it returns. Everyone
    polls before sleeping and looks again after waking, so that no order of
    events loses a wake-up (see `line` in buntime-abi).
    """

    def __init__(self, socket_path, segment_path, attempts=30):
        self.socket = connect(socket_path, attempts)
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
        # Goes out with the first line, or before the first wait: each line wakes the supervisor.
        self.unsaid = b"READY\n"

    def is_interrupted(self):
        """Whether this thread is inside the channel already: a signal handler or finaliser asks."""
        return (
            self.writing._is_owned() or self.lock._is_owned() or self.pumper == get_ident()
        )

    def fingerprint(self):
        status = posix.fstat(self.socket)
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
        line, self.unsaid = self.unsaid + line, b""
        # Up to the longest line a socket takes whole, so that threads do not mix theirs.
        while line:
            line = line[posix.write(self.socket, line) :]

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
        if self.unsaid:
            self.ring(b"")
        self.pumper = get_ident()
        self.lock.release()
        try:
            lines = posix.read(self.socket, 4096)
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

    def settle(self):
        """Takes the rest of a piece of code whose beginning has been taken."""
        with self.lock:
            while self.parts:
                self.sleep()

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
