"""Let what processes of a training listen on be the address that they are named by, and no other.

torch 2.11 binds the TCPStore of a rendezvous to all interfaces, although its clients are told one address. It takes a
socket that already listens (`master_listen_fd`), so that the address is ours to choose.
"""

import fcntl
import os
import socket
import struct
from pathlib import Path


def install() -> None:
    """Bind every store that this process will serve for torchrun: the rendezvous, and the one of its workers."""
    from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend, dynamic_rendezvous, static_tcp_rendezvous

    c10d_rendezvous_backend.TCPStore = store
    static_tcp_rendezvous.TCPStore = store
    dynamic_rendezvous.DynamicRendezvousHandler._create_tcp_store_server = shared


def shared(handler, address, port):
    """The store that the agent of the first node shares with the processes of all."""
    return store(address, port, is_master=True, multi_tenant=True)


def store(host_name, port, world_size=None, is_master=False, *rest, **named):
    """A TCPStore, as torch's own; one that serves listens on the address of `host_name` only."""
    from torch.distributed import TCPStore

    listener = listening(host_name, port) if is_master else None
    if listener is None:
        return TCPStore(host_name, port, world_size, is_master, *rest, **named)
    port = listener.getsockname()[1]
    return TCPStore(host_name, port, world_size, is_master, *rest, **named, master_listen_fd=listener.detach())


def listening(host, port):
    """A socket that listens there; None where the address is not one of this host's (behind NAT), or is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError:
        return None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError:  # torch says what is wrong, or serves it in its own way
        listener.close()
        return None
    return listener


def free_port():
    """A port on which nothing listens on this host's loopback interface."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def talk_over(address):
    """Let gloo and NCCL talk, and listen, on the interface with this address, unless the environment names one."""
    interface = interface_of(address)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if interface else ():
        os.environ.setdefault(name, interface)


def interface_of(address):
    """The network interface that has this address; "" if none is found."""
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0]).hex()
        lines = [line.split() for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()]
        return next((line[5] for line in lines if line[0] == packed), "")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:  # SIOCGIFADDR of netdevice(7)
                answer = fcntl.ioctl(asked, 0x8915, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""
