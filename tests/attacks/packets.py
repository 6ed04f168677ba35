"""Line 36. Leaves by what is no connection through a proxy: sockets of every kind, and packets of one's own.

The kernel of the host may know some of these families only once they are asked for."""

FAMILIES = {"packet": 17, "vsock": 40, "alg": 38, "netlink": 16}
FROM_AND_TO = socket.inet_aton("127.0.0.1") + socket.inet_aton(DENIED_AT[0])
IPV4 = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]) + FROM_AND_TO


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    return ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF


def echo_request():
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + b"attack"
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def answered(end, said, where, answer=MARK):
    with end:
        end.settimeout(SHORT)
        try:
            end.sendto(said, where)
            if answer not in end.recv(65536):
                refused("somebody else answers")
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "nobody answers") from None


def stream(host, port=80):
    """Without the variables that name a proxy, and without a name."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    tell(direct(host, port), request())


def datagram(host, port, said=None):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    answered(socket.socket(family, socket.SOCK_DGRAM), said or tag().encode(), (host, port))


def initial():
    """The first packet of QUIC (RFC 9000 section 17.2.2), as far as it can be told from others."""
    return b"\xc0\0\0\0\x01\x08" + bytes(8) + b"\0\0\x44\x96" + tag().encode().ljust(1200, b"\0")


for which, host in zip(("", "_by_version_6"), DENIED_AT):
    define("stream" + which, stream, host)
    define("datagram" + which, datagram, host, 9)
    define("quic" + which, lambda host: datagram(host, 443, initial()), host)
    define("port_of_names" + which, datagram, host, 53)
for name, host in (("inside", INSIDE_AT[0]), ("to_the_host", OWN_AT[0]), ("to_metadata", METADATA_AT[0])):
    define(f"datagram_{name}", datagram, host, 9)
define("stream_inside", stream, INSIDE_AT[0])
define("stream_to_the_host", stream, OWN_AT[0])


@reach
def raw_stream():
    tell(by_calls(DENIED_AT[0]), request())


def with_option(*option):
    """Over a socket that is something else by an option."""
    end = socket.socket()
    end.setsockopt(*option)
    end.connect((DENIED_AT[0], 80))
    tell(end, request())


# Data that goes with the first packet (TCP_FASTOPEN_CONNECT); a link of one's own (SO_BINDTODEVICE); a mark
# for the routes of somebody who may set one (SO_MARK); as from another's address (IP_TRANSPARENT).
define("raw_fast_open", with_option, socket.IPPROTO_TCP, 30, 1)
define("raw_out_of_a_bound_socket", with_option, socket.SOL_SOCKET, 25, b"lo\0")
define("raw_marked_stream", with_option, socket.SOL_SOCKET, 36, 1)
define("raw_transparent_stream", with_option, socket.SOL_IP, 19, 1)


@reach
def raw_chosen_link():
    """Datagrams by a link of one's own choice (IP_UNICAST_IF)."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_IP, 50, struct.pack("!i", socket.if_nametoindex("lo")))
    answered(end, tag().encode(), (DENIED_AT[0], 9))


@reach
def datagram_out_of_a_bound_socket():
    """From a port of one's own choice."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("0.0.0.0", 5454))
    answered(end, tag().encode(), (DENIED_AT[0], 9))


@reach
def datagram_from_an_address_of_the_host():
    """Which the packet says, and not the socket (IP_PKTINFO)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(SHORT)
        source = struct.pack("=i4s4s", 0, socket.inet_aton(OWN_AT[0]), bytes(4))
        end.sendmsg([tag().encode()], [(socket.SOL_IP, 8, source)], 0, (DENIED_AT[0], 9))
        try:
            end.recv(65536)
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "nobody answers") from None


@reach
def icmp():
    answered(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), echo_request(), (DENIED_AT[0], 0), b"attack")


@reach
def icmp_without_a_capability():
    """Which the kernel lets those groups do that it is told."""
    try:
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
            file.write(f"{os.getgid()} {os.getgid()}")
    except OSError:
        pass
    answered(socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1), echo_request(), (DENIED_AT[0], 0), b"attack")


