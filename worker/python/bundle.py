"""Running the code of standard input, as a container's process does, with the channel if there is one."""


class Unheard:
    """In the place of a channel where there is none."""

    def state(self, event, data=None):
        pass


def reached(socket_path, segment_path):
    """The channel of a container, or None.

    There may be none at all, another process may have it, the policy may hide it or take away the
    sockets that it takes: then the program runs without, held to the same.
    """
    channel = None
    try:
        posix.close(posix.open(segment_path, posix.O_RDWR | posix.O_CLOEXEC))
        channel = Channel(socket_path, segment_path, 1)
        channel.ring(b"")
        # Until the supervisor has taken this connection the rings hold what another has left.
        if not posix.read(channel.socket, 4096):
            raise BrokenPipeError("another process has the channel")
        channel.next_config()
    except OSError:
        if channel is not None:
            channel.release_segment()
            posix.close(channel.socket)
        return None
    channel.release_segment()
    return channel


def standard_input():
    """All of it: a program that comes this way runs when it is there whole."""
    parts = []
    try:
        parts.append(posix.read(0, 1 << 16))
        while parts[-1]:
            parts.append(posix.read(0, 1 << 16))
    except OSError:
        pass  # It is closed, or a directory: there is no program in it.
    return b"".join(parts)


def interact(names):
    """As the plain interpreter does at a terminal."""
    from code import interact

    try:
        import readline
        import rlcompleter
    except ImportError:
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
    interact(f"Python {sys.version} on {sys.platform}", local=names, exitmsg="")


def run_standard_input(socket_path, segment_path):
    channel = reached(socket_path, segment_path)
    names = fresh_main(None)
    names["__loader__"] = sys.modules["_frozen_importlib"].BuiltinImporter
    names["__file__"], names["__cached__"] = "<stdin>", None
    sys.argv = [""]
    is_terminal = posix.isatty(0)
    code = b"" if is_terminal else standard_input()
    if channel is not None:
        posix.register_at_fork(after_in_child=channel.forget)
        if hasattr(sys, "addaudithook"):
            install_hook(channel)
    if is_terminal:
        for name in "__file__", "__cached__":
            del names[name]
        interact(names)
    else:
        run_once(channel or Unheard(), code, "<stdin>", names, False)
