"""Line 7. Names of containers that are paths, empty, far too long, or written for a terminal."""

OUT = f"{GROUND}/outside"
UP = "../../outside"
# A name that is as long as it may be, and one that begins with it.
NAME, LONG = "v" * 200, "v" * 4096


def victim(name=NAME):
    """Another container's state, which a deletion must not touch."""
    made = call("create", "--bundle", bundle("pass"), name)
    if made.status != 0:
        raise NotAttempted(made.said())
    return f"{STATE}/{name}"


def is_kept(path):
    if os.path.lexists(path):
        denied("it is still there")


def is_not_made(path):
    if not os.path.lexists(path):
        denied("nothing was made there")


@against
def created_outside():
    made = f"{OUT}/made"
    call("create", "--bundle", bundle("pass"), f"{UP}/made")
    is_not_made(made)
    call("delete", "--force", f"{UP}/made")
    shutil.rmtree(made, ignore_errors=True)


@against
def created_by_a_whole_path():
    made = f"{OUT}/made"
    call("create", "--bundle", bundle("pass"), made)
    is_not_made(made)
    call("delete", "--force", made)
    shutil.rmtree(made, ignore_errors=True)


@against
def deleted_outside():
    os.makedirs(f"{OUT}/folder")
    try:
        call("delete", "--force", f"{UP}/folder")
        is_kept(f"{OUT}/folder")
    finally:
        shutil.rmtree(f"{OUT}/folder", ignore_errors=True)


def deleting(name, path):
    call("delete", "--force", name)
    is_kept(path)


@against
def deleted_with_an_empty_name():
    deleting("", victim())
    os.makedirs(STATE, 0o700, exist_ok=True)


@against
def deleted_with_a_dot():
    deleting("./other", victim("other"))


@against
def deleted_with_a_long_name():
    """What is cut off is another's name."""
    deleting(LONG, victim())


@against
def created_with_an_empty_name():
    call("create", "--bundle", bundle("pass"), "")
    is_not_made(f"{STATE}/state.json")
    call("delete", "--force", "")
    shutil.rmtree(STATE, ignore_errors=True)
    os.makedirs(STATE, 0o700)


@against
def listed_with_control_characters():
    """A title of the terminal's window, and a line that looks like another container's."""
    call("create", "--bundle", bundle("pass"), "a\x1b]0;owned\x07\nrunning")
    listed = call("list").said()
    if "\x1b" not in listed and "\nrunning" not in listed:
        denied("the list has nothing of it")