@reach
def raw_packet_of_one_s_own():
    end = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
    payload = tag().encode()
    body = struct.pack("!HHHH", 999, 9, 8 + len(payload), 0) + payload
    end.sendto(IPV4[:2] + struct.pack("!H", 20 + len(body)) + IPV4[4:] + body, (DENIED_AT[0], 0))


@reach
def packet_socket():
    with socket.socket(FAMILIES["packet"], socket.SOCK_RAW, socket.htons(3)) as end:
        end.bind(("lo", 3))
        end.send(bytes(12) + b"\x08\0" + IPV4 + struct.pack("!HHHH", 999, 9, 8, 0))


@reach
def packet_socket_of_datagrams():
    socket.socket(FAMILIES["packet"], socket.SOCK_DGRAM, socket.htons(3)).close()


@reach
def virtual_machine_socket():
    try:
        end = socket.socket(FAMILIES["vsock"], socket.SOCK_STREAM)
        end.settimeout(SHORT)
        # The host of this machine, at a port where nobody is.
        end.connect((2, 4294967290))
    except TimeoutError:
        pass
    except OSError as error:
        if error.errno not in (errno.ECONNRESET, errno.ENODEV, errno.EHOSTUNREACH, errno.ENETUNREACH):
            raise


@reach
def algorithm_socket():
    with socket.socket(FAMILIES["alg"], socket.SOCK_SEQPACKET) as end:
        end.bind(("hash", "sha256"))


def kernel(kind):
    """The kernel answers who may ask; a wrong question is answered too."""
    with socket.socket(FAMILIES["netlink"], socket.SOCK_RAW, kind) as end:
        end.bind((0, 0))


for name, kind in (("netfilter", 12), ("audit", 9), ("diagnosis", 4), ("transforms", 6), ("generic", 16)):
    define(f"netlink_{name}", kernel, kind)


def routed(kind, message, *attributes):
    for number, data in attributes:
        message += struct.pack("=HH", 4 + len(data), number) + data
    with socket.socket(FAMILIES["netlink"], socket.SOCK_RAW, 0) as end:
        end.send(struct.pack("=IHHII", 16 + len(message), kind, 0x405, 0, 0) + message)
        (error,) = struct.unpack("=i", end.recv(65536)[16:20])
        if error:
            raise OSError(-error, os.strerror(-error))


@reach
def netlink_sees_the_host():
    with socket.socket(FAMILIES["netlink"], socket.SOCK_RAW, 0) as end:
        end.send(struct.pack("=IHHIIBBBBI", 24, 22, 0x301, 0, 0, 2, 0, 0, 0, 0))
        end.settimeout(SHORT)
        if socket.inet_aton(OWN_AT[0]) not in end.recv(65536):
            refused("the host's address is not in this network")


@reach
def netlink_makes_a_route():
    """Which would lead past every other."""
    routed(24, struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 4, 253, 1, 0), (1, socket.inet_aton("45.80.0.99")),
           (4, struct.pack("=i", 1)))


@reach
def netlink_makes_an_address():
    where = socket.inet_aton("10.77.0.1")
    routed(20, struct.pack("=BBBBI", 2, 32, 0, 0, 1), (2, where), (1, where))


@reach
def netlink_takes_the_link_down():
    """And up again, for what comes after."""
    try:
        routed(16, struct.pack("=BxHiII", 0, 0, 1, 0, 0))
    finally:
        routed(16, struct.pack("=BxHiII", 0, 0, 1, 1, 1))


@reach
def netlink_makes_a_link():
    """A dummy, or the kernel says that it knows none."""
    kind = struct.pack("=HH", 9, 1) + b"dummy\0\0\0"
    try:
        routed(16, struct.pack("=BxHiII", 0, 0, 0, 0, 0), (18, kind))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


@reach
def tables_of_packets():
    """The rules that lead every connection to the supervisor, by the older of their interfaces."""
    end = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
    try:
        end.getsockopt(socket.SOL_IP, 64, 84)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOPROTOOPT):
            raise


@reach
def tunnel_device():
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    request = ctypes.create_string_buffer(struct.pack("=16sH22x", b"attack0", 1))
    syscall("ioctl", descriptor, 0x400454CA, request)
