"""Line 50. Looks for any place that can be written, other than the private temporary ones."""

PRIVATE = ("/tmp", "/dev/shm", "/proc", "/sys/fs/cgroup")
PLACES = @PLACES@


def folders():
    """Every folder that can be seen, to a depth at which all the mounts lie."""
    seen = set(PLACES)
    queue = [(place, 0) for place in PLACES]
    while queue:
        here, depth = queue.pop()
        if here.startswith(PRIVATE) and here not in PLACES:
            continue
        yield here
        if depth >= 3 or len(seen) > 4000:
            continue
        try:
            names = os.listdir(here)
        except OSError:
            continue
        for name in names:
            path = os.path.join(here, name)
            if path not in seen and os.path.isdir(path) and not os.path.islink(path):
                seen.add(path)
                queue.append((path, depth + 1))


def everywhere(write):
    """Tries each place and raises what the first denial said."""
    denial = None
    tried = 0
    for folder in folders():
        tried += 1
        try:
            write(folder)
        except OSError as error:
            denial = denial or error
        else:
            print("written below", folder, file=sys.stderr)
            return
    if tried < len(PLACES) or denial is None:
        raise NotReached(f"only {tried} places were tried")
    raise denial


def name_in(folder):
    return os.path.join(folder, "attack-left-this")


@attempt
def api_open():
    def write(folder):
        with open(name_in(folder), "w"):
            pass
        os.unlink(name_in(folder))
    everywhere(write)


@attempt
def api_mkdir():
    def write(folder):
        os.mkdir(name_in(folder))
        os.rmdir(name_in(folder))
    everywhere(write)


@attempt
def api_symlink():
    def write(folder):
        os.symlink("/", name_in(folder))
        os.unlink(name_in(folder))
    everywhere(write)


@attempt
def api_unnamed():
    def write(folder):
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
    everywhere(write)


@attempt
def api_existing_file():
    def write(folder):
        denial = None
        for name in os.listdir(folder)[:50]:
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                continue
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                return
            except OSError as error:
                denial = error
        raise denial or FileNotFoundError(errno.ENOENT, "no file here")
    everywhere(write)


@attempt
def raw_creat():
    def write(folder):
        syscall("creat", name_in(folder).encode(), 0o600)
        syscall("unlinkat", AT_FDCWD, name_in(folder).encode(), 0)
    everywhere(write)


@attempt
def raw_mkdirat():
    def write(folder):
        syscall("mkdirat", AT_FDCWD, name_in(folder).encode(), 0o700)
        syscall("unlinkat", AT_FDCWD, name_in(folder).encode(), 0x200)
    everywhere(write)


@attempt
def raw_mknod():
    def write(folder):
        syscall("mknod", name_in(folder).encode(), 0o010600, 0)
        syscall("unlinkat", AT_FDCWD, name_in(folder).encode(), 0)
    everywhere(write)
