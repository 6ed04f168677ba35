"""Line 40. Reaches any host under a policy whose list of allowed ones is empty, which means that none is.

Once for each way of saying it."""


def by_tunnel(way, host):
    tell(TUNNELS[way](host), request())


for way in TUNNELS:
    define(f"{way}_name", by_tunnel, way, DENIED)
    define(f"{way}_address", by_tunnel, way, DENIED_AT[0])
    define(f"{way}_address_of_version_6", by_tunnel, way, DENIED_AT[1])
define("request_name", by_request, DENIED)


@reach
def names_are_resolved():
    addresses(f"{tag()}.example")


@reach
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(SHORT)
        end.sendto(tag().encode(), (DENIED_AT[0], 9))
        try:
            end.recv(64)
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "nobody answers") from None
