"""The hook: asks about what the program is about to do."""

# The threads that are doing the worker's own business, which the hook lets pass.
BUSY = set()


def is_ours(error):
    """Whether the worker raised an exception itself, and not a signal handler within it."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename == WORKER_FILE


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

    def resolved(path, follow=True):
        """Where a path leads, as the kernel will see it; its last name is followed or not."""
        if path is None or b"\0" in path:
            return path
        from posixpath import realpath

        if follow:
            return realpath(path)
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            return realpath(path)
        return realpath(folder or b"/").rstrip(b"/") + b"/" + name

    def demand(kind, verb, target, detail=None):
        """Raises the denial of an operation that the policy does not allow."""
        if target is None or len(target) + 64 > channel.capacity:
            return None
        try:
            reason = channel.ask(kind, target if detail is None else target + b"\0" + detail)
        except OSError as error:
            if not is_ours(error):
                raise
            reason = "the supervisor is gone"
        if reason is None:
            return None
        shown = target.decode("utf-8", "surrogateescape")
        reason = f" ({reason})" if reason else ""
        return PermissionError(13, f"policy denied {verb}: {shown}{reason}")

    def is_named(path):
        """Whether a resolved path is a name: a pipe, a socket or a memory file that is opened anew by its
        descriptor (/dev/stdout, /dev/fd/1) has only a text in the place of one."""
        described = path.startswith(b"/proc/") and b"/fd/" in path and path.endswith(b"]")
        return not described and not (path.startswith(b"/memfd:") and path.endswith(b" (deleted)"))

    def written(path, detail, directory=-1, follow=False):
        path = resolved(absolute(path, directory), follow)
        if path is None or not is_named(path):
            return None
        return demand(FS_WRITE, "write", path, detail)

    def told(kind, target):
        if target is not None and len(target) + 64 <= channel.capacity:
            try:
                channel.notify(kind, target)
            except OSError as error:
                if not is_ours(error):
                    raise

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
        return written(path, b"write_file", follow=True)

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
        return demand(EXEC, "run", resolved(path))

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
                return demand(EXEC, "run", resolved(candidate))
        return None

    def on_connect(connection, address):
        import _socket  # It takes a fifth of a millisecond, and whoever connects has it.

        family = connection.family
        if family == _socket.AF_UNIX:
            path = address.encode(encoding, "surrogateescape") if isinstance(address, str) else address
            if path[:1] == b"\0":
                return None  # No file has it, and the network namespace holds it.
            return demand(NET_CONNECT, "connect", resolved(absolute(bytes(path))), b"unix")
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
        "os.truncate": lambda path, length: written(path, b"write_file", follow=True),
        "os.chmod": lambda path, mode, directory: written(path, b"write_file", directory, True),
        "os.chown": lambda path, uid, gid, directory: written(path, b"write_file", directory, True),
        "os.utime": lambda path, times, ns, directory: written(path, b"write_file", directory, True),
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
        except Exception as error:
            if not is_ours(error):
                raise
            # An argument that no call would take: let the call itself say so.
            denial = None
        finally:
            BUSY.discard(me)
        if denial is not None:
            raise denial

    sys.addaudithook(policy)
