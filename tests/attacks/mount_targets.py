"""Line 6. An image whose mount targets are links out of it, from the first or in a race: whatever is made for a mount is made there."""

# What a target that leads out has the runtime make, in a folder of nobody's.
OUT = f"{GROUND}/outside/made"


def judge(ended):
    """It is not asked whether the container has run, but what was made outside."""
    if not os.path.lexists(OUT):
        denied("nothing was made outside")
    shutil.rmtree(OUT)


def linked(name, mount):
    def change(spec):
        place = f"{YARD}/rootfs/{name}"
        if os.path.lexists(place):
            os.rmdir(place)
        os.symlink(OUT, place)
        spec["mounts"] = [one for one in spec["mounts"] if one["destination"] != mount["destination"]] + [mount]

    judge(run("pass", change))


@against
def place_of_dev():
    linked("dev", DEV)


@against
def place_of_proc():
    linked("proc", PROC)


@against
def place_of_sys():
    linked("sys", {"destination": "/sys", "type": "tmpfs", "source": "tmpfs"})


@against
def target_of_a_volume():
    os.makedirs(f"{YARD}/volume")
    linked("data", bound(f"{YARD}/volume", "/data", "rw"))


@against
def folder_above_the_target():
    os.makedirs(f"{YARD}/volume")
    linked("data", bound(f"{YARD}/volume", "/data/below/it", "rw"))


@against
def file_as_a_target():
    linked("etc/hosts", bound("/etc/hosts", "/etc/hosts/below", "ro"))


@against
def dots_above_the_root():
    depth = "/.." * (f"{YARD}/rootfs".count("/"))

    def change(spec):
        os.makedirs(f"{YARD}/volume")
        spec["mounts"].append(bound(f"{YARD}/volume", f"{depth}{OUT}", "rw"))

    judge(run("pass", change))


@against
def folder_swapped_in_a_race():
    """Another container with the same volume exchanges a folder of it for a link, over and over."""
    bundle("pass")
    for folder in ("volume/swap", "source"):
        os.makedirs(f"{YARD}/{folder}")
    os.symlink(f"{GROUND}/outside", f"{YARD}/volume/link")
    one, other = f"{YARD}/volume/swap".encode(), f"{YARD}/volume/link".encode()
    meanwhile(lambda: LIBC.syscall(316, AT_FDCWD, one, AT_FDCWD, other, 2))

    def change(spec):
        spec["mounts"].append(bound(f"{YARD}/volume", "/volume", "rw"))
        # Every one of them is a chance.
        spec["mounts"] += [bound(f"{YARD}/source", "/volume/swap/made", "rw") for _ in range(30)]

    for _ in range(5):
        run("pass", change)
        if os.path.lexists(OUT):
            break
    judge(None)
