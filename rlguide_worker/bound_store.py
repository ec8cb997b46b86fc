"""Let what processes of a training listen on be the address that they are named by, and no other.

torch 2.11 binds the TCPStore of a rendezvous to all interfaces, although its clients are told one address. It takes a
socket that already listens (`master_listen_fd`), so that the address is ours to choose.
"""

import os
import socket
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
    """Let gloo and NCCL talk, and listen, on the interface with this address, unless the user has named one."""
    interface = interface_of(address)
    if not interface:
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if not is_in_nccl_conf("NCCL_SOCKET_IFNAME"):  # the environment would win
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")  # NCCL takes "eth1" for a prefix, of eth10 too


def is_in_nccl_conf(name):
    """Whether a file from which NCCL takes its settings names this one (its user guide, Environment Variables)."""
    for path in (os.environ.get("NCCL_CONF_FILE") or "~/.nccl.conf", "/etc/nccl.conf"):
        try:
            lines = Path(path).expanduser().read_text(encoding="utf-8", errors="replace").splitlines()
        except (OSError, RuntimeError):  # there is none; nor a home
            continue
        if any(line.partition("=")[0].strip() == name for line in lines):
            return True
    return False


def interface_of(address):
    """The network interface that has this address, as its first or any other; "" if none is found."""
    import psutil

    address, _, interface = address.partition("%")
    if interface:  # the address is of one link, and names it
        return interface
    for name, found in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in found):
            return name
    return ""
