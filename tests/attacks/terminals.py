"""Line 14. Types into a terminal, or pastes what is on its screen, for the shell that reads it later."""

import fcntl
import termios

TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS = 0x5412, 0x541C, 0x5423, 0x541D
HIGH = 0xDEAD00000000


def terminal():
    """A terminal of this process's own."""
    master, slave = os.openpty()
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return slave


def typed(request):
    slave = terminal()
    syscall("ioctl", slave, request, b"x")
    if struct.unpack("=i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4))) == (0,):
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ICANON
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


@attempt
def raw_types():
    typed(TIOCSTI)


@attempt
def raw_types_with_high_bits():
    typed(TIOCSTI | HIGH)


def on_no_terminal(name, request):
    def function():
        # Who is told that it is no terminal was let in: on one, it would have been done.
        with open("/dev/null") as file:
            reaches((errno.ENOTTY,), "ioctl", file.fileno(), request, b"\x03")

    function.__name__ = name
    attempt(function)


on_no_terminal("raw_types_anywhere", TIOCSTI)
on_no_terminal("raw_types_anywhere_with_high_bits", TIOCSTI | HIGH)
on_no_terminal("raw_pastes", TIOCLINUX)
on_no_terminal("raw_pastes_with_high_bits", TIOCLINUX | HIGH)


@attempt
def api_types_anywhere():
    with open("/dev/null") as file:
        try:
            fcntl.ioctl(file, TIOCSTI, b"x")
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
