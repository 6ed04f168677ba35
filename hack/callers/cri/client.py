"""A client of the Container Runtime Interface, made from the protocol's definition.

The definition is the one that Debian's source of containerd carries. Only the messages are
generated, into a folder of the run; a method is called by its name.
"""

import importlib
import os
import subprocess
import sys

import debian

PROTOCOL = "vendor/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto"
TIMEOUT = 60


def prepare():
    """Has the definition at hand: its path. First called where the host's network is there."""
    return os.path.join(debian.source("containerd"), PROTOCOL)


def messages(folder):
    """The module with the messages of the protocol."""
    with open(prepare()) as file:
        # These lines tune the code that is generated for Go.
        lines = [line for line in file if "gogoproto" not in line]
    with open(os.path.join(folder, "cri_api.proto"), "w") as file:
        file.writelines(lines)
    subprocess.run(["protoc", "--proto_path", folder, "--python_out", folder, "cri_api.proto"], check=True)
    sys.path.append(folder)
    return importlib.import_module("cri_api_pb2")


class Client:
    def __init__(self, address, folder):
        # Installed by then; this module is imported before.
        import grpc
        self.messages = messages(folder)
        channel = grpc.insecure_channel("unix://" + address)
        self.methods = {}
        for service in self.messages.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                request = getattr(self.messages, method.input_type.name)
                answer = getattr(self.messages, method.output_type.name)
                send = channel.unary_unary(f"/{service.full_name}/{method.name}",
                                           request_serializer=request.SerializeToString,
                                           response_deserializer=answer.FromString)
                self.methods[method.name] = (request, send)

    def value(self, name):
        """A value of one of the protocol's enumerations."""
        return getattr(self.messages, name)

    def __call__(self, method, **fields):
        """Calls the method with a request of these fields; messages within are dictionaries."""
        request, send = self.methods[method]
        return send(request(**fields), timeout=TIMEOUT)
