"""Running code."""


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


def show_source_of(code):
    """Since 3.13 the interpreter keeps the source of `-c` for tracebacks: the bootstrap's."""
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        text = code.decode("utf-8", "replace")
        lines = [line + "\n" for line in text.split("\n")]
        linecache.cache["<string>"] = len(text), None, lines, "<string>"


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
                inner.tb_next = inner.tb_next.tb_next  # The hook, in the call that it judged.
            else:
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
    if filename == "<string>" and not wants_value:
        # exec() of a text is what `-c` is. compile() would first make a type for
        # every kind of syntax node, which takes longer than all of the rest.
        return code.decode("utf-8", "surrogateescape"), None
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
        except (BrokenPipeError, ConnectionResetError):
            return
        if filename == "<string>":
            show_source_of(code)
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
    if sys.version_info < (3, 7):
        raise SystemExit("this is Python %d.%d; Buntime needs 3.7" % sys.version_info[:2])
    channel = Channel(socket_path, segment_path)
    # JSON from a supervisor that writes no escapes of its own is also Python.
    # Importing json would cost more than the whole start.
    config = eval(channel.next_config(), {"true": True, "false": False, "null": None})
    wants_value = config["value"]
    filename = decoded(config["filename"])
    if config["once"]:
        code = channel.next_code()
    if config["native"]:
        library = socket_path.rpartition("/")[0] + "/libbuntime_worker.so"
        channel = native_channel(channel, library)
    channel.release_segment()
    names = fresh_main(filename)
    sys.argv = [decoded(argument) for argument in config["argv"]]
    if filename is None:
        filename = "<string>"
        if config["once"]:
            show_source_of(code)
        sys.path.insert(0, "")
    else:
        from posixpath import dirname, realpath

        sys.path.insert(0, dirname(realpath(filename)))
    if config["stdio"] == "ring":
        sys.stdout = sys.__stdout__ = ring_stream(channel, STDOUT, 1, "strict")
        sys.stderr = sys.__stderr__ = ring_stream(channel, STDERR, 2, "backslashreplace")
    posix.register_at_fork(after_in_child=channel.forget)
    if config["checks"] and hasattr(sys, "addaudithook"):
        install_hook(channel)
    if config["once"]:
        run_once(channel, code, filename, names, wants_value)
    else:
        run_session(channel, filename, names, wants_value)


if sys.argv[3:] == ["stdin"]:
    run_standard_input(sys.argv[1], sys.argv[2])
else:
    main(sys.argv[1], sys.argv[2])
