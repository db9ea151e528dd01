"""Machines of real hosts: what Linux says of itself under ``/proc`` and ``/sys``, as a machine to simulate."""

from .host import Host, from_host

__all__ = ["Host", "from_host"]
